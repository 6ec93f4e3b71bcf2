"""Which channels are wanted, and which the server confirmed. A plain object; `_lock` makes it any thread's.

Wanted outlives a link, confirmed does not. Only a first rejection makes a channel unwanted; a restore that fails is
tried again, with growing pauses, until it succeeds or nobody wants it.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable, Iterable
from typing import Final

_FIRST_RETRY: Final = 1.0
_LONGEST_RETRY: Final = 60.0


class Subscriptions:
    """The channels of one client."""

    def __init__(self, channels: Iterable[Hashable] = ()) -> None:
        self._lock = threading.Lock()  # guards the fields below
        self._wanted: dict[Hashable, None] = dict.fromkeys(channels)  # in the order they were asked for
        self._confirmed: set[Hashable] = set()
        self._retries: dict[Hashable, tuple[float, float]] = {}  # channel: due, pause

    @property
    def wanted(self) -> list[Hashable]:
        """Every channel asked for, in order."""
        with self._lock:
            return list(self._wanted)

    @property
    def confirmed(self) -> list[Hashable]:
        """The wanted channels that the server confirmed on this link."""
        with self._lock:
            return [channel for channel in self._wanted if channel in self._confirmed]

    def want(self, channel: Hashable) -> None:
        """Ask for a channel, from now on and on every later link."""
        with self._lock:
            self._wanted[channel] = None

    def unwant(self, channel: Hashable) -> None:
        """Forget a channel."""
        with self._lock:
            self._wanted.pop(channel, None)
            self._confirmed.discard(channel)
            self._retries.pop(channel, None)

    def confirm(self, channel: Hashable) -> None:
        """The server delivers it."""
        with self._lock:
            if channel in self._wanted:
                self._confirmed.add(channel)
            self._retries.pop(channel, None)

    def failed(self, channel: Hashable, now: float) -> None:
        """A restore failed; it is due again after a pause that doubles up to a minute."""
        with self._lock:
            if channel in self._wanted:
                _, pause = self._retries.get(channel, (0.0, _FIRST_RETRY / 2))
                pause = min(pause * 2, _LONGEST_RETRY)
                self._retries[channel] = (now + pause, pause)

    def lost(self) -> None:
        """The link is gone, and every confirmation with it."""
        with self._lock:
            self._confirmed.clear()
            self._retries.clear()

    def due(self, now: float) -> list[Hashable]:
        """Channels whose restore is to be tried again now."""
        with self._lock:
            channels = [channel for channel, (at, _) in self._retries.items() if at <= now]
            for channel in channels:
                self._retries[channel] = (float("inf"), self._retries[channel][1])  # under way
            return channels

    def next_due(self) -> float | None:
        """When `due` has something to give."""
        if not self._retries:
            return None
        with self._lock:
            at = min((at for at, _ in self._retries.values()), default=float("inf"))
        return None if at == float("inf") else at
