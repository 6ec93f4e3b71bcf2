"""An Agent that can be frozen, drained and killed, with every datagram accounted for: read, unread, or dropped.

The reader is a separate process. The `Agent` in this one makes its socket and keeps it open, so that a queue left
behind by SIGKILL, which dies with a real Agent, can still be counted. It reads straight into a journal, memory that
both share, so that not even the datagram that it was reading is lost with it. What it read is parsed here, by the
strict parser. Linux. An `Agent` is used from one thread.
"""

from __future__ import annotations

import mmap
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Final, Self

LOOPBACK: Final = "127.0.0.1"
_JOURNAL: Final = 2**28  # bytes, if all were used; the reader stops at half of it, the rest is room for its queue
_READ: Final = 65536  # the largest datagram, and the NUL that ends it
_RECEIVE_BUFFER: Final = 8 * 2**20
_SO_RCVBUFFORCE: Final = 33  # asm-generic/socket.h; beyond net.core.rmem_max, with the permission for it
_SO_MEMINFO: Final = 55  # nine unsigned ints; the last is how many datagrams found the queue full
_PATIENCE: Final = 20.0  # seconds for a process to start or end on a busy machine


def seal(sock: socket.socket) -> None:
    """Refuse what comes from here on, and keep what is in the queue readable: how an Agent can end without loss."""
    if sock.family == socket.AF_UNIX:
        sock.shutdown(socket.SHUT_RD)  # senders get EPIPE
    else:
        sock.connect(sock.getsockname())  # what is not from itself finds no receiver: ECONNREFUSED


def drain(sock: socket.socket, take: Callable[[socket.socket], object]) -> None:
    """Read until the queue is empty."""
    sock.setblocking(False)
    try:
        while True:
            take(sock)
    except BlockingIOError:
        pass


def read(fd: int, journal_fd: int) -> None:
    """The reader's process: everything from the socket into the journal, NUL after each; SIGTERM seals and drains."""
    stopping = False

    def stop(*_: object) -> None:
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGTERM, stop)
    sock = socket.socket(fileno=fd)
    sock.settimeout(0.02)
    with mmap.mmap(journal_fd, _JOURNAL) as journal, memoryview(journal) as room:
        used = touched = 0

        def take(sock: socket.socket) -> None:
            nonlocal used, touched
            while touched < used + _READ:
                # A SIGKILL while the kernel writes to a page that is not mapped yet would cost half a datagram.
                journal[touched] = 0
                touched += mmap.PAGESIZE
            used += sock.recv_into(room[used : used + _READ]) + 1

        parent = os.getppid()
        print("ready", flush=True)
        while not stopping and used < _JOURNAL // 2 and os.getppid() == parent:
            try:
                take(sock)
            except TimeoutError:
                pass
        seal(sock)
        drain(sock, take)


@dataclass(slots=True)
class Audit:
    """The totals of an Agent's past lives. `read` and `unread` are sums of counters, by name and tags."""

    read: Counter[tuple[str, tuple[str, ...]]] = field(default_factory=Counter)
    unread: Counter[tuple[str, tuple[str, ...]]] = field(default_factory=Counter)
    datagrams: int = 0
    drained: int = 0  # lives that ended in order
    killed: int = 0
    left: list[int] = field(default_factory=list)  # datagrams in the queue, of every life that was killed
    left_by_drained: int = 0  # datagrams that a life which ended in order has not read
    dropped: int = 0  # datagrams that the kernel dropped, the queue of a UDP socket being full
    malformed: list[str] = field(default_factory=list)

    def take(self, datagrams: list[bytes], into: Counter[tuple[str, tuple[str, ...]]]) -> None:
        """Parse, and add up the counters."""
        # The reader runs with -S, without site-packages; it must not reach this import.
        from wsnova_statsd.testing.dogstatsd import DatagramError, Metric, parse_datagram

        for data in datagrams:
            try:
                messages = parse_datagram(data)
            except DatagramError as error:
                self.malformed.append(str(error))
                continue
            for one in messages:
                if isinstance(one, Metric) and one.type == "c":
                    into[one.name, one.tags] += round(one.count)


