"""What a flush does: fold the store, pack what is new, send it to the Agent packet by packet, count what was delivered.

One flush at a time, in the calling thread, under `lock`; it starts no thread except for a name lookup. The first
refused packet ends a flush: counts, gauges and messages stay pending, that packet's samples are lost.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Final

from .. import wire
from ..metrics.definitions import Definition
from ..metrics.series import NEVER
from ..metrics.store import Series, Store
from .agent import Agent
from .client_states import ClientStates
from .delivery_stats import DeliveryStats
from .figures import REPORT_EVERY, SelfReport, Stats
from .outage import Outage, plain
from .outbox import Message, Outbox
from .packing import Packer, StateTags, as_they_are
from .settings import Address

_log = logging.getLogger(__name__)
_EARLY: Final = 0.5  # seconds that a flush may be early and still belong to the next window
_LATE_TITLE: Final = "Counts reached the Datadog Agent late"


@dataclass(frozen=True, slots=True)
class Destination:
    """Where metrics are sent, and how. `make_agent` and `state_tags` are called in the sending process; if not
    `enabled`, nothing is sent."""

    address: Address
    make_agent: Callable[[], Agent]
    prefix: str
    tags: tuple[str, ...]
    enabled: bool
    state_tags: StateTags = as_they_are
    packet_size: int | None = None  # in bytes; None: the default of the address
    make_packer: Callable[..., Packer] = Packer

    @property
    def limit(self) -> int:
        """The largest datagram of several lines, in bytes."""
        return self.packet_size if self.packet_size is not None else self.address.limit


class Shipper:
    """Sends the contents of one store and one outbox. `clock` returns monotonic seconds; deadlines are its times."""

    def __init__(
        self,
        store: Store,
        outbox: Outbox,
        destination: Destination,
        clock: Callable[[], float] = time.monotonic,
        definitions: Iterable[Definition] = (),
    ) -> None:
        self._store = store
        self._outbox = outbox
        self._to = destination
        self._clock = clock
        self.delivery: DeliveryStats = DeliveryStats()
        self.lock: threading.Lock = threading.Lock()  # one flush at a time: guards everything below
        self._over_by = math.inf  # an earlier deadline for the current flush, see `hurry`
        self.last_error: str | None = None
        self._agent: Agent | None = None
        self._packer: Packer | None = None
        self._own_packer: Packer | None = None  # for the reporter's own figures, which are in no account
        self._outage = Outage(destination.address, clock)
        self._own = SelfReport()
        self._invalid_logged = False
        self._report_at: float | None = None  # when the reporter's own figures are due; None: not yet sent
        self.states: ClientStates = ClientStates(store, definitions)
        self.flush_ms: float = 0.0

    def begin(self) -> None:
        """Before the first flush of the flush thread: make the client, and expect regular flushes."""
        with self.lock:
            agent, _ = self._ready_locked()
            if self._to.enabled:
                agent.prepare()
            self._outage.begin()

    def hurry(self, deadline: float) -> None:
        """Make the current flush in another thread end by `deadline`."""
        self._over_by = deadline

    def end(self, deadline: float) -> None:
        """After the last flush: close the socket, unless another thread holds the lock until the deadline."""
        if self.lock.acquire(timeout=max(0.0, deadline - self._clock())):
            try:
                self._outage.end()
                if self._agent is not None:
                    self._agent.close()
            finally:
                self.lock.release()

    @property
    def suffix(self) -> int:
        """The number of bytes the client adds to each line; while there is no client, the most it could be."""
        agent = self._agent
        return agent.suffix if agent is not None else wire.MAX_NAME

    def _ready_locked(self) -> tuple[Agent, Packer]:
        assert self.lock.locked()
        if self._agent is None or self._packer is None:
            to, agent = self._to, self._to.make_agent()
            packer = partial(to.make_packer, to.prefix, to.tags, agent.suffix, to.limit)
            more = self._clock, to.state_tags
            self._packer = packer(self.delivery, self._store.lock, *more)
            self._own_packer = packer(None, None, *more)
            for series in self._store.series.copy():
                series.wire, series.sent_at = None, NEVER
            self._agent = agent
        return self._agent, self._packer

    def flush(self, timeout: float, figures: Callable[[], Stats] | None = None, *, last: bool = False) -> bool:
        """Send everything that is pending. True if nothing is pending after at most `timeout` seconds.

        `figures`, passed by the flush thread and at its end, returns the reporter's own figures, which are sent as
        metrics at most once in ten seconds; with the `last` flush once more, if they were ever sent.
        """
        deadline = self._clock() + timeout
        if not self.lock.acquire(timeout=max(0.0, timeout)):
            return False
        try:
            self._over_by = math.inf
            if figures is not None:
                self._outage.begin()
            due = self._report_at is not None if last else self._report_at is None or self._clock() >= self._report_at
            return self._flush_locked(deadline, figures if due else None)
        finally:
            self.lock.release()

    def ship_messages(self, timeout: float) -> bool:
        """Send only events and service checks, which do not wait for the next flush."""
        deadline = self._clock() + timeout
        if not self.lock.acquire(timeout=max(0.0, timeout)):
            return False
        try:
            return self._messages_locked(self._ready_locked()[0], deadline)
        finally:
            self.lock.release()

    def _flush_locked(self, deadline: float, figures: Callable[[], Stats] | None) -> bool:
        assert self.lock.locked()
        began, packets = self._clock(), self.delivery.packets
        agent, packer = self._ready_locked()
        agent.last_error = None
        agent.refresh()
        self.states.begin_flush()
        all_series = self._store.fold()
        complete = self._messages_locked(agent, deadline) and self._series_locked(agent, packer, all_series, deadline)
        self.flush_ms = (self._clock() - began) * 1000
        if complete and figures is not None:
            self._report_at = self._clock() + REPORT_EVERY - _EARLY
            assert self._own_packer is not None
            complete = self._series_locked(agent, self._own_packer, self._own.update(figures()), deadline)
        self.states.flushed(all_series, complete=complete)
        if complete:
            late = self._outage.clean(self.delivery.packets > packets, self.delivery.delivered_counts(), self._lost())
            if late is not None:
                self._report_late(*late)
                complete = self._messages_locked(agent, deadline)
        elif agent.last_error is not None:
            pending = self.delivery.accounts(all_series)["counter"].pending
            self._outage.failed(agent.last_error, pending, self._lost())
        self._log_invalid()
        self._store.expire()
        packer.tidy(len(all_series))
        return complete

    def _log_invalid(self) -> None:
        if self._store.invalid and not self._invalid_logged:
            self._invalid_logged = True
            _log.warning(
                "lost by cause 'invalid': a metric was given a value that is not a finite number, a name without a "
                "usable character or of another kind, or tags that are not a list. Further losses are not logged: see "
                "stats.lost; use StatsdReporter(strict=True) to raise where it happens"
            )

    def _report_late(self, counts: float, age: float) -> None:
        if self._outbox.closed:
            return
        text = (
            f"{plain(counts)} counts waited up to {age:.0f} s for the Datadog Agent at {self._to.address}. "
            "Graphs show them at the time they arrived."
        )
        limit = wire.EVENT_BYTES - 1 - self.suffix
        self._outbox.event(_LATE_TITLE, text, "warning", self._to.tags, "websocket.reporter.late", limit)

    def _messages_locked(self, agent: Agent, deadline: float) -> bool:
        assert self.lock.locked()

        def send(message: Message) -> bool:
            return self._handed_over(agent, deadline, lambda: agent.send_message(message, deadline))

        return self._outbox.ship(send)

    def _series_locked(self, agent: Agent, packer: Packer, all_series: Iterable[Series], deadline: float) -> bool:
        assert self.lock.locked()
        packets = packer.packets(all_series)
        try:
            for packet in packets:
                if self._over(deadline):
                    packer.keep(packet)
                    return False
                accepted, taken = False, list[int | None]()
                try:
                    accepted = self._handed_over(agent, deadline, partial(agent.send, packet, deadline, taken))
                except BaseException:  # raised by a signal handler while the exit hook flushes in the main thread
                    accepted = agent.is_complete(taken)
                    raise
                finally:  # whatever happened, the packet is counted as delivered or refused
                    if accepted:
                        packer.delivery.accept(packet)
                    else:
                        packer.delivery.refuse(packet)
                if not accepted:
                    return False
        finally:
            packets.close()
        return True

    def _handed_over(self, agent: Agent, deadline: float, hand_over: Callable[[], bool]) -> bool:
        if not self._to.enabled:
            return True
        if self._over(deadline):
            return False
        accepted = hand_over()
        if accepted:
            self.delivery.sent(agent.size)
        else:
            self.last_error = agent.last_error
        return accepted

    def _over(self, deadline: float) -> bool:
        return self._clock() > min(deadline, self._over_by)

    def _lost(self) -> float:
        return self.delivery.lost() + sum(self._outbox.lost_by_cause().values())

    def stats(self, flusher_restarts: int, flush_errors: int, handler_errors: int, fault: str | None) -> Stats:
        """A snapshot as of now, from any thread: the store is folded first."""
        all_series = self._store.fold()
        accounts = self.delivery.accounts(all_series)
        lost = {"invalid": self._store.invalid, **self._outbox.lost_by_cause(), **self.delivery.lost_by_cause()}
        counters = accounts["counter"]
        return Stats(
            series=len(all_series),
            pending=counters.pending,
            delivered=counters.delivered,
            packets=self.delivery.packets,
            bytes=self.delivery.bytes,
            lost=MappingProxyType({cause: amount for cause, amount in lost.items() if amount}),
            flusher_restarts=flusher_restarts,
            last_error=self.last_error if self.last_error is not None else fault,
            counters=counters,
            sums=accounts["sum"],
            samples=accounts["sample"],
            flush_ms=self.flush_ms,
            flush_errors=flush_errors,
            handler_errors=handler_errors,
            series_by_metric=MappingProxyType(dict(Counter(one.name for one in all_series if not one.empty))),
        )
