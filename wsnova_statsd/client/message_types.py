"""Message types as tags: cleaned, and bounded in number. What the server calls a message is hostile input.

A type that comes up gets one of a client's 100 places, later ones are `other`. Places are given back: at the end of a
period, five minutes or more, which ends when a type is looked up that is not remembered, or when `tidy` is called, the
types that did not come up in it are forgotten. So that it is seen which come up, all are asked for again: who remembers
what was made for a type (the owner its recorders) drops that when `periods` has changed.
Used by the owner's thread and by senders; a lost race costs one cleaning more.
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
        """The tag for what a protocol calls a message; `unknown` for what is no text."""
        try:
            return self._cache[raw]  # type: ignore[index]  # what is no str is not in it
        except (KeyError, TypeError):
            return self._clean(raw)

    def tidy(self) -> None:
        """Begin another period if this one has lasted."""
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
                "message_type should name kinds of messages, not single ones",
                MAX_TYPES,
                clean,
                OTHER,
            )
