"""A forked child notices, with and without Python's hooks, and drops what it inherited."""

import ctypes
import gc
import math
import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import wsnova_statsd as ws
from tests.faults.forking import Child
from wsnova_statsd import process
from wsnova_statsd.clock import CLOCK
from wsnova_statsd.telemetry import Bus

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
WIPED = not isinstance(process.ALIVE, bytearray)


def _fork_without_hooks() -> int:
    """Fork as uWSGI does: Python's hooks do not run. PyDLL keeps the GIL, CDLL would hang the child."""
    return int(ctypes.PyDLL(None).fork())


FORKS = [
    pytest.param(os.fork, id="with-hooks"),
    pytest.param(
        _fork_without_hooks,
        id="without-hooks",
        marks=pytest.mark.skipif(not WIPED, reason="this kernel wipes no page at a fork"),
    ),
]


def _child(fork: Callable[[], int], work: Callable[[], object]) -> Any:
    """What `work` returns, or raises, in a forked child, by way of JSON."""
    child = Child(fork)
    if child.pid == 0:
        try:
            child.tell(work())
        except BaseException as error:
            child.tell(repr(error))
        child.end()
    (answer,) = child.said(20.0)[0]
    return answer


class _Component:
    """Counts how often after_fork was called."""

    def __init__(self) -> None:
        self.forks = 0
        process.on_fork(self)

    def after_fork(self) -> None:
        self.forks += 1


@pytest.fixture
def held() -> Iterator[Callable[[Any], None]]:
    """Have a lock held by another thread until the test ends."""
    done = threading.Event()
    threads: list[threading.Thread] = []

    def hold(lock: Any) -> None:
        holding = threading.Event()

        def keep() -> None:
            with lock:
                holding.set()
                done.wait(30)

        threads.append(threading.Thread(target=keep, daemon=True))
        threads[-1].start()
        assert holding.wait(10)

    yield hold
    done.set()
    for thread in threads:
        thread.join(10)


def test_a_process_recognizes_itself() -> None:
    """The byte is 1 in the process that imported the package, and in_child then calls no component."""
    component = _Component()
    process.in_child()
    assert (process.ALIVE[0], component.forks) == (1, 0)


def test_a_fork_with_hooks_notifies_every_component_at_once() -> None:
    """After os.fork the child is recognized before its first line, and later calls add nothing."""
    component = _Component()

    def work() -> list[int]:
        first = [process.ALIVE[0], component.forks]
        process.in_child()
        return [*first, component.forks]

    assert _child(os.fork, work) == [1, 1, 1]
    assert (process.ALIVE[0], component.forks) == (1, 0)


@pytest.mark.skipif(not WIPED, reason="this kernel wipes no page at a fork")
def test_a_fork_without_hooks_shows_in_the_byte() -> None:
    """The child reads 0 until it calls in_child, which notifies every component, once."""
    component = _Component()

    def work() -> list[int]:
        first = [process.ALIVE[0], component.forks]
        process.in_child()
        process.in_child()
        return [*first, process.ALIVE[0], component.forks]

    assert _child(_fork_without_hooks, work) == [0, 0, 1, 1]
    assert (process.ALIVE[0], component.forks) == (1, 0)


@pytest.mark.parametrize("fork", FORKS)
def test_a_child_of_a_child_is_recognized_as_well(fork: Callable[[], int]) -> None:
    """Every generation notices: the page is wiped again at the next fork."""
    component = _Component()

    def noticed() -> list[int]:
        if not process.ALIVE[0]:
            process.in_child()
        return [process.ALIVE[0], component.forks]

    assert _child(fork, lambda: [noticed(), _child(fork, noticed)]) == [[1, 1], [1, 2]]


def test_a_component_is_held_weakly() -> None:
    """Registering for forks keeps nothing alive, and what is gone is not called."""
    component = _Component()
    process.on_fork(component)
    assert component in process._fork_aware
    count = len(process._fork_aware)
    del component
    gc.collect()
    assert len(process._fork_aware) < count


