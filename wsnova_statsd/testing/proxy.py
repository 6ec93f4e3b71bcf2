"""An HTTP CONNECT proxy on the loopback interface.

Threads: those of TcpServer, and for each tunnel one more, `...-back`, which copies from the server to the client.
"""

from __future__ import annotations

import base64
import socket
import ssl as tls
import threading
from contextlib import suppress
from typing import Any

from ._connection import Connection
from ._loopback import LockedTls, authority, cut
from ._tcp_server import TcpServer
from .scripts import refuses


class ConnectProxy(TcpServer):
    """An HTTP CONNECT proxy (RFC 9110 section 9.3.6).

    `credentials` is the (user, password) that it requires, with 407, by Proxy-Authorization; `refuse` is an HTTP status
    with which it answers every CONNECT; `upstream` is the (host, port) that it connects to whatever the target's name,
    for names that only the proxy can resolve; `ssl` is an ssl.SSLContext for TLS with the proxy itself.
    """

    def __init__(
        self,
        *,
        credentials: tuple[str, str] | None = None,
        refuse: int | None = None,
        upstream: tuple[str, int] | None = None,
        ssl: tls.SSLContext | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        super().__init__(self._serve, ssl=ssl, host=host, port=port)
        self.credentials: tuple[str, str] | None = credentials
        self.refuse: int | None = refuse
        self.upstream: tuple[str, int] | None = upstream
        self._targets: list[str] = []

    @property
    def url(self) -> str:
        """The proxy's URL, `http://host:port`, or `https://localhost:port`, the name in certificates."""
        if self.ssl is not None:
            return f"https://localhost:{self.port}"
        return f"http://{authority(self.host)}:{self.port}"

    @property
    def targets(self) -> list[str]:
        """The `host:port` of every CONNECT so far, refused ones too; a copy."""
        with self._changed:
            return list(self._targets)

    def _serve(self, connection: Connection) -> None:
        method, target, *_ = connection.read_request().decode("latin-1").split()
        if method != "CONNECT":
            connection.respond("405 Method Not Allowed", {"Allow": "CONNECT"})
            return
        with self._changed:
            self._targets.append(target)
            self._changed.notify_all()
        if self.credentials is not None and connection.header("Proxy-Authorization") != _basic(*self.credentials):
            connection.respond("407 Proxy Authentication Required", {"Proxy-Authenticate": 'Basic realm="test"'})
        elif self.refuse is not None:
            refuses(self.refuse)(connection)
        else:
            self._tunnel(connection, target)

    def _tunnel(self, connection: Connection, target: str) -> None:
        host, _, port = target.rpartition(":")
        try:
            upstream = socket.create_connection(self.upstream or (host.strip("[]"), int(port)), timeout=5.0)
        except (OSError, ValueError):
            connection.respond("502 Bad Gateway")
            return
        with upstream:
            upstream.settimeout(None)
            connection.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
            name = f"{threading.current_thread().name}-back"
            client: Any = connection.socket
            if isinstance(client, tls.SSLSocket):
                client = LockedTls(client)  # two threads use it
            back = threading.Thread(target=_pump, args=(upstream, client), name=name, daemon=True)
            back.start()
            _pump(client, upstream)
            cut(upstream)  # the client has closed, so the rest is not read
            back.join()


def _basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def _pump(source: Any, sink: Any) -> None:
    """Copy bytes until the source ends, then end the sink's direction."""
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
