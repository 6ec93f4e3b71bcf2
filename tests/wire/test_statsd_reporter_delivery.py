"""The Agent comes and goes: counts wait and arrive once, what is lost is counted, and every figure adds up."""

import random
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import wsnova_statsd as ws
from tests.benchmarks.agent import free_port
from tests.support import LATE
from wsnova_statsd.testing.receiver import DogStatsDReceiver

RECEIVED = ws.events.MESSAGE_RECEIVED
META = {"client_id": "a", "type": "b"}


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "dsd.socket")


def _reporter(bus: ws.Bus | None = None, **options: Any) -> ws.StatsdReporter:
    return ws.StatsdReporter(bus=bus or ws.Bus(), **{"flush_interval": 10, **options})


@contextmanager
def _unread(path: str) -> Iterator[socket.socket]:
    """A Unix datagram socket that accepts what its queue holds and reads nothing until asked."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(path)
        yield sock


def test_counts_wait_for_an_unreachable_agent_and_arrive_once(path: str) -> None:
    """Its socket gone, then back: pending meanwhile, everything afterwards, nothing twice."""
    with DogStatsDReceiver(path) as receiver, _reporter(socket_path=path) as reporter:
        reporter.increment("orders", 5)
        assert reporter.flush()
        receiver.stop()
        for turn in (1, 2):
            reporter.increment("orders", 10)
            assert not reporter.flush()
            assert (reporter.stats.pending, reporter.stats.delivered) == (10 * turn, 5)
        assert reporter.stats.last_error
        receiver.start()
        assert reporter.flush()
        assert reporter.flush()
        assert receiver.wait_for(lambda r: r.count("orders") >= 25)
        assert (reporter.stats.pending, reporter.stats.delivered, reporter.stats.lost) == (0, 25, {})
    assert receiver.count("orders") == 25


def test_an_agent_that_starts_later_gets_everything(path: str) -> None:
    """The socket need not exist when the reporter starts."""
    with _reporter(socket_path=path) as reporter:
        reporter.increment("orders", 3)
        assert not reporter.flush()
        with DogStatsDReceiver(path) as receiver:
            assert reporter.flush()
            assert receiver.wait_for(lambda r: r.count("orders") == 3)


def test_events_and_gauges_wait_and_samples_are_counted_as_lost(path: str) -> None:
    """An event keeps its place, a gauge its last value; the samples of a refused packet are counted."""
    with _reporter(socket_path=path) as reporter:
        reporter.gauge("depth", 7)
        for value in range(40):
            reporter.distribution("ms", value)
        assert not reporter.flush()
        reporter.event("down", "text")
        reporter.gauge("depth", 8)
        assert not reporter.flush()
        with DogStatsDReceiver(path) as receiver:
            reporter.distribution("ms", 99)
            assert reporter.flush()
            assert receiver.wait_for(lambda r: r.last("depth") == 8 and r.events)
            lost = sum(reporter.stats.lost.values())
            assert len(receiver.values("ms")) + lost == 41
            assert receiver.values("ms")[-1] == 99
            assert [event.title for event in receiver.events] == ["down"]


def test_a_refused_udp_port_is_noticed() -> None:
    """At the first packet, not every second one; and the counts wait until the port is bound."""
    port = free_port()
    with _reporter(host="127.0.0.1", port=port) as reporter:
        for turn in range(1, 5):
            reporter.increment("orders", 10)
            assert not reporter.flush()
            assert (reporter.stats.pending, reporter.stats.delivered) == (10 * turn, 0)
        assert "refused" in str(reporter.stats.last_error).lower()
        with DogStatsDReceiver(port=port) as receiver:
            reporter.flush()
            assert reporter.flush()
            assert receiver.wait_for(lambda r: r.count("orders") == 40)


def test_a_host_without_an_address_is_an_error_and_no_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name is looked up again, and what was counted arrives when there is an answer."""
    answer = socket.getaddrinfo

    def fail(*arguments: Any) -> Any:
        raise socket.gaierror(-2, "Name or service not known")

    with DogStatsDReceiver() as receiver, _reporter(host="localhost", port=receiver.port) as reporter:
        reporter.increment("orders", 2)
        monkeypatch.setattr(socket, "getaddrinfo", fail)
        assert not reporter.flush()
        assert reporter.stats.pending == 2
        monkeypatch.setattr(socket, "getaddrinfo", answer)
        assert reporter.flush()
        assert receiver.wait_for(lambda r: r.count("orders") == 2)


def test_a_full_queue_blocks_no_thread_and_loses_no_count(path: str) -> None:
    """A flush against an Agent that does not read ends at its first refused packet, and the rest is pending."""
    with _unread(path) as unread, _reporter(socket_path=path) as reporter:
        for number in range(10_000):
            reporter.increment(f"n{number}.{'x' * 100}")
        began = time.monotonic()
        assert not reporter.flush(20.0)
        assert time.monotonic() - began < 10.0
        stats = reporter.stats
        assert 0 < stats.delivered < 10_000
        assert stats.delivered + stats.pending == 10_000
        taken = 0
        unread.setblocking(False)
        for _ in range(10_000):
            try:
                taken += unread.recv(65_536).count(b"|c")
            except BlockingIOError:
                break
        assert taken == stats.delivered


def test_stop_keeps_its_deadline(path: str) -> None:
    """With an Agent that does not read, and events and samples waiting."""
    with _unread(path):
        reporter = _reporter(socket_path=path).start()
        for number in range(5_000):
            reporter.distribution(f"n{number}.{'x' * 150}", number)
        reporter.event("title", "text" * 900)
        began = time.monotonic()
        assert not reporter.stop(timeout=0.5)
        assert time.monotonic() - began < 0.5 + LATE


@pytest.mark.parametrize("kind", ["unix", "udp"])
def test_the_figures_add_up_whatever_happens(path: str, kind: str) -> None:
    """Four threads count while the Agent comes and goes: delivered + pending == emitted, and that much arrived."""
    dice, bus = random.Random(7), ws.Bus()
    receiver = DogStatsDReceiver(path) if kind == "unix" else DogStatsDReceiver(port=free_port())
    where: dict[str, Any] = {"socket_path": path} if kind == "unix" else {"host": "127.0.0.1", "port": receiver.port}
    with receiver, _reporter(bus, **where, distributions=False) as reporter:

        def emit() -> None:
            for _ in range(10_000):
                bus.execute(RECEIVED, {"size": 1}, META)

        threads = [threading.Thread(target=emit) for _ in range(4)]
        for thread in threads:
            thread.start()
        up = True
        while any(thread.is_alive() for thread in threads):
            reporter.flush()
            if dice.random() < 0.2 and kind == "unix":  # over UDP what a stopped reader had in its queue is lost
                (receiver.stop if up else receiver.start)()
                up = not up
        receiver.start()
        reporter.flush()
        assert reporter.flush()
        stats = reporter.stats
        assert (stats.delivered, stats.pending, stats.lost) == (40_000, 0, {})
        assert receiver.wait_for(lambda r: r.count("websocket.message.received") == 40_000)
        assert receiver.count("websocket.message.received.bytes") == 40_000
    assert receiver.malformed == []
