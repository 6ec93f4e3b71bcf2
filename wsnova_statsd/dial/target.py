"""A parsed WebSocket URL: where to dial, and the parts of the request. Pure; the only importer of idna."""

from __future__ import annotations

import ipaddress
import re
from base64 import b64encode
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote, unquote, urlsplit

from ..errors import ConfigurationError
from ..redaction import redact_url
from .headers import CONTROL

_PORTS: Final = {"ws": 80, "wss": 443}
# Labels of 1 to 63 characters; underscores are not allowed in host names, but common in names of containers.
_NAME: Final = re.compile(r"(?=.{1,253}\Z)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*\.?\Z")
_BRACKETS: Final = re.compile(r"[^\[\]]*\Z|\[[^\[\]]*\](?::[0-9]*)?\Z")  # at most a port after an address
_ZONE: Final = re.compile(r"[A-Za-z0-9._~-]+\Z")
_URI: Final = "%/?:@!$&'()*+,;=[]"  # characters of a URI, besides letters and digits (RFC 3986, section 2)


@dataclass(frozen=True, slots=True)
class Target:
    """The target of a URL; `uri` is the part that may be shown."""

    host: str  # in ASCII, as it is resolved and checked against a certificate
    port: int
    secure: bool
    uri: str
    authority: str = ""  # as in the Host header: the port only if it is not the scheme's default
    resource: str = field(default="/", repr=False)  # path and query, as in the request line
    authorization: str | None = field(default=None, repr=False)

    @property
    def origin(self) -> str:
        """The Origin of a page of the same server."""
        return f"{'https' if self.secure else 'http'}://{self.authority}"


def target(url: object) -> Target:
    """Parse a WebSocket URL. Raises ConfigurationError, without the URL's secrets, if it is invalid."""
    if not isinstance(url, str):
        raise ConfigurationError(
            f"url is a {type(url).__name__}; pass ws://host[:port]/path or wss://..., or a function returning one"
        )
    try:
        parts = urlsplit(url)
        if parts.scheme not in _PORTS or CONTROL.search(url) or " " in url:
            raise ConfigurationError(_unusable(url, _hint(parts.scheme)))
        given = parts.port
        host = ascii_host(parts.hostname or "")
        rest = url.partition("://")[2][len(parts.netloc) :].partition("#")[0]
        resource = quote(rest, _URI)
        authorization = None
        if parts.username or parts.password:
            authorization = basic(parts.username or "", parts.password)
        if given == 0 or not _BRACKETS.match(parts.netloc.rpartition("@")[2]):
            raise ValueError
    except ConfigurationError:
        raise
    except ValueError:  # its text may quote the password
        raise ConfigurationError(
            _unusable(
                url,
                ", with a host name valid under IDNA, a port from 1 to 65535, and special characters in its user-info "
                "percent-encoded",
            )
        ) from None
    own = _PORTS[parts.scheme]
    name = f"[{host.partition('%')[0]}]" if ":" in host else host
    return Target(
        host,
        given or own,
        parts.scheme == "wss",
        redact_url(f"{parts.scheme}://{name}{f':{given}' if given else ''}{rest.partition('?')[0]}"),
        name if given in (None, own) else f"{name}:{given}",
        resource if resource.startswith("/") else f"/{resource}",
        authorization,
    )


def _unusable(url: str, hint: str) -> str:
    return f"url is {redact_url(url)!r}; allowed: ws://host[:port]/path and wss://host[:port]/path{hint}"


def _hint(scheme: str) -> str:
    secure = {"http": "ws", "https": "wss"}.get(scheme)
    if secure is not None:
        return f"; use {secure}:// instead of {scheme}://"
    return ", with blanks written as %20" if scheme in _PORTS else ""


def basic(user: str, password: str | None) -> str:
    """The Authorization header for the user-info of a URL."""
    pair = f"{unquote(user)}:{unquote(password or '')}"
    return "Basic " + b64encode(pair.encode()).decode("ascii")


def ascii_host(host: str) -> str:
    """A host in the form that is resolved: an address, with its zone after a `%`, or a name in lower case and ASCII
    (IDNA by UTS 46). Raises ValueError, which quotes nothing of a URL's user-info, for an invalid host."""
    if ":" in host:
        address, _, zone = host.partition("%")
        zone = zone.removeprefix("25")  # a URL writes the percent sign before a zone as %25 (RFC 6874)
        ipaddress.IPv6Address(address)
        if "%" in host and not _ZONE.match(zone):
            raise ValueError("no zone")
        return f"{address}%{zone}" if zone else address
    if not host.isascii():
        import idna  # its tables are large, and few hosts need them

        host = idna.encode(host, uts46=True).decode("ascii")
    host = host.lower()
    if not _NAME.match(host):
        raise ValueError("no host")
    return host
