"""gunicorn's hooks: each worker has each client once, the master none, with --preload or without. In gunicorn.conf.py:

    from wsnova_statsd.contrib.gunicorn import post_worker_init, worker_exit

Importing it marks the master: clients of an application that is loaded there (--preload) start in each worker. If you
have your own hooks, call these from them. Both run in the main thread of a worker. No library is imported.
"""

from __future__ import annotations

from .. import process
from . import serving

__all__ = ["post_worker_init", "worker_exit"]

serving.hold()


def post_worker_init(worker: object) -> None:
    """Start the application's clients; by now it has been loaded, unlike perhaps in post_fork."""
    serving.release()


def worker_exit(server: object, worker: object) -> None:
    """Close clients and flush, within a second: not every kind of worker runs Python's exit hooks."""
    process.finish(process.EXIT_SECONDS, interrupting=True)
