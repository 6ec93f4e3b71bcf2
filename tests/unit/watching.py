"""Snapshots for the tests of the live view: by lines, as they would arrive."""

from __future__ import annotations

import re
from collections.abc import Sequence

from wsnova_statsd.profiles import STANDARD
from wsnova_statsd.testing.clock import FakeClock
from wsnova_statsd.watch.model import Model
from wsnova_statsd.watch.snapshot import Snapshot, Traffic
from wsnova_statsd.watch.text import Line
from wsnova_statsd.watch.view import View


def snapshot(*lines: str, seconds: float = 1.0, traffic: Traffic | None = None, **changes: object) -> Snapshot:
    """What there is to show when these lines have arrived, so many seconds ago."""
    clock = FakeClock()
    model = Model(clock, lambda: 1_700_000_000.0)
    model.take([line.encode() for line in lines])
    clock.advance(seconds)
    rows = tuple(model.rows())
    events, checks, rejected, crowded = model.seen()
    reported: dict[str, object] = {
        "events": events,
        "checks": checks,
        "rejected": rejected,
        "crowded": crowded,
        **changes,
    }
    return Snapshot("udp 127.0.0.1:8125", 1_700_000_000.0, seconds, traffic or Traffic(dropped=0), rows, **reported)  # type: ignore[arg-type]


def view(shown: Snapshot | None = None, clock: FakeClock | None = None) -> View:
    """A board that shows this."""
    board = View(STANDARD.kpi_targets, clock or FakeClock())
    if shown is not None:
        board.update(shown)
    return board


def text_of(line: Line) -> str:
    return "".join(text for text, _ in line)


def texts(lines: Sequence[Line]) -> list[str]:
    """The lines as a terminal shows them, without their styles."""
    return [text_of(line).rstrip() for line in lines]


def styles_of(lines: Sequence[Line], text: str) -> set[str]:
    """The styles of the spans that hold this text."""
    return {style for line in lines for part, style in line if text in part}


def labels_of(lines: list[str]) -> set[str]:
    """Name and tags of the rows that are seen as a whole, put together from a branch and what stands below it."""
    labels, branch, row = set[str](), "", ""
    for line in lines[3:]:
        if line.startswith(("─", "1-", "/")):
            break
        if found := re.fullmatch(r"▾ (\S+)(?:  \d+ series)?", line):
            labels.add(row)
            branch, row = found[1], ""
        elif found := re.match(r" *[\d.,]+(?: \S?[sB])?(?: +[\d.]+)?(?: +(?:gauge|count|dist))? +(\D\S*.*)", line):
            labels.add(row)
            rest = found[1]
            rest = re.sub(r"^(?:millisecond|occurrences|state) ", "", rest)
            words = re.split(r"\s{2,}", rest)[0]
            row = f"{branch}.{words}" if branch else words
        elif line.strip():
            part = line.strip()
            row += part if part.startswith(".") else f" {part}"
    labels.add(row)
    return {label for label in labels if label}
