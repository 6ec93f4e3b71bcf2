"""Tables of metrics, events and profiles, from the lists that the reporters count by. Pure functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

import wsnova_statsd as ws
from wsnova_statsd.dashboards.lint import lint_guide
from wsnova_statsd.dashboards.shipped import Shipped, shipped
from wsnova_statsd.events import CATALOGUE, PREFIX, EventSpec
from wsnova_statsd.profiles import PROFILES, Profile
from wsnova_statsd.reporters.families import Family, families

from .markdown import code, table

# The part of a name behind `websocket.`: one table each.
GROUPS: Final = ("connection", "message", "subscription", "error", "auth", "heartbeat")
DESCRIBED: Final = ("kpi", "alert", "reporter")  # no event of a client, and in every profile
# What people look at first, and the question that it answers.
MAIN: Final[Mapping[str, str]] = {
    "websocket.connection.up": "Is the client connected?",
    "websocket.connection.down_ms": "How long was it not?",
    "websocket.connection.disconnected": "How often was the connection lost, and why?",
    "websocket.connection.reconnect.duration.distribution": "How long until it was back?",
    "websocket.message.batch.count": "How many messages arrived, how many were sent?",
    "websocket.message.behind": "How far is the client behind its feed?",
    "websocket.message.process.duration.distribution": "How long does your handler take?",
    "websocket.message.process.slow": "How often did it take too long?",
    "websocket.error.occurred": "What went wrong, and how badly?",
    "websocket.alert.fired": "Which alerts were sent?",
}
_STATSD: Final = ws.statsd_metrics()
_SHIPPED: Final = shipped(_STATSD)
_BY_PROFILE: Final = {profile.name: shipped(_STATSD, profile) for profile in PROFILES.values()}


def group(name: str) -> list[Shipped]:
    """The metrics of one group."""
    return [one for one in _SHIPPED.values() if one.name.split(".")[1] == name]


def _metrics(name: str) -> str:
    head = ("metric", "kind", "unit", "tags", "event", "profiles")
    return table(head, [[code(one.name), *_about(one), _source(one), _filled(one)] for one in group(name)])


def _described(name: str) -> str:
    rows = [
        [code(one.name), *_about(one), one.description.rpartition(": ")[2].removesuffix(".")] for one in group(name)
    ]
    return table(("metric", "kind", "unit", "tags", "what"), rows)


def _system() -> str:
    return table(("metric", "kind", "unit", "tags"), [[code(one.name), *_about(one)] for one in group("system")])


def _main() -> str:
    chosen = {name: _SHIPPED[name] for name in MAIN}
    rows = [[MAIN[name], code(name), *_about(one), _filled(one)] for name, one in chosen.items()]
    return table(("question", "metric", "kind", "unit", "tags", "profiles"), rows)


def _about(one: Shipped) -> tuple[str, str, str]:
    unit = "1 or 0" if one.name.endswith(".up") else "" if one.unit == "occurrences" else one.unit
    return f"state {one.kind}" if one.state else one.kind, unit, code(*one.tag_names)


def _source(one: Shipped) -> str:
    """The events that it is made of."""
    return code(*dict.fromkeys(_short(made.event) for made in _STATSD if made.name == one.name))


def _filled(one: Shipped) -> str:
    """The profiles that fill it."""
    spec = CATALOGUE.get(one.event or "")
    return _profiles([name for name, metrics in _BY_PROFILE.items() if one.name in metrics], spec)


def _profiles(names: list[str], spec: EventSpec | None) -> str:
    """These profiles, each with what of the event it emits, if that is not all."""
    parts = {name: _part(PROFILES[name], spec) for name in names}
    if len(parts) == len(PROFILES) and not any(parts.values()):
        return "all"
    return ", ".join(name + (f" ({part})" if part else "") for name, part in parts.items())


def _part(profile: Profile, spec: EventSpec | None) -> str:
    if spec is None or spec.minimal_when is None or profile.level_of(spec) != "major":
        return ""
    key, values = spec.minimal_when
    return f"{key} {' or '.join(sorted(str(value).lower() for value in values))}"


def _short(event: str) -> str:
    return event.removeprefix(PREFIX)


def _events() -> str:
    rows = [
        [
            code(_short(spec.name)),
            code(*spec.measurements),
            code(*spec.metadata[1:]),  # client_id is the first of each
            spec.moment,
            _profiles([name for name, one in PROFILES.items() if one.level_of(spec) != "none"], spec),
        ]
        for spec in CATALOGUE.values()
    ]
    return table(("event", "measurements", "metadata", "when", "profiles"), rows)


def _profile_events() -> str:
    """What each profile emits, by category."""
    switched = {name: [spec for spec in CATALOGUE.values() if spec.category == name and spec.toggle] for name in GROUPS}
    always = [spec for spec in CATALOGUE.values() if spec.category == "message" and not spec.toggle]
    rows = {**switched, code(*(_short(spec.name) for spec in always)): always}
    cells = [[name, *(_share(profile, specs) for profile in PROFILES.values())] for name, specs in rows.items()]
    return table(("events", *PROFILES), cells)


def _share(profile: Profile, specs: list[EventSpec]) -> str:
    """All of these events, none, or those that leave."""
    left = [(spec, _part(profile, spec)) for spec in specs if profile.level_of(spec) != "none"]
    if not left:
        return "none"
    if len(left) == len(specs) and not any(part for _, part in left):
        return "all"
    names = ((code(spec.name.removeprefix(f"{PREFIX}{spec.category}.")), part) for spec, part in left)
    return ", ".join(name + (f" ({part})" if part else "") for name, part in names)


def _profile_values() -> str:
    """What else the profiles differ in, in the words of a reader."""
    rows: dict[str, Callable[[Profile], str]] = {
        "metadata is filtered for secrets": lambda one: "yes" if one.metadata_filter else "no",
        "ping every, s": lambda one: f"{one.ping_interval:g}",
        "pong within, s": lambda one: f"{one.pong_timeout:g}",
        "first retry after, s, with jitter": lambda one: f"{one.first_retry:g}",
        "then doubling from, s": lambda one: f"{one.retry_base:g}",
        "up to, s": lambda one: f"{one.retry_cap:g}",
        "tries until the alarm": lambda one: str(one.max_attempts),
        "a link is stable after, s": lambda one: f"{one.stable_after:g}",
        "a message is slow above, s": lambda one: f"{one.slow_after:g}",
    }
    return table(("", *PROFILES), [[name, *map(read, PROFILES.values())] for name, read in rows.items()])


def _exposed(*, further: bool) -> str:
    """The names of Prometheus in both namings: of the guide's list, or of what the complete one has beyond it."""
    short, complete = ws.prometheus_metrics(), ws.prometheus_metrics(complete=True)
    known = {one.name for one in short}
    both = zip(families(complete, "guide").items(), families(complete, "prometheus").values(), strict=True)
    rows = [_row(guide, conventional) for (name, guide), conventional in both if (name in known) is not further]
    return table(('naming="guide"', 'naming="prometheus"', "type", "labels"), rows)


def _row(guide: Family, conventional: Family) -> list[str]:
    name = conventional.name + ("_total" if conventional.type == "counter" else "")
    return [code(guide.name), code(name), conventional.type, code(*sorted(conventional.labels - {"overflow"}))]


def _faults() -> str:
    """What the linter finds in the guide, as the command prints it."""
    return f"```text\n{lint_guide()}\n```\n"


TABLES: Final[Mapping[str, Callable[[], str]]] = {
    "the ten main metrics": _main,
    **{f"metrics: {name}": partial(_metrics, name) for name in GROUPS},
    **{f"metrics: {name}": partial(_described, name) for name in DESCRIBED},
    "metrics: system": _system,
    "events": _events,
    "profiles: events": _profile_events,
    "profiles: values": _profile_values,
    "prometheus: the guide's list": partial(_exposed, further=False),
    "prometheus: the complete list": partial(_exposed, further=True),
    "the guide's faults": _faults,
}
