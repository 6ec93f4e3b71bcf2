"""The panels of the board, as data: which section asks which questions, and how each is shown.

Every panel queries only counts, distributions and state gauges: any other gauge keeps one value per 10 s. A line that a
profile never fills, or a list does not define, is left out. Renderers make a board of the sections. No thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal

from ..insight.kpi_report import BLIND
from ..metrics.catalogue import statsd_metrics
from ..metrics.definitions import Definition
from ..profiles import HIGH_IS_GOOD, KPI_KEYS, Profile
from .queries import Line, Query, Space, variables_of
from .shipped import CAN_CONNECT, CHECKS, HEALTH, KPI_PREFIX, OVERALL, Shipped, fills, shipped

Shows = Literal["line", "bars", "value", "check", "events"]
Target = tuple[str, float]  # ">" or "<", and the limit, in the unit of the panel
# What is always there, then what has to be switched on for each metric in Datadog.
_SPREAD: Final[tuple[Space, ...]] = ("avg", "max", "p50", "p95", "p99")
_AT_ONCE: Final[tuple[Space, ...]] = ("avg", "max")


@dataclass(frozen=True, slots=True)
class Panel:
    """One question. `lines` answer it, drawn as `shows`; a `check` panel has the name of a service check instead, the
    `events` panel is the stream of events. `target` is the profile's target for it."""

    title: str
    shows: Shows
    lines: tuple[Line, ...] = ()
    unit: str = ""
    target: Target | None = None
    check: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """Panels about one thing."""

    title: str
    panels: tuple[Panel, ...]


# -- what lines ask ---------------------------------------------------------------------------------------------------


def _metric(name: str) -> str:
    return f"websocket.{name}"


def _counted(label: str, name: str, *by: str, where: tuple[str, ...] = (), per_second: bool = False) -> Line:
    """Occurrences; 0 if there are none."""
    as_: Literal["count", "rate"] = "rate" if per_second else "count"
    return Line(label, (Query(_metric(name), "sum", by, where, as_=as_, zero=True),))


def _state(label: str, name: str, worst: Literal["min", "max"], *by: str, added: bool = False) -> Line:
    """A state gauge at its worst; `added`: all its series added up."""
    return Line(label, (Query(_metric(name), "sum" if added else worst, by, time=worst),))


def _share(label: str, part: str, whole: str, *by: str) -> Line:
    """One count as a share of another, in percent. Without the other there is no share, not even 0."""
    queries = (Query(_metric(part), "sum", by, as_="count", zero=True), Query(_metric(whole), "sum", by, as_="count"))
    return Line(label, queries, "100 * a / b")


def _weighted(label: str, name: str, *by: str) -> Line:
    """The mean of all values, each counted once: no average of averages, however long the interval."""
    queries = (Query(_metric(name), "sum", by, as_="count"), Query(_metric(name), "count", by, as_="count"))
    return Line(label, queries, "a / b")


def _spread(name: str, *by: str, spaces: tuple[Space, ...] = _SPREAD) -> tuple[Line, ...]:
    """Mean and maximum, which are always there, beside percentiles, which have to be switched on."""
    return tuple(Line(space, (Query(_metric(name), space, by),)) for space in spaces)


# -- panels that are the same for each profile ------------------------------------------------------------------------

