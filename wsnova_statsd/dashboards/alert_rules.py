"""Renders watches for Prometheus: alert rules, as the document of a rule file.

Each corresponds to the monitor of the same name: a rule decides in the process and its alerts are counted; a KPI is a
state that has to miss its target for several minutes. A process that has ended is known by its last scrapes. Pure
functions, no thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from ..insight.rules import Rule
from ..profiles import Profile
from ..reporters.families import Naming
from .datadog import Json
from .exposed import Page
from .shipped import CAN_CONNECT, OVERALL
from .watches import CheckWatch, Watch, check_watches, watches

_CHECKED_EVERY: Final = 10  # seconds between two service checks
_CRITICAL: Final = 2
_MEMORY: Final = "1h"  # for how long a client that is not reported any more is missed
_SEVERITIES: Final = {"alert": "warning", "kpi": "warning", "check": "critical"}


def alert_rules(profile: Profile, rules: Iterable[Rule] | None = None, naming: Naming = "guide") -> Json:
    """The rule file: for each alert rule (None: all that fit the profile), each KPI target, and the checks."""
    page = Page(naming)
    found = [*(_of_watch(one, page, profile) for one in watches(profile, rules))]
    found += [_of_check(one, page, profile) for one in check_watches(profile)]
    name = f"wsnova-statsd {profile.name}"
    return {"groups": [{"name": name, "rules": [one for one in found if one is not None]}]}


def _of_watch(watch: Watch, page: Page, profile: Profile) -> Json | None:
    """Occurrences are counted over the minutes; a state has to last for them, so that its best value counts."""
    counted = watch.how == "sum"
    text = page.line(watch.line, f"{watch.minutes}m")
    if text is None:
        return None
    limit = watch.limit if counted else watch.limit / page.divisor(watch.line)
    lasting = {} if counted else {"for": f"{watch.minutes}m"}
    return _rule(watch.name, watch.title, f"{text} {watch.sign} {_number(limit)}", watch.advice, profile, lasting)


def _of_check(watch: CheckWatch, page: Page, profile: Profile) -> Json | None:
    scope, _, overall = OVERALL.partition(":")
    if watch.check == CAN_CONNECT:
        text = page.check(watch.check, "min")
        bad = " or ".join([f"{text} == 0", *_silent(watch, page)])
    else:
        text = page.check(watch.check, "max", f'{scope}!="{overall}"')
        bad = f"{text} >= {_CRITICAL}"
    if text is None:
        return None
    lasting = {"for": f"{watch.bad * _CHECKED_EVERY}s"}
    return _rule(watch.name, watch.title, bad, watch.advice, profile, lasting)


def _silent(watch: CheckWatch, page: Page) -> Iterator[str]:
    """A client that was reported, and is not any more."""
    found = page.find(watch.check)
    if watch.silent is not None and found is not None:
        name, by = found.family.name, f"{found.labels['client']}, instance"
        before, now = (f"max by ({by}) (present_over_time({name}[{one}]))" for one in (_MEMORY, f"{watch.silent}m"))
        yield f"({before} unless {now})"


def _rule(name: str, title: str, text: str, advice: str, profile: Profile, lasting: Json) -> Json:
    kind = name.partition("-")[0]

    return {
        "alert": "WebSocket" + "".join(part.capitalize() for part in name.replace("-", "_").split("_")),
        "expr": text,
        **lasting,
        "labels": {"severity": _SEVERITIES[kind], "profile": profile.name, "source": "wsnova-statsd"},
        "annotations": {
            "summary": f"{title} ({{{{ $labels.client_id }}}})",
            "description": advice,
        },
    }


def _number(limit: float) -> str:
    return f"{limit:.12f}".rstrip("0").rstrip(".")
