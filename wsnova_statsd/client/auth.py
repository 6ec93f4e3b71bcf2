"""Logging in: what `auth=` accepts, and two ready classes. Credentials may be functions, called each time; no repr
shows them.

An auth object has `login(client)`, called on every new link before it counts as usable, and again to renew the login.
It returns the seconds until the next renewal, or None. It raises errors.AuthRejected if the server refuses the
credentials, which stops the retries, and any other exception for a failure worth another attempt.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from .. import checks
from ..dial.headers import Headers, Pair, header_pairs
from ..errors import AuthRejected, ConfigurationError

if TYPE_CHECKING:
    from .client import Client


class LoginClient(Protocol):
    """The methods of a client that login() may use; until it returns, only login() uses the link."""

    def send(self, message: Any, wait: float = ...) -> None: ...

    def request(self, message: Any, timeout: float = ...) -> Any: ...

    def expect(self, message: Any, read: Callable[[Any], bool | None], timeout: float = ...) -> bool: ...


class Auth(Protocol):
    """What `auth=` accepts: HeaderAuth, MessageAuth, or your own object with this method."""

    def login(self, client: Client) -> float | None:
        """Log in on a new link; returns the seconds until it has to be renewed, or None. See the module's docstring."""


class HeaderAuth:
    """Credentials in the upgrade's headers: a mapping, whose values may be functions, or a function that returns one;
    functions are called for every attempt.

    The server rejects them with HTTP 401 or 403. If URL and headers are all constants, that ends the client: at once on
    its first link, later after three refusals over a minute. Functions are called again.
    """

    @checks.by_name
    def __init__(self, headers: Headers | Mapping[str, str | Callable[[], str]] | Callable[[], Headers]) -> None:
        if isinstance(headers, Mapping):
            headers = dict(headers)
            header_pairs({name: "" if callable(value) else value for name, value in headers.items()})
            for name, value in headers.items():
                if callable(value):
                    checks.function(f"HeaderAuth's {name}", value)
        elif callable(headers):
            checks.function("HeaderAuth's headers", headers)
        else:
            headers = header_pairs(headers)
        self._headers: Any = headers

    @property
    def asks_anew(self) -> bool:
        """True if the next attempt may send other credentials than the last."""
        given = self._headers
        return callable(given) or (isinstance(given, Mapping) and any(map(callable, given.values())))

    def headers(self) -> list[Pair]:
        """The headers of one attempt, checked."""
        headers = self._headers() if callable(self._headers) else self._headers
        if isinstance(headers, Mapping):
            headers = {name: value() if callable(value) else value for name, value in headers.items()}
        return header_pairs(headers)

    def login(self, client: LoginClient) -> float | None:
        """Nothing more to do: the upgrade carried the credentials."""
        return None

    def __repr__(self) -> str:
        return "HeaderAuth(***)"


class MessageAuth:
    """Credentials in a message, sent as soon as the link is up: a message, or a function called each time.

    `accepted(message)` reads each message that follows: it returns True or the seconds of validity if the server
    accepts, False if it refuses, None if this message is not the answer.
    """

    @checks.by_name
    def __init__(
        self, message: Any | Callable[[], Any], accepted: Callable[[Any], bool | float | None], timeout: float = 10.0
    ) -> None:
        if not callable(accepted):
            raise ConfigurationError(
                "MessageAuth's accepted is not callable; pass a function message -> True, False or None"
            )
        checks.function("MessageAuth's accepted", accepted, "message")
        if callable(message):
            checks.function("MessageAuth's message", message)
        checks.seconds("MessageAuth's timeout", timeout)
        self._message = message
        self._accepted = accepted
        self._timeout = timeout

    def login(self, client: LoginClient) -> float | None:
        """Send the message and read the answer. Raises AuthRejected, RequestTimeout."""
        verdicts: list[bool | float] = []

        def read(message: Any) -> bool | None:
            verdict = self._accepted(message)
            if verdict is None:
                return None
            verdicts.append(verdict)
            return verdict is not False

        message = self._message() if callable(self._message) else self._message
        if not client.expect(message, read, self._timeout):
            raise AuthRejected("the server refused the login message; check the credentials")
        valid = verdicts[-1]
        return None if isinstance(valid, bool) else valid

    def __repr__(self) -> str:
        return "MessageAuth(***)"


def check_auth(auth: object) -> None:
    """Raise ConfigurationError, without showing the object, if it cannot log in."""
    if auth is not None and not callable(getattr(auth, "login", None)):
        raise ConfigurationError(
            f"auth is a {type(auth).__name__}; pass ws.HeaderAuth, ws.MessageAuth or an object with login"
        )
    if auth is not None and not isinstance(auth, type):
        checks.function(f"{type(auth).__name__}.login", auth.login, "client")  # type: ignore[attr-defined]
