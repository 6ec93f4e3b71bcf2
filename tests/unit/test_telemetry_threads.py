"""The bus among threads: no lock in the way of an emission, changes inside handlers, and totals that add up."""

import itertools
import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from wsnova_statsd.errors import HandlerExists, HandlerNotFound
from wsnova_statsd.events import HANDLER_FAILURE
from wsnova_statsd.telemetry import Bus

DEADLINE = 30.0  # for joins; reached only by a failing test


def _in_threads(*works: Callable[[], object]) -> None:
    """Run all works at once, each in its own thread; what one raises fails the test."""
    faults: list[BaseException] = []
    start = threading.Barrier(len(works))

    def run(work: Callable[[], object]) -> None:
        try:
            start.wait(DEADLINE)
            work()
        except BaseException as fault:
            faults.append(fault)

    threads = [threading.Thread(target=run, args=(work,), daemon=True) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)
    assert [thread.name for thread in threads if thread.is_alive()] == []
    assert faults == []


@pytest.fixture
def quiet() -> Iterator[None]:
    """No log records of failing handlers."""
    logger = logging.getLogger("wsnova_statsd.telemetry")
    logger.setLevel(logging.CRITICAL)
    yield
    logger.setLevel(logging.NOTSET)


def test_execute_waits_for_no_lock() -> None:
    """While another thread holds the bus's lock, events reach their handlers and the list can be read."""
    bus = Bus()
    observed: list[str] = []
    bus.attach("id", "e", lambda *call: observed.append(call[0]))
    slot = bus.slot("e")

    def emit() -> None:
        bus.execute("e", {}, {})
        slot.emit({}, {})
        observed.extend(handler.event for handler in bus.list_handlers())
        with bus.span("e", {}):
            bus.execute("no.handler", {}, {})

    with bus._lock:
        _in_threads(emit)
    assert observed == ["e", "e", "e"]


def test_the_handlers_of_an_event_are_replaced_and_never_changed() -> None:
    """Copy on write: what an emission has begun to walk through stays as it was."""
    bus = Bus()
    slot = bus.slot("e")
    bus.attach("a", "e", print)
    one = slot.handlers
    bus.attach("b", "e", print)
    two = slot.handlers
    bus.detach("a")
    assert [[entry[0] for entry in table] for table in (one, two, slot.handlers)] == [["a"], ["a", "b"], ["b"]]


def test_a_handler_attached_inside_a_handler_gets_the_next_event() -> None:
    """Not the one under way, whose handlers are those of its beginning."""
    bus = Bus()
    observed: list[str] = []

    def first(*_call: object) -> None:
        observed.append("first")
        if len(observed) == 1:
            bus.attach("second", "e", lambda *_: observed.append("second"))

    bus.attach("first", "e", first)
    bus.execute("e", {}, {})
    assert observed == ["first"]
    bus.execute("e", {}, {})
    assert observed == ["first", "first", "second"]


def test_a_handler_may_detach_itself_and_others() -> None:
    """Detached ones still get the event under way, and none after it."""
    bus = Bus()
    observed: list[str] = []

    def once(*_call: object) -> None:
        observed.append("once")
        bus.detach("once")
        bus.detach("other")

    bus.attach("once", "e", once)
    bus.attach("other", "e", lambda *_: observed.append("other"))
    bus.execute("e", {}, {})
    bus.execute("e", {}, {})
    assert observed == ["once", "other"]
    assert bus.list_handlers() == []


def test_a_handler_may_execute_events_the_same_one_too() -> None:
    """An event inside an event is delivered at once, before the outer one goes on."""
    bus = Bus()
    observed: list[int] = []

    def countdown(event: str, measurements: Any, _metadata: Any, _config: Any) -> None:
        observed.append(measurements["n"])
        if measurements["n"]:
            bus.execute(event, {"n": measurements["n"] - 1}, {})

    bus.attach("countdown", "e", countdown)
    bus.attach("after", "e", lambda *call: observed.append(-call[1]["n"]))
    bus.execute("e", {"n": 2}, {})
    assert observed == [2, 1, 0, 0, -1, -2]


