"""What a client sends repeatedly while it lives: its states, and its counts at 0, until it is closed."""

from typing import Any

import pytest

import wsnova_statsd as ws
from tests.unit.shipping import Parts
from wsnova_statsd import events
from wsnova_statsd.metrics.registry import HandlerRegistry
from wsnova_statsd.reporters.client_states import HANDLED
from wsnova_statsd.testing.dogstatsd import Metric

UP = "websocket.connection.up"
ZEROS = [
    "websocket.connection.completed",
    "websocket.connection.reconnect.failed final:false",
    "websocket.connection.reconnect.failed final:true",
    "websocket.connection.started",
    "websocket.message.batch.errors direction:received",
    "websocket.message.batch.errors direction:sent",
]


class Bench(Parts):
    """The default list on a bus, and what each flush sends, in fake seconds."""

    def __init__(self) -> None:
        super().__init__(definitions=ws.statsd_metrics())
        self.bus = ws.Bus()
        HandlerRegistry(ws.statsd_metrics(), self.store).attach(self.bus)
        self.bus.attach_many("states", HANDLED, self.shipper.states.handle)

    def emit(self, event: str, client: str = "a", measurements: dict[str, Any] | None = None, **metadata: Any) -> None:
        self.bus.execute(event, measurements or {}, {"client_id": client, **metadata})

    def flushed(self, seconds: float = 0, kind: str = "g") -> dict[str, float]:
        """The gauges, or counts, that a flush so many seconds later sends, by name and further tags."""
        self.clock.advance(seconds)
        self.line.messages.clear()
        assert self.shipper.flush(10)
        reported = [one for one in self.line.messages if isinstance(one, Metric) and one.type == kind]
        tags = [(one, [tag.lower() for tag in one.tags if tag != "client:a"]) for one in reported]
        return {" ".join((one.name, *rest)): one.values[0] for one, rest in tags}


def test_a_state_repeats_every_four_seconds_until_its_client_is_closed() -> None:
    """connection.up stays visible; gauges of a sample are sent with a new sample only."""
    bench = Bench()
    bench.emit(events.CONNECTION_COMPLETED, measurements={"duration": 5_000_000})
    assert bench.flushed() == {UP: 1, "websocket.connection.duration": 5}
    assert [bench.flushed(1) for _ in range(5)] == [{}, {}, {}, {UP: 1}, {}]
    bench.emit(events.CONNECTION_DISCONNECTED, reason="local")
    assert bench.flushed() == {UP: 0}
    bench.emit(events.CLIENT_CLOSED)
    bench.flushed(1)
    assert [bench.flushed(4) for _ in range(3)] == [{}] * 3
    bench.emit(events.CONNECTION_COMPLETED)
    assert [bench.flushed(4) for _ in range(3)] == [{UP: 1}] * 3


@pytest.mark.parametrize("up", [False, True])
def test_what_waited_when_a_client_was_closed_is_sent_no_more(up: bool) -> None:
    """Its last value is sent once more, whatever it is; for a client that is up again it goes on."""
    bench, reported = Bench(), "websocket.message.waiting direction:received"
    bench.emit(events.MESSAGE_BATCH_PROCESSED, measurements={"count": 1, "waiting": 5}, direction="received")
    bench.emit(events.CLIENT_CLOSED)
    if up:
        bench.emit(events.CONNECTION_COMPLETED)
    assert bench.flushed()[reported] == 5
    assert (reported in bench.flushed(4)) is up


def test_a_client_that_came_back_between_two_flushes_is_not_forgotten() -> None:
    """Its end, and then its new link: its 1 goes on."""
    bench = Bench()
    bench.emit(events.CLIENT_CLOSED)
    bench.emit(events.CONNECTION_COMPLETED)
    assert [bench.flushed(4)[UP] for _ in range(3)] == [1, 1, 1]


def test_counts_of_a_client_are_0_at_once_and_after_two_minutes_without_a_value() -> None:
    """Before anything has occurred, and while nothing occurs; a value is sent alone, and the two minutes begin anew."""
    bench = Bench()
    bench.emit(events.CLIENT_OPENED, started=True)
    assert bench.flushed(kind="c") == dict.fromkeys(ZEROS, 0)
    assert bench.flushed(60, kind="c") == {}
    bench.emit(events.CONNECTION_STARTED)
    assert bench.flushed(kind="c") == {"websocket.connection.started": 1}
    others = [name for name in ZEROS if name != "websocket.connection.started"]
    assert bench.flushed(60, kind="c") == dict.fromkeys(others, 0)
    assert bench.flushed(60, kind="c") == {"websocket.connection.started": 0}


def test_a_state_whose_last_value_was_no_change_ends_with_its_client_as_well() -> None:
    """It was sent a moment ago: it is neither sent again for ever, nor reported as unsent at the end of the process."""
    bench, waiting = Bench(), {"count": 1, "waiting": 0}
    bench.emit(events.MESSAGE_BATCH_PROCESSED, measurements=waiting, direction="received")
    assert bench.flushed() == {"websocket.message.waiting direction:received": 0}
    bench.emit(events.MESSAGE_BATCH_PROCESSED, measurements=waiting, direction="received")
    bench.emit(events.CLIENT_CLOSED)
    assert [bench.flushed(seconds) for seconds in (1, 4, 4, 4)] == [{}] * 4
    assert [one.name for one in bench.store.series if one.kind == "gauge" and one.fresh] == []


def test_a_closed_client_has_no_zeros_until_it_starts_again() -> None:
    """Also if both lie between two flushes, in their order; a client that was only made has none."""
    bench = Bench()
    bench.emit(events.CLIENT_OPENED, started=False)
    assert bench.flushed(kind="c") == {}
    bench.emit(events.CLIENT_OPENED, started=True)
    bench.emit(events.CLIENT_CLOSED)
    bench.flushed(kind="c")
    assert [bench.flushed(120, kind="c") for _ in range(4)] == [{}] * 4
    assert not any(one.unsettled for one in bench.store.series)  # they give their memory back
    bench.emit(events.CLIENT_CLOSED)
    bench.emit(events.CLIENT_OPENED, started=True)
    assert [len(bench.flushed(120, kind="c")) for _ in range(3)] == [len(ZEROS)] * 3


def test_zeros_are_in_no_total() -> None:
    """They are counts of nothing: delivered and pending stay what occurred."""
    bench = Bench()
    bench.emit(events.CLIENT_OPENED, started=True)
    bench.emit(events.CONNECTION_STARTED)
    bench.flushed()
    counters = bench.stats().counters
    assert (counters.delivered, counters.pending) == (1, 0)


def test_300_idle_clients_send_at_most_350_lines_a_second() -> None:
    """Each with its link, what waits of it, and zeros: over a minute of flushes, one a second."""
    bench = Bench()
    waits = {"count": 0, "waiting": 0, "waiting_bytes": 0, "behind": 0}
    for number in range(300):
        bench.emit(events.CLIENT_OPENED, str(number), started=True)
        bench.emit(events.CONNECTION_COMPLETED, str(number))
        bench.emit(events.MESSAGE_BATCH_PROCESSED, str(number), waits, direction="received")
    bench.flushed()
    lines = 0
    for _ in range(60):
        bench.flushed(1)
        lines += len(bench.line.messages)
    assert lines / 60 <= 350
    assert bench.line.messages or lines
