"""The Agent, in a separate process, stops and comes back: what it adds up is what was counted, and the log reports
it."""

import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import wsnova_statsd as ws
from tests.benchmarks.agent import free_port
from tests.support import until
from tests.wire.agent_process import AgentProcess
from wsnova_statsd.testing.receiver import DogStatsDReceiver

RECEIVED = ws.events.MESSAGE_RECEIVED
META = {"client_id": "a", "type": "b"}
NAME = "websocket.message.received"


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "dsd.socket")


def _reporter(bus: ws.Bus | None = None, **options: Any) -> ws.StatsdReporter:
    return ws.StatsdReporter(bus=bus or ws.Bus(), **{"flush_interval": 10, **options})


class _Load:
    """Threads that emit until they are stopped; `emitted` is exact after the block."""

    def __init__(self, bus: ws.Bus, threads: int = 2) -> None:
        self._over = threading.Event()
        self._counts = [0] * threads
        self._threads = [threading.Thread(target=self._emit, args=(bus, slot)) for slot in range(threads)]

    def _emit(self, bus: ws.Bus, slot: int) -> None:
        while not self._over.is_set():
            for _ in range(100):
                bus.execute(RECEIVED, {"size": 3}, META)
            self._counts[slot] += 100
            self._over.wait(0.001)

    def __enter__(self) -> "_Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    @property
    def emitted(self) -> int:
        return sum(self._counts)


def _flushed(reporter: ws.StatsdReporter) -> None:
    assert until(reporter.flush, 20)
    assert reporter.stats.pending == 0


def test_fifty_restarts_of_an_agent_that_drains_lose_no_count(path: str) -> None:
    """On a Unix socket, two threads emitting and one flushing all the time: counts and sums to the last one."""
    bus, over = ws.Bus(), threading.Event()

    def flush() -> None:
        while not over.is_set():
            reporter.flush()

    with AgentProcess("unix", path) as agent, _reporter(bus, socket_path=path) as reporter:
        flusher = threading.Thread(target=flush)
        with _Load(bus) as load:
            flusher.start()
            for _ in range(50):
                packets = reporter.stats.packets
                agent.tell("stop")
                agent.tell("start")
                assert until(lambda packets=packets: reporter.stats.packets > packets, 20)  # type: ignore[misc]
        over.set()
        flusher.join()
        _flushed(reporter)
        stats, totals = reporter.stats, agent.end()
        assert totals["malformed"] == 0
        assert totals[NAME] == load.emitted == stats.delivered
        assert totals[f"{NAME}.bytes"] == 3 * load.emitted == stats.sums.delivered
        samples = stats.samples
        assert totals[f"{NAME}.size.distribution"] == samples.delivered
        assert samples.delivered + sum(samples.lost.values()) == load.emitted
        assert set(stats.lost) <= {"refused"}


def test_counts_for_a_refused_udp_port_wait_until_it_is_bound() -> None:
    """The datagram without a receiver is noticed, by the socket's error."""
    bus, port = ws.Bus(), free_port()
    with AgentProcess("udp", str(port)) as agent, _reporter(bus, host="127.0.0.1", port=port) as reporter:
        for _ in range(20):
            bus.execute(RECEIVED, {"size": 3}, META)
            assert reporter.flush()
            agent.tell("stop")
            for _ in range(5):
                bus.execute(RECEIVED, {"size": 3}, META)
                assert not reporter.flush()
            agent.tell("start")
            _flushed(reporter)
        totals = agent.end()
        assert totals[NAME] == reporter.stats.delivered == 120
        assert reporter.stats.samples.delivered == totals[f"{NAME}.size.distribution"]


