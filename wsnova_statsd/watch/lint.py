"""Lint for the lines received from any program: unreadable lines, names, tags and types, and what they would cost.

Applies the rules of `wsnova-statsd lint` and `cost` to what arrived. Pure, any thread.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from ..dashboards.lint_series import Received, costs, of_series
from .datagrams import KINDS
from .snapshot import Snapshot

_LETTERS: Final = {kind: letter for letter, kind in KINDS.items()}


@dataclass(frozen=True, slots=True)
class Remark:
    """One thing to fix, or to know; `subject` is a metric's name, or how often a line arrived."""

    rule: str
    subject: str
    text: str
    fault: bool = True


def remarks_of(snapshot: Snapshot) -> list[Remark]:
    """All remarks: faults first, then the cost of each name, the highest first."""
    remarks = [
        Remark("not read", _times(one.count), f"{one.reason}; the latest: {one.example}") for one in snapshot.rejected
    ]
    if snapshot.crowded:
        text = "lines of more series or checks than are kept here; they are not shown"
        remarks.append(Remark("no room", _times(snapshot.crowded), text))
    series = [Received(row.name, _LETTERS[row.kind], row.tags) for row in snapshot.rows]
    remarks += (Remark(one.rule, one.subject, one.text, one.fault) for one in of_series(series))
    remarks.sort(key=lambda one: not one.fault)
    return [*remarks, *_prices(series)]


def _prices(series: list[Received]) -> Iterator[Remark]:
    """What Datadog would bill for these series on one host."""
    found = costs(series)
    if found:
        sums = (sum(one.series for one in found), sum(one.billed for one in found))
        yield _price("all", *sums, sum(one.with_percentiles for one in found))
    for one in found:
        yield _price(one.name, one.series, one.billed, one.with_percentiles)


def _price(name: str, series: int, billed: int, with_percentiles: int) -> Remark:
    more = f", {with_percentiles} with percentiles" if with_percentiles != billed else ""
    text = f"{series} tag combinations, billed as {billed} custom metrics{more}"
    return Remark("cost", name, text, fault=False)


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
