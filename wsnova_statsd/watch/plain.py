"""`--plain` and `--json`: once a second what is new as lines, or all there is as one document; for pipes and programs.

In the main thread. Each line is flushed; the reader of a pipe sees it at once.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from typing import Final, TextIO

from .figures import figure, number, unit_of
from .session import Source
from .snapshot import Row, SeenCheck, Snapshot, to_json
from .text import STATUSES, matches, printable

EVERY: Final = 1.0  # seconds
_NAME: Final = 60  # characters that names are filled up to


class Lines:
    """Makes the lines of `--plain`: events and changed checks as they come, then every series that has a new value."""

    def __init__(self, needle: str = "") -> None:
        self._needle = needle
        self._totals: dict[tuple[str, str, tuple[str, ...]], float] = {}
        self._checks: dict[tuple[str, tuple[str, ...]], tuple[int, str]] = {}
        self._event = 0  # the number of the last one that was printed
        self._told = ""  # of what went wrong, and of what has ended

    def of(self, snapshot: Snapshot) -> Iterator[str]:
        """What is new since the snapshot before."""
        at = time.strftime("%H:%M:%S", time.localtime(snapshot.at))
        for event in snapshot.events:
            if event.number > self._event:
                self._event = event.number
                text = event.text.replace("\n", " ")
                yield from self._kept(at, "event", event.alert_type, event.title, text, *event.tags)
        for check in snapshot.checks:
            if self._changed(check):
                yield from self._kept(at, "check", STATUSES[check.status][0], check.name, check.message, *check.tags)
        before, self._totals = self._totals, {(row.name, row.kind, row.tags): row.total for row in snapshot.rows}
        for row in sorted(snapshot.rows, key=lambda row: (row.name, row.kind, row.tags)):
            # A count's 0 is no new value: it says only that there is such a series.
            if before.get((row.name, row.kind, row.tags)) != row.total:
                yield from self._kept(at, _metric(row), *row.tags)
        told = _trouble(snapshot)
        if told and told != self._told:
            yield f"{at} {told}"
        self._told = told

    def _kept(self, at: str, *parts: str) -> Iterator[str]:
        if matches(self._needle, *parts):
            yield " ".join((at, *filter(None, parts)))

    def _changed(self, check: SeenCheck) -> bool:
        key, stands = (check.name, check.tags), (check.status, check.message)
        before, self._checks[key] = self._checks.get(key), stands
        return before != stands


def _metric(row: Row) -> str:
    unit = unit_of(row.name, row.kind)
    parts = [f"{row.name:<{_NAME}}", f"{row.kind:<12}", f"{figure(row.value, unit):>9}"]
    if row.rate is not None:
        parts.append(f"{number(row.rate)}/s")
    if row.figures is not None:
        parts.append(f"n={number(row.figures.n)}")
        parts += [f"{key}={figure(getattr(row.figures, key), unit).replace(' ', '')}" for key in ("p50", "p95", "max")]
    return " ".join(parts)


def _trouble(snapshot: Snapshot) -> str:
    """What did not arrive or was not read, so far; '' if there is nothing to say."""
    traffic = snapshot.traffic
    told = [
        (traffic.dropped or 0, "datagrams dropped by the kernel"),
        (traffic.not_forwarded, "datagrams not forwarded"),
        (sum(one.count for one in snapshot.rejected), "lines not read"),
        (snapshot.crowded, "lines of more series than are kept"),
    ]
    parts = [*(f"{many} {what}" for many, what in told if many), *filter(None, [snapshot.note])]
    return f"watch: {'; '.join(parts)}" if parts else ""


class Printer:
    """Prints what a source shows: lines with these words, or documents."""

    def __init__(self, source: Source, out: TextIO | None = None, *, document: bool = False, needle: str = "") -> None:
        self._source = source
        self._out = sys.stdout if out is None else out
        self._document = document
        self._lines = Lines(needle)

    def run(self, over: Callable[[], bool], sleep: Callable[[float], object] = time.sleep) -> None:
        """Print once a second until `over()` is True or Ctrl-C comes."""
        try:
            while not over():
                sleep(EVERY)
                self.tell()
        except KeyboardInterrupt:
            pass

    def tell(self) -> None:
        """Print what is new, each line flushed."""
        snapshot = self._source.snapshot()
        lines = [to_json(snapshot, history=False)] if self._document else self._lines.of(snapshot)
        for line in lines:
            print(printable(line, self._out), file=self._out, flush=True)
