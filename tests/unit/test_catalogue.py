"""The two default lists are those of the documents, written here a second time by hand."""

from collections import Counter

import pytest

import wsnova_statsd as ws
from wsnova_statsd import events
from wsnova_statsd.metrics.catalogue import FROM_ZERO
from wsnova_statsd.metrics.definitions import Definition
from wsnova_statsd.metrics.zeros import tags_from_start
from wsnova_statsd.testing.metrics import capture_metrics

MS = ("native", "millisecond")
C = {"client": "client_id"}
T = {"client": "client_id", "type": "type"}
E = {"client": "client_id", "type": "error_type"}
W = {"worker": "worker"}
CW = {**C, **W}

# event without prefix; then rows of: kind, name without "websocket.", tags, measurement. A "gauge" of a duration (in
# milliseconds) or of a size brings its distribution. A "state" does not, nor a "sample", whose name says it if it
# is in milliseconds.
Row = tuple[str, str, dict[str, str], str | int | None]
TABLE: dict[str, list[Row]] = {
    "connection.started": [("counter", "connection.started", C, None)],
    "connection.completed": [
        ("counter", "connection.completed", C, None),
        ("gauge", "connection.duration", C, "duration"),
        ("state", "connection.up", C, 1),
    ],
    "connection.disconnected": [
        ("counter", "connection.disconnected", {**C, "reason": "reason"}, None),
        ("gauge", "connection.lifetime", C, "duration"),
        ("state", "connection.up", C, 0),
    ],
    "connection.reconnect.attempt": [
        ("counter", "connection.reconnect.attempt", C, None),
        ("gauge", "connection.reconnect.delay", C, "delay"),
    ],
    "connection.reconnect.success": [
        ("counter", "connection.reconnect.success", C, None),
        ("gauge", "connection.reconnect.duration", C, "duration"),
    ],
    "connection.reconnect.failed": [("counter", "connection.reconnect.failed", {**C, "final": "final"}, None)],
    "message.received": [
        ("counter", "message.received", T, None),
        ("gauge", "message.received.size", T, "size"),
        ("sum", "message.received.bytes", T, "size"),
    ],
    "message.sent": [
        ("counter", "message.sent", T, None),
        ("gauge", "message.sent.size", T, "size"),
        ("sum", "message.sent.bytes", T, "size"),
    ],
    "message.decode.started": [("counter", "message.decode.started", C, None)],
    "message.encode.started": [("counter", "message.encode.started", T, None)],
    "message.process.started": [("counter", "message.process.started", T, None)],
    "message.decode.completed": [
        ("counter", "message.decode.completed", {**T, "result": "result"}, None),
        ("gauge", "message.decode.duration", T, "duration"),
    ],
    "message.encode.completed": [
        ("counter", "message.encode.completed", {**T, "result": "result"}, None),
        ("gauge", "message.encode.duration", T, "duration"),
    ],
    "message.process.completed": [
        ("counter", "message.process.completed", {**T, "result": "result"}, None),
        ("gauge", "message.process.duration", T, "duration"),
    ],
    "message.process.slow": [("counter", "message.process.slow", T, None)],
    "message.process.stuck": [("counter", "message.process.stuck", T, None)],
    "message.batch_processed": [
        ("sum", "message.batch.count", {**C, "direction": "direction"}, "count"),
        ("sum", "message.batch.bytes", {**C, "direction": "direction"}, "total_size"),
        ("sum", "message.batch.errors", {**C, "direction": "direction"}, "errors"),
        ("state", "message.waiting", {**C, "direction": "direction"}, "waiting"),
        ("state", "message.waiting.bytes", {**C, "direction": "direction"}, "waiting_bytes"),
        ("state", "message.behind", {**C, "direction": "direction"}, "behind"),
    ],
    "subscription.subscribe.started": [("counter", "subscription.subscribe.started", C, None)],
    "subscription.subscribe.completed": [
        ("counter", "subscription.subscribe.completed", {**C, "result": "result"}, None),
        ("gauge", "subscription.subscribe.duration", C, "duration"),
    ],
    "subscription.unsubscribe.started": [("counter", "subscription.unsubscribe.started", C, None)],
    "subscription.unsubscribe.completed": [
        ("counter", "subscription.unsubscribe.completed", {**C, "result": "result"}, None),
        ("gauge", "subscription.unsubscribe.duration", C, "duration"),
    ],
    "error.occurred": [("counter", "error.occurred", {**E, "severity": "severity"}, None)],
    "error.handled": [
        ("counter", "error.handled", {**E, "severity": "severity"}, None),
        ("gauge", "error.recovery.duration", E, "duration"),
    ],
    "auth.started": [("counter", "auth.started", C, None)],
    "auth.completed": [("counter", "auth.completed", C, None), ("gauge", "auth.duration", C, "duration")],
    "auth.failed": [("counter", "auth.failed", {**C, "reason": "reason", "phase": "phase"}, None)],
    "auth.refresh.started": [("counter", "auth.refresh.started", C, None)],
    "auth.refresh.completed": [
        ("counter", "auth.refresh.completed", C, None),
        ("gauge", "auth.refresh.duration", C, "duration"),
    ],
    "heartbeat.sent": [("counter", "heartbeat.sent", C, None)],
    "heartbeat.received": [("counter", "heartbeat.received", C, None), ("gauge", "heartbeat.rtt", C, "rtt")],
    "heartbeat.missed": [("counter", "heartbeat.missed", C, None)],
    "system.sampled": [
        ("state", "system.cpu_percent", W, "cpu_percent"),
        ("state", "system.rss_bytes", W, "rss_bytes"),
        ("state", "system.threads", W, "threads"),
        ("state", "system.open_fds", W, "open_fds"),
        ("state", "system.gc.collections", W, "gc_collections"),
        ("state", "system.gc.collections.full", W, "gc_collections_full"),
        ("state", "system.ctx_switches", W, "ctx_switches"),
        ("state", "system.ctx_switches.involuntary", W, "ctx_switches_involuntary"),
        ("sample", "system.tcp.rtt_ms", CW, "tcp_rtt"),
        ("sample", "system.tcp.rttvar_ms", CW, "tcp_rttvar"),
        ("sample", "system.tcp.retransmits", CW, "tcp_retransmits"),
        ("sample", "system.tcp.lost", CW, "tcp_lost"),
        ("sample", "system.heartbeat.rtt_ms", CW, "heartbeat_rtt"),
        ("sample", "system.heartbeat.missed_share", CW, "heartbeat_missed_share"),
    ],
}


