"""What one process counts for Prometheus: totals in a store that emitting threads write to, and the zeros of clients.

Call `attach` and `detach` one at a time, `read` from any thread.
"""

from __future__ import annotations

from collections.abc import Mapping

from .. import telemetry
from ..client.living import emit_sums
from ..metrics.definitions import Definition
from ..metrics.registry import HandlerRegistry
from ..metrics.tally import Reading, TallyStore
from .exposition import Found
from .families import Family, Labels, labels_of, merged
from .zero_series import HANDLED, ZeroSeries


class Totals:
    """What this process counts: a store that emitting threads write to, and the zeros of clients."""

    def __init__(
        self, metrics: list[Definition], shown: dict[str, Family], bounds: Mapping[str, tuple[float, ...]], most: int
    ) -> None:
        self._store = store = TallyStore(bounds, most)
        self._handlers = HandlerRegistry(metrics, store)  # raises for invalid definitions
        self._shown = shown
        self._zeros = ZeroSeries(store, metrics, bounds)
        self._bus: telemetry.Bus | None = None
        self._labels: dict[tuple[str, ...], Labels] = {}  # by the tags of every series, which never expire

    def attach(self, bus: telemetry.Bus) -> None:
        """Attach to the bus and count."""
        self._handlers.attach(bus)
        bus.attach_many((__name__, id(self)), HANDLED, self._zeros.handle)
        self._bus = bus

    def detach(self) -> None:
        """Detach from the bus."""
        self._handlers.detach()
        if self._bus is not None:
            self._bus.detach((__name__, id(self)))

    def read(self) -> Found:
        """Every series, as of now."""
        if self._bus is not None:
            emit_sums(self._bus)
        found: dict[str, dict[Labels, Reading]] = {name: {} for name in self._shown}
        for one in self._store.readings():
            labels = self._labels.get(one.tags)
            if labels is None:
                labels = self._labels[one.tags] = labels_of(one.tags)
            same = found[one.name]
            same[labels] = merged(same[labels], one, self._shown[one.name].type) if labels in same else one
        self._zeros.complete(found)
        return found
