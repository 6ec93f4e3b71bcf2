"""What a client says to a server and hears back: requests, subscriptions, logins. It emits subscription.* and auth.*.

Public calls run in any thread and wait there; an answer is found by the owner as it reads, or by the waiting thread
itself, which looks through what the keeper read while the owner is busy. Restores after a reconnect are sent by the
owner and wait for nobody.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterable
from typing import Any

from .. import events
from ..errors import (
    ConfigurationError,
    NotConnected,
    RequestInterrupted,
    RequestRejected,
    RequestTimeout,
    SubscriptionRejected,
    WsnovaError,
)
from .emitter import Emitter
from .faults import Faults
from .frames import TEXT
from .link import Link
from .options import Options
from .outbound import Outbound
from .requests import Pending, Requests
from .subscriptions import Subscriptions

_RESTORE_TIMEOUT = 10.0
_EVENTS = {
    "subscribe": (events.SUBSCRIPTION_SUBSCRIBE_STARTED, events.SUBSCRIPTION_SUBSCRIBE_COMPLETED),
    "unsubscribe": (events.SUBSCRIPTION_UNSUBSCRIBE_STARTED, events.SUBSCRIPTION_UNSUBSCRIBE_COMPLETED),
}


class Dialogue:
    """The conversations of one client. `is_owner` says whether the calling thread reads the link; `attend` has the
    keeper read it if nobody does."""

    def __init__(
        self,
        options: Options,
        emit: Emitter,
        faults: Faults,
        outbound: Outbound,
        requests: Requests,
        up: Callable[[float], Link],
        is_owner: Callable[[], bool],
        attend: Callable[[], None],
    ) -> None:
        self.subscriptions = Subscriptions()
        self._options = options
        self._protocol = options.protocol
        self._emit = emit
        self._faults = faults
        self._outbound = outbound
        self._requests = requests
        self._up = up
        self._is_owner = is_owner
        self._attend = attend

    # -- requests -----------------------------------------------------------------------------------------------------

    def request(self, message: Any, timeout: float) -> Any:
        """The reply. Raises RequestTimeout, RequestInterrupted, RequestRejected, NotConnected."""
        ready, key = self._protocol.request(message, self._requests.number())
        pending = Pending(("reply", key), time.monotonic() + timeout)
        self._ask(pending, ready)
        if pending.result == "timeout":
            error: WsnovaError = RequestTimeout(f"no reply to request {key!r} within timeout={timeout:g} s")
            self._faults.handled(self._faults.occurred(error, "timeout", "warning"), "raised")
            raise error
        if pending.result == "interrupted":
            raise RequestInterrupted(
                f"the connection was lost before the reply to request {key!r}; it may have had effect"
            )
        if pending.result == "rejected":
            raise RequestRejected(
                f"the server answered request {key!r} with an error: {pending.detail}", pending.answer
            )
        return pending.answer

    def expect(self, message: Any, read: Callable[[Any], bool | None], timeout: float) -> bool:
        """Send a message and wait for one that `read` knows as its answer. Raises like request."""
        pending = Pending(None, time.monotonic() + timeout, read)
        self._ask(pending, message)
        if pending.result == "timeout":
            raise RequestTimeout(f"no answer within timeout={timeout:g} s")
        if pending.result == "interrupted":
            raise RequestInterrupted("the connection was lost before the answer")
        return pending.result == "ok"

    def _ask(self, pending: Pending, message: Any) -> None:
        """Send, and wait until the pending answer is settled."""
        link = self._up(0.0)
        scanned = link.arrived
        if not self._requests.add(pending):
            raise ConfigurationError(f"an answer to {pending.key!r} is awaited already; wait for it first")
        try:
            self._outbound.send(message, 0.0)
            self._await(pending, link, scanned)
        except BaseException:
            self._requests.drop(pending, "interrupted")
            raise

    def _await(self, pending: Pending, link: Link, scanned: int) -> None:
        mine = self._is_owner()
        if not mine:
            self._attend()
        while not pending.done:
            left = pending.deadline - time.monotonic()
            if left <= 0:
                self._requests.drop(pending, "timeout")
            elif link.loss is not None and link.arrived == scanned:
                self._requests.drop(pending, "interrupted")
            else:
                if mine:
                    link.pump(pending.deadline)
                else:
                    pending.wake.wait(left)
                    pending.wake.clear()
                if not pending.done:
                    scanned = self._look_through(link, scanned)

    def _look_through(self, link: Link, scanned: int) -> int:
        """Offer what arrived and its owner did not come to yet. Returns how far this went."""
        arrived = link.arrived
        waiting = list(link.inbox)
        for entry in waiting[max(0, len(waiting) - (arrived - scanned)) :] if arrived > scanned else ():
            opcode, payload, _ = entry
            try:
                message = self._protocol.decode(payload.decode() if opcode == TEXT else payload)
                self._requests.offer(message, entry, owner=False)
            except Exception:  # the owner decodes it again, and tells
                continue
        return arrived

    # -- subscriptions ------------------------------------------------------------------------------------------------

    def subscribe(self, channel: Hashable, timeout: float) -> None:
        """Want a channel and wait for its confirmation. Raises SubscriptionRejected, RequestTimeout,
        RequestInterrupted, NotConnected; after the two in the middle it is still wanted."""
        self._up(0.0)
        self.subscriptions.want(channel)
        self._finish_subscribe([self._begin("subscribe", channel, timeout, None)])

    def subscribe_all(self, channels: Iterable[Hashable], timeout: float) -> None:
        """Want several at once, when a client starts."""
        for channel in channels:
            self.subscriptions.want(channel)
        self._finish_subscribe([self._begin("subscribe", one, timeout, None) for one in self.subscriptions.wanted])

    def _finish_subscribe(self, begun: list[tuple[Hashable, Pending | None, int, Link, int]]) -> None:
        fault: WsnovaError | None = None
        for channel, pending, began, link, scanned in begun:
            if pending is not None:
                self._await(pending, link, scanned)
            result = self._completed("subscribe", channel, pending, began, restored=False)
            fault = self._subscribed(channel, result, pending) or fault
        if fault is not None:
            raise fault

    def _subscribed(self, channel: Hashable, result: str, pending: Pending | None) -> WsnovaError | None:
        if result == "ok":
            if pending is not None:
                self.subscriptions.confirm(channel)
            return None
        if result == "interrupted":
            return RequestInterrupted(
                f"the connection was lost before channel {channel!r} was confirmed; it is still wanted"
            )
        if result == "timeout":
            error: WsnovaError = RequestTimeout(f"channel {channel!r} was not confirmed in time; it is still wanted")
            self.subscriptions.failed(channel, time.monotonic())
        else:
            self.subscriptions.unwant(channel)
            detail = pending.detail if pending is not None else ""
            error = SubscriptionRejected(f"the server refused channel {channel!r}: {detail or 'no reason given'}")
        self._faults.occurred(error, "subscription", "error")
        return error

    def unsubscribe(self, channel: Hashable, timeout: float) -> None:
        """Want a channel no more and wait for the confirmation. Raises like subscribe; it is unwanted in any case."""
        self._up(0.0)
        self.subscriptions.unwant(channel)
        channel, pending, began, link, scanned = self._begin("unsubscribe", channel, timeout, None)
        if pending is not None:
            self._await(pending, link, scanned)
        result = self._completed("unsubscribe", channel, pending, began, restored=False)
        if result == "rejected":
            raise SubscriptionRejected(f"the server refused to end channel {channel!r}")
        if result == "timeout":
            raise RequestTimeout(f"the end of channel {channel!r} was not confirmed in time")
        if result == "interrupted":
            raise RequestInterrupted(f"the connection was lost; channel {channel!r} ended with it")

    def _begin(
        self, verb: str, channel: Hashable, timeout: float, on_done: Callable[[Pending], None] | None
    ) -> tuple[Hashable, Pending | None, int, Link, int]:
        """Send what (un)subscribes; the pending answer is None where the server gives none."""
        protocol, restored = self._protocol, on_done is not None
        message = protocol.subscribe_message(channel) if verb == "subscribe" else protocol.unsubscribe_message(channel)
        how, deadline = protocol.acknowledges(), time.monotonic() + timeout
        pending: Pending | None = None
        if how == "reply":
            message, key = protocol.request(message, self._requests.number())
            pending = Pending(("reply", key), deadline, None, on_done)
        elif how == "ack":
            pending = Pending((verb, channel), deadline, None, on_done)
        link = self._up(0.0)
        scanned = link.arrived
        self._emit(_EVENTS[verb][0], {"system_time": time.time_ns()}, channel=channel, restored=restored)
        began = time.monotonic_ns()
        if pending is not None and not self._requests.add(pending):
            raise ConfigurationError(f"channel {channel!r} is being {verb}d already; wait for that first")
        try:
            self._outbound.send(message, 0.0)
        except WsnovaError:
            if pending is None:
                self._completed(verb, channel, Pending(None, 0.0), began, restored=restored)
                raise
            self._requests.drop(pending, "interrupted")
        return channel, pending, began, link, scanned

    def _completed(self, verb: str, channel: Hashable, pending: Pending | None, began: int, *, restored: bool) -> str:
        result = "ok" if pending is None else str(pending.result)
        if result == "ok" and pending is not None and pending.answer is not None:
            try:
                accepted = self._protocol.accepts(channel, pending.answer)
            except Exception:  # a user's protocol, a server's reply
                accepted = False
            result = "ok" if accepted else "rejected"
        self._emit(
            _EVENTS[verb][1],
            {"duration": time.monotonic_ns() - began},
            channel=channel,
            result=result,
            confirmed=pending is not None and result == "ok",
            restored=restored,
        )
        return result

    def greet(self) -> None:
        """Owner, on every new link: what the protocol says first."""
        for message in self._protocol.greeting():
            self._outbound.send(message, 0.0)

    def restore(self) -> None:
        """Owner, on a later link: greet, and ask for every wanted channel again."""
        self.greet()
        for channel in self.subscriptions.wanted:
            self._restore(channel)

    def _restore(self, channel: Hashable) -> None:
        began = time.monotonic_ns()

        def done(pending: Pending) -> None:
            result = self._completed("subscribe", channel, pending, began, restored=True)
            if result == "ok":
                self.subscriptions.confirm(channel)
            elif result != "interrupted":  # the next link restores it
                self.subscriptions.failed(channel, time.monotonic())
                error = SubscriptionRejected(f"channel {channel!r} could not be restored ({result}); it is tried again")
                self._faults.occurred(error, "subscription", "error")

        try:
            _, pending, _, _, _ = self._begin("subscribe", channel, _RESTORE_TIMEOUT, done)
        except WsnovaError as error:
            self.subscriptions.failed(channel, time.monotonic())
            self._faults.occurred(error, "subscription", "error")
            return
        if pending is None:
            self._completed("subscribe", channel, None, began, restored=True)
            self.subscriptions.confirm(channel)

    def next_due(self) -> float | None:
        """When tick has something to do, on time.monotonic()."""
        dues = [due for due in (self._requests.next_deadline(), self.subscriptions.next_due()) if due is not None]
        return min(dues, default=None)

    def tick(self) -> None:
        """Owner: give up restores that are past their time, try again those whose pause is over."""
        now = time.monotonic()
        self._requests.expire(now)
        for channel in self.subscriptions.due(now):
            self._restore(channel)

    def lost(self) -> None:
        """The link is gone, and with it every answer and confirmation."""
        self._requests.interrupt()
        self.subscriptions.lost()

    def answer_heartbeat(self, message: Any) -> bool:
        """Owner: True if the message is an application heartbeat, which is answered."""
        answer = self._protocol.heartbeat_answer(message)
        if answer is None:
            return False
        if self._protocol.acknowledges() == "reply":
            answer, key = self._protocol.request(answer, self._requests.number())
            self._requests.add(Pending(("reply", key), time.monotonic() + _RESTORE_TIMEOUT, None, lambda pending: None))
        try:
            self._outbound.send(answer, 0.0)
        except NotConnected:  # the loss is told by the owner
            pass
        return True
