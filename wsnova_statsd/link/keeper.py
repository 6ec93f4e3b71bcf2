"""The keeper, `wsnova-keeper`: one thread per process that stands in for the I/O of owners that are away.

An owner is away if it has not read for a quarter of a second: it is in a handler, a loop body or a telemetry handler,
or no thread iterates. The keeper then reads into the link's inbox, answers pings, sends due ones, and wakes the threads
that wait for an answer. It never waits for a lock, and never calls the bus, user code, a decoder or a resolver.
`watch`, `forget` and `ask` are called from any thread; the rest runs in the keeper.
"""

from __future__ import annotations

import contextlib
import logging
import math
import select
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from .. import process
from ..redaction import log_fault
from .link import Driver, Link
from .transport import polling

AWAY: Final = 0.25  # seconds until an owner counts as away, and between two looks
_CALM: Final = 1.0  # seconds between two looks while all owners read
_LONGEST: Final = 3600.0  # seconds of one wait, with no link to keep
_LONG: Final = 1.0  # seconds after which another thread emits what the owner should
# True if two threads may wait for one descriptor. Eventlet allows one greenlet at a time, and removes poll.
_TOGETHER: Final = hasattr(select, "poll")
_OFTEN: Final = 0.02  # seconds between two looks at the links of absent owners, if not
_log = logging.getLogger(__name__)
_OWNER: Final = Driver.OWNER


class Kept:
    """What the keeper knows of one link. `on_data` wakes the threads that wait for an answer, `on_long` has another
    thread stand in; both hold their client weakly, if at all: the keeper keeps no client alive."""

    __slots__ = ("asked_at", "link", "on_data", "on_long", "registered", "selector")

    def __init__(self, link: Link, on_data: Callable[[], None], on_long: Callable[[], None]) -> None:
        self.link: Link = link
        self.on_data: Callable[[], None] = on_data
        self.on_long: Callable[[], None] = on_long
        self.registered: int = -1  # the descriptor in the selector
        self.selector: selectors.BaseSelector | None = None
        self.asked_at: float = 0.0  # when another thread was last asked to stand in


