"""Delivery of alerts: the sinks are independent, so that one that raises or is slow affects no other.

A sink that does not wait (a reporter, a logger) is called in the thread that emitted the event, in order. A user's
function is called in its own thread, `wsnova-alerts-<name>`, a daemon, which starts with the first alert for it and
ends when none is left. While a function is busy, at most 100 alerts wait for it; further ones are lost and counted.
Only `wait` waits for sinks. A signal handler may call each method in the midst of any other.
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
_MOST_WAITING: Final = 100  # alerts that wait for one function, besides the one it is called with
_RETRY: Final = 1.0  # seconds after which to try again to start a thread
_STEP: Final = 0.002  # seconds between two checks of another thread that delivers

Sink = Callable[[Alert], object]


class Delivery:
    """Calls `count` and then each of `sinks` with every alert. Call `put` under any lock, the other methods under none.

    `on_delivered(alert, seconds)` is called with the time an alert took from its event until the Agent's socket had
    accepted it or, if none goes to Datadog, until a sink returned. The time is that of `clock`; `timers` call back.
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
        """Begin without alerts; also in a forked child, where the parent's threads do not exist."""
        self._lock = threading.RLock()  # guards the fields below; an append to the queue is atomic
        self._queue: deque[tuple[Alert, Iterator[Sink]]] = deque()  # each alert with the outlets not yet called
        self._turn: list[int] | None = None  # identifies the call that delivers, by its thread's id
        self.log_limit: LogLimit = LogLimit(self._clock)
        self.failures: int = 0
        self.last_seconds: float | None = None
        self.worst_seconds: float | None = None
        for function in self._functions:
            function.reset()

    @property
    def lost(self) -> int:
        """The number of alerts that were dropped because too many were waiting for a function."""
        return sum(function.lost for function in self._functions)

    def put(self, alert: Alert) -> None:
        """Queue an alert. Alerts are delivered in this order."""
        self._queue.append((alert, iter(self._outlets)))

    def deliver(self) -> None:
        """Deliver what is queued, unless another thread or an interrupted call in this one does. Never waits."""
        turn = [threading.get_ident()]
        while self._queue:
            try:
                with self._lock:
                    self._turn = self._turn or turn
                if self._turn is not turn:
                    return
                while self._queue:
                    alert, outlets = self._queue[0]
                    for outlet in outlets:  # if this is interrupted, the next call continues with the same iterator
                        outlet(alert)
                    self._queue.popleft()
            finally:
                if self._turn is turn:
                    self._turn = None

    def wait(self, deadline: float) -> int:
        """Wait until no other thread delivers and the functions have returned, at most until `deadline`, a time of
        time.monotonic(). Returns the number of alerts that are still pending."""
        here = threading.get_ident()
        while self._queue and time.monotonic() < deadline:
            turn = self._turn
            if turn is not None and turn[0] == here:  # this call has interrupted it in the same thread
                break
            time.sleep(_STEP)
            self.deliver()
        return sum(function.wait(deadline) for function in self._functions)

    def hand(self, sink: Sink, alert: Alert) -> None:
        """Call a sink, and measure how long the alert took."""
        if isinstance(sink, ToDatadog) and sink.says_when:
            self._safely(sink, alert, partial(self._arrived, alert, counts=True))
        elif self._safely(sink, alert):
            self._arrived(alert, counts=isinstance(sink, ToDatadog) or not self._to_datadog)

    def _arrived(self, alert: Alert, *, counts: bool) -> None:
        """A sink has received the alert. Also called in a flushing thread."""
        if alert.occurred_at is None:
            return
        seconds = self._clock() - alert.occurred_at
        with self._lock:
            self.last_seconds = seconds
            self.worst_seconds = max(seconds, self.worst_seconds or 0.0)
        if counts and self._on_delivered is not None:
            self._safely(self._on_delivered, alert, seconds)

    def _safely(self, function: Callable[..., object], *arguments: object) -> bool:
        """Call a sink or callback. False if it raised: that is counted, and logged once a minute."""
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
                "the alert sink %s raised; other sinks are still called; errors like it are not logged again for %d s",
                name_of(sink),
                LOG_EVERY,
            )


class _Function:
    """A user's function, the alerts that wait for it, and the thread that calls it while there are any."""

    def __init__(self, function: Sink, delivery: Delivery, timers: Timers) -> None:
        self._function = function
        self._delivery = delivery
        self._timers = timers
        self.reset()

    def reset(self) -> None:
        """Begin without alerts; also in a forked child."""
        self._lock = threading.RLock()  # guards the fields below; a signal handler may call put() during put()
        self._waiting: deque[Alert] = deque()
        self._thread: threading.Thread | None = None  # the thread that calls the function, or is about to
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
                "the alert function %s is busy and %d alerts wait for it; further alerts are lost, %d so far. "
                "Next report in %d s.",
                *(name_of(self._function), _MOST_WAITING, self.lost, LOG_EVERY),
            )

    def start(self) -> None:
        """The emitting thread, or wsnova-clock after a failed start: start the thread."""
        with self._lock:
            if self._thread is not None or not self._waiting:
                return
            name = process.thread_name("alerts", name_of(self._function).rpartition(".")[2])
            thread = threading.Thread(target=self._run, name=name, daemon=True)
            try:
                self._thread = thread  # before it starts, so that a signal handler starts no second one meanwhile
                thread.start()
            except BaseException as error:
                self._thread = None  # if the thread did start, it sets itself
                self._timers.call_later(_RETRY, self.start)
                if not isinstance(error, Exception):  # an interrupt
                    raise
                if self._delivery.log_limit.due((id(self), "thread")):
                    log_fault(_log, error, "cannot start a thread for an alert function; retrying every %d s", _RETRY)

    def _run(self) -> None:
        """wsnova-alerts-<name>: call the function until no alert waits."""
        here = threading.current_thread()
        while True:
            with self._lock:
                self._thread = self._thread or here
                if self._thread is not here:  # a forked child's, or one that was started instead
                    return
                if not self._waiting:
                    self._thread = None
                    return
                alert = self._waiting.popleft()
            try:
                self._delivery.hand(self._function, alert)
            except BaseException as error:  # SystemExit too: the alerts behind this one are still to be delivered
                self._delivery.failed(self._function, error)

    def wait(self, deadline: float) -> int:
        """Wait until no alert is pending; not in the function itself, which would wait for its own return."""
        thread = self._thread
        if thread is threading.current_thread():
            return len(self._waiting)
        if thread is not None and thread.is_alive():
            thread.join(max(0.0, deadline - time.monotonic()))
        return len(self._waiting) + (self._thread is not None)


def name_of(sink: Any) -> str:
    """The name of a sink for the log. Not its repr, which may show the address of a webhook."""
    name: str = getattr(sink, "__qualname__", type(sink).__qualname__)
    return name
