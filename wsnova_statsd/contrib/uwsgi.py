"""uWSGI: whether its master is loading the application, and what is to be called in each worker that it forks.

uWSGI forks in C, without Python's hooks; its own is the attribute `post_fork_hook` of the module `uwsgi`, which there
is in its processes only. Called in the main thread, while the application is loaded. No library is needed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable


def serves() -> bool:
    """Whether this is a process of uWSGI."""
    return "uwsgi" in sys.modules


def loads_in_master() -> bool:
    """Whether this is uWSGI's master, which loads the application and serves nothing; not so with `lazy-apps`."""
    uwsgi = sys.modules.get("uwsgi")
    return uwsgi is not None and bool(uwsgi.masterpid()) and not uwsgi.worker_id()


def in_each_worker(begin: Callable[[], object]) -> None:
    """Call `begin` in each worker, right after the master has forked it, beside what the application calls there."""
    try:
        from uwsgidecorators import postfork
    except ImportError:  # some distributions have it in a package of its own; then nothing else sets the hook later
        uwsgi = sys.modules["uwsgi"]
        before = getattr(uwsgi, "post_fork_hook", None)

        def hook() -> None:
            if before is not None:
                before()
            begin()

        uwsgi.post_fork_hook = hook  # type: ignore[attr-defined]
    else:
        postfork(begin)
