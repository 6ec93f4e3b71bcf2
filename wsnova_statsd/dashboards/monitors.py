"""Datadog's form of what is watched: monitors and SLOs as the JSON documents that its API takes.

Pure functions, no thread.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from ..insight.rules import Rule
from ..profiles import Profile
from .datadog import TITLE, Json, formula, text
from .queries import Line
from .watches import CheckWatch, Objective, Watch, check_watches, objectives, watches

_DAYS: Final = "30d"
_SLICE: Final = 300  # seconds of a slice of an objective


def monitors(profile: Profile, rules: Iterable[Rule] | None = None, namespace: str = "") -> dict[str, Json]:
    """The monitors by name: for each alert rule (None: all that fit the profile), each KPI target, and the checks."""
    found = {one.name: _query_alert(one, profile, namespace) for one in watches(profile, rules)}
    return found | {one.name: _service_check(one, profile, namespace) for one in check_watches(profile)}


def slos(profile: Profile, namespace: str = "") -> dict[str, Json]:
    """The SLOs by name."""
    return {one.name: _slo(one, profile, namespace) for one in objectives(profile)}


def _query_alert(watch: Watch, profile: Profile, namespace: str) -> Json:
    query = f"{watch.how}(last_{watch.minutes}m):{_over(watch.line, namespace)} {watch.sign} {_number(watch.limit)}"
    thresholds = {"critical": watch.limit, "critical_recovery": watch.recovery}
    state = watch.how != "sum"  # it is told all the time: a window that has just begun is no verdict
    return _monitor(watch.title, "query alert", query, watch.advice, thresholds, profile, require_full_window=state)


def _service_check(watch: CheckWatch, profile: Profile, namespace: str) -> Json:
    groups, without = (",".join(f'"{one}"' for one in names) for names in (watch.by, watch.without))
    excluded = f".exclude({without})" if without else ""
    # The last ones have to hold the threshold.
    query = f'"{namespace}{watch.check}".over("*"){excluded}.by({groups}).last({watch.bad + 1}).count_by_status()'
    thresholds = {"critical": watch.bad, "warning": watch.bad, "ok": watch.good}
    silent = {} if watch.silent is None else {"no_data_timeframe": watch.silent}
    more = {"notify_no_data": watch.silent is not None, **silent}
    return _monitor(watch.title, "service check", query, watch.advice, thresholds, profile, **more)


def _monitor(
    title: str, kind: str, query: str, advice: str, thresholds: Json, profile: Profile, **options: Any
) -> Json:
    """`{{client.name}}` in a message is the value of a group's tag, which Datadog fills in."""
    return {
        "name": f"{TITLE} ({profile.name}): {title}",
        "type": kind,
        "query": query,
        "message": f"Client {{{{client.name}}}}: {advice}",
        "tags": _tags(profile),
        "options": {"thresholds": thresholds, "notify_no_data": False, "include_tags": True, **options},
    }


def _slo(one: Objective, profile: Profile, namespace: str) -> Json:
    document: Json = {
        "name": f"{TITLE} ({profile.name}): {one.title}",
        "description": f"{one.told} Made by wsnova-statsd for profile {profile.name}.",
        "tags": _tags(profile),
        "thresholds": [{"timeframe": _DAYS, "target": one.target, "warning": one.warning}],
    }
    if one.all_ is not None:
        query = {"numerator": _over(one.good, namespace), "denominator": _over(one.all_, namespace)}
        return {**document, "type": "metric", "query": query}
    asked = {
        "formulas": [{"formula": "query1"}],
        "queries": [{"data_source": "metrics", "name": "query1", "query": _over(one.good, namespace)}],
    }
    condition = {"comparator": "<", "threshold": one.limit, "query_interval_seconds": _SLICE, "query": asked}
    return {**document, "type": "time_slice", "sli_specification": {"time_slice": condition}}


def _tags(profile: Profile) -> list[str]:
    return ["source:wsnova-statsd", f"profile:{profile.name}"]


def _over(line: Line, namespace: str) -> str:
    """A line in one text: its queries stand in its formula."""
    names = dict(zip("abcdefgh", (text(query, namespace) for query in line.queries), strict=False))
    return formula(line, names)


def _number(limit: float) -> str:
    """Without an exponent, which a query does not know."""
    return f"{limit:.12f}".rstrip("0").rstrip(".")