def test_without_such_a_page_only_the_hooks_notify(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the kernel refuses the advice, the mark is a plain byte, which the hook clears."""
    monkeypatch.setattr(process, "_MADV_WIPEONFORK", 2**30)
    mark = process._fork_mark()
    assert mark == bytearray(1)
    mark[0] = 1
    monkeypatch.setattr(process, "ALIVE", mark)
    component = _Component()
    assert _child(os.fork, lambda: [process.ALIVE[0], component.forks]) == [1, 1]
    assert component.forks == 0


@pytest.mark.parametrize("fork", FORKS)
def test_a_bus_whose_lock_was_held_works_in_the_child(fork: Callable[[], int], held: Callable[[Any], None]) -> None:
    """Attach, detach and a failing handler do not wait for a thread of the parent; its handlers are there."""
    bus = Bus()
    observed: list[str] = []
    bus.attach("parent's", "e", lambda *call: observed.append(call[0]))
    bus.attach("failing", "f", lambda *_: 1 / 0)
    held(bus._lock)

    def work() -> list[Any]:
        for event in "ef":
            bus.execute(event, {}, {})
        bus.attach("child's", "g", print)
        bus.detach("parent's")
        return [observed, bus.handler_errors, [handler.handler_id for handler in bus.list_handlers()]]

    assert _child(fork, work) == [["e"], 1, ["failing", "child's"]]
    assert observed == []


@pytest.mark.parametrize("fork", FORKS)
def test_the_clock_of_a_child_runs_its_own_jobs_only(fork: Callable[[], int]) -> None:
    """It starts its own thread; what the parent planned runs in the parent."""
    ran: list[str] = []
    started = threading.Event()
    CLOCK.call_later(0, started.set)
    assert started.wait(10)
    late = CLOCK.call_later(3_600, lambda: ran.append("parent's"))

    def work() -> list[Any]:
        done = threading.Event()
        CLOCK.call_later(0, lambda: ran.append("child's"))
        CLOCK.call_later(0, done.set)
        return [done.wait(10), ran, len(CLOCK._heap)]

    assert _child(fork, work) == [True, ["child's"], 0]
    late.cancel()
    assert ran == []


def test_a_thread_is_named_after_its_role() -> None:
    """`wsnova-` and the role, and its owner if there can be several."""
    assert process.thread_name("clock") == "wsnova-clock"
    assert process.thread_name("client", "md-1") == "wsnova-client-md-1"


def test_unsignalled_work_runs_aside_of_the_main_thread_and_in_place_elsewhere() -> None:
    """Its value comes back, and what it raises; the thread has ended by then."""
    main = threading.get_ident()

    def where() -> int:
        return threading.get_ident()

    assert process.unsignalled(where, 10, 0) not in (0, main)
    with pytest.raises(ZeroDivisionError):
        process.unsignalled(lambda: 1 // 0, 10, 0)
    found: list[bool] = []
    thread = threading.Thread(target=lambda: found.append(process.unsignalled(where, 10, 0) == threading.get_ident()))
    thread.start()
    thread.join()
    assert found == [True]
    assert "wsnova-aside" not in [one.name for one in threading.enumerate()]


def test_the_main_thread_waits_for_unsignalled_work_no_longer_than_its_timeout() -> None:
    """After that it returns the fallback value; the work goes on to its end."""
    release, ended = threading.Event(), threading.Event()

    def work() -> str:
        release.wait(10)
        ended.set()
        return "late"

    assert process.unsignalled(work, 0.01, "in time") == "in time"
    release.set()
    assert ended.wait(10)


def test_if_no_thread_can_start_unsignalled_work_runs_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in an exit hook from Python 3.12 on."""

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert process.unsignalled(threading.get_ident, 10, 0) == threading.get_ident()


# The signal that ends programs


@pytest.fixture
def sigterm() -> Iterator[None]:
    """What handles SIGTERM is what it was, afterwards."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def test_a_handler_of_sigterm_is_set_if_possible(sigterm: None) -> None:
    """In the main thread; in another one an error says so, and nothing is set."""
    before, refused = signal.getsignal(signal.SIGTERM), list[str]()

    def elsewhere() -> None:
        try:
            ws.end_on_sigterm()
        except ws.errors.ConfigurationError as error:
            refused.append(str(error))

    thread = threading.Thread(target=elsewhere, name="elsewhere")
    thread.start()
    thread.join()
    assert len(refused) == 1
    assert "'elsewhere'" in refused[0]
    assert "main thread only" in refused[0]
    assert signal.getsignal(signal.SIGTERM) is before
    ws.end_on_sigterm()
    mine = signal.getsignal(signal.SIGTERM)
    assert mine is not before
    ws.end_on_sigterm(timeout=2)
    assert signal.getsignal(signal.SIGTERM) is mine


@pytest.mark.parametrize("timeout", [-1, True, "1", math.nan, math.inf])
def test_an_unusable_time_is_refused(timeout: Any, sigterm: None) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(ws.errors.ConfigurationError, match="timeout must be"):
        ws.end_on_sigterm(timeout)
    assert signal.getsignal(signal.SIGTERM) is before
