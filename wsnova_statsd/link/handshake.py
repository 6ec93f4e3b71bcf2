"""The upgrade (RFC 6455, section 4): our request, byte for byte, and what the server's answer agrees to.

`upgrade` runs in the thread that dials, under the dial's deadline; everything else is pure. No error quotes the server,
except for the target of a redirect, because the text may be a secret.
"""

from __future__ import annotations

import os
import time
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC
from hashlib import sha1
from typing import Final
from urllib.parse import quote, urljoin

from ..dial.answer import Answer, Peer, read_answer
from ..dial.dial import Dial, Stream
from ..dial.headers import OWN, Pair
from ..dial.target import Target
from ..dial.target import target as parse_target
from ..errors import ConfigurationError, ConnectionFailed, HandshakeRefused
from ..redaction import INVALID_URL, redact_url
from .deflate import OFFER, Deflate, agree

_READ: Final = 4096
_MAX_WAIT: Final = 300.0  # the longest Retry-After that is honoured
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3
_USER_AGENT: Final = "wsnova-statsd"
_SERVER: Final = Peer()
_REDIRECTS: Final = (301, 302, 303, 307, 308)
_WRITTEN: Final = "".join(map(chr, range(0x20, 0x7F)))  # characters that a Location may contain unquoted
_SOCKET_SCHEMES: Final = {"http": "ws", "https": "wss"}  # a Location may use either (RFC 6455, section 3)


@dataclass(frozen=True, slots=True)
class Offer:
    """What a request asks for in addition to the upgrade, and whether a subprotocol is required."""

    subprotocols: Sequence[str] = ()
    compression: bool = False
    require_subprotocol: bool = False
    follow_redirects: bool = False


_NOTHING: Final = Offer()


@dataclass(frozen=True, slots=True)
class Upgraded:
    """What was negotiated, and the bytes that arrived after the answer."""

    ahead: bytes
    deflate: Deflate | None
    subprotocol: str | None


class Redirect(Exception):
    """The server redirects the request to another of its own URLs. Handled by the dialer."""

    def __init__(self, target: Target) -> None:
        super().__init__(target.uri)
        self.target = target


def upgrade(
    dial: Dial, sock: Stream, target: Target, headers: Sequence[Pair] = (), offer: Offer = _NOTHING
) -> Upgraded:
    """Upgrade a connected socket, which is closed on failure.

    Raises ConnectionFailed, HandshakeRefused for any status other than 101, and, if the offer follows redirects,
    Redirect for one within the origin: any other would send the headers elsewhere.
    """
    key = b64encode(os.urandom(16)).decode("ascii")
    try:
        try:
            dial.send(sock, request(target, headers, offer, key))
        except ConnectionFailed:
            raise
        except OSError:  # the server may have answered and closed before it read everything: its answer says why
            pass
        answer = read_answer(lambda: dial.recv(sock, _READ), _SERVER)
        if answer.status != 101:
            further = redirected(answer, target) if offer.follow_redirects else None
            if further is not None:
                raise Redirect(further)
            raise refusal(answer, target, headers)
        deflate, subprotocol = agreed(answer, key, offer)
    except BaseException:
        sock.close()
        raise
    return Upgraded(answer.rest, deflate, subprotocol)


# -- the request ------------------------------------------------------------------------------------------------------


def request(target: Target, headers: Sequence[Pair], offer: Offer, key: str) -> bytes:
    """The request. Host, Origin and User-Agent in `headers` replace our own."""
    given = {name.lower(): value for name, value in headers if name.lower() in OWN}
    own = {"host": target.authority, "user-agent": _USER_AGENT, "origin": target.origin, **given}
    names = {"host": "Host", "user-agent": "User-Agent", "origin": "Origin"}
    lines: list[Pair] = [
        ("Host", own["host"]),
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Key", key),
        ("Sec-WebSocket-Version", "13"),
        *((names[lower], own[lower]) for lower in ("origin", "user-agent")),
        *((name, value) for name, value in headers if name.lower() not in OWN),
    ]
    if offer.compression:
        lines.append(("Sec-WebSocket-Extensions", OFFER))
    if offer.subprotocols:
        lines.append(("Sec-WebSocket-Protocol", ", ".join(offer.subprotocols)))
    text = [f"GET {target.resource} HTTP/1.1", *(f"{name}: {value}" for name, value in lines if value is not None)]
    return "\r\n".join([*text, "", ""]).encode("latin-1")


# -- the answer -------------------------------------------------------------------------------------------------------


