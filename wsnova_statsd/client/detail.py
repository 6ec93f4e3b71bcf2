"""Detail on demand: for a while some clients emit every event, then again only those of their profile.

Nothing else changes. A switch replaces each emitter's slots and renews the bus's version, which every hot path compares
anyway: a message costs nothing more. Threads: all functions from any thread; the end comes on wsnova-clock. A forked
child begins without detail, as its clients do.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable
from types import TracebackType
from typing import Final

from .. import checks, process
from ..clock import CLOCK, Job
from ..errors import ConfigurationError
from ..events import DETAIL_ENDED, DETAIL_STARTED
from ..telemetry import Bus
from .emitter import Emitter

LONGEST: Final = 86_400.0  # seconds; for longer, use another profile


class Detail:
    """One period of detail. `cancel`, or leaving it as a context manager, ends it early."""

    def __init__(self, owner: Details, seconds: float, client_id: str | None, bus: Bus) -> None:
        self.seconds: float = seconds
        self.client_id: str | None = client_id  # None: every client
        self.bus: Bus = bus
        self.job: Job | None = None  # ends it
        self._owner = owner
        self._began_ns = time.monotonic_ns()

    def covers(self, emitter: Emitter) -> bool:
        """True if it covers this client."""
        return emitter.bus is self.bus and self.client_id in (None, emitter.client_id)

    @property
    def running(self) -> bool:
        """True until it is over."""
        return self._owner.running(self)

    def cancel(self) -> None:
        """End it now, unless it is over already."""
        self._owner.end(self)

    def __enter__(self) -> Detail:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cancel()

    def emit(self, event: str) -> None:
        """telemetry.detail.started with the requested seconds; telemetry.detail.ended also with how long it lasted
        (ns)."""
        measurements: dict[str, float] = {"system_time": time.time_ns(), "seconds": self.seconds}
        if event == DETAIL_ENDED:
            measurements["duration"] = time.monotonic_ns() - self._began_ns
        self.bus.execute(event, measurements, {} if self.client_id is None else {"client_id": self.client_id})


class Details:
    """The emitters of this process, and the periods of detail that are not over. They may overlap: a client is in
    detail as long as any of them covers it."""

    def __init__(self, call_later: Callable[[float, Callable[[], object]], Job] = CLOCK.call_later) -> None:
        self._call_later = call_later
        self.after_fork()
        process.on_fork(self)

    def after_fork(self) -> None:
        """In a forked child: the clients and their detail are the parent's."""
        self._lock = threading.RLock()  # guards the fields below; re-entrant for a signal's handler
        self._emitters: weakref.WeakSet[Emitter] = weakref.WeakSet()
        self._running: list[Detail] = []

    def _own_lock(self) -> threading.RLock:
        if not process.ALIVE[0]:  # a child forked without hooks: a thread of the parent may hold the lock
            process.in_child()
        return self._lock

    def join(self, emitter: Emitter) -> None:
        """A client begins, perhaps in detail."""
        with self._own_lock():
            self._emitters.add(emitter)
            self._switch_locked(emitter)

    def begin(self, seconds: float, client_id: str | None, bus: Bus) -> Detail:
        """See `detailed`."""
        checks.number("seconds", seconds, above=0, most=LONGEST, hint="the limit is one day")
        with self._own_lock():
            live = sorted({one.client_id for one in list(self._emitters) if one.live and one.bus is bus})
        if client_id is not None and client_id not in live:
            known = ", ".join(live) or "none; start the client first"
            raise ConfigurationError(f"client_id is {client_id!r}; started clients that are not closed: {known}")
        detail = Detail(self, seconds, client_id, bus)
        detail.emit(DETAIL_STARTED)
        with self._lock:
            self._running.append(detail)
            detail.job = self._call_later(seconds, detail.cancel)
            self._switch_all_locked(detail)
        return detail

    def end(self, detail: Detail) -> None:
        """End it, once."""
        with self._own_lock():
            if detail not in self._running:
                return
            self._running.remove(detail)
            if detail.job is not None:
                detail.job.cancel()
            self._switch_all_locked(detail)
        detail.emit(DETAIL_ENDED)

    def running(self, detail: Detail) -> bool:
        """True until it is over."""
        with self._own_lock():
            return detail in self._running

    def _switch_all_locked(self, detail: Detail) -> None:
        for emitter in list(self._emitters):
            if detail.covers(emitter):
                self._switch_locked(emitter)
        detail.bus.renew()

    def _switch_locked(self, emitter: Emitter) -> None:
        emitter.in_detail(any(one.covers(emitter) for one in self._running))


DETAILS: Final = Details()


def detailed(seconds: float, client_id: str | None, bus: Bus) -> Detail:
    """Emit every event of all clients on this bus, including later ones, or of the client with this id.

    The begin is emitted before the first such event, the end after `seconds` or `cancel`. Raises ConfigurationError for
    invalid seconds, and for an id that no live client has.
    """
    return DETAILS.begin(seconds, client_id, bus)
