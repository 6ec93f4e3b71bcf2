"""The bus: attaching, emitting, listing, spans, isolation, and handlers that live as long as they are attached."""

import gc
import itertools
import threading
import weakref
from collections.abc import Callable, Hashable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.faults.interrupting import re_entering
from wsnova_statsd import telemetry
from wsnova_statsd.errors import ConfigurationError, HandlerExists, HandlerNotFound
from wsnova_statsd.telemetry import Bus, Handler

Call = tuple[str, Any, Any, Any]


class _Log(list[Call]):
    """A handler that keeps what it was called with."""

    def __call__(self, event: str, measurements: Any, metadata: Any, config: Any) -> None:
        self.append((event, measurements, metadata, config))

    def events(self) -> list[str]:
        """The event names in order."""
        return [call[0] for call in self]


def test_a_handler_is_called_with_event_measurements_metadata_and_config() -> None:
    """The four arguments are the very objects that were emitted and attached, once per emission."""
    bus, log = Bus(), _Log()
    measurements, metadata, config = {"size": 3}, {"client_id": "a"}, object()
    bus.attach("id", "shop.sold", log, config)
    bus.execute("shop.sold", measurements, metadata)
    assert len(log) == 1
    assert log[0][0] == "shop.sold"
    assert (log[0][1] is measurements, log[0][2] is metadata, log[0][3] is config) == (True, True, True)


def test_a_handler_gets_its_own_event_only() -> None:
    """Neither a longer nor a shorter name reaches it, and an event without a handler is legal."""
    bus, log = Bus(), _Log()
    bus.attach("id", "shop.sold", log)
    for event in ("shop", "shop.sold.twice", "shop.sol", "shop.sold"):
        bus.execute(event, {}, {})
    assert log == [("shop.sold", {}, {}, None)]


def test_a_handler_runs_in_the_thread_that_emits() -> None:
    """No thread is started and none is crossed."""
    bus = Bus()
    seen: list[threading.Thread] = []
    bus.attach("id", "e", lambda *_: seen.append(threading.current_thread()))
    emitter = threading.Thread(target=bus.execute, args=("e", {}, {}))
    emitter.start()
    emitter.join(10)
    bus.execute("e", {}, {})
    assert seen == [emitter, threading.current_thread()]


def test_handlers_run_in_the_order_of_attachment() -> None:
    """Detaching one keeps the order of the others; one that is attached again is last."""
    bus = Bus()
    order: list[Any] = []
    for name in "abc":
        bus.attach(name, "e", lambda *call: order.append(call[3]), name)
    bus.detach("a")
    bus.attach("a", "e", lambda *call: order.append(call[3]), "a")
    bus.execute("e", {}, {})
    assert order == ["b", "c", "a"]


def test_attach_many_attaches_one_handler_to_every_event_once() -> None:
    """A repeated event counts once, any iterable will do, and detach removes them all."""
    bus, log = Bus(), _Log()
    bus.attach_many("id", iter(["a", "b", "a"]), log, 7)
    for event in "abc":
        bus.execute(event, {}, {})
    assert log == [("a", {}, {}, 7), ("b", {}, {}, 7)]
    bus.detach("id")
    bus.execute("a", {}, {})
    assert len(log) == 2
    assert bus.list_handlers() == []


def test_an_id_is_used_once_per_bus() -> None:
    """A second attachment under the id raises HandlerExists and changes nothing, for any event."""
    bus, first, second = Bus(), _Log(), _Log()
    bus.attach("id", "e", first)
    with pytest.raises(HandlerExists, match="'id' is already attached; detach it first"):
        bus.attach("id", "other", second)
    with pytest.raises(HandlerExists):
        bus.attach_many("id", ["e", "other"], second)
    bus.execute("e", {}, {})
    bus.execute("other", {}, {})
    assert (first.events(), second) == (["e"], [])


def test_an_unknown_id_cannot_be_detached() -> None:
    """HandlerNotFound, the first time and the time after a detach."""
    bus = Bus()
    with pytest.raises(HandlerNotFound, match="no handler has the id 'id'"):
        bus.detach("id")
    bus.attach("id", "e", print)
    bus.detach("id")
    with pytest.raises(HandlerNotFound):
        bus.detach("id")


