"""The HTTP server for the page that Prometheus scrapes: runs a WSGI application in one thread per request, and stops.

`wsnova-prometheus` accepts connections, `wsnova-scrape` answers one request. The connection of a peer that neither
sends nor receives anything for `silence` seconds is closed. Call `start` and `stop` from any thread, once each.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from collections.abc import Callable
from socketserver import ThreadingMixIn
from typing import Any, Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from .. import process

SILENCE: Final = 10.0  # seconds that a request may wait for its peer; Prometheus itself gives up after 10 too
_PATIENCE: Final = 2.0  # seconds for threads to end; the accepting thread checks every half second
_log = logging.getLogger(__name__)


class _Handler(WSGIRequestHandler):
    server: ScrapeServer

    def setup(self) -> None:
        """wsnova-scrape: before the request is read."""
        super().setup()
        self.connection.settimeout(self.server.silence)

    def log_message(self, format: str, *args: object) -> None:
        """Requests are not logged."""


class ScrapeServer(ThreadingMixIn, WSGIServer):
    """Serves `application`. Raises OSError if it cannot listen, and ValueError for an empty address."""

    def __init__(self, address: str, port: int, application: Callable[..., Any], silence: float = SILENCE) -> None:
        if address == "":  # would mean every interface
            raise ValueError("the address is empty")
        family, _, _, _, place = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        self.address_family: int = family
        self.silence = silence
        self._requests: dict[Any, threading.Thread] = {}  # by socket; each write is one operation
        super().__init__((str(place[0]), port), _Handler)
        self.set_app(application)
        self._thread = threading.Thread(target=self.serve_forever, name=process.thread_name("prometheus"), daemon=True)

    def start(self) -> None:
        """Begin to accept connections."""
        self._thread.start()

    def stop(self) -> None:
        """Close the port, end the requests in progress, and wait for their threads."""
        if self._thread.is_alive():
            self.shutdown()
        self.server_close()
        requests = self._requests.copy()
        for request in requests:
            with contextlib.suppress(OSError):  # the request has already ended
                request.shutdown(socket.SHUT_RDWR)
        deadline = time.monotonic() + _PATIENCE
        for thread in (self._thread, *requests.values()):
            thread.join(max(0.0, deadline - time.monotonic()))

    def abandon(self) -> None:
        """In a forked child: close its copies of the sockets, which would keep the port occupied and peers waiting."""
        for sock in (self.socket, *self._requests):
            sock.close()

    def process_request(self, request: Any, client_address: Any) -> None:
        """wsnova-prometheus: a connection was accepted."""
        self._requests[request] = thread = threading.Thread(
            target=self.process_request_thread,
            args=(request, client_address),
            name=process.thread_name("scrape"),
            daemon=True,
        )
        thread.start()

    def shutdown_request(self, request: Any) -> None:
        """wsnova-scrape: the request was answered or failed."""
        self._requests.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """wsnova-scrape: the peer closed the connection or was silent for too long: log only for debugging."""
        _log.debug("a request for the Prometheus metrics ended early", exc_info=True)
