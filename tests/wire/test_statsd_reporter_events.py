"""The application's own metrics, events and checks arrive; for any content no datagram breaks a rule."""

import math
import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import wsnova_statsd as ws
from wsnova_statsd.errors import ConfigurationError
from wsnova_statsd.testing.receiver import DogStatsDReceiver

RECEIVED = ws.events.MESSAGE_RECEIVED


class _Rude:
    """Raises when asked for its text."""

    def __str__(self) -> str:
        raise RuntimeError("no")


HOSTILE: list[Any] = [
    *(
        "a|@0.001",
        "a|#x:y",
        "x\ny:1|c",
        "a,b",
        "\r",
        "\x00\x7f\x85",
        "\ud800",
        "ü" * 5_000,
        "💥" * 9_000,
        ":",
        "::",
        "",
    ),
    *("_e{1,1}:a|b", "_sc|a|0", "host:evil", "dd.internal.card:none", "m:x", "\\n", "#", "@", "|", "T123", "c:evil"),
    *(_Rude(), None, 5, True, math.nan, 10**5000, b"\xff", ["a"], {"k": "v"}, ValueError("a|b\nc")),
]


@pytest.fixture(scope="module", params=["udp", "unix"])
def receiver(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DogStatsDReceiver]:
    path: Path = tmp_path_factory.mktemp("agent") / "dsd.socket"
    with DogStatsDReceiver(str(path)) if request.param == "unix" else DogStatsDReceiver() as made:
        yield made
    assert made.malformed == []


@pytest.fixture(scope="module")
def reporter(receiver: DogStatsDReceiver) -> Iterator[ws.StatsdReporter]:
    """A running reporter, with the longest interval, which events wake."""
    with _reporter(receiver, flush_interval=10) as made:
        yield made


def _reporter(receiver: DogStatsDReceiver, **options: Any) -> ws.StatsdReporter:
    where = {"host": receiver.host, "port": receiver.port}
    return ws.StatsdReporter(
        **(where if receiver.path is None else {"socket_path": receiver.path}), bus=ws.Bus(), **options
    )


@pytest.fixture(autouse=True)
def _empty(receiver: DogStatsDReceiver) -> None:
    receiver.clear()


def _flushed(reporter: ws.StatsdReporter, receiver: DogStatsDReceiver) -> None:
    """Flush with a mark at the end, and wait for it."""
    mark = f"mark{random.getrandbits(60)}"
    reporter.service_check(mark, 0)
    assert reporter.flush()
    reporter.service_check(mark, 1)
    assert reporter.flush()
    assert receiver.wait_for(lambda r: any((one.name, one.status) == (mark, 1) for one in r.checks))


def test_the_applications_own_metrics_arrive(reporter: ws.StatsdReporter, receiver: DogStatsDReceiver) -> None:
    """Counters add up, gauges keep the last, distributions keep all; tags as a list or a mapping."""
    for value in (1, 2, 4):
        reporter.increment("orders", value, tags={"side": "buy"})
        reporter.gauge("depth", value, tags=["side:buy"])
        reporter.distribution("latency", value / 2)
    reporter.increment("orders", tags=["side:sell"])
    _flushed(reporter, receiver)
    assert [(one.type, one.values) for one in receiver.metrics("orders", {"side": "buy"})] == [("c", (7,))]
    assert receiver.count("orders") == 8
    assert receiver.values("depth") == [4]
    assert [(one.type, one.values) for one in receiver.metrics("latency")] == [("d", (0.5, 1, 2))]


def test_an_event_is_sent_at_once(reporter: ws.StatsdReporter, receiver: DogStatsDReceiver) -> None:
    """Long before the next flush is due, with all its fields."""
    reporter.event("Slow: é", "line one\nline two | 100%", "warning", tags={"client": "a"}, aggregation_key="slow-a")
    assert receiver.wait_for(lambda r: r.events, timeout=3)
    (event,) = receiver.events
    assert (event.title, event.text, event.alert_type) == ("Slow: é", "line one\nline two | 100%", "warning")
    assert (event.tags, event.aggregation_key) == (("client:a",), "slow-a")


def test_a_service_check_is_sent_at_once(reporter: ws.StatsdReporter, receiver: DogStatsDReceiver) -> None:
    """Name, status, tags and message."""
    reporter.service_check("websocket.can_connect", 2, tags=["client:a"], message="refused: m: it | was\ndown")
    assert receiver.wait_for(lambda r: r.checks, timeout=3)
    (check,) = receiver.checks
    assert (check.name, check.status, check.tags) == ("websocket.can_connect", 2, ("client:a", "worker:0"))
    assert check.message == "refused: m: it _ was down"


def test_an_event_may_set_its_time_host_and_priority(reporter: ws.StatsdReporter, receiver: DogStatsDReceiver) -> None:
    """A moment as seconds or as a datetime; host and source type replace the Agent's; bars become `_`."""
    happened = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)
    for moment in (happened, happened.timestamp() + 0.5):
        reporter.event(
            "Deployed", "1.2", priority="low", date_happened=moment, hostname="db-a|x", source_type="my_apps"
        )
    assert receiver.wait_for(lambda r: len(r.events) == 2, timeout=3)
    for event in receiver.events:
        assert (event.priority, event.hostname, event.source_type) == ("low", "db-a_x", "my_apps")
        assert (event.timestamp, event.text) == (int(happened.timestamp()), "1.2")


