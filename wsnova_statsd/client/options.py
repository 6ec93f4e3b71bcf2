"""A client's options, checked when they are passed. Plain data; callables in it are called for every attempt."""

from __future__ import annotations

import functools
import re
import ssl as tls
from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from .. import checks, wire
from ..dial.headers import TOKEN, Headers, Pair, header_pairs
from ..dial.proxy import parse_proxy
from ..dial.sockets import SocketOption, Sockets, check_socket_options, check_source_address, check_unix_socket
from ..dial.target import Target, ascii_host, target
from ..dial.tls import is_context
from ..errors import ConfigurationError, one_of
from ..events import TAGS
from ..link.handshake import Offer
from ..link.session import Limits
from ..profiles import Profile
from ..telemetry import Bus, Metadata
from .auth import Auth, HeaderAuth, check_auth
from .protocol import Protocol, check_channel, check_methods, check_protocol
from .rate_limit import RateLimit


@dataclass(frozen=True, slots=True)
class Options:
    """The arguments of a Client."""

    url: str | Callable[[], str] = field(repr=False)
    client_id: str
    profile: Profile
    protocol: Protocol
    on_message: Callable[[Any], object] | None
    on_error: Callable[[Exception], object] | None
    headers: Headers | Callable[[], Headers] = field(repr=False)
    subprotocols: tuple[str, ...] = field(repr=False)  # some servers expect a token there
    ssl: tls.SSLContext | None
    proxy: str | None = field(repr=False)
    connect_timeout: float
    max_message_bytes: int
    max_buffered_bytes: int
    reconnect: bool
    on_reconnect: Callable[[], object] | None
    auth: Auth | None = None
    subscriptions: tuple[Any, ...] = ()
    rate_limit: RateLimit | None = None
    idle_timeout: float | None = None
    compression: str | None = None
    in_child: str = "forked"
    tags: Mapping[str, Any] = field(default_factory=dict)
    follows: bool = False  # the profile is that of the Monitor on its bus, looked up at each start
    require_subprotocol: bool = False
    server_hostname: str | None = None
    source_address: tuple[str, int] | None = None
    socket_options: tuple[SocketOption, ...] = ()
    unix_socket: str | None = None
    follow_redirects: bool = False

    def __post_init__(self) -> None:
        if callable(self.url):
            checks.function("url", self.url)
        else:
            target(self.url)
        check_client_id(self.client_id)
        check_protocol(self.protocol)
        check_methods(self.protocol)
        for name, *arguments in (("on_message", "message"), ("on_error", "error"), ("on_reconnect",)):
            given = getattr(self, name)
            if given is not None and not callable(given):
                raise ConfigurationError(f"{name} is {given!r}; pass a function or None")
            if given is not None:
                checks.function(name, given, *arguments, answers=False)
        if callable(self.headers):
            checks.function("headers", self.headers)
        else:  # an iterator can be consumed only once
            object.__setattr__(self, "headers", header_pairs(self.headers))
        if isinstance(self.subprotocols, str):
            raise ConfigurationError("subprotocols is a string; pass a list of names, such as ['v1.feed']")
        for subprotocol in self.subprotocols:
            if not isinstance(subprotocol, str) or not TOKEN.match(subprotocol):
                raise ConfigurationError(f"subprotocol {subprotocol!r} is no RFC 6455 token; pass one like 'v1.feed'")
        if len({*self.subprotocols}) < len(self.subprotocols):
            raise ConfigurationError(f"subprotocols is {self.subprotocols!r}; offer each once (RFC 6455, section 4.1)")
        if checks.flag("require_subprotocol", self.require_subprotocol) and not self.subprotocols:
            raise ConfigurationError("require_subprotocol is True and subprotocols is empty; pass the names to offer")
        if self.ssl is not None and not is_context(self.ssl):
            raise ConfigurationError(f"ssl is {self.ssl!r}; pass an ssl.SSLContext or None")
        if self.ssl is not None and self.ssl.protocol == tls.PROTOCOL_TLS_SERVER:
            raise ConfigurationError("ssl is a server's context; pass a client's, such as ssl.create_default_context()")
        if self.proxy is not None and self.proxy != "env":
            parse_proxy(self.proxy)
        self._check_way()
        checks.seconds("connect_timeout", self.connect_timeout)
        if self.idle_timeout is not None:
            checks.seconds("idle_timeout", self.idle_timeout)
        check_auth(self.auth)
        if not self.asks_anew:  # headers= and HeaderAuth together
            self.header_pairs(target(self.url))
        if self.rate_limit is not None and not isinstance(self.rate_limit, RateLimit):
            raise ConfigurationError(f"rate_limit is {self.rate_limit!r}; pass ws.RateLimit(per_second, burst) or None")
        if self.compression not in (None, "deflate"):
            raise one_of("compression", self.compression, (None, "deflate"))
        if self.in_child not in ("forked", "start"):
            raise one_of("in_child", self.in_child, ("forked", "start"))
        for name in ("max_message_bytes", "max_buffered_bytes"):
            checks.whole(name, getattr(self, name), unit="bytes")
        if isinstance(self.subscriptions, str):
            raise ConfigurationError(f"subscriptions is the string {self.subscriptions!r}; pass a list of channels")
        for channel in self.subscriptions:
            check_channel(channel)
        if self.subscriptions and type(self.protocol).subscribe_message is Protocol.subscribe_message:
            raise ConfigurationError(f"{type(self.protocol).__name__} cannot subscribe; override subscribe_message")
        checks.flag("reconnect", self.reconnect)
        object.__setattr__(self, "tags", own_tags(self.tags))

    def _check_way(self) -> None:
        """How the server is reached."""
        checks.flag("follow_redirects", self.follow_redirects)
        if self.server_hostname is not None:
            object.__setattr__(self, "server_hostname", _server_hostname(self.server_hostname))
        object.__setattr__(self, "source_address", check_source_address(self.source_address))
        object.__setattr__(self, "socket_options", check_socket_options(self.socket_options))
        object.__setattr__(self, "unix_socket", check_unix_socket(self.unix_socket))
        for name in ("proxy", "source_address"):
            if self.unix_socket is not None and getattr(self, name) is not None:
                raise ConfigurationError(f"unix_socket and {name} exclude each other; pass only one of them")

    @property
    def sockets(self) -> Sockets:
        """How the sockets of a dial are made."""
        return Sockets(self.source_address, self.socket_options)

    def on(self, bus: Bus) -> Options:
        """These options as they hold for a client that starts on this bus now: if it follows, its profile is that of
        the first Monitor that runs there, or the standard one."""
        profile = bus.followed() if self.follows else self.profile
        if profile is self.profile:
            return self
        same = copy(self)
        object.__setattr__(same, "profile", profile)
        return same

    def wrapped(self, wrap: Callable[[Callable[..., object]], Callable[..., object]]) -> Options:
        """The same options with each callback replaced by what `wrap` returns for it."""
        same = copy(self)
        for name in ("on_message", "on_error", "on_reconnect"):
            if (given := getattr(self, name)) is not None:
                object.__setattr__(same, name, wrap(given))
        return same

    @property
    def asks_anew(self) -> bool:
        """True if the next attempt may differ from the last: URL, headers or credentials come from a function."""
        anew = isinstance(self.auth, HeaderAuth) and self.auth.asks_anew
        return anew or callable(self.url) or callable(self.headers)

    @property
    def whose(self) -> Metadata:
        """The metadata on everything that the client emits."""
        return {"client_id": self.client_id, **({TAGS: self.tags} if self.tags else {})}

    @property
    def uri(self) -> str | None:
        """The address of every attempt, without secrets; None if a function returns it for each."""
        return None if callable(self.url) else target(self.url).uri

    def target(self) -> Target:
        """The URL of this attempt. Raises whatever a callable raises, and ConfigurationError."""
        return target(self.url() if callable(self.url) else self.url)

    def header_pairs(self, where: Target) -> list[Pair]:
        """The headers of this attempt, checked."""
        pairs = header_pairs(self.headers() if callable(self.headers) else self.headers)
        if isinstance(self.auth, HeaderAuth):
            pairs += self.auth.headers()
        if where.authorization is not None and not any(name.lower() == "authorization" for name, _ in pairs):
            pairs.append(("Authorization", where.authorization))
        return header_pairs(pairs)

    @property
    def offer(self) -> Offer:
        """What the upgrade request offers."""
        compression = self.compression is not None
        return Offer(self.subprotocols, compression, self.require_subprotocol, self.follow_redirects)

    @property
    def limits(self) -> Limits:
        """How much time and memory a link may use."""
        profile = self.profile
        return Limits(
            profile.ping_interval,
            profile.pong_timeout,
            self.idle_timeout,
            self.max_message_bytes,
            self.max_buffered_bytes,
        )

    def context(self) -> tls.SSLContext:
        """The TLS context: it verifies certificates and host names, unless one was passed that does not."""
        return self.ssl if self.ssl is not None else _default_context()


