"""Expected answers: of requests by id, of subscriptions by channel, of a login by its reader. A table with a lock.

Any thread adds; the thread that decodes a message offers it: the owner, or a waiting thread that examines what arrived
while the owner is busy. Both may offer the same message: it answers once, and the owner does not deliver it. User code
is never called under the lock.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Hashable
from typing import Any, Final, Literal

from ..link.flag import Changes
from ..link.frames import Received
from .protocol import Protocol

_REMEMBERED: Final = 1000  # keys whose late reply is recognised,
_REMEMBERED_READERS: Final = 8
_LATE: Final = 10.0  # and for how many seconds
_MAX_DETAIL: Final = 500  # characters of a server's error text
Result = Literal["ok", "rejected", "timeout", "interrupted"]
_Keys = list[tuple[Hashable, bool, str]]


class Pending(Changes):
    """One expected answer. It announces that it has arrived, and that there are new arrivals to examine."""

    __slots__ = ("answer", "deadline", "detail", "done", "fault", "key", "on_done", "read", "result")

    def __init__(
        self,
        key: Hashable,
        deadline: float,
        read: Callable[[Any], bool | None] | None = None,
        on_done: Callable[[Pending], None] | None = None,
    ) -> None:
        self.key: Hashable = key
        self.deadline: float = deadline  # on time.monotonic()
        self.read: Callable[[Any], bool | None] | None = (
            read  # for answers without a key: True, False, or None for "not the answer"
        )
        self.on_done: Callable[[Pending], None] | None = on_done  # for answers without a waiting thread
        self._waiting = []  # what Changes.__init__ sets, without another call
        self.done: bool = False
        self.result: Result = "timeout"
        self.answer: Any = None
        self.detail: str = ""
        self.fault: Exception | None = None  # the last exception that `read` raised


class Replies:
    """The expected answers of one client. While not `active`, no offer can match. `lower` is called with the time
    (time.monotonic()) at which something is due."""

    def __init__(self, protocol: Protocol, lower: Callable[[float], None] = lambda due: None) -> None:
        self._protocol = protocol
        self._lower = lower
        self._lock = threading.RLock()  # guards the fields below; re-entrant for a signal's handler
        self._pending: dict[Hashable, Pending] = {}
        self._readers: list[Pending] = []
        self._past: dict[Hashable, float] = {}  # keys that timed out, the oldest first, and until when remembered
        self._past_readers: list[Pending] = []  # remembered until their deadline
        # Entries that a waiting thread matched before the owner handled them; its emptiness is read without the lock.
        self.awaiting: dict[int, Received] = {}
        self._numbers = itertools.count(1)
        self.active: bool = False  # read without the lock
        self.late: int = 0  # answers that arrived after their deadline; not delivered

    def number(self) -> int:
        """A number for a request, unique for this client and not the id of a pending request."""
        while ("reply", number := next(self._numbers)) in self._pending:
            pass
        return number

    def add(self, pending: Pending) -> bool:
        """Expect an answer. False if an answer with this key is already expected."""
        with self._lock:
            if pending.read is not None:
                self._readers.append(pending)
            elif pending.key in self._pending:
                return False
            else:
                self._past.pop(pending.key, None)
                self._pending[pending.key] = pending
            self.active = True
        if pending.on_done is not None:
            self._lower(pending.deadline)
        return True

    def expected(self, key: Hashable) -> Pending | None:
        """The answer that is expected under this key."""
        with self._lock:
            return self._pending.get(key)

    def offer(self, message: Any, entry: Received, *, owner: bool) -> bool:
        """True if this message is an answer, now or found earlier: it is not delivered.

        `entry` is what it was decoded from. A waiting thread (owner=False) leaves a mark, because the owner will decode
        the same entry again later.
        """
        key = self._protocol.reply_key(message)
        if key is not None:
            error = self._protocol.reply_error(message)
            keys: _Keys = [(("reply", key), error is None, error[:_MAX_DETAIL] if error else "")]
        else:
            keys = self._acks(message)
        read = self._read(message) if self._readers or self._past_readers else None
        with self._lock:
            if self.awaiting and id(entry) in self.awaiting:  # it has answered already, and answers nothing else
                if owner:
                    del self.awaiting[id(entry)]
                    self._settle_active_locked()
                return True
            pending, accepted, detail = None, read is not None and read[1], ""
            for answer in keys:
                if (pending := self._pending.pop(answer[0], None)) is not None:
                    _, accepted, detail = answer
                    break
            if pending is None and read is not None:
                pending = self._matched_reader_locked(read)
            if pending is None:
                late = owner and self._late_locked(keys, read)
                self._settle_active_locked()
                return late
            if not owner:
                self.awaiting[id(entry)] = entry
            if not self._pending:  # otherwise something is still expected
                self._settle_active_locked()
        self._settle(pending, "ok" if accepted else "rejected", message, detail)
        return True

    def met(self, entry: Received) -> bool:
        """True if this entry has answered already, and only waits for the owner to handle it."""
        return id(entry) in self.awaiting

    def forget_met(self) -> None:
        """The inbox was discarded unread: the owner will handle none of its entries."""
        with self._lock:
            self.awaiting.clear()
            self._settle_active_locked()

    def _acks(self, message: Any) -> _Keys:
        ack = self._protocol.ack(message)
        if ack is None:
            return []
        names = {None: ("subscribe", "unsubscribe"), True: ("subscribe",), False: ("unsubscribe",)}[ack.subscribed]
        return [((name, ack.channel), ack.accepted, ack.detail[:_MAX_DETAIL]) for name in names]

    def _read(self, message: Any) -> tuple[Pending, bool] | None:
        """The first reader that recognises the message as its answer, and its verdict."""
        with self._lock:
            readers = [*self._readers, *self._past_readers]
        for pending in readers:
            try:
                verdict = pending.read(message) if pending.read is not None else None
            except Exception as error:  # the user's reader failed on some message: not its answer
                pending.fault = error
                continue
            if verdict is not None:
                return pending, bool(verdict)
        return None

    def _matched_reader_locked(self, read: tuple[Pending, bool]) -> Pending | None:
        if read[0] not in self._readers:
            return None
        self._readers.remove(read[0])
        self._past_readers.clear()
        return read[0]

    def _late_locked(self, keys: _Keys, read: tuple[Pending, bool] | None) -> bool:
        late = any(self._past.pop(key, None) is not None for key, _, _ in keys)
        if not late and read is not None and read[0] in self._past_readers:
            self._past_readers.remove(read[0])
            late = True
        self.late += late
        return late

    def _settle_active_locked(self) -> None:
        self.active = bool(self._pending or self._readers or self._past or self._past_readers or self.awaiting)

    def drop(self, pending: Pending, result: Result) -> bool:
        """Stop expecting it: its deadline has passed, or the link is lost. False if the answer came first."""
        until = time.monotonic() + _LATE
        with self._lock:
            if not self._remove_locked(pending):
                return False
            if result == "timeout" and pending.read is not None:
                pending.deadline = until
                self._past_readers = [*self._past_readers, pending][-_REMEMBERED_READERS:]
            elif result == "timeout":
                self._past[pending.key] = until
                if len(self._past) > _REMEMBERED:
                    del self._past[next(iter(self._past))]
            self._settle_active_locked()
        if result == "timeout":
            self._lower(until)
        self._settle(pending, result, None, "")
        return True

    def forget(self, pending: Pending) -> None:
        """Stop expecting it, and report nothing: its request was never sent."""
        with self._lock:
            self._remove_locked(pending)
            self._settle_active_locked()

    def _remove_locked(self, pending: Pending) -> bool:
        if pending in self._readers:
            self._readers.remove(pending)
        elif pending.read is None and self._pending.get(pending.key) is pending:
            del self._pending[pending.key]
        else:
            return False
        return True

    def interrupt(self) -> None:
        """The link is lost: no expected answer can arrive any more. Entries that were met but not read yet still
        are."""
        with self._lock:
            lost = [*self._pending.values(), *self._readers]
            self._past.clear()
            self._past_readers.clear()
            self._settle_active_locked()
        for pending in lost:
            self.drop(pending, "interrupted")

    def wake(self) -> None:
        """Called by the keeper after an arrival that is not decoded yet: waiting threads examine it."""
        for pending in [*self._pending.copy().values(), *self._readers]:  # copies: the keeper waits for no lock
            pending.announce()

    def expire(self, now: float) -> None:
        """Give up expired answers that no thread waits for, and forget old late replies."""
        with self._lock:
            late = [one for one in list(self._pending.values()) if one.on_done is not None and one.deadline <= now]
            for key in [key for key, until in list(self._past.items()) if until <= now]:
                self._past.pop(key, None)
            self._past_readers = [one for one in self._past_readers if one.deadline > now]
            self._settle_active_locked()
        for pending in late:
            self.drop(pending, "timeout")

    def next_deadline(self) -> float | None:
        """When `expire` is due."""
        if not self.active:
            return None
        with self._lock:
            # Copies, here and above: a signal's handler may change the table in the midst of any line.
            dues = [one.deadline for one in list(self._pending.values()) if one.on_done is not None]
            return min([*dues, *self._past.values(), *(one.deadline for one in self._past_readers)], default=None)

    @staticmethod
    def _settle(pending: Pending, result: Result, answer: Any, detail: str) -> None:
        pending.result, pending.answer, pending.detail = result, answer, detail
        if pending.on_done is not None:
            pending.on_done(pending)
        pending.done = True
        pending.announce()
