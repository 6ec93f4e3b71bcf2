"""Lines of a screen as plain data: spans of text, each with the name of a style. Pure, any thread.

The styles: `dim`, `bold`, `head`, `good`, `warn`, `bad`, `key`, and `""` for none; a terminal gives them colours.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ..terminal import printable as printable

Span = tuple[str, str]  # a text, a style
Line = list[Span]

SEVERITIES = {"error": "bad", "warning": "warn", "success": "good", "info": ""}  # of an event
STATUSES = (("OK", "good"), ("WARNING", "warn"), ("CRITICAL", "bad"), ("UNKNOWN", "dim"))  # of a service check


@dataclass(frozen=True, slots=True)
class Item:
    """Lines that are selected as a whole, and drawn only when visible. `header` is shown above the item if the branch
    it belongs to has been scrolled away."""

    key: object
    height: int
    draw: Callable[[], list[Line]]
    header: Line | None = None
    detail: Callable[[int], list[Line]] | None = None  # by width: shown below the list while the item is selected


@dataclass(frozen=True, slots=True)
class Page:
    """One screen: a fixed heading, a list of items, and the text to show if there are none."""

    heading: list[Line] = field(default_factory=list)
    items: Sequence[Item] = ()
    empty: str = ""


def item(key: object, lines: list[Line], detail: Callable[[int], list[Line]] | None = None) -> Item:
    """An item with these lines."""
    return Item(key, len(lines), lambda: lines, None, detail)


def wrap(words: Sequence[str], first: int, width: int, indent: int) -> list[str]:
    """Join words into lines: the first is `first` wide, the others `width`, with an indent.

    A word includes the space before it; a word that is too long for a line is cut into pieces, so nothing is lost.
    """
    lines, line, room, empty = [], "", max(first, 1), True
    for word in words:
        while len(line) + len(word) > room:
            if empty:  # the word alone is longer than a line
                cut = room - len(line)
                line, word = line + word[:cut], word[cut:]
            lines.append(line)
            line, room, empty = " " * indent, max(width, indent + 1), True
            word = word.lstrip()
        line, empty = line + word, empty and not word
    return [*lines, line]


def words_of(text: str) -> list[str]:
    """A text for `wrap`: its words, each with the space before it."""
    first, *rest = text.split() or [""]
    return [first, *(f" {word}" for word in rest)]


def paragraph(text: str, width: int, style: str = "", indent: int = 0) -> list[Line]:
    """A text of any length, wrapped; its line feeds stay."""
    lines = []
    for part in text.split("\n"):
        words = words_of(part)
        lines += [[(line, style)] for line in wrap([" " * indent + words[0], *words[1:]], width, width, indent)]
    return lines


def matches(needle: str, *haystack: str) -> bool:
    """Whether each word of a filter occurs in these texts, in upper or lower case."""
    text = " ".join(haystack).lower()
    return all(word in text for word in needle.lower().split())
