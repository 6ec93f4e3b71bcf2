"""What a client says to a server and hears back: requests, subscriptions, heartbeats, greetings.

Public calls run in any thread and wait there (asking.py says how, channels.py about what). What the user's protocol
raises in the owner's thread is told as an error, and costs nothing but its own message.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any, Final

from ..errors import (
    ConfigurationError,
    NotConnected,
    RateLimited,
    RequestError,
    RequestInterrupted,
    RequestRejected,
    RequestTimeout,
    SubscriptionRejected,
    WsnovaError,
)
from .asking import Asking, deadline
from .channels import Channels
from .emitter import Emitter
from .faults import Faults
from .link import Link
from .options import Options
from .requests import Pending, Requests
from .sender import Sender

_ANSWER_TIMEOUT: Final = 10.0  # seconds after which nobody's answer is forgotten


class Dialogue:
    """The conversations of one client."""

    def __init__(
        self,
        options: Options,
        emit: Emitter,
        faults: Faults,
        sender: Sender,
        requests: Requests,
        up: Callable[[float], Link],
        is_owner: Callable[[], bool],
        attend: Callable[[], None],
        make_room: Callable[[Link], None],
    ) -> None:
        self._protocol = options.protocol
        self._faults = faults
        self._sender = sender
        self._requests = requests
        self._asking = Asking(options.protocol, sender, requests, up, is_owner, attend, make_room)
        self._channels = Channels(options.protocol, emit, faults, sender, requests, self._asking, up)
        self.subscriptions = self._channels.subscriptions

    # -- requests -----------------------------------------------------------------------------------------------------

    def request(self, message: Any, timeout: float) -> Any:
        """The reply. Raises RequestTimeout, RequestInterrupted, RequestRejected, NotConnected."""
        until = deadline(timeout)
        ready, key = self._protocol.request(message, self._requests.number())
        pending = Pending(("reply", key), until)
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
        pending = Pending(None, deadline(timeout), read)
        self._ask(pending, message)
        if pending.result == "timeout":
            why = f"; its reader raised {pending.fault!r}" if pending.fault is not None else ""
            raise RequestTimeout(f"no answer within timeout={timeout:g} s{why}") from pending.fault
        if pending.result == "interrupted":
            raise RequestInterrupted("the connection was lost before the answer")
        return pending.result == "ok"

    def _ask(self, pending: Pending, message: Any) -> None:
        """Send, and wait until the pending answer is settled."""
        asked = self._asking.expect(pending)
        if asked is None:
            raise ConfigurationError(f"an answer to {pending.key!r} is awaited already; wait for it first")
        self._asking.send(asked, message)
        self._asking.wait(asked)

    # -- channels -----------------------------------------------------------------------------------------------------

    def subscribe(self, channel: Any, timeout: float) -> None:
        """Want a channel and wait for its confirmation. Raises SubscriptionRejected, NotConnected, and RequestTimeout,
        RequestInterrupted or RateLimited: after these three it is still wanted, and asked for again."""
        self._channels.subscribe(channel, timeout)

    def unsubscribe(self, channel: Any, timeout: float) -> None:
        """Want a channel no more and wait for the confirmation. Raises like subscribe; it is unwanted in any case."""
        self._channels.unsubscribe(channel, timeout)

    def subscribe_all(self, channels: Iterable[Any], timeout: float) -> None:
        """Owner: want several at once, when a client starts. Raises SubscriptionRejected - also for what the protocol
        raises - RequestTimeout and RequestInterrupted."""
        try:
            self._channels.subscribe_all(channels, timeout)
        except RateLimited:  # told, and asked for again
            pass
        except (SubscriptionRejected, RequestError):
            raise
        except Exception as error:
            raise SubscriptionRejected(f"a channel cannot be asked for: {self._faults.text(error)}") from error

    def restore(self) -> None:
        """Owner, on a later link: greet, and ask for every wanted channel again."""
        self.greet()
        self._channels.restore(self.subscriptions.wanted)

    def next_due(self) -> float | None:
        """When tick has something to do, on time.monotonic()."""
        dues = [due for due in (self._requests.next_deadline(), self.subscriptions.next_due()) if due is not None]
        return min(dues, default=None)

    def tick(self) -> None:
        """Owner: give up restores that are past their time, try again those whose pause is over."""
        now = time.monotonic()
        deadline = self._requests.next_deadline()
        if deadline is not None and deadline <= now:
            self._asking.look()
            self._requests.expire(now)
        self._channels.restore(self.subscriptions.due(now))

    def lost(self) -> None:
        """The link is gone, and with it every answer and confirmation."""
        self.subscriptions.lost()
        self._requests.interrupt()

    # -- what the owner says unasked ----------------------------------------------------------------------------------

    def greet(self) -> None:
        """Owner, on every new link: what the protocol says first."""
        try:
            for message in self._protocol.greeting():
                self._say(message)
        except NotConnected:  # the loss is told by the owner
            pass
        except Exception as error:
            self._told("the protocol's greeting raised", error)

    def answer_heartbeat(self, answer: Any) -> None:
        """Owner: say this to an application heartbeat."""
        try:
            self._say(answer, urgent=True)
        except NotConnected:
            pass
        except Exception as error:
            self._told("a heartbeat could not be answered", error)

    def _say(self, message: Any, *, urgent: bool = False) -> None:
        """Send what nobody waits for an answer to; one that is matched by id is swallowed."""
        if self._protocol.acknowledges() != "reply":
            self._sender.send(message, 0.0, urgent=urgent)
            return
        message, key = self._protocol.request(message, self._requests.number())
        asked = self._asking.expect(Pending(("reply", key), time.monotonic() + _ANSWER_TIMEOUT, on_done=self._said))
        if asked is not None:
            self._asking.send(asked, message, urgent=urgent)

    def _said(self, pending: Pending) -> None:
        if pending.result == "rejected":
            self._told("the server refused", RequestRejected(f"the server refused {pending.key!r}: {pending.detail}"))

    def _told(self, what: str, error: Exception) -> None:
        self._faults.log(what, error)
        self._faults.handled(self._faults.occurred(error, "protocol", "error"), "continued")
