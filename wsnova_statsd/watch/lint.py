"""What lint says of lines received from any program: broken rules, names, types, and how many series there are.

Pure, any thread.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from .snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Remark:
    """One thing to mend, or to know; `subject` is a metric's name, or what broke the rule."""

    rule: str
    subject: str
    text: str
    fault: bool = True


def remarks_of(snapshot: Snapshot) -> list[Remark]:
    """Everything that there is to say, faults first."""
    remarks = [
        Remark("not read", f"{one.count} times", f"{one.reason}; the latest: {one.example}")
        for one in snapshot.rejected
    ]
    kinds: dict[str, set[str]] = defaultdict(set)
    for row in snapshot.rows:
        kinds[row.name].add(row.kind)
    remarks += [
        Remark("two types", name, f"it is sent as {', '.join(sorted(found))}; the Agent keeps one type for a name")
        for name, found in kinds.items()
        if len(found) > 1
    ]
    if snapshot.crowded:
        remarks.append(Remark("no room", f"{snapshot.crowded} lines", "of more series or checks than are kept here"))
    return remarks
