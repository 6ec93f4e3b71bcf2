"""The channels of one client: which are wanted and confirmed, and when a failed restore is retried.

A wanted channel outlives a link, a confirmation does not. A table with a lock, and no I/O; any thread.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable, Iterable
from typing import Final

from .faults import Fault

_LONGEST_RETRY: Final = 60.0
_UNDER_WAY: Final = float("inf")
_OPEN: Final = 100  # faults of one channel that wait for their error.handled


class ChannelTable:
    """Which channels of one client are wanted, and which are confirmed. `first_retry`: seconds after the first failed
    restore."""

    def __init__(self, first_retry: float = 1.0) -> None:
        self._first_retry = first_retry
        self._lock = threading.RLock()  # guards the fields below; re-entrant for a signal's handler
        self._wanted: dict[Hashable, int] = {}  # in the order of the requests; the number of the last claim
        self._claims = 0
        self._confirmed: set[Hashable] = set()
        self._retries: dict[Hashable, tuple[float, float]] = {}  # channel: due, pause
        self._faults: dict[Hashable, list[Fault]] = {}  # emitted and not handled yet
        self._alone: set[Hashable] = set()  # to be requested separately, until they are subscribed
        self.links: int = 0  # how many links were lost; a confirmation holds for its own link only

    @property
    def wanted(self) -> list[Hashable]:
        """Every wanted channel, in order."""
        with self._lock:
            return list(self._wanted)

    @property
    def confirmed(self) -> list[Hashable]:
        """The wanted channels that the server confirmed on this link."""
        with self._lock:
            return [channel for channel in list(self._wanted) if channel in self._confirmed]

    def want(self, channel: Hashable) -> bool:
        """Want a channel, from now on and on every later link. True if it was not wanted before."""
        with self._lock:
            fresh = channel not in self._wanted
            self._wanted.setdefault(channel, 0)
            return fresh

    def claim(self, channel: Hashable) -> int:
        """Want it for a request that is about to be sent; returns the request's number."""
        with self._lock:
            self._claims += 1
            self._wanted[channel] = self._claims
            return self._claims

    def refused(self, channel: Hashable, claim: int) -> None:
        """The server refused it; it becomes unwanted, unless another request about it followed."""
        with self._lock:
            if self._wanted.get(channel) == claim:
                self._forget_locked(channel)

    def unwant(self, channel: Hashable) -> None:
        """Forget a channel."""
        with self._lock:
            self._forget_locked(channel)

    def _forget_locked(self, channel: Hashable) -> None:
        self._wanted.pop(channel, None)
        self._confirmed.discard(channel)
        self._retries.pop(channel, None)
        self._faults.pop(channel, None)
        self._alone.discard(channel)

    def made(self, channel: Hashable, link: int, *, confirmed: bool) -> list[Fault]:
        """The server delivers it - or was asked to, if the server confirms nothing - on the link after `link` losses.
        Returns the faults that are handled by that."""
        with self._lock:
            if link != self.links or channel not in self._wanted:
                return []
            if confirmed:
                self._confirmed.add(channel)
            self._retries.pop(channel, None)
            self._alone.discard(channel)
            return self._faults.pop(channel, [])

    def failed(self, channel: Hashable, link: int, now: float, fault: Fault | None) -> None:
        """It was not confirmed; on the same link it is due again after a pause that doubles up to a minute."""
        with self._lock:
            if channel not in self._wanted:
                return
            if fault is not None:
                self._faults[channel] = [*self._faults.get(channel, []), fault][-_OPEN:]
            if link == self.links:
                _, pause = self._retries.get(channel, (0.0, self._first_retry / 2))
                pause = min(pause * 2, _LONGEST_RETRY)
                self._retries[channel] = (now + pause, pause)

    def divide(self, channel: Hashable, link: int, now: float) -> None:
        """A message about it and others failed as a whole; on the same link it is due again at once, separately."""
        with self._lock:
            if channel in self._wanted:
                self._alone.add(channel)
                if link == self.links:
                    self._retries[channel] = (now, self._first_retry / 2)

    def batches(self, channels: Iterable[Hashable], size: int) -> list[list[Hashable]]:
        """The channels in groups of `size`, one group per message; those to request separately come last."""
        with self._lock:
            together: list[Hashable] = []
            alone: list[list[Hashable]] = []
            for channel in channels:
                if channel in self._alone:
                    alone.append([channel])
                else:
                    together.append(channel)
        return [together[start : start + size] for start in range(0, len(together), size)] + alone

    def lost(self) -> None:
        """The link is lost, and every confirmation with it."""
        with self._lock:
            self.links += 1
            self._confirmed.clear()
            self._retries.clear()

    def due(self, now: float) -> list[Hashable]:
        """The channels whose restore is to be retried now."""
        with self._lock:
            channels = [channel for channel, (at, _) in list(self._retries.items()) if at <= now]
            for channel in channels:
                _, pause = self._retries.get(channel, (0.0, self._first_retry))
                self._retries[channel] = (_UNDER_WAY, pause)
            return channels

    def next_due(self) -> float | None:
        """When `due` next returns a channel."""
        if not self._retries:
            return None
        with self._lock:
            at = min((at for at, _ in list(self._retries.values())), default=_UNDER_WAY)
        return None if at == _UNDER_WAY else at
