"""KPI rows: value, target and verdict, from the amounts of a window; as a list, a text table and JSON.

Pure functions and values, no thread, no lock. The targets are the profile's; a value without data is None, never 0.
"""

from __future__ import annotations

import html
import itertools
import json
from collections.abc import Mapping
from typing import Final, NamedTuple

from ..profiles import BLIND as BLIND
from ..profiles import HIGH_IS_GOOD, KpiTargets
from .sketch import quantile_of_bins
from .window import Window, quantile

OK, WARNING, CRITICAL = 0, 1, 2  # the Agent's statuses for service checks
_PROCESSING: Final = "processing_time_ms"
_SUMS: Final = (
    *("dials", "completed", "connect_ns", "in_time", "too_late", "reconnects", "processed", "process_ns"),
    *("received", "messages", "bad_messages", "errors", "recovered", "alerts"),
)
_MS: Final = 1_000_000  # nanoseconds
_S: Final = 1_000_000_000
_TENTH: Final = 0.1 * (1 + 1e-9)  # a little more, because binary fractions are not exact


class Kpi(NamedTuple):
    """One row. `target` is the profile's (">" or "<", limit), or None; `ok` is None without a value or a target; `n` is
    the number of dials, outages, messages, errors or alerts behind the value. Only processing_time_ms has `max` and, if
    events of single messages are on, `p95` (within 1/32 of itself)."""

    key: str
    value: float | None
    target: tuple[str, float] | None
    ok: bool | None
    n: int
    max: float | None = None
    p95: float | None = None

    def __str__(self) -> str:
        target = "" if self.target is None else f", target {self.target[0]} {self.target[1]:g}"
        return f"{self.key} {_text(self.value)}{target}"

    @property
    def status(self) -> int | None:
        """OK; WARNING for a target missed by at most a tenth of its distance (of a limit from zero, of a success rate
        from one); CRITICAL beyond that; None without a verdict."""
        if self.ok is None or self.target is None or self.value is None:
            return None
        if self.ok:
            return OK
        limit = self.target[1]
        distance = 1 - limit if self.key in HIGH_IS_GOOD else limit
        return WARNING if abs(self.value - limit) <= distance * _TENTH else CRITICAL


def _text(value: float | None) -> str:
    return "no data" if value is None else f"{value:.6g}"


class KpiReport(tuple[Kpi, ...]):
    """The rows of one client, or of all clients. str() and notebooks show it as a table."""

    __slots__ = ()

    def _cells(self) -> list[tuple[str, ...]]:
        """The cells of the table: the head, then one line for each row."""
        cells: list[tuple[str, ...]] = [("KPI", "value", "target", "ok", "n")]
        for row in self:
            target = "" if row.target is None else f"{row.target[0]} {row.target[1]:g}"
            verdict = {True: "yes", False: "no", None: ""}[row.ok]
            cells.append((row.key, _text(row.value), target, verdict, str(row.n)))
        return cells

    def __str__(self) -> str:
        cells = self._cells()
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        return "\n".join(
            f"{key:<{widths[0]}}  {value:>{widths[1]}}  {target:<{widths[2]}}  {ok:<{widths[3]}}  {n:>{widths[4]}}"
            for key, value, target, ok, n in cells
        )

    def __repr__(self) -> str:
        """The number of targets that are met, and those that are missed."""
        judged, missed = sum(row.ok is not None for row in self), [row for row in self if row.ok is False]
        shown = f"; missed: {', '.join(map(str, missed))}" if missed else ""
        return f"<wsnova_statsd.KpiReport {judged - len(missed)} of {judged} targets met{shown}>"

    def _repr_html_(self) -> str:
        """The HTML for notebooks; keys and values are escaped."""
        head, *rows = (
            "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells)
            for tag, cells in zip(itertools.chain(["th"], itertools.repeat("td")), self._cells(), strict=False)
        )
        body = "".join(f"<tr>{row}</tr>" for row in rows)
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

    def to_json(self) -> str:
        """The rows as a JSON list of objects."""
        return json.dumps([row._asdict() for row in self])

    @property
    def status(self) -> int | None:
        """The worst status of its rows; None if no row has one."""
        return max((row.status for row in self if row.status is not None), default=None)


def report(window: Window, targets: KpiTargets, span_s: float, blind_ns: int | None, outages: int) -> KpiReport:
    """All rows of a rolled window. `span_s` is how long it was measured, at least a second; `blind_ns` is None if
    nothing is known about a link. `blind_ns` and `outages` include the current outage."""
    sums = dict.fromkeys(_SUMS, 0) | window.sums
    dials, completed, processed, messages, errors = (
        sums[key] for key in ("dials", "completed", "processed", "messages", "errors")
    )
    ended = sums["in_time"] + sums["too_late"]
    back, alert = quantile(window.samples(), 0.95), window.worst("alert_ns")
    longest, p95 = window.worst("process_ns"), quantile_of_bins(window.bins, 0.95)
    rows: dict[str, tuple[float | None, int]] = {
        "connection_success_rate": (_ratio(min(completed, dials), dials), dials),
        "connection_time_ms": (_ratio(sums["connect_ns"], completed * _MS), completed),
        "reconnection_success_rate": (_ratio(sums["in_time"], ended), ended),
        "time_to_reconnect_s": (None if back is None else back / _S, sums["reconnects"]),
        "processing_time_ms": (_ratio(sums["process_ns"], processed * _MS), processed),
        "throughput_per_s": (_ratio(sums["received"], span_s), sums["received"]),
        "message_error_rate": (_ratio(sums["bad_messages"], messages), messages),
        "error_recovery_rate": (_ratio(min(sums["recovered"], errors), errors), errors),
        "error_to_alert_s": (None if alert is None else alert / _S, sums["alerts"]),
        BLIND: (None if blind_ns is None else blind_ns / _S, outages),
    }
    beside = {"max": None if longest is None else longest / _MS, "p95": None if p95 is None else p95 / _MS}
    return KpiReport(
        _row(key, value if n or key == BLIND else None, targets.get(key), n, beside if key == _PROCESSING else {})
        for key, (value, n) in rows.items()
    )


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _row(
    key: str, value: float | None, target: tuple[str, float] | None, n: int, beside: Mapping[str, float | None]
) -> Kpi:
    ok = None
    if value is not None and target is not None:
        ok = value > target[1] if target[0] == ">" else value < target[1]
    return Kpi(key, value, target, ok, n, **beside)
