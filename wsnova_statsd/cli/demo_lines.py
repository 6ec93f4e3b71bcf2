"""What the demo prints without a live view: a line a second, and a line for each event as it arrives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TextIO

from ..watch.text import printable


@dataclass(frozen=True, slots=True)
class Moment:
    """What to print at one moment."""

    title: str
    elapsed: float
    status: str  # one line of figures
    events: list[str]  # all so far


class Lines:
    """Prints what is new, and flushes it; for pipes, logs and terminals without the extra `watch`."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._second = -1
        self._events = 0

    def show(self, moment: Moment) -> None:
        """Called several times a second."""
        if self._second < 0:
            self._print(moment.title)
        for event in moment.events[self._events :]:
            self._print(f"      event: {event}")
        self._events = len(moment.events)
        if int(moment.elapsed) > self._second:
            self._second = int(moment.elapsed)
            self._print(f"{self._second:>3} s {moment.status}")

    def _print(self, line: str) -> None:
        print(printable(line, self._out), file=self._out, flush=True)
