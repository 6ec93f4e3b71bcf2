"""StatsdReporter: counts the definitions' events and ships what was counted to the Datadog Agent.

Emitting threads only write into the store. `wsnova-flush`, or a short thread for each call of flush, folds the store,
packs what is new and hands it packet by packet to `datadog.DogStatsd`, by its public methods only; a series' cursor
moves when its packet was accepted. The first refused packet ends a flush: counts and gauges wait, that packet's samples
are lost by cause. What takes locks or counts deliveries never runs in the main thread, where a signal's handler may
come between any two lines (process.unsignalled).
Nothing starts in the constructor; a forked child starts a thread of its own at its first new row, event or flush.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Final

from .. import checks, process, telemetry, wire
from ..client.client import announce, emit_sums
from ..metrics.catalogue import statsd_metrics
from ..metrics.definitions import Definition
from ..metrics.direct import Direct, TagsGiven
from ..metrics.registry import HandlerRegistry
from ..metrics.store import Store
from . import settings
from .agent import Agent
from .client_states import HEARD
from .figures import NOTHING_COUNTED, Stats
from .flusher import Flusher
from .outbox import Outbox
from .resolver import Resolver
from .shipping import Destination, Shipper

_SOCKET_TIMEOUT: Final = 0.2  # with 0 a healthy receiver with a short queue refuses most of a burst
_PATIENCE: Final = 10.0  # seconds: for a flush of the thread, which no caller waits for, and for a start
_GRACE: Final = 1.0  # seconds more than a caller gave, for work that keeps that time itself


def official_client(address: settings.Address) -> Any:
    """A DogStatsd that sends there, without a thread or an opinion of its own; its hints do not know of ready text."""
    from datadog.dogstatsd.base import DogStatsd  # heavy; importing the package must not pay for it

    return DogStatsd(
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
        checks.whole("max_series", max_series)
        checks.whole("max_samples", max_samples)
        self.address = settings.address(host, port, socket_path)
        self._prefix = settings.namespace(namespace)
        self._tags = settings.constant_tags(tags)
        settings.external_data()
        self._enabled = not settings.disabled()
        self._bus = bus if bus is not None else telemetry.DEFAULT
        chosen = statsd_metrics() if metrics is None else list(metrics)
        self._store = Store(max_series, max_samples)
        self._definitions = [one for one in chosen if distributions or one.kind != "distribution"]
        self._registry = HandlerRegistry(self._definitions, self._store)
        self._counters = Direct(self._store, "counter", strict)
        self._gauges = Direct(self._store, "gauge", strict)
        self._samples = Direct(self._store, "distribution", strict)
        self._outbox = Outbox(strict)
        self._resolver = None if self.address.host is None else Resolver(self.address.host, self.address.port or 0)
        self._store.on_new_row = self._ensure_thread
        self._running = False
        self._reset()
        process.on_fork(self)
        process.at_exit(self, process.REPORTER)

    def _reset(self) -> None:
        self._state = threading.Lock()  # guards _running
        to = Destination(self.address, self._make_agent, self._prefix, self._tags, self._enabled)
        self._shipper = Shipper(self._store, self._outbox, to, definitions=self._definitions)
        self._flusher = Flusher(self._interval, self._thread_flush, self._ship_messages)
        self._handler_errors = self._bus.handler_errors  # those before are not of this reporter and process

    def after_fork(self) -> None:
        """In a child: nothing inherited is called or waited for; counting and shipping start afresh on first use."""
        self._outbox.clear()
        if self._resolver is not None:
            self._resolver.reset()
        self._reset()
        self._flusher.wanted = self._running

    def _make_agent(self) -> Agent:
        """The way to the Agent, for this process; the test kit makes one without a socket."""
        return Agent(self.address, official_client(self.address), self._resolver)

    # -- start and stop -----------------------------------------------------------------------------------------------

    def start(self) -> StatsdReporter:
        """Attach to the bus and start the flush thread. Started already: nothing happens."""
        process.in_child()
        process.unsignalled(self._start, _PATIENCE, None)
        return self

    def _start(self) -> None:
        with self._state:
            if self._running:
                return
            self._shipper.begin()
            self._registry.attach(self._bus)
            self._bus.attach_many((__name__, id(self)), HEARD, self._client_heard)
            self._running = self._flusher.wanted = True
        announce(self._bus)
        self._ensure_thread()

    @property
    def running(self) -> bool:
        """True between start and stop."""
        return self._running

    def stop(self, timeout: float = 2.0) -> bool:
        """Detach, end the thread, flush what is left; all within `timeout` seconds. True if nothing is left."""
        process.in_child()
        deadline = time.monotonic() + timeout
        return process.unsignalled(partial(self._stop, deadline), max(0.0, timeout) + _GRACE, False)

    def _stop(self, deadline: float) -> bool:
        with self._state:
            was_running, self._running = self._running, False
            if was_running:
                self._registry.detach()
                self._bus.detach((__name__, id(self)))
        flushed = True
        if was_running:
            self._shipper.hurry(deadline)
            self._flusher.stop(deadline)
            flushed = self._last_flush(deadline)
        self._shipper.end(deadline)  # it may have flushed without ever being started
        return flushed

    def __enter__(self) -> StatsdReporter:
        return self.start()

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def at_exit(self, deadline: float) -> None:
        """At interpreter exit, in the exiting thread: flush what has been counted. Starts no thread."""
        if self._running:
            self._last_flush(deadline)

    def _last_flush(self, deadline: float) -> bool:
        return self._shipper.flush(max(0.0, deadline - time.monotonic()), self._stats, last=True)

    def _ensure_thread(self) -> None:
        """The flush thread runs, if it should. Called for new rows, messages and flushes, never on the hot path."""
        self._flusher.ensure()

    # -- shipping -----------------------------------------------------------------------------------------------------

    def flush(self, timeout: float = 2.0) -> bool:
        """Ship everything that is pending, in the calling thread. True if nothing is left within `timeout` seconds."""
        process.in_child()
        self._ensure_thread()
        return process.unsignalled(partial(self._flush, timeout), max(0.0, timeout) + _GRACE, False)

    def _flush(self, timeout: float, tell: Callable[[], Stats] | None = None) -> bool:
        """Sums of the clients leave with the flush, and not with the next."""
        if self._running:
            emit_sums(self._bus, overdue=tell is not None)
        return self._shipper.flush(timeout, tell)

    def _thread_flush(self) -> None:
        self._flush(_PATIENCE, self._stats)

    def _ship_messages(self) -> None:
        self._shipper.ship_messages(self._interval)

    def _client_heard(self, event: str, measurements: Any, metadata: Mapping[str, Any], config: Any) -> None:
        self._shipper.states.hear(event, measurements, metadata, config)  # another one in a child

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
        process.in_child()
        self._outbox.event(title, text, alert_type, self._all_tags(tags), aggregation_key, self._room())
        self._leave_now()

    def service_check(self, name: str, status: int, tags: TagsGiven = (), message: str = "") -> None:
        """Queue a service check: status 0 OK, 1 warning, 2 critical, 3 unknown; it leaves at once."""
        process.in_child()
        self._outbox.check(self._prefix + wire.text(name), status, self._all_tags(tags), message, self._room())
        self._leave_now()

    def _all_tags(self, tags: TagsGiven) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*wire.clean_tags(tags), *self._tags)))

    def _room(self) -> int:
        return wire.EVENT_BYTES - 1 - self._shipper.suffix

    def _leave_now(self) -> None:
        self._ensure_thread()
        self._flusher.wake()

    def _stats(self) -> Stats:
        flusher = self._flusher
        handler_errors = self._bus.handler_errors - self._handler_errors
        return self._shipper.stats(flusher.restarts, flusher.errors, handler_errors, flusher.last_error)

    @property
    def stats(self) -> Stats:
        """What was counted, delivered and lost so far, and the last fault of the way to the Agent."""
        process.in_child()
        return process.unsignalled(self._stats, _PATIENCE, NOTHING_COUNTED)
