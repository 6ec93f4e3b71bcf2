"""Forks of a process whose reporter and client run: no wait before it, nothing inherited, nothing changed.

With Python's fork hooks and without them, as in a fork of libc.
"""

import ctypes
import os
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

import wsnova_statsd as ws
from tests.faults.ending import PATIENCE
from tests.faults.forking import Child, Fork
from tests.faults.support import QUICK, run_script
from wsnova_statsd.testing.receiver import DogStatsDReceiver
from wsnova_statsd.testing.server import WebSocketServer, echo

FORKS = [pytest.param(os.fork, id="os.fork"), pytest.param(ctypes.PyDLL(None).fork, id="libc")]
forks = pytest.mark.parametrize("fork", FORKS)
RECEIVED = ws.events.MESSAGE_RECEIVED
META = {"client_id": "a", "type": "b"}


@pytest.fixture
def reporter(agent: DogStatsDReceiver) -> Iterator[ws.StatsdReporter]:
    """A running reporter, with an interval that no test waits for, and its own bus."""
    where: dict[str, Any] = {"socket_path": agent.path} if agent.path else {"host": agent.host, "port": agent.port}
    with ws.StatsdReporter(**where, flush_interval=10, bus=ws.Bus()) as running:
        yield running


@pytest.mark.alone
def test_a_fork_takes_under_twenty_milliseconds_while_a_reporter_and_a_client_run() -> None:
    """The median of 21, with a flush interval of 10 s and counts that wait; nothing is joined, nothing is flushed."""
    with DogStatsDReceiver() as agent, WebSocketServer(echo) as server:
        bus = ws.Bus()
        with (
            ws.StatsdReporter(host=agent.host, port=agent.port, flush_interval=10, bus=bus) as reporter,
            ws.Client(server.url, profile=QUICK, bus=bus, on_message=lambda message: None) as client,
        ):
            client.send_text("1")
            took = list[float]()
            for number in range(21):
                reporter.increment("orders", tags=[f"n:{number}"])
                began = time.monotonic()
                pid = os.fork()
                if pid == 0:
                    os._exit(0)
                took.append(time.monotonic() - began)
                os.waitpid(pid, 0)
            assert agent.count("orders") == 0  # none of the forks waited for a flush
            assert reporter.stats.flusher_restarts == 0
            assert client.state is ws.State.CONNECTED
    assert statistics.median(took) < 0.02, took
    assert agent.count("orders") == 21


@forks
def test_a_child_counts_afresh_and_the_parent_goes_on(
    fork: Fork, agent: DogStatsDReceiver, reporter: ws.StatsdReporter
) -> None:
    """The parent keeps what waited and what was delivered. The child ships what it counts itself, once."""
    bus = reporter._bus
    reporter.increment("orders", 1_000)
    assert reporter.flush()
    reporter.increment("orders", 100)
    reporter.gauge("depth", 5)
    reporter.distribution("ms", 7)
    bus.execute(RECEIVED, {"size": 9}, META)
    before = reporter.stats
    child = Child(fork)
    if child.pid == 0:
        reporter.increment("orders", 7)  # a series that the parent has as well
        stats = reporter.stats
        child.tell(stats.pending, stats.delivered, stats.packets, stats.series)
        reporter.increment("mine", 3)
        bus.execute(RECEIVED, {"size": 4}, META)
        child.tell([one.name for one in threading.enumerate() if one.name == "wsnova-flush"])
        child.tell(reporter.flush(), reporter.stats.pending, reporter.stats.delivered)
        child.end()
    reported = child.said()
    assert reported[0] == [7, 0, 0, 1]
    assert reported[1] == [["wsnova-flush"]]
    assert reported[2][:2] == [True, 0]
    assert reporter.stats == before
    assert reporter.flush()
    agent.stop()
    assert (agent.count("orders"), agent.count("mine"), agent.count("ms")) == (1_107, 3, 1)
    assert agent.count("websocket.message.received") == 2
    assert agent.last("depth") == 5
    assert reporter.stats.delivered == 1_101  # orders, and the message
    assert reporter.stats.flusher_restarts == 0


FIRST: dict[str, Callable[[ws.StatsdReporter], object]] = {
    "increment": lambda one: one.increment("orders", 1),
    "an event of the bus": lambda one: one._bus.execute(RECEIVED, {"size": 1}, META),
    "flush": lambda one: one.flush(),
    "event": lambda one: one.event("child", "text"),
    "service_check": lambda one: one.service_check("child", 0),
    "stats": lambda one: one.stats,
    "start": lambda one: one.start(),
    "stop and start": lambda one: one.stop() and one.start(),
}


ACTS = [pytest.param(fork.values[0], first, id=f"{fork.id}, {first}") for fork in FORKS for first in FIRST]


