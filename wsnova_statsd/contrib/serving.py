"""When the clients of a web site start: once in each process that serves, never in one that only forks those.

A server that loads the application before it forks its workers (gunicorn --preload, uWSGI) would have the clients in a
process that serves nothing. There what asks to start is kept, and `release()` starts it in each worker. No library is
imported; whoever loads the application calls, in most servers the main thread.
"""

from __future__ import annotations

import functools
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, Final

from .. import process, telemetry
from ..client.client import Client
from ..monitor import init
from ..redaction import describe_error, one_line
from . import uwsgi

__all__ = [
    "Begin",
    "callers",
    "end_in_order",
    "hold",
    "loaded_by_server",
    "release",
    "start",
    "start_monitor",
    "start_when_serving",
    "when_serving",
]
_log = logging.getLogger(__name__)
Begin = Callable[[], object]
# Who loads an application in order to serve it, by the first part of the name of a module that is calling.
_SERVERS: Final = frozenset(("gunicorn", "uvicorn", "hypercorn", "waitress", "granian"))


class _Process:
    """What of this process is to start. It goes on in a forked child, which has none of it running."""

    def __init__(self) -> None:
        self.holder: int | None = None  # the id of the process that only forks serving ones
        self.kept: list[Begin] = []
        self.after_fork()
        process.on_fork(self)

    def after_fork(self) -> None:
        """In a child: another thread of the parent may have held the lock."""
        self.lock = threading.RLock()  # guards `kept`; a signal's handler may come in the midst of any line


_PROCESS: Final = _Process()


def hold() -> None:
    """This process forks those that serve, and starts nothing itself; a child of it does. For a server's hooks."""
    _PROCESS.holder = os.getpid()


def when_serving(begin: Begin) -> None:
    """Call `begin` now, or if this process only forks those that serve: in each of them, when it calls `release()`."""
    if os.getpid() != _PROCESS.holder:
        if uwsgi.loads_in_master():
            hold()
            uwsgi.in_each_worker(release)
        elif not _loads_in_master():
            begin()
            return
        elif not _PROCESS.kept:
            _log.warning(
                "gunicorn loads the application in its master, which serves nothing: nothing was started there; add "
                "this line to gunicorn.conf.py: from wsnova_statsd.contrib.gunicorn import post_worker_init, "
                "worker_exit"
            )
    with _PROCESS.lock:
        _PROCESS.kept.append(begin)


def start_when_serving(*clients: Client[Any], **monitor: Any) -> None:
    """Start the Monitor, of these arguments, and these clients, once this process serves: for an application without a
    framework, where its module is loaded."""
    when_serving(functools.partial(start, *clients, **monitor))


def release() -> None:
    """In a process that serves: start what was kept in the one that forked it, and what is asked for from now on."""
    process.in_child()
    with _PROCESS.lock:
        _PROCESS.holder = None
        kept, _PROCESS.kept = _PROCESS.kept, []
    for begin in kept:
        begin()


def end_in_order() -> None:
    """Have SIGTERM end this process in order, if nothing else handles it: waitress and the servers of frameworks, for
    development, have no handler of their own. Main thread; elsewhere, and under uWSGI, nothing happens."""
    here = threading.current_thread() is threading.main_thread() and not uwsgi.serves()
    if here and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        process.end_on_sigterm()


def loaded_by_server() -> bool:
    """Whether a server that is known here is calling: it loads the application."""
    return uwsgi.serves() or any(name.partition(".")[0] in _SERVERS for name in callers())


def callers() -> Iterator[str]:
    """The names of the modules that are calling, from the nearest on."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        yield str(frame.f_globals.get("__name__", ""))
        frame = frame.f_back


def _loads_in_master() -> bool:
    names = list(callers())
    return any(name.startswith("gunicorn.") for name in names) and not any(
        name.startswith("gunicorn.workers.") for name in names
    )


def start_monitor(**arguments: Any) -> None:
    """Start the process's Monitor, of these arguments; without any only if the program has not set up telemetry itself.
    Raises what ws.init raises."""
    if arguments or not telemetry.DEFAULT.list_handlers():
        init(**arguments)


def start(*clients: Client[Any], **monitor: Any) -> None:
    """As start_monitor, and then start the clients that do not run. Waits for nothing and raises nothing: what cannot
    be started is logged, each in a sentence."""
    try:
        start_monitor(**monitor)
    except Exception as error:
        _log.error("the Monitor that the settings ask for is not started: %s", describe_error(error))
    for client in clients:
        try:
            client.start(wait=False)
        except Exception as error:
            _log.error("client %s is not started: %s", one_line(client.client_id), describe_error(error))