@pytest.mark.parametrize("handler_id", ["name", ("component", 3), 42, None, frozenset("a")], ids=repr)
def test_an_id_is_anything_hashable(handler_id: Hashable) -> None:
    """Tuples, numbers and None are valid ids."""
    bus, log = Bus(), _Log()
    bus.attach(handler_id, "e", log)
    assert [handler.handler_id for handler in bus.list_handlers()] == [handler_id]
    bus.detach(handler_id)
    bus.execute("e", {}, {})
    assert log == []


@pytest.mark.parametrize(
    ("events", "function", "reported"),
    [
        ("shop.sold", print, "takes a list of events, got the string 'shop.sold'; use attach"),
        ([], print, "attached to no event; pass at least one"),
        (["ok", ""], print, "an event must be a non-empty string .* got ''"),
        ([b"shop"], print, "an event must be a non-empty string .* got b'shop'"),
        (["ok"], "print", "is 'print'; pass a callable"),
    ],
)
def test_a_mistake_is_refused_where_it_is_made(events: Any, function: Any, reported: str) -> None:
    """ConfigurationError at attach; the id stays free and no event has gained a handler."""
    bus = Bus()
    with pytest.raises(ConfigurationError, match=reported):
        bus.attach_many("id", events, function)
    assert bus.list_handlers() == []
    bus.attach("id", "e", print)


def test_two_buses_share_no_events() -> None:
    """Ids, handlers and events of one bus are unknown to another and to the default one."""
    one, other = Bus(), Bus()
    observed: dict[str, _Log] = {"one": _Log(), "other": _Log()}
    one.attach("id", "e", observed["one"])
    other.attach("id", "e", observed["other"])
    one.execute("e", {}, {})
    telemetry.execute("e", {}, {})
    assert (len(observed["one"]), len(observed["other"])) == (1, 0)
    one.detach("id")
    assert len(other.list_handlers()) == 1


def test_the_modules_functions_are_those_of_the_default_bus() -> None:
    """What `ws.telemetry` attaches, the default bus holds."""
    log = _Log()
    telemetry.attach_many("test_telemetry", ["tests.a", "tests.b"], log)
    try:
        telemetry.execute("tests.a", {"n": 1}, {})
        telemetry.DEFAULT.execute("tests.b", {}, {})
        telemetry.slot("tests.a").emit({"n": 2}, {})
        assert [handler.event for handler in telemetry.list_handlers("tests")] == ["tests.a", "tests.b"]
        assert telemetry.DEFAULT.list_handlers("tests") == telemetry.list_handlers("tests")
    finally:
        telemetry.detach("test_telemetry")
    assert log == [("tests.a", {"n": 1}, {}, None), ("tests.b", {}, {}, None), ("tests.a", {"n": 2}, {}, None)]
    with telemetry.span("tests.span", {}) as extra:
        assert extra == {}


def test_list_handlers_returns_whole_attachments() -> None:
    """Id, event, function and config; a handler of two events is listed twice."""
    bus = Bus()
    bus.attach_many("id", ["a", "b"], print, {"x": 1})
    assert bus.list_handlers() == [Handler("id", "a", print, {"x": 1}), Handler("id", "b", print, {"x": 1})]


@pytest.mark.parametrize(
    ("prefix", "found"),
    [
        ("", ["shop", "shop.sold", "shop.sold.out", "shopping"]),
        ("shop", ["shop", "shop.sold", "shop.sold.out"]),
        ("shop.", ["shop", "shop.sold", "shop.sold.out"]),
        ("shop.sold", ["shop.sold", "shop.sold.out"]),
        ("shop.so", []),
        ("sold", []),
    ],
)
def test_a_prefix_is_one_of_the_dotted_name(prefix: str, found: list[str]) -> None:
    """Whole parts count: `shop` is above `shop.sold` and has nothing to do with `shopping`."""
    bus = Bus()
    bus.attach_many("id", ["shop", "shop.sold", "shop.sold.out", "shopping"], print)
    assert [handler.event for handler in bus.list_handlers(prefix)] == found


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.sets(st.sampled_from("xyz"), min_size=1)), max_size=20))
def test_the_bus_agrees_with_a_plain_dictionary(steps: list[tuple[str, set[str]]]) -> None:
    """Attach what is not there, detach what is: after any such sequence every event reaches its handlers, in order."""
    bus, log = Bus(), _Log()
    model: dict[str, set[str]] = {}
    for handler_id, events in steps:
        if handler_id in model:
            del model[handler_id]
            bus.detach(handler_id)
        else:
            model[handler_id] = events
            bus.attach_many(handler_id, sorted(events), log, handler_id)
    for event in "xyz":
        log.clear()
        bus.execute(event, {}, {})
        assert [call[3] for call in log] == [handler_id for handler_id, events in model.items() if event in events]


