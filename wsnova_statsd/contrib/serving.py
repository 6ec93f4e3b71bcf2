"""When the clients of a web site start: once in each process that serves, never in one that only forks such processes.

A server that loads the application before it forks its workers (gunicorn --preload, uWSGI) would otherwise start the
clients in a process that serves nothing. There, start requests are kept, and `release()` runs them in each worker. No
library is imported; called by the thread that loads the application, in most servers the main thread.
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
# Servers that load an application to serve it, by the first part of the name of a calling module.
_SERVERS: Final = frozenset(("gunicorn", "uvicorn", "hypercorn", "waitress", "granian"))


class _Process:
    """The start requests of this process. They remain in a forked child, where nothing of them is running."""

    def __init__(self) -> None:
        self.holder: int | None = None  # the id of the process that only forks serving processes
        self.kept: list[Begin] = []
        self.after_fork()
        process.on_fork(self)

    def after_fork(self) -> None:
        """In a forked child: another thread of the parent may have held the lock."""
        self.lock = threading.RLock()  # guards `kept`; re-entrant for a signal's handler


_PROCESS: Final = _Process()


def hold() -> None:
    """This process forks the serving processes, and starts nothing itself; its children do. For a server's hooks."""
    _PROCESS.holder = os.getpid()


def when_serving(begin: Begin) -> None:
    """Call `begin` now; if this process only forks serving processes, call it in each of them at `release()`."""
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
    """Start the Monitor, with these arguments, and these clients, once this process serves: for an application without
    a framework, called where its module is loaded."""
    when_serving(functools.partial(start, *clients, **monitor))


def release() -> None:
    """In a process that serves: run the start requests that its parent kept, and later ones at once."""
    process.in_child()
    with _PROCESS.lock:
        _PROCESS.holder = None
        kept, _PROCESS.kept = _PROCESS.kept, []
    for begin in kept:
        begin()


def end_in_order() -> None:
    """Have SIGTERM end this process in order, if it has no handler yet: waitress and the development servers of
    frameworks have none. Main thread; elsewhere, and under uWSGI, nothing happens."""
    here = threading.current_thread() is threading.main_thread() and not uwsgi.serves()
    if here and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        process.end_on_sigterm()


def loaded_by_server() -> bool:
    """True if a known server is among the callers: it is loading the application."""
    return uwsgi.serves() or any(name.partition(".")[0] in _SERVERS for name in callers())


def callers() -> Iterator[str]:
    """The names of the calling modules, the nearest first."""
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
    """Start the process's Monitor with these arguments; without arguments, only if the program has not set up telemetry
    itself. Raises what ws.init raises."""
    if arguments or not telemetry.DEFAULT.list_handlers():
        init(**arguments)


def start(*clients: Client[Any], **monitor: Any) -> None:
    """As start_monitor, and then start the clients that are not running. Waits for nothing and raises nothing: what
    cannot be started is logged, one sentence each."""
    try:
        start_monitor(**monitor)
    except Exception as error:
        _log.error("the Monitor that the settings ask for is not started: %s", describe_error(error))
    for client in clients:
        try:
            client.start(wait=False)
        except Exception as error:
            _log.error("client %s is not started: %s", one_line(client.client_id), describe_error(error))
