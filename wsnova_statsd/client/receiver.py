"""Hands out what arrives, one message after the other and in order, until something else is due.

A client whose messages have handlers decodes, emits and hands out each by itself; one without any decodes some
ahead and does as little as it can for each. Messages go from the cut frame to the handler; they wait in the link's
inbox only if the keeper read them, if an answer is expected, which other threads look for there, or if their turn is
over. Runs in the owner's thread; what any thread may call says so.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from operator import length_hint
from threading import get_ident
from typing import Any, Final, Protocol

from .. import events, process
from .batch import Batch
from .frames import Received, Violation
from .link import Driver, Link
from .message_events import ERROR, FAILED, NOTHING, OK, UNHEARD, MessageEvents, Recorders
from .replies import Replies
from .stuck import WATCHDOG, Hand

_AHEAD: Final = 32  # messages decoded in one go: the first of them waits for the last one's decoding
_SOME: Final = 1000  # answers cleared away in one go
_alive = process.ALIVE
_clock = time.monotonic_ns
_wall = time.time_ns


class Linked(Protocol):
    """Where the link in use stands: None while there is none."""

    @property
    def link(self) -> Link | None: ...


class Receiver:
    """The receiving half of one client. `answer` sends what the protocol answers to an application heartbeat."""

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
        self.emit = messages.emit
        self.kind_of = messages.kind_of
        self.batch = Batch()
        # When something else has its turn, on time.monotonic_ns(); a thread that brings it forward lowers it
        self.due = 0
        self._handler = handler
        self._replies = replies
        self._connection = connection
        self._answer = answer
        self.in_hand: Callable[[], Hand] = _nothing  # any thread: what is handed out right now
        self._handing: list[bytes] = []  # the run that messages are handed out of in bulk
        self._idle = (0, 0)  # when the sums left last: the link, by when it was opened, and the ns it had waited
        self._behind = 0  # ns, then

    # -- handing out --------------------------------------------------------------------------------------------------

    def messages(self, link: Link) -> Iterator[Any]:
        """What arrives on this link, until it is not the client's any more or something else is due. Messages go to the
        handler; a client without one has them yielded, and the loop's body processes them."""
        self._attend()
        return self._each(link)

    def one(self, link: Link, until: float) -> Any:
        """The next message, not timed as processing; NOTHING at `until` (time.monotonic()), if something else is due,
        or if what came is not for the caller. It leaves the inbox once it is read: what a signal's handler interrupts
        is not lost."""
        if self.events.version != self.events.bus.version or self.events.thread != get_ident():
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
        """Read a message, and count it. NOTHING if it cannot be read, or is an answer."""
        message, recorders = self.events.read(received)
        failed = recorders is FAILED
        self.batch.add((1, len(received[1]), 1 if failed else 0, 0, 0, 0))
        if self.batch.due < self.due:
            self.due = self.batch.due
        if failed:
            return NOTHING
        asked = self._replies.active or self.events.beat is not None
        return NOTHING if asked and self._consumed(message, received, recorders) else message

    def _each(self, link: Link) -> Iterator[Any]:
        """Hand out messages one by one, with all their events, until something else is due. What this turn does not
        come to stays in the inbox. A long run of which nothing is emitted ends it, and is handed out as such."""
        messages, replies, handler = self.events, self._replies, self._handler
        connection, inbox = self._connection, link.inbox
        read, bus, version, slow = messages.read, messages.bus, messages.version, messages.slow_ns
        count = sizes = errors = done = spent = longest = handed = 0
        message: Any = None
        runs, run = link.runs(self, lambda: messages.quiet and not replies.active), list[bytes]()
        self.in_hand = lambda: (handed, 0, message)
        now = _clock()
        try:
            while now < self.due and connection.link is link and bus.version == version and _alive[0]:
                if not inbox:
                    run = next(runs, run)
                    if run or not inbox:
                        break
                if not self.batch.due:
                    self._open(_clock())
                try:
                    received = inbox[0]  # itself, not its like: an answer that was found by others is known by it
                except IndexError:  # a signal's handler has closed the client
                    continue
                message, recorders = read(received)
                if inbox and inbox[0] is received:  # a breach clears it
                    del inbox[0]
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
                self.batch.add((count, sizes, errors, done, spent, longest))
        if run:
            yield from self._in_bulk(link, run)

    def _in_bulk(self, link: Link, run: list[bytes]) -> Iterator[Any]:
        """Hand out a run of which nothing is emitted but the sums, decoded some ahead. What this turn does not come to,
        or cannot decode, goes into the inbox."""
        messages, kind, stamp, done = self.events, link.kind, link.stamp, 0
        self._handing = run
        self._open(_clock())
        try:
            link.unclaimed = []
            while done < len(run) and self._has_turn(link):
                ahead = messages.ahead(kind, run[done : done + _AHEAD])
                if not ahead:
                    return
                walk = iter(ahead)
                try:
                    yield from self._walk(link, walk, len(run) - done - len(ahead))
                finally:
                    passed = len(ahead) - length_hint(walk)
                    self.batch.add((passed, sum(map(len, run[done : done + passed])), 0, passed, 0, 0))
                    done += passed
        finally:
            self._handing = []
            link.put_back([(kind, payload, stamp) for payload in run[done:]])

    def _walk(self, link: Link, walk: Iterator[Any], behind: int) -> Iterator[Any]:
        """Hand out decoded messages until something else is due; `behind` more stand behind them."""
        messages, handler, connection = self.events, self._handler, self._connection
        bus, version, slow, timed = messages.bus, messages.version, messages.slow_ns, messages.timed
        errors = longest = 0
        message: Any = None
        began = ended = _clock()
        self.in_hand = lambda: (ended, behind + length_hint(walk), message)
        try:
            for message in walk:
                try:
                    if handler is None:
                        yield message
                    else:
                        handler(message)
                except BaseException as error:
                    took = _clock() - ended
                    longest, errors = max(longest, took), errors + (handler is not None)
                    self._left(error, message, UNHEARD, took)
                    began, ended = began + _clock() - ended - took, _clock()  # what that took is no processing
                if timed:
                    now = _clock()
                    took = now - ended
                    ended = now
                    if took > longest:
                        longest = took
                    if took > slow:
                        messages.slow(message, UNHEARD, took)
                    if now >= self.due or connection.link is not link or bus.version != version:
                        return
        finally:
            self.in_hand = _nothing
            now = _clock()
            if timed:
                self.batch.add((0, 0, errors, 0, now - began, max(longest, now - ended)))

    def _attend(self) -> None:
        if self.events.attend():
            WATCHDOG.watch(self)

    def _open(self, now_ns: int) -> None:
        """A message is under way: its sums have to leave a second later."""
        if self.batch.open(now_ns):
            self.due = min(self.due, self.batch.due)

    def _has_turn(self, link: Link) -> bool:
        messages = self.events
        same = self._connection.link is link and messages.bus.version == messages.version
        return same and bool(_alive[0]) and _clock() < self.due

    def _left(self, error: BaseException, message: Any, recorders: Recorders, took: int) -> None:
        """The loop's body was left, or the handler raised: its message is processed all the same. Raises what ends the
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
        """A message broke the protocol: nothing behind it may be processed (RFC 6455, section 7.1.7)."""
        link = self._connection.link
        if link is not None:
            link.breach(violation)
            link.inbox.clear()
            self._replies.forget_met()

    def goes_on(self, link: Link) -> bool:
        """Whether nothing else is due than this link's messages."""
        session = link.session
        return session.loss is None and not session.notices and bool(_alive[0]) and _clock() < self.due

    # -- answers ------------------------------------------------------------------------------------------------------

    def _consumed(self, message: Any, received: Received, recorders: Recorders) -> bool:
        """True if the message is a reply, an ack or an application heartbeat: dealt with here, and not delivered."""
        replies, began = self._replies, _clock()
        try:
            if not replies.active or not replies.offer(message, received, owner=True):
                if self.events.beat is None:
                    return False
                self._answer(self.events.beat)
        except Exception as error:  # the protocol's reading of a hostile message
            self.events.misread(error)
            return False
        if recorders.started is not None:
            recorders.started(_wall())
        took = _clock() - began
        if recorders.completed is not None:
            recorders.completed(took)
        self.batch.add((0, 0, 0, 1, took, took))
        return True

    def answered(self, received: Received) -> None:
        """As the owner: count an answer as received, which its thread has already."""
        if self.events.version != self.events.bus.version or self.events.thread != get_ident():
            self._attend()
        _, recorders = self.events.read(received)
        began = _clock()
        if recorders.started is not None:
            recorders.started(_wall())
        took = _clock() - began
        if recorders.completed is not None:
            recorders.completed(took)
        self.batch.add((1, len(received[1]), 0, 1, took, took))

    def clear_answers(self, link: Link) -> None:
        """As the owner: deal with answers that their threads have already, wherever they stand in the inbox."""
        if not self._replies.has_met:
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
        """Any thread: messages that arrived and are not dealt with yet."""
        link = self._connection.link
        return 0 if link is None else len(link.inbox) + self.in_hand()[1]

    def flush(self) -> None:
        """Emit the sums since they left last: the owner, the watchdog for an owner in a handler, or the closing
        thread."""
        self.events.tidy()
        sums = self.batch.take()
        if sums is not None:
            measured = {**sums, **self._backlog(sums["total_size"], sums["window"]), **self.events.taken_lags()}
            self.events.emit(events.MESSAGE_BATCH_PROCESSED, measured, direction="received")

    def look(self, now_ns: int) -> None:
        """The watchdog, every second: emit sums that are overdue, as their owner is in a handler, or there is none."""
        link = self._connection.link
        reads = link is not None and link.driver is Driver.OWNER  # it does so itself
        if self.batch.due and now_ns >= self.batch.due and not reads:
            self.flush()
            if self.in_hand()[0]:
                self.batch.open(now_ns)

    def _backlog(self, handled: int, window: int) -> dict[str, int]:
        """What waits, how long the owner waited for input, and how far behind the feed that makes it."""
        link = self._connection.link
        if link is None:
            return {}
        waiting, size = link.waiting()
        behind = self.in_hand()[1]
        if behind:
            waiting, size = waiting + behind, size + sum(map(len, self._handing[-behind:]))
        opened, before = self._idle
        waited = round(link.idle * 1e9)
        idle = min(waited - before if opened == link.opened_ns else waited, window)
        self._idle = (link.opened_ns, waited)
        if not size:
            self._behind = 0
        elif handled:
            self._behind = size * (window - idle) // handled
        else:
            self._behind += window
        return {"waiting": waiting, "waiting_bytes": size, "idle": idle, "behind": self._behind}


def _nothing() -> Hand:
    return 0, 0, None
