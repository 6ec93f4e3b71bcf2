"""The proxy before a server: which one, and the way through it, by CONNECT or SOCKS5. No text shows its credentials.

Errors name the proxy and where it was configured: the option or the variable. Runs in the thread that dials.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote, urlsplit

from ..errors import ConfigurationError, ConnectionFailed, MissingExtra
from ..redaction import one_line, redact_url
from .answer import Peer, read_answer
from .dial import Dial, Stream
from .no_proxy import bypasses
from .socks import check_installed, traverse
from .target import Target, ascii_host, basic

_READ: Final = 4096
_SPENT: Final = ("timeout", "cancelled")  # causes of the dial itself, even if a proxy kept it waiting
_REMEDIES: Final = {
    407: "it requires credentials: http://user:password@host:port",
    403: "it does not allow this host or port; ask its operator",
    502: "it cannot reach the server; check the URL, or whether the proxy is needed",
    503: "it cannot reach the server; check the URL, or whether the proxy is needed",
    504: "it cannot reach the server; check the URL, or whether the proxy is needed",
}


_ALLOWED: Final = "http://, https:// or socks5://[user:password@]host:port"
_PORTS: Final = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}
# By the code of a SOCKS5 reply (RFC 1928, section 6).
_SOCKS_REMEDIES: Final = {
    2: "it does not allow this host or port; ask its operator",
    3: "it cannot reach the server; check the URL, or whether the proxy is needed",
    4: "it cannot reach the server; check the URL, or whether the proxy is needed",
    5: "it cannot reach the server; check the URL, or whether the proxy is needed",
}


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP or SOCKS5 proxy, and where it was configured."""

    host: str
    port: int
    authorization: str | None = field(default=None, repr=False)
    source: str = field(default="proxy=", compare=False)
    secure: bool = False  # TLS with the proxy itself
    socks: bool = False
    credentials: tuple[str, str] | None = field(default=None, repr=False)  # for SOCKS5, as authorization is for HTTP

    def __str__(self) -> str:
        return f"the proxy {self.host} port {self.port} (from {self.source})"


def parse_proxy(url: str, source: str = "proxy=") -> Proxy:
    """A proxy from `http://[user:password@]host[:port]`, `https://` or `socks5://`. Raises ConfigurationError for
    anything else, and MissingExtra for SOCKS5 without its extra."""
    allowed = f"None, 'env', or {_ALLOWED}" if source == "proxy=" else _ALLOWED
    what = source.rstrip("=")
    if not isinstance(url, str):
        raise ConfigurationError(f"{what} is {url!r}; allowed: {allowed}")
    try:
        parts = urlsplit(url)
        if parts.scheme in _PORTS and parts.port != 0:
            host, port = ascii_host(parts.hostname or ""), parts.port or _PORTS[parts.scheme]
            user = None if parts.username is None else (unquote(parts.username), unquote(parts.password or ""))
            if parts.scheme.startswith("socks"):
                check_installed()
                if user is not None and not all(0 < len(part.encode()) < 256 for part in user):
                    raise ValueError("RFC 1929 allows no other")
                return Proxy(host, port, None, source, socks=True, credentials=user)
            authorization = None if parts.username is None else basic(parts.username, parts.password)
            return Proxy(host, port, authorization, source, secure=parts.scheme == "https")
    except ValueError:  # its text may quote the password
        pass
    raise ConfigurationError(f"{what} is {redact_url(url)!r}; allowed: {allowed}")


def choose(setting: str | None, host: str, port: int, *, secure: bool) -> Proxy | None:
    """The proxy for this host. None: no proxy. 'env': http_proxy or https_proxy, otherwise all_proxy, unless no_proxy
    names the host. Otherwise the URL itself. Raises ConnectionFailed if the environment's proxy is invalid."""
    if setting is None:
        return None
    if setting != "env":
        return parse_proxy(setting)
    from urllib.request import getproxies, proxy_bypass  # slow to import, and rarely needed

    found = getproxies()
    scheme = "https" if secure else "http"
    url = found.get(scheme) or found.get("all")
    if not url or (bypasses(found["no"], host, port) if "no" in found else proxy_bypass(host)):
        return None
    names = [name for kind in (scheme, "all") for name in (f"{kind}_proxy", f"{kind}_proxy".upper())]
    source = next((name for name in names if os.environ.get(name) == url), "the system's settings")
    try:
        return parse_proxy(url if "//" in url else f"http://{url}", source)
    except (ConfigurationError, MissingExtra) as error:
        raise ConnectionFailed(f"the proxy is not usable: {error}", cause="proxy") from None


def reach(dial: Dial, setting: str | None, target: Target, context: Callable[[], ssl.SSLContext]) -> Stream:
    """A socket to the target, through a proxy if there is one; `context` is for TLS with the proxy. Raises
    ConnectionFailed."""
    proxy = choose(setting, target.host, target.port, secure=target.secure)
    if proxy is None:
        return dial.connect(target.host, target.port)
    return tunnel(dial, proxy, target.host, target.port, context)


def tunnel(dial: Dial, proxy: Proxy, host: str, port: int, context: Callable[[], ssl.SSLContext]) -> Stream:
    """A socket through the proxy to host and port. Raises ConnectionFailed with cause `proxy`."""
    try:
        sock: Stream = dial.connect(proxy.host, proxy.port)
        if proxy.secure:
            sock = dial.secure(sock, context(), proxy.host)
    except ConnectionFailed as error:
        cause = error.cause if error.cause in _SPENT else "proxy"
        raise ConnectionFailed(f"{proxy} cannot be reached: {error}; check {proxy.source}", cause=cause) from error
    try:
        (_socks if proxy.socks else _connect)(dial, sock, proxy, host, port)
    except BaseException as error:
        sock.close()
        if isinstance(error, OSError) and not isinstance(error, ConnectionFailed):
            raise ConnectionFailed(f"{proxy} failed: {error}; check {proxy.source}", cause="proxy") from error
        raise
    return sock


def _connect(dial: Dial, sock: Stream, proxy: Proxy, host: str, port: int) -> None:
    """Open a tunnel by CONNECT (RFC 9110, section 9.3.6)."""
    address = host.partition("%")[0]  # its zone is local to this machine
    target = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
    if proxy.authorization is not None:
        lines.append(f"Proxy-Authorization: {proxy.authorization}")
    dial.send(sock, "\r\n".join([*lines, "", ""]).encode("latin-1"))
    # The server sends nothing through the tunnel until we do: no bytes follow the answer.
    answer = read_answer(lambda: dial.recv(sock, _READ), Peer(str(proxy), "CONNECT", "proxy", 300))
    if not 200 <= answer.status < 300:
        remedy = _REMEDIES.get(answer.status, f"check {proxy.source}, or whether the proxy is needed")
        raise ConnectionFailed(f"{proxy} answered CONNECT with HTTP {answer.status}; {remedy}", cause="proxy")


def _socks(dial: Dial, sock: Stream, proxy: Proxy, host: str, port: int) -> None:
    """Open a tunnel by SOCKS5."""
    refused = traverse(dial, sock, host.partition("%")[0], port, proxy.credentials)
    if refused is not None:
        word, code = refused
        remedy = _SOCKS_REMEDIES.get(code or 0, f"check {proxy.source}, its credentials, and that it speaks SOCKS5")
        raise ConnectionFailed(f"{proxy} refused the connection by SOCKS5: {one_line(word)}; {remedy}", cause="proxy")
