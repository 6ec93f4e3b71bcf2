"""One connection's I/O: who may read, who may write, and how it ends. What the bytes mean is the session's to say.

Threads: `reading` is held by the one thread that reads - the owner (`next_run`, `pump`), or the keeper for an owner
that is away (`keep`) - and guards the session; `driver` is which. `sending` is held by the one thread that writes a
frame, any thread's. Control frames never wait for it: who holds it sends what is owed when its own frame is out. A
signal's handler gets both locks again in the midst of its own thread's reading or writing; `driver` and `_writing` say
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
from .control import control_frame
from .deflate import Deflate, Inflater
from .flag import Turn, holding, move
from .frames import CLOSE, PING, PONG, Received, Violation
from .session import LIFE, NEVER, Limits, Loss, Session
from .transport import BRIEF, FLOOD, READ, Transport, WriteFailed, loss_of

MANY: Final = 8  # messages of one read that are worth a loop of their own
_AGAIN: Final = 0.1  # seconds until a control frame that did not go out is tried again
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


_OWNER, _AWAY, _KEEPER = Driver  # a look-up in an enum takes as long as a call


class Due(Protocol):
    """What is due at a time, on time.monotonic_ns()."""

    due: int


class Link:
    """One upgraded connection."""

    __slots__ = (
        *("_announced", "_ending", "_rest", "_retry_at", "_transport", "_unsent", "_writing", "away_since"),
        *("disposed", "deflate", "driver", "ended", "idle", "inbox", "kind", "notes_heartbeats"),
        *("opened_ns", "reading", "sending", "session", "stamp", "subprotocol", "unclaimed", "uri"),
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
        self.opened_ns = time.monotonic_ns()
        self.sending = threading.RLock()  # one frame on its way at a time; guards _rest and _writing
        self.reading = threading.RLock()  # guards the session and driver
        inflate = Inflater(deflate, limits.max_message_bytes).inflate if deflate is not None else None
        self.session = session = Session(limits, _monotonic(), inflate)
        self.inbox = session.inbox  # appended under reading, taken by the owner
        self.deflate = deflate
        self.driver: Driver = _AWAY  # written under reading
        self.away_since = _monotonic()
        self.kind = 0  # the opcode of the last run,
        self.stamp = 0  # and when it was read, ns since the epoch
        self.unclaimed: list[bytes] = []  # the last run, until its owner has it where no interrupt loses it
        self.idle = 0.0  # seconds that the owner waited for input in all
        self.notes_heartbeats = notes_heartbeats
        self._transport = transport
        self._rest = b""  # of a control frame that did not go out whole; goes before anything else
        self._writing = False  # whoever holds `sending` is in the midst of a frame
        self.disposed = False  # the descriptor is to be given back
        self._retry_at = NEVER  # when a control frame that did not go out is tried again
        self._unsent = 0  # bytes that the peer had not taken at the last look
        self._ending = Turn()  # of the one that emits the end
        self._announced = False  # there is an end to be emitted
        self.ended = False

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
            due = later > session.due or later > turn.due / 1e9 or later > self._retry_at
            if due or session.stirred or not transport.lively:
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
        data: bytes | None = b""
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
                    due = min(session.due, until, self._retry_at)
                    if (not transport.lively or session.stirred or now + BRIEF > due) and self._stands_ready(now):
                        break
                    if transport.ready or session.unfinished:
                        data = b"" if session.unfinished else transport.recv(FLOOD)
                    elif now >= until:
                        break
                    else:
                        due = min(session.due, until, self._retry_at)
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
            if not direct:
                self.reclaim()
            if session.close_owed is not None:
                self._speak(now)
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
        if now >= session.due or now >= self._retry_at:
            self._attend(now)
        ready = bool(self.inbox or session.notices) or session.loss is not None
        session.stirred = session.stirred or ready or session.unfinished
        return ready

    def _receive(self, data: bytes, now: float, run: list[bytes] | None, *, as_owner: bool) -> None:
        """Something else than one usual message was read, or the end of the stream: answer what is owed. As the owner,
        act upon a breach, unless messages before it have to be handed out. Holds `reading`."""
        session = self.session
        if data or session.unfinished:
            self.stamp = _wall_ns()
            self.kind = session.receive(data, now, self.stamp, run)
        else:
            session.ended()
        if as_owner and not (run or self.inbox):
            session.judge()
        self._speak(now)
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

    def _interrupted(self, error: BaseException, data: bytes | None) -> None:
        """A signal's handler raised in the midst of reading: what follows may begin in the midst of a frame. Holds
        `reading`."""
        if data:
            self.session.ended(Loss("error", str(error) or type(error).__name__))
            self._transport.shutdown()

    @property
    def in_midst(self) -> bool:
        """Whether this is a signal's handler's code, in the midst of this thread's reading or writing."""
        midst = holding(self.sending, 0.0, lambda: self._writing) or holding(
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
                if now >= session.due or now >= self._retry_at:
                    self._attend(now)
                if session.loss is not None:
                    return
                if not self._has_room():
                    time.sleep(max(0.0, min(until - now, _AGAIN)))
                    now = _monotonic()
                    return
                if not (transport.ready or session.unfinished):
                    transport.wait(max(0.0, min(until, session.due, self._retry_at) - now))
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
        return now >= self.session.due or now >= self._retry_at

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
            before, self._unsent = self._unsent, transport.unsent()
            if before - self._unsent >= LIFE:
                session.moved(now)
        session.tick(now, dry=dry)
        self._speak(now)
        self._drop_heartbeats()

    def _read(self, now: float) -> None:
        """Read once into the inbox, for an owner that is away. Holds `reading`."""
        data: bytes | None = b""
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
        self._speak(_monotonic())

    # -- writing ------------------------------------------------------------------------------------------------------

    def send(self, data: bytes, patience: float, left: list[int] | None = None) -> None:
        """Write one data frame; the caller holds `sending`. The sum of `left` is what is out of it, whatever is raised.
        Raises NotConnected: then nothing more can be sent, and what has arrived is still read."""
        session, left = self.session, [] if left is None else left
        if self._writing:
            raise NotConnected("this thread is in the midst of sending; a signal's handler cannot send in between")
        if session.close_sent or self.ended or session.write_fault is not None:
            raise NotConnected("the connection is closing; wait for the next one with wait=")
        try:
            self._writing = True
            if self._rest:
                self._write_rest(patience)
            self._transport.send(data, patience, left)
            if session.pongs_owed or session.ping_due or session.close_owed is not None:
                self._say(_monotonic())
        except WriteFailed as error:
            self._write_failed(error)
            raise NotConnected(str(error)) from error.__cause__
        except BaseException as error:  # a signal's handler may raise in the midst of a frame too
            if left and sum(left) != len(data):
                self._write_failed(error)
            raise
        finally:
            self._writing = False

    def _write_rest(self, patience: float) -> None:
        """Write what is left of a control frame. In the midst of `sending`."""
        left: list[int] = []
        try:
            self._transport.send(self._rest, patience, left)
        finally:
            self._rest = self._rest[sum(left) :]

    def _write_failed(self, error: BaseException) -> None:
        loss = error.loss if isinstance(error, WriteFailed) else Loss("error", str(error) or type(error).__name__)
        self.session.write_failed(loss)
        self._transport.shutdown()  # half a frame may be out; wakes the reader, which reads what has arrived

    def _speak(self, now: float) -> None:
        """Send what is owed now, unless another frame is on its way: its thread sends it then."""
        session = self.session
        if not session.pongs_owed and session.close_owed is None and not session.ping_due and not self._rest:
            self._retry_at = NEVER
        elif not holding(self.sending, 0.0, lambda: self._say_alone(now)):
            self._retry_at = now + _AGAIN

    def _say_alone(self, now: float) -> bool:
        """Send what is owed, unless this is a signal's handler's code in the midst of a frame: that sends it, then.
        Holds `sending`."""
        if self._writing:
            return False
        try:
            self._writing = True
            self._say(now)
        finally:
            self._writing = False
        return True

    def _say(self, now: float) -> None:
        """Send what is owed, as far as it goes without waiting. In the midst of `sending`."""
        session, self._retry_at = self.session, NEVER
        if session.close_sent or self.ended or session.write_fault is not None:
            session.pongs_owed.clear()
            session.close_owed, session.ping_due = None, False
            if not self._rest or self.ended or session.write_fault is not None:
                return
        try:
            close = session.close_owed
            while session.pongs_owed and self._control(PONG, session.pongs_owed[0]):
                session.pongs_owed.popleft()
            if session.ping_due and not self._rest:
                ping = session.ping(now)
                session.pinged(ping, now, written=self._control(PING, ping))
                self._unsent = self._transport.unsent()
            if close is not None and self._control(CLOSE, close):
                session.close_sent, session.close_owed = True, None
            if self._rest:
                self._control(None, b"")
        except WriteFailed as error:
            self._write_failed(error)
            return
        if self._rest or session.ping_due or session.pongs_owed or session.close_owed is not None:
            self._retry_at = now + _AGAIN

    def _control(self, opcode: int | None, payload: bytes) -> bool:
        """Send a control frame, or with None the rest of the last. True if it is on its way; what does not go out at
        once stays as rest. In the midst of `sending`."""
        if self._rest:
            self._write(self._rest)
        if self._rest or opcode is None:
            return False
        return self._write(control_frame(opcode, payload))

    def _write(self, data: bytes) -> bool:
        """Write what goes at once; the rest stays, also if a signal's handler raises. False if nothing was begun."""
        left: list[int] = []
        try:
            begun = self._transport.send_now(data, left)
            if begun == 0:
                self._rest = data
        finally:
            if left:
                self._rest = data[left[0] :]
        return begun is not None

    def send_close(self, code: int, timeout: float = 1.0) -> None:
        """Send a close frame, once; nothing is sent after it (RFC 6455, section 5.5.1). Waits up to `timeout` seconds
        for another thread's frame."""
        session = self.session
        if session.close_owed is None:
            session.close_owed = code.to_bytes(2, "big")
        # If it does not come free in time, the thread that sends does it, once its own frame is out.
        holding(self.sending, timeout, lambda: self._say_alone(_monotonic()))
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

    def end(self, who: object) -> bool:
        """True for the one caller that is to emit the link's end. Any thread; takes no lock."""
        self.ended = True
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
        holding(self.reading, _AGAIN, lambda: self.driver is not _OWNER and holding(self.sending, _AGAIN, self._close))

    def _close(self) -> bool:
        if not self._writing:
            self._transport.close()
        return True

    def abandon(self) -> None:
        """In a forked child: let go of the descriptor without a word; the connection is the parent's. Takes no lock."""
        self.ended = True
        self._transport.close()
