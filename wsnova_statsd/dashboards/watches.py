"""What is watched, as data: a threshold for each alert rule and KPI target, service checks, and objectives.

A rule decides in the process, and tells by `websocket.alert.fired`: that is what its monitor watches, so that it fires
exactly when the rule does. Each has a sentence that says what to do first. Renderers make monitors and SLOs of them.
Pure data, no thread.
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
from .queries import Line, Query
from .shipped import CAN_CONNECT, HEALTH, KPI_PREFIX, OVERALL, fills, shipped

_TENTH: Final = 0.1  # of a target's distance: a KPI is well again once it is so much better than its limit
_MINUTES: Final = 5


@dataclass(frozen=True, slots=True)
class Watch:
    """A line that alerts when it is at or beyond `limit` (`sign` is ">=" or "<="), and is well again beyond `recovery`.

    `how` makes one number of the last `minutes`: what occurred is added up, of a state it is the best value, so that a
    single bad moment does not alert. No data is no alert: a count that nothing was counted for is 0.
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


@dataclass(frozen=True, slots=True)
class CheckWatch:
    """A service check that alerts after `bad` CRITICALs in a row and is well again after `good` OKs; for each value of
    `by`. `silent` minutes without any alert too; None: no data is no alert."""

    name: str
    title: str
    check: str
    advice: str
    bad: int = 3
    good: int = 2
    by: tuple[str, ...] = ("client", "worker")
    without: tuple[str, ...] = ()
    silent: int | None = None


@dataclass(frozen=True, slots=True)
class Objective:
    """A share of good ones in percent, over 30 days: `good` of `all_` occurrences or, with `limit`, of slices of five
    minutes in which `good` is below it. `warning` stands a little above `target`."""

    name: str
    title: str
    told: str
    good: Line
    all_: Line | None
    limit: float | None
    target: float
    warning: float


# What to do first, by the name of a rule or the key of a KPI. Panels in quotes stand on the board of every profile.
_FIRST: Final = {
    "slow_processing": 'Look at the panel "Slow and stuck messages": which type is slow, and since when. Then read '
    "what its handler waits for; work that may take long belongs into a thread or a queue of its own.",
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
    "log of the first error. encode: what is sent is not what the protocol takes.",
    "connection_success_rate": 'Look at the panels "Dials" and "Ends by reason", then try the URL from the same host.',
    "connection_time_ms": 'Look at the panel "Connection time": did it rise slowly or at once? Then time name lookup, '
    "TLS and the upgrade from the same host.",
    "reconnection_success_rate": 'Look at the panel "Reconnects": outages last longer than the tries of the profile. '
    "Ask the operator of the feed.",
    "time_to_reconnect_s": 'Look at the panels "Time to reconnect" and "Reconnects": does the server refuse, or does '
    "the profile wait between its tries?",
    "processing_time_ms": 'Look at the panel "Slow and stuck messages", then at the handler of the slowest type.',
    "throughput_per_s": 'Look at the panels "Messages by client and direction" and "Connections up": is every client '
    "connected, and every channel subscribed?",
    "message_error_rate": 'Look at the panel "Error rate by type", then read the log of the first error.',
    "error_recovery_rate": 'Look at the panels "Handled errors" and "Connections up": which client stays down?',
    "error_to_alert_s": 'Look at the panel "Lost by cause", then run `wsnova-statsd doctor` on the host: does the '
    "Agent take what is sent?",
}
_ANY: Final = 'Read the events of this rule in the panel "Events": each tells what was seen.'
_GONE: Final = (
    'A client has no working connection. Look at the panel "Ends by reason", then try the URL from the same host. No '
    "data: the process ended or hangs, or its Agent is away (run `wsnova-statsd doctor`), or the client was closed on "
    "purpose; then resolve this alert by hand."
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
            yield Watch(f"kpi-{key}", title, line, how, "<=" if high else ">=", limit, recovery, _FIRST[key])


def check_watches(profile: Profile) -> tuple[CheckWatch, ...]:
    """The checks of each client in each process."""
    health = CheckWatch("check-health", "A client misses its KPI targets", HEALTH, _MISSED, without=(OVERALL,))
    if not profile.connection_events:
        return (health,)
    return CheckWatch("check-can_connect", "A client cannot connect", CAN_CONNECT, _GONE, silent=10), health


def objectives(profile: Profile) -> tuple[Objective, ...]:
    """Of dials that succeed, and of reconnects in time, for the KPIs that have a target."""
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
    title, told = "Dials that succeed", "Accepted upgrades of all dials, retries too."
    return Objective("slo-connection_success", title, told, completed, started, None, target, _halfway(target))


def _in_time(limit_s: float) -> Objective:
    longest = Line("longest", (Query("websocket.connection.reconnect.duration.distribution", "max"),))
    told = f"Slices of five minutes in which no reconnect took {limit_s:g} s or longer; one without any is good."
    limit_ms = limit_s * 1000
    return Objective("slo-time_to_reconnect", "Reconnects in time", told, longest, None, limit_ms, 99.0, _halfway(99.0))


def _halfway(target: float) -> float:
    return round(target + (100 - target) / 2, 9)
