"""One connection's I/O: who may read, who may write, and how it ends. What the bytes mean is the session's to say.

Threads: `reading` is held by the one thread that reads - the owner (`runs`, `next_run`, `pump`), or the keeper for an
owner that is away (`keep`) - and guards the session; `driver` is which. Who writes is the writer's to say. A signal's
handler gets both locks again in the midst of its own thread's reading or writing; `driver` and the writer's `busy` say
so, and it raises NotConnected. `end` in any thread, once. The link emits nothing and calls no user code, so that the
keeper can stand in.
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

MANY: Final = 8  # messages of one read that are worth a loop of their own
# ValueError: another thread closed the descriptor. AttributeError: a socket of another library lacks a method of ours.
_BROKEN: Final = (OSError, ValueError, AttributeError)
_IN_ITS_MIDST: Final = "this thread is in the midst of reading; a signal's handler cannot read for it"
_log = logging.getLogger(__name__)
_monotonic = time.monotonic
_wall_ns = time.time_ns


class Driver(Enum):
    """Who drives a link's reading."""

    OWNER = "owner"  # it reads, or waits for input, right now
    AWAY = "away"  # the owner is elsewhere, since `away_since`
    KEEPER = "keeper"  # the owner is away for long: the keeper reads


_OWNER, _AWAY, _KEEPER = Driver  # an enum look-up costs as much as a call


