"""Forks: a child has no connection, emits nothing, and may start again; the parent's connection lives on."""

import ctypes
import os
import threading
from collections.abc import Callable
from typing import Any

import pytest

import wsnova_statsd as ws
from tests.faults.forking import Child, Fork, hold, locks_of
from tests.faults.support import QUICK, run_script
from tests.support import descriptors_to, until
from wsnova_statsd import process
from wsnova_statsd.testing.server import ScriptedConnection, WebSocketServer, echo

PATIENCE = 20.0  # seconds; reached only by a failing test
FORKS = [pytest.param(os.fork, id="os.fork"), pytest.param(ctypes.PyDLL(None).fork, id="libc")]
forks = pytest.mark.parametrize("fork", FORKS)
PARENT = os.getpid()


def _raised(call: Callable[[], object]) -> str:
    try:
        call()
    except Exception as error:
        return type(error).__name__
    return ""


@forks
@pytest.mark.parametrize("mode", ["callback", "iteration"])
def test_a_child_has_a_forked_client_and_the_parents_connection_lives_on(fork: Fork, mode: str) -> None:
    """State FORKED, send raises Forked, the descriptor is closed, closing sends nothing; the parent is still served."""
    got, reported = list[Any](), list[str]()
    bus = ws.Bus()
    bus.attach_many("ear", list(ws.events.CATALOGUE), lambda event, *_: reported.append(event))
    pinged = threading.Event()

    def echo_and_ping(connection: ScriptedConnection) -> None:
        for message in connection:
            connection.send(message)
            if not pinged.is_set() and connection.ping().wait(PATIENCE):  # a client that closes answers none
                pinged.set()

    with WebSocketServer(echo_and_ping) as server:
        client = ws.Client(server.url, profile=QUICK, bus=bus, on_message=got.append if mode == "callback" else None)
        client.start()
        client.send_text("1")
        assert until(lambda: bool(got)) if mode == "callback" else client.receive(2.0) == 1
        assert pinged.wait(PATIENCE)  # so the keeper stands in while the client is not iterated
        (descriptor,) = descriptors_to(server.port)
        child = Child(fork)
        if child.pid == 0:
            before = len(reported)  # the parent may have emitted its sums of a second meanwhile
            child.tell("state", client.state.name)
            child.tell("raised", _raised(lambda: client.send_text("x")), _raised(client.reconnect))
            child.tell("waited", client.wait(0.2), client.wanted)
            client.close()
            child.tell("closed", _raised(lambda: os.fstat(descriptor)), client.state.name)
            child.tell("events", reported[before:])
            child.end()
        assert child.said() == [
            ["state", "FORKED"],
            ["raised", "Forked", "Forked"],
            ["waited", True, []],
            ["closed", "OSError", "FORKED"],
            ["events", []],
        ]
        assert client.state is ws.State.CONNECTED
        client.send_text("2")
        assert until(lambda: got == [1, 2]) if mode == "callback" else client.receive(2.0) == 2
        assert server.connections == 1
        client.close()


@forks
def test_a_child_may_start_again_with_its_own_connection(fork: Fork) -> None:
    """start() in the child, messages, close: the parent's link notices nothing."""
    got = list[Any]()
    with WebSocketServer(echo) as server:
        client = ws.Client(server.url, profile=QUICK, on_message=got.append).start()
        child = Child(fork)
        if child.pid == 0:
            client.start(3.0)
            client.send_text('"child"')
            child.tell(until(lambda: got == ["child"]), client.state.name)
            client.close(1.0)
            child.tell(client.state.name, sorted(each.name for each in threading.enumerate() if "keeper" in each.name))
            child.end()
        assert child.said()[:1] == [[True, "CONNECTED"]]
        assert server.connections == 2
        client.send_text('"parent"')
        assert until(lambda: got == ["parent"])
        client.close()


@forks
def test_a_child_that_never_touches_its_client_leaves_the_parents_alone(fork: Fork) -> None:
    """It ends as Python programs end, with exit hooks: no close frame, no shutdown, no delay."""
    out = run_script(
        f"""
import ctypes, os, sys, time
import wsnova_statsd as ws
from tests.faults.forking import Child
from tests.faults.support import QUICK
from wsnova_statsd.testing.server import WebSocketServer, echo

with WebSocketServer(echo) as server, ws.Client(server.url, profile=QUICK) as client:
    child = Child({"os.fork" if fork is os.fork else "ctypes.PyDLL(None).fork"})
    if child.pid == 0:
        import atexit
        began = time.monotonic()
        atexit._run_exitfuncs()
        os._exit(0 if time.monotonic() - began < 2.0 else 3)
    assert os.waitpid(child.pid, 0)[1] == 0
    client.send_text("1")
    assert client.receive(2.0) == 1
    assert server.connections == 1
    print("alive")
"""
    )
    assert out.strip() == "alive"


