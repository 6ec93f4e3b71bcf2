"""A program around a WebSocketApp, for any version of websocket-client: each way that a connection ends,
bare and instrumented, in a separate process; prints what its callbacks saw and which events were emitted, as JSON.

    python websocket_app_program.py URL none|reconnect|rel WAY ...
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import threading
from typing import Any

import websocket

import wsnova_statsd as ws
from wsnova_statsd.contrib import websocket_app

AGAIN = 0.1  # seconds before the library dials again
LONGEST = 3.0  # of a run; what hangs in the bare program may hang in the other one
_TOLD = {  # of each event, by its last parts
    "connection.started": "reconnect",
    "connection.completed": "reconnect",
    "connection.disconnected": "reason",
    "error.occurred": "error_type",
    "error.handled": "error_type",
    "message.process.completed": "result",
}
_PREFIXES = ("telemetry.", "connection.", "reconnect.", "message.", "error.")
_SHORT = {"occurred": "error", "client.closed": "closed"}


class Run:
    """One run of the program."""

    def __init__(self, url: str, loop: str, way: str, instrumented: bool) -> None:
        self.callbacks: list[list[Any]] = []
        self.events: list[str] = []
        self.loop, self.way = loop, way
        self.rel: Any = None
        self.dials = 0
        self.app = websocket.WebSocketApp(
            f"{url}/{way}/{loop}/{instrumented}",
            header=self.dialling,
            on_open=lambda app: self.note("open"),
            on_message=self.on_message,
            on_error=lambda app, error: self.note("error", type(error).__name__),
            on_close=lambda app, *given: self.note("close", *given),
        )
        if instrumented:
            bus = ws.Bus()
            bus.attach_many("test", [one for one in ws.events.CATALOGUE if "batch" not in one], self.hear)
            bus.attach("test end", ws.events.CLIENT_CLOSED, self.hear)
            websocket_app.instrument(self.app, client_id="md-1", profile="financial", bus=bus)

    def note(self, *what: Any) -> None:
        self.callbacks.append(list(what))

    def hear(self, event: str, measurements: Any, metadata: Any, config: Any) -> None:
        name = event.removeprefix(ws.events.PREFIX)
        reported = metadata[_TOLD[name]] if name in _TOLD else ""
        for prefix in _PREFIXES:
            name = name.removeprefix(prefix)
        self.events.append(f"{_SHORT.get(name, name)} {reported}".rstrip())

    def dialling(self) -> list[str]:
        """Once for each dial: a refused one is tried once more."""
        self.dials += 1
        if self.way == "refused" and self.loop != "none" and self.dials == 2:
            self.app.keep_running = False
            if self.rel is not None:
                self.rel.timeout(0.01, self.rel.abort)
        return []

    def on_message(self, app: Any, message: str) -> None:
        self.note("message", message)
        if message == "again" or self.way == "local":
            app.close(timeout=0.5)
            if self.rel is not None:
                self.rel.timeout(0.1, self.rel.abort)
        else:
            app.send("go on")

    def go(self) -> None:
        named: dict[str, Any] = {"reconnect": AGAIN if self.loop == "reconnect" else 0}
        if self.way == "ping":
            named |= {"ping_interval": 0.4, "ping_timeout": 0.1}
        if self.loop == "rel":
            self.rel = named["dispatcher"] = importlib.import_module("rel")
            named["reconnect"] = AGAIN
        try:
            self.note("returned", self.app.run_forever(**named))
            if self.rel is not None:
                self.rel.timeout(LONGEST / 2, self.rel.abort)
                self.rel.dispatch()
        except BaseException as error:
            self.note("raised", type(error).__name__)
            self.app.close(timeout=0.1)
        self.note("ended")


def _in_a_child(url: str, loop: str, way: str, instrumented: bool) -> dict[str, Any]:
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        run = Run(url, loop, way, instrumented)

        def tell() -> None:
            os.write(writing, json.dumps({"callbacks": run.callbacks, "events": run.events}).encode())
            os._exit(0)

        late = threading.Timer(LONGEST, tell)
        late.daemon = True
        late.start()
        run.go()
        tell()
    os.close(writing)
    with os.fdopen(reading) as read:
        reported: dict[str, Any] = json.loads(read.read() or "{}")
    os.waitpid(child, 0)
    return reported


def main(url: str, loop: str, *ways: str) -> None:
    refused, listening = url.split(",")
    found = {}
    for way in ways:
        where = refused if way == "refused" else listening
        found[way] = {name: _in_a_child(where, loop, way, name == "instrumented") for name in ("bare", "instrumented")}
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
