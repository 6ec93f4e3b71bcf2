"""HTTP headers of an upgrade, checked: none injects another, none shows its value in an error."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from ..errors import ConfigurationError

Headers = Mapping[str, str] | Iterable[str] | Iterable[tuple[str, str]] | None
CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")  # RFC 9110, section 5.6.2


def header_lines(headers: Headers) -> list[str]:
    """Headers as lines. Raises ConfigurationError for what would inject or break a header; values are never shown."""
    if headers is None:
        return []
    if isinstance(headers, str | bytes):
        raise ConfigurationError("headers is a string; give a mapping such as {'X-Key': '...'}")
    if not isinstance(headers, Iterable):
        raise ConfigurationError(f"headers is {type(headers).__name__}; give a mapping such as {{'X-Key': '...'}}")
    lines = []
    for place, entry in enumerate(headers.items() if isinstance(headers, Mapping) else headers, 1):
        pair = entry.split(":", 1) if isinstance(entry, str) else entry
        if not isinstance(pair, tuple | list) or len(pair) != 2 or not all(isinstance(part, str) for part in pair):
            raise ConfigurationError(f"header {place} is neither 'Name: value' nor a pair of strings")
        name, value = pair
        if not TOKEN.match(name):  # it may be the secret itself, written into the wrong place
            raise ConfigurationError(f"the name of header {place} is not usable; allowed: letters, digits and -")
        if CONTROL.search(value):
            raise ConfigurationError(
                f"the value of header {name!r} holds a control character; it would inject a header"
            )
        try:
            value.encode("latin-1")
        except UnicodeEncodeError:
            raise ConfigurationError(f"the value of header {name!r} is not latin-1; encode it first") from None
        lines.append(f"{name}: {value.strip()}")
    return lines