def agreed(answer: Answer, key: str, offer: Offer) -> tuple[Deflate | None, str | None]:
    """What a 101 agrees on: compression and subprotocol. Raises ConnectionFailed for an answer that RFC 6455, section
    4.1, tells a client to refuse."""
    accept = b64encode(sha1(key.encode("ascii") + _GUID).digest()).decode("ascii")
    if not answer.whole or answer.minor != 1:
        raise _broken("is no valid HTTP/1.1", "check what a proxy or the server adds to its headers")
    if set(answer.tokens("upgrade")) != {"websocket"}:
        raise _broken("has no 'Upgrade: websocket'", "a proxy may remove it: configure it to forward upgrades")
    if "upgrade" not in answer.tokens("connection"):
        raise _broken("has no 'Connection: Upgrade'", "a proxy may remove it: configure it to forward upgrades")
    if answer.all("sec-websocket-accept") != [accept]:
        raise _broken(
            "does not have the Sec-WebSocket-Accept of this request",
            "it answers another request; check for a cache before the server",
        )
    return agree(answer.joined("sec-websocket-extensions"), offered=offer.compression), _subprotocol(answer, offer)


def _subprotocol(answer: Answer, offer: Offer) -> str | None:
    """The subprotocol that the server chose; None if it chose none and none is required."""
    chosen = [name for name in answer.all("sec-websocket-protocol") if name]
    if not chosen:
        if offer.require_subprotocol:
            raise _broken("chooses no subprotocol", "offer one that the server supports, or remove require_subprotocol")
        return None
    if len(chosen) > 1 or chosen[0] not in offer.subprotocols:
        remedy = (
            "check subprotocols=" if offer.subprotocols else "offer one that the server supports: subprotocols=[...]"
        )
        raise _broken("chooses a subprotocol that was not offered", remedy)
    return chosen[0]


def _broken(what: str, remedy: str) -> ConnectionFailed:
    return _SERVER.failed(f"the server's answer to the upgrade {what}", remedy)


# -- a refusal --------------------------------------------------------------------------------------------------------


def refusal(answer: Answer, target: Target, headers: Sequence[Pair]) -> HandshakeRefused:
    """The error for a status other than 101. It shows the target of a redirect, and the Origin that was sent, without
    credentials."""
    location = (answer.all("location") or [""])[0] if 300 <= answer.status < 400 else ""
    origin = next((value for name, value in headers if name.lower() == "origin"), target.origin)
    return HandshakeRefused(
        answer.status,
        retry_after=_retry_after(answer),
        location=_shown(location, target) if location else None,
        origin=origin if origin in (None, "null") else redact_url(origin),
    )


def redirected(answer: Answer, target: Target) -> Target | None:
    """The target of a redirect within the target's own origin: scheme, host and port. User-info in it is ignored,
    because the client has its own credentials."""
    locations = answer.all("location")
    if answer.status not in _REDIRECTS or len(locations) != 1:
        return None
    try:
        scheme, colon, rest = _seen_from(target, locations[0]).partition(":")
        further = parse_target(_SOCKET_SCHEMES.get(scheme.lower(), scheme) + colon + rest)
    except (ValueError, ConfigurationError):
        return None
    same = (further.secure, further.host, further.port) == (target.secure, target.host, target.port)
    return replace(further, authorization=None) if same else None


def _seen_from(target: Target, location: str) -> str:
    """A Location as an absolute URL. Raises ValueError for an invalid address in brackets."""
    location = quote(location.encode("latin-1"), _WRITTEN)  # its bytes beyond ASCII as they are
    return urljoin(f"{'wss' if target.secure else 'ws'}://{target.authority}{target.resource}", location)


def _shown(location: str, target: Target) -> str | None:
    """A Location resolved against the target, as it may be shown; None if it is no URL."""
    try:
        shown = redact_url(_seen_from(target, location))
    except ValueError:
        return None
    return None if shown == INVALID_URL else shown


def _retry_after(answer: Answer) -> float | None:
    """The seconds of a 429's or 503's Retry-After, a number or an HTTP date; at most five minutes."""
    given = (answer.all("retry-after") or [""])[0]
    if answer.status not in (429, 503) or not given:
        return None
    if given.isdecimal():
        return min(float(given[:9]), _MAX_WAIT)
    from email.utils import parsedate_to_datetime

    try:
        date = parsedate_to_datetime(given)
        wait = (date if date.tzinfo is not None else date.replace(tzinfo=UTC)).timestamp() - time.time()
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(wait, 0.0), _MAX_WAIT)
