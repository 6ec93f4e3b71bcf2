"""Checks queries against the known metrics: what can never have an answer, or has one that means nothing.

A name is checked if a known metric has the same first part: `system.cpu.idle` may come from another program. A
namespace may precede it, if another query has that namespace before a known name. A tag is checked if some event has
it: others, such as `env` or `pod`, come from the Agent or from a client's own tags. Pure functions, no thread.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from ..errors import ConfigurationError, nearest
from ..events import CATALOGUE
from ..metrics.catalogue import COMPANION, statsd_metrics
from ..metrics.definitions import Definition
from ..profiles import Profile
from ..reporters.families import families, sample_names
from .asked import Asked, Question
from .findings import Finding
from .lint_metrics import silence
from .shipped import CHECKS, KPI_PREFIX, fills, shipped

# What the Agent makes of a histogram, by default and with all its aggregations on.
_OF_HISTOGRAM: Final = ("avg", "count", "median", "max", "95percentile", "min", "sum")
# KPIs that are a mean, a share or a percentile of one client in one process.
_MEANS: Final = frozenset(
    KPI_PREFIX + key
    for key in (
        *("connection_success_rate", "reconnection_success_rate", "message_error_rate", "error_recovery_rate"),
        *("connection_time_ms", "time_to_reconnect_s", "processing_time_ms"),
    )
)
_MEANS_OF_HISTOGRAM: Final = frozenset({"avg", "median", "95percentile"})
_DEFAULT: Final = shipped(statsd_metrics())
# The tags that the package makes, and those that may be mistaken for them.
_TAGS: Final = {tag for one in _DEFAULT.values() for tag in one.tag_names}
_TAGS.update(key for spec in CATALOGUE.values() for key in spec.metadata)
_SCOPES: Final = frozenset({"client", "scope"})
_FROM_PROMETHEUS: Final = frozenset({"le", "quantile"})


@dataclass(slots=True)
class Known:
    """A metric that can be asked for, by the name of its definition: its tags, each with its values if they are listed,
    and the event it is made of, if there is one. `averaged`: its values are already means; `whole` is the distribution
    that has all values of a gauge, which keeps only the last one."""

    name: str
    tags: dict[str, frozenset[str] | None]
    event: str | None = None
    averaged: bool = False
    whole: str = ""


def known(metrics: Iterable[Definition]) -> dict[str, Known]:
    """The metrics by each name that a query may use, in Datadog and in Prometheus: what these definitions make, and
    what a process sends in addition."""
    listed = list(metrics)
    found = {
        name: Known(name, dict.fromkeys(one.tag_names), one.event, name in _MEANS)
        for name, one in shipped(listed).items()
    }
    for one in listed:
        metric = found[one.name]
        for tag, key in one.tags:
            metric.tags[tag] = _values(one.event, key)
        if one.kind == "gauge" and not one.state and one.name + COMPANION in found:
            metric.whole = one.name + COMPANION
        if one.kind == "summary":
            for last in _OF_HISTOGRAM:
                averaged = last in _MEANS_OF_HISTOGRAM
                found.setdefault(f"{one.name}.{last}", Known(one.name, metric.tags, one.event, averaged))
        for name, labels in _in_prometheus(one):
            tags = {label: metric.tags.get(label) for label in labels}
            found.setdefault(name, Known(one.name, tags, one.event))
    return found


_CHECKS: Final = {name: Known(name, dict.fromkeys(tags), event) for name, (event, tags) in CHECKS.items()}


def _values(event: str, key: str) -> frozenset[str] | None:
    """The values of a tag, as they are written, if the catalogue lists them."""
    spec = CATALOGUE.get(event)
    values = None if spec is None else spec.values(key)
    return None if values is None else frozenset(str(value).lower() for value in values)


def _in_prometheus(one: Definition) -> Iterator[tuple[str, frozenset[str]]]:
    """The names of a metric's samples in Prometheus, and their labels; none if Prometheus refuses the metric."""
    try:
        family = families([one])[one.name]
    except ConfigurationError:
        return
    for name in sample_names(family):
        yield name, family.labels | _FROM_PROMETHEUS


def namespaces(questions: Iterable[Question], metrics: Mapping[str, Known]) -> tuple[str, ...]:
    """The namespaces before known metrics and checks, each with its dot; the empty one is always among them."""
    found = {""}
    for question in questions:
        named = [(one.metric, _known_part(one.metric, metrics)) for one in question.asked]
        named += [(one.metric, _known_part(one.metric, _CHECKS)) for one in question.checks]
        found.update(name.removesuffix(part) for name, part in named if part)
    return tuple(sorted(found))


