"""Jobs for RQ, which count. The module may be imported by the worker, or by each work horse for its one job."""

import os

import wsnova_statsd as ws

COUNTS = 50  # of each job
reporter = ws.StatsdReporter(flush_interval=10).start()


def count() -> int:
    """A job like any other."""
    for _ in range(COUNTS):
        reporter.increment("orders", tags=[f"pid:{os.getpid()}"])
        ws.telemetry.execute(ws.events.MESSAGE_RECEIVED, {"size": 10}, {"client_id": "a", "type": "b"})
    return COUNTS


def fail() -> None:
    """One that raises after it has counted."""
    count()
    raise LookupError("mine")


def succeeded(job: object, connection: object, result: object, *more: object) -> None:
    """A callback of a successful job; it runs in the work horse, after the job."""
    reporter.increment("succeeded")
