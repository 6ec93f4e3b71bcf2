"""Hands out received messages one by one, in order, until something else is due.

If single messages have handlers on the bus, each message is decoded, emitted and handed out by itself; otherwise some
are decoded ahead, with as little work for each as possible. Messages go from the frame straight to the handler. They
wait in the link's inbox only if the keeper read them, if an answer is expected, which other threads look for there, or
if something else is due. Runs in the owner's thread; what any thread may call says so.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import chain
from operator import length_hint
from threading import get_ident
from typing import Any, Final, Protocol

from .. import events, process
from ..link.frames import Received, Violation
from ..link.link import Driver, Link
from .batch import MANY, Batch, Behind
from .emitter import Emitter
from .message_events import ERROR, FAILED, NOTHING, OK, UNHEARD, MessageEvents, Recorders
from .replies import Replies
from .stuck import WATCHDOG, Hand

_AHEAD: Final = 32  # messages decoded in one go: the first waits until the last is decoded
_SOME: Final = 1000  # answers cleared away in one go
_alive = process.ALIVE
_clock = time.monotonic_ns
_seconds = time.monotonic
_wall = time.time_ns


class Linked(Protocol):
    """Holds the link in use, None while there is none."""

    @property
    def link(self) -> Link | None: ...


class Receiver:
    """The receiving half of one client. `answer` sends the protocol's answer to an application heartbeat."""

    def __init__(
        self,
        handler: Callable[[Any], object] | None,
        messages: MessageEvents,
        replies: Replies,
        connection: Linked,
        answer: Callable[[Any], None],
    ) -> None:
        self.events = messages
        messages.breach = self._breach
        self.emit: Emitter = messages.emit
        self.kind_of: Callable[[Any], str] = messages.kind_of
        self.batch: Batch = Batch()
        # When something else is due, on time.monotonic_ns(); any thread lowers it to be served earlier
        self.due: int = 0
        self._handler = handler
        self._replies = replies
        self._connection = connection
        self._answer = answer
        self.in_hand: Callable[[], Hand] = _nothing  # any thread: what is handed out right now
        self._handing: list[bytes] = []  # the run that is handed out in bulk,
        self._rest: Iterator[Any] = iter(())  # its messages that are decoded and not handed out,
        self._behind = 0  # and how many are not decoded yet
        self._idle = (0, 0)  # at the last sums: the link, identified by its opening time, and its waiting time in ns
        self._late = Behind()
        self._unsummed = 0  # approximate bytes handed out since then that are in no sum, because nothing is timed

    # -- handing out --------------------------------------------------------------------------------------------------

    def messages(self, link: Link) -> Iterator[Any]:
        """The messages that arrive on this link, until it is no longer the client's link or something else is due. They
        go to the handler; without a handler they are yielded, and the loop's body processes them."""
        self._attend()
        return self._each(link)

    def one(self, link: Link, until: float) -> Any:
        """The next message, not timed as processing; NOTHING at `until` (time.monotonic()), if something else is due,
        or if the message is not for the caller. It leaves the inbox only once it is read: an interrupt by a signal's
        handler does not lose it."""
        messages = self.events
        if messages.version != messages.bus.version or messages.thread != get_ident():
            self._attend()
        inbox = link.inbox
        if not inbox:
            due = self.due / 1e9
            link.next_run(until if until < due else due, direct=False)
            if not inbox:
                return NOTHING
        received = inbox[0]
        message = self._take(received)
        if inbox and inbox[0] is received:  # a breach clears it
            inbox.popleft()
        return message

    def _take(self, received: Received) -> Any:
        """Decode a message, and count it. NOTHING if it cannot be decoded, or is an answer."""
        messages, batch = self.events, self.batch
        message, recorders = messages.read(received)
        failed = recorders is FAILED
        batch.counts.append((1, len(received[1]), 1 if failed else 0, 0, 0, 0, messages.untyped))
        if not batch.due or len(batch.counts) >= MANY:
            batch.counted()
        if batch.due < self.due:
            self.due = batch.due
        if failed:
            return NOTHING
        asked = self._replies.active or messages.beat is not None
        return NOTHING if asked and self._consumed(message, received, recorders) else message

    def _each(self, link: Link) -> Iterator[Any]:
        """Hand out messages one by one, with all their events, until something else is due; the rest stays in the
        inbox. A long run without events for its single messages ends this loop, and is handed out in bulk."""
        messages, replies, handler = self.events, self._replies, self._handler
        connection, inbox, untyped = self._connection, link.inbox, messages.untyped
        read, bus, version, slow = messages.read, messages.bus, messages.version, messages.slow_ns
        count = sizes = errors = done = spent = longest = handed = 0
        runs, run = link.runs(self, lambda: messages.quiet and not replies.active), list[bytes]()
        message, now = None, _clock()
        self.in_hand = lambda: (handed, 0, message)
        try:
            while True:  # with its condition in the head, CPython 3.11 would not specialize it in the first eight turns
                if not inbox:
                    run = next(runs, run)
                    if run or not inbox:
                        break
                if now >= self.due or connection.link is not link or bus.version != version or not _alive[0]:
                    break
                if not self.batch.due:
                    self._open(_clock())
                received = inbox[0] if inbox else None  # this very object: `met` recognises it by its id
                if received is None:  # a signal's handler has closed the client
                    continue
                message, recorders = read(received)
                _take_out(inbox, received)
                count, sizes = count + 1, sizes + len(received[1])
                if recorders is FAILED:
                    errors += 1
                    continue
                if (replies.active or messages.beat is not None) and self._consumed(message, received, recorders):
                    continue
                if recorders.started is not None:
                    recorders.started(_wall())
                handed = _clock()
                try:
                    if handler is None:
                        yield message
                    else:
                        handler(message)
                except BaseException as error:
                    took, done = (now := _clock()) - handed, done + 1
                    spent, longest, errors = spent + took, max(longest, took), errors + (handler is not None)
                    self._left(error, message, recorders, took)
                    continue
                now = _clock()
                took = now - handed
                handed, done, spent = 0, done + 1, spent + took
                if recorders.completed is not None:
                    recorders.completed(took)
                if took > longest:
                    longest = took
                if took > slow:
                    messages.slow(message, recorders, took)
        finally:
            self.in_hand = _nothing
            if count:
                self.batch.add((count, sizes, errors, done, spent, longest, count * untyped))
        if run:
            yield from self._in_bulk(link, run)

    def _in_bulk(self, link: Link, run: list[bytes]) -> Iterator[Any]:
        """Hand out a run for which only the sums are emitted. Times are in seconds, because floats compare faster. What
        is not handed out before something else is due, or cannot be decoded, goes into the inbox."""
        messages, handler, connection, kind, stamp = self.events, self._handler, self._connection, link.kind, link.stamp
        bus, version, slow, timed = messages.bus, messages.version, messages.slow_ns / 1e9, messages.timed
        untyped = messages.untyped
        errors, longest, message = 0, 0.0, None
        began = ended = _seconds()
        self._handing, self._behind = run, len(run)
        self.in_hand = lambda: (round(ended * 1e9), self._behind + length_hint(self._rest), message)
        self._open(_clock())
        until = (due := self.due) / 1e9
        try:
            link.unclaimed = []
            for message in chain.from_iterable(self._decoded(link, run)):
                try:
                    if handler is None:
                        yield message
                    else:
                        handler(message)
                except BaseException as error:
                    took = _seconds() - ended
                    longest, errors = max(longest, took), errors + (handler is not None)
                    self._left(error, message, UNHEARD, round(took * 1e9))
                    began, ended = began + _seconds() - ended - took, _seconds()  # the time of that is not processing
                if timed:
                    now = _seconds()
                    took, ended = now - ended, now
                    if took > longest:
                        longest = took
                    if took > slow and (exactly := round(took * 1e9)) > messages.slow_ns:
                        messages.slow(message, UNHEARD, exactly)
                    if now >= until or self.due is not due:
                        return
                if connection.link is not link or bus.version != version:
                    return
        finally:
            done = len(run) - self._behind - length_hint(self._rest)
            self.in_hand, self._handing, self._rest = _nothing, [], iter(())
            link.put_back([(kind, payload, stamp) for payload in run[done:]])
            if done and not timed:
                self._unsummed += done * len(run[0])
            elif done:
                spent, longest = (round(one * 1e9) for one in (_seconds() - began, max(longest, _seconds() - ended)))
                self.batch.add((done, sum(map(len, run[:done])), errors, done, spent, longest, done * untyped))

    def _decoded(self, link: Link, run: list[bytes]) -> Iterator[Iterator[Any]]:
        """The messages of a run, decoded some ahead, until something else is due or one cannot be decoded. At any time
        `_behind` of them follow those in `_rest`."""
        while self._behind and self._has_turn(link):
            begin = len(run) - self._behind
            ahead = self.events.ahead(link.kind, run[begin : begin + _AHEAD])
            if not ahead:
                return
            self._behind, self._rest = self._behind - len(ahead), iter(ahead)
            yield self._rest

    def _attend(self) -> None:
        if self.events.attend():
            WATCHDOG.watch(self)

    def _open(self, now_ns: int) -> None:
        """A message is being processed: its sums are due a second later."""
        if self.batch.open(now_ns):
            self.due = min(self.due, self.batch.due)

    def _has_turn(self, link: Link) -> bool:
        messages = self.events
        same = self._connection.link is link and messages.bus.version == messages.version
        return same and bool(_alive[0]) and _clock() < self.due

    def _left(self, error: BaseException, message: Any, recorders: Recorders, took: int) -> None:
        """The loop's body was left, or the handler raised: its message still counts as processed. Raises what ends the
        loop or the client."""
        messages, ok = self.events, self._handler is None
        if not ok:
            messages.failed(message, recorders, took)
        elif recorders.completed is not None:
            recorders.completed(took)
        if took > messages.slow_ns:
            messages.slow(message, recorders, took, OK if ok else ERROR)
        if ok or not isinstance(error, Exception):
            raise error
        messages.raised(error)

    def _breach(self, violation: Violation) -> None:
        """A message broke the protocol: nothing after it may be processed (RFC 6455, section 7.1.7)."""
        link = self._connection.link
        if link is not None:
            link.breach(violation)
            link.inbox.clear()
            self._replies.forget_met()

    def goes_on(self, link: Link) -> bool:
        """True if nothing is due but this link's messages."""
        session = link.session
        return session.loss is None and not session.notices and _clock() < self.due and bool(_alive[0])

    # -- answers ------------------------------------------------------------------------------------------------------

    def _consumed(self, message: Any, received: Received, recorders: Recorders) -> bool:
        """True if the message is a reply, an ack or an application heartbeat: it is handled here, and not delivered."""
        replies, began = self._replies, _clock()
        try:
            if not replies.active or not replies.offer(message, received, owner=True):
                if self.events.beat is None:
                    return False
                self._answer(self.events.beat)
        except Exception as error:  # the protocol failed on a hostile message
            self.events.misread(error)
            return False
        if recorders.started is not None:
            recorders.started(_wall())
        took = _clock() - began
        if recorders.completed is not None:
            recorders.completed(took)
        self.batch.add((0, 0, 0, 1, took, took, 0))
        return True

    def answered(self, received: Received, message: Any, began: int, ended: int) -> None:
        """As the owner: count as received an answer that its thread has already decoded and taken."""
        messages = self.events
        if messages.version != messages.bus.version or messages.thread != get_ident():
            self._attend()
        took, batch = messages.answered(received, message, began, ended), self.batch
        batch.counts.append((1, len(received[1]), 0, 1, took, took, messages.untyped))
        if not batch.due or len(batch.counts) >= MANY:
            batch.counted()

    def clear_answers(self, link: Link) -> None:
        """As the owner: remove answers that their threads already have, wherever they are in the inbox."""
        if not self._replies.awaiting:
            return
        answers = [one for one in list(link.inbox) if self._replies.met(one)][:_SOME]
        if answers:
            self._attend()
            for received in answers:
                link.inbox.remove(received)
                self._take(received)

    # -- sums ---------------------------------------------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """Any thread: messages that have arrived and are not yet handled."""
        link = self._connection.link
        return 0 if link is None else len(link.inbox) + self.in_hand()[1]

    def behind(self, now_ns: int) -> int:
        """Any thread: ns by which the client is behind the feed: the estimate made with the last sums, or the age of
        the first waiting message if that is more. `now_ns` is since the epoch."""
        link = self._connection.link
        if link is None or not any(link.waiting()):
            return 0
        first = next(iter(link.inbox.copy()), None)
        return max(self._late.last, 0 if first is None else now_ns - first[2])

    def flush(self) -> None:
        """Emit the sums since the last flush. Called by the owner, by the watchdog for an owner in a handler, or by the
        closing thread."""
        self.events.tidy()
        sums = self.batch.take()
        if sums is not None:
            measured = {**sums, **self._backlog(sums["total_size"], sums["window"]), **self.events.taken_lags()}
            self.events.emit(events.MESSAGE_BATCH_PROCESSED, measured, direction="received")

    def look(self, now_ns: int) -> None:
        """The watchdog, every second: emit overdue sums, if their owner is in a handler or there is no owner."""
        link = self._connection.link
        reads = link is not None and link.driver is Driver.OWNER  # then the owner does so itself
        if self.batch.due and now_ns >= self.batch.due and not reads:
            self.flush()
            if self.in_hand()[0]:
                self.batch.open(now_ns)

    def _backlog(self, handled: int, window: int) -> dict[str, int]:
        """What waits, how long the owner waited for input, and how far behind the feed it therefore is."""
        link = self._connection.link
        if link is None:
            return {}
        waiting, size = link.waiting()
        behind = self.in_hand()[1]
        if behind:
            waiting, size = waiting + behind, size + sum(map(len, self._handing[-behind:]))
        handled, self._unsummed = handled + self._unsummed, 0
        opened, before = self._idle
        waited = round(link.idle * 1e9)
        idle = min(waited - before if opened == link.opened_ns else waited, window)
        self._idle = (link.opened_ns, waited)
        late = self._late.reckon(size, handled, window - idle, window)
        return {"waiting": waiting, "waiting_bytes": size, "idle": idle, "behind": late}


def _take_out(inbox: deque[Received], received: Received) -> None:
    """A breach clears the inbox, and so does a signal's handler that closes the client, before any line."""
    with suppress(IndexError):
        if inbox[0] is received:
            del inbox[0]


def _nothing() -> Hand:
    return 0, 0, None
