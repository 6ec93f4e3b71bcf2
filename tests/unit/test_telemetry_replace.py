"""Another function in a handler's place, and events without a handler."""

import pytest

from wsnova_statsd.errors import HandlerNotFound
from wsnova_statsd.telemetry import Bus


def test_replace_puts_another_function_in_the_same_place() -> None:
    """On all its events, between the same neighbours, with the config given; recorders are made anew."""
    bus = Bus()
    observed: list[object] = []
    bus.attach("before", "e", lambda *call: observed.append(("before", call[3])))
    bus.attach_many("mine", ["e", "f"], lambda *call: observed.append(("old", call[3])), 1)
    bus.attach("after", "e", lambda *call: observed.append(("after", call[3])))
    version = bus.version
    bus.replace("mine", lambda *call: observed.append(("new", call[3])), 2)
    bus.execute("e", {}, {})
    bus.slot("f").emit({}, {})
    assert observed == [("before", None), ("new", 2), ("after", None), ("new", 2)]
    assert bus.version > version
    bus.detach("mine")
    bus.execute("f", {}, {})
    assert len(observed) == 4


def test_replace_of_an_unknown_handler_is_refused() -> None:
    """Like detach of one."""
    with pytest.raises(HandlerNotFound, match="'nobody'"):
        Bus().replace("nobody", print)


def test_an_event_without_a_handler_is_dispatched_once_a_handler_is_attached() -> None:
    """And no longer after detach; the bus remembers only so many names without a handler."""
    bus = Bus()
    observed: list[object] = []
    for turn in range(3):
        bus.execute("e", {}, {})
        bus.execute("e", {}, {})
        bus.attach("id", "e", lambda *call: observed.append(call[0]))
        bus.execute("e", {}, {})
        bus.detach("id")
        assert observed == ["e"] * (turn + 1)
    for number in range(5_000):
        bus.execute(f"endless.{number}", {}, {})
    assert len(bus._calls) <= 1_000
    assert bus.list_handlers() == []
