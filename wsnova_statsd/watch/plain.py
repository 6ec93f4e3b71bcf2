"""`--plain` and `--json`: once a second, new values as lines or everything as one document; for pipes and programs.

Runs in the main thread. Each line is flushed, so that the reader of a pipe sees it at once.
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
_NAME: Final = 60  # characters that names are padded to


class Lines:
    """Makes the lines of `--plain`: events and changed checks as they arrive, then every series with a new value."""

    def __init__(self, needle: str = "") -> None:
        self._needle = needle
        self._totals: dict[tuple[str, str, tuple[str, ...]], float] = {}
        self._checks: dict[tuple[str, tuple[str, ...]], tuple[int, str]] = {}
        self._event = 0  # the number of the last event that was printed
        self._trouble = ""  # the last line on what went wrong or has ended

    def of(self, snapshot: Snapshot) -> Iterator[str]:
        """What is new since the previous snapshot."""
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
            # A count of 0 is not a new value: it only shows that the series exists.
            if before.get((row.name, row.kind, row.tags)) != row.total:
                yield from self._kept(at, _metric(row), *row.tags)
        trouble = _trouble(snapshot)
        if trouble and trouble != self._trouble:
            yield f"{at} {trouble}"
        self._trouble = trouble

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
    """What was lost or not read so far, and what has ended; '' if there is nothing to report."""
    traffic = snapshot.traffic
    counts = [
        (traffic.dropped or 0, "datagrams dropped by the kernel"),
        (traffic.not_forwarded, "datagrams not forwarded"),
        (sum(one.count for one in snapshot.rejected), "lines not read"),
        (snapshot.crowded, "lines of series beyond those kept"),
    ]
    parts = [*(f"{many} {what}" for many, what in counts if many), *filter(None, [snapshot.note])]
    return f"watch: {'; '.join(parts)}" if parts else ""


class Printer:
    """Prints the snapshots of a source: lines that contain the words of `needle`, or documents."""

    def __init__(self, source: Source, out: TextIO | None = None, *, document: bool = False, needle: str = "") -> None:
        self._source = source
        self._out = sys.stdout if out is None else out
        self._document = document
        self._lines = Lines(needle)

    def run(self, over: Callable[[], bool], sleep: Callable[[float], object] = time.sleep) -> None:
        """Print once a second until `over()` returns True or Ctrl-C is pressed."""
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
