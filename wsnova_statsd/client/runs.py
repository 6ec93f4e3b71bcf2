"""Runs: many messages dealt with in one go, where nothing is told of each one.

What waits in the inbox is decoded a few messages ahead and handed out with as little as can be done for each: one
reading of the clock if anybody hears of the sums, none else. Where somebody hears of single messages, or an answer is
expected, they are dealt with one by one. Runs in the owner's thread.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import islice, takewhile
from operator import length_hint
from typing import Any, Final

from .. import process
from .connection import Connection
from .frames import TEXT, Received
from .inbound import NOTHING, Inbound
from .link import Link

_RUN: Final = 1000  # messages taken out of the inbox at once, at most,
_RUN_BYTES: Final = 524288
_AHEAD: Final = 32  # messages decoded in one go: the first of them waits for the last one's decoding
_BRIEF: Final = 0.001  # seconds; after a longer message the sums are brought up to date: they may be due
_SPELL: Final = 0.02  # seconds of reading on and on, before what else is due gets its turn
_alive = process.ALIVE
_clock = time.monotonic


class Runs:
    """Hands out what waits for one client's owner."""

    def __init__(self, inbound: Inbound, connection: Connection, slow_after: float) -> None:
        self._inbound = inbound
        self._connection = connection
        self._brief = min(_BRIEF, slow_after)
        self._alone = False  # the next message could not be decoded
        self._size = 0  # of the payloads of the run that was taken

    def waiting(self) -> Iterator[Any]:
        """Everything that waits and comes at once, until nothing does or the link is gone, closed by the user's code
        perhaps. Messages go to on_message; a client without one has them yielded, and the loop's body processes them.
        """
        inbound, connection = self._inbound, self._connection
        handler, until = inbound.handler, _clock() + _SPELL
        while (link := connection.link) is not None and _alive[0]:
            if not link.inbox and (_clock() > until or not link.read_on()):
                return
            run = self._take(link)
            if run:
                yield from self._deal_with(run, link)
                continue
            if handler is not None:
                inbound.handle_each(connection, link, handler)
                continue
            message = self.one()
            if message is not NOTHING:
                inbound.begin()
                try:
                    yield message
                finally:
                    inbound.finish("ok")

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

    def _take(self, link: Link) -> list[Received]:
        """A run, taken out of the inbox; none if messages are to be dealt with one by one. Whether an answer is
        expected is asked again when they are known: the answer to what is asked later cannot be among them."""
        inbound = self._inbound
        if inbound.version != inbound.bus.version:
            inbound.listen()
        alone, self._alone = self._alone, False
        inbox = link.inbox
        if alone or not inbound.runs or inbound.requests.active or len(inbox) < 2:
            return []
        with link.reading:  # the keeper appends
            run = list(islice(inbox, _RUN))
            if inbound.requests.active:
                return []
            self._size = _size(run)
            if self._size > _RUN_BYTES:
                del run[max(1, len(run) * _RUN_BYTES // self._size) :]
                self._size = _size(run)
            link.in_hand = True
            if len(run) == len(inbox):
                inbox.clear()
            else:
                for _ in run:
                    inbox.popleft()
        return run

    def _deal_with(self, run: list[Received], link: Link) -> Iterator[Any]:
        """Hand out a run. What it does not come to goes back into the inbox."""
        inbound, connection, brief = self._inbound, self._connection, self._brief
        handler, timed, bus, version = inbound.handler, inbound.timed, inbound.bus, inbound.version
        done = counted = 0
        spent = longest = 0.0
        message = fault = None
        try:
            while done < len(run) and not self._alone:
                messages = self._decode_ahead(run[done : done + _AHEAD])
                walk = iter(messages)
                while left := length_hint(walk):
                    began = ended = _clock() if timed else 0.0
                    try:
                        for message in walk:
                            if handler is None:
                                yield message
                            else:
                                handler(message)
                            if timed:
                                now = _clock()
                                if now - ended > longest:
                                    longest = now - ended
                                    if longest > brief:
                                        break
                                ended = now
                            if not _alive[0] or connection.link is not link or bus.version != version:
                                return
                    except Exception as error:
                        if handler is None:  # thrown into the loop's generator
                            raise
                        fault = error
                    finally:
                        done += left - length_hint(walk)
                        if timed:
                            now = _clock()
                            longest = max(longest, now - ended)
                            spent += now - began
                    if fault is not None or longest > brief:
                        if timed:
                            size = _size(run[counted:done])
                            inbound.count_run(done - counted, size, spent, longest, message, fault is not None)
                            counted, spent, longest = done, 0.0, 0.0
                        if fault is not None:
                            inbound.raised(fault)
                            fault = None
                        if not _alive[0] or connection.link is not link or bus.version != version:
                            return
        finally:  # first what was not come to: counting may call telemetry handlers
            link.inbox.extendleft(reversed(run[done:]))
            link.in_hand = False
            if timed and counted < done:
                size = self._size if done - counted == len(run) else _size(run[counted:done])
                inbound.count_run(done - counted, size, spent, longest, message, False)

    def _decode_ahead(self, entries: list[Received]) -> list[Any]:
        """As many messages as are of one kind and can be decoded; a fault is told when its message is dealt with."""
        inbound, opcode = self._inbound, entries[0][0]
        payloads = [payload for kind, payload, _ in entries if kind == opcode]
        if len(payloads) < len(entries):
            payloads = [payload for _, payload, _ in takewhile(lambda entry: entry[0] == opcode, entries)]
        messages: list[Any] = []
        try:
            messages.extend(map(inbound.decode_text if opcode == TEXT else inbound.decode_binary, payloads))
        except Exception:  # told when the message is dealt with
            pass
        self._alone = not messages  # also after a StopIteration, which extend takes for the end
        return messages


def _size(run: list[Received]) -> int:
    return sum([len(payload) for _, payload, _ in run])