def of_question(
    question: Question,
    metrics: Mapping[str, Known],
    profile: Profile | None,
    reported: Container[str] = (),
    before: Iterable[str] = ("",),
) -> Iterator[Finding]:
    """What is wrong with one query, under a profile if one is given. `reported` are the names of metrics that are
    already reported as switched off by the profile; `before` are the namespaces."""
    for asked in question.asked:
        metric = _find(asked.metric, metrics)
        if metric is not None:
            yield from _of_known(question.place, asked, metric)
            event = metric.event if metric.name not in reported else None
            if profile is not None and event is not None and not fills(profile, event):
                yield Finding("never fires", question.place, f"{asked.metric} has no data: {silence(profile, event)}")
        else:
            for name in _ours(asked.metric, metrics, before):
                default = "; the default list has it" if name in _DEFAULT else ""
                text = f"no metric is called {asked.metric}{default or nearest(name, metrics)}"
                yield Finding("unknown metric", question.place, text)
    for asked in question.checks:
        yield from _of_check(question.place, asked, profile, before)
    for name in question.averages:
        text = f"it averages the means of {name}: each counts once, however many values it has; divide sum by sum"
        yield Finding("average of averages", question.place, text)


def _of_check(place: str, asked: Asked, profile: Profile | None, before: Iterable[str]) -> Iterator[Finding]:
    """Whether there is such a service check, with these tags."""
    check = _find(asked.metric, _CHECKS)
    if check is not None:
        yield from _of_known(place, asked, check)
        if profile is not None and check.event is not None and not fills(profile, check.event):
            yield Finding("never fires", place, f"{asked.metric} has no data: {silence(profile, check.event)}")
    else:
        for name in _ours(asked.metric, _CHECKS, before):
            text = f"no service check is called {asked.metric}{nearest(name, _CHECKS)}"
            yield Finding("unknown check", place, text)


def _ours(name: str, known: Iterable[str], before: Iterable[str]) -> list[str]:
    """An unknown name without its namespace, if it is to be checked; otherwise nothing."""
    rooms = set(map(_room, known))
    parts = (name.removeprefix(space) for space in before if name.startswith(space))
    return [part for part in parts if _room(part) in rooms][:1]


def _room(name: str) -> str:
    """The first part of a name."""
    return name.replace("_", ".").partition(".")[0]


def _find(name: str, metrics: Mapping[str, Known]) -> Known | None:
    """The metric of this name, which may have a namespace."""
    return metrics.get(_known_part(name, metrics))


def _known_part(name: str, metrics: Container[str]) -> str:
    """A name without its namespace; '' if it is unknown."""
    while name and name not in metrics:
        name = name.partition(".")[2]
    return name


def _of_known(place: str, asked: Asked, metric: Known) -> Iterator[Finding]:
    """Whether the metric has these tags and values, and can be combined like this."""
    for tag in sorted(asked.by | {key for key, _ in asked.where}):
        if tag in _TAGS and tag not in metric.tags:
            has = ", ".join(sorted(metric.tags.keys() - _FROM_PROMETHEUS)) or "none"
            yield Finding("unknown tag", place, f"{asked.metric} has no tag {tag}; its tags: {has}")
    for tag, value in asked.where:
        values = metric.tags.get(tag)
        if value is not None and values is not None and value not in values:
            text = f"{tag} of {asked.metric} is never {value!r}; it is one of {', '.join(sorted(values))}"
            yield Finding("unknown tag", place, text)
    if metric.whole:
        text = f"{asked.metric} keeps the last value of 10 s; query {metric.whole}, which has all of them"
        yield Finding("last values", place, text)
    if metric.averaged and asked.space == "avg":
        together = ", ".join(sorted(metric.tags.keys() - _separated(asked)))
        if together:
            text = (
                f"{asked.metric} is a mean already, averaged over each {together}; query its worst, or sums of counts"
            )
            yield Finding("average of averages", place, text)


def _separated(asked: Asked) -> frozenset[str]:
    """The tags whose values the query keeps separate. A series of one client has no scope."""
    separated = asked.by | {key for key, value in asked.where if value is not None}
    return separated | _SCOPES if separated & _SCOPES else separated
