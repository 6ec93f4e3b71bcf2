"""A reconnect storm on a fake clock: workers that lose their links at one moment, and the listener they dial.

A discrete-event simulation: no thread, no socket, no real time. How long a worker waits is not modelled: the shipped
`RetryPolicy` is asked, with a shipped profile, as a client's connection asks it. The listener is modelled as Linux
keeps one: `backlog` + 1 connections wait, a SYN that finds no room is dropped without an answer, and the dialling
kernel sends it again. The listener answers one after the other, also those that have hung up meanwhile.
"""

from __future__ import annotations

import heapq
import inspect
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Final

import wsnova_statsd as ws
from wsnova_statsd.client.retry import RetryPolicy
from wsnova_statsd.errors import ConnectionFailed

CONNECT_TIMEOUT: Final[float] = inspect.signature(ws.Client).parameters["connect_timeout"].default
# Seconds from one SYN to the next, the last one being the wait before ETIMEDOUT: Linux with tcp_syn_retries=6, since
# 6.5 with tcp_syn_linear_timeouts=4, and before.
SYN_WAITS: Final = (1.0, 1.0, 1.0, 1.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
SYN_WAITS_DOUBLING: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)

_LOST: Final = ConnectionFailed("the link was lost", cause="close_1006")
_REFUSED: Final = ConnectionFailed("no listener", cause="refused")
_TIMED_OUT: Final = ConnectionFailed("no answer", cause="timeout")

Pause = Callable[[ConnectionFailed], float]  # seconds from a failure to the next dial


@dataclass(frozen=True, slots=True)
class Way:
    """How workers come back: `pauses` makes what one worker asks for its next wait; the timeout is of one dial."""

    name: str
    pauses: Callable[[Random], Pause]
    connect_timeout: float | None = CONNECT_TIMEOUT


def shipped(profile: ws.Profile, connect_timeout: float = CONNECT_TIMEOUT) -> Way:
    """A client with this profile."""

    def pauses(random: Random) -> Pause:
        policy = RetryPolicy(profile, random.uniform)

        def pause(error: ConnectionFailed) -> float:
            seconds = policy.pause(error)
            policy.retries += 1  # as a connection counts each dial after an outage
            return seconds

        return pause

    return Way(profile.name, pauses, connect_timeout)


def fixed(seconds: float, name: str = "", connect_timeout: float | None = CONNECT_TIMEOUT) -> Way:
    """A loop that sleeps for so long before each dial."""
    return Way(name or f"fixed {seconds:g} s", lambda random: lambda error: seconds, connect_timeout)


# What `run_forever(reconnect=5)` of websocket-client does: time.sleep(5) before each dial, and a blocking socket.
WEBSOCKET_CLIENT: Final = fixed(5.0, "websocket-client, reconnect=5", None)


@dataclass(frozen=True, slots=True)
class Listener:
    """What workers dial. `accepts`: upgrades it answers in a second, one after the other. `silent`: while it is away,
    SYNs are lost instead of refused."""

    backlog: int = 511
    accepts: float = 500.0
    syn_waits: tuple[float, ...] = SYN_WAITS
    silent: bool = False


@dataclass(frozen=True, slots=True)
class Setting:
    """What happens: all links are lost at zero, noticed within `noticed` seconds; the listener is `away` for so long.
    `horizon`: seconds after which the simulation ends, even if workers are not back."""

    workers: int = 10_000
    away: float = 0.0
    round_trip: float = 0.05
    noticed: float = 0.05
    horizon: float = 3600.0


@dataclass(slots=True)
class Outcome:
    """What a storm came to. Each dial is accepted, refused or timed out, or was open when the horizon was reached."""

    back: list[float] = field(default_factory=list)  # when each worker was connected, in order
    attempts: int = 0
    refused: int = 0
    timed_out: int = 0
    dropped: int = 0  # SYNs that found the queue full, or a silent listener away
    wasted: int = 0  # upgrades answered for a worker that had hung up
    worst_queue: int = 0
    dials: Counter[int] = field(default_factory=Counter)  # by tenth of a second

    @property
    def accepted(self) -> int:
        return len(self.back)

    @property
    def open(self) -> int:
        return self.attempts - self.accepted - self.refused - self.timed_out

    def busiest(self, tenths: int) -> int:
        """The most dials in so many tenths of a second in a row."""
        return max((sum(self.dials[at + more] for more in range(tenths)) for at in list(self.dials)), default=0)

    def when(self, share: float) -> float:
        """When this share of the workers that came back was back; 1 is the last one."""
        return self.back[max(0, round(len(self.back) * share) - 1)]

    def as_json(self) -> dict[str, object]:
        names = ("accepted", "attempts", "refused", "timed_out", "open", "dropped", "worst_queue", "wasted")
        times = {"half": self.when(0.5), "last": self.when(1.0)} if self.back else {}
        return {
            **{name: getattr(self, name) for name in names},
            **times,
            "dials_in_1_s": self.busiest(10),
            "dials_in_0.1_s": self.busiest(1),
        }


