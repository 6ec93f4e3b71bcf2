"""An app of websocket-client that is instrumented, and what it emitted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import websocket

import wsnova_statsd as ws
from wsnova_statsd import events
from wsnova_statsd.contrib import websocket_app
from wsnova_statsd.errors import ConfigurationError
from wsnova_statsd.testing.capture import EventLog, capture_events
from wsnova_statsd.testing.tcp import TEXT, Connection, TcpServer, server_frame

App = websocket.WebSocketApp


@contextmanager
def instrumented(app: App, bus: ws.Bus, **options: Any) -> Iterator[tuple[App, EventLog]]:
    """The app under the financial profile, with all that it emits."""
    with capture_events(bus=bus) as log:
        websocket_app.instrument(app, **{"client_id": "md-1", "profile": "financial", "bus": bus, **options})
        try:
            yield app, log
        finally:
            app.close(timeout=0.1)
            with suppress(ConfigurationError):
                websocket_app.uninstrument(app)


def an_app(url: str, until_message: str = "last", **callbacks: Any) -> App:
    """An app that closes itself at its last message."""
    own = callbacks.pop("on_message", lambda app, message: None)

    def on_message(app: App, message: str) -> None:
        try:
            own(app, message)
        finally:
            if message == until_message:
                app.close(timeout=0.5)

    return App(url, on_message=on_message, **callbacks)


def names(log: EventLog, of: str = "") -> list[str]:
    """What it emitted except sums, without the prefix; names that begin with `of`."""
    emitted = [one.event.removeprefix(events.PREFIX) for one in log if "batch" not in one.event]
    return [one for one in emitted if one.startswith(of)]


def sums(log: EventLog, direction: str) -> list[dict[str, Any]]:
    """The measurements of the sums that were emitted."""
    return [
        one.measurements for one in log.of(events.MESSAGE_BATCH_PROCESSED) if one.metadata["direction"] == direction
    ]


def raw(*frames: bytes) -> TcpServer:
    """A server that writes these frames, then a text `last`, and answers the close frame."""

    def script(connection: Connection) -> None:
        connection.accept_upgrade()
        for frame in (*frames, server_frame(TEXT, b"last")):
            connection.send(frame)
        with suppress(EOFError, OSError):
            while connection.read_frame()[0] != 8:
                pass

    return TcpServer(script)