def test_the_programs_own_host_tag_is_sent(reporter: ws.StatsdReporter, receiver: DogStatsDReceiver) -> None:
    """On metrics, events and checks; two series may differ only in it."""
    for host, value in (("db-a", 5), ("db-b", 7)):
        reporter.gauge("disk.free", value, [f"host:{host}"])
    reporter.event("t", "x", tags=["host:db-a"])
    reporter.service_check("up", 0, {"host": "db-a"})
    _flushed(reporter, receiver)
    assert {one.tags: one.values for one in receiver.metrics("disk.free")} == {
        ("host:db-a",): (5,),
        ("host:db-b",): (7,),
    }
    assert receiver.events[0].tags == ("host:db-a",)
    assert next(one.tags for one in receiver.checks if one.name == "up") == ("host:db-a", "worker:0")


@pytest.mark.parametrize("size", [4_000, 9_000, 100_000])
@pytest.mark.parametrize("char", ["a", "é", "💥", "\n"])
def test_a_long_event_is_cut_to_its_bytes(
    reporter: ws.StatsdReporter, receiver: DogStatsDReceiver, char: str, size: int
) -> None:
    """It arrives whole as one datagram, with a mark where something is missing."""
    reporter.event("t" + char * size, "x" + char * size, "error", tags=[f"k{i}:{char * 150}" for i in range(20)])
    assert receiver.wait_for(lambda r: r.events, timeout=3)
    (event,) = receiver.events
    assert len(receiver.datagrams[0]) <= 8192
    assert event.text.startswith("x")
    assert event.text.endswith("...[cut]")
    assert len(event.text) <= 4_000


def test_hostile_data_forges_nothing(reporter: ws.StatsdReporter, receiver: DogStatsDReceiver) -> None:
    """Names, tags, values, texts, keys and statuses of any kind: nothing raises, nothing is malformed."""
    for value in HOSTILE:
        reporter.increment(value, 1, value)
        reporter.increment("counted", 1, tags=[value, "ok:1"])
        reporter.gauge("gauged", value, tags={"t": value, "ok": 1})
        reporter.distribution(value, value)
        reporter.event(value, value, value, [value], value)
        reporter.service_check(value, value, {"t": value}, value)
    _flushed(reporter, receiver)
    assert receiver.malformed == []
    nested = sum(isinstance(value, list | dict) for value in HOSTILE)  # as one of the tags they are refused
    assert receiver.count("counted", ["ok:1"]) == len(HOSTILE) - nested
    assert len(receiver.events) == len(HOSTILE)
    assert {one.status for one in receiver.checks} <= {0, 1, 3}
    tags = {tag for message in receiver.messages for tag in message.tags}
    assert not any(tag.lower().startswith("dd.internal") for tag in tags)
    names = {one.name for one in receiver.metrics()}
    assert not names & {"y", "evil", "x"}


any_value = st.one_of(st.text(alphabet=st.characters(exclude_categories=()), max_size=400), st.sampled_from(HOSTILE))


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=any_value, tag=any_value, text=any_value, key=any_value, kind=any_value, number=st.integers() | st.floats())
def test_nothing_is_ever_malformed(
    reporter: ws.StatsdReporter,
    receiver: DogStatsDReceiver,
    name: Any,
    tag: Any,
    text: Any,
    key: Any,
    kind: Any,
    number: float,
) -> None:
    """For any names, tags and texts of hypothesis, the strict reader accepts all that arrives."""
    reporter.increment(name, number, [tag])
    reporter.gauge(text, number, {"t": tag})
    reporter.distribution(key, number, (tag, text))
    reporter.event(name, text, kind, [tag], key)
    reporter.service_check(name, kind, [tag], text)
    _flushed(reporter, receiver)
    assert receiver.malformed == []
    assert receiver.events


def test_hostile_metadata_of_events_forges_nothing(receiver: DogStatsDReceiver) -> None:
    """Network data as type, client or reason is as hostile as any text."""
    bus = ws.Bus()
    where: dict[str, Any] = {"host": receiver.host, "port": receiver.port}
    where = where if receiver.path is None else {"socket_path": receiver.path}
    with ws.StatsdReporter(**where, bus=bus, flush_interval=10) as reporter:
        for value in HOSTILE:
            bus.execute(RECEIVED, {"size": value}, {"client_id": "a", "type": value})
            bus.execute(ws.events.CONNECTION_DISCONNECTED, {"duration": value}, {"client_id": value, "reason": value})
        _flushed(reporter, receiver)
        assert reporter.stats.pending == 0
    assert receiver.malformed == []
    assert receiver.count("websocket.message.received", ["client:a"]) == len(HOSTILE)
    assert receiver.count("websocket.connection.disconnected") == len(HOSTILE)


def test_strict_raises_for_what_would_be_changed(receiver: DogStatsDReceiver) -> None:
    """For your own tests: a bad name, value, alert type or status is a fault where it is written."""
    strict = _reporter(receiver, strict=True)
    calls: list[Callable[[], None]] = [
        lambda: strict.increment("a b"),
        lambda: strict.gauge("a", math.nan),
        lambda: strict.distribution("a", "5"),  # type: ignore[arg-type]
        lambda: strict.event("t", "x", "fatal"),  # type: ignore[arg-type]
        lambda: strict.service_check("a", 9),
    ]
    for call in calls:
        with pytest.raises(ConfigurationError):
            call()
    strict.increment("b", 2)
    with pytest.raises(ConfigurationError, match="already a counter"):
        strict.gauge("b", 2)
