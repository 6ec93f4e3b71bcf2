"""One receiver for several tabs: the receiving process sends snapshots to the tabs' processes, over a Unix socket.

`Share` sends the same document to each tab once a second, in the thread `wsnova-watch-share`; a tab that reads slowly
misses some. `Remote` is the tab's end, a source like any other; its thread is `wsnova-watch-remote`.
"""

from __future__ import annotations

import logging
import os
import selectors
import shutil
import socket
import tempfile
import threading
import time
from typing import Final, Self

from ..errors import ConfigurationError
from .session import Source
from .snapshot import Snapshot, from_json, to_json

MOST_TABS: Final = 4
_EVERY: Final = 1.0  # seconds
_CLEAR: Final = b"clear\n"
_FIRST: Final = 5.0  # seconds that a tab waits for its first document
_logger = logging.getLogger("wsnova_statsd")


class _Tab:
    """The parent's end of one tab's connection, and the bytes that are not sent yet."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.left = b""

    def send(self) -> None:
        """Send what the socket accepts now. Raises OSError if the tab is closed."""
        try:
            while self.left:
                self.left = self.left[self.sock.send(self.left) :]
        except BlockingIOError:
            pass


class Share:
    """Serves `source`. A context manager; `path` is the socket's, in a folder that only this user can open."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._folder = ""
        self.path: str = ""
        self._tabs: dict[int, _Tab] = {}  # by descriptor; used by the thread only
        self._thread: threading.Thread | None = None
        self._wake: socket.socket | None = None

    def __enter__(self) -> Self:
        self._folder = tempfile.mkdtemp(prefix="wsnova-watch-")  # mode 0700
        self.path = os.path.join(self._folder, "snapshots")
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listening.bind(self.path)
        os.chmod(self.path, 0o600)
        listening.listen(MOST_TABS)
        listening.setblocking(False)
        self._wake, woken = socket.socketpair()
        self._thread = threading.Thread(
            target=self._run, args=(listening, woken), name="wsnova-watch-share", daemon=True
        )
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Close the connections, which ends the tabs. A second call does nothing."""
        thread, self._thread = self._thread, None
        if thread is not None and self._wake is not None:
            self._wake.close()
            thread.join(2.0)
            shutil.rmtree(self._folder, ignore_errors=True)

    # -- the thread wsnova-watch-share --------------------------------------------------------------------------------

    def _run(self, listening: socket.socket, woken: socket.socket) -> None:
        with listening, woken, selectors.DefaultSelector() as selector:
            selector.register(listening, selectors.EVENT_READ)
            selector.register(woken, selectors.EVENT_READ)
            due = 0.0
            while True:
                ready = [key.fileobj for key, _ in selector.select(max(0.0, due - time.monotonic()))]
                if woken in ready:
                    break
                if listening in ready:
                    self._accept(listening, selector)
                    due = 0.0  # a new tab waits for its first document
                for tab in list(self._tabs.values()):
                    if tab.sock in ready:
                        self._receive(tab, selector)
                if time.monotonic() >= due:
                    due = time.monotonic() + _EVERY
                    self._send(selector)
            for tab in self._tabs.values():
                tab.sock.close()

    def _accept(self, listening: socket.socket, selector: selectors.BaseSelector) -> None:
        try:
            sock = listening.accept()[0]
        except OSError:  # the tab is closed already
            return
        if len(self._tabs) >= MOST_TABS:
            sock.close()
            return
        sock.setblocking(False)
        self._tabs[sock.fileno()] = _Tab(sock)
        selector.register(sock, selectors.EVENT_READ)

    def _receive(self, tab: _Tab, selector: selectors.BaseSelector) -> None:
        try:
            data = tab.sock.recv(1024)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._drop(tab, selector)
        elif _CLEAR.strip() in data:
            self._source.clear()

    def _send(self, selector: selectors.BaseSelector) -> None:
        if not self._tabs:
            return
        try:
            document = to_json(self._source.snapshot()).encode() + b"\n"
        except Exception:  # the thread goes on; the error is logged
            _logger.exception("watch: could not take a snapshot for the tabs")
            return
        for tab in list(self._tabs.values()):
            tab.left = tab.left or document
            try:
                tab.send()
            except OSError:
                self._drop(tab, selector)

    def _drop(self, tab: _Tab, selector: selectors.BaseSelector) -> None:
        selector.unregister(tab.sock)
        del self._tabs[tab.sock.fileno()]
        tab.sock.close()


class Remote:
    """A tab's source: the snapshots of the receiving process."""

    def __init__(self, path: str) -> None:
        self.ended: threading.Event = threading.Event()  # set when the other process has ended
        self._latest: Snapshot | None = None  # written by the thread
        self._arrived = threading.Event()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.connect(path)
        except OSError as error:
            self._socket.close()
            raise ConfigurationError(f"cannot reach a running watch at {path}: {error.strerror}") from error
        threading.Thread(target=self._read, name="wsnova-watch-remote", daemon=True).start()

    def snapshot(self) -> Snapshot:
        """The latest snapshot that arrived."""
        self._arrived.wait(_FIRST)
        return self._latest if self._latest is not None else Snapshot("no figures yet", time.time(), 0.0)

    def clear(self) -> None:
        """Start over, for all tabs."""
        try:
            self._socket.sendall(_CLEAR)
        except OSError:
            self.ended.set()

    def close(self) -> None:
        """Close the connection."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes the thread, which closes it
        except OSError:  # the other process has ended already
            pass

    def _read(self) -> None:
        """Runs in the thread wsnova-watch-remote."""
        try:
            with self._socket, self._socket.makefile("rb") as lines:
                for line in lines:
                    self._latest = from_json(line)
                    self._arrived.set()
        except (OSError, ValueError, TypeError, KeyError):  # closed, or what came is not a document of this version
            pass
        finally:
            self.ended.set()
            self._arrived.set()