@pytest.mark.parametrize("agent", ["udp"], indirect=True)
@pytest.mark.parametrize(("fork", "first"), ACTS)
def test_no_inherited_lock_hangs_any_first_call_of_a_child_and_nothing_is_lost(
    fork: Fork, first: str, reporter: ws.StatsdReporter, agent: DogStatsDReceiver
) -> None:
    """Another thread holds every lock of reporter, store and bus; an event of the parent waits."""
    bus: Any = reporter._bus
    shipper = reporter._shipper
    locks: list[Any] = [shipper.lock, shipper.delivery._lock, reporter._state, reporter._outbox._lock]
    locks += [reporter._store.lock, reporter._registry._lock, bus._lock]
    reporter.increment("orders", 100)
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        with ExitStack() as stack:
            for lock in locks:
                stack.enter_context(lock)
            reporter._outbox.event("parent", "text", "info", (), None, 1000)
            held.set()
            release.wait(PATIENCE)

    holder = threading.Thread(target=hold, daemon=True)
    holder.start()
    assert held.wait(5.0)
    child = Child(fork)
    if child.pid == 0:
        FIRST[first](reporter)
        reporter.increment("orders", 7)
        reporter.event("last", "text")
        child.tell(reporter.flush(), reporter.stats.pending)
        child.end()
    try:
        assert child.said() == [[True, 0]]
    finally:
        release.set()
        holder.join(5.0)
    assert reporter.flush()
    agent.stop()
    assert agent.count("orders") == 107 + (first == "increment")
    assert agent.count("websocket.message.received") == (first == "an event of the bus")
    assert len(agent.checks) == (first == "service_check")
    assert sorted(event.title for event in agent.events) == sorted(
        ["parent", "last", *(["child"] if first == "event" else [])]
    )


@forks
def test_the_child_has_its_own_datadog_client_and_calls_nothing_of_the_inherited_one(
    fork: Fork, agent: DogStatsDReceiver, reporter: ws.StatsdReporter
) -> None:
    """Every attribute that is read from the inherited one is noticed; its socket is not the child's."""
    reporter.increment("orders")
    assert reporter.flush()
    assert reporter._shipper._agent is not None
    inherited = reporter._shipper._agent._client
    descriptor = inherited.socket.fileno()
    asked = list[str]()
    child = Child(fork)
    if child.pid == 0:

        class Watched(type(inherited)):  # type: ignore[misc]
            def __getattribute__(self, name: str) -> Any:
                asked.append(name)
                return super().__getattribute__(name)

        inherited.__class__ = Watched
        reporter.increment("orders", 5)
        shipped = reporter.flush()
        noticed = list(asked)
        assert reporter._shipper._agent is not None
        fresh = reporter._shipper._agent._client
        child.tell(shipped, noticed, fresh is inherited, fresh.socket.fileno() == descriptor, reporter.stop())
        child.end()
    assert child.said() == [[True, [], False, False, True]]
    reporter.increment("orders", 10)
    assert reporter.flush()
    agent.stop()
    assert agent.count("orders") == 16


HAMMER = """
import json, os, select, signal, sys, threading, time
import wsnova_statsd as ws
from wsnova_statsd.testing.receiver import DogStatsDReceiver

FORKS = int(sys.argv[1])
sys.setswitchinterval(0.0005)  # threads are caught in the middle of more places
with DogStatsDReceiver() as agent:
    bus = ws.Bus()
    reporter = ws.StatsdReporter(host=agent.host, port=agent.port, flush_interval=10, bus=bus).start()
    ending, sums = threading.Event(), {}

    def emit():
        turn = 0
        while not ending.is_set():
            turn += 1
            reporter.increment("orders")
            bus.execute(ws.events.MESSAGE_RECEIVED, {"size": 1}, {"client_id": "a", "type": "b"})
        sums["emit"] = turn

    def grow():
        turn = 0
        while not ending.is_set():
            turn += 1
            reporter.increment("orders", tags=[f"n:{turn % 1000}"])
            other = threading.Thread(target=reporter.increment, args=("orders",))  # a table of rows of its own
            other.start()
            other.join()
            turn += 1
        sums["grow"] = turn

    def flush():
        while not ending.is_set():
            reporter.flush()
            reporter.stats
            reporter.event("title", "text")

    def child(answer):
        began = time.monotonic()
        reporter.increment("child", 2)
        reporter.increment("child", tags=["new:series"])
        bus.execute(ws.events.MESSAGE_RECEIVED, {"size": 1}, {"client_id": "c", "type": "d"})
        shipped = reporter.flush(10.0)
        os.write(answer, json.dumps([shipped, reporter.stats.pending, time.monotonic() - began]).encode())
        os._exit(0)

    threads = [threading.Thread(target=work, daemon=True) for work in (emit, grow, flush)]
    for one in threads:
        one.start()
    slowest = 0.0
    for _ in range(FORKS):
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            signal.alarm(20)
            child(writing)
        os.close(writing)
        with open(reading) as answer:
            reported = json.loads(answer.read() or '["it hung"]')
        os.waitpid(pid, 0)
        assert reported[:2] == [True, 0], reported
        slowest = max(slowest, reported[2])
    ending.set()
    for one in threads:
        one.join(20)
    orders, received = sum(sums.values()), sums["emit"]
    assert reporter.stop(10.0)
    agent.stop(10.0)
    assert agent.count("child") == 3 * FORKS, agent.count("child")
    assert agent.count("orders") == orders, (agent.count("orders"), orders)
    assert agent.count("websocket.message.received", ["client:a"]) == received
    assert agent.count("websocket.message.received", ["client:c"]) == FORKS
    assert reporter.stats.flusher_restarts == 0
    assert not agent.malformed
print(f"{FORKS} forks, the slowest child {slowest:.3f} s, {orders:,} orders")
"""


def test_no_lock_that_busy_threads_hold_hangs_a_child() -> None:
    """50 forks while threads emit, make series, flush and read the stats: each child ships; all sums are exact.

    With hooks only: without them CPython's own locks hang a child of busy threads.
    """
    reported = run_script(HAMMER, 50.0, "50")
    print(reported)
    assert reported.startswith("50 forks")
