"""What a query asks of which metrics, in any language: our own description, Datadog's text, or PromQL.

The linter checks this and nothing else of a query. Pure functions and values, no thread; the texts come from users.
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

# `avg:name{filter} by {tags}`; no rule depends on the functions around it or on its rollup.
_DATADOG: Final = re.compile(
    r"\b(?P<space>avg|sum|min|max|count|p\d\d(?:\.\d+)?):(?P<metric>[A-Za-z][\w.]*)\{(?P<where>[^}]*)\}"
    r"(?:\s*by\s*\{(?P<by>[^}]*)\})?"
)
# `"name".over("*").by("client").last(4).count_by_status()`
_CHECK: Final = re.compile(r'\s*"(?P<check>[^"]+)"(?=\.over\()')
_CALL: Final = re.compile(r"\.(?P<what>over|exclude|by)\((?P<tags>[^)]*)\)")
_QUOTED: Final = re.compile(r'"([^"]*)"')
# The keys of queries in boards, monitors and SLOs, and in Grafana's boards and the rules of Prometheus.
_IN_JSON: Final = ("q", "query", "numerator", "denominator")
_PROMQL_IN_JSON: Final = "expr"
_TITLES: Final = ("title", "name", "alert", "record")
_TAG: Final = re.compile(r"[^\s,()]+")
_FILTER: Final = re.compile(r"(?:NOT\s+|!\s*)?[^\s,()!$:]+:[^\s,()]+|[^\s,()!$:]+(?=\s+(?:NOT\s+)?IN\b)")


@dataclass(frozen=True, slots=True)
class Asked:
    """One metric, by its name in the query. `space` is how its series are combined, empty if the language says that
    elsewhere; `by` are the tags it is grouped by, `where` those that filter it, each with its value if there is one."""

    metric: str
    space: str = ""
    by: frozenset[str] = frozenset()
    where: tuple[tuple[str, str | None], ...] = ()


@dataclass(frozen=True, slots=True)
class Question:
    """One query: its place, and what it asks of metrics, or of service `checks`. `averages` are the metrics whose
    means the query itself averages."""

    place: str
    asked: tuple[Asked, ...]
    averages: tuple[str, ...] = ()
    checks: tuple[Asked, ...] = ()


def of_lines(place: str, lines: Iterable[Line]) -> Question:
    """What the lines of a panel, a monitor or an SLO ask."""
    return Question(place, tuple(_of_query(query) for line in lines for query in line.queries))


def of_check(place: str, check: str, by: Iterable[str] = (), filters: Iterable[str] = ()) -> Question:
    """What a panel or a monitor of a service check asks."""
    asked = Asked(check, "", frozenset(by), tuple(_filter(one) for text in filters for one in _FILTER.findall(text)))
    return Question(place, (), checks=(asked,))


def _texts(value: object) -> list[str]:
    return [one for one in value if isinstance(one, str)] if isinstance(value, list | tuple) else []


def _of_query(query: Query) -> Asked:
    where = (*map(_filter, query.where), *((name, None) for name in query.variables))
    return Asked(query.metric, query.space, frozenset(query.by), where)


def of_text(place: str, text: str) -> Question:
    """What a query in text form asks: it is Datadog's if a metric follows `avg:` or the like, or a check precedes
    `.over(`, otherwise PromQL. Raises ConfigurationError for any other text."""
    check = _CHECK.match(text)
    if check:
        calls = [(call["what"], _QUOTED.findall(call["tags"])) for call in _CALL.finditer(text)]
        by = [tag for what, tags in calls if what == "by" for tag in tags]
        return of_check(place, check["check"], by, [tag for what, tags in calls if what != "by" for tag in tags])
    found = list(_DATADOG.finditer(text))
    if found:
        return Question(place, tuple(map(_of_match, found)))
    try:
        read = promql.read(text)
    except ConfigurationError as error:
        raise ConfigurationError(f"{place} is not a query: {error}") from None
    if not read.selectors:
        raise ConfigurationError(f"{place} asks for no metric: {checks.shown(text)}")
    asked = tuple(Asked(one.metric, "", one.by, one.where) for one in read.selectors)
    return Question(place, asked, read.averages)


def _of_match(found: re.Match[str]) -> Asked:
    by = frozenset(_TAG.findall(found["by"] or ""))
    return Asked(found["metric"], found["space"], by, tuple(map(_filter, _FILTER.findall(found["where"]))))


def _filter(text: str) -> tuple[str, str | None]:
    """The tag of a filter and its value; no value if it is a pattern, a variable, or an exclusion."""
    key, _, value = text.removeprefix("NOT ").lstrip("! ").partition(":")
    exact = value and text.startswith(key) and not any(sign in value for sign in "*$?")
    return key, value if exact else None


def of_document(place: str, document: object) -> Iterator[Question]:
    """The questions of a board, monitor, SLO or rule as JSON, each by the nearest title around it. A query of a
    source other than metrics, such as logs, is not a question."""
    if isinstance(document, Mapping):
        titles = _TITLES if "data_source" not in document else ()  # its name is then its place in a formula
        place = next((str(document[key]) for key in titles if document.get(key)), place)
        if document.get("type") == "check_status" and isinstance(document.get("check"), str):
            yield of_check(place, document["check"], *(_texts(document.get(key)) for key in ("group_by", "tags")))
        for key, value in document.items():
            if key in _IN_JSON and isinstance(value, str):
                if _DATADOG.search(value) or _CHECK.match(value):
                    yield of_text(place, value)
            elif key == _PROMQL_IN_JSON and isinstance(value, str):
                yield of_text(place, value)
            else:
                yield from of_document(place, value)
    elif isinstance(document, list | tuple):
        for one in document:
            yield from of_document(place, one)
