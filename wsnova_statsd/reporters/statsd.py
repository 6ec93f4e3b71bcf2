"""StatsdReporter: counts the definitions' events and ships what was counted to the Datadog Agent.

Emitting threads only write into the store. `wsnova-flush` (or whoever calls flush) folds the store, packs what is new
and hands it packet by packet to `datadog.DogStatsd`, by its public methods only; a series' cursor moves when its packet
was accepted. The first refused packet ends a flush: counts and gauges wait, that packet's samples are lost by cause.
Nothing starts in the constructor; a forked child starts a thread of its own at its first new row, event or flush.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final

from .. import events, process, telemetry, wire
from ..metrics.catalogue import statsd_metrics
from ..metrics.definitions import Definition
from ..metrics.direct import Direct, TagsGiven
from ..metrics.registry import HandlerRegistry
from ..metrics.store import Series, Store
from . import settings
from .figures import Stats, end_states
from .outbox import Message, Outbox
from .packing import Line, Packer
from .quirks import CertainRate, added_bytes

_log = logging.getLogger(__name__)
_SOCKET_TIMEOUT: Final = 0.2  # with 0 a healthy receiver with a short queue refuses most of a burst


class _Agent:
    """The official client, made in this process and used under the flush lock."""

    def __init__(self, address: settings.Address) -> None:
        from datadog.dogstatsd.base import DogStatsd  # heavy; importing the package must not pay for it

        self.last_error: str | None = None
        self._client: Any = DogStatsd(  # its hints ask for numbers; ready text is what it takes without change
            host=address.host,
            port=address.port,
            socket_path=address.path,
            disable_buffering=False,
            flush_interval=0,  # no thread of its own: it would be joined at every fork
            track_instance=False,
            disable_telemetry=True,
            max_buffer_len=10**9,  # packets are bounded by us, in bytes
            socket_timeout=_SOCKET_TIMEOUT,
        )
        self._client.constant_tags = []  # settled in settings, once
        self.suffix = added_bytes(self._client)

    def send(self, lines: Iterable[Line]) -> bool:
        """One packet of metric lines; True if it was accepted."""
        return self._send(lambda: self._write(lines))

    def tell(self, message: Message) -> bool:
        """One event or service check, alone in its packet; True if it was accepted."""
        return self._send(lambda: getattr(self._client, message.method)(**message.arguments))

    def _write(self, lines: Iterable[Line]) -> None:
        client = self._client
        for line in lines:
            rate = 1 if line.weight == 1 else CertainRate(wire.rate_of(line.weight))
            match line.series.kind:
                case "gauge":
                    client.gauge(line.name, line.value, tags=line.tags)
                case "distribution":
                    client.distribution(line.name, line.value, tags=line.tags, sample_rate=rate)
                case "summary":
                    client.histogram(line.name, line.value, tags=line.tags, sample_rate=rate)
                case _:
                    client.increment(line.name, line.value, tags=line.tags)

    def _send(self, write: Callable[[], object]) -> bool:
        try:
            sock = self._client.get_socket()  # without one the client cuts packets by its own count
            write()
            accepted = bool(self._client.flush())
            code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) if accepted else 0
        except OSError as error:  # also what getaddrinfo raises
            self.last_error = f"{type(error).__name__}: {error}"
            return False
        if code:  # a connected UDP socket tells of a closed port only here
            self.last_error = f"refused: {OSError(code, '').errno}"
        elif not accepted:
            self.last_error = "the Agent's socket did not take the packet"
        return accepted and not code

    def close(self) -> None:
        self._client.close_socket()


class StatsdReporter:
    """Ships `metrics` (None: the whole default list) to the Agent every `flush_interval` seconds (1, 2, 5 or 10).

    `host` and `port` or `socket_path` say where (else the DD_* variables, else the Agent's socket or localhost:8125);
    `namespace` and `tags` go with every line; `max_series` is per metric name, `max_samples` per series and flush;
    `distributions=False` leaves every distribution out; `strict` raises for bad names and values (for tests).
    Raises ConfigurationError at once for what is not usable. Every method from any thread.
    """

    def __init__(
        self,
        metrics: Iterable[Definition] | None = None,
        host: str | None = None,
        port: int | None = None,
        socket_path: str | None = None,
        namespace: str | None = None,
        tags: Iterable[str] | Mapping[str, object] = (),
        flush_interval: float = 1.0,
        max_series: int = 2000,
        max_samples: int = 5000,
        distributions: bool = True,
        strict: bool = False,
        bus: telemetry.Bus | None = None,
    ) -> None:
        self._interval = settings.interval(flush_interval)
        settings.at_least_one("max_series", max_series)
        settings.at_least_one("max_samples", max_samples)
        self.address = settings.address(host, port, socket_path)
        self._prefix = settings.namespace(namespace)
        self._tags = settings.constant_tags(tags)
        self._enabled = not settings.disabled()
        self._bus = bus if bus is not None else telemetry.DEFAULT
        chosen = statsd_metrics() if metrics is None else list(metrics)
        self._store = Store(max_series, max_samples)
        self._registry = HandlerRegistry(
            (one for one in chosen if distributions or one.kind != "distribution"), self._store
        )
        self._counters = Direct(self._store, "counter", strict)
        self._gauges = Direct(self._store, "gauge", strict)
        self._samples = Direct(self._store, "distribution", strict)
        self._outbox = Outbox(strict)
        self._store.on_new_row = self._ensure_thread
        self._running = False
        self._reset()
        process.on_fork(self)
        process.at_exit(self)

    def _reset(self) -> None:
        self._state = threading.Lock()  # guards _running and _thread
        self._flushing = threading.Lock()  # one flush at a time: guards _agent, _packer and the figures below
        self._wake = threading.Event()  # something wants to leave at once, or the thread is to end
        self._thread: threading.Thread | None = None
        self._agent: _Agent | None = None
        self._packer: Packer | None = None
        self._closed_clients: deque[str] = deque()  # appended by the bus handler, in any thread
        self._packets = self._bytes = self._restarts = 0
        self._refused = 0.0
        self._last_error: str | None = None

    def after_fork(self) -> None:
        """In a child: nothing inherited is called or waited for; counting and shipping start afresh on first use."""
        self._reset()
        self._outbox.clear()

    # -- life ---------------------------------------------------------------------------------------------------------

    def start(self) -> StatsdReporter:
        """Attach to the bus and start the flush thread. Started already: nothing happens."""
        with self._state:
            if self._running:
                return self
            if self._agent is None:
                self._connect()
            self._registry.attach(self._bus)
            self._bus.attach((__name__, id(self)), events.CLIENT_CLOSED, self._client_closed)
            self._running = True
        self._ensure_thread()
        return self

    @property
    def running(self) -> bool:
        """True between start and stop."""
        return self._running

    def _connect(self) -> None:
        agent = _Agent(self.address)
        self._packer = Packer(self._prefix, self._tags, agent.suffix, self.address.limit)
        self._agent = agent
        for series in self._store.series.copy():
            series.wire = None

    def stop(self, timeout: float = 2.0) -> bool:
        """Detach, end the thread, flush what is left; all within `timeout` seconds. True if nothing is left."""
        deadline = time.monotonic() + timeout
        with self._state:
            was_running, self._running = self._running, False
            if was_running:
                self._registry.detach()
                self._bus.detach((__name__, id(self)))
            thread, self._thread = self._thread, None
        if not was_running:  # it may have flushed all the same
            self._close(deadline)
            return True
        self._wake.set()
        if thread is not None and thread is not threading.current_thread():
            thread.join(max(0.0, deadline - time.monotonic()))
        flushed = self.flush(max(0.0, deadline - time.monotonic()))
        self._close(deadline)
        return flushed

    def _close(self, deadline: float) -> None:
        if self._flushing.acquire(timeout=max(0.0, deadline - time.monotonic())):
            try:
                if self._agent is not None:
                    self._agent.close()
            finally:
                self._flushing.release()

    def __enter__(self) -> StatsdReporter:
        return self.start()

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def at_exit(self, deadline: float) -> None:
        """At interpreter exit, in the exiting thread: bring home what was counted. Starts no thread."""
        if self._running:
            self.flush(max(0.0, deadline - time.monotonic()))

    def _ensure_thread(self) -> None:
        """Start the flush thread if it should run and does not. Never on the hot path."""
        if not self._running or (self._thread is not None and self._thread.is_alive()):
            return
        with self._state:
            if not self._running or (self._thread is not None and self._thread.is_alive()):
                return
            if self._thread is not None:
                self._restarts += 1
            self._wake = wake = threading.Event()  # a thread lives as long as its own event is the current one
            thread = threading.Thread(target=self._run, args=(wake,), name=process.thread_name("flush"), daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the interpreter is ending; the exit hook flushes
                return
            self._thread = thread

    def _run(self, wake: threading.Event) -> None:
        """wsnova-flush: a flush every interval, without drift; what was put into the outbox leaves at once."""
        due = time.monotonic() + self._interval
        while self._running and self._wake is wake:
            woken = wake.wait(max(0.0, due - time.monotonic()))
            wake.clear()
            now = time.monotonic()
            if now >= due:
                due += self._interval * (1 + (now - due) // self._interval)
                self._guarded(self.flush)
            elif woken and self._running:
                self._guarded(self._ship_messages)

    def _guarded(self, work: Callable[[], object]) -> None:
        """The flush thread cannot die of what it does."""
        try:
            work()
        except Exception as error:
            self._last_error = f"{type(error).__name__}: {error}"
            _log.exception("the StatsD flush failed; the next one is due in %.0f s", self._interval)

    # -- shipping -----------------------------------------------------------------------------------------------------

    def flush(self, timeout: float = 2.0) -> bool:
        """Ship everything that is pending, in the calling thread. True if nothing is left within `timeout` seconds."""
        deadline = time.monotonic() + timeout
        if not process.ALIVE[0]:
            process.in_child()
        if not self._flushing.acquire(timeout=max(0.0, timeout)):
            return False
        try:
            closed = [self._closed_clients.popleft() for _ in range(len(self._closed_clients))]
            series = self._store.fold()
            shipped = self._ship_messages_locked() and self._ship_series_locked(series, deadline)
            if shipped:
                for client_id in closed:
                    end_states(series, client_id)
            else:
                self._closed_clients.extendleft(closed)
        finally:
            self._flushing.release()
        if threading.current_thread() is not self._thread:
            self._ensure_thread()
        return shipped

    def _ship_messages(self) -> None:
        if self._flushing.acquire(timeout=self._interval):
            try:
                self._ship_messages_locked()
            finally:
                self._flushing.release()

    def _ship_messages_locked(self) -> bool:
        assert self._flushing.locked()
        if self._agent is None:
            self._connect()
        agent = self._agent
        assert agent is not None
        if not self._enabled:
            return self._outbox.ship(lambda message: True)
        return self._outbox.ship(lambda message: self._account(agent.tell(message), 0))

    def _ship_series_locked(self, series: list[Series], deadline: float) -> bool:
        assert self._flushing.locked()
        agent, packer = self._agent, self._packer
        assert agent is not None
        assert packer is not None
        packets = packer.packets(series)
        complete = True
        for packet in packets:
            if not self._enabled:
                for line in packet:
                    line.accept()
                continue
            size = sum(line.size + 1 for line in packet)
            if time.monotonic() > deadline or not self._account(agent.send(packet), size):
                self._refused += sum(line.refuse() for line in packet)
                complete = False
                break
            for line in packet:
                line.accept()
        packets.close()
        return complete

    def _account(self, accepted: bool, size: int) -> bool:
        if accepted:
            self._packets += 1
            self._bytes += size
        elif self._agent is not None:
            self._last_error = self._agent.last_error
        return accepted

    def _client_closed(self, event: str, measurements: Any, metadata: Mapping[str, Any], config: Any) -> None:
        self._closed_clients.append(str(metadata.get("client_id")))

    # -- the application's own ----------------------------------------------------------------------------------------

    def increment(self, name: str, value: float = 1, tags: TagsGiven = ()) -> None:
        """Add to a counter of your own. Bad input is counted in stats.lost, never raised (but with strict)."""
        self._counters.write(name, value, tags)

    def gauge(self, name: str, value: float, tags: TagsGiven = ()) -> None:
        """Set a gauge of your own."""
        self._gauges.write(name, value, tags)

    def distribution(self, name: str, value: float, tags: TagsGiven = ()) -> None:
        """Add one value to a distribution of your own."""
        self._samples.write(name, value, tags)

    def event(
        self, title: str, text: str, alert_type: str = "info", tags: TagsGiven = (), aggregation_key: str | None = None
    ) -> None:
        """Queue a Datadog event; it leaves at once. What is too long is cut, with a mark. alert_type: see wire."""
        self._outbox.event(title, text, alert_type, self._all_tags(tags), aggregation_key, self._room())
        self._leave_now()

    def service_check(self, name: str, status: int, tags: TagsGiven = (), message: str = "") -> None:
        """Queue a service check: status 0 OK, 1 warning, 2 critical, 3 unknown; it leaves at once."""
        self._outbox.check(self._prefix + wire.text(name), status, self._all_tags(tags), message, self._room())
        self._leave_now()

    def _all_tags(self, tags: TagsGiven) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*wire.clean_tags(tags), *self._tags)))

    def _room(self) -> int:
        suffix = self._agent.suffix if self._agent is not None else wire.MAX_NAME
        return wire.EVENT_BYTES - 1 - suffix

    def _leave_now(self) -> None:
        if not process.ALIVE[0]:
            process.in_child()
        self._ensure_thread()
        self._wake.set()

    @property
    def stats(self) -> Stats:
        """What was counted, delivered and lost so far, and the last fault of the way to the Agent."""
        series = self._store.fold()
        counted = [one for one in series if one.kind == "counter"]
        given_up = self._packer.given_up if self._packer is not None else 0
        lost = {
            "invalid": self._store.invalid,
            "refused": self._refused,
            "unsendable": given_up,
            "queue": self._outbox.lost,
        }
        return Stats(
            series=len(series),
            pending=sum(one.total - one.delivered - one.lost for one in counted),
            delivered=sum(one.delivered for one in counted),
            packets=self._packets,
            bytes=self._bytes,
            lost=MappingProxyType({cause: amount for cause, amount in lost.items() if amount}),
            flusher_restarts=self._restarts,
            last_error=self._last_error,
        )
