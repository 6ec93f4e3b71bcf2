"""The life of a process: whether it is a forked child, and how it ends.

Fork: `ALIVE[0]` is 0 in a freshly forked child, however it was forked (uWSGI forks without Python's hooks), and 1
otherwise. A hot path reads that byte and calls `in_child()` when it is 0; components registered with `on_fork` then
drop what they inherited, once.
Exit: one atexit hook, registered at import so that it runs after the callbacks that were registered later: clients
close first, then alerts and KPIs hand over what they hold, then reporters flush, all within EXIT_SECONDS. Children of
multiprocessing and Celery, and RQ's work horses, end with os._exit, which skips atexit: there the hook is called by
code that they run before it. Programs that SIGTERM ends use `end_on_sigterm`.
Threads: register from any thread; `in_child` runs in the first thread of the child that notices; the exit hook runs in
the thread that ends the interpreter. Starts no thread except in `unsignalled`, and holds no lock.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import logging
import mmap
import os
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable
from queue import Empty, SimpleQueue
from types import FrameType
from typing import Any, Final, Protocol, TypeVar

from . import checks
from .errors import ConfigurationError
from .redaction import log_fault

EXIT_SECONDS: Final = 1.0
_SWITCH: Final = 1e-4  # seconds; each send releases the GIL, and busy threads keep it for 5 ms each by default
_IMPORTED_WITH: Final = threading.get_ident  # gevent and eventlet replace it
_log = logging.getLogger(__name__)
T = TypeVar("T")
_POOLS: Final = ("multiprocessing.popen_fork", "billiard.popen_fork")  # modules whose forked children start no client
_MADV_WIPEONFORK: Final = 18  # linux/mman.h; the mmap module does not name it


class ForkAware(Protocol):
    """A component that drops inherited state in a child. The hook must only assign: no lock, no I/O, no logging."""

    def after_fork(self) -> None: ...


class ExitAware(Protocol):
    """A component with work to finish at exit. `deadline` is a time of time.monotonic()."""

    def at_exit(self, deadline: float) -> None: ...


def _fork_mark() -> mmap.mmap | bytearray:
    try:
        page = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        page.madvise(_MADV_WIPEONFORK)
    except (AttributeError, OSError, ValueError):  # not Linux, or an old kernel: only forks with hooks are noticed
        return bytearray(1)
    return page


ALIVE: Final = _fork_mark()
ALIVE[0] = 1

_fork_aware: weakref.WeakSet[ForkAware] = weakref.WeakSet()
CLIENT, WATCHER, REPORTER = range(3)  # in the order of their turns
_parties: tuple[weakref.WeakSet[ExitAware], ...] = (weakref.WeakSet(), weakref.WeakSet(), weakref.WeakSet())
_SHARES: Final = (0.5, 0.75, 1.0)  # share of the time by which each party must be done
_remaining = EXIT_SECONDS  # what the exit hook may still use: a process may end in several stages
_finishing = False  # True while `finish` runs


def on_fork(component: ForkAware) -> None:
    """Call `component.after_fork()` in every forked child. The component is held weakly."""
    _fork_aware.add(component)


def at_exit(component: ExitAware, party: int) -> None:
    """Call `component.at_exit(deadline)` at interpreter exit, in its party's turn. The component is held weakly."""
    _parties[party].add(component)
    _find_ends()


def in_child() -> None:
    """Call every component's `after_fork`, once per child: this process is a fork of the one that made them."""
    global _remaining
    if not ALIVE[0]:
        ALIVE[0] = 1
        _remaining = EXIT_SECONDS
        for component in list(_fork_aware):
            with contextlib.suppress(Exception):  # a component that fails must not keep the others from their turn
                component.after_fork()


def _by_hook() -> None:
    ALIVE[0] = 0  # a no-op if the kernel wiped the page
    in_child()


def _exit(*_: object, **__: object) -> None:
    global _remaining
    if not ALIVE[0]:  # a child that never used what it inherited must not close or flush it for its parent
        in_child()
    _remaining = finish(_remaining, parties=(WATCHER, REPORTER) if _threads_go_on() else (CLIENT, WATCHER, REPORTER))


def finish(
    seconds: float, *, parties: tuple[int, ...] = (CLIENT, WATCHER, REPORTER), interrupting: bool = False
) -> float:
    """Close clients, have alerts and KPIs hand over what they hold, and flush; returns what is left of the time.

    `interrupting`: called by a signal handler, in the midst of any line. Work that takes locks runs in its own thread.
    """
    global _finishing
    began, switch = time.monotonic(), sys.getswitchinterval()
    sys.setswitchinterval(min(switch, _SWITCH))
    _finishing, before = True, _finishing
    try:
        for party in parties:
            deadline = began + seconds * _SHARES[party]
            for component in list(_parties[party]):
                work = functools.partial(_finish, component, deadline)
                if interrupting and party == REPORTER:
                    unsignalled(work, deadline - time.monotonic(), None)
                else:
                    work()
    finally:
        _finishing = before
        sys.setswitchinterval(switch)
    return max(0.0, began + seconds - time.monotonic())


def _finish(component: ExitAware, deadline: float) -> None:
    try:
        component.at_exit(deadline)
    except Exception as error:  # the other components have work to finish, too
        log_fault(_log, error, "an exit hook raised")


def _threads_go_on() -> bool:
    """A child of multiprocessing waits for its threads after its finalizers; atexit comes after them."""
    here = threading.current_thread()
    return any(not thread.daemon and thread is not here for thread in threading.enumerate())


