"""One run of the demo: feed, client, monitor and receiver, combined as an application would.

Threads: `Demo.run` in the caller's; the client's own thread calls `_on_message`; the receiver's adds up what arrives.
Everything uses a separate bus, and nothing of it is left when `run` returns.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any, Final

from .. import events
from ..client.client import Client
from ..monitor import Monitor
from ..profiles import Profile
from ..reporters.statsd import StatsdReporter
from ..telemetry import Bus
from ..watch.session import Given, Session
from ..watch.snapshot import Row, SeenEvent, Snapshot
from .demo_feed import Feed
from .demo_lines import Moment
from .demo_summary import Arrived, Counted, Staged, Summary, slow_alerts, summarize

_FRAME: Final = 0.2  # seconds between two frames
_GRACE: Final = 15.0  # further seconds for both incidents, on a busy machine
_PATIENCE: Final = 5.0  # seconds for what takes almost no time on loopback
_SLOW: Final = 0.15  # seconds; the slow alert fires above 0.1

_RECEIVED: Final = "websocket.message.received"
_BATCH: Final = "websocket.message.batch.count"
_BY_BATCH: Final = f"{_BATCH} direction:received"


class BusCounts:
    """Counts the events on the bus, for a real Agent, which does not report what it received."""

    def __init__(self, bus: Bus) -> None:
        self.messages: int = 0
        self.reconnects: int = 0
        self.slow: int = 0
        self.types: set[str] = set()
        counted = (events.MESSAGE_BATCH_PROCESSED, events.CONNECTION_RECONNECT_SUCCESS, events.MESSAGE_PROCESS_SLOW)
        bus.attach_many("demo", counted, self._count)

    def _count(self, event: str, measurements: Mapping[str, Any], metadata: Mapping[str, Any], config: Any) -> None:
        """Runs in the client's thread."""
        if event == events.CONNECTION_RECONNECT_SUCCESS:
            self.reconnects += 1
        elif event == events.MESSAGE_PROCESS_SLOW:
            self.slow += 1
            self.types.add(f"type:{metadata['type']}")
        elif metadata["direction"] == "received":
            self.messages += measurements["count"]


