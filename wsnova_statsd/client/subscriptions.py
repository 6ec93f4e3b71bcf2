"""Channels wanted and confirmed: subscribe, unsubscribe, restore. It emits subscription.*.

Wanted outlives a link, confirmed does not. Only a first rejection makes a channel unwanted; a restore that fails is
emitted as an error and tried again, with growing pauses, until it succeeds or the channel is unwanted. Public calls run
in any thread and wait there; one about a channel and a verb follows the other. Restores are sent by the owner and wait
for nobody: what they come to is emitted by the thread that finds the answer.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from .. import events
from ..errors import (
    NotConnected,
    RateLimited,
    RequestError,
    RequestInterrupted,
    RequestTimeout,
    SubscriptionRejected,
    WsnovaError,
    one_of,
)
from .emitter import Emitter
from .faults import Fault, Faults
from .link import Link
from .protocol import Protocol, check_channel
from .replies import Pending, Replies
from .requests import Asked, Requests, deadline
from .sender import Sender

_FIRST_RETRY: Final = 1.0
_LONGEST_RETRY: Final = 60.0
_UNDER_WAY: Final = float("inf")
_OPEN: Final = 100  # faults of one channel that wait for their error.handled
_RESTORE_TIMEOUT: Final = 10.0
_EVENTS: Final = {
    "subscribe": (events.SUBSCRIPTION_SUBSCRIBE_STARTED, events.SUBSCRIPTION_SUBSCRIBE_COMPLETED),
    "unsubscribe": (events.SUBSCRIPTION_UNSUBSCRIBE_STARTED, events.SUBSCRIPTION_UNSUBSCRIBE_COMPLETED),
}


class ChannelTable:
    """Which channels of one client are wanted, and which are confirmed."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # guards the fields below; again for a signal's handler
        self._wanted: dict[Hashable, int] = {}  # in the order they were asked for; the number of the last claim
        self._claims = 0
        self._confirmed: set[Hashable] = set()
        self._retries: dict[Hashable, tuple[float, float]] = {}  # channel: due, pause
        self._faults: dict[Hashable, list[Fault]] = {}  # emitted, and not handled yet
        self.links = 0  # how many links were lost; a confirmation counts for its own link only

    @property
    def wanted(self) -> list[Hashable]:
        """Every channel asked for, in order."""
        with self._lock:
            return list(self._wanted)

    @property
    def confirmed(self) -> list[Hashable]:
        """The wanted channels that the server confirmed on this link."""
        with self._lock:
            return [channel for channel in list(self._wanted) if channel in self._confirmed]

    def want(self, channel: Hashable) -> bool:
        """Ask for a channel, from now on and on every later link. True if it was not wanted before."""
        with self._lock:
            fresh = channel not in self._wanted
            self._wanted.setdefault(channel, 0)
            return fresh

    def claim(self, channel: Hashable) -> int:
        """Want it for a question that is about to be sent; the question's number."""
        with self._lock:
            self._claims += 1
            self._wanted[channel] = self._claims
            return self._claims

    def refused(self, channel: Hashable, claim: int) -> None:
        """The server refused it; it is unwanted, unless another question about it followed."""
        with self._lock:
            if self._wanted.get(channel) == claim:
                self._forget_locked(channel)

    def unwant(self, channel: Hashable) -> None:
        """Forget a channel."""
        with self._lock:
            self._forget_locked(channel)

    def _forget_locked(self, channel: Hashable) -> None:
        self._wanted.pop(channel, None)
        self._confirmed.discard(channel)
        self._retries.pop(channel, None)
        self._faults.pop(channel, None)

    def made(self, channel: Hashable, link: int, *, confirmed: bool) -> list[Fault]:
        """The server delivers it - or was asked to, if servers confirm nothing - on the link after `link` losses.
        Returns the faults that are over with that."""
        with self._lock:
            if link != self.links or channel not in self._wanted:
                return []
            if confirmed:
                self._confirmed.add(channel)
            self._retries.pop(channel, None)
            return self._faults.pop(channel, [])

    def failed(self, channel: Hashable, link: int, now: float, fault: Fault | None) -> None:
        """It was not confirmed; on the same link it is due again after a pause that doubles up to a minute."""
        with self._lock:
            if channel not in self._wanted:
                return
            if fault is not None:
                self._faults[channel] = [*self._faults.get(channel, []), fault][-_OPEN:]
            if link == self.links:
                _, pause = self._retries.get(channel, (0.0, _FIRST_RETRY / 2))
                pause = min(pause * 2, _LONGEST_RETRY)
                self._retries[channel] = (now + pause, pause)

    def lost(self) -> None:
        """The link is gone, and every confirmation with it."""
        with self._lock:
            self.links += 1
            self._confirmed.clear()
            self._retries.clear()

    def due(self, now: float) -> list[Hashable]:
        """Channels whose restore is to be tried again now."""
        with self._lock:
            channels = [channel for channel, (at, _) in list(self._retries.items()) if at <= now]
            for channel in channels:
                _, pause = self._retries.get(channel, (0.0, _FIRST_RETRY))
                self._retries[channel] = (_UNDER_WAY, pause)
            return channels

    def next_due(self) -> float | None:
        """When `due` has something to give."""
        if not self._retries:
            return None
        with self._lock:
            at = min((at for at, _ in list(self._retries.values())), default=_UNDER_WAY)
        return None if at == _UNDER_WAY else at


