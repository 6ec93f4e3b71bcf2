"""uWSGI: whether its master is loading the application, and calling a function in each worker that it forks.

uWSGI forks in C, without Python's hooks; its own hook is the attribute `post_fork_hook` of the module `uwsgi`, which
exists only in its processes. Called in the main thread, while the application is loaded. No library is required.
"""

from __future__ import annotations

import sys
from collections.abc import Callable


def serves() -> bool:
    """True in a process of uWSGI."""
    return "uwsgi" in sys.modules


def loads_in_master() -> bool:
    """True in uWSGI's master, which loads the application and serves nothing; False with `lazy-apps`."""
    uwsgi = sys.modules.get("uwsgi")
    return uwsgi is not None and bool(uwsgi.masterpid()) and not uwsgi.worker_id()


def in_each_worker(begin: Callable[[], object]) -> None:
    """Call `begin` in each worker, right after the master has forked it, in addition to the application's own hooks."""
    try:
        from uwsgidecorators import postfork
    except ImportError:  # some distributions package it separately; without it nothing else sets the hook later
        uwsgi = sys.modules["uwsgi"]
        before = getattr(uwsgi, "post_fork_hook", None)

        def hook() -> None:
            if before is not None:
                before()
            begin()

        uwsgi.post_fork_hook = hook  # type: ignore[attr-defined]
    else:
        postfork(begin)
