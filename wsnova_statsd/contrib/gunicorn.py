"""gunicorn's hooks: each worker has each client once, the master none, with --preload or without. In gunicorn.conf.py:

    from wsnova_statsd.contrib.gunicorn import post_worker_init, worker_exit

To import it marks the master: what an application that is loaded there (--preload) asks to start, starts in each
worker. Who has hooks of their own calls these from them. Both run in the main thread of a worker. No library is
imported.
"""

from __future__ import annotations

from .. import process
from . import serving

__all__ = ["post_worker_init", "worker_exit"]

serving.hold()


def post_worker_init(worker: object) -> None:
    """Start what the application asked for; it has been loaded by now, which it may not be yet in post_fork."""
    serving.release()


def worker_exit(server: object, worker: object) -> None:
    """Close clients and flush, within a second: not every kind of worker comes to Python's exit hooks."""
    process.finish(process.EXIT_SECONDS, interrupting=True)
