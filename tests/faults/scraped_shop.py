"""A WSGI application that counts each request by an event, and shows the page that its worker's reporter makes of all
workers' counts: a client connects in each worker as well, so that there is a state.
"""

import os
from collections.abc import Callable, Iterable
from typing import Any

import wsnova_statsd as ws
from tests.faults.load import BODY

complete = ws.prometheus_metrics(complete=True)
reporter = ws.PrometheusReporter(complete, naming="prometheus").start(port=None)
page = reporter.wsgi_app()
WHO = {"client_id": "a", "uri": "wss://feed.example/ws"}


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """One request."""
    if environ["PATH_INFO"].startswith("/metrics"):
        return page(environ, start_response)
    if environ["PATH_INFO"] == "/connect":
        ws.telemetry.execute(ws.events.CONNECTION_COMPLETED, {"duration": 20_000_000}, WHO)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [str(os.getpid()).encode()]
    ws.telemetry.execute(ws.events.MESSAGE_RECEIVED, {"size": 10}, {**WHO, "type": "trade"})
    ws.telemetry.execute(ws.events.MESSAGE_PROCESS_COMPLETED, {"duration": 1_500_000}, {**WHO, "type": "trade"})
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(BODY)))])
    return [BODY]
