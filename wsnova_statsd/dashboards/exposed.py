"""Renders queries for Prometheus: finds each metric of the description on a page, and writes queries as PromQL.

The description names metrics as the StatsD list does. Here each is found by what it counts - event, measurement and
kind - among the definitions of a PrometheusReporter, and gets the name and labels of its page. A metric that is not on
the page, or lacks a label that is asked for, has no query. Pure functions, no thread.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

from .. import events
from ..insight.alerts import FIRED
from ..metrics import guide
from ..metrics.catalogue import statsd_metrics
from ..metrics.definitions import Definition
from ..metrics.prometheus_list import equivalent, prometheus_metrics
from ..reporters import worker
from ..reporters.families import Family, Naming, families, labels_of, sample_names
from .queries import PERCENTILES, Line, Query
from .shipped import CAN_CONNECT, HEALTH, KPI_PREFIX

INSTANCE: Final = "instance"  # the label that Prometheus gives each process it scrapes
_STATES: Final[Mapping[str, tuple[str, str]]] = {  # service checks, by the state that says the same
    CAN_CONNECT: (events.CLIENT_STATE, "up"),
    HEALTH: (events.KPI_SAMPLED, "status"),
}
_BY: Final = ("client", INSTANCE)  # of a check
_VARIABLES: Final = {"client": "client_id", "type": "type"}  # of a board, by tag; the others are those of the scrape
_LETTER: Final = re.compile(r"\b[a-h]\b")
_NAME: Final = re.compile(r"\bwebsockex_nova_\w+")


@dataclass(frozen=True, slots=True)
class Exposed:
    """A metric on the page: its family, and the label of each tag of the description."""

    family: Family
    labels: Mapping[str, str]


class Page:
    """The page of a PrometheusReporter with these definitions (None: all that a Monitor shows) and naming."""

    def __init__(self, naming: Naming = "guide", metrics: Iterable[Definition] | None = None) -> None:
        self.naming = naming
        self.metrics: list[Definition] = prometheus_metrics(complete=True) if metrics is None else list(metrics)
        self._families = families(self.metrics, naming)
        self._statsd = {one.name: one for one in reversed([*statsd_metrics(), *self.metrics])}

    def find(self, metric: str) -> Exposed | None:
        """A metric of the description, or a service check, on the page; None if it is not there."""
        if metric in _STATES or metric.startswith(KPI_PREFIX) or metric == FIRED:
            event, measurement = _STATES.get(metric, (events.KPI_SAMPLED, metric.removeprefix(KPI_PREFIX)))
            if metric == FIRED:
                event, measurement = events.ALERT_FIRED, "count"
            found = next((one for one in self.metrics if (one.event, one.measurement) == (event, measurement)), None)
            asked = {"client": "client_id", "rule": "rule", "scope": "scope"}
        else:
            one = self._statsd.get(metric)
            found = one if one is None or one in self.metrics else equivalent(one, self.metrics)
            asked = {} if one is None else dict(one.tags)
        if found is None:
            return None
        labels = {key: _label(tag) for tag, key in found.tags}
        known = {tag: labels[key] for tag, key in asked.items() if key in labels}
        return Exposed(self._families[found.name], {**known, worker.KEY: INSTANCE, INSTANCE: INSTANCE})

    def line(self, line: Line, window: str, *, variables: bool = False) -> str | None:
        """A line as PromQL; counts and histograms over `window`, such as `5m`. None if the page cannot answer it."""
        texts = [self.query(one, window, variables=variables) for one in line.queries]
        known = [one for one in texts if one is not None]
        if len(known) < len(texts):
            return None
        if len(known) == 1:
            return _LETTER.sub(lambda _: known[0], line.formula)
        named = dict(zip("abcdefgh", known, strict=False))
        # Without the other there is no share and no mean, not even 0, and nothing is divided by 0.
        shown = {name: f"({text})" if name == "a" else f"({text} > 0)" for name, text in named.items()}
        return _LETTER.sub(lambda found: shown[found[0]], line.formula)

    def query(self, query: Query, window: str, *, variables: bool = False) -> str | None:
        """A query as PromQL."""
        found = self.find(query.metric)
        filters = None if found is None else _filters(query, found, variables=variables)
        if found is None or filters is None or not all(tag in found.labels for tag in query.by):
            return None
        by = [found.labels[tag] for tag in query.by]
        return _text(query, found.family, f"{{{filters}}}" if filters else "", by, window)

    def check(self, name: str, worst: str, filters: str = "", *, variables: bool = False) -> str | None:
        """A service check as the state that says the same, by client and process, at its worst: "min" or "max"."""
        found = self.find(name)
        if found is None:
            return None
        given = [filters] if filters else []
        mine = ",".join([*(_of_variables(found) if variables else ()), *given])
        by = ", ".join(found.labels[tag] for tag in _BY)
        where = f"{{{mine}}}" if mine else ""
        return f"{worst} by ({by}) ({found.family.name}{where})"

    def divisor(self, line: Line) -> float:
        """The divisor that converts a target from this line's unit to the page's."""
        found = self.find(line.queries[0].metric)
        return 1.0 if found is None else found.family.divisor

    def guides(self) -> dict[str, str]:
        """The guide's four queries by their titles: as the guide writes them or, with the other naming, for the same
        metrics."""
        queries = {title: text.strip("\n") for title, text in guide.QUERIES.items()}
        if self.naming == "guide":
            return queries
        names = dict(self._renamed())
        return {title: _NAME.sub(lambda found: names[found[0]], text) for title, text in queries.items()}

    def _renamed(self) -> Iterator[tuple[str, str]]:
        """The names of samples in the guide's naming, and in this one."""
        short = prometheus_metrics()
        theirs, ours = families(short), families(short, self.naming)
        for name, family in theirs.items():
            here = ours[name]
            if family.type == "unknown":
                yield family.name, f"{here.name}_total"
            else:
                yield from zip(sample_names(family), sample_names(here), strict=True)