class _Dial:
    """One attempt of one worker; `syns` were sent so far."""

    __slots__ = ("open", "pause", "syns")

    def __init__(self, pause: Pause) -> None:
        self.pause = pause
        self.open = True
        self.syns = 0


class Storm:
    """One storm; `run` once."""

    def __init__(self, way: Way, listener: Listener, setting: Setting, seed: int) -> None:
        self.now = 0.0
        self.outcome = Outcome()
        self._way = way
        self._listener = listener
        self._setting = setting
        self._random = Random(seed)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._made = 0  # events; decides between two of one moment
        self._queue: deque[_Dial] = deque()
        self._busy = False

    def run(self) -> Outcome:
        """Until all are back, or the horizon is reached."""
        for _ in range(self._setting.workers):
            pause = self._way.pauses(self._random)
            noticed = self._random.uniform(0.0, self._setting.noticed)
            self._after(noticed + pause(_LOST), partial(self._dial, pause))
        while self._events and self.outcome.accepted < self._setting.workers:
            at, _, happen = heapq.heappop(self._events)
            if at > self._setting.horizon:
                break
            self.now = at
            happen()
        return self.outcome

    def _after(self, seconds: float, happen: Callable[[], None]) -> None:
        self._made += 1
        heapq.heappush(self._events, (self.now + seconds, self._made, happen))

    # -- the worker ---------------------------------------------------------------------------------------------------

    def _dial(self, pause: Pause) -> None:
        self.outcome.attempts += 1
        self.outcome.dials[int(self.now * 10)] += 1
        self._send_syn(_Dial(pause))

    def _send_syn(self, dial: _Dial) -> None:
        if dial.open:
            dial.syns += 1
            self._after(self._setting.round_trip / 2, partial(self._syn, dial))

    def _refused(self, dial: _Dial) -> None:
        if dial.open:
            self.outcome.refused += 1
            self._failed(dial, _REFUSED)

    def _timed_out(self, dial: _Dial) -> None:
        if dial.open:
            self.outcome.timed_out += 1
            self._failed(dial, _TIMED_OUT)

    def _failed(self, dial: _Dial, error: ConnectionFailed) -> None:
        dial.open = False
        self._after(dial.pause(error), partial(self._dial, dial.pause))

    def _answered(self, dial: _Dial) -> None:
        if dial.open:
            dial.open = False
            self.outcome.back.append(self.now)
        else:
            self.outcome.wasted += 1

    # -- the listener -------------------------------------------------------------------------------------------------

    def _syn(self, dial: _Dial) -> None:
        """A SYN arrives; the dial's own deadline runs since it was sent for the first time."""
        listener, half = self._listener, self._setting.round_trip / 2
        away = self.now < self._setting.away
        if away and not listener.silent:
            self._after(half, partial(self._refused, dial))
            return
        if dial.syns == 1 and self._way.connect_timeout is not None:
            self._after(max(0.0, self._way.connect_timeout - half), partial(self._timed_out, dial))
        if away or len(self._queue) > listener.backlog:
            self._drop(dial)
            return
        self._queue.append(dial)
        self.outcome.worst_queue = max(self.outcome.worst_queue, len(self._queue))
        if not self._busy:
            self._serve()

    def _drop(self, dial: _Dial) -> None:
        """The dialling kernel counts from when it sent the SYN, half a round trip ago; after its last one it gives
        up."""
        self.outcome.dropped += 1
        waits = self._listener.syn_waits
        goes_on = self._send_syn if dial.syns < len(waits) else self._timed_out
        wait = waits[min(dial.syns, len(waits)) - 1]
        self._after(max(0.0, wait - self._setting.round_trip / 2), partial(goes_on, dial))

    def _serve(self) -> None:
        self._busy = bool(self._queue)
        if self._busy:
            self._after(1.0 / self._listener.accepts, partial(self._served, self._queue.popleft()))

    def _served(self, dial: _Dial) -> None:
        self._after(self._setting.round_trip / 2, partial(self._answered, dial))
        self._serve()


def simulate(way: Way, listener: Listener, setting: Setting, seed: int = 1) -> Outcome:
    """One storm from start to end."""
    return Storm(way, listener, setting, seed).run()
