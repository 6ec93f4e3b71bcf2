"""A client's options, checked when they are written. Plain data; callables in it are asked per attempt."""

from __future__ import annotations

import functools
import math
import re
import ssl as tls
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import SplitResult, unquote, urlsplit

from ..errors import ConfigurationError
from ..profiles import Profile
from ..redaction import redact_url
from .protocol import Protocol
from .proxy import parse_proxy

Headers = Mapping[str, str] | Iterable[str] | Iterable[tuple[str, str]] | None
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")  # RFC 9110, section 5.6.2


@dataclass(frozen=True, slots=True)
class Target:
    """Where a URL leads; `uri` is what may be shown of it."""

    url: str
    host: str
    port: int
    secure: bool
    uri: str
    authorization: str | None


@dataclass(frozen=True, slots=True)
class Options:
    """What a Client was given."""

    url: str | Callable[[], str]
    client_id: str
    profile: Profile
    protocol: Protocol
    on_message: Callable[[Any], object] | None
    on_error: Callable[[Exception], object] | None
    headers: Headers | Callable[[], Headers]
    subprotocols: tuple[str, ...]
    ssl: tls.SSLContext | None
    proxy: str | None
    connect_timeout: float
    max_message_bytes: int
    max_buffered_bytes: int
    reconnect: bool
    on_reconnect: Callable[[], object] | None

    def __post_init__(self) -> None:
        if not callable(self.url):
            target(self.url)
        if not isinstance(self.client_id, str) or not self.client_id or len(self.client_id) > 200:
            raise ConfigurationError(f"client_id is {self.client_id!r}; give 1 to 200 characters")
        if not isinstance(self.protocol, Protocol):
            raise ConfigurationError(
                f"protocol is {self.protocol!r}; give ws.JsonProtocol() or a subclass of ws.Protocol"
            )
        for name in ("on_message", "on_error", "on_reconnect"):
            given = getattr(self, name)
            if given is not None and not callable(given):
                raise ConfigurationError(f"{name} is {given!r}; give a function or None")
        if not callable(self.headers):
            header_lines(self.headers)
        for subprotocol in self.subprotocols:
            if not isinstance(subprotocol, str) or not _TOKEN.match(subprotocol):
                raise ConfigurationError(f"subprotocol {subprotocol!r} is no token of RFC 6455, such as 'v1.feed'")
        if self.ssl is not None and not isinstance(self.ssl, tls.SSLContext):
            raise ConfigurationError(f"ssl is {self.ssl!r}; give an ssl.SSLContext or None")
        if self.proxy is not None and self.proxy != "env":
            parse_proxy(self.proxy)
        number = isinstance(self.connect_timeout, int | float) and not isinstance(self.connect_timeout, bool)
        if not number or not math.isfinite(self.connect_timeout) or self.connect_timeout <= 0:
            raise ConfigurationError(f"connect_timeout is {self.connect_timeout!r}; give seconds, more than zero")
        for name in ("max_message_bytes", "max_buffered_bytes"):
            given = getattr(self, name)
            if isinstance(given, bool) or not isinstance(given, int) or given < 1:
                raise ConfigurationError(f"{name} is {given!r}; give a number of bytes, from 1")
        if not isinstance(self.reconnect, bool):
            raise ConfigurationError(f"reconnect is {self.reconnect!r}; allowed: True, False")

    def target(self) -> Target:
        """The URL of this attempt. Raises whatever a callable raises, and ConfigurationError."""
        return target(self.url() if callable(self.url) else self.url)

    def header_lines(self, where: Target) -> list[str]:
        """The headers of this attempt, checked."""
        lines = header_lines(self.headers() if callable(self.headers) else self.headers)
        if where.authorization is not None and not any(line.lower().startswith("authorization:") for line in lines):
            lines.append(f"Authorization: {where.authorization}")
        return lines

    def context(self) -> tls.SSLContext:
        """The TLS context: certificates and host names are verified unless one was given that does not."""
        return self.ssl if self.ssl is not None else _default_context()


@functools.cache
def _default_context() -> tls.SSLContext:
    return tls.create_default_context()


def target(url: object) -> Target:
    """A WebSocket URL taken apart. Raises ConfigurationError, without the URL's secrets, if it is none."""
    if not isinstance(url, str):
        raise ConfigurationError(
            f"url is {url!r}; give ws://host[:port]/path or wss://..., or a function returning one"
        )
    try:
        parts: SplitResult = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ConfigurationError(f"url {redact_url(url)!r} is not usable: {error}") from None
    if parts.scheme not in ("ws", "wss") or not parts.hostname or port == 0 or _CONTROL.search(url) or " " in url:
        raise ConfigurationError(
            f"url is {redact_url(url)!r}; allowed: ws://host[:port]/path and wss://host[:port]/path"
        )
    authorization = None
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = "Basic " + b64encode(pair.encode()).decode("ascii")
    secure = parts.scheme == "wss"
    return Target(url, parts.hostname, port or (443 if secure else 80), secure, redact_url(url), authorization)


def header_lines(headers: Headers) -> list[str]:
    """Headers as lines. Raises ConfigurationError for what would inject or break a header; values are never shown."""
    if headers is None:
        return []
    if isinstance(headers, str | bytes):
        raise ConfigurationError("headers is a string; give a mapping such as {'X-Key': '...'}")
    given = headers.items() if isinstance(headers, Mapping) else headers
    lines = []
    for entry in given:
        pair = entry.partition(":")[::2] if isinstance(entry, str) else entry
        if not isinstance(pair, tuple | list) or len(pair) != 2 or not all(isinstance(part, str) for part in pair):
            raise ConfigurationError("a header is neither 'Name: value' nor a pair of strings")
        name, value = pair
        if not _TOKEN.match(name.strip()):
            raise ConfigurationError(f"header name {name[:50]!r} is not usable; allowed: letters, digits and -")
        if _CONTROL.search(value):
            raise ConfigurationError(
                f"the value of header {name!r} holds a control character; it would inject a header"
            )
        try:
            value.encode("latin-1")
        except UnicodeEncodeError:
            raise ConfigurationError(f"the value of header {name!r} is not latin-1; encode it first") from None
        lines.append(f"{name.strip()}: {value.strip()}")
    return lines
