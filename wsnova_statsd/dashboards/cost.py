"""What metrics cost in Datadog: the series that clients of a shape make, and the custom metrics billed for them.

The factors are those of Datadog's page "Custom Metrics Billing", section "Counting custom metrics":
https://docs.datadoghq.com/account_management/billing/custom_metrics/?tab=distribution
A custom metric is a name with one combination of tag values, the host's among them. A distribution is five of them, ten
once its percentiles are switched on; a histogram is five. The bill is for the mean of all hours: a series that lives
for one of them costs little. Pure functions and values, no thread.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Final

from ..insight.kpi import MAX_CLIENTS
from ..metrics.catalogue import statsd_metrics
from ..metrics.definitions import Definition, Kind
from ..profiles import Profile
from ..reporters import figures
from .life import Shape, Tags, kpis_of_life, many, tags_of_life
from .shipped import KPI_PREFIX, Shipped, shipped

_FIVE: Final = ("summary", "timing", "distribution")
_HEAD: Final = ("series", "billed", "with_percentiles")
_DEAREST: Final = 5
_MAX_SERIES: Final = 2000  # of a name in one process, then one more for the rest: the default of StatsdReporter


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of one metric: its series, the custom metrics billed for them, and those billed with percentiles."""

    name: str
    kind: Kind
    series: int
    billed: int
    with_percentiles: int


@dataclass(frozen=True, slots=True)
class Bill:
    """The costs of all metrics, the highest first. `absent` are the metrics without a series in this shape."""

    profile: str
    shape: Shape
    costs: tuple[Cost, ...]
    absent: tuple[str, ...]
    drops: Mapping[str, str]  # for the most expensive: how to drop each

    @property
    def total(self) -> tuple[int, int, int]:
        """The sums over all metrics: series, custom metrics, and custom metrics with percentiles."""
        series, billed, more = (sum(column) for column in zip(*map(_numbers, self.costs), strict=True))
        return series, billed, more

    @property
    def lines(self) -> list[str]:
        """A table, and below it how to drop the most expensive metrics."""
        width = max(len(one.name) for one in self.costs)
        shape = ", ".join(f"{key} {value}" for key, value in asdict(self.shape).items())
        lines = [f"profile {self.profile}, {shape}; for each host", _row(width, "metric", "type", *_HEAD)]
        lines += (_row(width, one.name, one.kind, *_numbers(one)) for one in self.costs)
        lines.append(_row(width, "all", "", *self.total))
        lines += ["", "the five most expensive names, and how to drop each:"]
        lines += (f"{name}: {to_do}" for name, to_do in self.drops.items())
        return [*lines, "", f"no series in this shape: {', '.join(self.absent)}"]

    def to_json(self) -> str:
        """The same as one JSON document."""
        document = {"profile": self.profile, **asdict(self.shape), "metrics": list(map(asdict, self.costs))}
        total = dict(zip(_HEAD, self.total, strict=True))
        return json.dumps({**document, "total": total, "dearest": dict(self.drops), "absent": self.absent}, indent=2)


def _numbers(one: Cost) -> tuple[int, int, int]:
    return one.series, one.billed, one.with_percentiles


def _row(width: int, name: str, kind: str, series: object, billed: object, more: object) -> str:
    return f"{name:<{width}}  {kind:<12}  {series:>7}  {billed:>7}  {more:>{len(_HEAD[2])}}"


def dearest_first(one: Cost) -> tuple[int, int, str]:
    """The key to sort by."""
    return -one.billed, -one.series, one.name


def billed(kind: Kind, series: int, *, percentiles: bool = False) -> int:
    """The number of custom metrics that are billed for these series of a metric."""
    if kind == "distribution" and percentiles:
        return 10 * series
    return 5 * series if kind in _FIVE else series


def cost(profile: Profile, shape: Shape, metrics: Iterable[Definition] | None = None) -> Bill:
    """What a Monitor's reporter with these definitions (None: the default ones) costs under a profile."""
    listed = list(statsd_metrics() if metrics is None else metrics)
    there = shipped(listed)
    found = {**dict.fromkeys(there, 0), **_of_list(listed, there, profile, shape)}
    found |= {KPI_PREFIX + key: (min(shape.clients, MAX_CLIENTS) + 1) * shape.workers for key in kpis_of_life(profile)}
    has_samples = any(one.kind == "distribution" and found[one.name] for one in listed)
    for last in ("series", "flush_ms", "packets", "bytes", *(["samples"] if has_samples else [])):
        name = figures.PREFIX + last
        found[name] = shape.workers if there[name].state else 1
    costs = [_cost(there[name], series) for name, series in found.items() if series]
    costs.sort(key=dearest_first)
    drops = {one.name: _drop(one.name, listed, there) for one in costs[:_DEAREST]}
    return Bill(profile.name, shape, tuple(costs), tuple(name for name, series in found.items() if not series), drops)


def _of_list(
    listed: Iterable[Definition], there: Mapping[str, Shipped], profile: Profile, shape: Shape
) -> Mapping[str, int]:
    """The series of each name: those of one client, for all clients, as the store of a reporter counts them."""
    tags: dict[str, set[Tags]] = {}
    clients: dict[str, int] = {}
    for one in listed:
        tags.setdefault(one.name, set()).update(tags_of_life(one, profile))
        clients[one.name] = shape.clients if any(key == "client_id" for _, key in one.tags) else 1
    series = {name: min(_MAX_SERIES + 1, clients[name] * sum(many(one, shape) for one in tags[name])) for name in tags}
    return {name: number * (shape.workers if there[name].state else 1) for name, number in series.items()}


def _cost(one: Shipped, series: int) -> Cost:
    return Cost(one.name, one.kind, series, billed(one.kind, series), billed(one.kind, series, percentiles=True))


def _drop(name: str, listed: list[Definition], there: Mapping[str, Shipped]) -> str:
    """What to write to drop one metric of this list."""
    if name.startswith(KPI_PREFIX):
        return "ws.Monitor(kpis=False)"
    if name.startswith(figures.PREFIX):
        return "it cannot be dropped: the reporter's own figures report losses"
    whole, lean = ({one.name for one in statsd_metrics(lean=lean)} for lean in (False, True))
    if name not in whole:
        return "leave it out of the list that you pass to ws.StatsdReporter"
    if name not in lean:
        return "ws.StatsdReporter(ws.statsd_metrics(lean=True))"
    is_lean = listed == statsd_metrics(lean=True)
    given = "ws.statsd_metrics(lean=True)" if is_lean else "ws.statsd_metrics()"
    # A lean list would be left without any duration or size.
    every = there[name].kind == "distribution" and not is_lean
    more = ", or distributions=False for all of them" if every else ""
    return f"ws.StatsdReporter([one for one in {given} if one.name != {name!r}]){more}"
