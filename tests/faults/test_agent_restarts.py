"""An Agent that comes and goes, in a separate process: every count arrives once, or is known to be lost with it.

The emitted, the delivered and the received are added up: by the threads that emit, by `reporter.stats`, and by what the
Agent read off its socket with the strict parser. Its socket outlives a SIGKILL in this process, so that what died
unread is counted too.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest

import wsnova_statsd as ws
from tests.benchmarks.agent import LOOPBACK, Agent, Audit, free_port
from tests.faults.support import run_script
from tests.support import until

RESTARTS = 50
KILLS = 20
EMITTERS = 4
NAME = "restarts.counted"
EVENT = "restarts.happened"
BY_EVENT = ws.counter("restarts.events", EVENT, tags=["thread"])
QUEUE = int(Path("/proc/sys/net/unix/max_dgram_qlen").read_text(encoding="ascii")) + 1  # what a Unix socket holds


class Load:
    """Threads that count, by event and by name, in bursts; others that flush all the time beside the flush thread."""

    def __init__(self, agent: Agent) -> None:
        self.bus = ws.Bus()
        self.reporter = ws.StatsdReporter([BY_EVENT], bus=self.bus, flush_interval=1, **_address(agent))
        self.refusals = 0  # flushes that left something; one of the two flushers' is enough
        self._counted = [0] * EMITTERS
        self._ending = threading.Event()
        self._emitters = [threading.Thread(target=self._emit, args=(number,)) for number in range(EMITTERS)]
        self._flushers = [threading.Thread(target=self._flush) for _ in range(2)]

    def __enter__(self) -> Self:
        self.reporter.start()
        for thread in (*self._emitters, *self._flushers):
            thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.end()
        self.reporter.stop(0.5)

    def end(self) -> int:
        """Stop counting; how much was counted, in all."""
        self._ending.set()
        for thread in (*self._emitters, *self._flushers):
            thread.join(10)
            assert not thread.is_alive()
        return sum(self._counted)

    def refused(self) -> bool:
        """Wait until a flush that began after this call was refused."""
        before = self.refusals
        return until(lambda: self.refusals > before + 2, 10)

    def settled(self) -> bool:
        """Everything is delivered."""
        return until(lambda: self.reporter.flush() and self.reporter.stats.pending == 0, 15)

    def _emit(self, number: int) -> None:
        metadata = {"thread": str(number)}
        tags = (f"thread:{number}",)
        while not self._ending.is_set():
            for value in (1, 2, 3):
                self.bus.execute(EVENT, {}, metadata)
                self.reporter.increment(NAME, value, tags)
                self._counted[number] += 1 + value
            self._ending.wait(0.0005)  # to leave the processor to others

    def _flush(self) -> None:
        while not self._ending.is_set():
            if not self.reporter.flush(0.5):
                self.refusals += 1
            self._ending.wait(0.003)


def _address(agent: Agent) -> dict[str, Any]:
    if isinstance(agent.address, Path):
        return {"socket_path": str(agent.address)}
    return {"host": LOOPBACK, "port": agent.address}


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    """The official client warns of every refused packet: thousands of lines beside a failure that matters."""
    caplog.set_level(logging.ERROR, "datadog.dogstatsd")


@pytest.fixture
def unix(tmp_path: Path) -> Iterator[Agent]:
    yield from _safely(Agent(tmp_path / "dsd.socket"))


@pytest.fixture
def udp() -> Iterator[Agent]:
    yield from _safely(Agent(free_port()))


@pytest.fixture(params=["unix", "udp"])
def agent(request: pytest.FixtureRequest) -> Agent:
    """Either kind, not started."""
    found: Agent = request.getfixturevalue(request.param)
    return found


def _safely(agent: Agent) -> Iterator[Agent]:
    yield agent
    if agent.running:
        agent.kill()


def _counted(audit: Audit) -> int:
    """What arrived, each line of it well-formed and our own."""
    assert audit.malformed == []
    assert {name for name, _ in audit.read} <= {NAME, BY_EVENT.name} | _own(audit)
    return sum(amount for (name, _), amount in audit.read.items() if name in (NAME, BY_EVENT.name))


def _own(audit: Audit) -> set[str]:
    """What a reporter may send of its own."""
    return {name for name, _ in audit.read if name.startswith("websocket.reporter.")}


def _unread(audit: Audit) -> int:
    return sum(amount for (name, _), amount in audit.unread.items() if name in (NAME, BY_EVENT.name))


def _in_all(load: Load, agent: Agent) -> int:
    """End the load while no Agent runs, check that nothing was lost, start one, and see all of it delivered."""
    emitted = load.end()
    stats = load.reporter.stats
    assert stats.delivered + stats.pending == emitted
    assert stats.pending > 0
    agent.start()
    assert load.settled()
    agent.stop()
    stats = load.reporter.stats
    assert (stats.delivered, stats.lost) == (emitted, {})
    return emitted


def test_fifty_restarts_of_an_agent_that_drains_lose_nothing_and_double_nothing(agent: Agent) -> None:
    """Under load, on a Unix socket and on UDP, where a refused datagram is noticed by SO_ERROR: exact to the count."""
    with Load(agent) as load:
        for _ in range(RESTARTS):
            agent.start()
            assert until(agent.observed, 10)
            agent.stop()
            assert load.refused()
        emitted = _in_all(load, agent)
    audit = agent.audit
    print(f"{emitted} counts in {audit.datagrams} datagrams over {audit.drained} lives of an Agent")
    assert (audit.left_by_drained, audit.dropped) == (0, 0)
    assert _counted(audit) == emitted


def test_an_agent_that_is_killed_loses_at_most_its_unread_queue(agent: Agent) -> None:
    """What was delivered and not received was in the queue at a SIGKILL, to the count; on a Unix socket that is as
    many datagrams as the kernel queues; every other Agent is killed when it has not read for a while."""
    with Load(agent) as load:
        for number in range(KILLS):
            agent.start()
            assert until(agent.observed, 10)
            if number % 2:
                agent.freeze()
                assert until(agent.queued, 10)
            agent.kill()
            assert load.refused()
        emitted = _in_all(load, agent)
    audit = agent.audit
    print(f"{emitted} counts; {_unread(audit)} of them lay unread in {audit.left} datagrams at {audit.killed} kills")
    assert audit.dropped == 0
    assert sum(audit.left) >= KILLS // 2
    if isinstance(agent.address, Path):
        assert max(audit.left) <= QUEUE
    assert emitted - _counted(audit) == _unread(audit) > 0


def test_counts_wait_for_an_agent_that_does_not_run_yet(agent: Agent) -> None:
    """No socket file, no listener on the port: every flush is refused, nothing counts as delivered, and all arrives
    once."""
    with ws.StatsdReporter([], bus=ws.Bus(), **_address(agent)) as reporter:
        for _ in range(3):
            reporter.increment(NAME, 5)
            assert not reporter.flush()
            assert reporter.stats.last_error
        assert (reporter.stats.delivered, reporter.stats.pending) == (0, 15)
        agent.start()
        assert until(lambda: reporter.flush() and reporter.stats.pending == 0, 15)
        agent.stop()
    assert _counted(agent.audit) == 15


def test_counts_wait_while_the_agent_reads_nothing(unix: Agent) -> None:
    """An Agent that hangs with its queue full: what the kernel does not accept waits, and is sent when it reads
    again."""
    with Load(unix) as load:
        unix.start()
        assert until(unix.observed, 10)
        unix.freeze()
        assert load.refused()
        pending = load.reporter.stats.pending
        assert load.refused()
        assert load.reporter.stats.pending > pending > 0
        unix.thaw()
        emitted = load.end()
        assert load.settled()
        unix.stop()
    assert load.reporter.stats.delivered == emitted
    assert _counted(unix.audit) == emitted


def test_counts_wait_while_the_socket_file_is_gone(unix: Agent) -> None:
    """The Agent ends and removes its file; the next one makes a new file, which is found."""
    with Load(unix) as load:
        unix.start()
        assert until(unix.observed, 10)
        unix.stop()
        assert isinstance(unix.address, Path)
        unix.address.unlink()
        assert load.refused()
        assert load.reporter.stats.delivered > 0
        emitted = _in_all(load, unix)
    assert _counted(unix.audit) == emitted


# A child program each: it may do what this process may not, run as nobody or use another resolver. It prints
# what was pending and delivered while the way was barred.

_PROGRAM = """
import json, sys
import datadog.dogstatsd.base
import wsnova_statsd as ws
from tests.support import until
{before}
with ws.StatsdReporter([], bus=ws.Bus(), **json.loads(sys.argv[1])) as reporter:
    for _ in range(3):
        reporter.increment("restarts.counted", 7)
        assert not reporter.flush()
    stats = reporter.stats
    print(json.dumps([stats.pending, stats.delivered, stats.last_error]), flush=True)
{after}
    assert until(lambda: reporter.flush() and reporter.stats.pending == 0, 30), reporter.stats
    assert reporter.stats.delivered == 21