def _server_hostname(given: object) -> str:
    """The name that TLS asks for and checks, in ASCII."""
    try:
        if isinstance(given, str):
            return ascii_host(given)
    except ValueError:
        pass
    raise checks.refused("server_hostname", given, "a host name or an IP address, such as 'feed.example', or None")


def check_client_id(given: object) -> None:
    """Raises ConfigurationError for an invalid client id."""
    if not isinstance(given, str) or not given or len(given) > 200:
        raise ConfigurationError(f"client_id is {checks.shown(given)}; pass 1 to 200 characters")


def own_tags(given: object) -> Mapping[str, str]:
    """A client's own tags, as they are sent. Raises ConfigurationError for a tag that would be sent differently."""
    if not isinstance(given, Mapping):
        raise ConfigurationError(f"tags is {checks.shown(given)}; pass a mapping, such as {{'venue': 'xetr'}}")
    if len(given) > _MOST_TAGS:
        raise ConfigurationError(f"tags has {len(given)} keys; pass at most {_MOST_TAGS}")
    tags = {}
    for key, value in given.items():
        if not isinstance(key, str) or not _TAG_KEY.match(key) or key.startswith("dd."):
            raise checks.refused("a key of tags", key, "a letter, then letters, digits and _ . / -")
        if key.lower() in _TAKEN_KEYS:
            raise ConfigurationError(f"tags has the key {key!r}, which is reserved; use another name")
        text = str(value).lower() if isinstance(value, bool) else str(value)
        clean = wire.clean_tag(f"{key}:{text}")
        if not isinstance(value, str | int | float) or not text or clean != f"{key}:{text}":
            raise checks.refused(f"tag {key!r}", value, "a short text of letters, digits and _ - : . /")
        tags[key] = text
    return MappingProxyType(tags)


_MOST_TAGS: Final = 10
_TAG_KEY: Final = re.compile(r"[A-Za-z][A-Za-z0-9_./-]*\Z")
_TAKEN_KEYS: Final = frozenset(("client", "type", "worker", "host", "env", "service", "version", "direction", "result"))


@functools.cache
def _default_context() -> tls.SSLContext:
    return tls.create_default_context()
