"""Slots and spans: the emitter's fast path, and start, stop and exception around a block."""

from collections.abc import Iterator
from typing import Any

import pytest

from wsnova_statsd.telemetry import Bus

Call = tuple[str, dict[str, Any], dict[str, Any]]


@pytest.fixture
def observed(bus: Bus) -> Iterator[list[Call]]:
    """What the events of the span `job` carry."""
    calls: list[Call] = []
    bus.attach_many(
        "observed",
        ["job.start", "job.stop", "job.exception"],
        lambda event, measurements, metadata, _: calls.append((event, dict(measurements), dict(metadata))),
    )
    yield calls
    bus.detach("observed")


def test_a_slot_is_one_object_per_event_and_knows_its_handlers(bus: Bus) -> None:
    """A slot made before the first attachment follows it: emitters rely on that."""
    slot = bus.slot("e")
    assert slot is bus.slot("e")
    assert slot.event == "e"
    assert not slot.handlers
    bus.attach("id", "e", print, 5)
    assert slot.handlers == (("id", print, 5, None),)
    bus.detach("id")
    assert slot is bus.slot("e")
    assert not slot.handlers


def test_a_slot_emits_what_execute_emits(bus: Bus) -> None:
    """The same handlers, arguments and failure isolation."""
    calls: list[Any] = []
    bus.attach("bad", "e", lambda *_: 1 / 0)
    bus.attach("good", "e", lambda *call: calls.append(call), "config")
    bus.slot("e").emit({"n": 1}, {"k": "v"})
    bus.execute("e", {"n": 1}, {"k": "v"})
    assert calls == [("e", {"n": 1}, {"k": "v"}, "config")] * 2
    assert bus.handler_errors == 2


def test_a_span_emits_start_and_stop(bus: Bus, observed: list[Call]) -> None:
    """Start measures two times, stop the duration between; both carry the metadata."""
    with bus.span("job", {"name": "n"}):
        assert [call[0] for call in observed] == ["job.start"]
    (start, begun, at_start), (stop, ended, at_stop) = observed
    assert (start, stop) == ("job.start", "job.stop")
    assert set(begun) == {"monotonic_time", "system_time"}
    assert set(ended) == {"duration", "monotonic_time"}
    assert ended["duration"] == ended["monotonic_time"] - begun["monotonic_time"] >= 0
    assert all(type(number) is int for number in (*begun.values(), *ended.values()))
    assert at_start == at_stop == {"name": "n"}


def test_what_the_body_adds_joins_the_last_event(bus: Bus, observed: list[Call]) -> None:
    """The yielded dict adds to the metadata of stop, not of start, and leaves the given mapping alone."""
    metadata = {"name": "n"}
    with bus.span("job", metadata) as extra:
        extra["rows"] = 3
    assert [call[2] for call in observed] == [{"name": "n"}, {"name": "n", "rows": 3}]
    assert metadata == {"name": "n"}


@pytest.mark.parametrize("fault", [ValueError("no"), KeyboardInterrupt()], ids=repr)
def test_a_span_emits_an_exception_and_lets_it_pass(bus: Bus, observed: list[Call], fault: BaseException) -> None:
    """`exception` in place of `stop`, with kind, reason and stacktrace beside the metadata; the error goes on."""

    def body() -> None:
        with bus.span("job", {"name": "n"}) as extra:
            extra["rows"] = 3
            raise fault

    with pytest.raises(type(fault)) as caught:
        body()
    assert caught.value is fault
    event, measurements, metadata = observed[-1]
    assert [call[0] for call in observed] == ["job.start", event] == ["job.start", "job.exception"]
    assert measurements["duration"] == measurements["monotonic_time"] - observed[0][1]["monotonic_time"]
    assert metadata.pop("stacktrace").startswith("Traceback (most recent call last):")
    assert metadata == {"name": "n", "rows": 3, "kind": "error", "reason": fault}


def test_spans_nest(bus: Bus, observed: list[Call]) -> None:
    """Each keeps its own time and metadata."""
    with bus.span("job", {"depth": 0}), bus.span("job", {"depth": 1}):
        pass
    assert [(event, metadata["depth"]) for event, _, metadata in observed] == [
        ("job.start", 0),
        ("job.start", 1),
        ("job.stop", 1),
        ("job.stop", 0),
    ]
    assert observed[3][1]["duration"] >= observed[2][1]["duration"]
