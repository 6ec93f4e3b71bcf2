"""What the Datadog Agent computes from datagrams: windows of ten seconds, on a clock that a test moves.

Written from the Agent's documentation, sharing no aggregation with the package: counts are added up by series and
window, a gauge keeps the last value of a window, samples are kept, and a counter that falls silent is 0 for 300 s,
then gone. A real UDP socket and no thread: on loopback a datagram has arrived when its sender has sent it.
"""

import socket
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Final

from wsnova_statsd.testing.dogstatsd import Event, Metric, ServiceCheck, parse_datagram

WINDOW: Final = 10  # seconds
FORGOTTEN_AFTER: Final = 300  # seconds without a value
Windows = list[float | None]  # window by window, up to the one before the current one; None: no data


class DatadogAgent:
    """Reads what was sent, and answers as boards and monitors do: over windows, by tags."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._began = clock()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 * 2**20)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.setblocking(False)
        self.port: int = self._socket.getsockname()[1]
        self._types: dict[str, str] = {}
        # By name and tags: a number for each window in which something came.
        self._kept: dict[tuple[str, frozenset[str]], dict[int, float]] = defaultdict(dict)
        self._samples: dict[tuple[str, frozenset[str]], dict[int, list[float]]] = defaultdict(dict)
        self.events: list[Event] = []

    def close(self) -> None:
        self._socket.close()

    @property
    def window(self) -> int:
        """The present one; the first is 0."""
        return int(self._clock() - self._began) // WINDOW

    def read(self) -> None:
        """Take in all that was sent."""
        while True:
            try:
                data = self._socket.recv(65535)
            except BlockingIOError:
                return
            for message in parse_datagram(data):
                if isinstance(message, Metric):
                    self._metric(message)
                elif isinstance(message, ServiceCheck):
                    self._kept[message.name, frozenset(message.tags)][self.window] = message.status
                else:
                    self.events.append(message)

    def _metric(self, one: Metric) -> None:
        assert self._types.setdefault(one.name, one.type) == one.type, one.line
        assert one.rate == 1, one.line
        tags, windows = frozenset(one.tags), self._kept[one.name, frozenset(one.tags)]
        if one.type == "c":
            windows[self.window] = windows.get(self.window, 0.0) + one.count
        elif one.type == "g":
            windows[self.window] = one.values[-1]
        else:
            self._samples[one.name, tags].setdefault(self.window, []).extend(one.values)

    def total(self, name: str, *tags: str) -> float:
        """Of a counter, over all series with these tags, the current window too."""
        return sum(sum(windows.values()) for _, windows in self._series(name, tags))

    def sums(self, name: str, *tags: str) -> Windows:
        """Of a counter, over all series with these tags."""
        shown = [self._filled(windows) for _, windows in self._series(name, tags)]
        known = [[one for one in window if one is not None] for window in zip(*shown, strict=True)]
        return [sum(window) if window else None for window in known]

    def samples(self, name: str, *tags: str) -> list[float]:
        """Of a distribution, over all series with these tags."""
        found = (windows for (its, its_tags), windows in self._samples.items() if its == name and its_tags >= set(tags))
        return [value for windows in found for values in windows.values() for value in values]

    def last(self, name: str, by: str, *tags: str) -> dict[str, Windows]:
        """Of a gauge or a check, by the values of a tag. For two series of one value a board would show a mixture."""
        found: dict[str, Windows] = {}
        for its_tags, windows in self._series(name, tags):
            value = next((tag.partition(":")[2] for tag in its_tags if tag.startswith(f"{by}:")), "")
            assert value not in found, f"{name} has two series with {by}:{value}"
            found[value] = [windows.get(window) for window in range(self.window)]
        return found

    def series_of(self, name: str) -> Iterator[tuple[frozenset[str], Windows | list[list[float] | None]]]:
        """Each series of a metric or check, window by window: a count's sum, a gauge's or check's last value, all
        samples of a distribution."""
        windows = range(self.window)
        for (its, tags), kept in self._kept.items():
            if its == name:
                yield tags, self._filled(kept) if self._types.get(name) == "c" else [kept.get(one) for one in windows]
        for (its, tags), samples in self._samples.items():
            if its == name:
                yield tags, [samples.get(one) for one in windows]

    def kind_of(self, name: str) -> str | None:
        """The letter of a metric's type, None for what never came."""
        return self._types.get(name)

    def tag_keys(self, kind: str) -> set[str]:
        """All that occur on metrics of a type."""
        series = [*self._kept, *self._samples]
        return {tag.partition(":")[0] for name, tags in series if self._types.get(name) == kind for tag in tags}

    def _series(self, name: str, tags: tuple[str, ...]) -> Iterator[tuple[frozenset[str], dict[int, float]]]:
        for (its, its_tags), windows in self._kept.items():
            if its == name and its_tags.issuperset(tags):
                yield its_tags, windows

    def _filled(self, windows: dict[int, float]) -> Windows:
        """A counter's: 0 where it is silent, for so long."""
        filled: Windows = []
        last: int | None = None
        for window in range(self.window):
            last = window if window in windows else last
            gone = last is None or (window - last) * WINDOW > FORGOTTEN_AFTER
            filled.append(None if gone else windows.get(window, 0.0))
        return filled
