"""Rows as an SVG picture: for each subject a bar of ours and one for each peer, with the ratio beside it. Pure.

Readable on light and on dark pages: it has its own background, and the colours follow what the reader's system prefers.
It loads nothing and runs nothing, and every text in it is escaped.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Sequence
from html import escape
from itertools import groupby
from typing import Final

from .harness import Row
from .table import number, ratio

_WIDTH: Final = 800
_MARGIN: Final = 24
_BARS_AT: Final = 250  # where the bars begin; their names are on the left
_LONGEST: Final = 330
_LINE: Final = 22
_STYLE: Final = """
.ground { fill: #ffffff; stroke: #d1d9e0 }
text { fill: #1f2328; font: 13px system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif }
.head { font-size: 17px; font-weight: 600 }
.subject, .ratio { font-weight: 600 }
.small { fill: #59636e; font-size: 12px }
.end { text-anchor: end }
.ours { fill: #0969da }
.peer { fill: #afb8c1 }
@media (prefers-color-scheme: dark) {
  .ground { fill: #0d1117; stroke: #3d444d }
  text { fill: #f0f6fc }
  .small { fill: #9198a1 }
  .ours { fill: #4493f8 }
  .peer { fill: #656c76 }
}"""
_HEAD: Final = "wsnova_statsd beside its peers"
_LEGEND: Final = (
    "Shorter is better. The ratio is the peer's figure over ours; where it says (cost), ours over the other."
)
# What XML 1.0 cannot hold, not even escaped: section 2.2
_NO_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def _text(value: str) -> str:
    return escape(_NO_XML.sub("\ufffd", value))


def _label(x: int, y: int, text: str, kind: str) -> str:
    return f'<text class="{kind}" x="{x}" y="{y}">{_text(text)}</text>'


def _bar(y: int, kind: str, name: str, value: float, row: Row, longest: float) -> list[str]:
    length = max(1.0, _LONGEST * value / longest) if longest > 0 else 1.0
    return [
        _label(_BARS_AT - 10, y + 12, name, "small end"),
        f'<rect class="{kind}" x="{_BARS_AT}" y="{y}" width="{length:.1f}" height="15" rx="2"/>',
        _label(_BARS_AT + round(length) + 8, y + 12, number(value, row.unit), "small"),
    ]


def _subject(rows: Sequence[Row], y: int) -> tuple[list[str], int]:
    """The bars of one subject from `y` on, and where the next one begins."""
    first = rows[0]
    longest = max(first.ours, *(row.peer or 0.0 for row in rows))
    parts = [_label(_MARGIN, y + 12, first.subject, "subject")]
    y += _LINE
    parts += _bar(y, "ours", "wsnova_statsd", first.ours, first, longest)
    for row in rows:
        y += _LINE
        parts += _bar(y, "peer", row.against, row.peer or 0.0, row, longest)
        parts.append(_label(_WIDTH - _MARGIN, y + 12, ratio(row), "ratio end"))
    return parts, y + _LINE + 14


def svg(rows: Iterable[Row], about: str) -> str:
    """The picture of all rows that have a ratio; `about` names the machine and the versions, below them."""
    rows = [row for row in rows if row.ratios]
    parts: list[str] = []
    y = 80
    # One bar of ours stands for all rows of a subject only if all have the same figure of it
    for _, block in groupby(rows, key=lambda row: (row.subject, row.unit, row.ours)):
        more, y = _subject(list(block), y)
        parts += more
    for line in textwrap.wrap(about, 120):
        parts.append(_label(_MARGIN, y + 4, line, "small"))
        y += 18
    y += 10
    reported = " ".join(f"{row.subject}, against {row.against}: {ratio(row)}." for row in rows)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{y}" viewBox="0 0 {_WIDTH} {y}"'
            ' role="img" aria-labelledby="title description">',
            f'<title id="title">{_text(_HEAD)}</title>',
            f'<desc id="description">{_text(f"{_LEGEND} {reported}")}</desc>',
            f"<style>{_STYLE}\n</style>",
            f'<rect class="ground" x="0.5" y="0.5" width="{_WIDTH - 1}" height="{y - 1}" rx="6"/>',
            _label(_MARGIN, 34, _HEAD, "head"),
            _label(_MARGIN, 56, _LEGEND, "small"),
            *parts,
            "</svg>\n",
        ]
    )
