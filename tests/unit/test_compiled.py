"""The compiled handlers of metrics: a traceback through one shows the line of its source."""

import io
import linecache
import traceback
from typing import Any

import pytest

import wsnova_statsd as ws
from wsnova_statsd.metrics import compiled
from wsnova_statsd.metrics.plan import handler
from wsnova_statsd.metrics.store import Store

EVENT = ws.events.MESSAGE_RECEIVED


class _Hostile(dict[str, Any]):
    """Measurements that raise something other than KeyError."""

    def __missing__(self, key: str) -> Any:
        raise ZeroDivisionError(key)


def test_a_traceback_through_a_handler_shows_its_source() -> None:
    """In the log of a fault, file and line lead to what was run, also after the caches were checked."""
    count = handler(Store(), [ws.sum_("s", EVENT, "size")]).function
    with pytest.raises(ZeroDivisionError) as caught:
        count(EVENT, _Hostile(), {}, None)
    linecache.checkcache()
    shown = "".join(traceback.format_exception(caught.value))
    assert f"<wsnova_statsd metrics of {EVENT!r}" in shown
    assert "value = measurements['size']" in shown


def test_a_traceback_through_a_recorder_shows_its_source() -> None:
    """Which is another one than the handler's."""
    bind = handler(Store(), [ws.sum_("s", EVENT, "size")]).bind
    assert bind is not None
    bound: Any = bind(("size",), {})
    with pytest.raises(TypeError) as caught:
        bound.record("five")
    assert "row.total + v0" in "".join(traceback.format_exception(caught.value))


def _file(function: Any) -> object:
    return function.__code__.co_filename


def test_the_same_source_is_compiled_and_kept_once() -> None:
    """However many reporters a process makes."""
    metrics = [ws.counter("c", EVENT, ["type"]), ws.distribution("d", EVENT, "size", ["type"])]
    first = handler(Store(), metrics).function
    kept = len(linecache.cache)
    others = [handler(Store(), metrics).function for _ in range(50)]
    assert len(linecache.cache) == kept
    assert {_file(one) for one in others} == {_file(first)}
    assert len({id(one) for one in (first, *others)}) == 51


def test_sources_of_two_events_have_different_file_names() -> None:
    """By the event's name, with any characters."""
    for event in ("a.b", "x'] + __import__('os') #\n\""):
        code = compiled.function("def count():\n    return 1 // 0\n", event, {})
        out = io.StringIO()
        try:
            code()
        except ZeroDivisionError:
            traceback.print_exc(file=out)
        assert repr(event) in out.getvalue()
        assert "return 1 // 0" in out.getvalue()
