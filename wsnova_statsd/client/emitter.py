"""What a client says: its events on the bus, as its profile lets them out, with client_id and the metadata filter.

Which event leaves is decided here once per profile; a hot path keeps an event's slot and asks `if slot.handlers:`.
Called in whatever thread emits; holds no lock.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any, Final

from ..events import CATALOGUE, FREE_TEXTS
from ..profiles import Profile
from ..redaction import filter_metadata, log_fault
from ..telemetry import Bus, EventSlot, Metadata, Recorder

_log = logging.getLogger(__name__)
_LOG_EVERY: Final = 60.0


class _Filtered(EventSlot):
    """A slot whose metadata passes the profile's own filter first. A filter that raises costs the metadata only."""

    __slots__ = ("_filter", "_quiet_until", "_slot")

    def __init__(self, slot: EventSlot, profile: Profile) -> None:
        self._slot = slot
        self._filter: Any = profile.metadata_filter
        self._quiet_until = 0.0  # two threads may both log; that harms nobody

    @property
    def handlers(self) -> Any:  # type: ignore[override]  # the real slot's, always
        return self._slot.handlers

    def recorder(self, names: tuple[str, ...], metadata: Metadata) -> Recorder | None:
        if not self.handlers:
            return None
        return lambda *values: self.emit(dict(zip(names, values, strict=True)), metadata)

    def emit(self, measurements: Mapping[str, Any], metadata: Metadata) -> None:
        try:
            metadata = dict(self._filter(dict(metadata)))  # a copy: the emitter says the same mapping again
        except Exception as error:
            self._raised(error)
            metadata = {}
        self._slot.emit(measurements, metadata)

    def _raised(self, error: Exception) -> None:
        now = time.monotonic()
        if now >= self._quiet_until:
            self._quiet_until = now + _LOG_EVERY
            log_fault(
                _log,
                error,
                "the metadata_filter raised at %s; the event goes out without metadata, further faults of it are not "
                "logged for %d s",
                self._slot.event,
                _LOG_EVERY,
            )


class Emitter:
    """The events of one client."""

    def __init__(self, bus: Bus, profile: Profile, client_id: str) -> None:
        self._bus = bus
        self._profile = profile
        self._client_id = client_id
        self.silent = EventSlot(bus, "")  # never attached to
        self._slots: dict[str, EventSlot] = {}  # of the events that came up; most clients know few

    def _open(self, event: str) -> EventSlot:
        if self._profile.level_of(CATALOGUE[event]) == "none":
            return self.silent
        slot = self._bus.slot(event)
        return _Filtered(slot, self._profile) if callable(self._profile.metadata_filter) else slot

    @property
    def bus(self) -> Bus:
        """The bus it speaks on."""
        return self._bus

    def slot(self, event: str) -> EventSlot:
        """The event's slot, or one that nobody hears if the profile keeps the event in."""
        slot = self._slots.get(event)
        if slot is None:
            slot = self._slots[event] = self._open(event)
        return slot

    def __call__(self, event: str, measurements: Mapping[str, Any], **metadata: Any) -> None:
        """Emit an event that is not per message."""
        slot = self.slot(event)
        if not slot.handlers or not self._profile.emits(CATALOGUE[event], metadata):
            return
        metadata = {"client_id": self._client_id, **metadata}
        if self._profile.metadata_filter is True:
            metadata = filter_metadata(
                metadata, keep=[key for key in CATALOGUE[event].metadata if key not in FREE_TEXTS]
            )
        slot.emit(measurements, metadata)

    def mute(self) -> None:
        """In a forked child: nothing is told any more."""
        self._slots = dict.fromkeys(CATALOGUE, self.silent)
