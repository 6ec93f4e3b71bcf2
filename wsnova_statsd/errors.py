"""Every error the package raises, under one base class.

    WsnovaError
    |- ConfigurationError     (ValueError)       an invalid argument, option or definition; raised where it is written
    |- MissingExtra           (ImportError)      an optional library is not installed
    |- HandlerExists          (ValueError)       a telemetry handler id is taken
    |- HandlerNotFound        (LookupError)      no telemetry handler has this id
    |- ClientIdInUse          (ValueError)       another client with this id runs on the bus
    |- ConnectionFailed       (ConnectionError)  the link could not be made, or not within the deadline
    |  |- HandshakeRefused                       the server answered the upgrade with another status
    |  |- AuthRejected                           the server refused the credentials
    |- NotConnected           (ConnectionError)  there is no link to send on at the moment
    |- Forked                 (RuntimeError)     a client used in a forked child
    |- RequestError
    |  |- RequestTimeout      (TimeoutError)     no reply within the deadline
    |  |- RequestInterrupted  (ConnectionError)  the link was lost before the reply
    |  |- RequestRejected                        the server replied with an error
    |- SubscriptionRejected                      the server refused a channel
    |- RateLimited                               a send over the rate limit, with wait=False
    |- BufferFull                                a slow handler fell behind by more than the buffer; reading pauses
    |- DecodeError            (ValueError)       bytes from the server that the protocol cannot read
    |- EncodeError            (ValueError)       a message the protocol cannot write

Each message says what was given, what is allowed and what to do next.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, Final

__all__ = [
    "AuthRejected",
    "BufferFull",
    "ClientIdInUse",
    "ConfigurationError",
    "ConnectionFailed",
    "DecodeError",
    "EncodeError",
    "Forked",
    "HandlerExists",
    "HandlerNotFound",
    "HandshakeRefused",
    "MissingExtra",
    "NotConnected",
    "RateLimited",
    "RequestError",
    "RequestInterrupted",
    "RequestRejected",
    "RequestTimeout",
    "SubscriptionRejected",
    "WsnovaError",
]


class WsnovaError(Exception):
    """Base of all errors of this package."""


class ConfigurationError(WsnovaError, ValueError):
    """An argument, an option or a definition is invalid. Raised where it is written."""


class MissingExtra(WsnovaError, ImportError):
    """An optional library is needed but not installed."""

    def __init__(self, library: str, extra: str) -> None:
        super().__init__(f"{library} is not installed; install it with: pip install 'wsnova-statsd[{extra}]'")
        self.library: str = library
        self.extra: str = extra

    def __reduce__(self) -> tuple[Any, ...]:  # pools of worker processes pickle the errors they raise
        return type(self), (self.library, self.extra)


class HandlerExists(WsnovaError, ValueError):
    """A telemetry handler with this id is already attached."""


class HandlerNotFound(WsnovaError, LookupError):
    """No telemetry handler with this id is attached."""


class ClientIdInUse(WsnovaError, ValueError):
    """Another client with this id was started on the bus and is not closed; close it, or use another id."""


class ConnectionFailed(WsnovaError, ConnectionError):
    """The link could not be made, or was lost.

    `cause` is a code from a fixed set; `retry_after` is the wait in seconds that the server asked for.

    Causes of a dial: `url`, `headers` (a function raised), `dns`, `refused`, `unreachable`, `timeout`, `proxy`, `tls`,
    `handshake` (neither an upgrade nor a refusal), `http_<status>`, `auth` (rejected), `auth_<reason>`, `cancelled`,
    `error`.
    """

    def __init__(self, message: str, *, cause: str = "error", retry_after: float | None = None) -> None:
        super().__init__(message)
        self.cause: str = cause
        self.retry_after: float | None = retry_after


_PATH: Final = "check the path of the URL"
_LATER: Final = "the server is unreachable or busy; the request is not at fault: try again later"
# What to do about each status; the hundreds stand for all others.
_REMEDIES: Final = {
    400: "check scheme, host, port and path of the URL, and whether a proxy in between removes the upgrade",
    401: "check the credentials",
    403: "check the credentials, and whether the server allows this Origin (set another with "
    "headers={'Origin': '...'})",
    404: _PATH,
    405: _PATH,
    407: "the proxy requires credentials: set proxy='http://user:password@host:port'",
    410: _PATH,
    421: "check the host of the URL, and the Host header if you set one",
    426: f"{_PATH}, and whether a proxy in between removes the upgrade",
    429: "too many connections or requests; open fewer, or wait as Retry-After says",
    500: "the server failed; check its log, or try again later",
    502: _LATER,
    503: _LATER,
    504: _LATER,
    505: "a proxy in between speaks HTTP/1.0 to the server; configure it to pass the upgrade on",
    2: "the URL leads to an ordinary page, not a WebSocket; check the path of the URL",
    3: "use that as the URL if the feed is there, with wss:// for https://",
    4: "check path, headers and credentials",
    5: "the server failed; check its log, or try again later",
}


class HandshakeRefused(ConnectionFailed):
    """The server answered the upgrade request with `status` instead of 101.

    `location` is the target of a redirect, `origin` the Origin that was sent; neither contains credentials.
    """

    def __init__(
        self, status: int, *, retry_after: float | None = None, location: str | None = None, origin: str | None = None
    ) -> None:
        remedy = _REMEDIES.get(status) or _REMEDIES.get(status // 100, "check the URL")
        detail = ""
        if status == 403:
            detail = f", to a request with {'no Origin' if origin is None else f'Origin {origin}'}"
        elif 300 <= status < 400:
            detail = f", and redirects to {location or 'an invalid address'}"
        elif retry_after is not None:
            detail = f", and asks to wait {retry_after:.0f} s"
        super().__init__(
            f"the server answered the WebSocket upgrade with HTTP {status}, not 101{detail}; {remedy}",
            cause=f"http_{status}",
            retry_after=retry_after,
        )
        self.status: int = status
        self.location: str | None = location
        self.origin: str | None = origin

    def __reduce__(self) -> tuple[Any, ...]:
        again = partial(type(self), retry_after=self.retry_after, location=self.location, origin=self.origin)
        return again, (self.status,), vars(self)


class AuthRejected(ConnectionFailed):
    """The server refused the credentials. The client tries again only if it can obtain other credentials, or if the
    refusal may be temporary."""

    def __init__(self, message: str) -> None:
        super().__init__(message, cause="auth")


class NotConnected(WsnovaError, ConnectionError):
    """There is no link to send on at the moment; wait for it with `wait=`, or start the client."""


class Forked(WsnovaError, RuntimeError):
    """The client was started in the parent process; call start() in this one."""


class RequestError(WsnovaError):
    """A request has no result. Base of the three errors of requests."""


class RequestTimeout(RequestError, TimeoutError):
    """No reply came within the deadline."""


class RequestInterrupted(RequestError, ConnectionError):
    """The link was lost before the reply came."""


class RequestRejected(RequestError):
    """The server replied with an error, kept in `reply`."""

    def __init__(self, message: str, reply: object = None) -> None:
        super().__init__(message)
        self.reply: object = reply


class SubscriptionRejected(WsnovaError):
    """The server refused the channel."""


class RateLimited(WsnovaError):
    """The send would exceed the client's RateLimit, which has wait=False."""


