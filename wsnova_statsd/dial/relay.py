"""TLS within TLS, for wss:// through an https:// proxy: a thread carries bytes between a socket pair and the proxy.

The link gets one end of the pair and uses TLS on it like on any socket, because OpenSSL's sockets cannot be stacked.
Threads: one per such link, `wsnova-relay`, the only user of the socket to the proxy; it ends when either side does.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading
from typing import Final

from .. import process
from .tls import below_tls

_MOST: Final = 65536
_KINDS: Final = (getattr(select, "POLLIN", 1), getattr(select, "POLLOUT", 4))
_SILENCE: Final = 0.5  # seconds after which a link that sends no more is considered closed
_GONE: Final = getattr(select, "POLLHUP", 0) | getattr(select, "POLLERR", 0)


class Relay:
    """Carries bytes between `near`, the link's socket, and a TLS socket to a proxy, which the relay owns from now
    on."""

    def __init__(self, proxy: ssl.SSLSocket) -> None:
        self._proxy = proxy
        self.near: socket.socket
        self.near, self._far = socket.socketpair()
        self.near.setblocking(False)
        self._far.setblocking(False)
        self._inbound = b""  # from the proxy, not yet read by the link
        self._outbound = b""
        self._sends = True  # the link may send more

    def start(self) -> None:
        """Start the thread. Called in the thread that dials."""
        process.on_fork(self)
        threading.Thread(target=self._run, name=process.thread_name("relay"), daemon=True).start()

    def after_fork(self) -> None:
        """In a forked child: the connection is the parent's."""
        self._far.close()
        self._proxy.close()

    def _run(self) -> None:
        """wsnova-relay: runs until either side ends. An error of one side ends the other."""
        try:
            with contextlib.suppress(OSError, ValueError):
                while self._carry():
                    pass
        finally:
            for sock in (self._far, self._proxy):
                with contextlib.suppress(OSError):  # needed if a child still has a copy of the descriptor
                    below_tls(sock, "shutdown")(socket.SHUT_RDWR)
                sock.close()

    def _carry(self) -> bool:
        """Carry what is available, then wait for more; False at the end."""
        awaited = {self._proxy: 0, self._far: 0}
        moved = False
        for sock, step in (
            (self._proxy, self._take_in),
            (self._far, self._give_in),
            (self._far, self._take_out),
            (self._proxy, self._give_out),
        ):
            try:
                moved |= step()
            except ssl.SSLWantWriteError:
                awaited[sock] |= select.POLLOUT
            except ssl.SSLWantReadError:
                awaited[sock] |= select.POLLIN
            except BlockingIOError:
                awaited[sock] |= select.POLLOUT if step == self._give_in else select.POLLIN
            except EOFError:
                return False
        return moved or self._wait(awaited)

    def _wait(self, awaited: dict[ssl.SSLSocket | socket.socket, int]) -> bool:
        if not hasattr(select, "poll"):  # eventlet removes it; without it the close of the link is not reported
            readers, writers = ([sock for sock, events in awaited.items() if events & kind] for kind in _KINDS)
            return any(select.select(readers, writers, (), None if self._sends else _SILENCE))
        poll = select.poll()
        for sock, events in awaited.items():
            # The end of the link is reported without any events; while its last bytes wait, it changes nothing.
            if events or (sock is self._far and not self._outbound):
                poll.register(sock, events)
        far = self._far.fileno()
        return not any(found == far and events & _GONE and not self._sends for found, events in poll.poll())

    def _take_in(self) -> bool:
        if self._inbound:
            return False
        self._inbound = self._proxy.recv(_MOST)
        if not self._inbound:
            raise EOFError
        return True

    def _give_in(self) -> bool:
        if not self._inbound:
            return False
        self._inbound = self._inbound[self._far.send(self._inbound) :]
        return True

    def _take_out(self) -> bool:
        if self._outbound or not self._sends:
            return False
        self._outbound = self._far.recv(_MOST)
        if not self._outbound:
            self._sends = False
            below_tls(self._proxy, "shutdown")(socket.SHUT_WR)
        return True

    def _give_out(self) -> bool:
        if not self._outbound:
            return False
        self._outbound = self._outbound[self._proxy.send(self._outbound) :]
        return True
