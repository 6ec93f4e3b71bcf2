"""One connection's I/O: who may read, who may write, and how it ends. The session interprets the bytes.

Threads: `reading` is held by the one thread that reads - the owner (`runs`, `next_run`, `pump`), or the keeper for an
owner that is away (`keep`) - and guards the session; `driver` says which. The writer decides who writes. A signal's
handler acquires both locks again in the midst of its own thread's reading or writing; `driver` and the writer's `busy`
show that, and it raises NotConnected. `end` may be called in any thread, once. The link emits nothing and calls no user
code, so that the keeper can stand in.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from itertools import repeat
from typing import Final, Protocol

from ..errors import NotConnected
from ..redaction import log_fault
from .deflate import Deflate, Inflater
from .flag import Turn, holding, move
from .frame_writer import AGAIN, FrameWriter
from .frames import Received, Violation
from .session import LIFE, NEVER, Limits, Loss, Session
from .transport import BRIEF, READ, Transport, loss_of

MANY: Final = 8  # messages of one read that are worth a separate loop
# ValueError: another thread closed the descriptor. AttributeError: a socket of another library lacks a method of ours.
_BROKEN: Final = (OSError, ValueError, AttributeError)
_IN_ITS_MIDST: Final = "this thread is reading; a signal's handler cannot read at the same time"
_log = logging.getLogger(__name__)
_monotonic = time.monotonic
_wall_ns = time.time_ns


class Driver(Enum):
    """The thread that reads a link."""

    OWNER = "owner"  # the owner reads, or waits for input, right now
    AWAY = "away"  # the owner is not reading, since `away_since`
    KEEPER = "keeper"  # the owner has been away for long: the keeper reads


_OWNER, _AWAY, _KEEPER = Driver  # an enum look-up costs as much as a call


class Due(Protocol):
    """Something that is due at a time, on time.monotonic_ns()."""

    due: int


class Link:
    """One upgraded connection."""

    __slots__ = (
        *("_announced", "_ending", "_transport", "away_since"),
        *("disposed", "deflate", "driver", "ended", "idle", "inbox", "kind", "notes_heartbeats"),
        *("opened_ns", "reading", "sending", "session", "stamp", "subprotocol", "unclaimed", "uri", "writer"),
    )

    def __init__(
        self,
        transport: Transport,
        uri: str,
        limits: Limits,
        deflate: Deflate | None = None,
        subprotocol: str | None = None,
        notes_heartbeats: Callable[[], bool] = lambda: True,
    ) -> None:
        self.uri = uri
        self.subprotocol = subprotocol
        self.opened_ns: int = time.monotonic_ns()
        self.reading: threading.RLock = threading.RLock()  # guards the session and driver
        inflate = Inflater(deflate, limits.max_message_bytes).inflate if deflate is not None else None
        self.session: Session = Session(limits, _monotonic(), inflate)
        self.inbox: deque[Received] = self.session.inbox  # appended under reading, taken by the owner
        self.deflate = deflate
        self.driver: Driver = _AWAY  # written under reading
        self.away_since: float = _monotonic()
        self.kind: int = 0  # the opcode of the last run,
        self.stamp: int = 0  # and when it was read, ns since the epoch
        self.unclaimed: list[bytes] = []  # the last run, until the owner has stored it safely
        self.idle: float = 0.0  # total seconds that the owner waited for input
        self.notes_heartbeats = notes_heartbeats
        self._transport = transport
        self.writer: FrameWriter = FrameWriter(self.session, transport)
        self.sending: threading.RLock = self.writer.sending
        self.disposed: bool = False  # the descriptor is to be closed
        self._ending = Turn()  # held by the caller that emits the end
        self._announced = False  # there will be an end to emit
        self.ended: bool = False

    # -- reading ------------------------------------------------------------------------------------------------------

    def runs(self, turn: Due, bulk: Callable[[], bool]) -> Iterator[list[bytes]]:
        """Owner, with an empty inbox: yield what arrives, read by read, until `turn` or something else is due. Messages
        go into the inbox, except long runs if `bulk`. A single message per read, as most feeds send them, is read here
        the same way as by `next_run`, with everything that stays the same looked up once."""
        session, transport, inbox, reading = self.session, self._transport, self.inbox, self.reading
        reader, got, brief, alone = session.reader, transport.got, transport.await_brief, list[bytes]()
        data = b""
        while True:
            now = _monotonic()
            later = now + BRIEF
            if later > session.due or later > turn.due / 1e9 or session.stirred or not transport.lively:
                run = self.next_run(turn.due / 1e9, direct=bulk())
                if len(run) < MANY or not bulk():  # or another thread now looks for an answer in the inbox
                    self.reclaim()
                if not (run or inbox):
                    return
                yield run
                continue
            with reading:
                if self.driver is _OWNER:
                    raise NotConnected(_IN_ITS_MIDST)
                try:
                    self.driver = _OWNER
                    brief()
                    began, now = now, _monotonic()
                    self.idle += now - began
                    data = got[0] if got else b""
                    payload = reader.single(data)
                    if payload is not None:
                        session.arrived += 1
                        session.last_message = now
                        inbox.append((reader.usual, payload, _wall_ns()))
                        del got[:]  # in this order: a later interrupt finds nothing half taken
                    else:
                        transport.lively, transport.ready = False, bool(got)  # `next_run` handles it
                    data = b""
                except _BROKEN as error:
                    self._broken(error)
                except BaseException as error:
                    self._interrupted(error, data)
                    raise
                finally:  # one step without a call, which could be interrupted
                    self.driver, self.away_since = _AWAY, now
            if self.disposed:
                self.give_back()
            if inbox:
                yield alone

    def next_run(self, until: float, *, direct: bool = True) -> list[bytes]:
        """Owner, with an empty inbox: wait for input until time.monotonic() is `until`. Returns the messages of one
        read, all of one `kind`. Messages of other kinds after them, or all messages unless `direct`, go into the inbox.
        Returns nothing at `until`, if the link is lost, and if there are notices to emit."""
        run: list[bytes] = []
        data: bytes | memoryview | None = b""
        session, transport, inbox = self.session, self._transport, self.inbox
        with self.reading:
            if self.driver is _OWNER:
                raise NotConnected(_IN_ITS_MIDST)
            now = _monotonic()
            try:
                self.driver = _OWNER
                if self.unclaimed:
                    self.reclaim()
                while not (inbox or run):
                    due = session.due if session.due < until else until
                    if (not transport.lively or session.stirred or now + BRIEF > due) and self._stands_ready(now):
                        break
                    if transport.ready or session.unfinished:
                        data = b"" if session.unfinished else transport.recv()
                    elif now >= until:
                        break
                    else:
                        due = min(session.due, until, self.writer.retry_at) if session.stirred or due <= now else due
                        began, data = now, transport.await_bytes(due - now)
                        now = _monotonic()
                        self.idle += now - began
                    if data and (payload := session.reader.single(data)) is not None:
                        session.arrived += 1
                        session.last_message = now
                        inbox.append((session.reader.usual, payload, _wall_ns()))
                    elif data is not None:
                        self._receive(data, now, run, as_owner=True)
                        transport.lively = transport.lively and bool(run or inbox)  # not after a pong
                    del transport.got[:]  # in this order: a later interrupt finds nothing half taken
                    data = b""
            except _BROKEN as error:
                self._broken(error)
            except BaseException as error:
                self._interrupted(error, data)
                raise
            finally:  # also if a signal's handler raised: the keeper must see that no thread reads
                # One step without a call, which could be interrupted. A run has set `stirred` already.
                self.driver, self.away_since, self.unclaimed = _AWAY, now, run
            if run and not direct:
                self.reclaim()
            if session.close_owed is not None:
                self.writer.send_owed(now)
        if self.disposed:
            self.give_back()
        return run

    def _stands_ready(self, now: float) -> bool:
        """Owner, before it waits: do what is due; True if there is something to hand out or to emit, or the link is
        lost. If something stirs the session from here on, the next call sees it. Holds `reading`."""
        session = self.session
        if session.stirred:
            session.stirred = False
            session.caught_up()
        if now >= session.due or now >= self.writer.retry_at:
            self._attend(now)
        ready = bool(self.inbox or session.notices) or session.loss is not None
        session.stirred = session.stirred or ready or session.unfinished or self.writer.retry_at != NEVER
        return ready

    def _receive(self, data: bytes | memoryview, now: float, run: list[bytes] | None, *, as_owner: bool) -> None:
        """Handle a read that is not one usual message, or the end of the stream; send what is owed. As the owner, act
        upon a violation, unless messages before it have to be handed out. Holds `reading`."""
        session = self.session
        if data or session.unfinished:
            self.stamp, self.kind = _wall_ns(), session.reader.usual  # set before the run, which may be interrupted
            session.receive(data, now, self.stamp, run)
        else:
            session.ended()
        if as_owner and not (run or self.inbox):
            session.judge()
        self.writer.send_owed(now)
        self._drop_heartbeats()

    def _broken(self, error: Exception) -> None:
        """Reading raised: the link is lost. Holds `reading`."""
        if isinstance(error, AttributeError):
            log_fault(_log, error, "reading from %s failed; the client reconnects", self.uri)
        self.session.ended(loss_of(error))

    def reclaim(self) -> None:
        """Owner: put a run that was not taken over in front of the inbox. Each message is moved in one step, and all of
        them in one interpreter call: a signal's handler that raises does so before or after it."""
        run = self.unclaimed
        payloads = map(list.pop, repeat(run, len(run)))  # the last one first
        self.inbox.extendleft(zip(repeat(self.kind), payloads, repeat(self.stamp)))

    def _interrupted(self, error: BaseException, data: bytes | memoryview | None) -> None:
        """A signal's handler raised while reading: the next bytes may start in the midst of a frame. Holds
        `reading`."""
        if data:
            self.session.ended(Loss("error", str(error) or type(error).__name__))
            self._transport.shutdown()

    @property
    def in_midst(self) -> bool:
        """True in a signal's handler that interrupts this thread's reading or writing."""
        midst = holding(self.sending, 0.0, lambda: self.writer.busy) or holding(
            self.reading, 0.0, lambda: self.driver is _OWNER
        )
        if self.disposed:  # just now, while it was held here
            self.give_back()
        return midst

    def pump(self, until: float) -> None:
        """Owner, inside user code: read once more into the inbox; waits until `until` at most."""
        session, transport = self.session, self._transport
        with self.reading:
            if self.driver is _OWNER:
                raise NotConnected(_IN_ITS_MIDST)
            now = _monotonic()
            try:
                self.driver = _OWNER
                session.judge()  # no answer can follow a violation
                if now >= session.due or now >= self.writer.retry_at:
                    self._attend(now)
                if session.loss is not None:
                    return
                if not self._has_room():
                    time.sleep(max(0.0, min(until - now, AGAIN)))
                    now = _monotonic()
                    return
                if not (transport.ready or session.unfinished):
                    transport.wait(max(0.0, min(until, session.due, self.writer.retry_at) - now))
                    now = _monotonic()
                if transport.ready or session.unfinished:
                    self._read(now)
            finally:
                self.driver, self.away_since = _AWAY, now
        if self.disposed:
            self.give_back()

    def adopt(self) -> bool:
        """Keeper: stand in for the owner until it reads again. False if it is reading right now."""
        if not self.reading.acquire(blocking=False):
            return False
        self.driver = _KEEPER
        self.reading.release()
        return True

    def keep(self) -> bool:
        """Keeper: read and write once without waiting, unless the owner reads again. True if there was data."""
        if not self.reading.acquire(blocking=False):
            return False
        try:
            if self.driver is not _KEEPER:
                return False
            session, transport, before = self.session, self._transport, self.session.arrived_bytes
            now, has_room = _monotonic(), self._has_room()
            self._attend(now)
            if not has_room:
                session.suspend()
                return False
            transport.ready = transport.ready or transport.wait(0.0)
            while (transport.ready or session.unfinished or transport.pending()) and session.loss is None:
                self._read(now)
                if not self._has_room():
                    break
            return session.arrived_bytes != before
        finally:
            self.reading.release()

    def attention(self, now: float) -> bool:  # the keeper: True if it needs a step without new data
        return now >= self.session.due or now >= self.writer.retry_at

    @property
    def full(self) -> bool:  # too much waits for an absent owner: nothing is read
        return self.session.buffer.full

    def _has_room(self) -> bool:
        """True if more may be read for an absent owner; otherwise adds a notice, once. Holds `reading`."""
        session = self.session
        if session.buffer.allows(session.arrived, session.arrived_bytes + session.inflated_bytes):
            return True
        if session.buffer.newly_full():
            session.stirred = True
            session.notices.append(("full", session.buffer.weight))
        return False

    def _attend(self, now: float) -> None:
        """Do what is due: ping, check for silence, send what is owed. Holds `reading`."""
        session, transport = self.session, self._transport
        dry = session.judges(now) and not (transport.ready or session.unfinished or transport.wait(0.0))
        if dry:
            before, unsent = self.writer.unsent, self.writer.look()
            if before - unsent >= LIFE:
                session.moved(now)
        session.tick(now, dry=dry)
        self.writer.send_owed(now)
        self._drop_heartbeats()

    def _read(self, now: float) -> None:
        """Read once into the inbox, for an owner that is away. Holds `reading`."""
        data: bytes | memoryview | None = b""
        transport = self._transport
        try:
            if (data := b"" if self.session.unfinished else transport.recv(READ)) is not None:
                self._receive(data, now, None, as_owner=False)
            del transport.got[:]
            data = b""
        except _BROKEN as error:
            self._broken(error)
        except BaseException as error:
            self._interrupted(error, data)
            raise

    def _drop_heartbeats(self) -> None:
        """Do not wake the owner for heartbeats that have no handler."""
        if self.session.notices and not self.notes_heartbeats():
            self.session.notices[:] = [notice for notice in self.session.notices if notice[0] == "full"]

    def inherit(self, unread: deque[Received]) -> None:
        """Owner, before any thread reads: put the unread messages of the last link first."""
        move(unread, self.inbox)
        self.session.buffer.weigh(0)

    def bequeath(self, unread: deque[Received]) -> None:
        """Owner, of a lost link: leave its unread messages to the next one."""
        self.reclaim()
        move(self.inbox, unread)

    def put_back(self, rest: Iterable[Received]) -> None:
        """Owner: put messages that were read and not handled in front of the inbox."""
        self.inbox.extendleft(reversed([*rest]))

    def waiting(self) -> tuple[int, int]:
        """The number of waiting messages, and their bytes plus those waiting in the kernel. Any thread."""
        waiting = list(self.inbox)
        return len(waiting), sum(len(payload) for _, payload, _ in waiting) + self._transport.unread()

    def breach(self, violation: Violation) -> None:
        """Owner: report a violation that the session cannot see, a text that is not UTF-8."""
        self.session.breach(violation)
        self.writer.send_owed(_monotonic())

    # -- writing, and the end -----------------------------------------------------------------------------------------

    def send_close(self, code: int, timeout: float = 1.0) -> None:
        """Send a close frame, once, and nothing after it (RFC 6455, section 5.5.1); waits `timeout` s for a frame."""
        if self.session.close_owed is None:
            self.session.close_owed = code.to_bytes(2, "big")
        # If it is not free in time, the sending thread sends the close after its own frame.
        holding(self.sending, timeout, lambda: self.writer.send_owed_alone(_monotonic()))
        if self.disposed:
            self.give_back()

    @property
    def loss(self) -> Loss | None:  # why the link is over, once it is
        return self.session.loss

    def lose(self, loss: Loss) -> None:
        """End the link for this reason, unless it already has one. Any thread."""
        self.session.loss = self.session.loss or loss
        self.session.stirred = True
        self._transport.shutdown()

    def fileno(self) -> int:
        return self._transport.fileno()  # for the keeper's selector; -1 once closed

    def option(self, level: int, name: int, size: int) -> bytes:
        return self._transport.option(level, name, size)  # any thread; OSError once closed

    def shutdown(self) -> None:  # both directions; the thread that reads or writes is woken
        self._transport.shutdown()

    def announce(self) -> str:
        """Note that its completion is emitted now, so that its end will be. Returns the URI for these events."""
        self._announced = True
        return self.uri

    @property
    def last_byte(self) -> float:
        """When the last byte arrived, on time.monotonic()."""
        return self.session.last_byte

    def end(self, who: object) -> bool:
        """True for the one caller that is to emit the link's end. Any thread; takes no lock."""
        self.ended = self.writer.over = True
        return self._announced and self._ending.take(who)

    def unend(self, who: object) -> None:
        """This caller was interrupted before it emitted the end: the next caller does."""
        self._ending.give_back(who)

    def dispose(self) -> None:
        """Close the descriptor; called by the owner, or when there is no owner."""
        if self.session.verdict is not None:
            self._transport.linger()
        self._transport.shutdown()
        self.disposed = True
        self.give_back()

    def give_back(self) -> None:
        """Close the descriptor of a disposed link, unless it is being read or written: by another thread, or by the
        code that a signal's handler interrupts. The reader or writer then calls this at its end."""
        holding(self.reading, AGAIN, lambda: self.driver is not _OWNER and holding(self.sending, AGAIN, self._close))

    def _close(self) -> bool:
        if not self.writer.busy:
            self._transport.close()
        return True

    def abandon(self) -> None:
        """In a forked child: close the descriptor and send nothing; the connection is the parent's. Takes no lock."""
        self.ended = self.writer.over = True
        self._transport.close()
