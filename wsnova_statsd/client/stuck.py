"""The watchdog for stuck handlers. Once a second, on wsnova-clock, it finds clients that are still busy with the same
message, and after STUCK_AFTER it emits message.process.stuck once per message, with the stack and the processor time.
It also has each client emit sums that have become overdue meanwhile.

The owner, as it hands out messages, keeps the current one where it can be read from outside, and pays nothing else: no
lock, no timer, no call. `watch` is called by a client's owner, `forget` by the thread that ends it; the rest runs on
the clock, which looks only while there is a client to watch and the event has a handler.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import sys
import threading
import time
import traceback
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import BuiltinFunctionType, FrameType
from typing import Any, Final, Protocol

from .. import events, process
from ..clock import CLOCK
from ..redaction import log_fault
from .emitter import Emitter

_log = logging.getLogger(__name__)
STUCK_AFTER: Final = 10.0  # seconds with one message
EVERY: Final = 1.0
_FRAMES: Final = 30  # of a stack, the innermost
_OURS: Final = (str(Path(__file__).parent), threading.__file__)

# When a message was handed out (time.monotonic_ns(), 0 for none), its number among those of that time, the message.
Hand = tuple[int, int, Any]


class Watched(Protocol):
    """A client as the watchdog sees it; `in_hand` and `kind_of` in any thread."""

    @property
    def emit(self) -> Emitter: ...

    def in_hand(self) -> Hand: ...

    def kind_of(self, message: Any) -> str: ...

    def look(self, now_ns: int) -> None:
        """Emit overdue sums; on wsnova-clock."""


@dataclass(slots=True)
class _Sight:
    """The last observation of one client; `frame` and `clock_id` belong to its owner."""

    frame: Callable[[], FrameType | None]
    clock_id: int | None
    mark: tuple[int, int] = (0, 0)
    cpu_ns: int | None = None  # of the owner, when the message was first seen
    emitted: bool = False


class StuckWatchdog:
    """The clients of this process that handle messages."""

    def __init__(self) -> None:
        self._collects = True  # False while the clock has the garbage collector off
        self._reset()
        process.on_fork(self)

    def after_fork(self) -> None:
        """In a forked child: the clients are the parent's."""
        if not self._collects:
            self._collect()
        self._reset()

    def _reset(self) -> None:
        self._lock = threading.RLock()  # guards the fields below; re-entrant: a signal's handler may close a client
        self._sights: weakref.WeakKeyDictionary[Watched, _Sight] = weakref.WeakKeyDictionary()
        self._looking = False  # a job of the clock is scheduled

    def watch(self, client: Watched) -> None:
        """The owner: watch this client, with the calling thread as its owner, if a handler is attached."""
        slot = client.emit.slot
        if not (slot(events.MESSAGE_PROCESS_STUCK).handlers or slot(events.MESSAGE_BATCH_PROCESSED).handlers):
            return
        sight = _Sight(*_owner())
        with self._lock:
            self._sights[client] = sight
            if not self._looking:
                self._looking = True
                CLOCK.call_later(EVERY, self._look)

    def forget(self, client: Watched) -> None:
        """The client is closed."""
        with self._lock:
            self._sights.pop(client, None)

    def _look(self) -> None:
        """wsnova-clock, every second."""
        with self._lock:
            sights = list(self._sights.items())
            self._looking = bool(sights)
            if sights:
                CLOCK.call_later(EVERY, self._look)
        for client, sight in sights:
            try:
                self._look_at(client, sight)
            except Exception as error:  # the other clients still have their turn, and the next second looks again
                log_fault(_log, error, "the watchdog for stuck handlers failed")

    def _look_at(self, client: Watched, sight: _Sight) -> None:
        client.look(time.monotonic_ns())
        began, number, message = client.in_hand()
        if (began, number) != sight.mark:
            sight.mark, sight.emitted = (began, number), False
            sight.cpu_ns = _cpu_ns(sight.clock_id) if began else None
        elif began and not sight.emitted and time.monotonic_ns() - began >= STUCK_AFTER * 1e9:
            self._emit(client, sight, message)

    def _emit(self, client: Watched, sight: _Sight, message: Any) -> None:
        began = sight.mark[0]
        stack = self._stack(sight)
        spent, duration = _cpu_ns(sight.clock_id), time.monotonic_ns() - began
        kind = client.kind_of(message)
        if client.in_hand()[:2] != sight.mark:  # the handler returned just now
            return
        sight.emitted = True
        measurements = {"duration": duration}
        if spent is not None and sight.cpu_ns is not None:
            measurements["cpu_time"] = spent - sight.cpu_ns
        client.emit(events.MESSAGE_PROCESS_STUCK, measurements, type=kind, stack=stack)

    def _stack(self, sight: _Sight) -> list[str]:
        """Before Python 3.11.9 a collection in the midst of sys._current_frames() may stop the whole process for ever:
        it holds a lock that the end of a threading.local takes again."""
        if sys.version_info >= (3, 11, 9) or not gc.isenabled():
            return stack_of(sight.frame())
        self._collects = False
        gc.disable()
        try:
            frame = sight.frame()
        finally:
            self._collect()
        return stack_of(frame)

    def _collect(self) -> None:
        gc.enable()
        self._collects = True


def _owner() -> tuple[Callable[[], FrameType | None], int | None]:
    """A function that finds the frame of the calling thread, and the thread's processor clock. Determined here, in that
    thread, because asking for an ended thread's clock is fatal. So it is for a greenlet's id, which gevent and eventlet
    return as the thread's."""
    ident = threading.get_ident()
    # Not by the frames: that would create those of all threads, and there may be thousands.
    if isinstance(threading.get_ident, BuiltinFunctionType):  # a patch replaces it by a Python function
        return partial(_frame_of, ident), _clock_id(ident)
    greenlet = sys.modules.get("greenlet")  # None if another library patched threading
    current = weakref.ref(greenlet.getcurrent()) if greenlet is not None else lambda: None
    return (lambda: getattr(current(), "gr_frame", None)), None


def _frame_of(ident: int) -> FrameType | None:
    return sys._current_frames().get(ident)


def _clock_id(ident: int) -> int | None:
    read: Callable[[int], int] | None = getattr(time, "pthread_getcpuclockid", None)
    with contextlib.suppress(OSError):
        return read(ident) if read is not None else None
    return None


def _cpu_ns(clock_id: int | None) -> int | None:
    try:
        return time.clock_gettime_ns(clock_id) if clock_id is not None else None
    except OSError:  # the thread has ended
        return None


def stack_of(frame: FrameType | None) -> list[str]:
    """`file:line function: source` of a thread's frames, innermost first; without our own outer frames."""
    frames = list(traceback.walk_stack(frame)) if frame is not None else []
    while len(frames) > 1 and frames[-1][0].f_code.co_filename.startswith(_OURS):
        frames.pop()
    found = traceback.StackSummary.extract(iter(frames[:_FRAMES]))
    return [f"{one.filename}:{one.lineno} {one.name}: {one.line}".rstrip(": ") for one in found]


WATCHDOG: Final = StuckWatchdog()