@dataclass(slots=True)
class _Talk:
    """One conversation about a channel; `asked` is None where servers give no answer."""

    verb: str
    channel: Hashable
    restored: bool
    link: int  # how many links were lost before it
    began_ns: int
    asked: Asked | None = None
    claim: int = 0
    detail: str = ""


class Subscriptions:
    """The channels of one client. `up` gives the link, or raises NotConnected; `lower` is called with when a restore is
    due."""

    def __init__(
        self,
        protocol: Protocol,
        emit: Emitter,
        faults: Faults,
        sender: Sender,
        replies: Replies,
        requests: Requests,
        up: Callable[[float], Link],
        lower: Callable[[float], None],
    ) -> None:
        self._table = ChannelTable()
        self._protocol = protocol
        self._emit = emit
        self._faults = faults
        self._sender = sender
        self._replies = replies
        self._requests = requests
        self._up = up
        self._lower = lower

    def subscribe(self, channel: Any, timeout: float) -> None:
        """Want a channel and wait for its confirmation. Raises SubscriptionRejected, NotConnected, and RequestTimeout,
        RequestInterrupted or RateLimited: after these three it is still wanted, and asked for again."""
        until = deadline(timeout)
        check_channel(channel)
        self._up(0.0)
        self._subscribe([channel], until)

    @property
    def wanted(self) -> list[Hashable]:
        """Every channel asked for, in order. Any thread."""
        return self._table.wanted

    @property
    def confirmed(self) -> list[Hashable]:
        """The wanted channels that the server confirmed on this link. Any thread."""
        return self._table.confirmed

    def subscribe_all(self, channels: Iterable[Any], timeout: float) -> None:
        """Owner: want several at once, when a client starts. Raises SubscriptionRejected, also for what the protocol
        raises; any other failure is emitted, and the channel restored or asked for again."""
        try:
            self._subscribe(list(dict.fromkeys(channels)), deadline(timeout))
        except RequestTimeout as error:
            self._faults.pass_on(error)
        except (RateLimited, RequestInterrupted):
            pass
        except (SubscriptionRejected, RequestError):
            raise
        except Exception as error:
            raise SubscriptionRejected(f"a channel cannot be asked for: {self._faults.text(error)}") from error

    def _subscribe(self, channels: list[Hashable], until: float) -> None:
        talks: list[_Talk] = []
        faults: list[Exception] = []
        for channel in channels:
            fresh = self._table.want(channel)
            try:
                talk = self._begin("subscribe", channel, until, None)
                talks += [talk] if talk is not None else []
            except NotConnected:
                faults.append(self._interrupted(channel))
            except RateLimited as error:
                self._failed(channel, self._table.links, None)
                faults.append(error)
            except Exception as error:  # the protocol cannot, or an earlier question about it is still open
                if fresh:
                    self._table.unwant(channel)
                faults.append(error)
        for talk in talks:
            fault = self._subscribed(talk, self._end(talk))
            faults += [fault] if fault is not None else []
        faults.sort(key=lambda one: isinstance(one, RequestError))
        for fault in faults[1:]:
            if isinstance(fault, RequestTimeout | SubscriptionRejected):
                self._faults.pass_on(fault)
        for fault in faults[:1]:
            raise fault  # a rejection before what is tried again

    def _subscribed(self, talk: _Talk, result: str) -> Exception | None:
        """What a first subscription came to."""
        channel = talk.channel
        if result == "ok":
            self._made(talk)
            return None
        if result == "interrupted":
            return self._interrupted(channel)
        if result == "timeout":
            late = RequestTimeout(f"channel {channel!r} was not confirmed in time; it is still wanted")
            fault = self._faults.occurred(late, "subscription", "error", raised=True)
            self._failed(channel, talk.link, fault)
            return late
        self._table.refused(channel, talk.claim)
        error = SubscriptionRejected(f"the server refused channel {channel!r}: {talk.detail or 'no reason given'}")
        self._faults.raised(error, "subscription", "error")
        return error

    @staticmethod
    def _interrupted(channel: Hashable) -> RequestInterrupted:
        return RequestInterrupted(
            f"the connection was lost before channel {channel!r} was confirmed; it is still wanted"
        )

    def unsubscribe(self, channel: Any, timeout: float) -> None:
        """Want a channel no more and wait for the confirmation. Raises like subscribe; it is unwanted in any case."""
        until = deadline(timeout)
        self._table.unwant(check_channel(channel))
        talk = self._begin("unsubscribe", channel, until, None)
        result = "ok" if talk is None else self._end(talk)
        if result == "interrupted":
            raise RequestInterrupted(f"the connection was lost; channel {channel!r} ended with it")
        if result == "ok":
            return
        error: WsnovaError = RequestTimeout(f"the end of channel {channel!r} was not confirmed in time")
        if result == "rejected":
            why = talk.detail if talk is not None else ""
            error = SubscriptionRejected(f"the server refused to end channel {channel!r}: {why or 'no reason given'}")
        self._faults.raised(error, "subscription", "error")
        raise error

    def _begin(
        self, verb: str, channel: Hashable, until: float, on_done: Callable[[_Talk, str], None] | None
    ) -> _Talk | None:
        """Send what (un)subscribes. None if that is under way already, and no thread is to wait for it (`on_done`).
        Raises NotConnected, RequestTimeout, and whatever the protocol raises."""
        protocol, restored = self._protocol, on_done is not None
        message = protocol.subscribe_message(channel) if verb == "subscribe" else protocol.unsubscribe_message(channel)
        how, pending = protocol.acknowledges(), None
        if how == "reply":
            message, key = protocol.request(message, self._replies.number())
            pending = Pending(("reply", key), until)
        elif how == "ack":
            pending = Pending((verb, channel), until)
        elif how != "none":
            raise one_of(f"{type(protocol).__name__}.acknowledges()", how, ("none", "ack", "reply"))
        talk = _Talk(verb, channel, restored, self._table.links, 0)
        self._up(0.0)
        if pending is not None:
            if on_done is not None:
                pending.on_done = lambda settled: on_done(talk, self._completed(talk, settled))
            while (asked := self._requests.begin(pending)) is None:
                if on_done is not None:
                    return None
                self._requests.join(pending.key, until)
            talk.asked = asked
            if verb == "subscribe" and not restored:
                talk.claim = self._table.claim(channel)  # the one before us may be refused
        self._send(talk, message)
        return talk

    def _send(self, talk: _Talk, message: Any) -> None:
        self._emit(_EVENTS[talk.verb][0], {"system_time": time.time_ns()}, channel=talk.channel, restored=talk.restored)
        talk.began_ns = time.monotonic_ns()
        try:
            if talk.asked is None:
                self._sender.send(message, 0.0)
            else:
                self._requests.send(talk.asked, message)
        except BaseException:
            self._tell_completed(talk, "interrupted", confirmed=False)
            raise

    def _end(self, talk: _Talk) -> str:
        """Wait for the answer; how it came out."""
        if talk.asked is None:
            return self._completed(talk, None)
        try:
            self._requests.wait(talk.asked)
        except BaseException:  # Ctrl-C, say
            self._tell_completed(talk, "interrupted", confirmed=False)
            raise
        return self._completed(talk, talk.asked.pending)

    def _completed(self, talk: _Talk, pending: Pending | None) -> str:
        """Emit the outcome of a conversation."""
        result = "ok" if pending is None else str(pending.result)
        if pending is not None:
            talk.detail = pending.detail
            if result == "ok" and self._protocol.acknowledges() == "reply":
                result = self._judged(talk, pending.answer)
        self._tell_completed(talk, result, confirmed=pending is not None and result == "ok")
        return result

    def _judged(self, talk: _Talk, reply: Any) -> str:
        try:
            accepted = self._protocol.accepts(talk.channel, reply)
        except Exception as error:  # a user's protocol, a server's reply
            talk.detail = f"the protocol could not read the reply: {self._faults.text(error)}"
            accepted = False
        return "ok" if accepted else "rejected"

    def _tell_completed(self, talk: _Talk, result: str, *, confirmed: bool) -> None:
        self._emit(
            _EVENTS[talk.verb][1],
            {"duration": time.monotonic_ns() - talk.began_ns},
            channel=talk.channel,
            result=result,
            confirmed=confirmed,
            restored=talk.restored,
        )

    def _made(self, talk: _Talk) -> None:
        for fault in self._table.made(talk.channel, talk.link, confirmed=talk.asked is not None):
            self._faults.handled(fault, "restored")

    # -- restores -----------------------------------------------------------------------------------------------------

    def restore(self) -> None:
        """Owner, on a later link: ask for every wanted channel again, and wait for nothing."""
        for channel in self._table.wanted:
            self._restore(channel)

    def next_due(self) -> float | None:
        """When `retry` has something to do."""
        return self._table.next_due()

    def retry(self, now: float) -> None:
        """Owner: try those restores again whose pause is over."""
        for channel in self._table.due(now):
            self._restore(channel)

    def lost(self) -> None:
        """The link is gone, and every confirmation with it."""
        self._table.lost()

    def _failed(self, channel: Hashable, link: int, fault: Fault | None) -> None:
        """It was not confirmed: it is asked for again after a pause."""
        self._table.failed(channel, link, time.monotonic(), fault)
        due = self._table.next_due()
        if due is not None:
            self._lower(due)

    def _restore(self, channel: Hashable) -> None:
        link = self._table.links
        try:
            talk = self._begin("subscribe", channel, time.monotonic() + _RESTORE_TIMEOUT, self._restored)
        except NotConnected:  # the next link restores it
            return
        except Exception as error:  # the protocol is the user's
            fault = self._faults.occurred(error, "subscription", "error")
            self._failed(channel, link, fault)
            return
        if talk is not None and talk.asked is None:
            self._completed(talk, None)
            self._made(talk)

    def _restored(self, talk: _Talk, result: str) -> None:
        """What a restore came to; in the thread that found the answer."""
        if result == "ok":
            self._made(talk)
        elif result != "interrupted":  # the next link restores it
            why = talk.detail or result
            error = SubscriptionRejected(f"channel {talk.channel!r} could not be restored ({why}); it is tried again")
            fault = self._faults.occurred(error, "subscription", "error")
            self._failed(talk.channel, talk.link, fault)
