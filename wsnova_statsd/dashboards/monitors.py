"""Renders watches for Datadog: monitors and SLOs as the JSON documents that its API accepts.

Pure functions, no thread.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from ..insight.rules import Rule
from ..profiles import Profile
from .datadog import Json, formula, text, title
from .queries import Line
from .watches import CheckWatch, Objective, Watch, check_watches, objectives, watches

_FORGOTTEN: Final = 1  # hours without a value after which a monitor has recovered
_DAYS: Final = "30d"
_SLICE: Final = 300  # seconds of a slice of an objective


@dataclass(frozen=True, slots=True)
class _Set:
    """What one push makes: for a profile, under a namespace, and for one `env` or all of them."""

    profile: Profile
    namespace: str
    env: str | None

    def title(self, of: str) -> str:
        """The name of a document."""
        return f"{title(self.profile, self.env)}: {of}"

    @property
    def tags(self) -> list[str]:
        """The tags of every document."""
        return ["source:wsnova-statsd", f"profile:{self.profile.name}", *self.where]

    @property
    def where(self) -> list[str]:
        """The filters of every query."""
        return [f"env:{self.env}"] if self.env else []

    def query(self, line: Line) -> str:
        """A line as one text: its formula with the queries in it."""
        queries = (replace(one, where=(*one.where, *self.where)) for one in line.queries)
        names = dict(zip("abcdefgh", (text(one, self.namespace) for one in queries), strict=False))
        return formula(line, names)


def monitors(
    profile: Profile, rules: Iterable[Rule] | None = None, namespace: str = "", env: str | None = None
) -> dict[str, Json]:
    """The monitors by name: for each alert rule (None: all that fit the profile), each KPI target, and the checks.
    With `env`, only for what has that tag."""
    of = _Set(profile, namespace, env)
    found = {one.name: _query_alert(one, of) for one in watches(profile, rules)}
    return found | {one.name: _service_check(one, of) for one in check_watches(profile)}


def slos(profile: Profile, namespace: str = "", env: str | None = None) -> dict[str, Json]:
    """The SLOs by name; with `env`, only for what has that tag."""
    of = _Set(profile, namespace, env)
    return {one.name: _slo(one, of) for one in objectives(profile)}


def _query_alert(watch: Watch, of: _Set) -> Json:
    query = f"{watch.how}(last_{watch.minutes}m):{of.query(watch.line)} {watch.sign} {_number(watch.limit)}"
    thresholds = {"critical": watch.limit, "critical_recovery": watch.recovery}
    # If values arrive all the time, a window that has just begun is no verdict; if rarely, Datadog would skip most.
    more: Json = {"require_full_window": not watch.rare}
    if watch.how != "sum":  # a state that ends while it is bad would alert for ever; a sum is 0 then
        more["timeout_h"] = _FORGOTTEN
    return _monitor(watch, "query alert", query, thresholds, watch.line.queries[0].by, of, more)


def _service_check(watch: CheckWatch, of: _Set) -> Json:
    over, groups, without = (
        ",".join(f'"{one}"' for one in names) for names in (of.where or ["*"], watch.by, watch.without)
    )
    excluded = f".exclude({without})" if without else ""
    # The number of last statuses has to exceed the threshold.
    last = f".last({watch.bad + 1}).count_by_status()"
    query = f'"{of.namespace}{watch.check}".over({over}){excluded}.by({groups}){last}'
    thresholds = {"critical": watch.bad, "warning": watch.bad, "ok": watch.good}
    silent = {} if watch.silent is None else {"no_data_timeframe": watch.silent}
    more = {"notify_no_data": watch.silent is not None, **silent}
    return _monitor(watch, "service check", query, thresholds, watch.by, of, more)


def _monitor(
    watch: Watch | CheckWatch, kind: str, query: str, thresholds: Json, by: Iterable[str], of: _Set, more: Json
) -> Json:
    """`{{client.name}}` in a message is the value of a group's tag, which Datadog fills in: it names the client."""
    whom = ", ".join(f"{tag} {{{{{tag}.name}}}}" for tag in by)
    return {
        "name": of.title(watch.title),
        "type": kind,
        "query": query,
        "message": f"{whom[:1].upper()}{whom[1:]}: {watch.advice}",
        "tags": of.tags,
        "options": {"thresholds": thresholds, "notify_no_data": False, "include_tags": True, **more},
    }


def _slo(one: Objective, of: _Set) -> Json:
    document: Json = {
        "name": of.title(one.title),
        "description": f"{one.meaning} Made by wsnova-statsd for profile {of.profile.name}.",
        "tags": of.tags,
        "thresholds": [{"timeframe": _DAYS, "target": one.target, "warning": one.warning}],
    }
    if one.all_ is not None:
        query = {"numerator": of.query(one.good), "denominator": of.query(one.all_)}
        return {**document, "type": "metric", "query": query}
    asked = {
        "formulas": [{"formula": "query1"}],
        "queries": [{"data_source": "metrics", "name": "query1", "query": of.query(one.good)}],
    }
    condition = {"comparator": "<", "threshold": one.limit, "query_interval_seconds": _SLICE, "query": asked}
    return {**document, "type": "time_slice", "sli_specification": {"time_slice": condition}}


def _number(limit: float) -> str:
    """Without an exponent, which a query does not know."""
    return f"{limit:.12f}".rstrip("0").rstrip(".")
