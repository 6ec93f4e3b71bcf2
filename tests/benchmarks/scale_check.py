"""Ten real clients against a real listener, beside the simulation of ten with the same settings.

The listener is a socket with the backlog given, whose one thread accepts and answers at the rate given; the queue, the
dropped SYNs and the refusals are the kernel's, on the loopback interface. Several groups of ten, each with a listener
of its own, run at once: what one group takes is a matter of chance, so medians are compared.
"""

from __future__ import annotations

import queue
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final, Self

import wsnova_statsd as ws
from wsnova_statsd.testing.tcp import Connection, LoopbackPort, cut

from .scale_storm import SYN_WAITS, SYN_WAITS_DOUBLING, Listener, Setting, shipped, simulate

WORKERS: Final = 10
AGREES: Final = 0.2  # of what was measured
SEEDS: Final = 101
_PATIENCE: Final = 60.0  # seconds for all to be back
_ATTEMPT: Final = ws.events.CONNECTION_RECONNECT_ATTEMPT
_SUCCESS: Final = ws.events.CONNECTION_RECONNECT_SUCCESS
_LINEAR: Final = Path("/proc/sys/net/ipv4/tcp_syn_linear_timeouts")


def _syn_waits() -> tuple[float, ...]:
    """This kernel's."""
    return SYN_WAITS if _LINEAR.exists() and int(_LINEAR.read_text(encoding="ascii")) else SYN_WAITS_DOUBLING


@dataclass(frozen=True, slots=True)
class Situation:
    """What ten clients go through."""

    name: str
    listener: Listener
    away: float
    connect_timeout: float


# Few are taken in a second, and the last of the queue wait longer than they may; and a restart, with refusals.
CUT: Final = Situation("cut", Listener(4, 5.0, _syn_waits()), 0.0, 0.8)
RESTART: Final = Situation("restart", Listener(2, 5.0, _syn_waits()), 1.0, 10.0)
SITUATIONS: Final = (CUT, RESTART)


@dataclass(frozen=True, slots=True)
class Figures:
    """What came of one group."""

    last: float
    attempts: float
    refused: float
    timed_out: float

    @classmethod
    def median_of(cls, groups: Iterable[Figures]) -> Figures:
        found = list(groups)
        names = ("last", "attempts", "refused", "timed_out")
        return cls(*(median(getattr(one, name) for one in found) for name in names))


@dataclass(frozen=True, slots=True)
class Row:
    """One situation with one profile."""

    situation: Situation
    profile: ws.Profile
    simulated: Figures
    measured: Figures
    groups: int

    @property
    def off(self) -> float:
        """How far the simulation is from what was measured, as a share of that."""
        return self.simulated.last / self.measured.last - 1

    @property
    def ok(self) -> bool:
        return abs(self.off) <= AGREES


def simulated(situation: Situation, profile: ws.Profile) -> Figures:
    """The median of many storms of ten."""
    way = shipped(profile, situation.connect_timeout)
    setting = Setting(WORKERS, situation.away, round_trip=0.001, noticed=0.0)
    found = [simulate(way, situation.listener, setting, seed) for seed in range(SEEDS)]
    return Figures.median_of(Figures(one.back[-1], one.attempts, one.refused, one.timed_out) for one in found)


class RealListener:
    """Takes as many links as there are workers, at once; from `storm` on it keeps to the settings.

    One thread accepts at a time. `stop` ends it, and cuts all links.
    """

    def __init__(self, situation: Situation) -> None:
        self._settings = situation.listener
        self._away = situation.away
        self._port = LoopbackPort()
        self._stopping = threading.Event()
        self._links: list[socket.socket] = []  # of the thread that accepts; others read it when that has ended
        self._socket = self._listen()
        self._thread = self._start(self._take_all)

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self._port.port}"

    def storm(self) -> float:
        """Cut all links; when, on time.monotonic()."""
        self._thread.join(_PATIENCE)
        if self._away:
            self._socket.close()
        at = time.monotonic()
        self._cut()
        self._thread = self._start(self._serve)
        return at

    def _listen(self) -> socket.socket:
        sock = self._port.listen(self._settings.backlog)
        sock.settimeout(0.05)  # to see that it stops
        return sock

    def _start(self, run: Any) -> threading.Thread:
        thread = threading.Thread(target=run, name="scale-listener", daemon=True)
        thread.start()
        return thread

    def _take_all(self) -> None:
        while len(self._links) < WORKERS and not self._stopping.is_set():
            self._take(0.0)

    def _serve(self) -> None:
        if self._away:
            self._stopping.wait(self._away)
            self._socket = self._listen()
        while not self._stopping.is_set():
            self._take(1.0 / self._settings.accepts)

    def _take(self, seconds: float) -> None:
        """The next connection, which takes so long; also one whose client has hung up."""
        try:
            link, _ = self._socket.accept()
        except TimeoutError:
            return
        self._links.append(link)
        self._stopping.wait(seconds)
        with suppress(EOFError, OSError):
            Connection(link, self._stopping).accept_upgrade()

    def _cut(self) -> None:
        for link in self._links:
            cut(link)
            link.close()
        self._links.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._stopping.set()
        self._thread.join(_PATIENCE)
        self._cut()
        self._socket.close()


def measure(situation: Situation, profile: ws.Profile) -> Figures:
    """One group of ten real clients: connected, cut, and back."""
    bus = ws.Bus()
    came: queue.SimpleQueue[tuple[float, str, str]] = queue.SimpleQueue()

    def emitted(event: str, measurements: Mapping[str, Any], metadata: Mapping[str, Any], config: object) -> None:
        came.put((time.monotonic(), event, metadata.get("reason", "")))

    bus.attach_many("scale", (_ATTEMPT, _SUCCESS, ws.events.CONNECTION_RECONNECT_FAILED), emitted)
    counted = profile.replace(ping_interval=None, level="detailed")  # links answer no ping; each attempt is emitted
    clients: list[ws.Client] = []
    try:
        with RealListener(situation) as listener:
            for number in range(WORKERS):
                client = ws.Client(
                    listener.url,
                    client_id=f"worker-{number}",
                    profile=counted,
                    on_message=lambda message: None,
                    connect_timeout=situation.connect_timeout,
                    bus=bus,
                )
                clients.append(client.start(_PATIENCE))
            return _until_back(listener.storm(), came)
    finally:
        for client in clients:
            client.close(1.0)


def _until_back(began: float, came: queue.SimpleQueue[tuple[float, str, str]]) -> Figures:
    counts: Counter[str] = Counter()
    while counts[_SUCCESS] < WORKERS:
        at, event, reason = came.get(timeout=_PATIENCE)
        counts[event] += 1
        counts[reason] += 1
    return Figures(at - began, counts[_ATTEMPT], counts["refused"], counts["timeout"])


def check(wanted: Iterable[tuple[Situation, ws.Profile]], groups: int) -> list[Row]:
    """All of these at once, `groups` groups of ten each."""
    pairs = list(wanted)
    with ThreadPoolExecutor(len(pairs) * groups) as pool:
        runs = [[pool.submit(measure, *pair) for _ in range(groups)] for pair in pairs]
        measured = [Figures.median_of(run.result() for run in group) for group in runs]
    return [Row(*pair, simulated(*pair), one, groups) for pair, one in zip(pairs, measured, strict=True)]
