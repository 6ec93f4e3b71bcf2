"""Metrics, captured as they would go on the wire, for the length of a `with` block.

    with capture_metrics() as metrics:
        ws.telemetry.execute("websockex_nova.message.received", {"size": 3}, {"client_id": "md-1", "type": "trade"})
        metrics.assert_count("websocket.message.received", 1, tags={"client": "md-1"})

Between the bus and the strict parser everything is what runs in production: registry, store, packing and the official
client; only the socket is not. Nothing leaves before `flush()`, `assert_count()` or the end of the block, and it leaves
in the calling thread. No thread, no socket, and no DD_* variable has a say.
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

_PATIENCE: Final = 60.0  # seconds; a flush into memory takes none, whatever else the machine does
_POLL: Final = 0.005


class CapturedMetrics(MessageLog):
    """What was flushed so far, and the `reporter` that counts: hand it to code that wants one, a Monitor or your own.

    Any thread may count; flush and ask from one.
    """

    def __init__(self, reporter: StatsdReporter, datagrams: list[bytes]) -> None:
        self.reporter: StatsdReporter = reporter
        self._datagrams = datagrams  # appended by whoever flushes
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
        """Ship what was counted since the last flush; what that brought. After the block there is nothing to ship.

        Raises DatagramError if the library wrote what the Agent would not read.
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
        """Flush; then every metric line as `assert_count` adds it up."""
        self.flush()
        return super().counts()

    def assert_count(self, name: str, expected: float, tags: Tags = None) -> None:
        """Flush; then assert a counter's total, or the number of samples of another kind. See `assert_count`."""
        assert_count(self, name, expected, tags)

    def wait_for(self, predicate: Callable[[CapturedMetrics], object], timeout: float = 5.0) -> bool:
        """Flush again and again until `predicate(self)` is true, for counts of other threads; whether it was."""
        deadline = time.monotonic() + timeout
        while True:
            self.flush()
            if predicate(self):
                return True
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL)

    def clear(self) -> None:
        """Forget all that was flushed so far; counting goes on."""
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
    """Count these definitions (None: the whole default list) on `bus`, the default one unless given, in the block.

    The other arguments are those of StatsdReporter, which raises ConfigurationError for them as always. It is worker 0.
    """
    datagrams: list[bytes] = []
    with _no_variables():
        said = {"namespace": namespace, "tags": tags, "strict": strict, "bus": bus}
        reporter = _Socketless(datagrams.append, metrics, flush_interval=10, worker="0", **said)
        reporter.start()
    captured = CapturedMetrics(reporter, datagrams)
    try:
        yield captured
    finally:
        captured.end()


class _Socketless(StatsdReporter):
    """A reporter whose official client writes into a list, and which never starts its thread."""

    def __init__(self, take: Callable[[bytes], object], metrics: Iterable[Definition] | None, **options: Any) -> None:
        self._take = take
        super().__init__(metrics, host="captured", port=8125, **options)

    def _make_agent(self) -> Agent:
        client = official_client(self.address)
        return self._agent_of(client, connect=lambda _deadline: _Recorder(self._take))

    def _ensure_thread(self) -> None:
        """None: the test flushes."""


class _Recorder:
    """Stands in for a connected UDP socket."""

    family = socket.AF_INET

    def __init__(self, take: Callable[[bytes], object]) -> None:
        self._take = take

    def getsockopt(self, level: int, option: int) -> int:
        return socket.SOCK_DGRAM if option == socket.SO_TYPE else 0

    def send(self, data: bytes) -> int:
        self._take(data)
        return len(data)

    def close(self) -> None:
        """Nothing is open."""


@contextmanager
def _no_variables() -> Iterator[None]:
    """Without the machine's Datadog variables: a test counts the same everywhere, even where they turn it off."""
    kept = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith(("DD_", "DATADOG_"))}
    os.environ["DD_ORIGIN_DETECTION_ENABLED"] = "false"  # no container id behind every line
    try:
        yield
    finally:
        del os.environ["DD_ORIGIN_DETECTION_ENABLED"]
        os.environ.update(kept)