def _expected(event: str, rows: list[Row]) -> list[Definition]:
    made = []
    for kind, name, tags, measurement in rows:
        pairs = tuple(tags.items())
        unit = None if kind in ("counter", "sum", "state") or measurement == "size" else MS
        unit = MS if measurement == "behind" else unit
        full, source = f"websocket.{name}", f"websockex_nova.{event}"
        if kind == "sample":
            made.append(Definition(full, "gauge", source, measurement, pairs, MS if name.endswith("_ms") else None))
        elif kind == "state":
            made.append(Definition(full, "gauge", source, measurement, pairs, unit, state=True))
        elif kind == "gauge":
            made.append(Definition(full, "gauge", source, measurement, pairs, unit))
            made.append(Definition(f"{full}.distribution", "distribution", source, measurement, pairs, unit))
        else:
            assert kind in ("counter", "sum")
            made.append(Definition(full, "counter" if kind == "counter" else "sum", source, measurement, pairs))
    return made


@pytest.mark.parametrize("event", TABLE)
def test_an_event_has_exactly_its_metrics(event: str) -> None:
    """Name, kind, measurement, tags and unit of each, and every gauge of a duration or size with its distribution."""
    found = [one for one in ws.statsd_metrics() if one.event == f"websockex_nova.{event}"]
    assert Counter(found) == Counter(_expected(event, TABLE[event]))


