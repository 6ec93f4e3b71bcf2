"""Requests and answers: requests by id, messages with a reader for the answer, greetings, application heartbeats.

A message is sent and its thread waits for the answer. Any thread. The owner finds an answer as it reads. If there is no
owner, the waiting thread becomes the owner and reads; if the owner is busy, it looks through what the keeper read. Both
may offer the same message: it answers once, and is not delivered elsewhere. User code is never called under a lock.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from threading import get_ident
from typing import Any, Final

from .. import checks
from ..errors import (
    ConfigurationError,
    NotConnected,
    RequestInterrupted,
    RequestRejected,
    RequestTimeout,
    WsnovaError,
)
from ..link.frames import TEXT, Received
from ..link.link import Link
from .faults import Faults
from .ownership import STANDS_IN, THREAD, Hold, Ownership
from .protocol import Protocol
from .replies import Pending, Replies
from .sender import Sender

_ANSWER_TIMEOUT: Final = 10.0  # seconds until an answer without a waiting thread is forgotten
_LOOK: Final = 0.25  # seconds until a waiting thread looks by itself, in case it was not woken
_TURN: Final = 0.15  # seconds that a waiting thread reads before it checks whether another one wants to
_monotonic = time.monotonic
_clock = time.monotonic_ns


_NO_HOLD: Final[Hold] = {}


class Asked:
    """An expected answer, its link, and the last arrival already examined: its number, and the entry if unread."""

    __slots__ = ("hold", "last", "link", "pending", "scanned")

    def __init__(self, pending: Pending, link: Link, scanned: int = 0, last: Received | None = None) -> None:
        self.pending: Pending = pending
        self.link: Link = link
        self.scanned: int = scanned
        self.last = last
        self.hold: Hold = _NO_HOLD  # the ownership, while this thread borrows it

    def sent_on(self, link: Link) -> None:
        """The request was sent on this link, which may be newer than the known one."""
        if link is not self.link:
            self.link, self.scanned, self.last = link, 0, None

    def has_news(self) -> bool:
        """True if there is a new arrival, or the answer."""
        session = self.link.session
        return self.pending.done or session.arrived != self.scanned or session.loss is not None


NO_ANSWER: Final = Pending(None, 0.0)


def deadline(timeout: float) -> float:
    """When `timeout` seconds are over, on time.monotonic(). Raises ConfigurationError for an invalid timeout."""
    if type(timeout) is not float or not 0.0 <= timeout <= checks.LONGEST:  # nearly always valid
        timeout = checks.seconds("timeout", timeout, zero=True, endless=True)
    return _monotonic() + timeout


class Requests:
    """The requests of one client. `up` returns the link; `attend` has the keeper read it while its owner is busy;
    `settle` is called as the owner after answers were found: it counts them as received and clears the inbox of them.
    """

    def __init__(
        self,
        protocol: Protocol,
        faults: Faults,
        sender: Sender,
        replies: Replies,
        ownership: Ownership,
        up: Callable[[float], Link],
        attend: Callable[[], None],
        settle: Callable[[Link], None],
    ) -> None:
        self._protocol = protocol
        self._faults = faults
        self._sender = sender
        self._replies = replies
        self._ownership = ownership
        self._up = up
        self._attend = attend
        self._settle = settle
        self._decode_text = protocol.text_decoder()
        # Set to the receiver's: counts an answer as received, with the times before and after its decoding
        self.answered: Callable[[Received, Any, int, int], None] = lambda received, message, began, ended: None

    def request(self, message: Any, timeout: float) -> Any:
        """Return the reply. Raises RequestTimeout, RequestInterrupted, RequestRejected, NotConnected."""
        until = deadline(timeout)
        ready, key = self._protocol.request(message, self._replies.number())
        pending = Pending(("reply", key), until)
        self._ask(pending, ready)
        if pending.result == "ok":
            return pending.answer
        if pending.result == "timeout":
            error: WsnovaError = RequestTimeout(f"no reply to request {key!r} within timeout={timeout:g} s")
            self._faults.raised(error, "timeout", "warning")
            raise error
        if pending.result == "interrupted":
            raise RequestInterrupted(
                f"the connection was lost before the reply to request {key!r}; the request may have taken effect"
            )
        raise RequestRejected(f"the server answered request {key!r} with an error: {pending.detail}", pending.answer)

    def expect(self, message: Any, read: Callable[[Any], bool | None], timeout: float) -> bool:
        """Send a message and wait for its answer, which `read` recognises. Raises like request."""
        pending = Pending(None, deadline(timeout), read)
        self._ask(pending, message)
        if pending.result == "timeout":
            why = f"; its reader raised {pending.fault!r}" if pending.fault is not None else ""
            raise RequestTimeout(f"no answer within timeout={timeout:g} s{why}") from pending.fault
        if pending.result == "interrupted":
            raise RequestInterrupted("the connection was lost before the answer")
        return pending.result == "ok"

    def _ask(self, pending: Pending, message: Any) -> None:
        """Send the message and wait until its answer is settled."""
        try:
            asked = self.begin(pending)
            if asked is None:
                raise ConfigurationError(f"an answer to {pending.key!r} is already awaited; wait for it first")
            link = self._sender.send(message, 0.0)
            if link is not asked.link:  # lost and made anew meanwhile
                asked.link, asked.scanned, asked.last = link, 0, None
            self.wait(asked)
        except BaseException:  # a signal's handler may raise before other code forgets it
            self._replies.forget(pending)
            raise

    # -- a request ----------------------------------------------------------------------------------------------------

    def begin(self, pending: Pending) -> Asked | None:
        """Before the request is sent: register its answer for the waiting thread. None if an answer with this key is
        already expected. Raises NotConnected."""
        link = self._up(0.0)
        asked = Asked(pending, link, link.session.arrived, _last(link) if link.inbox else None)
        return asked if self._replies.add(pending) else None

    def send(self, asked: Asked, message: Any, *, urgent: bool = False) -> None:
        """Send the request. Raises what sending raises, and then expects no answer."""
        try:
            asked.sent_on(self._sender.send(message, 0.0, urgent=urgent))
        except BaseException:
            self._replies.forget(asked.pending)
            raise

    def wait(self, asked: Asked) -> None:
        """Wait for the answer, until none can arrive any more."""
        pending, session, reads = asked.pending, asked.link.session, "waiting"
        try:
            reads = self._begin_reading(asked)
            while not pending.done:
                if session.arrived != asked.scanned:
                    self._look_through(asked)
                    if pending.done:
                        return
                now = _monotonic()
                if pending.deadline <= now:
                    self._replies.drop(pending, "timeout")
                elif session.loss is not None and session.arrived == asked.scanned:
                    self._replies.drop(pending, "interrupted")
                elif reads == "borrowing" and not asked.link.inbox and not self._ownership.wanted:
                    self._read_answers(asked, pending.deadline if pending.deadline < now + _TURN else now + _TURN)
                else:
                    reads = self._await_more(asked, pending.deadline, reads)
        except BaseException:
            self._replies.drop(pending, "interrupted")
            raise
        finally:
            try:
                self._end_reading(asked, reads)
            finally:
                asked.hold.pop(THREAD, None)

    def join(self, key: Hashable, until: float) -> None:
        """Wait for the answer that another request expects under this key. Raises RequestTimeout."""
        link, other = self._up(0.0), self._replies.expected(key)
        if other is None:
            return
        asked, reads = Asked(other, link), "waiting"
        try:
            reads = self._begin_reading(asked)
            while not other.done and link.loss is None:
                if until <= time.monotonic():
                    raise RequestTimeout(f"an earlier request about {key!r} was not answered in time; nothing was sent")
                self._look_through(asked)
                if not other.done:
                    reads = self._await_more(asked, until, reads)
        finally:
            try:
                self._end_reading(asked, reads)
            finally:
                asked.hold.pop(THREAD, None)

    def look(self) -> None:
        """Find answers that are still unread, before any request is called unanswered."""
        try:
            self._look_through(Asked(NO_ANSWER, self._up(0.0)))
        except NotConnected:  # then nothing is expected any more
            pass

    def _begin_reading(self, asked: Asked) -> str:
        """How this thread gets its answer: as the `owner`, if user code called by the owner asks; by `borrowing` the
        ownership, if it is free; or by `waiting` for what others read."""
        asked.hold = hold = {THREAD: get_ident(), STANDS_IN: True}
        if self._ownership.enter(hold):
            return "borrowing"
        if self._ownership.mine():
            return "owner"
        self._attend()
        return "waiting"

    def _await_more(self, asked: Asked, until: float, reads: str) -> str:
        """Read, or wait for what others read; returns how the thread goes on."""
        if reads == "owner":
            asked.link.pump(min(until, time.monotonic() + _LOOK))  # a signal's handler may have read it
        elif reads == "borrowing":
            if self._ownership.wanted:
                asked.hold.pop(THREAD, None)
                self._ownership.freed()
                return "waiting"
            turn = min(until, time.monotonic() + _TURN)
            if asked.link.inbox:
                asked.link.pump(turn)
            else:
                self._read_answers(asked, turn)
        else:
            if asked.link.full:  # perhaps of answers, if no thread ever iterates
                self._ownership.if_free(lambda: self._settle(asked.link))
            asked.pending.wait_for(asked.has_news, min(until - time.monotonic(), _LOOK))
        return reads

    def _read_answers(self, asked: Asked, until: float) -> None:
        """As the owner, with nothing in the inbox: read once, and remove the answers from what arrived."""
        link = asked.link
        if link.session.notices:  # the link reads nothing more before these are emitted
            self._settle(link)
        link.next_run(until, direct=False)
        for entry in [*link.inbox]:
            if not self._offer(entry, owner=True):
                asked.last = entry
            elif entry in link.inbox:
                link.inbox.remove(entry)

    def _offer(self, entry: Received, *, owner: bool) -> bool:
        """True if this is an answer. An answer that the owner finds is counted as received at once."""
        opcode, payload, _ = entry
        began = _clock()
        try:
            message = self._decode_text(payload) if opcode == TEXT else self._protocol.decode(payload)
            ended = _clock()
            found = self._replies.offer(message, entry, owner=owner)
        except Exception:  # the owner decodes it again, and emits the error
            return False
        if found and owner:
            self.answered(entry, message, began, ended)
        return found

    def _end_reading(self, asked: Asked, reads: str) -> None:
        if reads == "borrowing":
            self._settle(asked.link)
            asked.hold.pop(THREAD, None)
            self._ownership.freed()
        elif reads == "waiting":
            self._ownership.if_free(lambda: self._settle(asked.link))

    def _look_through(self, asked: Asked) -> None:
        """Offer what arrived and the owner has not handled yet."""
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
            self._offer(entry, owner=False)
        asked.scanned = arrived
        if new:
            asked.last = new[0]

    # -- what the owner sends on its own-------------------------------------------------------------------------------

    def expire(self, now: float) -> None:
        """Owner: give up expired answers that no thread waits for."""
        due = self._replies.next_deadline()
        if due is not None and due <= now:
            self.look()
            self._replies.expire(now)

    def greet(self) -> None:
        """Owner, on every new link: send the protocol's greeting."""
        try:
            for message in self._protocol.greeting():
                self._send_unasked(message)
        except NotConnected:  # the owner emits the loss
            pass
        except Exception as error:
            self._refused("the protocol's greeting raised", error)

    def answer_heartbeat(self, answer: Any) -> None:
        """Owner: send this answer to an application heartbeat."""
        try:
            self._send_unasked(answer, urgent=True)
        except NotConnected:
            pass
        except Exception as error:
            self._refused("a heartbeat could not be answered", error)

    def _send_unasked(self, message: Any, *, urgent: bool = False) -> None:
        """Send a message as it is. No thread waits for its answer; a reply to it is not delivered."""
        asked, key = None, self._protocol.sent_key(message)
        if key is not None:
            asked = self.begin(Pending(("reply", key), time.monotonic() + _ANSWER_TIMEOUT, on_done=self._reply_arrived))
        if asked is None:
            self._sender.send(message, 0.0, urgent=urgent)
        else:
            self.send(asked, message, urgent=urgent)

    def _reply_arrived(self, pending: Pending) -> None:
        if pending.result == "rejected":
            refusal = RequestRejected(f"the server refused {pending.key!r}: {pending.detail}")
            self._refused("the server refused", refusal)

    def _refused(self, what: str, error: Exception) -> None:
        self._faults.log(what, error)
        self._faults.handled(self._faults.occurred(error, "protocol", "error"), "continued")


def _last(link: Link) -> Received | None:
    try:
        return link.inbox[-1]
    except IndexError:
        return None
