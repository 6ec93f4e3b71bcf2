"""The figures of one moment, as frozen values, and as the JSON of `--json` and of the browser's tabs.

Pure, any thread. Every display (screens, lines, documents) reads this and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

from ..insight.spread import Figures


@dataclass(frozen=True, slots=True)
class Row:
    """One series. `value` is a count's total, a gauge's last value, the mean of a distribution, a set's size."""

    name: str
    kind: str
    tags: tuple[str, ...]
    value: float | None
    rate: float | None  # per second, over the last ten; None for a gauge and a set
    total: float  # a count's sum; otherwise the number of values
    age: float  # seconds since the last value
    history: tuple[float | None, ...]  # a figure per second, the latest last
    figures: Figures | None = None  # of a distribution, histogram or timer


@dataclass(frozen=True, slots=True)
class SeenEvent:
    """An event; `number` counts them from 1, `at` is in seconds since the epoch."""

    number: int
    at: float
    title: str
    text: str
    alert_type: str
    tags: tuple[str, ...]
    aggregation_key: str = ""


@dataclass(frozen=True, slots=True)
class SeenCheck:
    """The latest status of a service check."""

    at: float
    name: str
    status: int
    message: str
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rejection:
    """Lines or datagrams that broke a rule: how many, and the latest of them."""

    reason: str
    count: int
    example: str


@dataclass(frozen=True, slots=True)
class Traffic:
    """What arrived, what was lost, and what was forwarded, since the start.

    `dropped` counts datagrams that the kernel dropped, as they arrived faster than they were read; None if unknown.
    `behind` is the age in seconds of a batch's oldest datagram once the batch was read; `most_behind` the highest.
    """

    lines: int = 0
    datagrams: int = 0
    bytes: int = 0
    lines_per_s: float = 0.0
    dropped: int | None = None
    forwarded: int = 0
    not_forwarded: int = 0
    behind: float = 0.0
    most_behind: float = 0.0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One moment. `at` is in seconds since the epoch, `seconds` since the start or the last clear."""

    source: str
    at: float
    seconds: float
    traffic: Traffic = Traffic()
    rows: tuple[Row, ...] = ()
    events: tuple[SeenEvent, ...] = ()
    checks: tuple[SeenCheck, ...] = ()
    rejected: tuple[Rejection, ...] = ()
    crowded: int = 0  # lines of series and checks beyond the caps
    output: tuple[str, ...] | None = None  # the latest lines of the command; None without a command
    note: str = ""  # what has ended or failed: the command, the recording


def to_json(snapshot: Snapshot, *, history: bool = True) -> str:
    """The snapshot as one line of JSON; if `history` is False, without what earlier documents have contained."""
    left_out = () if history else ("history",)

    def plain(value: Any) -> dict[str, Any]:
        return {name: getattr(value, name) for name in _FIELDS[type(value)] if name not in left_out}

    return json.dumps(snapshot, default=plain, separators=(",", ":"))


def from_json(line: str | bytes) -> Snapshot:
    """The snapshot from such a line."""
    found = _made(Snapshot, json.loads(line))
    assert isinstance(found, Snapshot)
    return found


_PARTS: Final[Mapping[str, type]] = {
    "traffic": Traffic,
    "rows": Row,
    "events": SeenEvent,
    "checks": SeenCheck,
    "rejected": Rejection,
    "figures": Figures,
}
_FIELDS: Final = {cls: tuple(one.name for one in fields(cls)) for cls in (Snapshot, *_PARTS.values())}


def _made(cls: type, document: Mapping[str, Any]) -> Any:
    """A value of this class; fields of another version are skipped."""
    return cls(**{key: _part(key, value) for key, value in document.items() if key in _FIELDS[cls]})


def _part(key: str, value: Any) -> Any:
    if isinstance(value, dict):
        return _made(_PARTS[key], value)
    if isinstance(value, list):
        return tuple(_made(_PARTS[key], one) if isinstance(one, dict) else one for one in value)
    return value
