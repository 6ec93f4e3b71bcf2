"""A stand-in for the Datadog Agent: a real UDP or Unix datagram socket that reads strictly and keeps what it reads.

One daemon thread, `wsnova-receiver`, reads, parses and stores, then calls `on_message`. It starts with `start()` (or
with the context) and ends within the timeout of `stop()`. Call every other method from any thread. The thread never
raises: a malformed datagram is kept in `malformed`, an error of the callback in `callback_errors`. It never answers,
and never accepts what the Agent would silently drop.
"""

from __future__ import annotations

import os
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final, Self, TypeVar

from wsnova_statsd import checks

from .dogstatsd import MAX_DATAGRAM, DatagramError, Message, parse_datagram
from .questions import MessageLog

_T = TypeVar("_T")

_READ: Final = 65535  # the largest possible datagram: so an oversize one differs from one that just fits
_RECEIVE_BUFFER: Final = 8 * 2**20  # bytes asked for; the kernel grants what net.core.rmem_max allows
_BATCH: Final = 128  # datagrams between two checks of the stop signal


class DogStatsDReceiver(MessageLog):
    """Receive DogStatsD on a UDP port or, with `path`, on a Unix datagram socket.

    `port=0` uses a free port, known after `start()` and used again by a later `start()`. A datagram of more than
    `max_datagram` bytes is malformed. `keep` bounds the number of datagrams and of messages that are kept (None: all;
    0: none, only `on_message` receives them). `on_message(message)` runs in the receiver's thread, outside its lock.
    """

    @checks.by_name
    def __init__(
        self,
        path: str | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        max_datagram: int = MAX_DATAGRAM,
        *,
        keep: int | None = None,
        on_message: Callable[[Message], object] | None = None,
    ) -> None:
        self.path: str | None = path
        self.host: str = host
        self.port: int = port
        self.max_datagram: int = max_datagram
        self.on_message: Callable[[Message], object] | None = on_message
        self._lifecycle = threading.Lock()  # serializes start and stop; never taken by the reader
        self._thread: threading.Thread | None = None
        self._wake: socket.socket | None = None
        self._made: os.stat_result | None = None  # the Unix socket file that we made and have to remove
        self._stop_by = 0.0  # monotonic seconds; written before the reader is woken
        # Reentrant, so that a predicate of wait_for may use the whole public surface.
        self._changed = threading.Condition(threading.RLock())
        self._datagrams: deque[bytes] = deque(maxlen=keep)
        self._messages: deque[Message] = deque(maxlen=keep)
        self._malformed: deque[tuple[bytes, str]] = deque(maxlen=keep)
        self._callback_errors: deque[Exception] = deque(maxlen=keep)

    # Start and stop

    def start(self) -> Self:
        """Bind and start the reader. Does nothing if it runs. Raises OSError if the address cannot be bound."""
        with self._lifecycle:
            if self._thread is None:
                sock = self._bind()
                woken, self._wake = socket.socketpair()
                run = partial(self._read, sock, woken)
                self._thread = threading.Thread(target=run, name="wsnova-receiver", daemon=True)
                self._thread.start()
        return self

    def stop(self, timeout: float = 2.0) -> None:
        """Read what has arrived, end the reader within `timeout` seconds and remove the socket file we made."""
        with self._lifecycle:
            thread, wake = self._thread, self._wake
            if thread is None or wake is None:
                return
            self._thread = self._wake = None
            # Half of the time is for further reading, the rest for the datagrams that were read.
            self._stop_by = time.monotonic() + timeout / 2
            wake.close()  # the other end becomes readable
            if thread is not threading.current_thread():
                thread.join(timeout)
            if self.path is not None and self._made is not None:
                _unlink(self.path, self._made)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def address(self) -> tuple[str, int] | str:
        """Where to send: the path of a Unix socket, or host and port, as `socket.sendto` accepts it."""
        return self.path if self.path is not None else (self.host, self.port)

    # What was received

    @property
    def datagrams(self) -> list[bytes]:
        """Every datagram as received, malformed ones too."""
        return self._snapshot(self._datagrams)

    @property
    def malformed(self) -> list[tuple[bytes, str]]:
        """The datagrams that broke a rule, each with the reason; none of their lines is in `messages`."""
        return self._snapshot(self._malformed)

    @property
    def callback_errors(self) -> list[Exception]:
        """What `on_message` raised."""
        return self._snapshot(self._callback_errors)

    @property
    def messages(self) -> list[Message]:
        """Metrics, events and service checks in the order of arrival."""
        return self._snapshot(self._messages)

    def wait_for(self, predicate: Callable[[DogStatsDReceiver], object], timeout: float = 5.0) -> bool:
        """Wait up to `timeout` seconds until `predicate(self)`, called in this thread as data arrives, is true. Returns
        whether it is."""
        with self._changed:
            return bool(self._changed.wait_for(lambda: bool(predicate(self)), timeout))

    def clear(self) -> None:
        """Drop all that was received so far."""
        with self._changed:
            for store in (self._datagrams, self._messages, self._malformed, self._callback_errors):
                store.clear()

    def _snapshot(self, store: deque[_T]) -> list[_T]:
        with self._changed:
            return list(store)

    # The socket

    def _bind(self) -> socket.socket:
        internet = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        sock = socket.socket(internet if self.path is None else socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
            sock.setblocking(False)
            sock.bind(self.address)
            if self.path is None:
                self.port = sock.getsockname()[1]
            else:
                self._made = os.stat(self.path)
        except BaseException:
            sock.close()
            raise
        return sock

    # The reader: the thread wsnova-receiver

    def _read(self, sock: socket.socket, woken: socket.socket) -> None:
        with sock, woken, selectors.DefaultSelector() as selector:
            selector.register(sock, selectors.EVENT_READ)
            selector.register(woken, selectors.EVENT_READ)
            while woken not in [key.fileobj for key, _ in selector.select()]:
                self._take_batch(sock)
            while self._take_batch(sock) and time.monotonic() < self._stop_by:
                pass  # read what had arrived before stop()

    def _take_batch(self, sock: socket.socket) -> bool:
        """Store what is there, up to one batch. Returns whether there may be more."""
        batch: list[bytes] = []
        try:
            while len(batch) < _BATCH:
                batch.append(sock.recv(_READ))
        except (BlockingIOError, ConnectionResetError):  # the latter is how Windows reports a closed peer
            pass
        # Parsed outside the lock: threads that read the results never wait for the parser.
        read = [self._parse(data) for data in batch]
        messages = [message for parsed, _ in read for message in parsed]
        with self._changed:
            self._datagrams.extend(batch)
            self._messages.extend(messages)
            self._malformed.extend((data, why) for data, (_, why) in zip(batch, read, strict=True) if why)
            self._changed.notify_all()
        if self.on_message is not None:
            for message in messages:
                self._call(self.on_message, message)
        return len(batch) == _BATCH

    def _parse(self, data: bytes) -> tuple[list[Message], str]:
        if len(data) > self.max_datagram:
            return [], f"datagram of {len(data)} bytes, at most {self.max_datagram} fit"
        try:
            return parse_datagram(data), ""
        except DatagramError as error:
            return [], str(error)

    def _call(self, function: Callable[[Message], object], message: Message) -> None:
        try:
            function(message)
        except Exception as error:  # user code: it must not end the reader
            with self._changed:
                self._callback_errors.append(error)
                self._changed.notify_all()


def _unlink(path: str, made: os.stat_result) -> None:
    try:
        if os.path.samestat(os.stat(path), made):  # not another file that has replaced it
            os.unlink(path)
    except FileNotFoundError:
        pass
