"""Which channels are wanted, and which the server confirmed. A plain object; `_lock` makes it any thread's.

Wanted outlives a link, confirmed does not. Only a first rejection makes a channel unwanted; a restore that fails is
tried again, with growing pauses, until it succeeds or nobody wants it.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable
from typing import Any, Final

from ..errors import ConfigurationError
from .faults import Fault

_FIRST_RETRY: Final = 1.0
_LONGEST_RETRY: Final = 60.0
_UNDER_WAY: Final = float("inf")
_OPEN: Final = 100  # faults of one channel that wait to be told as handled


def check_channel(channel: Any) -> Hashable:
    """The channel. Raises ConfigurationError for one that cannot be told from others."""
    try:
        hash(channel)
    except TypeError:
        raise ConfigurationError(
            f"a channel is {type(channel).__name__}, which is not hashable; give a string, a number or a tuple"
        ) from None
    return channel  # type: ignore[no-any-return]


class Subscriptions:
    """The channels of one client."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards the fields below
        self._wanted: dict[Hashable, int] = {}  # in the order they were asked for; the number of the last claim
        self._claims = 0
        self._confirmed: set[Hashable] = set()
        self._retries: dict[Hashable, tuple[float, float]] = {}  # channel: due, pause
        self._faults: dict[Hashable, list[Fault]] = {}  # told, and not handled yet
        self.links = 0  # how many links were lost; a confirmation counts for its own link only

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

    def want(self, channel: Hashable) -> bool:
        """Ask for a channel, from now on and on every later link. True if nobody had."""
        with self._lock:
            fresh = channel not in self._wanted
            self._wanted.setdefault(channel, 0)
            return fresh

    def claim(self, channel: Hashable) -> int:
        """Want it for a question that is about to be sent; the question's number."""
        with self._lock:
            self._claims += 1
            self._wanted[channel] = self._claims
            return self._claims

    def refused(self, channel: Hashable, claim: int) -> None:
        """The server refused it; it is unwanted, unless another question about it followed."""
        with self._lock:
            if self._wanted.get(channel) == claim:
                self._forget_locked(channel)

    def unwant(self, channel: Hashable) -> None:
        """Forget a channel."""
        with self._lock:
            self._forget_locked(channel)

    def _forget_locked(self, channel: Hashable) -> None:
        assert self._lock.locked()
        self._wanted.pop(channel, None)
        self._confirmed.discard(channel)
        self._retries.pop(channel, None)
        self._faults.pop(channel, None)

    def made(self, channel: Hashable, link: int, *, confirmed: bool) -> list[Fault]:
        """The server delivers it - or was told to, where servers confirm nothing - on the link after `link` losses.
        Returns the faults that are over with that."""
        with self._lock:
            if link != self.links or channel not in self._wanted:
                return []
            if confirmed:
                self._confirmed.add(channel)
            self._retries.pop(channel, None)
            return self._faults.pop(channel, [])

    def failed(self, channel: Hashable, link: int, now: float, fault: Fault | None) -> None:
        """It was not confirmed; on the same link it is due again after a pause that doubles up to a minute."""
        with self._lock:
            if channel not in self._wanted:
                return
            if fault is not None:
                self._faults[channel] = [*self._faults.get(channel, []), fault][-_OPEN:]
            if link == self.links:
                _, pause = self._retries.get(channel, (0.0, _FIRST_RETRY / 2))
                pause = min(pause * 2, _LONGEST_RETRY)
                self._retries[channel] = (now + pause, pause)

    def lost(self) -> None:
        """The link is gone, and every confirmation with it."""
        with self._lock:
            self.links += 1
            self._confirmed.clear()
            self._retries.clear()

    def due(self, now: float) -> list[Hashable]:
        """Channels whose restore is to be tried again now."""
        with self._lock:
            channels = [channel for channel, (at, _) in self._retries.items() if at <= now]
            for channel in channels:
                self._retries[channel] = (_UNDER_WAY, self._retries[channel][1])
            return channels

    def next_due(self) -> float | None:
        """When `due` has something to give."""
        if not self._retries:
            return None
        with self._lock:
            at = min((at for at, _ in self._retries.values()), default=_UNDER_WAY)
        return None if at == _UNDER_WAY else at
