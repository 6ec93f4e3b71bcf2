"""What a soaked process knows without the metrics: what it emitted, and what its links carried. Any thread.

It is attached to the bus beside the reporters and counts by metric name; it counts messages where they are delivered,
and asks the server, whose farewell says what it sent and received on that connection.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

import wsnova_statsd as ws

EVENT: Final = "soak.happened"
OWN: Final = "soak.own"  # counted by name, not by event
METRICS: Final = [ws.counter("soak.events", EVENT, tags={"client": "client_id"}), *ws.statsd_metrics()]
COUNTERS: Final = [one for one in METRICS if one.kind == "counter"]
REST: Final = [one for one in METRICS if one.kind != "counter"]
SUMS: Final = {one.name for one in REST if one.kind == "sum" and one.divisor is None}  # converted ones are rounded


class Truth:
    """Counts of one process. A forked child makes its own, and attaches nothing: it inherits the bus."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards the counts
        self._counts: Counter[str] = Counter()
        self._links: dict[str, Link] = {}

    def add(self, name: str, amount: int = 1) -> None:
        with self._lock:
            self._counts[name] += amount

    def counts(self) -> Counter[str]:
        with self._lock:
            return self._counts.copy()

    def link(self, client_id: str) -> Link:
        """The counts for the next life of this client."""
        self._links[client_id] = link = Link(self)
        return link

    def observed(self, event: str, measurements: Mapping[str, Any], metadata: Mapping[str, Any]) -> None:
        """One event, in the thread that emits it."""
        for one in _BY_EVENT.get(event, ()):
            self.add(one.name, 1 if one.kind == "counter" else measurements[str(one.measurement)])
        if event == ws.events.CONNECTION_COMPLETED:
            self._links[metadata["client_id"]].begin()
        elif event == ws.events.MESSAGE_SENT:
            self._links[metadata["client_id"]].sent += 1
        elif event == ws.events.MESSAGE_RECEIVED and metadata["type"] != "subscribed":  # those are for the client
            self.add("to_hand")


_BY_EVENT: Final = {
    event: [one for one in METRICS if one.event == event and (one.kind == "counter" or one.name in SUMS)]
    for event in {one.event for one in METRICS}
}
assert all(one.keep is None for one in METRICS)


class Link:
    """A client's current connection. Written by the thread that owns the client."""

    def __init__(self, truth: Truth) -> None:
        self._truth = truth
        self._link = ""
        self._handed = 0
        self.begun = 0  # connections
        self.sent = 0  # on this connection

    def begin(self) -> None:
        """A new connection."""
        self.begun += 1
        self.sent = 0

    def handed(self, message: Mapping[str, Any]) -> None:
        """The application got a message; one that is not the next of its connection is a gap."""
        if message["link"] != self._link:
            self._link, self._handed = message["link"], 0
        self._truth.add("handed")
        if message["n"] != self._handed:
            self._truth.add("gaps")
        self._handed += 1

    def farewell(self, message: Mapping[str, Any]) -> None:
        """What the server counted on this connection, beside what was counted here."""
        self._truth.add("farewells")
        self._truth.add("handed_there", self._handed)
        self._truth.add("told_sent", message["sent"])
        self._truth.add("sent_there", self.sent)
        self._truth.add("told_received", message["received"])
