"""Rows as text for people: one table of comparisons, and one of how costs grow. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from statistics import median

from .harness import Row

_HEAD = ("what", "against", "ours", "peer", "ratio (lowest..highest)", "in cpu", "to reach", "ok")
_GROWTH_HEAD = ("what", "with", "takes", "of the first (lowest..highest)")


def number(value: float | None, unit: str) -> str:
    """A figure with three digits that count, and its unit."""
    if value is None:
        return "-"
    text = f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
    return f"{text} {unit}".rstrip()


def ratio(row: Row) -> str:
    """The median ratio, without its spread."""
    return "-" if row.ratio is None else f"{_times(row.ratio)}x"


def _times(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


def _spread(row: Row) -> str:
    if len(row.ratios) < 2:
        return ratio(row)
    return f"{ratio(row)} ({_times(min(row.ratios))}..{_times(max(row.ratios))})"


def _bound(row: Row) -> str:
    unit = "x" if row.ratios and not row.absolute else f" {row.unit}".rstrip()
    if row.at_least is not None:
        return f">= {row.at_least:g}{unit}"
    return "-" if row.at_most is None else f"<= {row.at_most:g}{unit}"


def _cells(row: Row) -> tuple[str, ...]:
    verdict = {True: "ok", False: "MISSED", None: ""}[row.ok]
    cpu = f"{median(row.cpu_ratios):.2f}x" if row.cpu_ratios else "-"
    figures = (number(row.ours, row.unit), number(row.peer, row.unit), _spread(row), cpu, _bound(row), verdict)
    return row.subject, row.against or "-", *figures


def _subject_once(lines: Iterable[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """The first cell of a line is left empty where it is that of the line above."""
    return [
        ("" if index else subject, *line[1:])
        for subject, block in groupby(lines, key=lambda line: line[0])
        for index, line in enumerate(block)
    ]


def aligned(head: tuple[str, ...], blocks: Iterable[Sequence[tuple[str, ...]]]) -> list[str]:
    """Columns as wide as they have to be, an empty line between two blocks."""
    blocks = [[head], *blocks]
    widths = [max(len(line[column]) for block in blocks for line in block) for column in range(len(head))]
    texts: list[str] = []
    for block in blocks:
        for line in block:
            cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
            texts.append("  ".join(cells).rstrip())
        texts.append("")
    texts[1] = "  ".join("-" * width for width in widths)
    return texts


def comparisons(benchmarks: Mapping[str, Iterable[Row]]) -> str:
    """A block for each benchmark; the notes below, then how many figures were reached."""
    rows = [row for block in benchmarks.values() for row in block]
    lines = aligned(_HEAD, [_subject_once(map(_cells, block)) for block in benchmarks.values()])
    lines += [f"{row.subject}: {row.note}" for row in rows if row.note]
    judged = [row.ok for row in rows if row.ok is not None]
    if judged:
        lines.append(f"{sum(judged)} of {len(judged)} figures to reach are reached")
    return "\n".join(lines)


def growth(rows: Iterable[Row]) -> str:
    """A block for each kind of work, a line for each step of it."""
    blocks = [
        _subject_once((row.subject, row.against, number(row.ours, row.unit), _spread(row)) for row in block)
        for _, block in groupby(rows, key=lambda row: row.subject)
    ]
    return "\n".join(aligned(_GROWTH_HEAD, blocks)).rstrip()
