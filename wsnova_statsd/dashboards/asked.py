"""What a query asks of which metrics, whatever it is written in: our own description, Datadog's text, or PromQL.

The linter judges this and nothing else of a query. Pure functions and values, no thread; texts are a user's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from .. import checks
from ..errors import ConfigurationError
from . import promql
from .queries import Line, Query

# `avg:name{filter} by {tags}`; what functions stand around it and how it is rolled up matters to no rule.
_DATADOG: Final = re.compile(
    r"\b(?P<space>avg|sum|min|max|count|p\d\d(?:\.\d+)?):(?P<metric>[A-Za-z][\w.]*)\{(?P<where>[^}]*)\}"
    r"(?:\s*by\s*\{(?P<by>[^}]*)\})?"
)
# The keys of queries in boards, monitors and SLOs, and in Grafana's boards and the rules of Prometheus.
_IN_JSON: Final = ("q", "query", "numerator", "denominator")
_PROMQL_IN_JSON: Final = "expr"
_TITLES: Final = ("title", "name", "alert", "record")
_TAG: Final = re.compile(r"[^\s,()]+")
_FILTER: Final = re.compile(r"(?:NOT\s+|!\s*)?[^\s,()!$:]+:[^\s,()]+|[^\s,()!$:]+(?=\s+(?:NOT\s+)?IN\b)")


@dataclass(frozen=True, slots=True)
class Asked:
    """One metric, by the name that the query has for it. `space` puts its series together, empty if the language says
    that elsewhere; `by` are the tags it is grouped by, `where` those that filter it, each with its value if there is
    one."""

    metric: str
    space: str = ""
    by: frozenset[str] = frozenset()
    where: tuple[tuple[str, str | None], ...] = ()


@dataclass(frozen=True, slots=True)
class Question:
    """One query: where it stands, and what it asks. `averages` are the metrics whose means it averages by its form."""

    place: str
    asked: tuple[Asked, ...]
    averages: tuple[str, ...] = ()


def of_lines(place: str, lines: Iterable[Line]) -> Question:
    """What the lines of a panel, a monitor or an SLO ask."""
    return Question(place, tuple(_of_query(query) for line in lines for query in line.queries))


def _of_query(query: Query) -> Asked:
    where = (*map(_filter, query.where), *((name, None) for name in query.variables))
    return Asked(query.metric, query.space, frozenset(query.by), where)


def of_text(place: str, text: str) -> Question:
    """What a query as text asks: of Datadog if a metric stands behind `avg:` or the like, else PromQL. Raises
    ConfigurationError for what can be read as neither."""
    found = list(_DATADOG.finditer(text))
    if found:
        return Question(place, tuple(map(_of_match, found)))
    try:
        read = promql.read(text)
    except ConfigurationError as error:
        raise ConfigurationError(f"{place} is no query: {error}") from None
    if not read.selectors:
        raise ConfigurationError(f"{place} asks for no metric: {checks.shown(text)}")
    asked = tuple(Asked(one.metric, "", one.by, one.where) for one in read.selectors)
    return Question(place, asked, read.averages)


def _of_match(found: re.Match[str]) -> Asked:
    by = frozenset(_TAG.findall(found["by"] or ""))
    return Asked(found["metric"], found["space"], by, tuple(map(_filter, _FILTER.findall(found["where"]))))


def _filter(text: str) -> tuple[str, str | None]:
    """The tag of a filter and its value; no value where it is a pattern, a variable, or what is left out."""
    key, _, value = text.removeprefix("NOT ").lstrip("! ").partition(":")
    exact = value and text.startswith(key) and not any(sign in value for sign in "*$?")
    return key, value if exact else None


def of_document(place: str, document: object) -> Iterator[Question]:
    """The questions of a board, monitor, SLO or rule as JSON, each by the nearest title around it. A query of another
    source than metrics, such as logs, is no question."""
    if isinstance(document, Mapping):
        titles = _TITLES if "data_source" not in document else ()  # that one's name is its place in a formula
        place = next((str(document[key]) for key in titles if document.get(key)), place)
        for key, value in document.items():
            if key in _IN_JSON and isinstance(value, str):
                if _DATADOG.search(value):
                    yield of_text(place, value)
            elif key == _PROMQL_IN_JSON and isinstance(value, str):
                yield of_text(place, value)
            else:
                yield from of_document(place, value)
    elif isinstance(document, list | tuple):
        for one in document:
            yield from of_document(place, one)
