"""SystemSampler: figures of the process, its runtime and its clients' connections, as events `system.sampled`.

One event measures this process (`worker`), one each client with a link or heartbeats (`client_id`). The only
importer of psutil (extra `system`). Sampling runs on wsnova-clock; heartbeats are counted in the emitting threads,
under a lock held for a few assignments. In a forked child the first event of a client starts the sampler again.
"""

from __future__ import annotations

import contextlib
import gc
import resource
import threading
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from .. import checks, events, process, telemetry
from ..client.client import links
from ..clock import CLOCK, Job
from ..errors import ConfigurationError, HandlerNotFound, MissingExtra
from ..reporters.worker import WORKERS
from ..telemetry import Bus
from .kpi_history import Invalid, measured
from .sinks import Timers
from .tcp_info import tcp_info

_NO_METADATA: Final[Mapping[str, Any]] = {}
_SHORTEST: Final = 1.0  # seconds; the shortest flush interval, and cpu_percent needs some time to measure
_ANSWERED, _MISSED = events.HEARTBEAT_RECEIVED, events.HEARTBEAT_MISSED
# Heartbeats are counted; the others show in a forked child that a client runs in it. Every profile emits the last one.
_HANDLED: Final = (_ANSWERED, _MISSED, events.CONNECTION_STARTED, events.MESSAGE_BATCH_PROCESSED)


class _Collections:
    """The garbage collections of this process: a forked child inherits the counts of its parent."""

    def __init__(self) -> None:
        self._inherited = (0, 0)
        process.on_fork(self)

    def after_fork(self) -> None:
        """In a child: begin at zero, as the kernel's counts do."""
        self._inherited = self._counted()

    @staticmethod
    def _counted() -> tuple[int, int]:
        generations = [one["collections"] for one in gc.get_stats()]
        return sum(generations), generations[-1]

    def all(self) -> int:
        """Collections of all generations."""
        return self._counted()[0] - self._inherited[0]

    def full(self) -> int:
        """Collections of the oldest generation, which inspect all objects."""
        return self._counted()[1] - self._inherited[1]


_COLLECTIONS: Final = _Collections()


