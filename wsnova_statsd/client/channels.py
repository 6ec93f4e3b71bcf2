"""The channels' conversations: subscribe, unsubscribe, restore. It emits subscription.*.

Public calls run in any thread and wait there; one about a channel and a verb follows the other. Restores are sent by
the owner and wait for nobody; what they come to is told by the thread that finds the answer. A restore that fails is
told, and tried again. What the user's protocol raises in a restore is told as an error of that channel.
"""

from __future__ import annotations

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
from .asking import Asked, Asking, deadline
from .emitter import Emitter
from .faults import Faults
from .protocol import Protocol
from .requests import Pending, Requests
from .sender import Sender
from .subscriptions import Subscriptions, check_channel

_RESTORE_TIMEOUT: Final = 10.0
_EVENTS: Final = {
    "subscribe": (events.SUBSCRIPTION_SUBSCRIBE_STARTED, events.SUBSCRIPTION_SUBSCRIBE_COMPLETED),
    "unsubscribe": (events.SUBSCRIPTION_UNSUBSCRIBE_STARTED, events.SUBSCRIPTION_UNSUBSCRIBE_COMPLETED),
}


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


class Channels:
    """What one client says about channels. `up` gives the link, or raises NotConnected."""

    def __init__(
        self,
        protocol: Protocol,
        emit: Emitter,
        faults: Faults,
        sender: Sender,
        requests: Requests,
        asking: Asking,
        up: Callable[[float], object],
    ) -> None:
        self.subscriptions = Subscriptions()
        self._protocol = protocol
        self._emit = emit
        self._faults = faults
        self._sender = sender
        self._requests = requests
        self._asking = asking
        self._up = up

    def subscribe(self, channel: Any, timeout: float) -> None:
        """Want a channel and wait for its confirmation. Raises SubscriptionRejected, NotConnected, and RequestTimeout,
        RequestInterrupted or RateLimited: after these three it is still wanted, and asked for again."""
        until = deadline(timeout)
        check_channel(channel)
        self._up(0.0)
        self._subscribe([channel], until)

    def subscribe_all(self, channels: Iterable[Any], timeout: float) -> None:
        """Want several at once. Raises what went wrong, a rejection first."""
        self._subscribe(list(dict.fromkeys(channels)), deadline(timeout))

    def _subscribe(self, channels: list[Hashable], until: float) -> None:
        talks: list[_Talk] = []
        faults: list[Exception] = []
        for channel in channels:
            fresh = self.subscriptions.want(channel)
            try:
                talk = self._begin("subscribe", channel, until, None)
                talks += [talk] if talk is not None else []
            except NotConnected:
                faults.append(self._interrupted(channel))
            except RateLimited as error:
                self.subscriptions.failed(channel, self.subscriptions.links, time.monotonic(), None)
                faults.append(error)
            except Exception as error:  # the protocol cannot, or an earlier question about it is still open
                if fresh:
                    self.subscriptions.unwant(channel)
                faults.append(error)
        for talk in talks:
            fault = self._subscribed(talk, self._end(talk))
            faults += [fault] if fault is not None else []
        for fault in sorted(faults, key=lambda one: isinstance(one, RequestError)):
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
            fault = self._faults.occurred(late, "subscription", "error")
            self.subscriptions.failed(channel, talk.link, time.monotonic(), fault)
            return late
        self.subscriptions.refused(channel, talk.claim)
        error = SubscriptionRejected(f"the server refused channel {channel!r}: {talk.detail or 'no reason given'}")
        self._faults.handled(self._faults.occurred(error, "subscription", "error"), "raised")
        return error

    @staticmethod
    def _interrupted(channel: Hashable) -> RequestInterrupted:
        return RequestInterrupted(
            f"the connection was lost before channel {channel!r} was confirmed; it is still wanted"
        )

    def unsubscribe(self, channel: Any, timeout: float) -> None:
        """Want a channel no more and wait for the confirmation. Raises like subscribe; it is unwanted in any case."""
        until = deadline(timeout)
        self.subscriptions.unwant(check_channel(channel))
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
        self._faults.handled(self._faults.occurred(error, "subscription", "error"), "raised")
        raise error

    def _begin(
        self, verb: str, channel: Hashable, until: float, on_done: Callable[[_Talk, str], None] | None
    ) -> _Talk | None:
        """Send what (un)subscribes. None if that is under way already, and nobody is to wait for it (`on_done`).
        Raises NotConnected, RequestTimeout, and whatever the protocol raises."""
        protocol, restored = self._protocol, on_done is not None
        message = protocol.subscribe_message(channel) if verb == "subscribe" else protocol.unsubscribe_message(channel)
        how, pending = protocol.acknowledges(), None
        if how == "reply":
            message, key = protocol.request(message, self._requests.number())
            pending = Pending(("reply", key), until)
        elif how == "ack":
            pending = Pending((verb, channel), until)
        elif how != "none":
            raise one_of(f"{type(protocol).__name__}.acknowledges()", how, ("none", "ack", "reply"))
        talk = _Talk(verb, channel, restored, self.subscriptions.links, 0)
        self._up(0.0)
        if pending is not None:
            if on_done is not None:
                pending.on_done = lambda settled: on_done(talk, self._completed(talk, settled))
            while (asked := self._asking.expect(pending)) is None:
                if on_done is not None:
                    return None
                self._asking.join(pending.key, until)
            talk.asked = asked
            if verb == "subscribe" and not restored:
                talk.claim = self.subscriptions.claim(channel)  # whoever was before us may be refused
        self._send(talk, message)
        return talk

    def _send(self, talk: _Talk, message: Any) -> None:
        self._emit(_EVENTS[talk.verb][0], {"system_time": time.time_ns()}, channel=talk.channel, restored=talk.restored)
        talk.began_ns = time.monotonic_ns()
        try:
            if talk.asked is None:
                self._sender.send(message, 0.0)
            else:
                self._asking.send(talk.asked, message)
        except BaseException:
            self._tell_completed(talk, "interrupted", confirmed=False)
            raise

    def _end(self, talk: _Talk) -> str:
        """Wait for the answer; how it came out."""
        if talk.asked is None:
            return self._completed(talk, None)
        try:
            self._asking.wait(talk.asked)
        except BaseException:  # Ctrl-C, say
            self._tell_completed(talk, "interrupted", confirmed=False)
            raise
        return self._completed(talk, talk.asked.pending)

    def _completed(self, talk: _Talk, pending: Pending | None) -> str:
        """Tell how a conversation came out."""
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
        for fault in self.subscriptions.made(talk.channel, talk.link, confirmed=talk.asked is not None):
            self._faults.handled(fault, "restored")

    # -- restores -----------------------------------------------------------------------------------------------------

    def restore(self, channels: Iterable[Hashable]) -> None:
        """Owner: ask for these again, and wait for nothing."""
        for channel in channels:
            self._restore(channel)

    def _restore(self, channel: Hashable) -> None:
        link = self.subscriptions.links
        try:
            talk = self._begin("subscribe", channel, time.monotonic() + _RESTORE_TIMEOUT, self._restored)
        except NotConnected:  # the next link restores it
            return
        except Exception as error:  # the protocol is the user's
            fault = self._faults.occurred(error, "subscription", "error")
            self.subscriptions.failed(channel, link, time.monotonic(), fault)
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
            self.subscriptions.failed(talk.channel, talk.link, time.monotonic(), fault)
