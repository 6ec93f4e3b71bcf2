"""A program that lives through connections of the websockets library that is installed, and prints their events.

Run by the interpreter of each release: `python tests/wire/websockets_life.py URL REFUSED_URL`. The server echoes, and
does what `answering` in test_websockets_versions.py says.
"""

import inspect
import json
import sys
import threading
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync import client

import wsnova_statsd as ws
from wsnova_statsd.contrib import websockets_sync

KEYS = ("type", "reason", "detail", "error_type", "reconnect", "result", "direction")
LEGACY: dict[str, Any] = {"legacy": True} if "legacy" in inspect.signature(client.connect).parameters else {}
reported: list[list[str]] = []
ended = threading.Event()


def tell(event: str, _measurements: Any, metadata: Any, _config: Any) -> None:
    """Note an event, unless the clock emits it at its own time."""
    name = event.removeprefix("websockex_nova.")
    if name not in ("message.batch_processed", "connection.reconnect.attempt"):
        reported.append([name, *(f"{key}={metadata[key]}" for key in KEYS if key in metadata)])
    if name == "connection.disconnected":
        ended.set()


def connect(url: str, **more: Any) -> Any:
    """An instrumented connection, without a warning of the releases that warn."""
    return websockets_sync.connect(url, profile="financial", **LEGACY, **more)


def live(url: str, refused: str) -> None:
    """Every way to receive, to send and to end."""
    with connect(url) as connection:
        connection.send("hé")
        connection.recv()
        connection.send(b"123")
        for _ in connection:
            break
        connection.send(iter(["fragments", " please"]))
        "".join(connection.recv_streaming())
        try:
            connection.recv(timeout=0.01)
        except TimeoutError:
            reported.append(["timeout"])
        connection.ping().wait(5.0)
        connection.send("and a message behind the pong")
        connection.recv()
    connection = connect(url)
    connection.send("close")
    try:
        connection.recv()
    except ConnectionClosed:
        reported.append(["closed"])
    ended.clear()
    connection = connect(url)
    connection.send("drop")
    assert ended.wait(5.0)  # no reader
    connection.close()
    try:
        connect(refused)
    except OSError:
        reported.append(["refused"])
    with client.connect(url, **LEGACY) as bare:
        websockets_sync.instrument(bare, client_id="open", profile="financial")
        bare.send("1")
        bare.recv()
        websockets_sync.uninstrument(bare)
        bare.send("2")
        bare.recv()
    websockets_sync.instrument_all(profile="financial")
    with client.connect(url, **LEGACY) as connection:
        connection.send("3")
        connection.recv()


if __name__ == "__main__":
    ws.telemetry.attach_many("tell", list(ws.events.CATALOGUE), tell)
    live(*sys.argv[1:])
    json.dump(reported, sys.stdout)