def test_no_event_is_missing_and_none_is_added() -> None:
    """Every event of the catalogue is in the table; beside them states, times without a link, and ages."""
    named = {f"websockex_nova.{event}" for event in TABLE}
    unlisted = {events.CLIENT_STATE, events.CONNECTION_DOWN, events.MESSAGE_LAG}
    assert {one.event for one in ws.statsd_metrics()} == named | unlisted
    assert named == set(events.CATALOGUE)
    (up,) = [one for one in ws.statsd_metrics() if one.event == events.CLIENT_STATE]
    name, tags = "websocket.connection.up", (("client", "client_id"),)
    assert up == Definition(name, "gauge", events.CLIENT_STATE, "up", tags, state=True)
    (lag,) = [one for one in ws.statsd_metrics() if one.event == events.MESSAGE_LAG]
    both = (("client", "client_id"), ("direction", "direction"))
    assert lag == Definition("websocket.message.lag", "distribution", events.MESSAGE_LAG, "lag", both, MS)
    (down,) = [one for one in ws.statsd_metrics() if one.event == events.CONNECTION_DOWN]
    assert down == Definition(
        "websocket.connection.down_ms", "sum", events.CONNECTION_DOWN, "duration", (("client", "client_id"),), MS
    )


def test_counts_from_zero_have_tags_that_are_known_from_the_start() -> None:
    """Each has a series for every combination of its closed lists, and needs nothing but the client's id."""
    opened = {"client_id": "a"}
    listed = [one for one in ws.statsd_metrics() if one.name in FROM_ZERO]
    known = {one.name: [" ".join(tags).lower() for tags in tags_from_start(one, opened)] for one in listed}
    assert known == {
        "websocket.connection.started": ["client:a"],
        "websocket.connection.completed": ["client:a"],
        "websocket.connection.reconnect.failed": ["client:a final:false", "client:a final:true"],
        "websocket.message.batch.errors": ["client:a direction:received", "client:a direction:sent"],
    }


def test_a_series_whose_tag_comes_from_the_wire_is_not_known_from_the_start() -> None:
    """Types, channels and close codes; nor a uri that a function returns, nor anything without a client's id."""
    of, started = ws.counter, events.CONNECTION_STARTED
    keys = {events.MESSAGE_SENT: ["type"], started: ["client_id", "uri"], events.AUTH_FAILED: ["phase", "reason"]}
    for event, tags in keys.items():
        assert list(tags_from_start(of("a", event, tags), {"client_id": "a"})) == []
    at = {"client_id": "a", "uri": "ws://feed/"}
    assert list(tags_from_start(of("a", started, ["client_id", "uri"]), at)) == [("client_id:a", "uri:ws://feed/")]
    assert list(tags_from_start(of("a", started, []), {})) == []
    assert list(tags_from_start(of("a", "shop.order", ["client_id"]), at)) == []


def test_every_metric_reads_what_its_event_carries() -> None:
    """No measurement and no tag names a key that the event does not have."""
    listed = [one for one in ws.statsd_metrics() if one.event in events.CATALOGUE]
    for one in [*listed, *ws.prometheus_metrics()]:
        spec = events.CATALOGUE[one.event]
        if isinstance(one.measurement, str):
            assert one.measurement in spec.measurements, one
        keys = {key for _, key in one.tags}
        assert keys <= set(spec.metadata), one


def test_a_name_keeps_its_kind() -> None:
    """The same name on two events is the same metric: a registry accepts both lists whole."""
    assert ws.HandlerRegistry([*ws.statsd_metrics(), *ws.prometheus_metrics()]).handlers


def test_the_lists_are_the_callers_own() -> None:
    """Changing one changes no other."""
    first = ws.statsd_metrics()
    first.clear()
    assert len(ws.statsd_metrics()) > 40


def test_the_guides_gauge_is_in_the_list() -> None:
    """The one metric that the guide writes out: duration in milliseconds, tags client and type."""
    (one,) = [one for one in ws.statsd_metrics() if one.name == "websocket.message.process.duration"]
    assert (one.kind, one.event) == ("gauge", "websockex_nova.message.process.completed")
    assert (one.measurement, one.divisor) == ("duration", 1_000_000)
    assert one.tags == (("client", "client_id"), ("type", "type"))


