"""The reporter on real sockets: what was counted arrives, exactly, in well filled datagrams that break no rule."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import wsnova_statsd as ws
from wsnova_statsd.testing.dogstatsd import Metric
from wsnova_statsd.testing.receiver import DogStatsDReceiver

RECEIVED, COMPLETED = ws.events.MESSAGE_RECEIVED, ws.events.MESSAGE_PROCESS_COMPLETED
META = {"client_id": "a", "type": "b"}


@pytest.fixture(params=["udp", "unix"])
def receiver(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[DogStatsDReceiver]:
    made = DogStatsDReceiver(str(tmp_path / "dsd.socket")) if request.param == "unix" else DogStatsDReceiver()
    with made:
        yield made
    assert made.malformed == []


def _reporter(receiver: DogStatsDReceiver, bus: ws.Bus | None = None, **options: Any) -> ws.StatsdReporter:
    """With the longest interval: what arrives was flushed by the test."""
    where: dict[str, Any] = {"host": receiver.host, "port": receiver.port}
    if receiver.path is not None:
        where = {"socket_path": receiver.path}
    return ws.StatsdReporter(**where, bus=bus or ws.Bus(), **{"flush_interval": 10, **options})


def _flushed(reporter: ws.StatsdReporter, receiver: DogStatsDReceiver) -> None:
    """Flush, and wait until all of it has been read."""
    before = reporter.stats.packets
    seen = len(receiver.datagrams)
    assert reporter.flush()
    sent = reporter.stats.packets - before
    assert receiver.wait_for(lambda r: len(r.datagrams) >= seen + sent)


def test_counts_are_summed_gauges_last_and_distributions_packed(receiver: DogStatsDReceiver) -> None:
    """One line per series and flush, for any number of occurrences."""
    bus = ws.Bus()
    with _reporter(receiver, bus) as reporter:
        for size in (10, 20, 40):
            bus.execute(RECEIVED, {"size": size}, META)
        _flushed(reporter, receiver)
        tags = ("client:a", "type:b")
        name = "websocket.message.received"
        assert sorted((one.name, one.type, one.raw_values, one.tags) for one in receiver.metrics()) == [
            (name, "c", ("3",), tags),
            (f"{name}.bytes", "c", ("70",), tags),
            (f"{name}.size", "g", ("40",), tags),
            (f"{name}.size.distribution", "d", ("10", "20", "40"), tags),
        ]
        bus.execute(RECEIVED, {"size": 5}, META)
        _flushed(reporter, receiver)
    assert receiver.count(name) == 4
    assert receiver.count(f"{name}.bytes") == 75
    assert receiver.last(f"{name}.size") == 5
    assert receiver.values(f"{name}.size.distribution") == [10, 20, 40, 5]


def test_the_guides_gauge_line_is_exact(receiver: DogStatsDReceiver) -> None:
    """Byte for byte; a container id, which the official client detects, may follow."""
    bus = ws.Bus()
    with _reporter(receiver, bus) as reporter:
        bus.execute(COMPLETED, {"duration": 12_500_000}, {**META, "result": "ok"})
        _flushed(reporter, receiver)
    lines = b"".join(receiver.datagrams).split(b"\n")
    (line,) = [one for one in lines if one.startswith(b"websocket.message.process.duration:")]
    wanted = b"websocket.message.process.duration:12.5|g|#client:a,type:b"
    assert line == wanted or line.startswith(wanted + b"|c:")


def test_datagrams_stay_within_their_limit_and_are_well_filled(receiver: DogStatsDReceiver) -> None:
    """1432 bytes over UDP, 8192 over a Unix socket, and hardly a byte of it unused."""
    limit = 8192 if receiver.path is not None else 1432
    with _reporter(receiver) as reporter:
        for number in range(600):
            reporter.increment(f"orders.{number}", number + 1, {"kind": "größe"})
        _flushed(reporter, receiver)
        sizes = [len(datagram) for datagram in receiver.datagrams]
        assert max(sizes) <= limit
        assert all(size > limit - 60 for size in sizes[:-1])
        assert sum(receiver.count(f"orders.{number}") for number in range(600)) == 600 * 601 / 2
        receiver.clear()
    with _reporter(receiver) as reporter:
        for number in range(4_900):
            reporter.distribution("ms", number / 8)
        _flushed(reporter, receiver)
        sizes = [len(datagram) for datagram in receiver.datagrams]
        assert max(sizes) <= limit
        assert all(size > limit - 16 for size in sizes[:-1])
        assert receiver.values("ms") == [number / 8 for number in range(4_900)]
        assert reporter.stats.lost == {}


def test_thinned_samples_count_for_all(receiver: DogStatsDReceiver) -> None:
    """A flush sends at most max_samples values of a series; weighed by the Agent they count for all."""
    with _reporter(receiver, max_samples=100) as reporter:
        for number in range(12_345):
            reporter.distribution("ms", number)
        _flushed(reporter, receiver)
    assert receiver.count("ms") == 12_345
    assert len(receiver.values("ms")) <= 100
    weighted = sum(sum(one.values) * one.count / len(one.values) for one in receiver.metrics("ms"))
    assert weighted / 12_345 == pytest.approx(6_172, rel=0.15)


def test_namespace_and_constant_tags_are_on_everything(
    receiver: DogStatsDReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On metrics, events and checks; env, service and version appear once; the argument wins over the variable."""
    for name, value in {"ENV": "prod", "SERVICE": "md", "VERSION": "7", "TAGS": "team:a,env:other"}.items():
        monkeypatch.setenv(f"DD_{name}", value)
    bus = ws.Bus()
    with _reporter(receiver, bus, namespace="app", tags={"env": "test"}) as reporter:
        bus.execute(RECEIVED, {"size": 1}, META)
        reporter.increment("orders", tags=["kind:x"])
        reporter.event("title", "text", tags=["kind:y"])
        reporter.service_check("alive", 0)  # these two are sent on their own, at any time from here on
        assert reporter.flush()
        assert receiver.wait_for(lambda r: r.events and r.checks and r.count("app.orders") == 1)
    constant = ("env:test", "service:md", "version:7", "team:a")
    assert {one.name.split(".")[0] for one in receiver.metrics()} == {"app"}
    assert receiver.metrics("app.websocket.message.received")[0].tags == ("client:a", "type:b", *constant)
    assert receiver.metrics("app.orders")[0].tags == ("kind:x", *constant)
    assert receiver.events[0].tags == ("kind:y", *constant)
    assert (receiver.checks[0].name, receiver.checks[0].tags) == ("app.alive", ("worker:0", *constant))


