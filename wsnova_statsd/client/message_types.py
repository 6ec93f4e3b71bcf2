"""Message types as tags: cleaned, and limited in number. The server's name for a message is hostile input.

A new type gets one of a client's 100 places; later ones become `other`. Places are freed at the end of a period, five
minutes or more: it ends when a type is looked up that is not cached, or when `tidy` is called, and the types that were
not seen in it are forgotten. To see which types are in use, all are looked up again: code that keeps what it created
for a type (the owner its recorders) drops that when `periods` has changed.
Used by the owner's thread and by senders; a lost race costs one extra cleaning.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable
from typing import Final

INVALID: Final = "invalid"
OTHER: Final = "other"
UNKNOWN: Final = "unknown"
MAX_LENGTH: Final = 64
MAX_TYPES: Final = 100
PERIOD: Final = 300.0  # seconds
_CACHED: Final = 1000
_UNCLEAN: Final = re.compile(r"[^a-z0-9_.:-]")
_log = logging.getLogger(__name__)


class MessageTypes:
    """Raw type to tag: lower-case `[a-z0-9_.:-]`, at most 64 characters, at most 100 distinct ones, then `other`."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.periods: int = 0
        self._clock = clock
        self._ending = threading.Lock()  # held by the one thread that ends a period; no thread waits for it
        self._due = clock() + PERIOD
        self._known: set[str] = set()  # of the last period and this one
        self._seen: set[str] = set()  # those of this one
        self._cache: dict[str, str] = {}
        self._warned = False

    def __call__(self, raw: object) -> str:
        """The tag for the type that a protocol returned; `unknown` unless that is a str."""
        try:
            return self._cache[raw]  # type: ignore[index]  # other types than str are never in it
        except (KeyError, TypeError):
            return self._clean(raw)

    def tidy(self) -> None:
        """Begin another period if this one has lasted long enough."""
        now = self._clock()
        if now >= self._due and self._ending.acquire(blocking=False):
            try:
                if now >= self._due:
                    self._due = now + PERIOD
                    self._known, self._seen = self._seen, set()
                    self._cache = {}
                    self.periods += 1
            finally:
                self._ending.release()

    def _clean(self, raw: object) -> str:
        if not isinstance(raw, str):
            return UNKNOWN
        self.tidy()
        clean = _UNCLEAN.sub("_", raw[:MAX_LENGTH].lower())[:MAX_LENGTH].rstrip(":") or UNKNOWN
        if clean not in self._known and len(self._known) >= MAX_TYPES:
            self._warn(clean)
            clean = OTHER
        else:
            self._known.add(clean)
            self._seen.add(clean)
        if len(raw) <= MAX_LENGTH and len(self._cache) < _CACHED:
            self._cache[raw] = clean
        return clean

    def _warn(self, clean: str) -> None:
        if not self._warned:
            self._warned = True
            _log.warning(
                "messages of more than %d types within minutes: %r and further ones are counted as %r; the protocol's "
                "message_type must return kinds of messages, not individual ones",
                MAX_TYPES,
                clean,
                OTHER,
            )
