"""The states of clients, which are sent repeatedly: gauges from their first value on, counts as 0 from the client's
start on, both until it is closed.

`handle` is attached to the bus and runs in any emitting thread; the other methods run under the flush lock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any, Final

from .. import wire
from ..events import CLIENT_CLOSED, CLIENT_OPENED
from ..metrics.catalogue import FROM_ZERO
from ..metrics.definitions import Definition
from ..metrics.series import OVERFLOW_TAGS
from ..metrics.store import Series, Store
from ..metrics.zeros import tags_from_start

HANDLED: Final = (CLIENT_OPENED, CLIENT_CLOSED)
_UP: Final = "websocket.connection.up"


class ClientStates:
    """Which clients began and ended since the last flush."""

    def __init__(self, store: Store, definitions: Iterable[Definition]) -> None:
        self._store = store
        self._from_zero = [one for one in definitions if one.name in FROM_ZERO]
        self._news: deque[tuple[str, Mapping[str, Any]]] = deque()  # appended by any thread
        self._closed: set[str] = set()  # tags of closed clients whose states end with this flush

    def handle(self, event: str, measurements: Any, metadata: Mapping[str, Any], config: Any) -> None:
        """The handler of the events in HANDLED."""
        self._news.append((event, dict(metadata)))

    def begin_flush(self) -> None:
        """Process the events since the last flush, in their order."""
        for _ in range(len(self._news)):
            event, metadata = self._news.popleft()
            tag = wire.clean_tag(f"client:{wire.text(metadata.get('client_id'))}")
            if event == CLIENT_CLOSED:
                self._closed.add(tag)
            elif metadata.get("started"):
                self._closed.discard(tag)
                self._begin(metadata)

    def _begin(self, metadata: Mapping[str, Any]) -> None:
        """A client starts: send its counts as 0 from now on."""
        for one in self._from_zero:
            for tags in tags_from_start(one, metadata):
                series = self._store.find(one.name, one.kind, tags, one.divisor)
                if series.tags is not OVERFLOW_TAGS:
                    series.state, series.ended = True, False

    def flushed(self, all_series: Iterable[Series], *, complete: bool) -> None:
        """After a complete flush: the states of closed clients have been sent for the last time, unless a client is up
        again. After an incomplete one: forget closed clients that have no state."""
        if not self._closed:
            return
        states = [series for series in all_series if series.state]
        if not complete:
            self._closed &= {tag for series in states for tag in series.tags}
            return
        ended = self._closed - {tag for one in states if one.name == _UP and one.value for tag in one.tags}
        for series in states:
            series.ended |= not ended.isdisjoint(series.tags)
        self._closed.clear()
