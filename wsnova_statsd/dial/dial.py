"""A dial: name, TCP and TLS under one deadline that another thread can cancel.

All addresses of a name are tried, alternating between IPv6 and IPv4, a new one every 250 ms or as soon as one fails
(RFC 8305); the first to connect wins. Threads: `connect`, `secure`, `recv` and `send` run in the owner's thread,
`cancel` in any. A name is resolved in a separate daemon thread, because a resolver cannot be interrupted: after the
deadline that thread is abandoned. All sockets are non-blocking; the deadline is on time.monotonic().
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import itertools
import os
import selectors
import socket
import ssl
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final, TypeVar

from .. import process
from ..errors import ConnectionFailed
from .relay import Relay
from .sockets import Sockets
from .tls import tls_fault, wrap

_STAGGER: Final = 0.25
_READ: Final = selectors.EVENT_READ
_WRITE: Final = selectors.EVENT_WRITE
_Selector: Final[type[selectors.BaseSelector]] = getattr(selectors, "PollSelector", selectors.SelectSelector)
_UNDER_WAY: Final = (errno.EINPROGRESS, errno.EWOULDBLOCK)  # results of connect on a non-blocking socket
_UNIX: Final = getattr(socket, "AF_UNIX", None)
_Address = tuple[Any, ...]  # one row of getaddrinfo: family, kind, protocol, canonical name, address
_T = TypeVar("_T")
Stream = socket.socket | ssl.SSLSocket
_PLAIN: Final = Sockets()


class Dial:
    """One attempt, `timeout` seconds in all. Every failure is a ConnectionFailed with a bounded cause."""

    def __init__(self, timeout: float, sockets: Sockets = _PLAIN) -> None:
        self._sockets = sockets
        self._deadline = time.monotonic() + timeout
        self._timeout = timeout
        self._cancelled = False
        self._made: list[Stream] = []
        self.kept = True  # the sockets that it made are in use by a link
        self._pair: tuple[socket.socket, ...] = ()
        try:
            self._pair = self._woken, self._waker = socket.socketpair()
            self._woken.setblocking(False)
            self._waker.setblocking(False)
        except BaseException:  # a signal's handler raised: there is no caller yet to close this
            self.close()
            raise

    def cancel(self) -> None:
        """End the dial now; its thread raises ConnectionFailed. Any thread, any number of times; no lock."""
        self._cancelled = True
        try:
            self._waker.send(b"x")
        except OSError:  # the dial is over, or has not read the last ones yet
            pass

    def close(self) -> None:
        """Close the dial's own descriptors, and those of the sockets that it made, unless they are `kept`. May be
        interrupted and called again."""
        for sock in (*self._pair, *(() if self.kept else self._made)):
            sock.close()

    # -- name and TCP -----------------------------------------------------------------------------------------------

    def connect(self, host: str, port: int) -> socket.socket:
        """Return a connected TCP socket, to the first address of the name that answers."""
        addresses = self._sockets.usable(self._resolve(host, port), host)
        waiting: dict[socket.socket, str] = {}
        fault: OSError | None = None
        selector = _Selector()
        selector.register(self._woken, _READ)
        try:
            next_start = time.monotonic()
            while addresses or waiting:
                if addresses and (not waiting or time.monotonic() >= next_start):
                    family, kind, protocol, _, address = addresses.pop(0)
                    next_start = time.monotonic() + _STAGGER
                    try:
                        sock = self._begin(family, kind, protocol, address)
                    except ConnectionFailed:
                        raise
                    except OSError as error:
                        fault = error
                        continue
                    waiting[sock] = str(address)
                    selector.register(sock, _WRITE)
                pause = max(0.0, next_start - time.monotonic()) if addresses else self._remaining()
                for key, _ in selector.select(min(pause, self._remaining())):
                    if key.fileobj is self._woken:
                        self._drain()
                        continue
                    sock = key.fileobj  # type: ignore[assignment]  # what was registered above
                    code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                    if not code:
                        del waiting[sock]
                        return sock
                    fault = OSError(code, os.strerror(code))
                    selector.unregister(sock)
                    del waiting[sock]
                    sock.close()
                    next_start = time.monotonic()
                self._check()
        finally:
            selector.close()
            for sock in waiting:
                sock.close()
        raise unreachable(fault, f"{host} port {port}")

    def connect_unix(self, path: str) -> socket.socket:
        """Return a connected Unix stream socket. It connects at once or not at all: a full queue counts as a
        refusal."""
        self._check()
        try:
            return self._begin(socket.AF_UNIX, socket.SOCK_STREAM, 0, path, (0,))
        except OSError as error:
            if isinstance(error, ConnectionFailed):
                raise
            at = f"the socket {path!r} (unix_socket=)"
            if error.errno in (errno.ECONNREFUSED, errno.ENOENT, *_UNDER_WAY):
                why = "accepts no more connections" if error.errno in _UNDER_WAY else "has no listener"
                text = f"{at} {why}; check the path, and that the server runs"
                raise ConnectionFailed(text, cause="refused") from error
            text = f"{at} cannot be reached: {error.strerror or error}; check the path, and its permissions"
            raise ConnectionFailed(text, cause="unreachable") from error

    def _begin(
        self, family: int, kind: int, protocol: int, address: Any, fine: tuple[int, ...] = (0, *_UNDER_WAY)
    ) -> socket.socket:
        self._made.append(sock := socket.socket(family, kind, protocol))
        try:
            sock.setblocking(False)
            if family != _UNIX:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            self._sockets.prepare(sock)
            code = sock.connect_ex(address)
            if code not in fine:
                raise OSError(code, os.strerror(code))
        except BaseException:
            sock.close()
            raise
        return sock

    def _resolve(self, host: str, port: int) -> list[_Address]:
        try:
            ipaddress.ip_address(host.partition("%")[0])
        except ValueError:
            return _alternate(self._look_up(host, port))
        return [*socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)]

    def _look_up(self, host: str, port: int) -> list[_Address]:
        answer: list[list[_Address] | Exception] = []
        waker = self._waker

        def look_up() -> None:
            try:
                answer.append([*socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)])
            except Exception as error:  # any exception must end this wait, not leave it waiting
                answer.append(error)
            try:
                waker.send(b"x")
            except OSError:  # the dial is over
                pass

        threading.Thread(target=look_up, name=process.thread_name("resolve"), daemon=True).start()
        while not answer:
            self._wait(self._woken, _READ, f"the name {host!r} was not resolved")
            self._drain()
        self._drain()
        if isinstance(answer[0], Exception):
            why = getattr(answer[0], "strerror", None) or answer[0]
            text = f"the name {host!r} cannot be resolved: {why}; check the host, and this machine's resolver"
            raise ConnectionFailed(text, cause="dns")
        return answer[0]

    # -- TLS and the bytes of a handshake -----------------------------------------------------------------------------

    def secure(self, sock: Stream, context: ssl.SSLContext, host: str) -> ssl.SSLSocket:
        """The socket under TLS, its certificate checked against `host` as the context requires. If the socket is under
        TLS with a proxy already, a relay carries the inner connection."""
        if isinstance(sock, ssl.SSLSocket):
            relay = Relay(sock)
            self._made.append(relay.near)
            relay.start()
            self._made.remove(sock)  # now owned by the relay
            sock = relay.near
        name = host.partition("%")[0]  # certificates do not contain zones of addresses
        try:
            self._made.append(secured := wrap(context, sock, name))
        except BaseException as error:
            sock.close()
            if isinstance(error, OSError | ValueError):
                raise tls_fault(host, error) from error
            raise
        try:
            self._retry(secured, secured.do_handshake, _READ, "the TLS handshake was incomplete")
        except BaseException as error:
            secured.close()
            if isinstance(error, OSError) and not isinstance(error, ConnectionFailed):  # SSLError and CertificateError
                raise tls_fault(host, error) from error
            raise
        return secured

    def recv(self, sock: Stream, size: int) -> bytes:
        """Receive some bytes, or b'' at the end of the stream."""
        return self._retry(sock, lambda: sock.recv(size), _READ, "the server's answer was incomplete")

    def send(self, sock: Stream, data: bytes) -> None:
        """Send all of the bytes."""
        rest = memoryview(data)
        while rest:
            sent = self._retry(sock, partial(sock.send, rest), _WRITE, "the request was not sent")
            rest = rest[sent:]

    def _retry(self, sock: Stream, work: Callable[[], _T], ready: int, unfinished: str) -> _T:
        while True:
            self._check(unfinished)
            try:
                return work()
            except BlockingIOError:
                self._wait(sock, ready, unfinished)
            except ssl.SSLWantReadError:
                self._wait(sock, _READ, unfinished)
            except ssl.SSLWantWriteError:
                self._wait(sock, _WRITE, unfinished)
            except (ssl.SSLEOFError, ssl.SSLZeroReturnError):  # an end of the stream, like that of plain TCP
                raise
            except ssl.SSLError as error:  # also after the handshake: with TLS 1.3 a server refuses a certificate then
                raise tls_fault(getattr(sock, "server_hostname", None) or "the server", error) from error

    def _wait(self, sock: Stream, events: int, unfinished: str) -> None:
        """Wait until the socket is ready; raises ConnectionFailed at the deadline and if cancelled."""
        self._check(unfinished)
        with _Selector() as selector:
            if sock is not self._woken:
                selector.register(self._woken, _READ)
            selector.register(sock, events)
            selector.select(self._remaining())
        if sock is not self._woken:
            self._drain()
        self._check(unfinished)

    def _drain(self) -> None:
        """Read the wake-up bytes: unread ones would end every later wait at once."""
        with contextlib.suppress(BlockingIOError):
            self._woken.recv(64)

    def _remaining(self) -> float:
        return max(0.0, self._deadline - time.monotonic())

    def _check(self, unfinished: str = "there was no connection") -> None:
        if self._cancelled:
            raise ConnectionFailed("the dial was cancelled", cause="cancelled")
        if time.monotonic() >= self._deadline:
            text = f"{unfinished} after connect_timeout={self._timeout:g} s; check host, port and the network between"
            raise ConnectionFailed(text, cause="timeout")


def _alternate(addresses: list[_Address]) -> list[_Address]:
    """IPv6 and IPv4 in turn, each in the resolver's order: a broken family costs 250 ms, not the deadline."""
    first = [one for one in addresses if one[0] == addresses[0][0]]
    second = [one for one in addresses if one[0] != addresses[0][0]]
    return [one for pair in itertools.zip_longest(first, second) for one in pair if one is not None]


def unreachable(fault: OSError | None, where: str) -> ConnectionFailed:
    """The error for an unsuccessful connection to this address."""
    if fault is not None and fault.errno == errno.ECONNREFUSED:
        text = f"nothing listens at {where}; check host and port, and that the server runs"
        return ConnectionFailed(text, cause="refused")
    why = "the name has no address" if fault is None else fault.strerror or str(fault)
    text = f"{where} cannot be reached: {why}; check host, port and the network between"
    return ConnectionFailed(text, cause="unreachable")