class Keeper:
    """The links of this process, and the thread that serves them."""

    def __init__(self) -> None:
        self._reset()
        process.on_fork(self)

    def after_fork(self) -> None:
        """In a forked child: the links and the thread are the parent's."""
        self._reset()

    def _reset(self) -> None:
        self._thread: threading.Thread | None = None
        self._starting: dict[str, object] = {}  # the first thread in it starts the keeper
        self._posts: deque[tuple[str, Kept]] = deque()  # requests of other threads
        self._registered: set[Kept] = set()  # in the selector, because their owners are away
        self._waker: socket.socket | None = None

    def watch(self, kept: Kept) -> None:
        """Serve this link from now on; the first link starts the thread."""
        self._posts.append(("watch", kept))
        if self._thread is None or not self._thread.is_alive():
            self._start()
        self._wake()

    def _start(self) -> None:
        """Start the thread, unless another thread, or the code that this signal's handler interrupts, is doing so."""
        me = object()
        pair: list[socket.socket] = []
        try:
            if self._starting.setdefault("by", me) is me:
                pair.extend(socket.socketpair())
                for sock in pair:
                    sock.setblocking(False)
                name = process.thread_name("keeper")
                self._thread = threading.Thread(target=self._run, args=(*pair,), name=name, daemon=True)
                self._waker = pair[1]
                with contextlib.suppress(RuntimeError):  # the interpreter is ending
                    self._thread.start()
        except BaseException:  # a signal's handler raised; the next call starts it
            if self._thread is None or not self._thread.is_alive():
                for sock in pair:
                    sock.close()
            raise
        finally:
            if self._starting.get("by") is me:
                self._starting.clear()

    def forget(self, kept: Kept) -> None:
        """The link is lost; call this before its descriptor is closed. The descriptor leaves the selector at once: if a
        forked child has a copy of the connection, the kernel would report its end forever."""
        if kept.selector is not None:
            self._unregister(kept.selector, kept)
        self._posts.append(("forget", kept))
        self._wake()

    def ask(self, kept: Kept) -> None:
        """A caller is waiting for what this link receives: stand in at once if its owner does not read."""
        self._posts.append(("ask", kept))
        self._wake()

    def _wake(self) -> None:
        waker = self._waker
        if waker is not None:
            with contextlib.suppress(OSError):  # full: the keeper is awake
                waker.send(b"x")

    # -- the keeper's thread ------------------------------------------------------------------------------------------

    def _run(self, woken: socket.socket, waker: socket.socket) -> None:
        links: dict[Link, Kept] = {}
        selector = selectors.DefaultSelector()
        selector.register(woken, selectors.EVENT_READ)
        wait = polling(woken)  # a tenth of the selector's time, which matters when idle
        pause, next_round = AWAY, 0.0
        while self._waker is waker:
            left = max(0.0, next_round - time.monotonic()) if links else _LONGEST
            if self._registered or self._posts or wait(math.ceil(left * 1e3)):
                for kept in self._readable(selector, woken, left):
                    with _GUARD:
                        self._serve(selector, kept)
                while self._posts:
                    with _GUARD:
                        self._post(selector, links, *self._posts.popleft())
            now = time.monotonic()
            if now >= next_round:
                away = [kept for link, kept in links.items() if link.disposed or link.driver is not _OWNER]
                busy = bool(away or self._registered)  # nearly all owners read
                pause = AWAY if busy else min(2 * pause, _CALM)
                next_round = now + pause
                if busy:
                    self._round(selector, links, away, now)

    def _round(self, selector: selectors.BaseSelector, links: dict[Link, Kept], away: list[Kept], now: float) -> None:
        """Serve absent owners and links that have ended; four times a second while there are any."""
        for kept in self._registered.union(away):
            with _GUARD:
                if kept.link.disposed:  # before it was watched
                    self._post(selector, links, "forget", kept)
                else:
                    self._look(selector, kept, now)

    def _readable(self, selector: selectors.BaseSelector, woken: socket.socket, timeout: float) -> list[Kept]:
        """Wait until links are readable, for so many seconds or until a thread posts something. If a returning owner
        could not wait for the same descriptor: return all links, after a brief wait."""
        ready: list[Kept] = []
        if self._registered and not _TOGETHER:
            ready.extend(self._registered)
            timeout = min(timeout, _OFTEN)
        with _GUARD:
            for key, _ in selector.select(0.0 if self._posts else timeout):
                if key.data is not None:
                    ready.append(key.data)
                    continue
                with contextlib.suppress(BlockingIOError):
                    woken.recv(4096)
        return ready

    def _post(self, selector: selectors.BaseSelector, links: dict[Link, Kept], what: str, kept: Kept) -> None:
        if what == "watch":
            links[kept.link] = kept
        elif what == "forget":
            links.pop(kept.link, None)
            self._unregister(selector, kept)
        else:
            self._adopt(selector, kept)

    def _look(self, selector: selectors.BaseSelector, kept: Kept, now: float) -> None:
        """Stand in for an owner that is away."""
        link = kept.link
        away = now - link.away_since if link.driver is not Driver.OWNER else 0.0
        if link.loss is not None:
            self._unregister(selector, kept)
            kept.on_data()  # no answer can arrive any more
        elif link.driver is not Driver.KEEPER:
            self._unregister(selector, kept)
            if away >= AWAY:
                self._adopt(selector, kept)
        elif link.full or link.attention(now):  # data is reported by the selector
            self._serve(selector, kept)
        waits = link.session.notices or link.loss is not None
        if waits and away >= _LONG and now - kept.asked_at >= _LONG:
            kept.asked_at = now
            kept.on_long()

    def _adopt(self, selector: selectors.BaseSelector, kept: Kept) -> None:
        link = kept.link
        if link.loss is None and link.driver is not Driver.KEEPER and link.adopt():
            self._register(selector, kept)
            self._serve(selector, kept)
            if link.inbox:
                kept.on_data()  # the answer may be among the unhandled messages that the owner read

    def _serve(self, selector: selectors.BaseSelector, kept: Kept) -> None:
        """Read and write once for a link, without waiting."""
        link = kept.link
        if link.driver is not Driver.KEEPER:
            self._unregister(selector, kept)
            return
        before = link.session.arrived
        link.keep()
        if link.session.arrived != before or link.loss is not None:
            kept.on_data()
        if link.full or link.loss is not None:
            self._unregister(selector, kept)
        elif link.driver is Driver.KEEPER and kept.registered < 0:
            self._register(selector, kept)

    def _register(self, selector: selectors.BaseSelector, kept: Kept) -> None:
        self._unregister(selector, kept)
        descriptor = kept.link.fileno()
        if descriptor >= 0:
            with contextlib.suppress(ValueError, OSError):
                if descriptor in selector.get_map():  # a closed link's descriptor, whose number was reused
                    selector.unregister(descriptor)
                if _TOGETHER:
                    selector.register(descriptor, selectors.EVENT_READ, kept)
                kept.registered, kept.selector = descriptor, selector
                self._registered.add(kept)

    def _unregister(self, selector: selectors.BaseSelector, kept: Kept) -> None:
        descriptor, kept.registered = kept.registered, -1
        self._registered.discard(kept)
        key = selector.get_map().get(descriptor) if descriptor >= 0 else None
        if key is not None and key.data is kept:
            with contextlib.suppress(KeyError, ValueError, OSError):
                selector.unregister(descriptor)


class _Guard:
    """Wraps each step of the keeper: if the keeper ended, a slow handler would cost the connection. A fault of one link
    does not affect the others."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if isinstance(error, Exception):
            log_fault(_log, error, "the keeper failed on a connection")
            return True
        return False


_GUARD: Final = _Guard()
KEEPER: Final = Keeper()
