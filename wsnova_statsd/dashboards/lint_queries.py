"""Judges queries against the metrics there are: what can never have an answer, or has one that means nothing.

A name is judged if its first part is that of a metric here: `system.cpu.idle` may well be somebody else's. A namespace
may stand before it. A tag is judged if some event has it: others, such as `env` or `pod`, come from the Agent or from a
client's own tags. Pure functions, no thread.
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
from .shipped import KPI_PREFIX, fills, shipped

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
# The tags that are made here, and what they might be mistaken for.
_TAGS: Final = {tag for one in _DEFAULT.values() for tag in one.tag_names}
_TAGS.update(key for spec in CATALOGUE.values() for key in spec.metadata)
_SCOPES: Final = frozenset({"client", "scope"})
_FROM_PROMETHEUS: Final = frozenset({"le", "quantile"})


@dataclass(slots=True)
class Known:
    """A metric that can be asked for, by the name of its definition: its tags, each with its values if there is a list
    of them, and the event that it is made of, if it is one. `averaged`: its values are means already; `whole` is the
    distribution that has all values of a gauge which keeps the last one."""

    name: str
    tags: dict[str, frozenset[str] | None]
    event: str | None = None
    averaged: bool = False
    whole: str = ""


def known(metrics: Iterable[Definition]) -> dict[str, Known]:
    """By each name under which a query may ask for it, in Datadog and in Prometheus: what these definitions make, and
    what leaves a process beside them."""
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


def _values(event: str, key: str) -> frozenset[str] | None:
    """The values of a tag, as they are written, if the catalogue lists them."""
    spec = CATALOGUE.get(event)
    values = None if spec is None else spec.values(key)
    return None if values is None else frozenset(str(value).lower() for value in values)


def _in_prometheus(one: Definition) -> Iterator[tuple[str, frozenset[str]]]:
    """The names of a metric's samples there, and their labels; none of a metric that Prometheus refuses."""
    try:
        family = families([one])[one.name]
    except ConfigurationError:
        return
    for name in sample_names(family):
        yield name, family.labels | _FROM_PROMETHEUS


def of_question(
    question: Question, metrics: Mapping[str, Known], profile: Profile | None, told: Container[str] = ()
) -> Iterator[Finding]:
    """What is wrong with one query, under a profile if one is given. `told` are the names of metrics of which it is a
    fault already that the profile switches them off."""
    rooms = {_room(name) for name in metrics}
    for asked in question.asked:
        metric = _find(asked.metric, metrics)
        if metric is not None:
            yield from _of_known(question.place, asked, metric)
            event = metric.event if metric.name not in told else None
            if profile is not None and event is not None and not fills(profile, event):
                yield Finding("never fires", question.place, f"{asked.metric} has no data: {silence(profile, event)}")
        elif _room(asked.metric) in rooms:
            default = "; the default list has it" if asked.metric in _DEFAULT else ""
            text = f"no metric is called {asked.metric}{default or nearest(asked.metric, metrics)}"
            yield Finding("unknown metric", question.place, text)
    for name in question.averages:
        text = f"it averages the means of {name}: each counts once, however many values it has; divide sum by sum"
        yield Finding("average of averages", question.place, text)


def _room(name: str) -> str:
    """The first part of a name."""
    return name.replace("_", ".").partition(".")[0]


def _find(name: str, metrics: Mapping[str, Known]) -> Known | None:
    """The metric of this name, behind a namespace if there is one."""
    while name and name not in metrics:
        name = name.partition(".")[2]
    return metrics.get(name)


def _of_known(place: str, asked: Asked, metric: Known) -> Iterator[Finding]:
    """Whether the metric has these tags and values, and can be put together like this."""
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
        text = f"{asked.metric} keeps the last value of 10 s; ask {metric.whole}, which has all of them"
        yield Finding("last values", place, text)
    if metric.averaged and asked.space == "avg":
        together = ", ".join(sorted(metric.tags.keys() - _told_apart(asked)))
        if together:
            text = f"{asked.metric} is a mean already, averaged over each {together}; ask its worst, or sums of counts"
            yield Finding("average of averages", place, text)


def _told_apart(asked: Asked) -> frozenset[str]:
    """The tags of which the query puts no two values together. What is of one client has no scope."""
    told = asked.by | {key for key, value in asked.where if value is not None}
    return told | _SCOPES if told & _SCOPES else told
