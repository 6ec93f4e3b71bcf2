"""Lines for a person to read: what may be printed, and in colour only where a terminal takes it. Pure, any thread."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Final, TextIO

_CODES: Final = {"dim": "2", "bold": "1", "good": "32", "warn": "33", "bad": "31", "key": "36", "text": "32"}


def printable(text: str, out: TextIO) -> str:
    """One line without control characters, in what the output's encoding can write."""
    return encodable("".join(letter if letter.isprintable() else " " for letter in text), out)


def encodable(text: str, out: TextIO) -> str:
    """The text with `?` for what the output's encoding cannot write."""
    encoding = out.encoding or "utf-8"
    return text.encode(encoding, "replace").decode(encoding)


def takes_colour(out: TextIO, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether this is a terminal with colours whose user has not said NO_COLOR (no-color.org)."""
    return out.isatty() and not environ.get("NO_COLOR") and environ.get("TERM", "dumb") != "dumb"


def painted(text: str, style: str) -> str:
    """The text in the colour of a style: dim, bold, good, warn, bad, key or text; as it is for ''."""
    return f"\x1b[{_CODES[style]}m{text}\x1b[0m" if style else text


def stderr() -> TextIO | None:
    """Where a program's own remarks go, as of now; None if it has closed that."""
    out = sys.stderr
    return None if out is None or out.closed else out