def test_a_fork_inside_a_handler_ends_the_childs_owner_and_not_the_parents() -> None:
    """The rest of what was read is handled by the parent only, and the child emits nothing once it reads again.

    With hooks only: without them CPython itself hangs every few children that a thread other than the main one forks.
    """
    got, children = list[Any](), list[Child]()
    bus = ws.Bus()

    def handle(message: Any) -> None:
        got.append(message)
        if message == 1:
            child = Child(os.fork)
            children.append(child)
            if child.pid == 0:
                # The end of this thread is not the end of the child for sure: without hooks CPython may hang there.
                threading.Timer(1.0, child.end).start()
                bus.attach_many(
                    "ear", [ws.events.CONNECTION_DISCONNECTED, ws.events.MESSAGE_RECEIVED], lambda e, *_: child.tell(e)
                )
        elif os.getpid() != PARENT:
            children[0].tell("handled", message)

    def script(connection: Any) -> None:
        for number in range(1, 6):
            connection.send(str(number))
        echo(connection)

    with WebSocketServer(script) as server:
        client = ws.Client(server.url, profile=QUICK, on_message=handle, bus=bus).start()
        assert until(lambda: got == [1, 2, 3, 4, 5], 20.0)
        assert children[0].said() == []
        client.send_text("6")
        assert until(lambda: got[-1] == 6)
        assert client.state is ws.State.CONNECTED
        client.close()


@forks
def test_a_fork_inside_a_loop_body_raises_forked_in_the_child(fork: Fork) -> None:
    """The child's loop ends with Forked at the next message; the parent's goes on."""
    with WebSocketServer(echo) as server, ws.Client(server.url, profile=QUICK) as client:
        for number in range(4):
            client.send_text(str(number))
        got, child = list[Any](), None
        try:
            for message in client:
                got.append(message)
                if message == 1:
                    child = Child(fork)
                if message == 3:
                    break
        except ws.errors.Forked:
            assert child is not None
            child.tell(got)
            child.end()
        assert child is not None
        if child.pid == 0:
            child.tell("no Forked", got)
            child.end()
        assert child.said() == [[[0, 1]]]
        assert got == [0, 1, 2, 3]


@forks
def test_no_lock_that_another_thread_holds_hangs_the_child(fork: Fork) -> None:
    """Every lock of the client, its link, the keeper, the clock and the bus is taken when the fork happens."""
    release, held = threading.Event(), threading.Event()
    with WebSocketServer(echo) as server:
        client = ws.Client(server.url, profile=QUICK, on_message=lambda message: None).start()
        locks = locks_of(client)
        assert len(locks) >= 10
        holder = threading.Thread(target=hold, args=(locks, held, release), daemon=True)
        holder.start()
        assert held.wait(PATIENCE)
        child = Child(fork)
        if child.pid == 0:
            child.tell(client.state.name, client.wanted, client.confirmed, client.late_replies)
            child.tell(_raised(lambda: client.request({"id": 1})), _raised(lambda: client.subscribe("x")))
            client.close()
            client.start(3.0)
            child.tell(client.state.name)
            client.close(1.0)
            other = ws.Client(server.url, profile=QUICK)
            child.tell(other.start(2.0).state.name)
            child.end()
        try:
            assert child.said(8.0) == [["FORKED", [], [], 0], ["Forked", "Forked"], ["CONNECTED"], ["CONNECTED"]]
        finally:
            release.set()
            holder.join(5.0)
        client.close()


def test_a_component_that_fails_at_a_fork_stops_no_other() -> None:
    """What a fork hook raises costs only itself."""
    calls = list[str]()

    class Broken:
        def after_fork(self) -> None:
            calls.append("broken")
            raise OSError("mine")

    class Whole:
        def after_fork(self) -> None:
            calls.append("whole")

    parts: list[process.ForkAware] = [Broken(), Whole(), Broken()]
    for part in parts:
        process.on_fork(part)
    child = Child(os.fork)
    if child.pid == 0:
        child.tell(sorted(calls))
        child.end()
    assert child.said() == [[["broken", "broken", "whole"]]]


_START_HERE = """
import os, sys, threading, time
import wsnova_statsd as ws
from tests.faults.support import QUICK
from tests.support import until
from wsnova_statsd.testing.server import WebSocketServer, echo

def connected(client):
    return until(lambda: client.state is ws.State.CONNECTED, 3.0)

def starts():  # that are still to come
    return [one.name for one in threading.enumerate()].count("wsnova-start")

ON_MESSAGE = {"callback": lambda message: None, "iterated": None}
"""