def test_the_close_of_a_client_is_sent_before_it_is_forgotten(receiver: DogStatsDReceiver) -> None:
    """Disconnected and closed between two flushes: the 0 is still sent, once."""
    bus = ws.Bus()
    with _reporter(receiver, bus) as reporter:
        bus.execute(ws.events.CONNECTION_COMPLETED, {}, META)
        _flushed(reporter, receiver)
        bus.execute(ws.events.CONNECTION_DISCONNECTED, {}, {**META, "reason": "local"})
        bus.execute(ws.events.CLIENT_CLOSED, {}, META)
        _flushed(reporter, receiver)
        _flushed(reporter, receiver)
    assert receiver.values("websocket.connection.up") == [1, 0]


def test_a_close_while_the_agent_is_unreachable_is_sent_when_it_is_back(tmp_path: Path) -> None:
    """The board must not show the last 1 for ever."""
    bus = ws.Bus()
    with DogStatsDReceiver(str(tmp_path / "dsd.socket")) as receiver, _reporter(receiver, bus) as reporter:
        bus.execute(ws.events.CONNECTION_COMPLETED, {}, META)
        _flushed(reporter, receiver)
        receiver.stop()
        bus.execute(ws.events.CONNECTION_DISCONNECTED, {}, {**META, "reason": "local"})
        bus.execute(ws.events.CLIENT_CLOSED, {}, META)
        assert not reporter.flush()
        receiver.start()
        for _ in range(3):
            _flushed(reporter, receiver)
        assert receiver.values("websocket.connection.up") == [1, 0]


def test_two_reporters_on_one_bus_each_ship_everything() -> None:
    """Neither takes from the other, and stopping one does not stop the other."""
    bus = ws.Bus()
    with DogStatsDReceiver() as first, DogStatsDReceiver() as second:
        one, two = _reporter(first, bus), _reporter(second, bus, distributions=False)
        with two:
            with one:
                for _ in range(50):
                    bus.execute(RECEIVED, {"size": 2}, META)
            bus.execute(RECEIVED, {"size": 2}, META)
        assert first.wait_for(lambda r: r.count("websocket.message.received") == 50)
        assert second.wait_for(lambda r: r.count("websocket.message.received") == 51)
        assert {metric.type for metric in first.metrics()} == {"c", "g", "d"}
        assert {metric.type for metric in second.metrics()} == {"c", "g"}
    assert bus.list_handlers() == []


def test_the_flush_thread_ships_without_a_call() -> None:
    """Within its interval."""
    bus = ws.Bus()
    with DogStatsDReceiver() as receiver, _reporter(receiver, bus, flush_interval=1):
        bus.execute(RECEIVED, {"size": 2}, META)
        assert receiver.wait_for(lambda r: r.count("websocket.message.received") == 1, timeout=3)
        bus.execute(RECEIVED, {"size": 2}, META)
        assert receiver.wait_for(lambda r: r.count("websocket.message.received") == 2, timeout=3)


def test_metrics_of_your_own_choice(receiver: DogStatsDReceiver) -> None:
    """A list passed to the reporter is shipped, and nothing else; a summary is a histogram."""
    bus = ws.Bus()
    metrics = [ws.summary("sizes", RECEIVED, "size", ["type"]), ws.counter("all", RECEIVED)]
    with _reporter(receiver, bus, metrics=metrics) as reporter:
        bus.execute(RECEIVED, {"size": 3}, META)
        bus.execute(RECEIVED, {"size": 4}, META)
        _flushed(reporter, receiver)
    found = {one.name: (one.type, one.values, one.tags) for one in receiver.messages if isinstance(one, Metric)}
    assert found == {"sizes": ("h", (3, 4), ("type:b",)), "all": ("c", (2,), ())}
