"""One TCP connection, controlled by a script: HTTP heads and frames, read and written byte for byte.

Used by the thread that runs the script; a server may cut its socket from another thread. Never answers by itself.
"""

from __future__ import annotations

import base64
import hashlib
import socket
import ssl as tls
import struct
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Final, Literal

from ._loopback import TLS_SECONDS
from .frames import masked_payload

_ACCEPT_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3

Headers = Mapping[str, str] | Iterable[tuple[str, str]]
Ending = Literal["wait", "close", "drop"]
Script = Callable[["Connection"], object]  # its return value is ignored


class Connection:
    """One accepted connection, controlled by its script."""

    def __init__(self, sock: socket.socket, stopping: threading.Event) -> None:
        self.socket: socket.socket = sock
        self.stopping = stopping
        self.request: bytes = b""
        self._buffer = bytearray()

    def start_tls(self, context: tls.SSLContext) -> None:
        """Do the server's part of a TLS handshake. Raises OSError, of which ssl.SSLError is a subclass, if it fails."""
        # Two steps: stop() can cut the handshake only if self.socket is the socket in use.
        self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self.socket.settimeout(TLS_SECONDS)
        self.socket.do_handshake()
        self.socket.settimeout(None)

    def read_request(self) -> bytes:
        """Read one HTTP request head, up to and including the blank line. Raises EOFError if the peer closes before."""
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            self._fill()
        self.request = self._take(end + 4)
        return self.request

    def header(self, name: str) -> str:
        """A header of the last request, its name in upper or lower case; empty if the request does not have it."""
        for line in self.request.decode("latin-1").split("\r\n")[1:]:
            key, _, value = line.partition(":")
            if key.lower() == name.lower():
                return value.strip()
        return ""

    def accept_upgrade(
        self, extra_headers: Headers = (), key_override: str | None = None, trickle: float | None = None
    ) -> None:
        """Answer 101; read the request first if the script has not.

        `key_override` replaces the client's key when Sec-WebSocket-Accept is computed; `trickle` is the number of
        seconds between two bytes of the answer.
        """
        if not self.request:
            self.read_request()
        key = self.header("Sec-WebSocket-Key") if key_override is None else key_override
        accept = base64.b64encode(hashlib.sha1(key.encode() + _ACCEPT_GUID).digest()).decode()
        answer = _head(
            "101 Switching Protocols",
            [("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Accept", accept)],
            extra_headers,
        )
        if trickle is None:
            self.send(answer)
            return
        for index in range(len(answer)):
            self.send(answer[index : index + 1])
            if self.stopping.wait(trickle):
                raise EOFError("the server stops")

    def respond(self, status_line: str, headers: Headers = (), body: bytes = b"") -> None:
        """Answer the request. `status_line` is such as `"503 Service Unavailable"`, with or without HTTP version."""
        self.send(_head(status_line, [("Content-Length", str(len(body))), ("Connection", "close")], headers) + body)

    def send(self, data: bytes) -> None:
        """Write these bytes unchanged. Raises OSError if the peer has closed."""
        self.socket.sendall(data)

    def read_frame(self) -> tuple[int, bytes]:
        """Read one frame: its opcode and unmasked payload. Raises EOFError if the peer closes before its end."""
        first, second = self._take(2)
        length = second & 0x7F
        if length >= 126:
            length = int.from_bytes(self._take(2 if length == 126 else 8))
        mask = self._take(4) if second & 0x80 else bytes(4)
        return first & 0x0F, masked_payload(self._take(length), mask)

    def wait_closed(self, timeout: float | None = None) -> bool:
        """Read and discard until the peer closes, at most `timeout` seconds (None: no limit). True if it has closed."""
        deadline = None if timeout is None else time.monotonic() + timeout
        try:
            while True:
                if deadline is not None:
                    self.socket.settimeout(max(0.001, deadline - time.monotonic()))
                if not self.socket.recv(65536):
                    return True
        except TimeoutError:
            return False
        except OSError:
            return True
        finally:
            with suppress(OSError):
                self.socket.settimeout(None)

    def drop(self) -> None:
        """Reset the connection: the peer receives RST instead of the end of the stream."""
        with suppress(OSError):
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def close(self) -> None:
        """End the TCP connection in order: the peer reads what was sent, then the end of the stream."""
        with suppress(OSError):
            socket.socket.shutdown(self.socket, socket.SHUT_WR)
        self.socket.close()

    def end(self, how: Ending) -> None:
        """Wait for the peer to close, or `close()`, or `drop()`."""
        if how == "wait":
            self.wait_closed()
        elif how == "close":
            self.close()
        else:
            self.drop()

    def _take(self, size: int) -> bytes:
        while len(self._buffer) < size:
            self._fill()
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken

    def _fill(self) -> None:
        data = self.socket.recv(65536)
        if not data:
            raise EOFError("the peer has closed the connection")
        self._buffer += data


def _head(status_line: str, headers: Iterable[tuple[str, str]], more: Headers) -> bytes:
    pairs = [*headers, *(more.items() if isinstance(more, Mapping) else more)]
    status = status_line if status_line.startswith("HTTP/") else f"HTTP/1.1 {status_line}"
    return "".join([f"{status}\r\n", *(f"{key}: {value}\r\n" for key, value in pairs), "\r\n"]).encode("latin-1")