def _switches() -> tuple[int, int]:
    """Voluntary and involuntary context switches of all threads; on Linux psutil only counts the main thread's."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_nvcsw, usage.ru_nivcsw


# How each figure of a process is read from its psutil.Process. Figures that only grow are measured since the process
# began: so a sample that is not delivered loses nothing, and two samplers count nothing twice.
_FIGURES: Final[Mapping[str, Callable[[Any], float]]] = {
    "cpu_percent": lambda one: one.cpu_percent(None),  # since the last call; 100 is one core
    "rss_bytes": lambda one: one.memory_info().rss,
    "threads": lambda one: one.num_threads(),
    "open_fds": lambda one: one.num_fds(),
    "gc_collections": lambda _: _COLLECTIONS.all(),
    "gc_collections_full": lambda _: _COLLECTIONS.full(),
    "ctx_switches": lambda _: sum(_switches()),
    "ctx_switches_involuntary": lambda _: _switches()[1],
}


class _Beats:
    """The heartbeats of one client since the last sample."""

    __slots__ = ("answered", "missed", "own", "rtt")

    def __init__(self, own: Mapping[str, Any]) -> None:
        self.own = own  # the client's own tags, as metadata: at the next sample the client may be closed
        self.answered = self.missed = self.rtt = 0

    def figures(self) -> dict[str, float]:
        share = {"heartbeat_missed_share": self.missed / (self.answered + self.missed)}
        return {"heartbeat_rtt": self.rtt, **share} if self.answered else share


class SystemSampler:
    """Emits figures of the process and its clients' connections.

    Raises at once: MissingExtra without psutil, ConfigurationError for an invalid argument. A figure that cannot be
    read is omitted and counted in `failed`; a heartbeat without a usable rtt is counted in `skipped`.

    Args:
        every: Seconds between two samples, from 1. Default: 10.
        bus: The ws.Bus on which samples are emitted. Default: that of ws.telemetry.
        worker: The name of the process in tags. Default: None, the name that its reporter has or would have.
        clock: What calls the sampler after a time, for tests. Default: the clock of the process.
    """

    @checks.by_name
    def __init__(
        self, every: float = 10.0, bus: Bus | None = None, worker: str | None = None, clock: Timers = CLOCK
    ) -> None:
        checks.number("every", every, least=_SHORTEST, most=checks.LONGEST, unit="seconds between two samples")
        if worker is not None and (not isinstance(worker, str) or not worker):
            raise ConfigurationError(f"worker is {worker!r}; pass a name, or None for that of its reporter")
        self._psutil = _psutil()
        self.every: float = every
        self.failed: int = 0
        self.skipped: int = 0
        self._bus = bus if bus is not None else telemetry.DEFAULT
        self._given_worker = worker
        self._timers = clock
        self._running = False
        self.after_fork()
        process.on_fork(self)

    def after_fork(self) -> None:
        """In a child: the clock's job and the heartbeats are the parent's."""
        # Guards everything below, _running and skipped; re-entrant, because a signal handler may emit.
        self._lock = threading.RLock()
        self._forget()

    def _forget(self) -> None:
        self._job: Job | None = None
        self._process: Any = None  # a psutil.Process, a new one for each run
        self._beats: dict[str, _Beats] = {}

    def start(self) -> SystemSampler:
        """Attach to the bus and sample, the first time after `every` seconds. Does nothing if already started."""
        process.refuse_late_patch()
        with self._own_lock():
            if not self._running:
                self._running = True
                self._begin_locked()
                self._bus.attach_many((__name__, id(self)), _HANDLED, self._handle)
                if not self._running:  # a signal handler has stopped it meanwhile
                    self._end_locked()
        return self

    def stop(self) -> None:
        """Stop sampling. An event that is already being emitted is still dispatched."""
        with self._own_lock():
            if self._running:
                self._running = False
                self._end_locked()

    def _end_locked(self) -> None:
        with contextlib.suppress(HandlerNotFound):
            self._bus.detach((__name__, id(self)))
        if self._job is not None:
            self._job.cancel()
        self._forget()

    def __enter__(self) -> SystemSampler:
        return self.start()

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def _own_lock(self) -> threading.RLock:
        if not process.ALIVE[0]:  # a child forked without hooks: a thread of the parent may have held the lock
            process.in_child()
        return self._lock

    def _begin_locked(self) -> None:
        self._process = begun = self._psutil.Process()
        with contextlib.suppress(Exception):  # if it fails again in a sample, that is counted
            begun.cpu_percent(None)
        # The tick has no effect if a signal handler has begun another run.
        self._job = self._timers.call_later(self.every, partial(self._tick, begun))

    def _handle(self, event: str, measurements: Mapping[str, Any], metadata: Mapping[str, Any], config: Any) -> None:
        """The emitting thread: count a heartbeat, or begin in a forked child."""
        with self._own_lock():
            if not self._running:
                return
            if self._job is None:
                self._begin_locked()
            if event in (_ANSWERED, _MISSED):
                try:
                    self._count_locked(event, measurements, metadata)
                except Invalid:
                    self.skipped += 1

    def _count_locked(self, event: str, measurements: Mapping[str, Any], metadata: Mapping[str, Any]) -> None:
        client_id, rtt = metadata.get("client_id"), measured(measurements, "rtt") if event == _ANSWERED else 0
        if not isinstance(client_id, str):
            raise Invalid("client_id")
        beats = self._beats.setdefault(
            client_id, _Beats({key: metadata[key] for key in (events.TAGS,) if key in metadata})
        )
        if event == _ANSWERED:
            beats.rtt = rtt
            beats.answered += 1
        else:
            beats.missed += 1

    def _tick(self, begun: object) -> None:
        """wsnova-clock: emit one sample."""
        with self._own_lock():
            if begun is not self._process:  # stopped, or started again
                return
            self._job = self._timers.call_later(self.every, partial(self._tick, begun))
            counted, self._beats = self._beats, {}
        worker = self._given_worker or WORKERS.current()
        self._emit(self._figures(begun), None, worker)
        clients = {client_id: beats.figures() for client_id, beats in counted.items()}
        known = {client_id: beats.own for client_id, beats in counted.items()}
        for metadata, link in links(self._bus):
            known[metadata["client_id"]] = metadata
            if link is not None:
                clients.setdefault(metadata["client_id"], {}).update(tcp_info(link.option))
        for client_id, figures in clients.items():
            if figures:
                self._emit(figures, client_id, worker, known.get(client_id, _NO_METADATA))

    def _figures(self, of: object) -> dict[str, float]:
        figures = {}
        for name, read in _FIGURES.items():
            try:
                figures[name] = read(of)
            except Exception:
                self.failed += 1
        return figures

    def _emit(
        self, figures: Mapping[str, float], client_id: str | None, worker: str, own: Mapping[str, Any] = _NO_METADATA
    ) -> None:
        self._bus.execute(events.SYSTEM_SAMPLED, figures, {**own, "client_id": client_id, "worker": worker})


def _psutil() -> Any:
    try:
        import psutil
    except ImportError as error:
        raise MissingExtra("psutil", "system") from error
    return psutil
