"""The other end of a pair of connected sockets, as a server sees a client's frames; and other threads."""

import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from wsnova_statsd.client.sender import data_frame
from wsnova_statsd.testing.frames import masked_payload

_T = TypeVar("_T")


class Peer:
    """Writes bytes, and reads the frames that the client wrote."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        sock.settimeout(5.0)

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def close(self) -> None:
        self.sock.close()

    @staticmethod
    def masked(opcode: int, payload: bytes) -> bytes:
        """A client's frame."""
        return data_frame(opcode, payload)

    @staticmethod
    def unmasked(data: bytes) -> list[tuple[int, bytes]]:
        """Opcode and payload of these whole frames of at most 125 bytes, which are masked and final."""
        found = []
        while data:
            assert data[0] & 0xF0 == 0x80
            assert data[1] & 0x80
            stop = 6 + (data[1] & 0x7F)
            found.append((data[0] & 0x0F, masked_payload(data[6:stop], data[2:6])))
            data = data[stop:]
        return found


def elsewhere(work: Callable[[], _T]) -> _T:
    """Do this in another thread, and wait for it."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result(10.0)


@contextmanager
def held_elsewhere(lock: threading.RLock) -> Iterator[None]:
    """The lock is held, by another thread."""
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            held.set()
            release.wait(10.0)

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(10.0)
    try:
        yield
    finally:
        release.set()
        thread.join()
