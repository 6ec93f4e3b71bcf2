"""Adds series at 0 for what has not yet occurred to a client, because Prometheus computes an increase only from an
earlier value; and removes the states of closed clients.

The zeros are in no store and take no room from real series; only the set of clients is kept. `handle` is attached to
the bus and runs in any emitting thread, `complete` in any reading thread. No lock.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from .. import wire
from ..events import CLIENT_CLOSED, CLIENT_OPENED
from ..metrics.definitions import Definition
from ..metrics.store import Store
from ..metrics.tally import Reading
from ..metrics.zeros import tags_from_start
from .families import Labels, labels_of

HANDLED: Final = (CLIENT_OPENED, CLIENT_CLOSED)
MOST_CLIENTS: Final = 500
# Seconds for which a histogram without a value is shown: its first increase needs an earlier value. Not longer, because
# the guide's query for the average connection time divides its sum by its count.
_EMPTY_FOR: Final = 60.0


class ZeroSeries:
    """The series of `metrics` that clients have from their start. `clock` returns seconds since the epoch."""

    def __init__(
        self,
        store: Store,
        metrics: Iterable[Definition],
        bounds: Mapping[str, tuple[float, ...]],
        clock: Callable[[], float] = time.time,
    ) -> None:
        given = list(metrics)
        self._metrics = [one for one in given if one.kind != "gauge"]
        # The states of clients, each with the label that names its client.
        self._states = {
            one.name: labels_of([f"{tag}:x"])[0][0]
            for one in given
            for tag, key in one.tags
            if one.state and key == "client_id"
        }
        self._bounds = bounds
        self._clock = clock
        self.forget()
        store.register(self)

    def forget(self) -> None:
        """In a child: the clients are the parent's."""
        self._clients: dict[str, tuple[dict[str, Any], float]] = {}  # the metadata of each, and since when
        self._closed: dict[str, str] = {}  # in the order they were closed, each with its label's value

    def handle(self, event: str, measurements: Any, metadata: Mapping[str, Any], config: Any) -> None:
        """The handler of the events in HANDLED."""
        client = metadata.get("client_id")
        if not isinstance(client, str):
            return
        if event == CLIENT_CLOSED:
            if client in self._clients:
                self._closed[client] = wire.clean_tag(f"client:{wire.text(client)}").partition(":")[2]
            return
        self._closed.pop(client, None)
        for gone in list(self._closed)[: len(self._clients) + 1 - MOST_CLIENTS]:
            self._closed.pop(gone, None)
            self._clients.pop(gone, None)
        if client in self._clients or len(self._clients) < MOST_CLIENTS:
            _, since = self._clients.get(client, ({}, self._clock()))
            self._clients[client] = dict(metadata), since

    def complete(self, readings: Mapping[str, dict[Labels, Reading]]) -> None:
        """Add the zeros to `readings`, by name and labels, and remove the states of closed clients. A real series
        counts since the start of its client at the latest."""
        gone = frozenset(self._closed.copy().values())
        for name, label in self._states.items() if gone else ():
            for labels in [one for one in readings[name] if dict(one).get(label) in gone]:
                del readings[name][labels]
        now = self._clock()
        for client, (opened, since) in self._clients.copy().items():
            closed, fresh = client in self._closed, now - since < _EMPTY_FOR
            for one in self._metrics:
                bounds = self._bounds.get(one.name, ())
                for tags in tags_from_start(one, opened):
                    known, labels = readings[one.name], labels_of(tags)
                    real = known.get(labels)
                    if real is not None:
                        known[labels] = real._replace(created=min(real.created, since))
                    elif not closed and (fresh or one.kind in ("counter", "sum")):
                        known[labels] = Reading(one.name, tags, 0, 0, bounds, (0,) * len(bounds), since)
