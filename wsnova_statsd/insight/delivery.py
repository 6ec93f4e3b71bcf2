"""Delivery of alerts: every sink apart from the others, so that one that raises or takes long costs itself only.

A sink that does not wait (a reporter, a logger) is called in the thread that emitted the event, in order. A function of
the user is called in a thread of its own, `wsnova-alerts-<name>`, which starts with the first alert for it, ends when
none is left, and is a daemon. A function that is still busy has at most 100 alerts waiting; further ones are counted.
No method waits for a sink but `wait`, and each may be called by a signal's handler in the midst of any other.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

from .. import process
from ..log_limit import LOG_EVERY, LogLimit
from ..redaction import log_fault
from .sinks import Alert, Timers, ToDatadog, ToLog

_log = logging.getLogger(__name__)
_MOST_WAITING: Final = 100  # alerts for one function, beside the one that it has in hand
_RETRY: Final = 1.0  # seconds after which a thread that could not be started is tried again
_STEP: Final = 0.002  # seconds between two looks at another thread that hands out

Sink = Callable[[Alert], object]


class Delivery:
    """Hands alerts to `sinks`, each of which `count` is called with first. `put` under any lock, the others under none.

    `on_delivered(alert, seconds)` is called with how long an alert took from its event until the Agent's socket had it
    or, if none goes to Datadog, until a sink returned. The seconds are those of `clock`; `timers` call back later.
    """

    def __init__(
        self,
        sinks: list[Sink],
        count: Sink,
        clock: Callable[[], float],
        timers: Timers,
        on_delivered: Callable[[Alert, float], object] | None,
    ) -> None:
        self._clock = clock
        self._on_delivered = on_delivered
        self._to_datadog = any(isinstance(one, ToDatadog) and one.reaches for one in sinks)
        self._functions: list[_Function] = []
        self._outlets: list[Sink] = [partial(self._safely, count)]
        for sink in sinks:
            if isinstance(sink, ToDatadog | ToLog):
                self._outlets.append(partial(self.hand, sink))
            else:
                self._functions.append(_Function(sink, self, timers))
                self._outlets.append(self._functions[-1].put)
        self.reset()

    def reset(self) -> None:
        """Begin without alerts; also in a forked child, where the parent's threads are not."""
        self._lock = threading.RLock()  # guards the fields below; an append to the queue is atomic
        self._queue: deque[tuple[Alert, Iterator[Sink]]] = deque()  # with the outlets that an alert has yet to pass
        self._turn: list[int] | None = None  # of the call that hands out, with its thread
        self.log_limit: LogLimit = LogLimit(self._clock)
        self.failures: int = 0
        self.last_seconds: float | None = None
        self.worst_seconds: float | None = None
        for function in self._functions:
            function.reset()

    @property
    def lost(self) -> int:
        """Alerts that no function was called with, since too many waited for it."""
        return sum(function.lost for function in self._functions)

    def put(self, alert: Alert) -> None:
        """Queue an alert; they leave in this order."""
        self._queue.append((alert, iter(self._outlets)))

    def deliver(self) -> None:
        """Hand out what is queued, unless another thread, or this one further up, does already. Never waits."""
        turn = [threading.get_ident()]
        while self._queue:
            try:
                with self._lock:
                    self._turn = self._turn or turn
                if self._turn is not turn:
                    return
                while self._queue:
                    alert, outlets = self._queue[0]
                    for outlet in outlets:  # what interrupts this leaves the rest of them to the next call
                        outlet(alert)
                    self._queue.popleft()
            finally:
                if self._turn is turn:
                    self._turn = None

    def wait(self, deadline: float) -> int:
        """Wait until no other thread hands out and the functions have returned, at most until `deadline` on
        time.monotonic(). Returns how many alerts are still on their way."""
        here = threading.get_ident()
        while self._queue and time.monotonic() < deadline:
            turn = self._turn
            if turn is not None and turn[0] == here:  # further up, where this call interrupts it
                break
            time.sleep(_STEP)
            self.deliver()
        return sum(function.wait(deadline) for function in self._functions)

    def hand(self, sink: Sink, alert: Alert) -> None:
        """Call a sink, and have it measured how long the alert took."""
        if isinstance(sink, ToDatadog) and sink.says_when:
            self._safely(sink, alert, partial(self._arrived, alert, counts=True))
        elif self._safely(sink, alert):
            self._arrived(alert, counts=isinstance(sink, ToDatadog) or not self._to_datadog)

    def _arrived(self, alert: Alert, *, counts: bool) -> None:
        """A sink has the alert. Also in a thread that flushes."""
        if alert.occurred_at is None:
            return
        seconds = self._clock() - alert.occurred_at
        with self._lock:
            self.last_seconds = seconds
            self.worst_seconds = max(seconds, self.worst_seconds or 0.0)
        if counts and self._on_delivered is not None:
            self._safely(self._on_delivered, alert, seconds)

    def _safely(self, function: Callable[..., object], *arguments: object) -> bool:
        """Call a sink or the like. False if it raised: that is counted, and logged once a minute."""
        try:
            function(*arguments)
        except Exception as error:
            self.failed(function, error)
            return False
        return True

    def failed(self, sink: Callable[..., object], error: BaseException) -> None:
        """A sink raised."""
        with self._lock:
            self.failures += 1
        if self.log_limit.due(id(sink), error):
            log_fault(
                _log,
                error,
                "the alert sink %s raised; others are served, further ones like it are not logged for %d s",
                name_of(sink),
                LOG_EVERY,
            )