def test_a_handler_without_another_reference_lives_on() -> None:
    """References are strong: a lambda and the method of a lost object survive a collection, until they are detached."""
    bus, seen = Bus(), []
    log = _Log()
    gone = weakref.ref(log)
    bus.attach("lambda", "e", lambda *_: seen.append(1))
    bus.attach("method", "e", log.__call__)
    del log
    gc.collect()
    bus.execute("e", {}, {})
    kept = gone()
    assert (seen, kept and kept.events()) == ([1], ["e"])
    del kept
    bus.detach("method")
    gc.collect()
    assert gone() is None


def test_a_bus_that_is_dropped_is_collected() -> None:
    """Nothing in the process keeps an isolated bus alive."""
    gone = weakref.ref(Bus())
    gc.collect()
    assert gone() is None


def _numbers(observed: list[object]) -> Callable[..., Callable[..., None]]:
    """A `bind` that keeps its arguments and the values that its recorders get."""

    def bind(names: tuple[str, ...], metadata: Any) -> Callable[..., None]:
        return lambda *values: observed.append((names, dict(metadata), values))

    return bind


def test_a_bound_recorder_is_called_in_place_of_its_handler() -> None:
    """With the values alone; attach, attach_many and replace take `bind`, and a handler without one gets mappings."""
    bus, observed = Bus(), list[object]()

    def never(*_call: object) -> None:
        raise AssertionError

    bus.attach("one", "e", never, bind=_numbers(observed))
    bus.attach_many("two", ["e", "f"], lambda *call: observed.append(call[1:3]))
    record = bus.slot("e").recorder(("size",), {"type": "t"})
    assert record is not None
    record(5)
    assert observed == [(("size",), {"type": "t"}, (5,)), ({"size": 5}, {"type": "t"})]
    version = bus.version
    bus.replace("two", never, bind=_numbers(observed))
    assert bus.version != version
    record = bus.slot("e").recorder(("size",), {"type": "t"})
    assert record is not None
    record(6)
    assert observed[2:] == [(("size",), {"type": "t"}, (6,))] * 2


def test_a_bind_that_returns_none_leaves_its_handler_in_place() -> None:
    """It has no recorder for these names; an emission by mappings never calls it."""
    bus, observed = Bus(), list[object]()
    bus.attach("id", "e", lambda *call: observed.append(call[1]), bind=lambda names, metadata: None)
    record = bus.slot("e").recorder(("a", "b"), {})
    assert record is not None
    record(1, 2)
    bus.execute("e", {"c": 3}, {})
    assert observed == [{"a": 1, "b": 2}, {"c": 3}]


@pytest.mark.parametrize("given", [5, "bind", object()], ids=["a number", "a text", "an object"])
def test_a_bind_that_cannot_be_called_is_refused(given: Any) -> None:
    """Where it is written; nothing is attached."""
    bus = Bus()
    with pytest.raises(ConfigurationError, match="bind of handler 'id'"):
        bus.attach("id", "e", print, bind=given)
    assert bus.list_handlers() == []


CHANGES: dict[str, Callable[[Bus, Callable[..., None]], object]] = {
    "attach": lambda bus, hear: bus.attach("new", "e", hear, "new"),
    "detach": lambda bus, hear: bus.detach("there"),
    "replace": lambda bus, hear: bus.replace("there", hear, "new"),
    "renew": lambda bus, hear: bus.renew(),
}
LEFT = {"attach": ["there", "new"], "detach": [], "replace": ["new"], "renew": ["there"]}


@pytest.mark.parametrize("interrupted", CHANGES)
def test_code_that_comes_between_two_lines_may_attach_and_detach(interrupted: str) -> None:
    """As a signal's handler does: both its changes and the interrupted ones hold."""

    def at(line: int) -> bool:
        bus, observed = Bus(), list[str]()

        def hear(*call: Any) -> None:
            observed.append(call[3])

        def change() -> None:
            bus.attach("inner", "e", hear, "inner")
            bus.attach("gone", "e", hear, "gone")
            bus.detach("gone")

        bus.attach("there", "e", hear, "there")
        found = re_entering(lambda: CHANGES[interrupted](bus, hear), change, line)
        bus.execute("e", {}, {})
        assert sorted(observed) == sorted(LEFT[interrupted] + ["inner"] * found)
        return found

    assert next(line for line in itertools.count(1) if not at(line)) > 4
