"""The linter: finds what in a list of definitions, and in queries on it, can never give a right answer.

It checks each metric against the catalogue of events, then each query against the metrics. With a profile,
what that profile never emits can never have data. Pure functions, no thread: nothing is imported, read or sent.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from .. import checks
from ..errors import ConfigurationError
from ..metrics import guide
from ..metrics.catalogue import statsd_metrics
from ..metrics.definitions import Definition
from ..metrics.prometheus_list import prometheus_metrics
from ..profiles import PROFILES, Profile, ProfileName, resolve
from ..redaction import one_line
from .asked import Question, of_check, of_document, of_lines, of_text
from .findings import Finding, Report
from .lint_metrics import of_metrics
from .lint_queries import known, namespaces, of_question
from .panels import Panel, Section, drawn, sections
from .queries import CHECKED_BY
from .watches import check_watches, objectives, watches

_ALLOWED = "metric definitions and queries: ws.counter(...) and the like, texts, boards as JSON, or lists of these"


def lint(given: object, profile: ProfileName | Profile | None = None) -> Report:
    """Check definitions and queries, one or a list; queries as texts or as JSON documents.

    Queries without a definition beside them are checked against the default lists. Raises ConfigurationError for
    anything else, and for a text that is not a query.
    """
    return _judge(given, None if profile is None else resolve(profile), frozenset(_defaults()))


def lint_guide(profile: Profile | None = None) -> Report:
    """Check the guide's own definitions and queries, like any others."""
    return _judge([*guide.DEFINITIONS, guide.QUERIES], profile, frozenset())


def _judge(given: object, profile: Profile | None, default: frozenset[Definition]) -> Report:
    listed: list[Definition] = []
    asked: list[Question] = []
    for one in _read(given):
        if isinstance(one, Definition):
            listed.append(one)
        else:
            asked.append(one)
    if not listed and not asked:
        raise ConfigurationError("there is nothing to check; pass metric definitions or queries")
    there = known(listed or _defaults())
    reported = {one.name for one in listed if one not in default}
    found = list(of_metrics(listed, profile, default))
    before = namespaces(asked, there)
    for question in asked:
        found += of_question(question, there, profile, reported, before)
    return _report(found, listed, len(asked))


def _defaults() -> list[Definition]:
    return [*statsd_metrics(), *prometheus_metrics()]


def lint_shipped(profile: Profile | None = None) -> Report:
    """Check the default list and what is made from it: board, monitors and SLOs of the profile, or of each.

    The list is the same for every profile: what a profile never emits is not a fault, unless its board asks for it.
    """
    listed = statsd_metrics()
    there = known(listed)
    found = list(of_metrics(listed, profile, listed))
    queries = 0
    for one in PROFILES.values() if profile is None else (profile,):
        for panel in _panels(drawn(one)):  # a misspelled line is not on the board, as there is no such metric
            found += of_question(_of_panel(panel), there, None)
        for question in _made_for(one):
            found += of_question(question, there, one)
            queries += 1
    return _report(found, listed, queries)


def _report(found: Iterable[Finding], listed: Iterable[Definition], queries: int) -> Report:
    return Report(tuple(dict.fromkeys(found)), len({one.name for one in listed}), queries)


def _made_for(profile: Profile) -> Iterator[Question]:
    """What the board, the monitors and the SLOs of a profile ask."""
    yield from map(_of_panel, _panels(sections(profile)))
    yield from (of_lines(f"monitor, {watch.title}", [watch.line]) for watch in watches(profile))
    for check in check_watches(profile):
        yield of_check(f"monitor, {check.title}", check.check, check.by, check.without)
    for one in objectives(profile):
        yield of_lines(f"SLO, {one.title}", filter(None, (one.good, one.all_)))


def _panels(of: Iterable[Section]) -> list[Panel]:
    """The panels that ask for metrics or for a check."""
    return [panel for section in of for panel in section.panels if panel.lines or panel.check]


def _of_panel(panel: Panel) -> Question:
    place = f"board, {panel.title}"
    return of_check(place, panel.check, CHECKED_BY) if panel.check else of_lines(place, panel.lines)


def _read(given: object) -> list[Definition | Question]:
    """All parts. Raises ConfigurationError also for what cannot be read, such as a list that contains itself."""
    try:
        return list(_parts("the query", given))
    except ConfigurationError:
        raise
    except Exception as error:
        raised = one_line(f"{type(error).__name__}: {error}")
        raise ConfigurationError(f"what lint checks raises {raised} when it is read; pass {_ALLOWED}") from error


def _parts(place: str, given: object) -> Iterator[Definition | Question]:
    """Definitions and questions, out of lists, texts and mappings of titles to texts or of a document."""
    if isinstance(given, Definition):
        yield given
    elif isinstance(given, str):
        yield of_text(place, given)
    elif isinstance(given, Mapping):
        questions = list(of_document(place, given))
        titled = given if not questions and all(isinstance(value, str) for value in given.values()) else {}
        yield from questions or (of_text(str(title), text) for title, text in titled.items())
    elif isinstance(given, Iterable) and not isinstance(given, bytes):
        for number, one in enumerate(given, 1):
            yield from _parts(f"query {number}", one)
    else:
        raise checks.refused("what lint checks", given, _ALLOWED)