ALWAYS = {"message.batch_processed", "message.process.slow", "message.process.stuck", "system.sampled"}
MINIMAL = ALWAYS | {
    *("connection.started", "connection.completed", "connection.disconnected"),
    *("connection.reconnect.success", "connection.reconnect.failed"),
    *("error.occurred", "error.handled", "auth.failed"),
}
STANDARD = MINIMAL | {"connection.reconnect.attempt"}
STANDARD |= {event for event in TABLE if event.startswith(("subscription.", "auth."))}


@pytest.mark.parametrize(
    ("profile", "named"),
    [
        ("lightweight", MINIMAL),
        ("standard", STANDARD),
        ("financial", set(TABLE)),
        (ws.FINANCIAL.replace(heartbeat_events=False), {e for e in TABLE if not e.startswith("heartbeat.")}),
        (ws.LIGHTWEIGHT.replace(error_events=False), {e for e in MINIMAL if not e.startswith("error.")}),
        (None, set(TABLE)),
    ],
)
def test_a_profile_leaves_out_what_it_never_emits(profile: str | ws.Profile | None, named: set[str]) -> None:
    """The metrics of an event come all or not at all, in the list's order; those of states and ages always."""
    chosen = ws.statsd_metrics(profile=profile)
    always = {events.CLIENT_STATE, events.CONNECTION_DOWN, events.MESSAGE_LAG}
    named = {f"websockex_nova.{event}" for event in named} | always
    assert {one.event for one in chosen} == named
    assert chosen == [one for one in ws.statsd_metrics() if one.event in named]


def test_an_unknown_profile_is_refused_with_the_known_ones() -> None:
    """A typing error does not become an empty list."""
    with pytest.raises(ws.errors.ConfigurationError, match=r"financial.*standard.*lightweight"):
        ws.statsd_metrics(profile="finanical")


def test_a_lean_list_leaves_out_the_gauges_that_have_a_distribution_except_the_guides() -> None:
    """For every profile; counts, states and the distributions themselves stay, in the list's order."""
    guides = "websocket.message.process.duration"
    for profile in ("financial", "standard", "lightweight", None):
        whole, lean = ws.statsd_metrics(profile), ws.statsd_metrics(profile, lean=True)
        names = {one.name for one in whole}
        gone = {name for name in names if f"{name}.distribution" in names and name != guides}
        assert lean == [one for one in whole if one.name not in gone]
    assert {one.kind for one in whole if one.name in gone} == {"gauge"}
    assert len(gone) == 14
    assert guides in {one.name for one in lean}


def test_lean_is_true_or_false() -> None:
    """A word is neither."""
    with pytest.raises(ws.errors.ConfigurationError, match="lean must be True or False, got 'yes'"):
        ws.statsd_metrics(lean="yes")  # type: ignore[arg-type]


CLIENT_URI, CLIENT_TYPE = ("client_id", "uri"), ("client_id", "type")
GUIDE: list[tuple[str, str, str, str | None, tuple[str, ...], tuple[str, str] | None, tuple[float, ...] | None]] = [
    ("counter", "connection.started", "count", None, CLIENT_URI, None, None),
    ("counter", "connection.completed", "count", None, CLIENT_URI, None, None),  # read by the guide's first query
    ("distribution", "connection.completed", "duration", "duration", CLIENT_URI, MS, (10, 100, 500, 1000, 5000)),
    ("counter", "message.received", "count", None, CLIENT_TYPE, None, None),
    ("counter", "message.sent", "count", None, CLIENT_TYPE, None, None),
    ("summary", "message.received", "size", "size", CLIENT_TYPE, None, None),
    ("summary", "message.sent", "size", "size", CLIENT_TYPE, None, None),
    ("distribution", "message.process.completed", "duration", "duration", CLIENT_TYPE, MS, None),
    ("counter", "error.occurred", "count", None, ("client_id", "error_type"), None, None),
    ("counter", "subscription.subscribe.completed", "count", None, ("client_id", "channel"), None, None),
]


