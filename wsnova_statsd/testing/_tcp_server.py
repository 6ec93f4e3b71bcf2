"""The server that runs a script for each TCP connection; import it from `testing.tcp`.

Threads, all daemons named `wsnova-test-tcp...`: one accepts, and one for each connection runs the script. Call every
method from any thread. Never listens on anything but the given host.
"""

from __future__ import annotations

import socket
import ssl as tls
import threading
import time
from contextlib import suppress

from ._connection import Connection, Script
from ._loopback import LoopbackServer, cut


class TcpServer(LoopbackServer):
    """A server that runs `script(connection)` for each TCP connection, in its own thread.

    `ssl` is an ssl.SSLContext: the script then starts after the TLS handshake. `port` 0 uses a free port, which the
    server keeps over `stop()` and `start()`.
    """

    def __init__(
        self, script: Script, *, ssl: tls.SSLContext | None = None, host: str = "127.0.0.1", port: int = 0
    ) -> None:
        super().__init__(ssl, host, port)
        self.script = script
        self._listener: socket.socket | None = None  # _changed guards this field and those below
        self._acceptor: threading.Thread | None = None
        self._threads: dict[threading.Thread, Connection] = {}
        self._accepted = 0

    @property
    def connections(self) -> int:
        """The number of TCP connections accepted so far."""
        with self._changed:
            return self._accepted

    def start(self) -> None:
        """Listen and accept. Raises RuntimeError if already started, OSError if the port is in use."""
        with self._changed:
            if self._listener is not None:
                raise RuntimeError("this server has already been started; stop() it first")
            self._listener = self._listen_locked()
            arguments = (self._listener, self.stopping)
            self._acceptor = threading.Thread(target=self._accept, args=arguments, name="wsnova-test-tcp", daemon=True)
            self._acceptor.start()

    def stop(self, timeout: float = 5.0) -> None:
        """Stop listening and cut every connection.

        Raises TimeoutError if a script does not end within `timeout` seconds; calling it again waits for that again.
        """
        deadline = time.monotonic() + timeout
        with self._changed:
            listener, self._listener = self._listener, None
            self.stopping.set()
        if listener is not None:
            cut(listener)  # wakes accept() on Linux; closing alone would not
            listener.close()
        if self._acceptor is not None:
            self._acceptor.join(timeout)
        with self._changed:
            running = {thread: its for thread, its in self._threads.items() if thread is not threading.current_thread()}
        for connection in running.values():
            cut(connection.socket)
        for thread, connection in running.items():
            while thread.is_alive() and time.monotonic() < deadline:
                cut(connection.socket)  # again: the first cut may have come while TLS was taking over the socket
                thread.join(0.02)
            if thread.is_alive():
                raise TimeoutError(
                    f"the script of {thread.name} still runs after {timeout} s; have it wait on stopping"
                )

    def _accept(self, listener: socket.socket, stopping: threading.Event) -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                if stopping.wait(0.05):  # stop() has closed the listener; otherwise no descriptor was free
                    return
                continue
            connection = Connection(sock, stopping)
            with self._changed:
                self._accepted += 1
                name = f"wsnova-test-tcp-{self._accepted}"
                thread = threading.Thread(target=self._run, args=(connection,), name=name, daemon=True)
                thread.start()
                self._threads = {each: its for each, its in self._threads.items() if each.is_alive()}
                self._threads[thread] = connection
                self._changed.notify_all()

    def _run(self, connection: Connection) -> None:
        try:
            # Only errors that the peer or stop() causes are expected; the script's own go to threading.excepthook.
            with suppress(EOFError, OSError):
                if self.ssl is not None:
                    connection.start_tls(self.ssl)
                self.script(connection)
        finally:
            connection.close()
            with self._changed:
                self._changed.notify_all()
