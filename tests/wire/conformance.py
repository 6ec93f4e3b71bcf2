r"""A client that echoes, as the Autobahn suite has it, and its peer: a strict reader of what a client may send.

    with conversation() as peer:
        peer.send(b"\x81\x02hi")
        assert peer.hear() == (TEXT, b"hi")
        assert peer.part() == [(CLOSE, b"\x03\xe8")]

The test plays the server, in its own thread; the client runs in another and is gone when the block ends.
"""

import queue
import socket
import ssl as tls
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from tests.rfc6455 import BINARY, CLOSE, NORMAL, PING, PONG, TEXT, Frame, head
from wsnova_statsd import Bus, Client, Protocol
from wsnova_statsd.errors import NotConnected
from wsnova_statsd.testing.tcp import Connection, TcpServer

PATIENCE = 20.0  # seconds that nothing here takes
GOODBYE = NORMAL.to_bytes(2, "big")


class Peer:
    """The server's end of one connection: writes bytes as they are, reads what a client may send, by section 5."""

    def __init__(self, connection: Connection) -> None:
        connection.accept_upgrade()
        self._socket = connection.socket
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.settimeout(PATIENCE)
        self._buffer = bytearray()
        self.masks: list[bytes] = []
        self.observed: list[Any] = []  # the messages that the client delivered; all of them after the block

    def send(self, *pieces: bytes) -> None:
        """One write each. A client that has failed the connection may be gone before the last."""
        with suppress(BrokenPipeError, ConnectionResetError, tls.SSLEOFError):
            for piece in pieces:
                self._socket.sendall(piece)

    def hear(self) -> Frame:
        """The next frame. Raises EOFError at the end of the stream, TimeoutError if nothing comes."""
        first, second = self._take(2)
        opcode, length = first & 0x0F, second & 0x7F
        assert first & 0x80, "this client sends whole messages"
        assert not first & 0x70, "no extension was agreed (section 5.2)"
        assert opcode in (TEXT, BINARY, CLOSE, PING, PONG), "a reserved opcode (section 5.2)"
        assert second & 0x80, "a client masks every frame (section 5.3)"
        if length == 126:
            length = int.from_bytes(self._take(2), "big")
            assert length >= 126, "not the shortest form (section 5.2)"
        elif length == 127:
            length = int.from_bytes(self._take(8), "big")
            assert length >= 65536, "not the shortest form (section 5.2)"
        assert opcode < CLOSE or length <= 125, "a control frame is too long (section 5.5)"
        self.masks.append(self._take(4))
        payload = _unmasked(self._take(length), self.masks[-1])
        if opcode == TEXT:
            payload.decode()  # section 5.6: text is UTF-8
        if opcode == CLOSE:
            assert len(payload) != 1, "half a close code (section 5.5.1)"
            payload[2:].decode()
        return opcode, payload

    def rest(self) -> list[Frame]:
        """The frames to the end of the stream, which must come, and come whole; nothing follows a close frame."""
        frames: list[Frame] = []
        while True:
            try:
                frames.append(self.hear())
            except (EOFError, ConnectionResetError):
                assert not self._buffer, "the stream ends inside a frame"
                break
        assert all(opcode != CLOSE for opcode, _ in frames[:-1]), "frames after a close frame (section 5.5.1)"
        return frames

    def part(self, payload: bytes = GOODBYE) -> list[Frame]:
        """Send a close frame; the frames to the end of the stream."""
        self.send(head(CLOSE, len(payload)) + payload)
        return self.rest()

    def end(self) -> None:
        """Release the connection: a client that failed it lingers until its peer has read why."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def _take(self, size: int) -> bytes:
        while len(self._buffer) < size:
            data = self._socket.recv(1 << 20)
            if not data:
                raise EOFError
            self._buffer += data
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken


def _unmasked(payload: bytes, mask: bytes) -> bytes:
    """Section 5.3, as one number, for messages of megabytes."""
    size = len(payload)
    key = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")).to_bytes(size, "big")


def _by_handler(url: str, hear: Callable[[Client, Any], None], options: dict[str, Any]) -> None:
    client = Client(url, on_message=lambda message: hear(client, message), **options)
    with client:
        client.wait(PATIENCE)


def _by_iteration(url: str, hear: Callable[[Client, Any], None], options: dict[str, Any]) -> None:
    with Client(url, **options) as client:
        for message in client:
            hear(client, message)


@contextmanager
def conversation(iterated: bool = False, serving: tls.SSLContext | None = None, **options: Any) -> Iterator[Peer]:
    """Connect an echo client to a peer, which is the server side of TLS if `serving` is passed.

    At the end of the block the client must have noticed that its link is over.
    """
    arrived: queue.Queue[Connection] = queue.Queue()
    observed: list[Any] = []

    def script(connection: Connection) -> None:
        arrived.put(connection)
        connection.stopping.wait()

    def hear(client: Client, message: Any) -> None:
        observed.append(message)
        with suppress(NotConnected):  # the server may have sent its close frame since
            client.send(message)

    with TcpServer(script, ssl=serving) as server:
        given = {"protocol": Protocol(), "reconnect": False, "bus": Bus(), **options}
        run = _by_iteration if iterated else _by_handler
        thread = threading.Thread(target=run, args=(server.url, hear, given), name="echo-client", daemon=True)
        thread.start()
        peer = Peer(arrived.get(timeout=PATIENCE))
        peer.observed = observed
        yield peer
        peer.end()
        thread.join(PATIENCE)
        assert not thread.is_alive(), "the client has not noticed that its connection is over"
