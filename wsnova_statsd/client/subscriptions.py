"""Subscribe, unsubscribe and restore channels. It emits subscription.*.

Only the rejection of a first subscription makes a channel unwanted; a failed restore is emitted as an error and
retried, with growing pauses, until it succeeds or the channel is unwanted. A message names as many channels as the
protocol allows; if it fails as a whole, each channel is requested separately. Public calls run in any thread and wait
there; calls with the same verb and channel follow each other. Restores are sent by the owner and wait for nothing:
their outcome is emitted by the thread that finds the answer.
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
from ..link.link import Link
from .channels import ChannelTable
from .emitter import Emitter
from .faults import Fault, Faults
from .protocol import Protocol, channels_per_message, check_channel
from .replies import Pending, Replies
from .requests import Asked, Requests, deadline
from .sender import Sender

_FIRST_RETRY: Final = 1.0  # seconds after a failed restore
_RESTORE_TIMEOUT: Final = 10.0
_EVENTS: Final = {
    "subscribe": (events.SUBSCRIPTION_SUBSCRIBE_STARTED, events.SUBSCRIPTION_SUBSCRIBE_COMPLETED),
    "unsubscribe": (events.SUBSCRIPTION_UNSUBSCRIBE_STARTED, events.SUBSCRIPTION_UNSUBSCRIBE_COMPLETED),
}


@dataclass(slots=True)
class _Talk:
    """One exchange about a channel; `asked` is None if the server sends no answer. `shared`: one reply answers for
    several channels; `split`: that reply is an error, which may be meant for another channel."""

    verb: str
    channel: Hashable
    restored: bool
    link: int  # how many links were lost before this one
    began_ns: int
    asked: Asked | None = None
    claim: int = 0
    detail: str = ""
    shared: bool = False
    split: bool = False


class Subscriptions:
    """The channels of one client. `up` returns the link, or raises NotConnected; `lower` is called with the time at
    which a restore is due."""

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
        self._table = ChannelTable(_FIRST_RETRY)
        self._protocol = protocol
        self._size = channels_per_message(protocol)
        self._emit = emit
        self._faults = faults
        self._sender = sender
        self._replies = replies
        self._requests = requests
        self._up = up
        self._lower = lower

    def subscribe(self, channel: Any, timeout: float) -> None:
        """Want a channel and wait for its confirmation. Raises SubscriptionRejected, NotConnected, and RequestTimeout,
        RequestInterrupted or RateLimited: after these three it is still wanted, and requested again."""
        until = deadline(timeout)
        check_channel(channel)
        self._up(0.0)
        self._subscribe([channel], until)

    @property
    def wanted(self) -> list[Hashable]:
        """Every wanted channel, in order. Any thread."""
        return self._table.wanted

    @property
    def confirmed(self) -> list[Hashable]:
        """The wanted channels that the server confirmed on this link. Any thread."""
        return self._table.confirmed

    def subscribe_all(self, channels: Iterable[Any], timeout: float) -> None:
        """Owner: subscribe several at once, when a client starts. Raises SubscriptionRejected, also for an error of the
        protocol; any other failure is emitted, and the channel restored or requested again."""
        try:
            self._subscribe(list(dict.fromkeys(channels)), deadline(timeout))
        except RequestTimeout as error:
            self._faults.pass_on(error)
        except (RateLimited, RequestInterrupted):
            pass
        except (SubscriptionRejected, RequestError):
            raise
        except Exception as error:
            raise SubscriptionRejected(f"a channel cannot be subscribed: {self._faults.text(error)}") from error

    def _subscribe(self, channels: list[Hashable], until: float) -> None:
        fresh = {channel for channel in channels if self._table.want(channel)}
        faults: list[Exception] = []
        batches = self._table.batches(channels, self._size)
        while batches:
            talks: list[_Talk] = []
            alone: list[list[Hashable]] = []
            for batch in batches:
                try:
                    talks += self._begin("subscribe", batch, until, None)
                except NotConnected:
                    faults += [self._interrupted(channel) for channel in batch]
                except RateLimited as error:
                    for channel in batch:
                        self._failed(channel, self._table.links, None)
                    faults.append(error)
                except Exception as error:  # the protocol failed, or an earlier request about it is still open
                    if len(batch) > 1:
                        alone += [[channel] for channel in batch]
                        continue
                    if batch[0] in fresh:
                        self._table.unwant(batch[0])
                    faults.append(error)
            for talk in talks:
                result = self._end(talk)
                if talk.split:
                    alone.append([talk.channel])
                elif (fault := self._subscribed(talk, result)) is not None:
                    faults.append(fault)
            batches = alone
        faults.sort(key=lambda one: isinstance(one, RequestError))
        for fault in faults[1:]:
            if isinstance(fault, RequestTimeout | SubscriptionRejected):
                self._faults.pass_on(fault)
        for fault in faults[:1]:
            raise fault  # rejections come before failures that are retried

    def _subscribed(self, talk: _Talk, result: str) -> Exception | None:
        """Handle the outcome of a first subscription."""
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
        """Unsubscribe a channel and wait for the confirmation. Raises like subscribe; it is unwanted in any case."""
        until = deadline(timeout)
        self._table.unwant(check_channel(channel))
        (talk,) = self._begin("unsubscribe", [channel], until, None)
        result = self._end(talk)
        if result == "interrupted":
            raise RequestInterrupted(f"the connection was lost; channel {channel!r} ended with it")
        if result == "ok":
            return
        error: WsnovaError = RequestTimeout(f"the unsubscribe of channel {channel!r} was not confirmed in time")
        if result == "rejected":
            why = talk.detail or "no reason given"
            error = SubscriptionRejected(f"the server refused to unsubscribe channel {channel!r}: {why}")
        self._faults.raised(error, "subscription", "error")
        raise error

    def _begin(
        self, verb: str, channels: list[Hashable], until: float, on_done: Callable[[_Talk, str], None] | None
    ) -> list[_Talk]:
        """Send the message that (un)subscribes these channels. Channels that are under way already are left out if no
        thread will wait (`on_done`). Raises NotConnected, RequestTimeout, and whatever the protocol raises."""
        protocol, replies, how = self._protocol, self._replies, self._protocol.acknowledges()
        if how not in ("none", "ack", "reply"):
            raise one_of(f"{type(protocol).__name__}.acknowledges()", how, ("none", "ack", "reply"))
        if how == "ack" and on_done is not None:
            channels = [channel for channel in channels if replies.expected((verb, channel)) is None]
        if not channels:
            return []
        message = self._message(verb, channels)
        restored, shared = on_done is not None, how == "reply" and len(channels) > 1
        talks = [_Talk(verb, one, restored, self._table.links, 0, shared=shared) for one in channels]
        key: Hashable = None
        if how == "reply":
            message, key = protocol.request(message, replies.number())
        self._up(0.0)
        try:
            if how == "reply":
                talks = self._expect(Pending(("reply", key), until), talks, on_done)
            elif how == "ack":
                talks = [
                    one for talk in talks for one in self._expect(Pending((verb, talk.channel), until), [talk], on_done)
                ]
            if talks:
                self._send(talks, message)
        except BaseException:
            for talk in talks:
                if talk.asked is not None:
                    replies.forget(talk.asked.pending)
            raise
        return talks

    def _message(self, verb: str, channels: list[Hashable]) -> Any:
        if verb == "unsubscribe":
            return self._protocol.unsubscribe_message(channels[0])
        return self._protocol.subscribe_message(channels if self._size > 1 else channels[0])

    def _expect(
        self, pending: Pending, talks: list[_Talk], on_done: Callable[[_Talk, str], None] | None
    ) -> list[_Talk]:
        """Expect one answer for these. Returns none of them if it is expected already and no thread will wait."""
        if on_done is not None:

            def done(settled: Pending) -> None:
                for talk in talks:
                    on_done(talk, self._completed(talk, settled))

            pending.on_done = done
        while (asked := self._requests.begin(pending)) is None:
            if on_done is not None:
                return []
            self._requests.join(pending.key, pending.deadline)
        for talk in talks:
            talk.asked = asked
            if talk.verb == "subscribe" and not talk.restored:
                talk.claim = self._table.claim(talk.channel)  # an earlier request may be refused
        return talks

    def _send(self, talks: list[_Talk], message: Any) -> None:
        for talk in talks:
            named = {"channel": talk.channel, "restored": talk.restored}
            self._emit(_EVENTS[talk.verb][0], {"system_time": time.time_ns()}, **named)
            talk.began_ns = time.monotonic_ns()
        try:
            link = self._sender.send(message, 0.0)
        except BaseException:
            for talk in talks:
                self._emit_completed(talk, "interrupted", confirmed=False)
            raise
        for talk in talks:
            if talk.asked is not None:
                talk.asked.sent_on(link)

    def _end(self, talk: _Talk) -> str:
        """Wait for the answer and return the outcome."""
        if talk.asked is None:
            return self._completed(talk, None)
        try:
            self._requests.wait(talk.asked)
        except BaseException:  # for example Ctrl-C
            self._emit_completed(talk, "interrupted", confirmed=False)
            raise
        return self._completed(talk, talk.asked.pending)

    def _completed(self, talk: _Talk, pending: Pending | None) -> str:
        """Emit the outcome of an exchange."""
        result = "ok" if pending is None else str(pending.result)
        if pending is not None:
            talk.detail = pending.detail
            talk.split = talk.shared and result == "rejected"
            if result == "ok" and self._protocol.acknowledges() == "reply":
                result = self._judged(talk, pending.answer)
        self._emit_completed(talk, result, confirmed=pending is not None and result == "ok")
        return result

    def _judged(self, talk: _Talk, reply: Any) -> str:
        try:
            accepted = self._protocol.accepts(talk.channel, reply)
        except Exception as error:  # a user's protocol, a server's reply
            talk.detail = f"the protocol could not read the reply: {self._faults.text(error)}"
            accepted = False
        return "ok" if accepted else "rejected"

    def _emit_completed(self, talk: _Talk, result: str, *, confirmed: bool) -> None:
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
        """Owner, on a later link: request every wanted channel again, and wait for nothing."""
        self._restore(self._table.wanted)

    def next_due(self) -> float | None:
        """When `retry` is due."""
        return self._table.next_due()

    def retry(self, now: float) -> None:
        """Owner: retry the restores whose pause is over."""
        self._restore(self._table.due(now))

    def lost(self) -> None:
        """The link is lost, and every confirmation with it."""
        self._table.lost()

    def _failed(self, channel: Hashable, link: int, fault: Fault | None) -> None:
        """It was not confirmed: request it again after a pause."""
        self._table.failed(channel, link, time.monotonic(), fault)
        self._plan()

    def _divide(self, channel: Hashable, link: int) -> None:
        """Its message failed, perhaps for another channel: request it separately."""
        self._table.divide(channel, link, time.monotonic())
        self._plan()

    def _plan(self) -> None:
        due = self._table.next_due()
        if due is not None:
            self._lower(due)

    def _restore(self, channels: list[Hashable]) -> None:
        for batch in self._table.batches(channels, self._size):
            link = self._table.links
            try:
                talks = self._begin("subscribe", batch, time.monotonic() + _RESTORE_TIMEOUT, self._restored)
            except NotConnected:  # the next link restores it
                continue
            except Exception as error:  # the protocol is the user's
                if len(batch) > 1 and not isinstance(error, RateLimited):
                    for channel in batch:
                        self._divide(channel, link)
                    continue
                fault: Fault | None = self._faults.occurred(error, "subscription", "error")
                for channel in batch:
                    self._failed(channel, link, fault)
                    fault = None  # a fault is handled once
                continue
            for talk in talks:
                if talk.asked is None:
                    self._completed(talk, None)
                    self._made(talk)

    def _restored(self, talk: _Talk, result: str) -> None:
        """Handle the outcome of a restore, in the thread that found the answer."""
        if result == "ok":
            self._made(talk)
        elif talk.split:
            self._divide(talk.channel, talk.link)
        elif result != "interrupted":  # the next link restores it
            why = talk.detail or result
            error = SubscriptionRejected(f"channel {talk.channel!r} could not be restored ({why}); it is retried")
            fault = self._faults.occurred(error, "subscription", "error")
            self._failed(talk.channel, talk.link, fault)
