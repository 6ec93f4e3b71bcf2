"""The table of a console: the Agent, KPIs against their targets, and series with their figures. Pure functions.

Lines are pairs of a text and a style of terminal.py. Tags that all rows have are shown in the heading, and no tag is
cut: rows that differ look different.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from ..reporters.figures import PREFIX, Stats
from .kpi_report import Kpi, KpiReport
from .numbers import figure, number, time_of, unit_by_name
from .readings import Reading

StyledLine = tuple[str, str]
_MOST: Final = 40  # rows; the rest is counted
_OURS: Final = "websocket."
_STATES: Final = (f"{_OURS}kpi.", PREFIX, f"{_OURS}connection.up", f"{_OURS}message.waiting", f"{_OURS}message.behind")
_WORKER: Final = "worker:"
# Those of our own metrics that another row shows too: a `completed`, a size, single messages, a KPI.
_REDUNDANT: Final = (
    ".started",
    ".bytes",
    ".handled",
    ".reconnect.attempt",
    ".reconnect.delay",
    ".recovery.duration",
    ".down_ms",
)
_SUMS: Final = f"{_OURS}message.batch."
_SINGLE: Final = f"{_OURS}message.received"


@dataclass(frozen=True, slots=True)
class Moment:
    """What a table shows. `seconds` is the time in which the readings were gained; `end`: it is the last table."""

    title: str
    seconds: float
    agent: str
    stats: Stats
    sent: int  # datagrams in that time
    kpis: KpiReport | None
    readings: Sequence[Reading]
    end: bool = False


def table(moment: Moment, at: float) -> list[StyledLine]:
    """The lines, at a time in seconds since the epoch."""
    when = time.strftime("%H:%M:%S", time.localtime(at))
    over = f"{'in all,' if moment.end else 'the last'} {time_of(round(moment.seconds, 1))}"
    lines: list[StyledLine] = [(f"{when} {moment.title}: {over}", "bold"), _agent(moment)]
    if moment.kpis is not None:
        lines += _kpis(moment.kpis)
    shown = _distinct(moment.readings)
    return lines + (_series(shown, moment.seconds) if shown else [("  nothing was counted", "dim")])


def _distinct(readings: Sequence[Reading]) -> list[Reading]:
    """The readings that show something which no other row and no KPI shows."""
    single = any(one.name == _SINGLE for one in readings)
    found = []
    for one in readings:
        redundant = (
            one.name.endswith(_REDUNDANT) or one.name.startswith(_STATES) or (single and one.name.startswith(_SUMS))
        )
        has_duration = one.name.endswith(".completed") and "result:ok" in one.tags
        if not (one.name.startswith(_OURS) and (redundant or has_duration)):
            found.append(one)
    return found


def _agent(moment: Moment) -> StyledLine:
    """Whether the Agent accepts what is sent; the figures below are right even if it does not."""
    stats = moment.stats
    if stats.last_error is not None and not moment.sent:
        return f"  {moment.agent} accepts nothing: {stats.last_error}; the figures below are counted anyway", "warn"
    lost = ", ".join(f"{number(amount)} lost ({cause})" for cause, amount in stats.lost.items())
    sent = f"{number(moment.sent)} datagrams sent{' so far' if moment.end else ''}"
    return f"  {moment.agent}: {sent}{', ' if lost else ''}{lost}", "dim"


def _kpis(report: Iterable[Kpi]) -> list[StyledLine]:
    """The rows of KPIs that have a value."""
    rows = [one for one in report if one.value is not None]
    if not rows:
        return []
    cells = [
        (one.key, _kpi_value(one), "" if one.target is None else f"{one.target[0]} {one.target[1]:g}") for one in rows
    ]
    texts = _columns([("KPI", "VALUE", "TARGET"), *cells], right=(1,))
    styles = [{True: "", False: "bad", None: ""}[one.ok] for one in rows]
    return [(f"  {text}", style) for text, style in zip(texts, ["dim", *styles], strict=True)]


def _kpi_value(kpi: Kpi) -> str:
    return figure(kpi.value, "" if kpi.key.endswith("_per_s") else unit_by_name(kpi.key))


def _series(readings: Sequence[Reading], seconds: float) -> list[StyledLine]:
    """The rows of series, by name; the application's own first, then ours."""
    ordered = sorted(readings, key=lambda one: (one.name.startswith(_OURS), one.name, one.tags))
    shown = ordered[:_MOST]
    common = [tag for tag in shown[0].tags if all(tag in one.tags for one in shown)]
    heading = f"TAGS (all: {' '.join(common)})" if common else "TAGS"
    spread = any(one.figures is not None for one in shown)
    cells = [("METRIC", "VALUE", "PER S", *(("P50", "P95", "MAX") if spread else ()), heading)]
    for one in shown:
        tags = " ".join(tag for tag in one.tags if tag not in common and not tag.startswith(_WORKER))
        cells.append((*_cells(one, seconds), *(_spread(one) if spread else ()), tags))
    texts = _columns(cells, right=range(1, len(cells[0]) - 1))
    lines = [(f"  {text}", "" if row else "dim") for row, text in enumerate(texts)]
    if len(shown) < len(ordered):
        lines.append((f"  ... and {len(ordered) - len(shown)} more series", "dim"))
    return lines


def _cells(one: Reading, seconds: float) -> tuple[str, str, str]:
    """Name, value and rate: a count's sum, a gauge's last value, the mean of samples."""
    rate = number(one.gained / seconds) if one.gained else ""
    if one.kind in ("counter", "sum", "set"):
        return one.name, figure(one.gained, one.unit), rate
    mean = None if one.figures is None else one.figures.mean
    return one.name, figure(mean if one.value is None else one.value, one.unit), rate


def _spread(one: Reading) -> tuple[str, str, str]:
    if one.figures is None:
        return "", "", ""
    return figure(one.figures.p50, one.unit), figure(one.figures.p95, one.unit), figure(one.figures.max, one.unit)


def _columns(rows: Sequence[Sequence[str]], right: Iterable[int]) -> list[str]:
    """The rows with aligned columns and without trailing spaces."""
    sides = set(right)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            cell.rjust(widths[column]) if column in sides else cell.ljust(widths[column])
            for column, cell in enumerate(row)
        ).rstrip()
        for row in rows
    ]
