"""What a reporter knows of itself, and of series whose client is gone. Data and pure functions, any thread."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from .. import wire
from ..metrics.store import Series


@dataclass(frozen=True, slots=True)
class Stats:
    """A snapshot. `pending` and `delivered` are occurrences of counters; `lost` counts, samples and events by cause."""

    series: int
    pending: float
    delivered: float
    packets: int
    bytes: int
    lost: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    flusher_restarts: int = 0
    last_error: str | None = None


def end_states(series: Iterable[Series], client_id: str) -> None:
    """A closed client's state gauges have been told for the last time, unless it is up again."""
    tag = wire.clean_tag(f"client:{client_id}")
    for one in series:
        if one.state and tag in one.tags and not one.value:
            one.ended = True
