"""Message types as tags: cleaned, and bounded in number. What the server calls a message is hostile input.

Used by the owner's thread and by senders; a lost race costs one cleaning more.
"""

from __future__ import annotations

import re
from typing import Final

INVALID: Final = "invalid"
OTHER: Final = "other"
UNKNOWN: Final = "unknown"
MAX_LENGTH: Final = 64
MAX_TYPES: Final = 100
_CACHED: Final = 1000
_UNCLEAN: Final = re.compile(r"[^a-z0-9_.:-]")


class MessageTypes:
    """Raw type to tag: lower-case `[a-z0-9_.:-]`, at most 64 characters, at most 100 distinct ones, then `other`."""

    def __init__(self) -> None:
        self._known: set[str] = set()
        self._cache: dict[str, str] = {}

    def __call__(self, raw: object) -> str:
        """The tag for what a protocol calls a message; `unknown` for what is no text."""
        try:
            return self._cache[raw]  # type: ignore[index]  # what is no str is not in it
        except (KeyError, TypeError):
            return self._clean(raw)

    def _clean(self, raw: object) -> str:
        if not isinstance(raw, str):
            return UNKNOWN
        clean = _UNCLEAN.sub("_", raw[:MAX_LENGTH].lower())[:MAX_LENGTH].rstrip(":") or UNKNOWN
        if clean not in self._known:
            if len(self._known) >= MAX_TYPES:
                clean = OTHER
            else:
                self._known.add(clean)
        if len(raw) <= MAX_LENGTH and len(self._cache) < _CACHED:
            self._cache[raw] = clean
        return clean
