"""HTTP headers of an upgrade, checked: none can inject another, and no error shows a value."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from ..errors import ConfigurationError

Value = str | bytes | None
# Not Iterable[str] for lines: a mapping would match that, whatever its values.
Headers = Mapping[str, Value] | Sequence[str] | Iterator[str] | Iterable[tuple[str, Value]] | None
Pair = tuple[str, str | None]
CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")  # RFC 9110, section 5.6.2
# Sent by the client unless passed; None removes a header.
OWN: Final = frozenset({"host", "origin", "user-agent"})
_ONCE: Final = OWN | {"authorization"}
_FRAMING: Final = frozenset({"connection", "upgrade", "content-length", "transfer-encoding", "expect", "trailer", "te"})
_HANDSHAKE: Final = "sec-websocket-"
_INSTEAD: Final = {
    "sec-websocket-protocol": "pass subprotocols=['...']",
    "sec-websocket-extensions": "pass compression='deflate', or remove it",
}


def header_pairs(headers: Headers) -> list[Pair]:
    """Headers as names and values; None for a header that must not be sent. A value has no character beyond Latin-1.

    Raises ConfigurationError for a header that would inject or break another, and for those of the handshake; values
    are never shown.
    """
    if headers is None:
        return []
    if isinstance(headers, str | bytes):
        raise ConfigurationError("headers is a string; pass a mapping such as {'X-Key': '...'}")
    if not isinstance(headers, Iterable):
        raise ConfigurationError(f"headers is {type(headers).__name__}; pass a mapping such as {{'X-Key': '...'}}")
    pairs: list[Pair] = []
    seen: set[str] = set()
    for place, entry in enumerate(headers.items() if isinstance(headers, Mapping) else headers, 1):
        pair = entry.split(":", 1) if isinstance(entry, str) else entry
        if not isinstance(pair, tuple | list) or len(pair) != 2 or not isinstance(pair[0], str):
            raise ConfigurationError(f"header {place} is neither 'Name: value' nor a pair of strings")
        name, value = pair
        if not TOKEN.match(name):  # the name may be the secret itself, in the wrong place
            raise ConfigurationError(f"the name of header {place} is invalid; allowed: letters, digits and -")
        lower = name.lower()
        if lower in _FRAMING or lower.startswith(_HANDSHAKE):
            instead = _INSTEAD.get(lower, "remove it")
            raise ConfigurationError(f"header {name!r} belongs to the handshake, which the client writes; {instead}")
        if lower in _ONCE and lower in seen:
            raise ConfigurationError(f"header {name!r} is passed twice; pass it once")
        seen.add(lower)
        pairs.append((name, _value(name, value)))
    return pairs


def _value(name: str, value: object) -> str | None:
    if value is None and name.lower() in OWN:
        return None
    if isinstance(value, bytes):  # as they are: each is one character of Latin-1
        text = value.decode("latin-1")
    elif isinstance(value, str):
        text = value
    else:
        raise ConfigurationError(
            f"the value of header {name!r} is {type(value).__name__}; pass a str or bytes, or None to remove Host, "
            "Origin or User-Agent"
        )
    if CONTROL.search(text):
        raise ConfigurationError(f"the value of header {name!r} contains a control character; it would inject a header")
    try:
        text.encode("latin-1")
    except UnicodeEncodeError:
        raise ConfigurationError(f"the value of header {name!r} is not latin-1; pass it as bytes") from None
    return text.strip(" ")  # spaces around a value are not part of it (RFC 9110, section 5.5)
