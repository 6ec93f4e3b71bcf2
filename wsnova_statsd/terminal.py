"""Lines for people to read: what may be printed, and in colour only if the terminal supports it. Pure, any thread."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Final, TextIO

_CODES: Final = {"dim": "2", "bold": "1", "good": "32", "warn": "33", "bad": "31", "key": "36", "text": "32"}


def printable(text: str, out: TextIO) -> str:
    """The text as one line without control characters, in characters that the output's encoding has."""
    return encodable("".join(letter if letter.isprintable() else " " for letter in text), out)


def encodable(text: str, out: TextIO) -> str:
    """The text with `?` for characters that the output's encoding lacks."""
    encoding = out.encoding or "utf-8"
    return text.encode(encoding, "replace").decode(encoding)


def takes_colour(out: TextIO, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether this is a terminal with colours whose user has not set NO_COLOR (no-color.org)."""
    return out.isatty() and not environ.get("NO_COLOR") and environ.get("TERM", "dumb") != "dumb"


def painted(text: str, style: str) -> str:
    """The text in the colour of a style: dim, bold, good, warn, bad, key or text; unchanged for ''."""
    return f"\x1b[{_CODES[style]}m{text}\x1b[0m" if style else text


def stderr() -> TextIO | None:
    """The current sys.stderr; None if the program has closed it."""
    out = sys.stderr
    return None if out is None or out.closed else out
