"""Emits a client's events on the bus, as its profile allows, with client_id and the metadata filter.

Which events are emitted is decided here once. A hot path keeps an event's slot, checks `if slot.handlers:`, and gets
the slot again when the bus's version has changed. Called in any thread; holds no lock.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from ..events import (
    BY_TYPE,
    CATALOGUE,
    CLIENT_CLOSED,
    CLIENT_OPENED,
    CLIENT_STATE,
    CONNECTION_COMPLETED,
    CONNECTION_DISCONNECTED,
    CONNECTION_DOWN,
    EMITS,
    FREE_TEXTS,
    MESSAGE_RECEIVED,
    TAGS,
)
from ..log_limit import LOG_EVERY, LogLimit
from ..profiles import Profile
from ..redaction import filter_metadata, log_fault
from ..telemetry import Bus, EventSlot, Metadata, Recorder

_log = logging.getLogger(__name__)
_NO_TAGS: Final[Mapping[str, str]] = MappingProxyType({})


class _Tagged(EventSlot):
    """A slot that adds the client's own tags to the metadata; bound once for repeated events."""

    __slots__ = ("_own", "_slot")

    def __init__(self, slot: EventSlot, own: Metadata) -> None:
        self._slot = slot
        self._own = own
        self.event = slot.event

    @property
    def handlers(self) -> Any:  # type: ignore[override]  # the real slot's, always
        return self._slot.handlers

    def recorder(self, names: tuple[str, ...], metadata: Metadata) -> Recorder | None:
        return self._slot.recorder(names, {**metadata, **self._own})

    def emit(self, measurements: Mapping[str, Any], metadata: Metadata) -> None:
        self._slot.emit(measurements, {**metadata, **self._own})


class _Filtered(EventSlot):
    """A slot that first passes the metadata through the profile's filter function. If that raises, only the metadata is
    lost."""

    __slots__ = ("_filter", "_log_limit", "_slot")

    def __init__(self, slot: EventSlot, profile: Profile) -> None:
        self._slot = slot
        self._filter: Any = profile.metadata_filter
        self._log_limit = LogLimit()

    @property
    def handlers(self) -> Any:  # type: ignore[override]  # the real slot's, always
        return self._slot.handlers

    def recorder(self, names: tuple[str, ...], metadata: Metadata) -> Recorder | None:
        if not self.handlers:
            return None
        return lambda *values: self.emit(dict(zip(names, values, strict=True)), metadata)

    def emit(self, measurements: Mapping[str, Any], metadata: Metadata) -> None:
        try:
            metadata = dict(self._filter(dict(metadata)))  # a copy: the emitter passes the same mapping again
        except Exception as error:
            if self._log_limit.due(error=error):
                log_fault(
                    _log,
                    error,
                    "the metadata_filter raised at %s; the event is emitted without metadata, further faults of it are "
                    "not logged for %d s",
                    self._slot.event,
                    LOG_EVERY,
                )
            metadata = {}
        self._slot.emit(measurements, metadata)


