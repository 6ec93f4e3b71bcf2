"""StatsdReporter: counts the definitions' events and sends what was counted to the Datadog Agent.

Emitting threads only write into the store. `wsnova-flush`, or a short thread for each call of flush, folds the store,
packs what is new and passes it packet by packet to `datadog.DogStatsd`, by its public methods only; a series' cursor
moves when its packet was accepted. The first refused packet ends a flush: counts and gauges stay pending, that packet's
samples are counted as lost. Code that takes locks or counts deliveries never runs in the main thread, where a signal
handler may run between any two lines (process.unsignalled).
Nothing starts in the constructor. A forked child starts its own thread at its first new row, event or flush.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from functools import partial
from typing import Any, Final

from .. import checks, process, telemetry, wire
from ..client.living import announce, emit_sums
from ..errors import ConfigurationError
from ..metrics.application import ApplicationMetrics, Writers
from ..metrics.catalogue import statsd_metrics
from ..metrics.definitions import Definition
from ..metrics.direct import TAGS_ALLOWED, TagsGiven
from ..metrics.registry import HandlerRegistry
from ..metrics.store import Store
from ..wire import AlertType, Priority
from . import settings
from .agent import Agent
from .client_states import HANDLED
from .figures import NOTHING_COUNTED, Stats
from .flusher import Flusher
from .outbox import Outbox
from .packing import Packer
from .plain import PlainAgent, PlainPacker, TagFormat
from .resolver import Resolver
from .settings import Cardinality, Dialect
from .shipping import Destination, Shipper
from .twins import TWINS, called_from
from .worker import WORKERS, Worker, given_name, tagged

_SOCKET_TIMEOUT: Final = 0.2  # seconds; with 0 even a healthy receiver with a short queue refuses most of a burst
_PATIENCE: Final = 10.0  # seconds for a start, and for a flush of the flush thread, for which no caller waits
_log = logging.getLogger(__name__)
_IDLE: Final = "it is not running; call start(), use `with`, or call flush() at the end"
_GRACE: Final = 1.0  # seconds to wait beyond a caller's timeout, for work that itself keeps to the timeout


def official_client(address: settings.Address, *, container_id: bool = True, cardinality: str | None = None) -> Any:
    """A DogStatsd for this address, without its own thread, telemetry and limits. Values are passed to it as text,
    which its type hints do not allow: hence Any."""
    from datadog.dogstatsd.base import DogStatsd  # slow to import, so not imported with this package

    return DogStatsd(
        host=address.host,
        port=address.port,
        socket_path=address.path,
        disable_buffering=False,
        flush_interval=0,  # no thread: it would be joined at every fork
        track_instance=False,
        disable_telemetry=True,
        max_buffer_len=10**9,  # our packer bounds packets, in bytes
        socket_timeout=_SOCKET_TIMEOUT,
        origin_detection_enabled=container_id,
        cardinality=cardinality,
    )


class StatsdReporter(ApplicationMetrics):
    """Counts events and sends the metrics to the Agent. A context manager; call every method from any thread.

    Raises ConfigurationError at once for an invalid argument.

    Args:
        metrics: Definitions of the metrics. Default: all of ws.statsd_metrics().
        host: The Agent's name or address. Default: DD_DOGSTATSD_URL, DD_AGENT_HOST, the Agent's socket if it exists,
            localhost.
        port: The Agent's UDP port, 1 to 65535. Default: DD_DOGSTATSD_PORT, 8125.
        socket_path: The Agent's Unix socket, instead of host and port. Default: as for host.
        namespace: A prefix for every name, up to 100 characters. Default: none.
        tags: Constant tags, a list or a mapping; those of DD_TAGS and the other variables are added. Default: none.
        flush_interval: Seconds between two flushes: 1, 2, 5 or 10. Default: 1.
        max_series: Combinations of tags for each metric name, from 1. Default: 2000.
        max_samples: Samples for each series and flush, from 1. Default: 5000.
        distributions: False leaves out every distribution. Default: True.
        strict: True raises for invalid names and values, for tests. Default: False, they are counted as lost.
        dialect: "datadog", or "statsd" for servers other than the Agent. Default: "datadog".
        tag_format: With "statsd", how tags are written into names: "graphite" or "influx". Default: None, no tags.
        cardinality: How many tags of the container the Agent adds: "none", "low", "orchestrator" or "high".
            Default: DD_CARDINALITY, the Agent's setting.
        packet_size: Bytes of the largest datagram, 512 to 8192. Default: 1432 over UDP, 8192 over a Unix socket.
        container_id: Whether each line names the container, if there is one. Default: True.
        bus: The ws.Bus whose events are counted. Default: that of ws.telemetry.
        worker: The name of this process in state gauges and service checks. Default: WSNOVA_STATSD_WORKER, a free
            number.
    """

    given: dict[str, Any]  # the arguments by name: two reporters are the same if these are equal

    @checks.by_name
    def __init__(
        self,
        metrics: Iterable[Definition] | None = None,
        *,
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
        dialect: Dialect = "datadog",
        tag_format: TagFormat | None = None,
        cardinality: Cardinality | None = None,
        packet_size: int | None = None,
        container_id: bool = True,
        bus: telemetry.Bus | None = None,
        worker: str | None = None,
    ) -> None:
        given = {name: value for name, value in locals().items() if name not in ("self", "metrics", "tags")}
        self._interval = settings.interval(flush_interval)
        checks.whole("max_series", max_series)
        checks.whole("max_samples", max_samples)
        self.address: settings.Address = settings.address(host, port, socket_path)
        self._prefix = settings.namespace(namespace)
        self._tags = settings.constant_tags(tags)
        self._plain = settings.is_plain(dialect, tag_format)
        if not self._plain or tag_format is not None:
            settings.check_room(self._prefix, self._tags)
        self._worker = Worker.of(given_name(worker), self._tags)
        settings.external_data()
        self._tag_format = tag_format
        self._packet_size = settings.packet_size(packet_size)
        self._origin: dict[str, Any] = {
            "container_id": checks.flag("container_id", container_id),
            "cardinality": settings.cardinality(cardinality),
        }
        self._enabled = not settings.disabled()
        self._bus = bus if bus is not None else telemetry.DEFAULT
        chosen = statsd_metrics() if metrics is None else settings.metrics(metrics)
        settings.check_names(self._prefix, chosen)
        self.given = given | {"metrics": chosen, "tags": self._tags, "bus": self._bus, "host": self.address}
        self._store = Store(max_series, max_samples)
        self._definitions = [one for one in chosen if distributions or one.kind != "distribution"]
        self._registry = HandlerRegistry(self._definitions, self._store)
        self.writers: Writers = Writers(self._store, strict, self._prefix)
        self._strict = strict
        self._outbox = Outbox(strict, closed=self._plain)
        self._distributions = distributions
        self._resolver = None if self.address.host is None else Resolver(self.address.host, self.address.port or 0)
        self._store.on_new_row = self._new_row
        self._running = self._idle_logged = self._tags_logged = self._unsent_logged = False
        self._idle = True  # until it is started, and again after it has stopped
        self._started_at = ""
        self._reset()
        process.on_fork(self)
        process.at_exit(self, process.REPORTER)

    def _reset(self) -> None:
        self._state = threading.Lock()  # guards _running
        packer = partial(PlainPacker, self._tag_format) if self._plain else Packer
        to = Destination(
            self.address,
            self._make_agent,
            self._prefix,
            self._tags,
            self._enabled,
            self.state_tags,
            self._packet_size,
            packer,
        )
        self._shipper = Shipper(self._store, self._outbox, to, definitions=self._definitions)
        self._flusher = Flusher(self._interval, self._thread_flush, self._ship_messages)
        self._handler_errors = self._bus.handler_errors  # earlier errors are not counted for this reporter and process

    def after_fork(self) -> None:
        """In a child: nothing inherited is called or waited for; counting and sending start again on first use."""
        self._outbox.clear()
        if self._resolver is not None:
            self._resolver.reset()
        self._reset()
        self._flusher.wanted = self._running

    def _make_agent(self) -> Agent:
        """The sender to the Agent, for this process; the test kit makes one without a socket."""
        return self._agent_of(official_client(self.address, **self._origin), self._resolver)

    def _agent_of(self, client: Any, *args: Any, **options: Any) -> Agent:
        return (PlainAgent if self._plain else Agent)(self.address, client, *args, **options)

    # -- start and stop -----------------------------------------------------------------------------------------------

    def add_metric(self, definition: Definition) -> None:
        """Send one more metric, at once if started. Does nothing if the event already has a metric of this name."""
        if (self._distributions or definition.kind != "distribution") and (
            definition.name not in self._registry.names(definition.event)
        ):
            settings.check_names(self._prefix, [definition])
            self._registry.add(definition)

    def start(self) -> StatsdReporter:
        """Attach to the bus and start the flush thread. Does nothing if already started."""
        process.refuse_late_patch()
        process.in_child()
        self._started_at = self._started_at if self._running else called_from()
        process.unsignalled(self._start, _PATIENCE, None)
        return self

    def _start(self) -> None:
        with self._state:
            if self._running:
                return
            WORKERS.join(self._worker)
            self._shipper.begin()
            self._registry.attach(self._bus)
            self._bus.attach_many((__name__, id(self)), HANDLED, self._handle_client)
            self._running = self._flusher.wanted = True
            self._idle = self._unsent_logged = False
        TWINS.begin(self)
        announce(self._bus)
        self._ensure_thread()

    def __repr__(self) -> str:
        where = f", started at {self._started_at}" if self._running and self._started_at else ""
        return f"<wsnova_statsd.StatsdReporter to {self.address}{where}>"

    def same_place(self, other: object) -> bool:
        """Whether both send to the same series: they have the same bus, Agent, namespace and tags."""
        if not isinstance(other, StatsdReporter):
            return False
        mine, theirs = ((one._bus, one.address, one._prefix, one._tags, one._enabled) for one in (self, other))
        return self._enabled and mine == theirs

    def doubles(self, other: object) -> bool:
        """Whether both count the same metric of the same event and send it to the same place."""
        if not isinstance(other, StatsdReporter) or not self.same_place(other):
            return False
        mine, theirs = ({(one.name, one.event) for one in reporter.given["metrics"]} for reporter in (self, other))
        return not mine.isdisjoint(theirs)

    @property
    def flush_interval(self) -> float:
        """Seconds between two flushes."""
        return self._interval

    @property
    def takes_events(self) -> bool:
        """False with plain StatsD, which has neither events nor service checks."""
        return not self._plain

    @property
    def running(self) -> bool:
        """True between start and stop."""
        return self._running

    def stop(self, timeout: float = 2.0) -> bool:
        """Detach, end the thread and flush, all within `timeout` seconds. True if nothing is pending any more."""
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
        self._shipper.end(deadline)  # even without a start there may have been a flush
        self._idle = True
        self._store.look_up_anew()  # so that a log record warns if metrics are counted from now on
        return flushed

    def __enter__(self) -> StatsdReporter:
        return self.start()

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def at_exit(self, deadline: float) -> None:
        """At interpreter exit, in the exiting thread: flush what was counted, and log what could not be sent. Starts no
        thread. What other threads count even after this flush is not logged: the Agent took all that there was."""
        flushed = self._running and (self._last_flush(deadline) or self._stats().last_error is None)
        if self._enabled and not flushed:
            self._log_unsent()

    def _log_unsent(self) -> None:
        """Once for each start: what nothing will send any more, of sums and gauges the number of series."""
        stats, series = self._stats(), self._store.series
        sums = sum(one.kind == "sum" and one.total != one.delivered + one.lost for one in series)
        gauges = sum(one.kind == "gauge" and one.fresh for one in series)
        unsent = {"counts": stats.pending, "sums": sums, "samples": stats.samples.pending, "gauges": gauges}
        unsent["events and checks"] = len(self._outbox)
        text = ", ".join(f"{number} {what}" for what, number in unsent.items() if number)
        if text and not self._unsent_logged:
            self._unsent_logged = True
            why = stats.last_error or _IDLE
            _log.warning("the StatsdReporter for %s ends with %s unsent: %s", self.address, text, why)

    def _new_row(self) -> None:
        """Called by the emitting thread for a new row; never on the hot path."""
        self._log_idle()
        self._ensure_thread()

    def _log_idle(self) -> None:
        if self._idle and self._enabled and not self._idle_logged:
            self._idle_logged = True
            _log.warning("the StatsdReporter for %s is used, but nothing is sent: %s", self.address, _IDLE)

    def _last_flush(self, deadline: float) -> bool:
        return self._shipper.flush(max(0.0, deadline - time.monotonic()), self._stats, last=True)

    def _ensure_thread(self) -> None:
        """Start the flush thread if it should run but does not. Called for new rows, messages and flushes, never on the
        hot path."""
        self._flusher.ensure()

    # -- shipping -----------------------------------------------------------------------------------------------------

    def flush(self, timeout: float = 2.0) -> bool:
        """Send everything that is pending and wait for it, at most `timeout` seconds. True if nothing is left then."""
        process.in_child()
        self._ensure_thread()
        return process.unsignalled(partial(self._flush, timeout), max(0.0, timeout) + _GRACE, False)

    def _flush(self, timeout: float, figures: Callable[[], Stats] | None = None) -> bool:
        """Have the clients emit their sums first, so that this flush sends them."""
        if self._running:
            emit_sums(self._bus, overdue=figures is not None)
        return self._shipper.flush(timeout, figures)

    def _thread_flush(self) -> None:
        self._flush(_PATIENCE, self._stats)

    def _ship_messages(self) -> None:
        self._shipper.ship_messages(self._interval)

    def _handle_client(self, event: str, measurements: Any, metadata: Mapping[str, Any], config: Any) -> None:
        self._shipper.states.handle(event, measurements, metadata, config)  # not attached itself: a child has a new one

    # -- events and checks; for the application's own metrics see ApplicationMetrics ---------------------------------

    def event(
        self,
        title: str,
        text: str,
        alert_type: AlertType = "info",
        tags: TagsGiven = (),
        aggregation_key: str | None = None,
        *,
        priority: Priority | None = None,
        date_happened: float | datetime | None = None,
        hostname: str | None = None,
        source_type: str | None = None,
        on_sent: Callable[[], object] | None = None,
    ) -> None:
        """Queue a Datadog event; it is sent at once. A text that is too long is cut, with a mark.

        `alert_type` is "error", "warning", "info" or "success", `priority` is "normal" or "low", `date_happened` is a
        datetime or seconds since the epoch. `hostname` and `source_type` replace those of the Agent. `on_sent` is
        called when the Agent's socket has accepted the event, in the flushing thread: it must not wait. What it raises
        is logged.
        """
        details: dict[str, Any] = {"priority": priority, "date_happened": date_happened}
        details |= {"hostname": hostname, "source_type": source_type}
        process.in_child()
        self._outbox.event(
            title, text, alert_type, self._all_tags(tags), aggregation_key, self._room(), on_sent, **details
        )
        self._send_now()

    def service_check(self, name: str, status: int, tags: TagsGiven = (), message: str = "") -> None:
        """Queue a service check: status 0 OK, 1 warning, 2 critical, 3 unknown. It is sent at once."""
        process.in_child()
        all_tags = self._all_tags(tags, state=True)
        self._outbox.check(self._prefix + wire.text(name), status, all_tags, message, self._room())
        self._send_now()

    def state_tags(self, tags: tuple[str, ...] = ()) -> tuple[str, ...]:
        """These tags for a state of this process: with its `worker:` tag, unless a constant tag is one."""
        return tagged(tags, self._worker.name, self._tags)

    def _all_tags(self, tags: TagsGiven, *, state: bool = False) -> tuple[str, ...]:
        texts = wire.tag_texts(tags)
        if texts is None:
            given = f"an event or check was given the tags {checks.shown(tags)}"
            if self._strict:
                raise ConfigurationError(f"{given}; {TAGS_ALLOWED}")
            if not self._tags_logged:
                self._tags_logged = True
                _log.warning("%s and is sent without them; %s", given, TAGS_ALLOWED)
        own = wire.clean_tags(texts, host=True)
        return tuple(dict.fromkeys((*(self.state_tags(own) if state else own), *self._tags)))

    def _room(self) -> int:
        return wire.EVENT_BYTES - 1 - self._shipper.suffix

    def _send_now(self) -> None:
        self._log_idle()
        self._ensure_thread()
        self._flusher.wake()

    def _stats(self) -> Stats:
        flusher = self._flusher
        handler_errors = self._bus.handler_errors - self._handler_errors
        return self._shipper.stats(flusher.restarts, flusher.errors, handler_errors, flusher.last_error)

    @property
    def stats(self) -> Stats:
        """What was counted, delivered and lost so far, and the last error in sending to the Agent."""
        process.in_child()
        return process.unsignalled(self._stats, _PATIENCE, NOTHING_COUNTED)
