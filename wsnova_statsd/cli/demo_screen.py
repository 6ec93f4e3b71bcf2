"""The demo's terminal: a table that is redrawn in place, or plain lines where there is no terminal.

Plain ANSI, no library. Called by one thread, at most ten times a second; the caller paces it. `end` gives the terminal
back as it was, however the demo ends; nothing is drawn after it.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TextIO

from .demo_tally import Row

_ENTER: Final = "\x1b[?1049h\x1b[?25l"  # the other screen, no cursor
_LEAVE: Final = "\x1b[?25h\x1b[?1049l"
_HOME, _REST_OF_LINE, _REST_OF_SCREEN = "\x1b[H", "\x1b[K", "\x1b[J"
_EVENT_LINES: Final = 4
# What a newcomer looks for comes first; the rest follows by name.
_FIRST: Final = (
    "websocket.message.received",
    "websocket.message.batch.count",
    "websocket.message.process.duration",
    "websocket.message.process.slow",
    "websocket.connection.up",
    "websocket.connection.disconnected",
    "websocket.connection.reconnect.success",
    "websocket.connection.reconnect.duration",
)


@dataclass(frozen=True, slots=True)
class View:
    """What there is to show at one moment."""

    title: str
    elapsed: float
    seconds: float
    status: str  # one line of figures
    rows: list[Row]
    events: list[str]  # the latest last
    event_count: int


class Screen(Protocol):
    """A way to show the demo."""

    def show(self, view: View) -> None: ...

    def end(self) -> None: ...


class Silent:
    """For --json: nothing but the document is printed."""

    def show(self, view: View) -> None:
        """Nothing."""

    def end(self) -> None:
        """Nothing."""


class Lines:
    """One line per second and one per event; for pipes and logs."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._second = -1
        self._events = 0

    def show(self, view: View) -> None:
        """Print what is new."""
        if self._second < 0:
            self._print(view.title)
        new = view.event_count - self._events
        for event in view.events[-new:] if new else []:
            self._print(f"      event: {event}")
        self._events = view.event_count
        if int(view.elapsed) > self._second:
            self._second = int(view.elapsed)
            self._print(f"{self._second:>3} s {view.status}")

    def _print(self, line: str) -> None:
        print(printable(line, self._out), file=self._out, flush=True)

    def end(self) -> None:
        """Nothing to give back."""


class Live:
    """The whole terminal, redrawn in place."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._entered = False

    def show(self, view: View) -> None:
        """Draw one frame in one write."""
        size = shutil.get_terminal_size()
        lines = frame(view, size.columns, size.lines)
        text = (_REST_OF_LINE + "\n").join(printable(line, self._out) for line in lines)
        enter, self._entered = ("" if self._entered else _ENTER), True
        self._out.write(enter + _HOME + text + _REST_OF_LINE + _REST_OF_SCREEN)
        self._out.flush()

    def end(self) -> None:
        """Back to the screen and the cursor as they were."""
        if self._entered:
            self._entered = False
            self._out.write(_LEAVE)
            self._out.flush()


def screen_for(out: TextIO, json: bool) -> Screen:
    """The screen that suits where the output goes."""
    if json:
        return Silent()
    live = out.isatty() and os.environ.get("TERM", "dumb") != "dumb"
    return Live(out) if live else Lines(out)


def frame(view: View, width: int, height: int) -> list[str]:
    """The lines of one frame; none is wider than the terminal, and together they are no higher."""
    bar = _bar(view.elapsed / view.seconds, 8)
    lines = [view.title, f"{bar} {min(view.elapsed, view.seconds):.0f}/{view.seconds:g} s  {view.status}", ""]
    events = [f"event: {event}" for event in view.events[-_EVENT_LINES:]] or ["no event yet"]
    most = max(0, height - len(lines) - len(events) - 1)
    lines += table(view.rows, width, most) if view.rows else []
    lines += ["", *events]
    return [line[:width] for line in lines[:height]]


def _bar(share: float, width: int) -> str:
    done = min(width, int(share * width))
    return f"[{'#' * done}{'.' * (width - done)}]"


def table(rows: Sequence[Row], width: int, most: int) -> list[str]:
    """The series in at most `most` lines, the telling ones first; the last line says how many are left out.

    Tags that all of them have stand in the heading.
    """
    ordered = sorted(rows, key=lambda row: (_rank(row.name), row.name, row.tags))
    shown = ordered if len(ordered) < most else ordered[: max(0, most - 2)]
    common = [tag for tag in ordered[0].tags if all(tag in row.tags for row in ordered)] if ordered else []
    heading = f"TAGS (all: {' '.join(common)})" if common else "TAGS"
    cells = [("METRIC", "TYPE", "VALUE", "PER S", heading), *(_cells(row, common) for row in shown)]
    widths = [max(len(line[column]) for line in cells) for column in range(4)]
    lines = [
        f"{name:<{widths[0]}} {kind:<{widths[1]}} {value:>{widths[2]}} {rate:>{widths[3]}} {tags}"
        for name, kind, value, rate, tags in cells
    ]
    if len(shown) < len(ordered):
        lines.append(f"... and {len(ordered) - len(shown)} more series; a higher terminal shows more, --json all")
    return [line[:width] for line in lines[:most]]


def _cells(row: Row, common: Sequence[str]) -> tuple[str, str, str, str, str]:
    kind = "dist" if row.kind == "distribution" else row.kind
    rate = "" if row.rate is None else f"{row.rate:,.1f}"
    return row.name, kind, _value(row.value), rate, " ".join(tag for tag in row.tags if tag not in common)


def _rank(name: str) -> int:
    return _FIRST.index(name) if name in _FIRST else len(_FIRST)


def _value(value: float | None) -> str:
    if value is None:
        return ""
    if value == round(value) and abs(value) < 1e15:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) < 1 else f"{value:,.1f}"


def printable(text: str, out: TextIO) -> str:
    """One line without control characters, in what the terminal's encoding can write."""
    line = "".join(letter if letter.isprintable() else " " for letter in text)
    encoding = out.encoding or sys.getdefaultencoding()
    return line.encode(encoding, "replace").decode(encoding)