_RATE: Final = "per second"
_OVERVIEW: Final = (
    Panel("Connection success rate", "value", (_share("", "connection.completed", "connection.started"),), "%"),
    Panel("Average connection time", "value", (_weighted("", "connection.duration.distribution"),), "ms"),
    Panel("Messages received", "value", (_counted("", "message.batch.count", where=("direction:received",)),)),
    Panel("Errors", "value", (_counted("", "error.occurred"),)),
    Panel("Health", "check", check=HEALTH),
    Panel("Can connect", "check", check=CAN_CONNECT),
    Panel("Connections up", "line", (_state("up", "connection.up", "min", "worker", added=True),)),
    Panel("Time without a link", "bars", (_counted("down", "connection.down_ms", "client"),), "ms"),
    Panel("Behind the feed", "line", (_state("behind", "message.behind", "max", "client", "worker"),), "ms"),
)
_CONNECTIONS: Final = (
    Panel(
        "Dials",
        "bars",
        (_counted("started", "connection.started"), _counted("completed", "connection.completed")),
    ),
    Panel(
        "Connection success rate by client",
        "line",
        (_share("success", "connection.completed", "connection.started", "client"),),
        "%",
    ),
    Panel("Connection time", "line", _spread("connection.duration.distribution"), "ms"),
    Panel("Ends by reason", "bars", (_counted("ended", "connection.disconnected", "client", "reason"),)),
    Panel("Lifetime of ended connections", "line", _spread("connection.lifetime.distribution"), "ms"),
    Panel(
        "Reconnects",
        "bars",
        (
            _counted("attempts", "connection.reconnect.attempt"),
            _counted("reconnected", "connection.reconnect.success"),
            _counted("failed", "connection.reconnect.failed"),
            _counted("alarms", "connection.reconnect.failed", where=("final:true",)),
        ),
    ),
    Panel("Time to reconnect", "line", _spread("connection.reconnect.duration.distribution"), "ms"),
    Panel("Wait before a retry", "line", _spread("connection.reconnect.delay.distribution"), "ms"),
    Panel(
        "Heartbeats",
        "bars",
        (
            _counted("sent", "heartbeat.sent"),
            _counted("received", "heartbeat.received"),
            _counted("missed", "heartbeat.missed"),
        ),
    ),
    Panel("Round trip of heartbeats", "line", _spread("heartbeat.rtt.distribution"), "ms"),
)
_MESSAGES: Final = (
    Panel(
        "Throughput by client and type",
        "line",
        (_counted("received", "message.received", "client", "type", per_second=True),),
        _RATE,
    ),
    Panel(
        "Sent by client and type", "line", (_counted("sent", "message.sent", "client", "type", per_second=True),), _RATE
    ),
    Panel(
        "Messages by client and direction",
        "line",
        (_counted("messages", "message.batch.count", "client", "direction", per_second=True),),
        _RATE,
    ),
    Panel(
        "Bytes by client and direction",
        "line",
        (_counted("bytes", "message.batch.bytes", "client", "direction", per_second=True),),
        _RATE,
    ),
    Panel("Size of received messages", "line", _spread("message.received.size.distribution"), "bytes"),
    Panel("Size of sent messages", "line", _spread("message.sent.size.distribution"), "bytes"),
    Panel("Processing time", "line", _spread("message.process.duration.distribution"), "ms"),
    Panel(
        "Processing time by type",
        "line",
        _spread("message.process.duration.distribution", "client", "type", spaces=_AT_ONCE),
        "ms",
    ),
    Panel("Processed by result", "bars", (_counted("processed", "message.process.completed", "type", "result"),)),
    Panel(
        "Slow and stuck messages",
        "bars",
        (
            _counted("slow", "message.process.slow", "client", "type"),
            _counted("stuck", "message.process.stuck", "client", "type"),
        ),
    ),
    Panel("Decoding time", "line", _spread("message.decode.duration.distribution"), "ms"),
    Panel("Encoding time", "line", _spread("message.encode.duration.distribution"), "ms"),
    Panel("Age of messages", "line", _spread("message.lag"), "ms"),
    Panel("Messages that wait", "line", (_state("waiting", "message.waiting", "max", "client", "worker"),)),
    Panel("Bytes that wait", "line", (_state("waiting", "message.waiting.bytes", "max", "client", "worker"),), "bytes"),
)
_ERRORS: Final = (
    Panel("Error rate by type", "line", (_counted("errors", "error.occurred", "type", per_second=True),), _RATE),
    Panel("Errors by client and severity", "bars", (_counted("errors", "error.occurred", "client", "severity"),)),
    Panel(
        "Messages with an error",
        "line",
        (_share("share", "message.batch.errors", "message.batch.count", "client"),),
        "%",
    ),
    Panel("Handled errors", "line", (_share("handled", "error.handled", "error.occurred", "client"),), "%"),
    Panel("Time to recover", "line", _spread("error.recovery.duration.distribution"), "ms"),
    Panel("Alerts by rule", "bars", (_counted("alerts", "alert.fired", "rule", "client"),)),
    Panel("Events", "events"),
)
_SUBSCRIPTIONS: Final = (
    Panel(
        "Subscribed by result",
        "bars",
        (_counted("subscribed", "subscription.subscribe.completed", "client", "result"),),
    ),
    Panel("Time to subscribe", "line", _spread("subscription.subscribe.duration.distribution"), "ms"),
    Panel(
        "Unsubscribed by result",
        "bars",
        (_counted("unsubscribed", "subscription.unsubscribe.completed", "client", "result"),),
    ),
    Panel("Time to unsubscribe", "line", _spread("subscription.unsubscribe.duration.distribution"), "ms"),
    Panel(
        "Logins",
        "bars",
        (
            _counted("started", "auth.started"),
            _counted("accepted", "auth.completed"),
            _counted("renewed", "auth.refresh.completed"),
        ),
    ),
    Panel("Failed logins by reason", "bars", (_counted("failed", "auth.failed", "client", "reason", "phase"),)),
    Panel("Time of a login", "line", _spread("auth.duration.distribution"), "ms"),
    Panel("Time of a renewal", "line", _spread("auth.refresh.duration.distribution"), "ms"),
)
_SYSTEM: Final = (
    Panel("Processor", "line", (_state("cpu", "system.cpu_percent", "max", "worker"),), "%"),
    Panel("Memory", "line", (_state("resident", "system.rss_bytes", "max", "worker"),), "bytes"),
    Panel("Threads", "line", (_state("threads", "system.threads", "max", "worker"),)),
    Panel("Open descriptors", "line", (_state("open", "system.open_fds", "max", "worker"),)),
    Panel(
        "Garbage collections",
        "line",
        (
            _state("all", "system.gc.collections", "max", "worker"),
            _state("full", "system.gc.collections.full", "max", "worker"),
        ),
    ),
    Panel(
        "Context switches",
        "line",
        (
            _state("all", "system.ctx_switches", "max", "worker"),
            _state("involuntary", "system.ctx_switches.involuntary", "max", "worker"),
        ),
    ),
)
_REPORTER: Final = (
    Panel("Lost by cause", "bars", (_counted("lost", "reporter.lost", "cause"),)),
    Panel("Series", "line", (_state("series", "reporter.series", "max", "worker"),)),
    Panel("Time of a flush", "line", (_state("flush", "reporter.flush_ms", "max", "worker"),), "ms"),
    Panel("Packets", "bars", (_counted("packets", "reporter.packets"),)),
    Panel("Bytes", "bars", (_counted("bytes", "reporter.bytes"),), "bytes"),
    Panel("Samples", "bars", (_counted("samples", "reporter.samples"),)),
    Panel(
        "Faults",
        "bars",
        (
            _counted("flush errors", "reporter.flush_errors"),
            _counted("flusher restarts", "reporter.flusher_restarts"),
            _counted("handler errors", "reporter.handler_errors"),
        ),
    ),
)