class BufferFull(WsnovaError):
    """The messages that wait for a slow handler exceed max_buffered_bytes; reading pauses until half are handled."""


class DecodeError(WsnovaError, ValueError):
    """The protocol cannot read what the server sent."""


class EncodeError(WsnovaError, ValueError):
    """The protocol cannot write this message."""


def one_of(what: str, given: object, allowed: Iterable[object]) -> ConfigurationError:
    """The error for a value outside a closed set: names the value, the allowed ones, and the nearest of them."""
    names = list(map(str, allowed))
    return ConfigurationError(f"{what} is {given!r}; allowed: {', '.join(names)}{nearest(given, names)}")


def known_keys(what: str, given: Iterable[str], allowed: Mapping[str, object] | Iterable[str]) -> None:
    """Raise for the first key of `given` that is not in `allowed`; the error names the nearest one too."""
    names = list(allowed)
    for key in given:
        if key not in names:
            raise ConfigurationError(f"{what} has no {key!r}; it has: {', '.join(names)}{nearest(key, names)}")


def nearest(given: object, names: Iterable[str]) -> str:
    """The end of a sentence, "; did you mean ...?", with the name closest to what was given; '' if none is close."""
    if not isinstance(given, str):
        return ""
    from difflib import get_close_matches  # needed for errors only

    return "".join(f"; did you mean {name!r}?" for name in get_close_matches(given, list(names), 1, 0.7))