def _with_finalizers(util: Any) -> None:
    def begin(_: object = None) -> None:
        util.Finalize(None, _exit, exitpriority=-100)  # after the queues, and after its own children are joined
        atexit.register(_exit)  # Python 3.13 clears and runs these too

    util.register_after_fork(begin, begin)  # a child of multiprocessing begins by clearing inherited finalizers
    if getattr(sys.modules[util.__package__], "parent_process", bool)():  # this process is a child that has begun
        begin()


def _with_work_horse(worker: Any) -> None:
    """RQ's work horse runs one job, settles it by one of these methods and ends. These are wrapped rather than the job,
    because the job itself may import the module that imports this package."""
    for name in ("handle_job_success", "handle_job_retry", "handle_job_failure"):
        for kind in worker.Worker.__mro__:
            if name in vars(kind):
                setattr(kind, name, _then_exit(vars(kind)[name]))


def _then_exit(settle: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(settle)
    def settled(worker: Any, *given: Any, **named: Any) -> Any:
        try:
            return settle(worker, *given, **named)
        finally:
            if worker.is_horse:
                _exit()

    return settled


# Where processes end without atexit. These modules are never imported from here; the program may import them any time.
_ENDS: Final[dict[str, Callable[[Any], object]]] = {
    "multiprocessing.util": _with_finalizers,
    "billiard.util": _with_finalizers,  # Celery's own multiprocessing
    "celery.signals": lambda signals: signals.worker_process_shutdown.connect(_exit, weak=False),
    "rq.worker": _with_work_horse,
}
_found: Final[set[str]] = set()


def _find_ends() -> None:
    """Install the exit hook there too. Runs in the parent before each fork: a child could hang in their locks."""
    for name, hook in _ENDS.items():
        module = sys.modules.get(name)
        if module is not None and name not in _found:
            with contextlib.suppress(Exception):  # another thread may be importing it just now
                hook(module)
                _found.add(name)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_find_ends, after_in_child=_by_hook)
atexit.register(_exit)


class _EndOnSigterm:
    """The handler of SIGTERM; runs in the main thread."""

    def __init__(self, before: object, timeout: float) -> None:
        self.before = before
        self.timeout = timeout
        self._ending = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self._ending or _finishing:  # the process is already ending
            return
        if not ALIVE[0]:
            in_child()
        if callable(self.before):
            self.before(number, frame)  # if it raises, for example SystemExit, the program ends that way
        self._ending = True
        finish(self.timeout, interrupting=True)
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)
        os._exit(128 + number)  # reached by process 1 only: the kernel ignores signals without a handler there


def end_on_sigterm(timeout: float = EXIT_SECONDS) -> None:
    """On SIGTERM, end this process in order: call the handler that was set before, close clients and flush within
    `timeout` seconds, then end by the signal; as process 1 of a container, with status 143.

    For programs that SIGTERM ends and that do not handle it otherwise. Raises ConfigurationError outside the main
    thread.
    """
    checks.seconds("timeout", timeout, zero=True)
    if threading.current_thread() is not threading.main_thread():
        raise ConfigurationError(
            f"end_on_sigterm was called in thread {threading.current_thread().name!r}; signal handlers can be set in "
            "the main thread only: call it there, at the start of the program"
        )
    before = signal.getsignal(signal.SIGTERM)
    if isinstance(before, _EndOnSigterm):
        before.timeout = timeout
    else:
        signal.signal(signal.SIGTERM, _EndOnSigterm(before, timeout))


def refuse_late_patch() -> None:
    """Raise ConfigurationError if gevent or eventlet patched threading after this package had been imported: half of
    the package would wait for threads, half for greenlets, and neither would ever be woken."""
    if threading.get_ident is not _IMPORTED_WITH:
        raise ConfigurationError(
            "threading was patched after wsnova_statsd was imported; call gevent.monkey.patch_all() or "
            "eventlet.monkey_patch() before anything else is imported"
        )


def unsignalled(work: Callable[[], T], timeout: float, otherwise: T) -> T:
    """Run `work` where no signal handler interrupts it, and return what it returns, or raise what it raises.

    Signal handlers run in the main thread only. There `work` runs in a short thread of its own, and the main thread
    waits for it: if a handler raises, the wait ends, and the work is still finished. So locks that only such work takes
    are never held by interrupted code, and a handler may ask for the same work itself. After `timeout` seconds
    `otherwise` is returned. In any other thread, or if no thread can start, `work` runs in place.
    """
    if threading.get_ident() != threading.main_thread().ident:
        return work()
    outcome: SimpleQueue[tuple[T, BaseException | None]] = SimpleQueue()  # its methods may be re-entered

    def run() -> None:
        try:
            outcome.put((work(), None))
        except BaseException as error:
            outcome.put((otherwise, error))

    thread = threading.Thread(target=run, name=thread_name("aside"), daemon=True)
    try:
        thread.start()
    except RuntimeError:  # the interpreter is exiting, or the limit of threads is reached
        return work()
    try:
        value, error = outcome.get(timeout=max(0.0, timeout))
    except Empty:
        return otherwise
    thread.join()
    if error is not None:
        raise error
    return value


def thread_name(role: str, name: str = "") -> str:
    """The name of one of our threads: `wsnova-<role>`, with `-<name>` where there can be several."""
    return f"wsnova-{role}-{name}" if name else f"wsnova-{role}"


def forked_by_a_pool(frame: FrameType | None) -> bool:
    """Whether multiprocessing or billiard made the fork whose hook runs in this frame."""
    while frame is not None and frame.f_globals.get("__name__") == __name__:
        frame = frame.f_back
    return frame is not None and frame.f_globals.get("__name__") in _POOLS
