"""A WSGI application that counts each request twice: directly, and by an event. INTERVAL is that of the flush, 10 s by
default."""

import os
from collections.abc import Callable, Iterable
from typing import Any

import wsnova_statsd as ws
from tests.faults.load import BODY

reporter = ws.StatsdReporter(flush_interval=float(os.environ.get("INTERVAL", "10"))).start()
reporter.increment("imported", tags=[f"pid:{os.getpid()}"])  # in a master that preloads, or in each worker


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """One request."""
    reporter.increment("requests", tags=[f"pid:{os.getpid()}"])
    ws.telemetry.execute(ws.events.MESSAGE_RECEIVED, {"size": 10}, {"client_id": "a", "type": "b"})
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(BODY)))])
    return [BODY]
