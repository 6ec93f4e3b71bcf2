"""Telemetry events, recorded during a `with` block.

    with capture_events("websockex_nova.message") as log:
        client.send({"op": "ping"})
    assert log.count(ws.events.MESSAGE_SENT) == 1

Threads: events are recorded in the thread that emits them; read the log and wait on it from any thread.
Never changes or delays what it records, and raises nothing into the emitter.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Protocol, overload

from wsnova_statsd import events, telemetry
from wsnova_statsd.testing.questions import Counts, Tags, assert_count

_HandlerFunction = Callable[[str, Mapping[str, Any], Mapping[str, Any], Any], object]

_numbers: Final = itertools.count(1)  # handler ids; next() of it is atomic


class EventBus(Protocol):
    """What `capture_events` needs of a bus: `ws.Bus` has it."""

    def attach_many(
        self, handler_id: Hashable, events: Iterable[str], function: _HandlerFunction, config: Any = None
    ) -> None: ...

    def detach(self, handler_id: Hashable) -> None: ...


@dataclass(frozen=True, slots=True)
class CapturedEvent:
    """One emitted event. The mappings are copies of those the handlers received; `thread` names the emitting thread."""

    event: str
    measurements: dict[str, Any]
    metadata: dict[str, Any]
    thread: str


class EventLog(Sequence[CapturedEvent]):
    """The events captured so far, in order: a sequence that may grow while it is read."""

    def __init__(self) -> None:
        self._changed = threading.Condition()  # guards _events
        self._events: list[CapturedEvent] = []

    def __len__(self) -> int:
        return len(self._snapshot())

    @overload
    def __getitem__(self, index: int) -> CapturedEvent: ...

    @overload
    def __getitem__(self, index: slice) -> list[CapturedEvent]: ...

    def __getitem__(self, index: int | slice) -> CapturedEvent | list[CapturedEvent]:
        return self._snapshot()[index]

    def __iter__(self) -> Iterator[CapturedEvent]:
        """Iterate over the events captured up to now; those that come later are not included."""
        return iter(self._snapshot())

    def __repr__(self) -> str:
        return f"EventLog({self._snapshot()!r})"

    def names(self) -> list[str]:
        """The names of the captured events, in order, with repetitions."""
        return [captured.event for captured in self]

    def of(self, event: str) -> list[CapturedEvent]:
        """All captured events with exactly this name."""
        return [captured for captured in self if captured.event == event]

    def count(self, event: object) -> int:
        """How often this event was captured. Pass its name, or a CapturedEvent to compare with."""
        if isinstance(event, str):
            return len(self.of(event))
        return self._snapshot().count(event)  # type: ignore[arg-type]  # a Sequence counts any object

    def counts(self) -> Counts:
        """Every captured event in the form that `assert_count` adds up, with its metadata as tags."""
        return [(one.event, [f"{key}:{value}" for key, value in one.metadata.items()], 1) for one in self]

    def assert_count(self, event: str, expected: float, tags: Tags = None) -> None:
        """Assert how often this event was captured with at least this metadata. See `assert_count`."""
        assert_count(self, event, expected, tags)

    def wait_for(self, event: str, count: int = 1, timeout: float = 5.0) -> bool:
        """Wait up to `timeout` seconds until this event was captured `count` times. Returns whether it was."""
        with self._changed:
            return self._changed.wait_for(lambda: self.count(event) >= count, timeout)

    def clear(self) -> None:
        """Drop everything captured so far; capturing continues."""
        with self._changed:
            self._events.clear()

    def record(self, event: str, measurements: Mapping[str, Any], metadata: Mapping[str, Any], _config: Any) -> None:
        """The telemetry handler: append one event."""
        captured = CapturedEvent(event, dict(measurements), dict(metadata), threading.current_thread().name)
        with self._changed:
            self._events.append(captured)
            self._changed.notify_all()

    def _snapshot(self) -> list[CapturedEvent]:
        with self._changed:
            return list(self._events)


@contextmanager
def capture_events(*prefixes: str, bus: EventBus | None = None) -> Iterator[EventLog]:
    """Record events during the block, and yield their log.

    Without `prefixes`, every event of `events.CATALOGUE`; with them, the known events at or below one of these dotted
    names. To capture an application's own event, pass its whole name. `bus` is by default that of ws.telemetry.
    Raises ValueError for a prefix of ours that no event has: a test that captures nothing would always pass.
    """
    log = EventLog()
    target = telemetry.DEFAULT if bus is None else bus
    handler_id = ("capture_events", next(_numbers))
    target.attach_many(handler_id, _selected(prefixes), log.record)
    try:
        yield log
    finally:
        target.detach(handler_id)


def _selected(prefixes: tuple[str, ...]) -> list[str]:
    if not prefixes:
        return list(events.CATALOGUE)
    known = (*events.CATALOGUE, *events.UNLISTED)
    selected: dict[str, None] = {}  # an ordered set: two prefixes may overlap
    for prefix in (prefix.rstrip(".") for prefix in prefixes):
        found = [event for event in known if event == prefix or event.startswith(f"{prefix}.")]
        if not found and f"{prefix}.".startswith(events.PREFIX):
            raise ValueError(f"no event is named {prefix!r} or begins with {prefix + '.'!r}; see events.CATALOGUE")
        selected.update(dict.fromkeys(found or [prefix]))
    return list(selected)
