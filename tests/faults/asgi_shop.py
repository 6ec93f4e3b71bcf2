"""ASGI applications that count each request twice, as `shop.py` does: one without a lifespan, and one that counts
at the end of its own. The flush interval is 10 s."""

import os
from typing import Any

import wsnova_statsd as ws
from tests.faults.load import BODY
from wsnova_statsd.contrib.asgi import lifespan

reporter = ws.StatsdReporter(flush_interval=10).start()


async def _answer(scope: Any, receive: Any, send: Any) -> None:
    """One request."""
    if scope["type"] != "http":
        raise ValueError(f"no {scope['type']} here")
    reporter.increment("requests", tags=[f"pid:{os.getpid()}"])
    ws.telemetry.execute(ws.events.MESSAGE_RECEIVED, {"size": 10}, {"client_id": "a", "type": "b"})
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(BODY))]})
    await send({"type": "http.response.body", "body": BODY})


async def _with_its_own(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "lifespan":
        await _answer(scope, receive, send)
        return
    for phase in ("startup", "shutdown"):
        assert (await receive())["type"] == f"lifespan.{phase}"
        reporter.increment(phase)
        await send({"type": f"lifespan.{phase}.complete"})


plain = lifespan(_answer)
own = lifespan(_with_its_own)