"""


def _barred(agent: Agent, address: dict[str, Any], before: str, after: str) -> tuple[float, float, str]:
    """Run the program with a running Agent."""
    agent.start()
    program = _PROGRAM.format(before=before, after=after)
    pending, delivered, error = json.loads(run_script(program, 50.0, json.dumps(address)))
    agent.stop()
    return pending, delivered, error


_NOBODY = """
import os
path = json.loads(sys.argv[1])["socket_path"]
os.chmod(path, 0)
if os.geteuid() == 0:
    os.seteuid(65534)  # root may write to any socket
"""
_SOMEBODY = """
    if os.getuid() == 0:
        os.seteuid(0)
    os.chmod(path, 0o600)
"""


def test_counts_wait_while_permission_is_denied(unix: Agent) -> None:
    """A socket file that this user may not write to, until its mode is fixed."""
    pending, delivered, error = _barred(unix, _address(unix), _NOBODY, _SOMEBODY)
    assert (pending, delivered) == (21, 0)
    assert "ermission" in error
    assert _counted(unix.audit) == 21


_UNRESOLVABLE = """
import socket
resolve, known = socket.getaddrinfo, False
def getaddrinfo(host, *rest, **more):
    if host == "agent.example" and not known:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    return resolve("127.0.0.1" if host == "agent.example" else host, *rest, **more)
socket.getaddrinfo = getaddrinfo
"""
_RESOLVABLE = """
    known = True
"""


def test_counts_wait_while_the_host_has_no_address(udp: Agent) -> None:
    """A name that does not resolve when the reporter starts, and does later."""
    address = {"host": "agent.example", "port": udp.address}
    pending, delivered, error = _barred(udp, address, _UNRESOLVABLE, _RESOLVABLE)
    assert (pending, delivered) == (21, 0)
    assert "Name or service not known" in error
    assert _counted(udp.audit) == 21