class Demo:
    """The parts of one run. `agent` is the address that StatsdReporter sends to; None: the receiver of `watched`."""

    def __init__(self, seconds: float, profile: Profile, agent: Mapping[str, Any] | None) -> None:
        self.watched: Session = Session(Given(port=0))
        self.duration: float = 0.0
        self._seconds = seconds
        self._profile = profile
        self._agent = agent
        self._received = 0  # written by the client's thread, as is the next
        self._reconnected = 0
        self._bus = Bus()
        self._counts = BusCounts(self._bus)
        self._feed = Feed(seconds, lambda: self._received)

    def run(self, show: Callable[[Moment], object], interrupted: Callable[[], bool]) -> Summary:
        """Run until the time is over or `interrupted()` returns True; then flush everything and compare it."""
        with ExitStack() as stack:
            if self._agent is None:
                stack.enter_context(self.watched)
            self._reporter = StatsdReporter(bus=self._bus, **self._where())
            monitor = stack.enter_context(Monitor(self._profile, reporter=self._reporter, bus=self._bus))
            stack.enter_context(self._feed)
            self._client = Client(
                self._feed.url,
                client_id="demo",
                profile=self._profile,
                on_message=self._on_message,
                on_reconnect=self._on_reconnect,
                bus=self._bus,
            )
            with self._client:
                self._client.send({"type": "hello"})
                self._watch(show, interrupted)
                self._feed.finish()
                _wait(lambda: self._reconnected >= self._feed.drops)
            self.duration = self._feed.elapsed
            flushed = monitor.stop()
            stats = self._reporter.stats
            if self._agent is None:
                _wait(lambda: self.watched.model.datagrams >= stats.packets)
            show(self.moment(self.duration))
            return summarize(self._staged(), self._counted(), stats, flushed, self._arrived())

    def _where(self) -> Mapping[str, Any]:
        if self._agent is not None:
            return self._agent
        host, port = self.watched.address
        return {"host": host, "port": port}

    def _on_message(self, message: Any) -> None:
        """Runs in the client's thread: handles a message as an application would, and one far too slowly."""
        if message.get("slow"):
            time.sleep(_SLOW)
        self._received += 1

    def _on_reconnect(self) -> None:
        self._reconnected += 1
        self._client.send({"type": "hello"})

    def _watch(self, show: Callable[[Moment], object], interrupted: Callable[[], bool]) -> None:
        feed = self._feed
        while not interrupted() and feed.elapsed < self._seconds + _GRACE:
            if feed.elapsed >= self._seconds and feed.staged and self._reconnected >= feed.drops:
                return
            show(self.moment())
            time.sleep(_FRAME)

    def snapshot(self) -> Snapshot:
        """What a view shows."""
        return self.watched.snapshot()

    def clear(self) -> None:
        """Does nothing: at the end the figures have to cover the whole run."""

    # -- what there is to see -----------------------------------------------------------------------------------------

    def moment(self, elapsed: float | None = None) -> Moment:
        """The current one."""
        return Moment(
            "What Datadog would get from a client that loses its link once and is slow once"
            if self._agent is None
            else f"Sending to {self._reporter.address}: a client that loses its link once and is slow once",
            self._feed.elapsed if elapsed is None else elapsed,
            self._status(),
            [event_line(event) for event in self.events()],
        )

    def _status(self) -> str:
        text = f"sent {self._feed.sent:,}  received {self._received:,}  "
        if self._agent is None:
            text += f"counted {self._counted().messages:,}"
        else:
            stats = self._reporter.stats
            error = f"  {stats.last_error}" if stats.pending and stats.last_error else ""
            text += f"delivered {stats.delivered:,.0f} counts, pending {stats.pending:,.0f}{error}"
        return f"{text}  link {self._reconnected + 1} {self._client.state.value}"

    def rows(self) -> list[Row]:
        """Every series so far, by name and tags."""
        return sorted(self.watched.model.rows(), key=lambda row: (row.name, row.tags))

    def events(self) -> tuple[SeenEvent, ...]:
        """The events that arrived."""
        return self.watched.model.seen()[0]

    # -- what has to add up -------------------------------------------------------------------------------------------

    def _staged(self) -> Staged:
        feed = self._feed
        return Staged(feed.sent, self._received, feed.drops, feed.slow_sent)

    def _counted(self) -> Counted:
        if self._agent is not None:
            counts = self._counts
            return Counted(
                "the sums on the bus", counts.messages, counts.reconnects, counts.slow, frozenset(counts.types)
            )
        rows, slow = self.rows(), "websocket.message.process.slow"
        single = self._profile.emits(events.CATALOGUE[events.MESSAGE_RECEIVED])
        return Counted(
            _RECEIVED if single else _BY_BATCH,
            _total(rows, _RECEIVED) if single else _total(rows, _BATCH, "direction:received"),
            _total(rows, "websocket.connection.reconnect.success"),
            _total(rows, slow),
            frozenset(tag for row in rows if row.name == slow for tag in row.tags if tag.startswith("type:")),
        )

    def _arrived(self) -> Arrived | None:
        if self._agent is not None:
            return None
        model = self.watched.model
        malformed = sum(one.count for one in model.seen()[2])
        return Arrived(model.datagrams, malformed, *slow_alerts(self.events()))


def _total(rows: list[Row], name: str, tag: str | None = None) -> int:
    """The total of all series of this name, with this tag if one is given."""
    return round(sum(row.total for row in rows if row.name == name and (tag is None or tag in row.tags)))


def event_line(event: SeenEvent) -> str:
    """An event as one line."""
    return f"{event.alert_type}: {event.title}  {' '.join(event.tags)}"


def _wait(ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not ready() and time.monotonic() < deadline:
        time.sleep(0.005)
