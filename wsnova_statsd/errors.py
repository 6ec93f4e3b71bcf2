"""Every error the package raises, under one base class.

    WsnovaError
    |- ConfigurationError     (ValueError)       what was written down is not usable; raised where it is written
    |- MissingExtra           (ImportError)      an optional library is not installed
    |- HandlerExists          (ValueError)       a telemetry handler id is taken
    |- HandlerNotFound        (LookupError)      no telemetry handler has this id
    |- ClientIdInUse          (ValueError)       another client of this id runs on the bus
    |- ConnectionFailed       (ConnectionError)  the link could not be made, or not within the deadline
    |  |- HandshakeRefused                       the server answered the upgrade with another status
    |  |- AuthRejected                           the server refused the credentials
    |- NotConnected           (ConnectionError)  there is no link to send on right now
    |- Forked                 (RuntimeError)     a client used in a forked child
    |- RequestError
    |  |- RequestTimeout      (TimeoutError)     no reply within the deadline
    |  |- RequestInterrupted  (ConnectionError)  the link was lost before the reply
    |  |- RequestRejected                        the server replied with an error
    |- SubscriptionRejected                      the server refused a channel
    |- RateLimited                               a send over the rate limit, with wait=False
    |- BufferFull                                more waits for a slow handler than the client may keep; reading pauses
    |- DecodeError            (ValueError)       bytes from the server that the protocol cannot read
    |- EncodeError            (ValueError)       a message the protocol cannot write

A message says what was given, what is allowed and what to do next.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


class WsnovaError(Exception):
    """Base of all errors of this package."""


class ConfigurationError(WsnovaError, ValueError):
    """A value that was written down - an argument, an option, a definition - is not usable."""


class MissingExtra(WsnovaError, ImportError):
    """An optional library is needed and not installed."""

    def __init__(self, library: str, extra: str) -> None:
        super().__init__(f"{library} is not installed; install it with: pip install 'wsnova-statsd[{extra}]'")
        self.library = library
        self.extra = extra

    def __reduce__(self) -> tuple[Any, ...]:  # a pool of worker processes pickles what it raises
        return type(self), (self.library, self.extra)


class HandlerExists(WsnovaError, ValueError):
    """A telemetry handler with this id is already attached."""


class HandlerNotFound(WsnovaError, LookupError):
    """No telemetry handler with this id is attached."""


class ClientIdInUse(WsnovaError, ValueError):
    """Another client with this id was started on the bus and is not closed; close it, or give another id."""


class ConnectionFailed(WsnovaError, ConnectionError):
    """The link could not be made. `cause` is a bounded code, `retry_after` what the server asked for, in seconds."""

    def __init__(self, message: str, *, cause: str = "error", retry_after: float | None = None) -> None:
        super().__init__(message)
        self.cause = cause
        self.retry_after = retry_after


class HandshakeRefused(ConnectionFailed):
    """The server answered the upgrade request with `status` instead of 101."""

    def __init__(self, status: int, *, retry_after: float | None = None) -> None:
        super().__init__(
            f"the server answered the WebSocket upgrade with HTTP {status}, not 101; check path and credentials",
            cause=f"http_{status}",
            retry_after=retry_after,
        )
        self.status = status

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.status,), vars(self)


class AuthRejected(ConnectionFailed):
    """The server refused the credentials. Another try follows only if it may send others, or one refusal may pass."""

    def __init__(self, message: str) -> None:
        super().__init__(message, cause="auth")


class NotConnected(WsnovaError, ConnectionError):
    """There is no link to send on right now; wait for it with `wait=`, or start the client."""


class Forked(WsnovaError, RuntimeError):
    """The client was started in the parent process; call start() in this one."""


class RequestError(WsnovaError):
    """A request has no result."""


class RequestTimeout(RequestError, TimeoutError):
    """No reply came within the deadline."""


class RequestInterrupted(RequestError, ConnectionError):
    """The link was lost before the reply came."""


class RequestRejected(RequestError):
    """The server replied with an error, kept in `reply`."""

    def __init__(self, message: str, reply: object = None) -> None:
        super().__init__(message)
        self.reply = reply


class SubscriptionRejected(WsnovaError):
    """The server refused the channel."""


class RateLimited(WsnovaError):
    """The send would exceed the client's RateLimit, which has wait=False."""


class BufferFull(WsnovaError):
    """What waits for a slow handler exceeds max_buffered_bytes; reading pauses until half of it is handled."""


class DecodeError(WsnovaError, ValueError):
    """The protocol cannot read what the server sent."""


class EncodeError(WsnovaError, ValueError):
    """The protocol cannot write this message."""


def one_of(what: str, given: object, allowed: Iterable[object]) -> ConfigurationError:
    """The error for a value outside a closed set: names the value and the allowed ones."""
    return ConfigurationError(f"{what} is {given!r}; allowed: {', '.join(map(str, allowed))}")


def known_keys(what: str, given: Iterable[str], allowed: Mapping[str, object] | Iterable[str]) -> None:
    """Raise for the first key of `given` that is not in `allowed`."""
    names = list(allowed)
    for key in given:
        if key not in names:
            raise ConfigurationError(f"{what} has no {key!r}; it has: {', '.join(names)}")
