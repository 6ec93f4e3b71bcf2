"""The history of one client, as amounts in rolling windows: the definitions of the KPIs, event by event.

Plain objects that are given times (monotonic nanoseconds); callers hold the tracker's lock. Events of one client come
in order, so a dial is over when the next one begins at the latest, also in profiles that do not emit its failure.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any, Final

from .. import events
from ..metrics.reading import number as finite
from ..metrics.reading import own_tags
from .sketch import Sketch
from .window import Window

_MOST: Final = 10**18  # the highest valid measurement; in nanoseconds 30 years
_OPEN: Final = 500  # errors of a client that may still be handled
ON_PURPOSE: Final = ("local", "shutdown")  # reasons of a disconnect that was intended
_SILENT: Final = ("ping_timeout", "idle")  # reasons of a link that was dead before the client noticed
_OF_DIALS: Final = ("connection", "handshake", "timeout", "auth")  # the error types of a failed dial

Measurements = Mapping[str, Any]
Metadata = Mapping[str, Any]
Sent = dict[str, tuple[float, int]]  # the gauges that were sent, by key: the value, and when (ns)


class Invalid(ValueError):
    """A measurement is missing, or is not a possible value."""


def measured(measurements: Measurements, key: str) -> int:
    """A measurement as a whole number, zero or more. Raises Invalid."""
    value = finite(measurements.get(key))
    if value is None or not 0 <= value <= _MOST:
        raise Invalid(key)
    return int(value)


class History:
    """One client: its state, its own window, and the window of all clients together. `tags` are its tags in Datadog; a
    link that lasted `stable_ns` was stable.

    With `shared` it stands for many clients: their amounts are counted, their links are not.
    """

    __slots__ = (
        *("_alarmed", "_dialling", "_errors", "_on_purpose", "_shaky", "_shared", "_silent_ns"),
        *("_sketch", "_stable_ns", "_windows"),
        *("blind_since_ns", "closed", "ended", "first_ns", "number", "own", "sent", "sent_up", "tags", "up", "window"),
    )

    def __init__(
        self,
        tags: tuple[str, ...],
        number: int,
        now_ns: int,
        stable_ns: float,
        windows: tuple[Window, Window],
        *,
        shared: bool = False,
    ) -> None:
        self.tags: tuple[str, ...] = tags
        self.own: Metadata = {}  # the client's own tags, for the events that are emitted about it
        self.number = number
        self.first_ns = now_ns
        self.window: Window = windows[0]
        self._windows = windows
        self._stable_ns = stable_ns
        self._shared = shared
        self._dialling = False  # a dial has begun and no event has ended it
        self._alarmed = False  # the alarm was raised in the current outage
        self._shaky = False  # it was raised in the last outage, and it is not yet known if the new link is stable
        self._on_purpose = False  # the last link was closed on purpose
        self._silent_ns = 0  # how long the lost link had been dead when the outage was noticed
        self._errors: dict[str, int] = {}  # when errors occurred that may still be handled, by id; oldest first
        self.up: bool | None = None  # whether there is a working connection; None if nothing is known
        self.blind_since_ns: int | None = None
        self.closed: bool = False  # the client is closed
        self.ended: bool = False  # and that was sent
        self.sent_up: bool | None = None  # the value of `up` that was sent last
        self.sent: Sent = {}
        self._sketch: Sketch | None = None  # process durations, in profiles with message events

    @property
    def sketch(self) -> Sketch:
        """Process durations, written without a lock by the thread that owns the client. With `shared`, some may be
        lost."""
        self._sketch = self._sketch or Sketch()
        return self._sketch

    def fold(self, now_ns: int) -> None:
        """Add what was recorded for single messages to the windows."""
        if self._sketch is not None:
            fresh = self._sketch.fresh()
            for window in self._windows if fresh else ():
                window.add_bins(now_ns, fresh)

    # -- one method for each event: each raises Invalid before it has added to any sum -------------------------------

    def started(self, now_ns: int, measurements: Measurements, metadata: Metadata) -> None:
        self.closed = self.ended = self._on_purpose = False
        self._dial_over(now_ns)
        self._dialling = True
        if not self.up:
            self._down(now_ns)

    def state(self, now_ns: int, measurements: Measurements, metadata: Metadata) -> None:
        """The state the client itself emits, at its start or for a tracker that was started later. It is used only if
        the state is not yet known."""
        self.closed = self.ended = False
        self.tags = (*self.tags[:1], *(own_tags(metadata) if self.tags else ()))
        self.own = {key: metadata[key] for key in (events.TAGS,) if key in metadata}
        if self.up is None and "up" in measurements:
            (self._up if measured(measurements, "up") else self._down)(now_ns)

    def completed(self, now_ns: int, measurements: Measurements, metadata: Metadata) -> None:
        self._add(now_ns, connect_ns=measured(measurements, "duration"), completed=1)
        self._dial_over(now_ns)
        if not metadata.get("reconnect"):  # a retry's link is usable at reconnect.success, after the login
            self._up(now_ns)

    def disconnected(self, now_ns: int, measurements: Measurements, metadata: Metadata) -> None:
        """The link is down, even if its lifetime is invalid; a link that fell silent has been down since its last
        byte."""
        shaky, self._shaky = self._shaky, False
        self._on_purpose = metadata.get("reason") in ON_PURPOSE
        silent_ns = 0
        if metadata.get("reason") in _SILENT:
            with contextlib.suppress(Invalid):
                silent_ns = min(measured(measurements, key) for key in ("silent", "duration"))
        if self.blind_since_ns is None and not self._shared:
            self._silent_ns = silent_ns
        self._down(now_ns - silent_ns)
        if measured(measurements, "duration") < self._stable_ns and shaky and not self._on_purpose:
            self._alarmed = True  # the same outage continues: its alarm is raised only once until a link is stable

    def reconnected(self, now_ns: int, measurements: Measurements, metadata: Metadata) -> None:
        duration = measured(measurements, "duration") + self._silent_ns
        self._silent_ns = 0
        self._add(now_ns, reconnects=1, in_time=not self._alarmed)
        for window in self._windows:
            window.add_sample(now_ns, duration)
        self._shaky, self._alarmed = self._alarmed, False
        self._up(now_ns)

    def retry_failed(self, now_ns: int, measurements: Measurements, metadata: Metadata) -> None:
        self._dial_over(now_ns)
        if metadata.get("final") is True and not self._alarmed:
            self._alarmed = not self._shared
            self._add(now_ns, too_late=1)

    def batch(self, now_ns: int, measurements: Measurements, metadata: Metadata) -> None:
        count, errors = measured(measurements, "count"), measured(measurements, "errors")
        direction = metadata.get("direction")
        if errors > count or direction not in ("received", "sent"):
            raise Invalid
        amounts = {"messages": count, "bad_messages": errors}
        if direction == "received":
            spent = measured(measurements, "process_time")
            longest = measured({"process_time_max": 0, **measurements}, "process_time_max")
            amounts["received"] = count
            # If the emitter does not report it: no message was handled if no time was spent.
            processed = measured({"processed": count if spent else 0, **measurements}, "processed")
            if processed:
                amounts |= {"processed": processed, "process_ns": spent}
                for window in self._windows:
                    window.add_worst(now_ns, "process_ns", longest)
            if self._sketch is not None:
                self._sketch.settle(count)
                self.fold(now_ns)
        self._add(now_ns, **amounts)

    def error(self, now_ns: int, measurements: Measurements, metadata: Metadata) -> None:
        if metadata.get("error_type") in _OF_DIALS:
            self._dial_over(now_ns)
        if metadata.get("severity") == "critical":
            return
        self._add(now_ns, errors=1)
        error_id = metadata.get("error_id")
        if isinstance(error_id, str):
            self._errors[error_id] = now_ns
            if len(self._errors) > _OPEN:
                del self._errors[next(iter(self._errors))]

    def error_handled(self, now_ns: int, measurements: Measurements, metadata: Metadata) -> None:
        """Count at the time of the error. Ignored if the profile did not emit the error."""
        error_id = metadata.get("error_id")
        occurred_ns = self._errors.pop(error_id, None) if isinstance(error_id, str) else now_ns
        if occurred_ns is not None:
            self._add(occurred_ns, recovered=1)

    def client_closed(self, now_ns: int, measurements: Measurements, metadata: Metadata) -> None:
        """A dial that closing interrupts is not counted, and a link that closing ended is not an outage."""
        if self.blind_since_ns is not None and not self._on_purpose:
            self._blind_over(now_ns)
        self.blind_since_ns = None
        if self.up or self._on_purpose:
            self.up = None
        self._dialling = self._alarmed = self._shaky = False
        self.closed = True

    def processed(self, now_ns: int, measurements: Measurements, metadata: Metadata) -> None:
        self.sketch.record(measured(measurements, "duration"))

    def alerted(self, now_ns: int, duration_ns: int) -> None:
        self._add(now_ns, alerts=1)
        for window in self._windows:
            window.add_worst(now_ns, "alert_ns", duration_ns)

    # -- the link -----------------------------------------------------------------------------------------------------

    def blind_ns(self, window: Window, now_ns: int) -> int:
        """The nanoseconds of the current outage that are within the window."""
        return 0 if self.blind_since_ns is None else now_ns - max(self.blind_since_ns, window.began_ns)

    def _dial_over(self, now_ns: int) -> None:
        if self._dialling:
            self._dialling = False
            self._add(now_ns, dials=1)

    def _watched(self) -> bool:
        """Whether its links count: not with `shared`, nor for the last events of a closed client."""
        return not self._shared and not self.closed

    def _down(self, now_ns: int) -> None:
        if self._watched():
            self.up = False
            if self.blind_since_ns is None:
                self.blind_since_ns = now_ns

    def _up(self, now_ns: int) -> None:
        if self._watched():
            self.up = True
            if self.blind_since_ns is not None:
                self._blind_over(now_ns)

    def _blind_over(self, now_ns: int) -> None:
        assert self.blind_since_ns is not None
        for window in self._windows:
            window.add_span("blind_ns", self.blind_since_ns, now_ns)
        self._add(now_ns, outages=1)
        self.blind_since_ns = None

    def _add(self, moment_ns: int, **amounts: int) -> None:
        for window in self._windows:
            window.add(moment_ns, **amounts)


HANDLERS: Final[Mapping[str, Callable[[History, int, Measurements, Metadata], None]]] = {
    events.CLIENT_STATE: History.state,
    events.CONNECTION_STARTED: History.started,
    events.CONNECTION_COMPLETED: History.completed,
    events.CONNECTION_DISCONNECTED: History.disconnected,
    events.CONNECTION_RECONNECT_SUCCESS: History.reconnected,
    events.CONNECTION_RECONNECT_FAILED: History.retry_failed,
    events.MESSAGE_BATCH_PROCESSED: History.batch,
    events.MESSAGE_PROCESS_COMPLETED: History.processed,
    events.ERROR_OCCURRED: History.error,
    events.ERROR_HANDLED: History.error_handled,
    events.CLIENT_CLOSED: History.client_closed,
}