class Due(Protocol):
    """What is due at a time, on time.monotonic_ns()."""

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
        self.unclaimed: list[bytes] = []  # the last run, until its owner has it where no interrupt loses it
        self.idle: float = 0.0  # seconds that the owner waited for input in all
        self.notes_heartbeats = notes_heartbeats
        self._transport = transport
        self.writer: FrameWriter = FrameWriter(self.session, transport)
        self.sending: threading.RLock = self.writer.sending
        self.disposed: bool = False  # the descriptor is to be given back
        self._ending = Turn()  # of the one that emits the end
        self._announced = False  # there is an end to be emitted
        self.ended: bool = False

    # -- reading ------------------------------------------------------------------------------------------------------

    def runs(self, turn: Due, bulk: Callable[[], bool]) -> Iterator[list[bytes]]:
        """Owner, with nothing in hand: what comes, read by read, until `turn` is due or something else is to be done.
        It waits in the inbox, but for long runs if `bulk`. A message that comes alone, as most feeds send them, is read
        here as `next_run` would: what stays the same from one to the next is looked up once."""
        session, transport, inbox, reading = self.session, self._transport, self.inbox, self.reading
        reader, got, brief, alone = session.reader, transport.got, transport.await_brief, list[bytes]()
        data = b""
        while True:
            now = _monotonic()
            later = now + BRIEF
            if later > session.due or later > turn.due / 1e9 or session.stirred or not transport.lively:
                run = self.next_run(turn.due / 1e9, direct=bulk())
                if len(run) < MANY or not bulk():  # or a thread has begun to look for an answer in the inbox
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
                        del got[:]  # in this order: an interrupt behind it finds nothing half taken
                    else:
                        transport.lively, transport.ready = False, bool(got)  # `next_run` sees to it
                    data = b""
                except _BROKEN as error:
                    self._broken(error)
                except BaseException as error:
                    self._interrupted(error, data)
                    raise
                finally:  # in one step without a call, which could be interrupted
                    self.driver, self.away_since = _AWAY, now
            if self.disposed:
                self.give_back()
            if inbox:
                yield alone

    def next_run(self, until: float, *, direct: bool = True) -> list[bytes]:
        """Owner, with nothing in hand: wait for input, until time.monotonic() is `until`. The messages of one read, all
        of one `kind`; what they would overtake, or all of them unless `direct`, are in the inbox. Nothing at `until`,
        if the link is lost, and if there are notices to emit."""
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
                    del transport.got[:]  # in this order: an interrupt behind it finds nothing half taken
                    data = b""
            except _BROKEN as error:
                self._broken(error)
            except BaseException as error:
                self._interrupted(error, data)
                raise
            finally:  # also when a signal's handler raised: the keeper must see that no thread reads
                # One step without a call, which could be interrupted. What is in a run has stirred the session.
                self.driver, self.away_since, self.unclaimed = _AWAY, now, run
            if run and not direct:
                self.reclaim()
            if session.close_owed is not None:
                self.writer.speak(now)
        if self.disposed:
            self.give_back()
        return run

    def _stands_ready(self, now: float) -> bool:
        """Owner, before it waits: whether there is something to hand out, to emit or to end for; do what is due. What
        stirs the session from here on is seen the next time. Holds `reading`."""
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
        """Something else than one usual message was read, or the end of the stream: answer what is owed. As the owner,
        act upon a breach, unless messages before it have to be handed out. Holds `reading`."""
        session = self.session
        if data or session.unfinished:
            self.stamp, self.kind = _wall_ns(), session.reader.usual  # before there is a run that may be interrupted
            session.receive(data, now, self.stamp, run)
        else:
            session.ended()
        if as_owner and not (run or self.inbox):
            session.judge()
        self.writer.speak(now)
        self._drop_heartbeats()

    def _broken(self, error: Exception) -> None:
        """Reading raised: the link is over. Holds `reading`."""
        if isinstance(error, AttributeError):
            log_fault(_log, error, "reading from %s failed; the connection is made again", self.uri)
        self.session.ended(loss_of(error))

    def reclaim(self) -> None:
        """Owner: a run that was not taken over is the first of what waits. Each message leaves it in the step that puts
        it there, and all in one for the interpreter: a signal's handler that raises comes before or after."""
        run = self.unclaimed
        payloads = map(list.pop, repeat(run, len(run)))  # the last one first
        self.inbox.extendleft(zip(repeat(self.kind), payloads, repeat(self.stamp)))

    def _interrupted(self, error: BaseException, data: bytes | memoryview | None) -> None:
        """A signal's handler raised in the midst of reading: what follows may begin in the midst of a frame. Holds
        `reading`."""
        if data:
            self.session.ended(Loss("error", str(error) or type(error).__name__))
            self._transport.shutdown()

    @property
    def in_midst(self) -> bool:
        """Whether this is a signal's handler's code, in the midst of this thread's reading or writing."""
        midst = holding(self.sending, 0.0, lambda: self.writer.busy) or holding(
            self.reading, 0.0, lambda: self.driver is _OWNER
        )
        if self.disposed:  # just now, and it was held here
            self.give_back()
        return midst

    def pump(self, until: float) -> None:
        """Owner, inside the user's code: read once more into the inbox; waits until `until` at most."""
        session, transport = self.session, self._transport
        with self.reading:
            if self.driver is _OWNER:
                raise NotConnected(_IN_ITS_MIDST)
            now = _monotonic()
            try:
                self.driver = _OWNER
                session.judge()  # what is waited for cannot come behind a breach
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
        """Keeper: stand in for the owner from now on, until it reads again. False if it reads right now."""
        if not self.reading.acquire(blocking=False):
            return False
        self.driver = _KEEPER
        self.reading.release()
        return True

    def keep(self) -> bool:
        """Keeper: one step without waiting for anything, unless the owner reads again. True if there was data."""
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

    def attention(self, now: float) -> bool:  # the keeper: whether it wants a step although no data came
        return now >= self.session.due or now >= self.writer.retry_at

    @property
    def full(self) -> bool:  # too much waits for an absent owner: nothing is read
        return self.session.buffer.full

    def _has_room(self) -> bool:
        """Whether more may be read for an absent owner; noticed once. Holds `reading`."""
        session = self.session
        if session.buffer.allows(session.arrived, session.arrived_bytes + session.inflated_bytes):
            return True
        if session.buffer.newly_full():
            session.stirred = True
            session.notices.append(("full", session.buffer.weight))
        return False

    def _attend(self, now: float) -> None:
        """Do what is due: ping, judge silence, send what is owed. Holds `reading`."""
        session, transport = self.session, self._transport
        dry = session.judges(now) and not (transport.ready or session.unfinished or transport.wait(0.0))
        if dry:
            before, unsent = self.writer.unsent, self.writer.look()
            if before - unsent >= LIFE:
                session.moved(now)
        session.tick(now, dry=dry)
        self.writer.speak(now)
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
        """The owner is not called out of its wait for what no handler is attached to."""
        if self.session.notices and not self.notes_heartbeats():
            self.session.notices[:] = [notice for notice in self.session.notices if notice[0] == "full"]

    def inherit(self, unread: deque[Received]) -> None:
        """Owner, before any thread reads: what the last link received comes first."""
        move(unread, self.inbox)
        self.session.buffer.weigh(0)

    def bequeath(self, unread: deque[Received]) -> None:
        """Owner, of a link that is over: what it received and was not read is left to the next one."""
        self.reclaim()
        move(self.inbox, unread)

    def put_back(self, rest: Iterable[Received]) -> None:
        """Owner: what was read and not dealt with is the first of what waits."""
        self.inbox.extendleft(reversed([*rest]))

    def waiting(self) -> tuple[int, int]:
        """Messages that wait, and their bytes with those that wait in the kernel. Any thread."""
        waiting = list(self.inbox)
        return len(waiting), sum(len(payload) for _, payload, _ in waiting) + self._transport.unread()

    def breach(self, violation: Violation) -> None:
        """Owner: the protocol was broken in what the session cannot see, a text that is no UTF-8."""
        self.session.breach(violation)
        self.writer.speak(_monotonic())

    # -- writing, and the end -----------------------------------------------------------------------------------------

    def send_close(self, code: int, timeout: float = 1.0) -> None:
        """Send a close frame, once, and nothing after it (RFC 6455, section 5.5.1); waits `timeout` s for a frame."""
        if self.session.close_owed is None:
            self.session.close_owed = code.to_bytes(2, "big")
        # If it does not come free in time, the thread that sends does it, once its own frame is out.
        holding(self.sending, timeout, lambda: self.writer.say_alone(_monotonic()))
        if self.disposed:
            self.give_back()

    @property
    def loss(self) -> Loss | None:  # why the link is over, once it is
        return self.session.loss

    def lose(self, loss: Loss) -> None:
        """End the link for this reason, unless it has one. Any thread."""
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
        """Its completion is emitted now, and in time its end. The URI that they name."""
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
        """This caller was interrupted before it emitted the end: the next one does."""
        self._ending.give_back(who)

    def dispose(self) -> None:
        """Give the descriptor back; by the owner, or when there is none."""
        if self.session.verdict is not None:
            self._transport.linger()
        self._transport.shutdown()
        self.disposed = True
        self.give_back()

    def give_back(self) -> None:
        """Close the descriptor of a link that was disposed of, unless it is read or written just now: by another
        thread, or by what a signal's handler interrupts. Whoever does that comes here at its end."""
        holding(self.reading, AGAIN, lambda: self.driver is not _OWNER and holding(self.sending, AGAIN, self._close))

    def _close(self) -> bool:
        if not self.writer.busy:
            self._transport.close()
        return True

    def abandon(self) -> None:
        """In a forked child: let go of the descriptor without a word; the connection is the parent's. Takes no lock."""
        self.ended = self.writer.over = True
        self._transport.close()