def test_attach_and_detach_inside_a_handler_are_legal_from_another_thread_meanwhile() -> None:
    """While one thread is in a handler, another attaches, detaches and emits: no thread waits for the handler."""
    bus = Bus()
    observed: list[str] = []

    def slow(*_call: object) -> None:
        def meanwhile() -> None:
            bus.attach("other", "f", lambda *call: observed.append(call[0]))
            bus.execute("f", {}, {})
            bus.detach("slow")

        _in_threads(meanwhile)

    bus.attach("slow", "e", slow)
    bus.execute("e", {}, {})
    assert observed == ["f"]
    assert [handler.handler_id for handler in bus.list_handlers()] == ["other"]


def test_an_id_goes_to_exactly_one_of_many_threads() -> None:
    """Eight threads attach under one id: one wins, seven get an error; the same at detaching."""
    bus = Bus()
    for _ in range(50):
        results: list[str] = []

        def change(change_: Callable[[], object], results: list[str] = results) -> None:
            try:
                change_()
                results.append("done")
            except (HandlerExists, HandlerNotFound) as error:
                results.append(type(error).__name__)

        _in_threads(*[lambda: change(lambda: bus.attach("id", "e", print))] * 8)
        assert Counter(results) == {"done": 1, "HandlerExists": 7}
        assert len(bus.slot("e").handlers) == 1
        results.clear()
        _in_threads(*[lambda: change(lambda: bus.detach("id"))] * 8)
        assert Counter(results) == {"done": 1, "HandlerNotFound": 7}
        assert bus.slot("e").handlers == ()


def test_attach_detach_and_execute_at_once_add_up(quiet: None) -> None:
    """Four threads emit, four attach and detach: no emission misses the permanent handlers, every failure is counted.

    A transient handler has a private event too: what its own thread emits there reaches it while it is attached and
    never after.
    """
    bus = Bus()
    emitters, changers, rounds = 4, 4, 1_500
    steady, failing, reported, private = (itertools.count() for _ in range(4))
    stray: list[str] = []

    def fail(*_call: object) -> None:
        next(failing)
        raise ValueError

    def emit() -> None:
        for number in range(rounds):
            bus.execute("e", {"n": number}, {})

    def change(worker: int) -> None:
        for number in range(rounds // 5):
            handler_id, own = (worker, number), f"private.{worker}"
            attached = [True]

            def hear(event: str, _measurements: Any, _metadata: Any, config: list[bool]) -> None:
                if event != "e":
                    next(private)
                    if not config[0]:
                        stray.append(event)

            bus.attach_many(handler_id, ["e", own], hear, attached)
            bus.execute(own, {}, {})
            bus.detach(handler_id)
            attached[0] = False
            bus.execute(own, {}, {})

    bus.attach("first", "e", lambda *_: next(steady))
    bus.attach("failing", "e", fail)
    bus.attach("watch", HANDLER_FAILURE, lambda *_: next(reported))
    bus.attach("last", "e", lambda *_: next(steady))
    _in_threads(*[emit] * emitters, *[lambda worker=worker: change(worker) for worker in range(changers)])
    assert next(steady) == 2 * emitters * rounds
    assert next(failing) == next(reported) == bus.handler_errors == emitters * rounds
    assert next(private) == changers * (rounds // 5)
    assert stray == []
    assert [handler.handler_id for handler in bus.list_handlers()] == ["first", "failing", "last", "watch"]


def test_new_events_made_at_once_are_all_kept() -> None:
    """Eight threads attach to two hundred new events each, and to shared ones: none is lost, each slot is one."""
    bus = Bus()
    slots: list[int] = []

    def attach(worker: int) -> None:
        for number in range(200):
            bus.attach_many((worker, number), [f"own.{worker}.{number}", f"shared.{number}"], print)
            slots.append(id(bus.slot(f"shared.{number}")))

    _in_threads(*[lambda worker=worker: attach(worker) for worker in range(8)])
    assert len(bus.list_handlers("own")) == len(bus.list_handlers("shared")) == 1_600
    assert [len(bus.slot(f"shared.{number}").handlers) for number in range(200)] == [8] * 200
    assert len(set(slots)) == 200