# -- the board --------------------------------------------------------------------------------------------------------


def sections(profile: Profile, metrics: Iterable[Definition] | None = None) -> tuple[Section, ...]:
    """The board for a list of definitions (None: the default one) under a profile."""
    given = list(statsd_metrics() if metrics is None else metrics)
    known = shipped(given, profile)
    every = (*drawn(profile), Section("Further metrics", tuple(_further(given, known))))
    return tuple(section for section in (_known(one, known, profile) for one in every) if section.panels)


def drawn(profile: Profile) -> tuple[Section, ...]:
    """Every panel that is the same for all lists, filled or not, so that the linter finds a misspelled name."""
    return (
        Section("Overview", _overview(profile)),
        Section("Connections", _CONNECTIONS),
        Section("Messages", _MESSAGES),
        Section("Errors and alerts", _ERRORS),
        Section("Subscriptions and login", _SUBSCRIPTIONS),
        Section("System", _SYSTEM),
        Section("Reporter", _REPORTER),
    )


def _overview(profile: Profile) -> tuple[Panel, ...]:
    """The overview, with the KPIs, and the profile's targets for them."""
    targets = profile.kpi_targets
    kpis = (Panel(key, "line", (kpi_line(key),), target=targets.get(key)) for key in (*KPI_KEYS, BLIND))
    success, time = targets.get("connection_success_rate"), targets.get("connection_time_ms")
    wanted = {
        "Connection success rate": None if success is None else (success[0], percent(success[1])),
        "Average connection time": time,
    }
    return (*(replace(panel, target=wanted.get(panel.title)) for panel in _OVERVIEW), *kpis)


def percent(share: float) -> float:
    """A share in percent, without the digits that binary fractions add."""
    return round(share * 100, 9)


def kpi_line(key: str) -> Line:
    """A KPI of each client in each process, at its worst; the figures of all clients are left out."""
    worst: Literal["min", "max"] = "min" if key in HIGH_IS_GOOD else "max"
    return Line(key, (Query(KPI_PREFIX + key, worst, ("client", "worker"), (f"!{OVERALL}",), time=worst),))


def _further(given: Iterable[Definition], known: Mapping[str, Shipped]) -> Iterable[Panel]:
    """A panel for each of a user's own metrics."""
    ours = {one.name for one in statsd_metrics()}
    for one in {one.name: one for one in given if one.name not in ours and one.name in known}.values():
        by = known[one.name].tag_names
        if one.kind in ("counter", "sum"):
            query = Query(one.name, "sum", by, as_="count", zero=True)
            yield Panel(one.name, "bars", (Line(one.name, (query,)),))
        elif one.kind == "distribution":
            yield Panel(one.name, "line", tuple(Line(space, (Query(one.name, space, by),)) for space in _AT_ONCE))
        elif one.kind == "gauge" and one.state:
            yield Panel(one.name, "line", (Line(one.name, (Query(one.name, "max", by, time="max"),)),))


def _known(section: Section, known: Mapping[str, Shipped], profile: Profile) -> Section:
    """The section without lines that no metric fills; each query has the variables whose tag its metric has."""
    panels = []
    for panel in section.panels:
        if panel.check and not fills(profile, CHECKS[panel.check][0]):
            continue
        lines = tuple(filled(line, known) for line in panel.lines if all(one.metric in known for one in line.queries))
        if lines or not panel.lines:
            panels.append(replace(panel, lines=lines))
    return replace(section, panels=tuple(panels))


def filled(line: Line, known: Mapping[str, Shipped]) -> Line:
    """The line with the variables of the board in its queries."""
    queries = (replace(one, variables=variables_of(known[one.metric])) for one in line.queries)
    return replace(line, queries=tuple(queries))
