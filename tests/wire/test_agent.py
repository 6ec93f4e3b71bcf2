"""The way to the Agent on real sockets: why it fails, which warnings are logged, and where it leads after a move."""

import logging
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks.agent import free_port
from wsnova_statsd import wire
from wsnova_statsd.metrics.store import Series
from wsnova_statsd.reporters.agent import REFRESH, Agent
from wsnova_statsd.reporters.outbox import Message
from wsnova_statsd.reporters.packing import Packer
from wsnova_statsd.reporters.resolver import Resolver
from wsnova_statsd.reporters.settings import Address
from wsnova_statsd.reporters.statsd import official_client
from wsnova_statsd.testing.clock import FakeClock
from wsnova_statsd.testing.receiver import DogStatsDReceiver

SOON = 10.0


@pytest.fixture(autouse=True)
def _plain_client(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DD_DOGSTATSD_DISABLE", "DD_ENTITY_ID"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def made(clock: FakeClock) -> Iterator[Any]:
    agents: list[Agent] = []

    def make(host: str | None = None, port: int | None = None, path: str | None = None) -> Agent:
        address = Address(host, port, path)
        resolver = None if host is None else Resolver(host, port or 0)
        agents.append(Agent(address, official_client(address), resolver, clock))
        return agents[-1]

    yield make
    for one in agents:
        one.close()


def _send(agent: Agent, clock: FakeClock, name: str = "orders") -> bool:
    """Refresh, as before every flush, and send one count."""
    series = Series(name, "counter", (), None, False)
    series.total = 1
    (packet,) = Packer("", (), agent.suffix, wire.UDP_BYTES).packets([series])
    agent.refresh()
    return agent.send(packet, clock() + SOON, [])


def _tell(agent: Agent, clock: FakeClock) -> bool:
    arguments: dict[str, Any] = {
        "title": "t",
        "message": "x",
        "alert_type": "info",
        "tags": [],
        "aggregation_key": None,
    }
    return agent.send_message(Message("event", arguments, 0), clock() + SOON)


def test_the_reason_is_the_systems_own(made: Any, clock: FakeClock, tmp_path: Path) -> None:
    """Closed port, no socket, a socket without a reader, a full queue, an unknown name."""
    refused = made("127.0.0.1", free_port())
    assert [_send(refused, clock) for _ in range(4)] == [False] * 4  # not every second one
    assert refused.last_error == "refused: Connection refused"
    gone = made(path=str(tmp_path / "none"))
    assert not _send(gone, clock)
    assert gone.last_error == "FileNotFoundError: [Errno 2] No such file or directory"
    path = str(tmp_path / "left")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(path)
    left = made(path=path)
    assert not _tell(left, clock)
    assert left.last_error == "ConnectionRefusedError: [Errno 111] Connection refused"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as unread:
        unread.bind(str(tmp_path / "unread"))
        full = made(path=str(tmp_path / "unread"))
        while _send(full, clock):
            pass
        assert full.last_error == "refused: the Agent's queue is full because it does not read"
    unnamed = made("no such host", 8125)
    assert not _send(unnamed, clock)
    assert unnamed.last_error.startswith("gaierror: ")


def test_a_peer_that_is_gone_is_recognized_by_its_errno(made: Any, clock: FakeClock, tmp_path: Path) -> None:
    """A connected Unix socket whose other end is closed; the next packet finds the new one."""
    path = str(tmp_path / "dsd.socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as first:
        first.bind(path)
        agent = made(path=path)
        assert _send(agent, clock)
        os.unlink(path)
    assert not _send(agent, clock)
    assert agent.last_error == "refused: Connection refused"
    with DogStatsDReceiver(path) as receiver:
        assert _send(agent, clock)
        assert receiver.wait_for(lambda r: r.count("orders") == 1)


def test_the_official_clients_warnings_are_silenced_for_ours_only(
    made: Any, clock: FakeClock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It warns of every failed packet; another client of the application goes on doing so."""
    from datadog.dogstatsd.base import DogStatsd

    path = str(tmp_path / "dsd.socket")
    receiver = DogStatsDReceiver(path).start()
    agent, theirs = made(path=path), DogStatsd(socket_path=path, disable_buffering=True, disable_telemetry=True)
    theirs.increment("theirs")
    assert _send(agent, clock)
    receiver.stop()
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert not _send(agent, clock)
        assert caplog.records == []
        theirs.increment("theirs")
    assert [record.name for record in caplog.records] == ["datadog.dogstatsd"]
    assert "dropping the packet" in caplog.text


def test_nothing_of_a_failed_packet_is_sent_with_the_next(
    made: Any, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when the client raised while writing it."""
    with DogStatsDReceiver() as receiver:
        agent = made("127.0.0.1", receiver.port)
        assert _send(agent, clock, "first")
        monkeypatch.setattr(agent._client, "flush", _raise_once(agent._client.flush))
        with pytest.raises(ZeroDivisionError):
            _send(agent, clock, "lost")
        assert _send(agent, clock, "last")
        assert receiver.wait_for(lambda r: r.count("last") == 1)
        assert {one.name for one in receiver.metrics()} == {"first", "last"}


def _raise_once(flush: Any) -> Any:
    raised: list[int] = []

    def instead() -> Any:
        if raised:
            return flush()
        raised.append(1)
        raise ZeroDivisionError

    return instead


def test_a_restarted_agent_is_found_by_its_new_socket_file(made: Any, clock: FakeClock, tmp_path: Path) -> None:
    """Before anything is sent to the old one, which may live on for a while."""
    path, aside = str(tmp_path / "dsd.socket"), str(tmp_path / "aside")
    with DogStatsDReceiver(path) as old:
        agent = made(path=path)
        assert _send(agent, clock)
        os.rename(path, aside)
        assert _send(agent, clock)  # no new one yet: the old one still reads
        with DogStatsDReceiver(path) as new:
            assert _send(agent, clock)
            assert new.wait_for(lambda r: r.count("orders") == 1)
            assert old.wait_for(lambda r: r.count("orders") == 2)


def test_a_host_that_moved_is_found_within_half_a_minute(
    made: Any, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looked up while the old address still accepts everything; an unreachable name server changes nothing."""
    answer: list[Any] = ["127.0.0.1"]

    def lookup(host: str, port: int, *arguments: Any) -> list[Any]:
        if host.replace(".", "").isdigit():
            return real(host, port, *arguments)
        if answer[0] is None:
            raise socket.gaierror(-3, "Temporary failure in name resolution")
        return real(answer[0], port, *arguments)

    real = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    with DogStatsDReceiver() as old, DogStatsDReceiver(host="127.0.0.2", port=old.port) as new:
        agent = made("agent.example", old.port)
        assert _send(agent, clock)
        answer[0] = None
        clock.advance(REFRESH)
        assert _send(agent, clock)
        answer[0] = "127.0.0.2"
        clock.advance(REFRESH - 0.1)
        assert _send(agent, clock)
        assert old.wait_for(lambda r: r.count("orders") == 3)
        clock.advance(0.1)
        assert _send(agent, clock)
        assert new.wait_for(lambda r: r.count("orders") == 1)
        assert old.count("orders") == 3


def test_a_deadline_bounds_what_a_hanging_resolver_takes(made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The packet is refused with the reason."""
    over = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: over.wait(20.0))
    address = Address("agent.example", 8125, None)
    agent = Agent(address, official_client(address), Resolver("agent.example", 8125))
    began = time.monotonic()
    assert not agent.send_message(Message("event", {"title": "t", "message": "x"}, 0), time.monotonic() + 0.05)
    assert time.monotonic() - began < 10.0
    over.set()
    assert agent.last_error == "OSError: the host name 'agent.example' is still being looked up"
