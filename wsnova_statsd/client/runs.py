"""Runs: the messages of one read, dealt with in one go where nothing is told of single ones.

While a server sends faster than its messages are handled, each read brings many. They are decoded a few ahead and
handed out with as little as can be done for each: one reading of the clock if anybody hears of the sums, none else.
What comes after a wait, and everything where somebody hears of single messages or an answer is expected, goes through
the inbox and is dealt with one by one. Runs in the owner's thread.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from operator import length_hint
from typing import Any, Final

from .. import process
from .connection import Connection
from .frames import TEXT
from .inbound import NOTHING, Inbound
from .link import Link
from .lookout import Hand

_AHEAD: Final = 32  # messages decoded in one go: the first of them waits for the last one's decoding
_BRIEF: Final = 0.001  # seconds; after a longer message the sums are brought up to date: they may be due
_INSTANT: Final = 1e-6  # seconds; in less nobody closes a client, forks, or attaches a handler, in this thread
_SPELL: Final = 0.02  # seconds of reading on and on, before what else is due gets its turn
_alive = process.ALIVE
_clock = time.monotonic


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
        handler, until = inbound.handler, _clock() + _SPELL
        try:
            while (link := connection.link) is not None and _alive[0]:
                if not link.inbox:
                    if _clock() > until:
                        return
                    run: list[bytes] = []
                    stamp = time.time_ns()
                    kind = link.read_on(run if inbound.in_runs() else None)
                    if run:
                        yield from self._deal_with(run, kind, stamp, link)
                    elif not link.inbox:
                        return
                elif handler is not None:
                    inbound.handle_each(connection, link, handler)
                elif (message := self.one()) is not NOTHING:
                    inbound.begin()
                    try:
                        yield message
                    finally:
                        inbound.finish("ok")
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

    def _deal_with(self, run: list[bytes], kind: int, stamp: int, link: Link) -> Iterator[Any]:
        """Hand out a run. What it does not come to, or cannot decode, goes into the inbox, before what is there."""
        inbound, connection, brief = self._inbound, self._connection, self._brief
        decode = inbound.decode_text if kind == TEXT else inbound.decode_binary
        handler, timed, bus, version = inbound.handler, inbound.timed, inbound.bus, inbound.version
        done = counted = 0
        spent, longest = 0.0, self._longest
        message = fault = None
        # Whoever ends the link or changes who hears puts something in: one look for each message, and a cheap one. A
        # fork without hooks, where nobody hears, is seen after some messages only.
        ended_by: list[None] = []
        try:
            connection.run = bus.runs[id(ended_by)] = ended_by
            # An answer that came in this run was expected before it was read, so it is seen here that one is.
            while done < len(run) and not inbound.requests.active and bus.version == version:
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
                    passing = longest if longest < _INSTANT else _INSTANT
                    began = ended = _clock() if timed else 0.0
                    inbound.hand = partial(_in_hand, messages, walk, began)
                    try:
                        for message in walk:
                            if handler is None:
                                yield message
                            else:
                                handler(message)
                            if timed:
                                now = _clock()
                                took, ended = now - ended, now
                                if took <= passing:
                                    continue
                                if took > longest:
                                    longest = took
                                    passing = longest if longest < _INSTANT else _INSTANT
                                if took > brief or not _alive[0]:
                                    break
                            if ended_by:
                                break
                    except Exception as error:
                        if handler is None:  # thrown into the loop's generator
                            raise
                        fault = error
                    finally:
                        done += left - length_hint(walk)
                        if timed:
                            now = _clock()
                            spent += now - began
                            if now - ended > longest:  # a message that did not come to its end
                                longest = now - ended
                    if fault is not None or longest > brief or spent > _SPELL:  # the sums may be due
                        if timed:
                            self._note(run[counted:done], spent, longest)
                            self._settle(message, fault is not None)
                            counted, spent, longest = done, 0.0, 0.0
                        if fault is not None:
                            inbound.raised(fault)
                            fault = None
                    if not _alive[0] or connection.link is not link or bus.version != version:
                        return
        finally:  # first what it did not come to: telling of the sums calls telemetry handlers
            bus.runs.pop(id(ended_by), None)
            if done < len(run):
                link.inbox.extendleft([(kind, payload, stamp) for payload in reversed(run[done:])])
            inbound.hand, link.in_hand = None, False
            if timed:
                self._note(run[counted:done], spent, longest)
                if longest > brief:  # the loop was left from a long body
                    self._settle(message)

    def _note(self, handed_out: list[bytes], spent: float, longest: float) -> None:
        self._count += len(handed_out)
        self._bytes += sum(map(len, handed_out))
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
