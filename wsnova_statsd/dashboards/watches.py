"""What is watched, as data: a threshold for each alert rule and KPI target, service checks, and objectives.

A rule decides in the process, and its alerts are counted in `websocket.alert.fired`: its monitor watches that, so that
it fires exactly when the rule does. Each has a sentence that says what to do first. Renderers make monitors and SLOs of
them. Pure data, no thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final, Literal

from ..insight.alerts import FIRED, names_of
from ..insight.rules import Rule
from ..insight.situations import default_rules
from ..profiles import HIGH_IS_GOOD, Profile
from .panels import kpi_line, percent
from .queries import CHECKED_BY, Line, Query
from .shipped import CAN_CONNECT, CHECKS, HEALTH, KPI_PREFIX, OVERALL, fills, shipped

_TENTH: Final = 0.1  # of a target's distance: a KPI has recovered once it is better than its limit by this much
_MINUTES: Final = 5
_OF_MESSAGES: Final = ("processing_time_ms", "throughput_per_s", "message_error_rate")  # sent while messages arrive


@dataclass(frozen=True, slots=True)
class Watch:
    """A line that alerts when it is at or beyond `limit` (`sign` is ">=" or "<="), and recovers beyond `recovery`.

    `how` makes one number of the last `minutes`: occurrences are added up; a state is taken at its best, so that a
    single bad moment does not alert. No data is no alert: a count without occurrences is 0. `rare`: values arrive only
    for a while after something has happened, so that a window may have few of them.
    """

    name: str
    title: str
    line: Line
    how: Literal["sum", "min", "max"]
    sign: Literal[">=", "<="]
    limit: float
    recovery: float
    advice: str
    minutes: int = _MINUTES
    rare: bool = True


@dataclass(frozen=True, slots=True)
class CheckWatch:
    """A service check that alerts after `bad` CRITICALs in a row and recovers after `good` OKs; for each value of `by`.
    It also alerts after `silent` minutes without data; None: no data is no alert."""

    name: str
    title: str
    check: str
    advice: str
    bad: int = 3
    good: int = 2
    by: tuple[str, ...] = CHECKED_BY
    without: tuple[str, ...] = ()
    silent: int | None = None


@dataclass(frozen=True, slots=True)
class Objective:
    """A share in percent, over 30 days: `good` of `all_` occurrences or, with `limit`, the five-minute slices in which
    `good` is below it. `warning` is a little above `target`."""

    name: str
    title: str
    meaning: str
    good: Line
    all_: Line | None
    limit: float | None
    target: float
    warning: float


# What to do first, by the name of a rule or the key of a KPI. Panels in quotes are on the board of every profile.
_FIRST: Final = {
    "slow_processing": 'Look at the panel "Slow and stuck messages": which type is slow, and since when. Then read '
    "what its handler waits for; move work that may take long to a separate thread or queue.",
    "stuck_handler": "Read the event of this alert: it holds the handler's stack, and how much of its time went to the "
    "CPU. Waiting: look at what it waits for. On the CPU: a loop does not end.",
    "retries_exhausted": 'Look at the panel "Reconnects", and at the reason in the event of this alert: dns, refused, '
    "timeout, tls, http_<status>. Try the URL from the same host. The client goes on trying.",
    "auth_failed": 'Look at the panel "Failed logins by reason". Rejected: renew the credentials. Timeout or '
    "interrupted: look at the connection first.",
    "falling_behind": 'Look at the panels "Messages that wait" and "Slow and stuck messages": the handler is slower '
    "than the feed. Make it faster, spread channels over more clients, or subscribe to less.",
    "latency_drift": 'Look at the panel "processing_time_ms" and find what changed when it rose: a deploy, a feed with '
    "larger messages, a neighbour on the machine.",
    "error_rate": 'Look at the panel "Error rate by type". decode: the format of the feed changed. handler: read the '
    "log of the first error. encode: what is sent is not what the protocol accepts.",
    "connection_success_rate": 'Look at the panels "Dials" and "Ends by reason", then try the URL from the same host.',
    "connection_time_ms": 'Look at the panel "Connection time": did it rise slowly or at once? Then time name lookup, '
    "TLS and the upgrade from the same host.",
    "reconnection_success_rate": 'Look at the panel "Reconnects": outages last longer than all attempts of a profile. '
    "Ask the operator of the feed.",
    "time_to_reconnect_s": 'Look at the panels "Time to reconnect" and "Reconnects": does the server refuse, or does '
    "the profile wait between its attempts?",
    "processing_time_ms": 'Look at the panel "Slow and stuck messages", then at the handler of the slowest type.',
    "throughput_per_s": 'Look at the panels "Messages by client and direction" and "Connections up": is every client '
    "connected, and every channel subscribed?",
    "message_error_rate": 'Look at the panel "Error rate by type", then read the log of the first error.',
    "error_recovery_rate": 'Look at the panels "Handled errors" and "Connections up": which client stays down?',
    "error_to_alert_s": 'Look at the panel "Lost by cause", then run `wsnova-statsd doctor` on the host: does the '
    "Agent accept what is sent?",
}
_ANY: Final = 'Read the events of this rule in the panel "Events": each says what was observed.'
_GONE: Final = (
    'A client has no working connection. Look at the panel "Ends by reason", then try the URL from the same host. No '
    "data: the process ended or hangs, its Agent is unreachable (run `wsnova-statsd doctor`), or the client was closed "
    "on purpose; then resolve this alert by hand."
)
_MISSED: Final = (
    "Look at the overview: the message of the check names the KPI that misses its target by more than a tenth."
)


def watches(profile: Profile, rules: Iterable[Rule] | None = None) -> tuple[Watch, ...]:
    """One for each alert rule (None: all that fit the profile), and one for each KPI that has a target."""
    return (*_of_rules(profile, default_rules(profile) if rules is None else rules), *_of_targets(profile))


def _of_rules(profile: Profile, rules: Iterable[Rule]) -> Iterator[Watch]:
    """An alert stands for at least one occurrence of what its rule watches; none within the window is recovery."""
    given = list(rules)
    for name, rule in zip(names_of(given), given, strict=True):
        if fills(profile, rule.listens()[0]):
            fired = Query(FIRED, "sum", ("client",), (f"rule:{name}",), as_="count", zero=True)
            subject, advice = rule.subject, _FIRST.get(rule.name, _ANY)
            title = f"{subject[:1].upper()}{subject[1:]}"
            yield Watch(f"alert-{name}", title, Line(name, (fired,)), "sum", ">=", 1, 0.5, advice)


def _of_targets(profile: Profile) -> Iterator[Watch]:
    known = shipped((), profile)
    for key, target in profile.kpi_targets.items():
        if target is not None and KPI_PREFIX + key in known:
            high, limit = target[0] == ">", target[1]
            distance = (1 - limit if key in HIGH_IS_GOOD else limit) * _TENTH
            recovery = round(limit + distance if high else limit - distance, 12)
            title = f"KPI {key} misses its target, {target[0]} {limit:g}"
            how: Literal["min", "max"] = "max" if high else "min"
            asked = replace(kpi_line(key).queries[0], time=None)  # `how` says it
            line = Line(key, (asked,))
            sign: Literal["<=", ">="] = "<=" if high else ">="
            rare = key not in _OF_MESSAGES
            yield Watch(f"kpi-{key}", title, line, how, sign, limit, recovery, _FIRST[key], rare=rare)


def check_watches(profile: Profile) -> tuple[CheckWatch, ...]:
    """The checks of each client in each process."""
    health = CheckWatch("check-health", "A client misses its KPI targets", HEALTH, _MISSED, without=(OVERALL,))
    link = CheckWatch("check-can_connect", "A client cannot connect", CAN_CONNECT, _GONE, silent=10)
    return tuple(one for one in (link, health) if fills(profile, CHECKS[one.check][0]))


def objectives(profile: Profile) -> tuple[Objective, ...]:
    """The objectives for dials that succeed and for reconnects in time, if their KPIs have a target."""
    success, back = (profile.kpi_targets.get(key) for key in ("connection_success_rate", "time_to_reconnect_s"))
    wanted = []
    if profile.connection_events and success is not None:
        wanted.append(_success(percent(success[1])))
    if profile.connection_events and back is not None:
        wanted.append(_in_time(back[1]))
    return tuple(wanted)


def _success(target: float) -> Objective:
    completed, started = (
        Line(last, (Query(f"websocket.connection.{last}", "sum", as_="count"),)) for last in ("completed", "started")
    )
    title, meaning = "Dials that succeed", "Accepted upgrades as a share of all dials, retries included."
    return Objective("slo-connection_success", title, meaning, completed, started, None, target, _halfway(target))


def _in_time(limit_s: float) -> Objective:
    longest = Line("longest", (Query("websocket.connection.reconnect.duration.distribution", "max"),))
    meaning = f"Five-minute slices in which no reconnect took {limit_s:g} s or longer; a slice without one is good."
    limit_ms = limit_s * 1000
    return Objective(
        "slo-time_to_reconnect", "Reconnects in time", meaning, longest, None, limit_ms, 99.0, _halfway(99.0)
    )


def _halfway(target: float) -> float:
    return round(target + (100 - target) / 2, 9)