def _label(tag: str) -> str:
    return labels_of([f"{tag}:x"])[0][0]


def _filters(query: Query, found: Exposed, *, variables: bool) -> str | None:
    """The content of a selector's braces; None if the page lacks a label."""
    filters = list(_of_variables(found, query.variables)) if variables else []
    for one in query.where:
        tag, _, value = one.lstrip("!").partition(":")
        if tag not in found.labels:
            return None
        filters.append(f'{found.labels[tag]}{"!=" if one.startswith("!") else "="}"{value}"')
    return ",".join(filters)


def _of_variables(found: Exposed, names: Iterable[str] = ("client",)) -> Iterator[str]:
    for name in ("job", INSTANCE):
        yield f'{name}=~"${name}"'
    for tag in names:
        if tag in _VARIABLES and found.labels.get(tag) == _VARIABLES[tag]:
            yield f'{_VARIABLES[tag]}=~"${tag}"'


def _text(query: Query, family: Family, where: str, by: list[str], window: str) -> str | None:
    grouped = f" by ({', '.join(by)}) " if by else ""
    name, space = family.name, query.space
    if family.type == "gauge":
        inner = f"{query.time}_over_time({name}{where}[{window}])" if query.time else f"{name}{where}"
        return None if space in (*PERCENTILES, "count") else f"{space}{grouped}({inner})"
    if family.type in ("unknown", "counter"):
        how = "rate" if query.as_ == "rate" else "increase"
        last = "_total" if family.type == "counter" else ""
        text = f"sum{grouped}({how}({name}{last}{where}[{window}]))"
        return f"({text} or vector(0))" if query.zero and not by else text
    total = partial("sum{0}({1}({2}_{3}{4}[{5}]))".format, grouped)
    if space == "avg":
        summed, counted = (total("rate", name, part, where, window) for part in ("sum", "count"))
        return f"{summed} / ({counted} > 0)"
    if space in ("sum", "count"):
        return total("increase", name, space, where, window)
    if space in PERCENTILES and family.type == "histogram":
        buckets = f"sum by ({', '.join(['le', *by])}) (rate({name}_bucket{where}[{window}]))"
        return f"histogram_quantile(0.{space.removeprefix('p')}, {buckets})"
    return None  # a page has no maximum, and a summary no percentiles
