"""Ready-made scripts for `TcpServer(script)`: each misbehaves in one way.

A script runs in its connection's thread and waits on `connection.stopping` or on the socket; it never sleeps.
"""

from __future__ import annotations

import http
from collections.abc import Iterable

from ._connection import Connection, Ending, Headers, Script
from .frames import TEXT, server_frame


def never_answers(connection: Connection) -> None:
    """Read the request and all that follows, and never answer."""
    connection.wait_closed()


def accept_then_close(connection: Connection) -> None:
    """Read the request, then end the connection in order, without an answer."""
    connection.read_request()


def accept_then_drop(connection: Connection) -> None:
    """Read the request, then reset the connection."""
    connection.read_request()
    connection.drop()


def wrong_accept_key(connection: Connection) -> None:
    """Answer 101 with the Sec-WebSocket-Accept of another request."""
    connection.accept_upgrade(key_override="c29tZWJvZHkgZWxzZSdzIQ==")
    connection.wait_closed()


def half_open(connection: Connection) -> None:
    """Complete the upgrade, then neither read nor write: a peer that was unplugged."""
    connection.accept_upgrade()
    connection.stopping.wait()


def cuts_mid_frame(connection: Connection) -> None:
    """Complete the upgrade, then end the connection in the middle of a text frame of 100 bytes."""
    connection.accept_upgrade()
    connection.send(server_frame(TEXT, b"x" * 50, declared_length=100))


def refuses(status: int, headers: Headers = (), body: bytes = b"") -> Script:
    """Answer every upgrade with this HTTP status."""
    phrase = http.HTTPStatus(status).phrase if status in set(http.HTTPStatus) else "Refused"

    def script(connection: Connection) -> None:
        if not connection.request:  # a proxy has already read it
            connection.read_request()
        connection.respond(f"{status} {phrase}", headers, body)

    return script


def redirects(location: str, status: int = 302) -> Script:
    """Answer every upgrade with a redirect to `location`."""
    return refuses(status, {"Location": location})


def trickles(interval: float) -> Script:
    """Answer 101, one byte every `interval` seconds."""

    def script(connection: Connection) -> None:
        connection.accept_upgrade(trickle=interval)
        connection.wait_closed()

    return script


def sends_raw(chunks: Iterable[bytes], then: Ending = "wait") -> Script:
    """Complete the upgrade and write these bytes, each in one call, to every client; then wait, close or drop."""
    written = list(chunks)

    def script(connection: Connection) -> None:
        connection.accept_upgrade()
        for chunk in written:
            connection.send(chunk)
        connection.end(then)

    return script