@pytest.mark.parametrize("mode", ["callback", "iterated"])
def test_a_client_may_start_automatically_in_each_child(mode: str) -> None:
    """Within a second and without a call, in a child and in a child's child; the parent's link lives on."""
    out = run_script(
        _START_HERE
        + f"""
with WebSocketServer(echo) as server:
    client = ws.Client(server.url, profile=QUICK, on_message=ON_MESSAGE[{mode!r}], in_child="start").start(5.0)
    others = [ws.Client(server.url, profile=QUICK, in_child="start"), ws.Client(server.url, profile=QUICK).start(5.0)]
    before = server.connections
    for _ in range(2):
        if not os.fork():
            if not os.fork():
                os._exit(not connected(client))
            assert connected(client)
            assert [one.state.name for one in others] == ["IDLE", "FORKED"]
            client.close(1.0)
            os._exit(os.waitstatus_to_exitcode(os.wait()[1]))
    assert until(lambda: server.connections == before + 4, 3.0), server.connections
    for _ in range(2):
        assert os.wait()[1] == 0
    assert client.state is ws.State.CONNECTED
    print("well")
"""
    )
    assert out.strip() == "well"


def test_the_children_of_a_pool_start_no_client() -> None:
    """Those of multiprocessing and of ProcessPoolExecutor are left FORKED; a fork of theirs too."""
    out = run_script(
        _START_HERE
        + """
import multiprocessing
from concurrent.futures import ProcessPoolExecutor

def look():
    return client.state.name, starts()

def work(results):
    results.put(look())

if __name__ == "__main__":
    with WebSocketServer(echo) as server:
        client = ws.Client(server.url, profile=QUICK, on_message=print, in_child="start").start(5.0)
        context = multiprocessing.get_context("fork")
        results = context.Queue()
        process = context.Process(target=work, args=(results,))
        process.start()
        print(*results.get(timeout=10))
        process.join()
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            print(*pool.submit(look).result(10))
        print(server.connections)
"""
    )
    assert out.split() == ["FORKED", "0", "FORKED", "0", "1"]


def _no_start_is_to_come() -> None:
    """In a child: wait until the threads that start clients automatically have done so, or not."""
    assert until(lambda: "wsnova-start" not in {one.name for one in threading.enumerate()})


def test_a_child_that_starts_its_client_itself_has_one_link() -> None:
    """The automatic start finds it started; one that was closed is not started."""
    with WebSocketServer(echo) as server:
        client = ws.Client(server.url, profile=QUICK, on_message=lambda message: None, in_child="start").start()
        other = ws.Client(server.url, profile=QUICK, on_message=lambda message: None, in_child="start").start()
        other.close()
        child = Child(os.fork)
        if child.pid == 0:
            client.start(3.0)
            _no_start_is_to_come()
            child.tell(client.state.name, other.state.name)
            client.close(1.0)
            child.end()
        assert child.said() == [["CONNECTED", "FORKED"]]
        assert server.connections == 3
        client.close()


def test_a_call_in_a_child_need_not_wait_for_the_automatic_start() -> None:
    """It starts the client; and closing it there keeps it closed."""
    with WebSocketServer(echo) as server:
        client = ws.Client(server.url, profile=QUICK, in_child="start").start()
        other = ws.Client(server.url, profile=QUICK, in_child="start").start()
        child = Child(os.fork)
        if child.pid == 0:
            other.close()
            client.send({"n": 1}, wait=3.0)
            child.tell(client.receive(3.0))
            _no_start_is_to_come()
            child.tell(other.state.name)
            client.close(1.0)
            child.end()
        assert child.said() == [[{"n": 1}], ["FORKED"]]
        assert server.connections == 3
        client.close()
        other.close()


def test_the_first_use_of_a_forked_client_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """For any use: otherwise a client that receives nothing would be hard to explain."""
    with WebSocketServer(echo) as server:
        client = ws.Client(server.url, client_id="md-1", profile=QUICK).start()
        child = Child(os.fork)
        if child.pid == 0:
            child.tell(len(caplog.records))
            repr(client)
            child.tell(client.state.name, _raised(lambda: client.send("x")), client.wait(0.1))
            client.close()
            child.tell([record.getMessage().split(";")[0] for record in caplog.records])
            client.start(3.0)
            child.tell(client.state.name, len(caplog.records))
            client.close(1.0)
            child.end()
        assert child.said() == [
            [0],
            ["FORKED", "Forked", True],
            [["client md-1 was started in the parent process and is not connected in this one"]],
            ["CONNECTED", 1],
        ]
        client.close()
