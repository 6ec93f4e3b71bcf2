"""The linter: what in a list of definitions, and in the queries asked of it, can never answer right.

Metric by metric it judges against the catalogue of events, then query by query against the metrics. Pure functions, no
thread: nothing is imported, read or sent.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ..metrics import guide
from ..metrics.catalogue import prometheus_metrics, statsd_metrics
from ..metrics.definitions import Definition
from ..profiles import PROFILES, Profile
from .asked import Question, of_lines, of_text
from .findings import Report
from .lint_metrics import of_metrics
from .lint_queries import known, of_question
from .panels import sections


def lint(
    metrics: Iterable[Definition],
    questions: Iterable[Question] = (),
    profile: Profile | None = None,
) -> Report:
    """Judge a list that somebody chose, and queries of it; without definitions, queries of the default lists.

    With a profile, what that profile never emits is a fault: of a metric, or where a query asks for a default one.
    """
    listed, asked = list(metrics), list(questions)
    there = known(listed or [*statsd_metrics(), *prometheus_metrics()])
    found = list(of_metrics(listed, profile, own=True))
    for question in asked:
        found += of_question(question, there, None if listed else profile)
    return _report(found, listed, asked)
