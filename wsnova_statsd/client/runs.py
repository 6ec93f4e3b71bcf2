"""Runs: the messages of one read, handed out one after the other, with all that is to be told of each, or nothing.

While a server sends faster than its messages are handled, each read brings many. Where nobody hears of single messages
they are decoded a few ahead and handed out with as little as can be done for each: one reading of the clock if anybody
hears of the sums, none else. Where somebody does, nothing is looked up or written twice. What comes after a wait, or
while an answer is expected, which other threads may look for, lies in the link's inbox. Runs in the owner's thread.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import repeat
from operator import length_hint
from typing import Any, Final

from .. import process
from .connection import Connection
from .frames import TEXT, Received
from .inbound import ERROR, NOTHING, OK, Inbound
from .link import Link
from .stuck import Hand

_AHEAD: Final = 32  # messages decoded in one go: the first of them waits for the last one's decoding
_BRIEF: Final = 0.001  # seconds; after a longer message the sums are brought up to date: they may be due
_INSTANT: Final = 2e-5  # seconds; in less nobody forks
_SPELL: Final = 0.02  # seconds of reading on and on, before what else is due gets its turn
_alive = process.ALIVE
_clock = time.monotonic
_clock_ns = time.monotonic_ns


class Runs:
    """Hands out what arrives for one client's owner."""

    def __init__(self, inbound: Inbound, connection: Connection, slow_after: float) -> None:
        self._inbound = inbound
        self._connection = connection
        self._brief = min(_BRIEF, slow_after)
        # What was handed out since the sums were brought up to date: messages, bytes, seconds.
        self._count = self._bytes = 0
        self._spent = self._longest = 0.0

    def waiting(self) -> Iterator[Any]:
        """Everything that waits and comes at once, until nothing does or the link is gone, closed by the user's code
        perhaps. Messages go to on_message; a client without one has them yielded, and the loop's body processes them.
        """
        inbound, connection = self._inbound, self._connection
        until = _clock() + _SPELL
        try:
            while (link := connection.link) is not None and _alive[0]:
                if link.inbox:
                    yield from self._each(link, _leaving(link.inbox))
                else:
                    run: list[bytes] = []
                    stamp = time.time_ns()
                    kind, size = link.read_on(None if inbound.requests.active else run)
                    inbound.attend()
                    if not run:
                        if not link.inbox:
                            return
                    elif inbound.requests.active:  # who waits for an answer looks in the inbox; it may be in this run
                        _put_back(link, zip(repeat(kind), run, repeat(stamp)))
                    elif inbound.quiet:
                        yield from self._in_bulk(link, run, kind, size, stamp)
                    else:
                        yield from self._each(link, zip(repeat(kind), run, repeat(stamp)))
                    del run  # half a MiB, while the next one is read
                if _clock() > until:
                    return
        finally:
            self._settle()

    def one(self) -> Any:
        """The next message that waits; NOTHING if it is for nobody, or was cleared away. It leaves the inbox when it is
        decoded: what a signal's handler interrupts is not lost."""
        link, inbound = self._connection.link, self._inbound
        if link is None or not link.inbox:
            return NOTHING
        received = link.inbox[0]
        message = inbound.decode(received)
        if link.inbox:  # a breach clears it
            link.inbox.popleft()
        return NOTHING if message is NOTHING or inbound.consumed(message, received) else message

    def _each(self, link: Link, entries: Iterator[Received]) -> Iterator[Any]:
        """Hand out messages one by one, with all that is to be told of each, for a spell. The hot path where somebody
        hears of single ones. What a handler raises costs nothing else; what a run does not come to goes into the
        inbox."""
        inbound, connection, handler = self._inbound, self._connection, self._inbound.handler
        inbound.attend()
        bus, version, requests, answers = inbound.bus, inbound.version, inbound.requests, inbound.has_heartbeats
        begun, heard, ears, type_of, wall = inbound.begun, inbound.heard, inbound.ears, inbound.type_of, inbound.wall
        text, binary, slow = inbound.decode_text, inbound.decode_binary, inbound.slow_ns
        hearing = message = tell_started = tell_completed = None
        undealt: list[Received] = []
        count = total = spent = longest = handed = decoded = 0
        inbound.hand = lambda: (handed, 0, message)
        try:
            ended = _clock_ns()
            over, due = ended + round(_SPELL * 1e9), inbound.batch.due
            for received in entries:  # itself, not its like: an answer that was found by others is known by it
                if not _alive[0] or connection.link is not link or bus.version != version or ended > over:
                    undealt.append(received)
                    return
                opcode, payload, arrived = received
                handed, size, began = 0, len(payload), ended
                try:
                    if begun is not None:
                        begun(ended + wall, size)
                    began = _clock_ns()
                    message = text(payload) if opcode == TEXT else binary(payload)
                    if heard:
                        raw = type_of(message)
                        try:
                            hearing = ears[raw]
                        except (KeyError, TypeError):
                            hearing = inbound.new_ears(raw)
                        decoded = _clock_ns()
                        tell_decoded, tell_received, tell_started, tell_completed = hearing.recorders
                        if tell_decoded is not None:
                            tell_decoded(decoded - began, size)
                        if tell_received is not None:
                            tell_received(size, arrived)
                except Exception as error:  # the protocol may be the user's, and the data is the server's
                    if inbound.undecodable(error, received, began):
                        deque(entries, 0)  # nothing behind a breach may be processed
                    ended = _clock_ns()
                    continue
                except BaseException:  # a signal's handler: this one is dealt with the next time
                    undealt.append(received)
                    raise
                if answers or requests.active:
                    inbound.take(message, hearing, size, decoded)
                    if inbound.consumed(message, received):
                        ended = _clock_ns()
                        continue
                if tell_started is not None:
                    tell_started(decoded + wall)
                handed = began = _clock_ns()
                try:
                    if handler is None:
                        yield message
                    else:
                        handler(message)
                except BaseException as error:
                    inbound.take(message, hearing, size, decoded, began)
                    inbound.finish(OK if handler is None else ERROR)
                    if handler is None or not isinstance(error, Exception):  # the loop was left; SystemExit
                        raise
                    inbound.raised(error)
                    due, ended = inbound.batch.due, _clock_ns()
                    continue
                ended = _clock_ns()
                took = ended - began
                if tell_completed is not None:
                    tell_completed(took)
                count += 1
                total += size
                spent += took
                if took > longest:
                    longest = took
                if took > slow:
                    inbound.take(message, hearing, size, decoded)
                    inbound.tell_slow(took, OK)
                if ended >= due:
                    inbound.add(count, total, spent, longest)
                    count = total = spent = longest = 0
                    inbound.window(ended)
                    due, ended = inbound.batch.due, _clock_ns()
        finally:
            inbound.hand = None
            inbound.take(None, None, 0, 0)
            _put_back(link, [*undealt, *(entries if isinstance(entries, zip) else ())])
            inbound.add(count, total, spent, longest)

    def _in_bulk(self, link: Link, run: list[bytes], kind: int, size: int, stamp: int) -> Iterator[Any]:
        """Hand out a run of `size` bytes of which nothing is told but the sums, for a spell. What it does not come to,
        or cannot decode, goes into the inbox."""
        inbound, connection, brief = self._inbound, self._connection, self._brief
        decode = inbound.decode_text if kind == TEXT else inbound.decode_binary
        handler, timed, bus, version = inbound.handler, inbound.timed, inbound.bus, inbound.version
        done = counted = 0
        spent, longest, passing = 0.0, self._longest, self._passing()
        message: Any = None
        fault: BaseException | None = None
        over = _clock() + _SPELL
        # Whoever ends the link or changes who hears puts something in: one look for each message, and a cheap one. A
        # fork without hooks, where nobody hears, is seen after some messages only.
        ended_by: list[None] = []
        try:
            connection.run = bus.runs[id(ended_by)] = ended_by
            while done < len(run) and bus.version == version and _clock() < over:
                inbound.hand = None
                messages: list[Any] = []
                try:
                    messages.extend(map(decode, run[done : done + _AHEAD]))
                except Exception:  # told when its message is dealt with alone; those before it are in the list
                    pass
                if not messages:  # also after a StopIteration, which extend takes for the end
                    return
                walk = iter(messages)
                while left := length_hint(walk):
                    began = now = _clock() if timed else 0.0
                    until = now + passing
                    inbound.hand = partial(_in_hand, messages, walk, began)
                    try:
                        for message in walk:
                            if handler is None:
                                yield message
                            else:
                                handler(message)
                            if timed:
                                ended = now
                                now = _clock()
                                if now < until and not ended_by:
                                    continue
                                took = now - ended
                                if took > longest:
                                    longest = took
                                    passing = max(passing, min(took, _INSTANT))
                                if took > brief or not _alive[0]:
                                    break
                                until = now + passing
                            if ended_by:
                                break
                    except BaseException as error:
                        if handler is None:  # the loop was left, or something thrown into its generator
                            raise
                        fault = error
                    finally:
                        done += left - length_hint(walk)
                        if timed:
                            ended = now
                            now = _clock()
                            spent += now - began
                            if now - ended > longest:  # a message that did not come to its end
                                longest = now - ended
                    if fault is not None or longest > brief or spent > _SPELL:  # the sums may be due
                        if timed:
                            part = sum(map(len, run[counted:done]))
                            self._note(done - counted, part, spent, longest)
                            self._settle(message, fault is not None)
                            size -= part
                            counted, spent, longest, passing = done, 0.0, 0.0, self._passing()
                        if isinstance(fault, Exception):
                            inbound.raised(fault)
                            fault = None
                        elif fault is not None:  # SystemExit
                            raise fault
                    if not _alive[0] or connection.link is not link or bus.version != version:
                        return
        finally:  # first what it did not come to: telling of the sums calls telemetry handlers
            bus.runs.pop(id(ended_by), None)
            inbound.hand = None
            rest = run[done:]
            _put_back(link, [(kind, payload, stamp) for payload in rest])
            if timed:
                self._note(done - counted, size - sum(map(len, rest)), spent, longest)
                if longest > brief:  # the loop was left from a long body
                    self._settle(message)

    def _passing(self) -> float:
        """Seconds in which no message, and not all of some together, need a look: the second that is summed up has
        seen a longer one, or less than anything takes that ends a run."""
        return min(max(self._longest, self._inbound.batch.process_time_max / 1e9), _INSTANT)

    def _note(self, count: int, size: int, spent: float, longest: float) -> None:
        self._count += count
        self._bytes += size
        self._spent += spent
        self._longest = longest

    def _settle(self, last: Any = None, fault: bool = False) -> None:
        """Bring the sums up to date; only the last message may have been slow, or have raised."""
        if self._count:
            self._inbound.count_run(self._count, self._bytes, self._spent, self._longest, last, fault)
            self._count = self._bytes = 0
            self._spent = self._longest = 0.0


def _in_hand(messages: list[Any], walk: Iterator[Any], began: float) -> Hand:
    """What is handed out of a list that is walked through; `began` tells when the first of some brief ones was."""
    left = length_hint(walk)
    return (round(began * 1e9), left, messages[-left - 1]) if left < len(messages) else (0, 0, None)


def _leaving(inbox: deque[Received]) -> Iterator[Received]:
    """What waits, each taken out when its turn has come: other threads may look for an answer among the rest."""
    while inbox:
        yield inbox.popleft()


def _put_back(link: Link, rest: Iterable[Received]) -> None:
    """What was read and not dealt with is the first of what waits."""
    link.inbox.extendleft(reversed([*rest]))
    link.in_hand = False