class Agent:
    """A Datadog Agent on the Unix socket `address`, or on the UDP port `address` of the loopback interface.

    `start()` unlinks and binds anew; between two lives nothing listens, and the socket file of the last one is left.
    """

    def __init__(self, address: Path | int) -> None:
        self.address = address
        self.audit = Audit()
        self._socket: socket.socket | None = None
        self._process: subprocess.Popen[str] | None = None
        self._journal = -1  # a descriptor

    def start(self) -> Self:
        """Listen; returns once the reader reads."""
        assert self._process is None
        self._socket = sock = self._bind()
        self._journal = os.memfd_create("journal")
        os.ftruncate(self._journal, _JOURNAL)
        shared = (sock.fileno(), self._journal)
        command = [sys.executable, "-E", "-S", __file__, *map(str, shared)]
        self._process = subprocess.Popen(command, pass_fds=shared, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        if self._process.stdout.readline() != "ready\n":
            raise RuntimeError(f"{command!r} ended early")
        return self

    def _bind(self) -> socket.socket:
        unix = isinstance(self.address, Path)
        sock = socket.socket(socket.AF_UNIX if unix else socket.AF_INET, socket.SOCK_DGRAM)
        try:
            sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER)
        except PermissionError:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        if isinstance(self.address, Path):
            self.address.unlink(missing_ok=True)
            sock.bind(str(self.address))
        else:
            sock.bind((LOOPBACK, self.address))
        return sock

    @property
    def running(self) -> bool:
        """Whether the reader reads, or would when thawed."""
        return self._process is not None and self._process.poll() is None

    def observed(self) -> bool:
        """Whether anything was read in this life."""
        return os.pread(self._journal, 1, 0) != b"\0"

    def queued(self) -> bool:
        """Whether anything waits to be read."""
        assert self._socket is not None
        try:
            return bool(self._socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
        except BlockingIOError:
            return False

    def freeze(self) -> None:
        """The Agent is frozen and reads nothing; its socket exists."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """The Agent goes on."""
        self._signal(signal.SIGCONT)

    def stop(self) -> None:
        """SIGTERM: it refuses what is new, reads what came, and ends."""
        self._signal(signal.SIGTERM)
        self._signal(signal.SIGCONT)
        self.audit.drained += 1
        self.audit.left_by_drained += self._over()

    def kill(self) -> None:
        """SIGKILL: what it has not read is lost, and noted in `audit.unread`."""
        self._signal(signal.SIGKILL)
        self.audit.killed += 1
        self.audit.left.append(self._over())

    def _signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def _over(self) -> int:
        """Account for the life that ends; returns how many datagrams were unread."""
        assert self._process is not None
        assert self._process.stdout is not None
        assert self._socket is not None
        self._process.wait(_PATIENCE)
        self._process.stdout.close()
        unread: list[bytes] = []
        with self._socket as sock:
            seal(sock)
            drain(sock, lambda sock: unread.append(sock.recv(_READ)))
            if sock.family == socket.AF_INET:  # a Unix socket drops nothing: the sender gets an error
                self.audit.dropped += struct.unpack("9I", sock.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, 36))[8]
        with open(self._journal, "rb") as journal:
            datagrams = _until_zeros(journal.read)
        self._process = self._socket = None
        self.audit.datagrams += len(datagrams)
        self.audit.take(datagrams, self.audit.read)
        self.audit.take(unread, self.audit.unread)
        return len(unread)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_exception: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._over()


def _until_zeros(read: Callable[[int], bytes]) -> list[bytes]:
    """The datagrams of a journal; a datagram holds no NUL."""
    data = b""
    while not data.endswith(b"\0\0"):
        data += read(_READ)
    return [one for one in data.split(b"\0") if one]


def free_port(kind: socket.SocketKind = socket.SOCK_DGRAM) -> int:
    """A port that no other program gets while we do not listen on it: one below those the kernel assigns."""
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii").split()[0])
    deadline = time.monotonic() + _PATIENCE
    while True:
        port = Random().randrange(10_000, first)
        try:
            with socket.socket(socket.AF_INET, kind) as sock:
                sock.bind((LOOPBACK, port))
            return port
        except OSError:
            if time.monotonic() > deadline:
                raise


if __name__ == "__main__":
    read(int(sys.argv[1]), int(sys.argv[2]))
