"""Asking: a message goes out, and its thread waits for the answer. Calls the protocol, emits nothing.

Any thread. An answer is found by the owner as it reads, or by the waiting thread itself, which looks through what the
keeper read while the owner is busy. An owner that asks from inside the user's code reads on while it waits.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, Final

from ..errors import ConfigurationError, NotConnected, RequestTimeout
from .frames import TEXT, Received
from .link import Link
from .protocol import Protocol
from .requests import Pending, Requests
from .sender import Sender

NOBODY: Final = Pending(None, 0.0)
_LOOK: Final = 0.25  # seconds after which a waiting thread looks for itself, should nobody have woken it


@dataclass(slots=True)
class Asked:
    """What is expected, on which link, and the last arrival that was looked at: its number, and itself if unread."""

    pending: Pending
    link: Link
    scanned: int = 0
    last: Received | None = None


def deadline(timeout: float) -> float:
    """When `timeout` seconds are over, on time.monotonic(). Raises ConfigurationError for what is no timeout."""
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or math.isnan(timeout) or timeout < 0:
        raise ConfigurationError(f"timeout is {timeout!r}; give seconds, zero or more")
    return time.monotonic() + timeout


class Asking:
    """Questions and answers of one client. `is_owner` says whether the calling thread reads the link; `attend` has the
    keeper read it if nobody does; `make_room` is called when the keeper stopped for lack of it."""

    def __init__(
        self,
        protocol: Protocol,
        sender: Sender,
        requests: Requests,
        up: Callable[[float], Link],
        is_owner: Callable[[], bool],
        attend: Callable[[], None],
        make_room: Callable[[Link], None],
    ) -> None:
        self._protocol = protocol
        self._sender = sender
        self._requests = requests
        self._up = up
        self._is_owner = is_owner
        self._attend = attend
        self._make_room = make_room

    def expect(self, pending: Pending) -> Asked | None:
        """Before the question is sent: its answer belongs to whoever waits. None if one like it is expected already.
        Raises NotConnected."""
        link = self._up(0.0)
        asked = Asked(pending, link, link.session.arrived, _last(link))
        return asked if self._requests.add(pending) else None

    def send(self, asked: Asked, message: Any, *, urgent: bool = False) -> None:
        """Send the question. Raises what sending raises; nothing is expected then."""
        try:
            link = self._sender.send(message, 0.0, urgent=urgent)
        except BaseException:
            self._requests.forget(asked.pending)
            raise
        if link is not asked.link:  # lost and made anew in between
            asked.link, asked.scanned, asked.last = link, 0, None

    def wait(self, asked: Asked) -> None:
        """Until there is an answer, or none can come any more."""
        pending, link = asked.pending, asked.link
        mine = self._attending()
        try:
            while not pending.done:
                self._look_through(asked)
                if pending.done:
                    return
                if pending.deadline <= time.monotonic():
                    self._requests.drop(pending, "timeout")
                elif link.loss is not None and link.session.arrived == asked.scanned:
                    self._requests.drop(pending, "interrupted")
                else:
                    self._pause(asked, pending.deadline, mine)
        except BaseException:
            self._requests.drop(pending, "interrupted")
            raise

    def join(self, key: Hashable, until: float) -> None:
        """Wait for the answer that another conversation expects under this key. Raises RequestTimeout."""
        link, other = self._up(0.0), self._requests.expected(key)
        if other is None:
            return
        asked = Asked(other, link)
        mine = self._attending()
        while not other.done and link.loss is None:
            if until <= time.monotonic():
                raise RequestTimeout(f"an earlier question about {key!r} was not answered in time; nothing was sent")
            self._look_through(asked)
            if not other.done:
                self._pause(asked, until, mine)

    def look(self) -> None:
        """Find the answers that lie unread, before anything is called unanswered."""
        try:
            self._look_through(Asked(NOBODY, self._up(0.0)))
        except NotConnected:  # then nothing is expected any more
            pass

    def _attending(self) -> bool:
        mine = self._is_owner()
        if not mine:
            self._attend()
        return mine

    def _pause(self, asked: Asked, until: float, mine: bool) -> None:
        if mine:
            asked.link.pump(until)
            return
        if asked.link.full:  # of answers, perhaps, if nobody ever iterates
            self._make_room(asked.link)
        wake = asked.pending.wake
        wake.wait(min(max(0.0, until - time.monotonic()), _LOOK))
        wake.clear()
        if asked.pending.done:
            wake.set()  # two may wait for one answer

    def _look_through(self, asked: Asked) -> None:
        """Offer what arrived and its owner did not come to yet."""
        link, last = asked.link, asked.last
        arrived = link.session.arrived
        if arrived == asked.scanned:
            return
        new: list[Received] = []
        for entry in reversed(list(link.inbox)):
            if entry is last:
                break
            new.append(entry)
        for entry in reversed(new):
            opcode, payload, _ = entry
            try:
                message = self._protocol.decode(payload.decode() if opcode == TEXT else payload)
                self._requests.offer(message, entry, owner=False)
            except Exception:  # the owner decodes it again, and tells
                continue
        asked.scanned = arrived
        if new:
            asked.last = new[0]


def _last(link: Link) -> Received | None:
    try:
        return link.inbox[-1]
    except IndexError:
        return None
