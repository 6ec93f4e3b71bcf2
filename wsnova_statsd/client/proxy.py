"""HTTP CONNECT: which proxy stands before a server, and the tunnel through it. Runs in the owner's thread."""

from __future__ import annotations

import base64
import socket
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote, urlsplit

from ..errors import ConfigurationError, ConnectionFailed
from ..redaction import redact_url
from .dial import Dial

_MAX_ANSWER: Final = 65536


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy; its credentials appear in no text."""

    host: str
    port: int
    authorization: str | None = field(default=None, repr=False)


def parse_proxy(url: str) -> Proxy:
    """A proxy from `http://[user:password@]host[:port]`. Raises ConfigurationError for anything else."""
    if not isinstance(url, str):
        raise ConfigurationError(f"proxy is {url!r}; allowed: None, 'env', or http://[user:password@]host:port")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme != "http" or not parts.hostname:
        raise ConfigurationError(
            f"proxy is {redact_url(url)!r}; allowed: None, 'env', or http://[user:password@]host:port"
        )
    authorization = None
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = "Basic " + base64.b64encode(pair.encode()).decode("ascii")
    return Proxy(parts.hostname, port or 80, authorization)


def choose(setting: str | None, host: str, *, secure: bool) -> Proxy | None:
    """The proxy for this host: None for direct, 'env' for http_proxy, https_proxy and no_proxy, else the URL given."""
    if setting is None:
        return None
    if setting != "env":
        return parse_proxy(setting)
    from urllib.request import getproxies, proxy_bypass  # heavy, and needed by few

    url = getproxies().get("https" if secure else "http")
    if not url or proxy_bypass(host):
        return None
    return parse_proxy(url if "//" in url else f"http://{url}")


def tunnel(dial: Dial, proxy: Proxy, host: str, port: int) -> socket.socket:
    """A socket through the proxy to host and port. Raises ConnectionFailed with cause `proxy`."""
    sock = dial.connect(proxy.host, proxy.port)
    try:
        target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
        if proxy.authorization is not None:
            lines.append(f"Proxy-Authorization: {proxy.authorization}")
        dial.send(sock, "\r\n".join([*lines, "", ""]).encode("latin-1"))
        answer = b""
        while b"\r\n\r\n" not in answer:
            data = dial.recv(sock, 4096)  # the server behind the tunnel stays silent until we speak
            if not data or len(answer) > _MAX_ANSWER:
                raise ConnectionFailed("the proxy ended the CONNECT without an answer", cause="proxy")
            answer += data
        words = answer.split(b"\r\n", 1)[0].split(None, 2)
        status = words[1].decode("ascii", "replace") if len(words) > 1 else "nothing"
        if status != "200":
            raise ConnectionFailed(f"the proxy {proxy.host} answered CONNECT with {status}", cause="proxy")
    except OSError as error:
        sock.close()
        if isinstance(error, ConnectionFailed):
            raise
        raise ConnectionFailed(f"the proxy {proxy.host} failed: {error}", cause="proxy") from error
    return sock
