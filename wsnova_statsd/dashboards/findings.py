"""What a linter finds: a fault or a note on one metric or query, and the report on all. Pure values, no thread."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Final, Literal

Rule = Literal[
    "unknown event",
    "unknown measurement",
    "unknown metric",
    "unknown check",
    "unknown tag",
    "never fires",
    "unbounded tag",
    "unit not applied",
    "two types",
    "no buckets",
    "not for Prometheus",
    "average of averages",
    "last values",
    "bad name",
    "bad tag",
    "many tag values",
]
_RULE: Final = len("unknown measurement")  # characters of the longest


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong with one metric, or with a query by its title, and what to do; no `fault`: for information only."""

    rule: Rule
    subject: str
    text: str
    fault: bool = True

    def __str__(self) -> str:
        return f"{'fault' if self.fault else 'note':<5}  {self.rule:<{_RULE}}  {self.subject}: {self.text}"


@dataclass(frozen=True, slots=True)
class Report:
    """All findings, in the order of what was checked: `metrics` names, then `queries`."""

    findings: tuple[Finding, ...]
    metrics: int
    queries: int

    @property
    def faults(self) -> int:
        """How many findings are faults."""
        return sum(one.fault for one in self.findings)

    @property
    def lines(self) -> list[str]:
        """A line for each finding, then a summary."""
        notes = len(self.findings) - self.faults
        found = f"{_number(self.faults, 'fault')} and {_number(notes, 'note')}"
        judged = f"{_number(self.metrics, 'metric')} and {_number(self.queries, 'query', 'queries')}"
        return [*map(str, self.findings), f"{found} in {judged}"]

    def __str__(self) -> str:
        return "\n".join(self.lines)

    def to_json(self) -> str:
        """The same as one JSON document."""
        document = {"metrics": self.metrics, "queries": self.queries, "faults": self.faults}
        return json.dumps({**document, "findings": list(map(asdict, self.findings))}, indent=2)


def _number(many: int, one: str, several: str = "") -> str:
    return f"{many} {one if many == 1 else several or f'{one}s'}"