class _Function:
    """One function of the user, the alerts that wait for it, and the thread that calls it while there are any."""

    def __init__(self, function: Sink, delivery: Delivery, timers: Timers) -> None:
        self._function = function
        self._delivery = delivery
        self._timers = timers
        self.reset()

    def reset(self) -> None:
        """Begin without alerts; also in a forked child."""
        self._lock = threading.RLock()  # guards the fields below; a signal's handler may put in the midst of `put`
        self._waiting: deque[Alert] = deque()
        self._thread: threading.Thread | None = None  # that calls the function, or is about to
        self.lost = 0

    def put(self, alert: Alert) -> None:
        """The emitting thread: queue an alert, and start the thread unless it runs."""
        with self._lock:
            full = len(self._waiting) >= _MOST_WAITING
            if full:
                self.lost += 1
            else:
                self._waiting.append(alert)
        if not full:
            self.start()
        elif self._delivery.log_limit.due((id(self), "full")):
            _log.error(
                "the alert function %s is still busy and %d alerts wait for it; further ones are lost, %d so far. "
                "Next report in %d s.",
                *(name_of(self._function), _MOST_WAITING, self.lost, LOG_EVERY),
            )

    def start(self) -> None:
        """The emitting thread, or wsnova-clock after a start that failed."""
        with self._lock:
            if self._thread is not None or not self._waiting:
                return
            name = process.thread_name("alerts", name_of(self._function).rpartition(".")[2])
            thread = threading.Thread(target=self._run, name=name, daemon=True)
            try:
                self._thread = thread  # before it starts, so that a signal's handler starts no second one meanwhile
                thread.start()
            except BaseException as error:
                self._thread = None  # if it did start, it takes its place
                self._timers.call_later(_RETRY, self.start)
                if not isinstance(error, Exception):  # an interrupt
                    raise
                if self._delivery.log_limit.due((id(self), "thread")):
                    log_fault(_log, error, "cannot start a thread for an alert function; retried every %d s", _RETRY)

    def _run(self) -> None:
        """wsnova-alerts-<name>: call the function until no alert waits."""
        here = threading.current_thread()
        while True:
            with self._lock:
                self._thread = self._thread or here
                if self._thread is not here:  # a forked child's, or one that was started in its place
                    return
                if not self._waiting:
                    self._thread = None
                    return
                alert = self._waiting.popleft()
            try:
                self._delivery.hand(self._function, alert)
            except BaseException as error:  # SystemExit: what waits behind this alert is still due
                self._delivery.failed(self._function, error)

    def wait(self, deadline: float) -> int:
        """Wait until no alert is on its way; not in the function itself, which would wait for its own return."""
        thread = self._thread
        if thread is threading.current_thread():
            return len(self._waiting)
        if thread is not None and thread.is_alive():
            thread.join(max(0.0, deadline - time.monotonic()))
        return len(self._waiting) + (self._thread is not None)


def name_of(sink: Any) -> str:
    """What a log calls a sink: its repr may show the address of a webhook."""
    name: str = getattr(sink, "__qualname__", type(sink).__qualname__)
    return name
