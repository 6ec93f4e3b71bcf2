"""SystemSampler: figures of the process, its runtime and its clients' connections, as events `system.sampled`.

One event measures this process (`worker`), one each client with a link or heartbeats (`client_id`). The only
importer of psutil (extra `system`). Sampling runs on wsnova-clock; heartbeats are counted in the emitting threads,
under a lock held for a few assignments. In a forked child the first event of a client starts it anew.
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
from .kpi_history import Absurd, measured
from .sinks import Timers
from .tcp_info import tcp_info

_NOBODY: Final[Mapping[str, Any]] = {}
_SHORTEST: Final = 1.0  # seconds; the shortest flush interval, and cpu_percent needs some time to be a share of
_ANSWERED, _MISSED = events.HEARTBEAT_RECEIVED, events.HEARTBEAT_MISSED
# Heartbeats are figures; the others show a forked child that a client runs in it. Every profile emits the last one.
_HEARD: Final = (_ANSWERED, _MISSED, events.CONNECTION_STARTED, events.MESSAGE_BATCH_PROCESSED)


class _Collections:
    """How often this process collected garbage: a forked child inherits the count of its parent."""

    def __init__(self) -> None:
        self._inherited = (0, 0)
        process.on_fork(self)

    def after_fork(self) -> None:
        """In a child: begin at zero, as the kernel's own counts do."""
        self._inherited = self._counted()

    @staticmethod
    def _counted() -> tuple[int, int]:
        generations = [one["collections"] for one in gc.get_stats()]
        return sum(generations), generations[-1]

    def all(self) -> int:
        """Of every generation."""
        return self._counted()[0] - self._inherited[0]

    def full(self) -> int:
        """Of the oldest generation, which look at everything."""
        return self._counted()[1] - self._inherited[1]


_COLLECTIONS: Final = _Collections()


def _switches() -> tuple[int, int]:
    """Voluntary and involuntary context switches of all threads; on Linux psutil has those of the main thread only."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_nvcsw, usage.ru_nivcsw


# How each figure of a process is read from its psutil.Process. What only grows is measured since the process began:
# so nothing is lost with a sample that is not delivered, and nothing counted twice by two samplers.
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
        self.own = own  # the client's own tags, as metadata: by the next sample the client may be closed
        self.answered = self.missed = self.rtt = 0

    def figures(self) -> dict[str, float]:
        share = {"heartbeat_missed_share": self.missed / (self.answered + self.missed)}
        return {"heartbeat_rtt": self.rtt, **share} if self.answered else share


class SystemSampler:
    """Emits figures of the process and its clients' connections.

    Raises at once: MissingExtra without psutil, ConfigurationError for an invalid argument. A figure that cannot be
    read is left out of its event and counted in `failed`; a heartbeat without a usable rtt in `skipped`.

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
            raise ConfigurationError(f"worker is {worker!r}; give a name, or None for that of its reporter")
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
        """In a child: neither the clock's job nor the heartbeats are the child's."""
        # Guards everything below, _running and skipped; re-entrant for what a signal's handler emits
        self._lock = threading.RLock()
        self._forget()

    def _forget(self) -> None:
        self._job: Job | None = None
        self._process: Any = None  # a psutil.Process, another one in each run
        self._beats: dict[str, _Beats] = {}

    def start(self) -> SystemSampler:
        """Attach to the bus and sample, first after `every` seconds. Started already: nothing happens."""
        process.refuse_late_patch()
        with self._own_lock():
            if not self._running:
                self._running = True
                self._begin_locked()
                self._bus.attach_many((__name__, id(self)), _HEARD, self._hear)
                if not self._running:  # a signal's handler stopped it meanwhile
                    self._end_locked()
        return self

    def stop(self) -> None:
        """Sample no more; an event that is on its way still arrives."""
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
        if not process.ALIVE[0]:  # a child forked without hooks: the lock may be held by a thread that is not here
            process.in_child()
        return self._lock

    def _begin_locked(self) -> None:
        self._process = begun = self._psutil.Process()
        with contextlib.suppress(Exception):  # a sample counts it if it fails there, too
            begun.cpu_percent(None)
        self._job = self._timers.call_later(self.every, partial(self._tick, begun))  # void if a signal's handler began

    def _hear(self, event: str, measurements: Mapping[str, Any], metadata: Mapping[str, Any], config: Any) -> None:
        """The emitting thread."""
        with self._own_lock():
            if not self._running:
                return
            if self._job is None:
                self._begin_locked()
            if event in (_ANSWERED, _MISSED):
                try:
                    self._count_locked(event, measurements, metadata)
                except Absurd:
                    self.skipped += 1

    def _count_locked(self, event: str, measurements: Mapping[str, Any], metadata: Mapping[str, Any]) -> None:
        client_id, rtt = metadata.get("client_id"), measured(measurements, "rtt") if event == _ANSWERED else 0
        if not isinstance(client_id, str):
            raise Absurd("client_id")
        beats = self._beats.setdefault(
            client_id, _Beats({key: metadata[key] for key in (events.TAGS,) if key in metadata})
        )
        if event == _ANSWERED:
            beats.rtt = rtt
            beats.answered += 1
        else:
            beats.missed += 1

    def _tick(self, begun: object) -> None:
        """wsnova-clock."""
        with self._own_lock():
            if begun is not self._process:  # stopped, or begun anew
                return
            self._job = self._timers.call_later(self.every, partial(self._tick, begun))
            heard, self._beats = self._beats, {}
        worker = self._given_worker or WORKERS.current()
        self._tell(self._figures(begun), None, worker)
        clients = {client_id: beats.figures() for client_id, beats in heard.items()}
        known = {client_id: beats.own for client_id, beats in heard.items()}
        for whose, link in links(self._bus):
            known[whose["client_id"]] = whose
            if link is not None:
                clients.setdefault(whose["client_id"], {}).update(tcp_info(link.option))
        for client_id, figures in clients.items():
            if figures:
                self._tell(figures, client_id, worker, known.get(client_id, _NOBODY))

    def _figures(self, of: object) -> dict[str, float]:
        figures = {}
        for name, read in _FIGURES.items():
            try:
                figures[name] = read(of)
            except Exception:
                self.failed += 1
        return figures

    def _tell(
        self, figures: Mapping[str, float], client_id: str | None, worker: str, whose: Mapping[str, Any] = _NOBODY
    ) -> None:
        self._bus.execute(events.SYSTEM_SAMPLED, figures, {**whose, "client_id": client_id, "worker": worker})


def _psutil() -> Any:
    try:
        import psutil
    except ImportError as error:
        raise MissingExtra("psutil", "system") from error
    return psutil