def test_the_prometheus_list_is_the_guides_with_the_counter_its_query_reads() -> None:
    """Name for name, in order: tags, unit and buckets as the guide writes them, and one counter more."""
    found = [
        (one.kind, one.event, one.name, one.measurement, tuple(tag for tag, _ in one.tags), one.unit, one.buckets)
        for one in ws.prometheus_metrics()
        if not one.fixed
    ]
    assert found == [
        (kind, f"websockex_nova.{event}", f"websockex_nova.{event}.{last}", *rest) for kind, event, last, *rest in GUIDE
    ]
    assert all(tag == key for one in ws.prometheus_metrics() for tag, key in one.tags)


# The metrics of what waits, as they are sent


def test_what_waits_is_measured_for_what_is_received_with_the_age_of_each_message() -> None:
    """A measurement that is missing omits its metric: also in an older emitter's sums, and for what is sent."""
    bus, sums = ws.Bus(), {"count": 1, "total_size": 5, "errors": 0}
    received = {"client_id": "a", "direction": "received"}
    waiting = {"waiting": 3, "waiting_bytes": 900, "idle": 0, "behind": 1_500_000, "lag": 7, "lag_max": 7}
    with capture_metrics(bus=bus) as metrics:
        bus.execute(events.MESSAGE_BATCH_PROCESSED, {**sums, **waiting}, received)
        bus.execute(events.MESSAGE_BATCH_PROCESSED, sums, {"client_id": "a", "direction": "sent"})
        bus.execute(events.MESSAGE_BATCH_PROCESSED, sums, {"client_id": "old", "direction": "received"})
        record = bus.slot(events.MESSAGE_LAG).recorder(("lag",), received)
        assert record is not None
        for lag in (1_000_000, 2_500_000):
            record(lag)
        metrics.flush()
    tags = {"client:a", "direction:received"}
    reported = {(one.name, *one.values) for one in metrics.metrics() if tags <= set(one.tags)}
    assert reported >= {
        ("websocket.message.waiting", 3.0),
        ("websocket.message.waiting.bytes", 900.0),
        ("websocket.message.behind", 1.5),
        ("websocket.message.lag", 1.0, 2.5),
    }
    about = ("websocket.message.waiting", "websocket.message.behind", "websocket.message.lag")
    assert all(tags <= set(one.tags) for one in metrics.metrics() if one.name.startswith(about))


def test_messages_that_only_sums_count_are_beside_those_that_are_counted_by_type() -> None:
    """By the same names, of type `all`, and only if there are any: in no profile both."""
    received, sent = (one for one in ws.prometheus_metrics() if one.fixed)
    for one, direction in ((received, "received"), (sent, "sent")):
        assert (one.name, one.kind) == (f"websockex_nova.message.{direction}.count", "counter")
        assert (one.event, one.measurement) == (events.MESSAGE_BATCH_PROCESSED, "untyped")
        assert (one.tags, one.fixed) == ((("client_id", "client_id"),), (("type", "all"),))
        assert one.keep is not None
        found = [one.keep({"untyped": n}, {"direction": way}) for n in (0, 3) for way in ("received", "sent")]
        assert found == [False, False, direction == "received", direction == "sent"]


def test_the_complete_prometheus_list_has_what_boards_and_rules_ask_for_and_nothing_of_single_messages() -> None:
    """Of single messages it has the guide's own definitions; every other event of the StatsD list is in it."""
    complete, short = ws.prometheus_metrics(complete=True), ws.prometheus_metrics()
    assert complete[: len(short)] == short
    single = {name for name, spec in events.CATALOGUE.items() if spec.toggle == "message_events"}
    assert not single & {one.event for one in complete[len(short) :]}
    assert {one.event for one in ws.statsd_metrics()} - single <= {one.event for one in complete}
    assert {events.KPI_SAMPLED, events.ALERT_FIRED} <= {one.event for one in complete}
    assert all(one.buckets for one in complete[len(short) :] if one.kind == "distribution")