class Emitter:
    """The events of one client."""

    def __init__(self, bus: Bus, profile: Profile, client_id: str, tags: Mapping[str, str] = _NO_TAGS) -> None:
        self._bus = bus
        self._profile = profile
        self.client_id = client_id
        self._own: Metadata = {TAGS: tags} if tags else _NO_TAGS
        self.whose: Metadata = {"client_id": client_id, **self._own}
        self.up: int = 0  # 1 while there is a link
        self.live: bool = True  # the client is not closed
        self.silent: EventSlot = EventSlot(bus, "")  # never attached to
        self._muted = False
        self._lets = profile  # decides which events are emitted
        self._slots: dict[str, EventSlot] = {}  # created on demand; most clients need few

    def _open(self, event: str) -> EventSlot:
        if self._muted or self._lets.level_of(CATALOGUE[event]) == "none":
            return self.silent
        slot = self.unlisted(event)
        return _Filtered(slot, self._profile) if callable(self._profile.metadata_filter) else slot

    def unlisted(self, event: str) -> EventSlot:
        """The slot of an event that every profile emits, and that is not in the catalogue."""
        slot = self._bus.slot(event)
        return _Tagged(slot, self._own) if self._own else slot

    @property
    def bus(self) -> Bus:
        """The bus it emits on."""
        return self._bus

    def slot(self, event: str) -> EventSlot:
        """The event's slot, or a slot without handlers if the profile leaves the event out."""
        slots = self._slots  # read once: a slot opened before a switch goes into the old dict
        slot = slots.get(event)
        if slot is None:
            slot = slots[event] = self._open(event)
        return slot

    def __call__(self, event: str, measurements: Mapping[str, Any], **metadata: Any) -> bool:
        """Emit an event that is not per message. Returns False if the profile leaves it out."""
        if event in _LINKED:
            self.up = _LINKED[event]  # first: see `emit_state`
        slot = self.slot(event)
        if not self._lets.emits(CATALOGUE[event], metadata):
            return False
        if not slot.handlers:
            return True
        metadata = {"client_id": self.client_id, **metadata}
        if self._profile.metadata_filter is True:
            metadata = filter_metadata(
                metadata, keep=[key for key in CATALOGUE[event].metadata if key not in FREE_TEXTS]
            )
        slot.emit(measurements, metadata)
        return True

    def emits_heartbeats(self) -> bool:
        """True if heartbeat events are emitted."""
        return self._lets.heartbeat_events

    def in_detail(self, on: bool) -> None:
        """Emit every event, or only those of the profile. One caller at a time, which then renews the bus's version:
        until then, slots that are kept elsewhere follow the previous setting."""
        if on != (self._lets is not self._profile):
            self._lets = self._profile.replace(**_EVERYTHING) if on else self._profile
            self._slots = {}  # last: a thread inside `slot` fills the old dict

    def down(self, duration: int) -> None:
        """Emit that there was no link for `duration` nanoseconds. In every profile."""
        if not self._muted:
            self._bus.execute(CONNECTION_DOWN, {"duration": duration}, self.whose)

    def closed(self) -> None:
        """Emit that the client is closed, and no longer live."""
        self.live = False
        self._bus.execute(CLIENT_CLOSED, {"system_time": time.time_ns()}, self.whose)

    def emit_state(self) -> None:
        """Emit whether there is a link, at the start and on request. Any thread: if the state changes meanwhile, or the
        client is closed, that is emitted once more, so that it comes last."""
        names = () if self.slot(CONNECTION_COMPLETED) is self.silent else ("up",)
        # Bound, although it is rare: its handlers learn a client's tags before there is anything else to count.
        record = self.unlisted(CLIENT_STATE).recorder(names, self.whose)
        emitted = None
        while record is not None and self.live and not self._muted and emitted != (emitted := self.up):
            record(*(emitted for _ in names))
        if emitted is not None and not self.live:
            self.closed()

    def mute(self) -> None:
        """In a forked child: emit nothing more."""
        self._muted = True
        self._slots = {}


def opened(
    bus: Bus, whose: Metadata, uri: str | None, *, profile: Profile | None = None, emits: Metadata | None = None
) -> None:
    """Emit that this client exists. `uri` is None if it is not always the same; `profile` is the one it started with,
    None if it has not started. `emits`: the events that it can emit, each with the values of those keys that it limits;
    None for every event."""
    metadata = {**whose, "started": profile is not None} | ({} if uri is None else {"uri": uri})
    if profile is not None:
        metadata[BY_TYPE] = profile.level_of(CATALOGUE[MESSAGE_RECEIVED]) != "none"
    metadata |= {} if emits is None else {EMITS: emits}
    bus.execute(CLIENT_OPENED, {"system_time": time.time_ns()}, metadata)


_LINKED: Final = {CONNECTION_COMPLETED: 1, CONNECTION_DISCONNECTED: 0}
_EVERYTHING: Final[Mapping[str, Any]] = {
    "level": "detailed",
    **dict.fromkeys(("connection_events", "message_events", "error_events", "heartbeat_events"), True),
}