@pytest.mark.parametrize("kind", ["gone", "refused", "full"])
def test_an_outage_is_logged_when_it_begins_and_when_it_ends(
    path: str, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """One line each, for every way of refusing packets; none of the official client's."""
    unread = None
    if kind != "gone":
        unread = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        unread.bind(path)
        if kind == "refused":
            unread.close()
    with caplog.at_level(logging.WARNING), _reporter(socket_path=path) as reporter:
        emitted = 0
        for _ in range(3):
            for number in range(500 if kind == "full" else 1):
                reporter.increment(f"n{number}.{'x' * 190}")
                emitted += 1
            assert not reporter.flush()
        assert reporter.stats.pending + reporter.stats.delivered == emitted
        if unread is not None:
            unread.close()
            os.unlink(path)
        with DogStatsDReceiver(path):
            assert reporter.flush()
        assert reporter.stats.delivered == emitted
    went, back = [record.getMessage() for record in caplog.records]
    reason = {"gone": "No such file", "refused": "Connection refused", "full": "it does not read"}[kind]
    assert f"cannot send metrics to the Datadog Agent at {path}" in went
    assert reason in went
    assert f"{emitted} counts were kept" in back


def test_an_emitter_never_waits_for_a_resolver(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does a flush beyond its time; the counts are sent when the name is known."""
    go_on, real = threading.Event(), socket.getaddrinfo

    def hang(*arguments: Any) -> Any:
        go_on.wait(30)
        return real("127.0.0.1", *arguments[1:])

    with DogStatsDReceiver() as receiver:
        monkeypatch.setattr(socket, "getaddrinfo", hang)
        with _reporter(host="agent.example", port=receiver.port) as reporter:
            began = time.monotonic()
            reporter.increment("orders", 4)
            assert not reporter.flush(timeout=0.05)
            assert not reporter.flush(timeout=0.05)
            assert time.monotonic() - began < 5
            assert reporter.stats.last_error == "OSError: the host name 'agent.example' is still being looked up"
            go_on.set()
            assert reporter.flush(timeout=10)
        assert receiver.wait_for(lambda r: r.count("orders") == 4)


def test_a_long_flush_of_the_thread_loses_nothing(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may take longer than a caller would wait: 20 series of samples, each packet after a pause."""
    emitted = 0
    with DogStatsDReceiver(path) as receiver, _reporter(socket_path=path, flush_interval=1) as reporter:
        agent = reporter._shipper._agent
        assert agent is not None
        send, clock = agent.send, [0.0]
        monkeypatch.setattr(reporter._shipper, "_clock", lambda: time.monotonic() + clock[0])

        def slowly(packet: Any, deadline: float, left: list[int | None]) -> bool:
            clock[0] += 0.4  # as if it had taken so long
            return send(packet, deadline, left)

        monkeypatch.setattr(agent, "send", slowly)
        for number in range(20):
            for value in range(250):
                reporter.distribution(f"ms{number}", value + 0.123456)
                emitted += 1
        assert receiver.wait_for(lambda r: sum(r.count(f"ms{n}") for n in range(20)) == emitted, timeout=20)
        stats = reporter.stats
        assert (stats.samples.delivered, stats.lost) == (emitted, {})
        assert stats.packets > 5  # more than two seconds' worth


def test_the_thread_sends_the_reporters_own_figures() -> None:
    """With its first flush and at the end, so that Datadog's sums are those of stats."""
    bus = ws.Bus()
    bus.attach("failing", RECEIVED, lambda *_: 1 / 0)
    with DogStatsDReceiver() as receiver:
        with _reporter(bus, host="127.0.0.1", port=receiver.port, flush_interval=1) as reporter:
            for number in range(30):
                bus.execute(RECEIVED, {"size": number}, META)
            reporter.increment("orders", float("nan"))
            assert receiver.wait_for(lambda r: r.metrics("websocket.reporter.series"), timeout=20)
        own: Callable[[str], float] = lambda name: receiver.count(f"websocket.reporter.{name}")  # noqa: E731
        stats = reporter.stats
        assert receiver.wait_for(lambda r: len(r.datagrams) == stats.packets)
        assert own("handler_errors") == stats.handler_errors == 30
        assert own("samples") == stats.samples.delivered == 30
        assert (receiver.count("websocket.reporter.lost", ["cause:invalid"]), stats.lost) == (1, {"invalid": 1})
        assert receiver.last("websocket.reporter.series") == stats.series
        assert 0 < receiver.last("websocket.reporter.flush_ms") < 20_000  # type: ignore[operator]
        assert 0 < own("packets") < stats.packets
        assert 0 < own("bytes") < stats.bytes == sum(map(len, receiver.datagrams))
        assert stats.delivered == receiver.count(NAME) == 30


def test_bytes_and_packets_count_events_too(path: str) -> None:
    """All that was sent is in the figures, with its size."""
    with DogStatsDReceiver(path) as receiver, _reporter(socket_path=path) as reporter:
        reporter.increment("orders")
        reporter.event("title", "text")
        reporter.service_check("alive", 0)
        assert reporter.flush()
        assert receiver.wait_for(lambda r: len(r.datagrams) == 3)
        stats = reporter.stats
        assert (stats.packets, stats.bytes) == (3, sum(map(len, receiver.datagrams)))
