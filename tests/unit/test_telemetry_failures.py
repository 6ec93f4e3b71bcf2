"""A handler that raises: isolated, emitted as an event, counted, logged once a minute; and never detached."""

import logging
import time
from collections.abc import Callable
from typing import Any

import pytest

from wsnova_statsd.events import HANDLER_FAILURE
from wsnova_statsd.telemetry import Bus, Unguarded
from wsnova_statsd.testing.clock import FakeClock


def _fail(event: str, _measurements: object, _metadata: object, _config: object) -> None:
    raise ValueError(f"cannot {event}")


@pytest.fixture
def clock() -> FakeClock:
    """The time by which the bus limits its log."""
    return FakeClock()


@pytest.fixture
def bus(clock: FakeClock) -> Bus:
    """An isolated bus under the fake clock."""
    return Bus(clock)


def _tracebacks(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The error of every record that the bus logged with a traceback."""
    return [
        str(record.exc_info[1])
        for record in caplog.records
        if record.name == "wsnova_statsd.telemetry" and record.levelno == logging.ERROR and record.exc_info
    ]


def test_a_raising_handler_stops_neither_the_others_nor_the_emitter(bus: Bus) -> None:
    """A thousand failures of the middle one: its neighbours get a thousand events, and so does it, to the end."""
    observed = {"before": 0, "failing": 0, "after": 0}

    def count(_event: str, _measurements: Any, _metadata: Any, name: str) -> None:
        observed[name] += 1
        if name == "failing":
            raise ValueError(name)

    for name in observed:
        bus.attach(name, "e", count, name)
    for _ in range(1_000):
        bus.execute("e", {}, {})
    assert observed == dict.fromkeys(observed, 1_000)
    assert bus.handler_errors == 1_000
    assert [handler.handler_id for handler in bus.list_handlers()] == ["before", "failing", "after"]


def test_a_failure_is_emitted_as_an_event(bus: Bus) -> None:
    """`telemetry.handler.failure`, in the emitting thread, with all six metadata keys and both times."""
    reported: list[tuple[str, Any, Any]] = []
    config = object()
    bus.attach("watch", HANDLER_FAILURE, lambda *call: reported.append(call[:3]))
    bus.attach(("my", "handler"), "shop.sold", _fail, config)
    before = time.monotonic_ns(), time.time_ns()
    bus.execute("shop.sold", {"n": 1}, {"client_id": "a"})
    after = time.monotonic_ns(), time.time_ns()
    [(event, measurements, metadata)] = reported
    assert event == "telemetry.handler.failure"
    assert list(measurements) == ["monotonic_time", "system_time"]
    assert before[0] <= measurements["monotonic_time"] <= after[0]
    assert type(measurements["system_time"]) is int
    assert list(metadata) == ["event_name", "handler_id", "handler_config", "kind", "reason", "stacktrace"]
    assert metadata["event_name"] == "shop.sold"
    assert metadata["handler_id"] == ("my", "handler")
    assert metadata["handler_config"] is config
    assert metadata["kind"] == "error"
    assert repr(metadata["reason"]) == "ValueError('cannot shop.sold')"
    assert metadata["stacktrace"].startswith("Traceback (most recent call last):")
    assert "in _fail" in metadata["stacktrace"]
    assert metadata["stacktrace"].endswith("ValueError: cannot shop.sold\n")


def test_every_failure_is_emitted_and_counted_though_few_are_logged(bus: Bus) -> None:
    """The limit applies to the log only."""
    reported: list[str] = []
    bus.attach("watch", HANDLER_FAILURE, lambda *call: reported.append(call[2]["event_name"]))
    bus.attach_many("bad", ["a", "b"], _fail)
    for event in "abab":
        bus.execute(event, {}, {})
    assert reported == ["a", "b", "a", "b"]
    assert bus.handler_errors == 4


def test_one_record_with_traceback_per_handler_and_minute(
    bus: Bus, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    """The first failure is logged, the rest of its minute is not, and the next minute has a record again."""
    bus.attach("bad", "e", _fail)
    logged = []
    for step in (0.0, 30.0, 29.999999999, 0.000000001, 59.0, 1.0):
        clock.advance(step)
        caplog.clear()
        bus.execute("e", {}, {})
        bus.execute("e", {}, {})
        logged.append(len(_tracebacks(caplog)))
    assert logged == [1, 0, 0, 1, 0, 1]


def test_each_handler_has_its_own_minute(bus: Bus, caplog: pytest.LogCaptureFixture) -> None:
    """A noisy handler does not hide the first failure of another; several events of one handler share its minute."""
    bus.attach_many("noisy", ["a", "b"], _fail)
    bus.attach("other", "c", _fail)
    for event in "aabbcc":
        bus.execute(event, {}, {})
    assert _tracebacks(caplog) == ["cannot a", "cannot c"]
    assert "'noisy' raised at a; it stays attached" in caplog.records[0].getMessage()


def test_a_second_different_fault_of_a_handler_is_logged_too(bus: Bus, caplog: pytest.LogCaptureFixture) -> None:
    """Of another class or another line; each of them once a minute."""

    def fail(_event: str, measurements: Any, _metadata: object, _config: object) -> None:
        if "b" in measurements:
            raise ValueError("second")
        raise ValueError(str(measurements["a"]))

    bus.attach("bad", "e", fail)
    for measurements in ({"a": 1}, {"a": 2}, {}, {"b": 1}, {"a": 3}, {}, {"b": 1}):
        bus.execute("e", measurements, {})
    assert _tracebacks(caplog) == ["1", "'a'", "second"]


def test_a_handler_that_is_attached_again_is_logged_again(bus: Bus, caplog: pytest.LogCaptureFixture) -> None:
    """Detaching forgets the quiet minute: a new handler under an old id is not silenced by its predecessor."""
    for _ in range(2):
        bus.attach("bad", "e", _fail)
        bus.execute("e", {}, {})
        bus.detach("bad")
    assert _tracebacks(caplog) == ["cannot e"] * 2


def test_a_handler_that_detaches_itself_and_raises_takes_no_memory(bus: Bus) -> None:
    """A thousand ids that come and fail do not fill the memory of the log's limit."""

    def once(_event: str, _measurements: Any, _metadata: Any, handler_id: int) -> None:
        bus.detach(handler_id)
        raise ValueError(handler_id)

    logging.getLogger("wsnova_statsd.telemetry").setLevel(logging.CRITICAL)
    try:
        for number in range(1_000):
            bus.attach(number, "e", once, number)
            bus.execute("e", {}, {})
    finally:
        logging.getLogger("wsnova_statsd.telemetry").setLevel(logging.NOTSET)
    assert bus.handler_errors == 1_000
    assert (bus._log_limit._until, bus._attachments, bus.slot("e").handlers) == ({}, {}, ())


def test_a_failing_failure_handler_does_not_recurse(bus: Bus, caplog: pytest.LogCaptureFixture) -> None:
    """It is counted and logged, not emitted, and the next failure handler still gets the first fault."""
    calls: list[str] = []

    def failing_watch(_event: str, _measurements: Any, metadata: Any, _config: Any) -> None:
        calls.append(metadata["handler_id"])
        raise RuntimeError("the watch fails too")

    reported: list[str] = []
    bus.attach("watch", HANDLER_FAILURE, failing_watch)
    bus.attach("second", HANDLER_FAILURE, lambda *call: reported.append(call[2]["handler_id"]))
    bus.attach("bad", "e", _fail)
    bus.execute("e", {}, {})
    assert (calls, reported) == (["bad"], ["bad"])
    assert bus.handler_errors == 2
    assert _tracebacks(caplog) == ["cannot e", "the watch fails too"]


def test_a_failure_handler_may_detach_the_one_that_failed(bus: Bus) -> None:
    """The BEAM's rule - a failing handler is detached - is one line."""
    bus.attach("watch", HANDLER_FAILURE, lambda *call: bus.detach(call[2]["handler_id"]))
    bus.attach("bad", "e", _fail)
    bus.execute("e", {}, {})
    bus.execute("e", {}, {})
    assert bus.handler_errors == 1
    assert [handler.handler_id for handler in bus.list_handlers()] == ["watch"]


@pytest.mark.parametrize("end", [KeyboardInterrupt, SystemExit])
def test_what_ends_the_program_passes_through(bus: Bus, end: type[BaseException]) -> None:
    """An interrupt inside a handler is raised to the emitter and is no failure of the handler."""

    def interrupted(*_call: object) -> None:
        raise end

    bus.attach("id", "e", interrupted)
    with pytest.raises(end):
        bus.execute("e", {}, {})
    assert bus.handler_errors == 0


def test_an_error_that_cannot_be_printed_is_still_emitted(bus: Bus) -> None:
    """A hostile `__str__` of an error reaches neither the emitter nor the other handlers."""

    class Unspeakable(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no words")

    def fail(*_call: object) -> None:
        raise Unspeakable

    reported: list[Any] = []
    bus.attach("watch", HANDLER_FAILURE, lambda *call: reported.append(call[2]["reason"]))
    bus.attach("bad", "e", fail)
    bus.execute("e", {}, {})
    assert [type(reason) for reason in reported] == [Unspeakable]
    assert bus.handler_errors == 1


class _Recorders:
    """A `bind` whose recorders raise, or which raises itself."""

    def __init__(self, *, at_once: bool) -> None:
        self.at_once = at_once

    def __call__(self, names: tuple[str, ...], metadata: object) -> Callable[..., None]:
        if self.at_once:
            raise ZeroDivisionError("at bind")

        def record(*_values: object) -> None:
            raise ZeroDivisionError("at record")

        return record


@pytest.mark.parametrize("neighbours", [0, 1, 2])
@pytest.mark.parametrize("names", [("size",), ("size", "duration")])
def test_a_recorder_that_raises_costs_neither_the_emitter_nor_the_others(
    bus: Bus, names: tuple[str, ...], neighbours: int
) -> None:
    """Alone or among others: it is reported like its handler, once for each call."""
    observed: list[object] = []
    failures: list[Any] = []
    bus.attach("watch", HANDLER_FAILURE, lambda *call: failures.append((call[2]["handler_id"], str(call[2]["reason"]))))
    bus.attach("bad", "e", print, bind=_Recorders(at_once=False))
    for number in range(neighbours):
        bus.attach(number, "e", print, bind=lambda names, metadata: lambda *values: observed.append(values))
    record = bus.slot("e").recorder(names, {})
    assert record is not None
    for _ in range(3):
        record(*range(len(names)))
    assert failures == [("bad", "at record")] * 3
    assert bus.handler_errors == 3
    assert observed == [tuple(range(len(names)))] * 3 * neighbours


def test_a_bind_that_raises_is_reported_and_its_handler_called_with_mappings(bus: Bus) -> None:
    """Nothing is lost: the events reach the handler itself."""
    observed: list[object] = []
    bus.attach("id", "e", lambda *call: observed.append(call[1]), bind=_Recorders(at_once=True))
    record = bus.slot("e").recorder(("size",), {})
    assert bus.handler_errors == 1
    assert record is not None
    record(5)
    assert observed == [{"size": 5}]
    assert bus.handler_errors == 1


def test_an_unguarded_recorder_is_returned_as_it_is(bus: Bus) -> None:
    """Alone on its event it is called without a guard around it; among others a fault of it is reported."""
    observed: list[object] = []
    bus.attach("id", "e", print, bind=lambda names, metadata: Unguarded(observed.append))
    assert bus.slot("e").recorder(("size",), {}) == observed.append
    bus.attach("bad", "e", print, bind=lambda names, metadata: Unguarded(lambda value: 1 // 0))
    record = bus.slot("e").recorder(("size",), {})
    assert record is not None
    record(5)
    assert (observed, bus.handler_errors) == ([5], 1)
