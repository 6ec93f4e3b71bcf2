"""Metrics, captured as they would be sent, during a `with` block.

    with capture_metrics() as metrics:
        ws.telemetry.execute("websockex_nova.message.received", {"size": 3}, {"client_id": "md-1", "type": "trade"})
        metrics.assert_count("websocket.message.received", 1, tags={"client": "md-1"})

Between the bus and the strict parser runs the same code as in production: registry, store, packing and the official
client; only the socket is replaced. Nothing is flushed before `flush()`, `assert_count()` or the end of the block, and
then in the calling thread. No thread, no socket; DD_* variables are ignored.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from ..metrics.definitions import Definition
from ..reporters.agent import Agent
from ..reporters.statsd import StatsdReporter, official_client
from ..telemetry import Bus
from .dogstatsd import Message, parse_datagram
from .questions import Counts, MessageLog, Tags, assert_count

_PATIENCE: Final = 60.0  # seconds; a flush into memory is fast, even on a busy machine
_POLL: Final = 0.005


class CapturedMetrics(MessageLog):
    """What was flushed so far. Pass its `reporter`, which counts, to code that needs one: a Monitor or your own.

    Count from any thread; flush and read from one thread.
    """

    def __init__(self, reporter: StatsdReporter, datagrams: list[bytes]) -> None:
        self.reporter: StatsdReporter = reporter
        self._datagrams = datagrams  # appended by the flushing thread
        self._messages: list[Message] = []
        self._parsed = 0
        self._over = False

    @property
    def messages(self) -> list[Message]:
        """Metrics, events and service checks in the order they were flushed."""
        return list(self._messages)

    @property
    def datagrams(self) -> list[bytes]:
        """Every datagram that was flushed, as it would have been sent."""
        return list(self._datagrams)

    def flush(self) -> list[Message]:
        """Flush what was counted since the last flush, and return it. After the block nothing is left to flush.

        Raises DatagramError if the library wrote something the Agent would not read.
        """
        before = len(self._messages)
        if not self._over and not self.reporter.flush(_PATIENCE):
            raise AssertionError(f"the flush did not complete: {self.reporter.stats}")
        while self._parsed < len(self._datagrams):
            data = self._datagrams[self._parsed]
            self._parsed += 1
            self._messages += parse_datagram(data)
        return self._messages[before:]

    def counts(self) -> Counts:
        """Flush; then return every metric line in the form that `assert_count` adds up."""
        self.flush()
        return super().counts()

    def assert_count(self, name: str, expected: float, tags: Tags = None) -> None:
        """Flush; then assert a counter's total, or the number of samples of another kind. See `assert_count`."""
        assert_count(self, name, expected, tags)

    def wait_for(self, predicate: Callable[[CapturedMetrics], object], timeout: float = 5.0) -> bool:
        """Flush repeatedly until `predicate(self)` is true, for counts of other threads. Returns whether it was."""
        deadline = time.monotonic() + timeout
        while True:
            self.flush()
            if predicate(self):
                return True
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL)

    def clear(self) -> None:
        """Drop all that was flushed so far; counting continues."""
        self._datagrams.clear()
        self._messages.clear()
        self._parsed = 0

    def end(self) -> None:
        """Detach from the bus and flush the rest."""
        self.reporter.stop(_PATIENCE)
        self._over = True
        self.flush()


@contextmanager
def capture_metrics(
    metrics: Iterable[Definition] | None = None,
    *,
    bus: Bus | None = None,
    namespace: str | None = None,
    tags: Iterable[str] | Mapping[str, object] = (),
    strict: bool = False,
) -> Iterator[CapturedMetrics]:
    """Count these definitions (None: the whole default list) on `bus`, by default that of ws.telemetry, in the block.

    The other arguments are those of StatsdReporter, which raises ConfigurationError for invalid ones. Its worker is 0.
    """
    datagrams: list[bytes] = []
    with _no_variables():
        options = {"namespace": namespace, "tags": tags, "strict": strict, "bus": bus}
        reporter = _Socketless(datagrams.append, metrics, flush_interval=10, worker="0", **options)
        reporter.start()
    captured = CapturedMetrics(reporter, datagrams)
    try:
        yield captured
    finally:
        captured.end()


class _Socketless(StatsdReporter):
    """A reporter that never starts its thread, with an official client that writes into a list."""

    def __init__(self, take: Callable[[bytes], object], metrics: Iterable[Definition] | None, **options: Any) -> None:
        self._take = take
        super().__init__(metrics, host="captured", port=8125, **options)

    def _make_agent(self) -> Agent:
        client = official_client(self.address)
        return self._agent_of(client, connect=lambda _deadline: _Recorder(self._take))

    def _ensure_thread(self) -> None:
        """Start none: the test flushes."""


class _Recorder:
    """A stand-in for a connected UDP socket."""

    family = socket.AF_INET

    def __init__(self, take: Callable[[bytes], object]) -> None:
        self._take = take

    def getsockopt(self, level: int, option: int) -> int:
        return socket.SOCK_DGRAM if option == socket.SO_TYPE else 0

    def send(self, data: bytes) -> int:
        self._take(data)
        return len(data)

    def close(self) -> None:
        """Do nothing: no socket is open."""


@contextmanager
def _no_variables() -> Iterator[None]:
    """Remove the machine's Datadog variables: a test counts the same everywhere, even if they would disable it."""
    kept = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith(("DD_", "DATADOG_"))}
    os.environ["DD_ORIGIN_DETECTION_ENABLED"] = "false"  # no container id on every line
    try:
        yield
    finally:
        del os.environ["DD_ORIGIN_DETECTION_ENABLED"]
        os.environ.update(kept)
