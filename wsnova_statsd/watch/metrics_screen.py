"""The metrics screen: a tree by name; each row has the value first, and the tags that distinguish the series.

A row takes as many lines as its name and tags need, so that nothing is cut off; figures without a column at this width
are shown below the list, for the selected row. Pure, any thread.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from .figures import figure, number, sparkline, time_of, unit_of
from .snapshot import Row
from .text import Item, Line, Page, matches, wrap

SORTS: Final = ("name", "value", "rate", "recent")
_SHORT: Final = {"distribution": "dist", "histogram": "histo"}
_DEPTH: Final = 2  # parts of a name that make a branch of the tree
_INDENT: Final = 2
_LEAST: Final = 8  # characters for name and tags at least, however narrow the terminal
_GAP: Final = " "
_ALARMING: Final = ("error", "errors", "lost", "failed", "missed", "stuck", "dropped")


@dataclass(frozen=True, slots=True)
class Column:
    """A column of figures."""

    title: str
    width: int
    cell: Callable[[Row], str]


def _figures(key: str) -> Callable[[Row], str]:
    def cell(row: Row) -> str:
        return "" if row.figures is None else figure(getattr(row.figures, key), unit_of(row.name, row.kind))

    return cell


def _trend(width: int) -> Column:
    return Column("TREND", width, lambda row: sparkline(row.history, width))


_VALUE: Final = Column("VALUE", 9, lambda row: figure(row.value, unit_of(row.name, row.kind)))
_RATE: Final = Column("PER S", 7, lambda row: "" if row.rate is None else number(row.rate))
_P95: Final = Column("P95", 7, _figures("p95"))
_TYPE: Final = Column("TYPE", 5, lambda row: _SHORT.get(row.kind, row.kind))
_UNIT: Final = Column("UNIT", 11, lambda row: unit_of(row.name, row.kind))
_ALL: Final = (
    Column("N", 7, lambda row: "" if row.figures is None else number(row.figures.n)),
    Column("MEAN", 8, _figures("mean")),
    Column("P50", 8, _figures("p50")),
    _P95,
    Column("MAX", 8, _figures("max")),
)
# For each minimum width: the columns before the name, and those after it.
_PLANS: Final = (
    (150, (_VALUE, _RATE, _TYPE, _UNIT), (*_ALL, _trend(24))),
    (120, (_VALUE, _RATE, _TYPE), (*_ALL[2:], _trend(10))),
    (72, (_VALUE, _RATE), (_P95, _trend(8))),
    (0, (_VALUE,), ()),
)


def page(rows: Iterable[Row], needle: str, sort: str, folded: frozenset[str], width: int) -> Page:
    """The rows that match the filter. Sorted by name they form a tree; the branches named in `folded` are closed."""
    _, before, behind = next(plan for plan in _PLANS if width >= plan[0])
    shown = [row for row in rows if not needle or matches(needle, row.name, *row.tags)]
    apart = tags_apart(shown)
    room = max(_LEAST, width - sum(column.width + 1 for column in (*before, *behind)) - 1)
    table = _Table(before, behind, room, apart)
    heading = [(_cells(before, str.rjust), "head"), (f"{'NAME AND TAGS':<{room}}", "head")]
    heading += [(_GAP + _cells(behind, str.rjust), "head")] if behind else []
    items = _tree(shown, table, folded) if sort == "name" else [table.item(row, "") for row in _sorted(shown, sort)]
    empty = f"no metric has {needle!r} in its name or tags" if needle else "no metric has arrived yet"
    return Page([heading], items, empty)


def tags_apart(rows: Sequence[Row]) -> dict[tuple[str, str, tuple[str, ...]], tuple[str, ...]]:
    """For each series, the tags that not all series of its name have, and its kind if the name has several."""
    by_name: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_name[row.name].append(row)
    apart = {}
    for alike in by_name.values():
        common = set(alike[0].tags).intersection(*(row.tags for row in alike[1:])) if len(alike) > 1 else None
        several = len({row.kind for row in alike}) > 1
        for row in alike:
            tags = () if common is None else tuple(tag for tag in row.tags if tag not in common)
            apart[row.name, row.kind, row.tags] = (*tags, f"({row.kind})") if several else tags
    return apart


def branch_of(name: str) -> str:
    """The branch of the tree for a name: its first parts, without the last; '' if it has only one part."""
    parts = name.split(".")
    return ".".join(parts[: min(_DEPTH, len(parts) - 1)])


def severity(row: Row) -> str:
    """The style of a row's value, which marks links that are down, errors and losses."""
    parts = row.name.split(".")
    if row.kind == "gauge" and row.name.endswith("connection.up"):
        return "good" if row.value else "bad"
    if row.kind == "count" and row.total and ("severity:warning" in row.tags or "slow" in parts):
        return "warn"
    if row.kind == "count" and row.total and not {"handled", "recovery"} & set(parts):
        return "bad" if any(part in _ALARMING for part in parts) else ""
    return ""


def _sorted(rows: Iterable[Row], sort: str) -> list[Row]:
    if sort == "recent":
        return sorted(rows, key=lambda row: (row.age, row.name, row.tags))
    key = "value" if sort == "value" else "rate"
    return sorted(rows, key=lambda row: (-(getattr(row, key) or 0.0), row.name, row.tags))


def _tree(rows: Iterable[Row], table: _Table, folded: frozenset[str]) -> list[Item]:
    branches: dict[str, list[Row]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: (row.name, row.kind, row.tags)):
        branches[branch_of(row.name)].append(row)
    items = []
    for branch in sorted(branches):
        if branch:
            items.append(_branch(branch, len(branches[branch]), branch in folded))
        if branch not in folded:
            items += [table.item(row, branch) for row in branches[branch]]
    return items


def _branch(branch: str, count: int, folded: bool) -> Item:
    line = [(f"{'▸' if folded else '▾'} {branch}", "bold"), (f"  {count} series", "dim")]
    return Item(branch, 1, lambda: [line])


def _cells(columns: Sequence[Column], adjust: Callable[[str, int], str]) -> str:
    return _GAP.join(adjust(column.title, column.width) for column in columns) + _GAP


@dataclass(frozen=True, slots=True)
class _Table:
    """Draws rows in these columns, with this room for name and tags."""

    before: tuple[Column, ...]
    behind: tuple[Column, ...]
    room: int
    apart: dict[tuple[str, str, tuple[str, ...]], tuple[str, ...]]

    def item(self, row: Row, branch: str) -> Item:
        """A row; its name continues that of its branch."""
        name = row.name[len(branch) + 1 :] if branch else row.name
        tags = self.apart[row.name, row.kind, row.tags]
        simple = len(name) + sum(len(tag) + 1 for tag in tags) <= self.room
        labels = [" ".join((name, *tags))] if simple else self._wrapped(name, tags)
        header: Line | None = [(f"▾ {branch}", "bold")] if branch else None
        key = (row.name, row.kind, row.tags)
        return Item(key, len(labels), lambda: self._draw(row, name, labels), header, lambda width: detail(row, width))

    def _wrapped(self, name: str, tags: Sequence[str]) -> list[str]:
        first, *rest = name.split(".")
        words = [first, *(f".{part}" for part in rest), *(f" {tag}" for tag in tags)]
        return wrap(words, self.room, self.room, _INDENT)

    def _draw(self, row: Row, name: str, labels: list[str]) -> list[Line]:
        """The label begins with the name, which may take several lines."""
        style = severity(row)
        values = [(f"{column.cell(row):>{column.width}}{_GAP}", "") for column in self.before]
        values[0] = (values[0][0], style or "bold")
        behind = [(f"{_GAP}{column.cell(row):>{column.width}}", "dim") for column in self.behind]
        left = sum(len(text) for text, _ in values)
        lines: list[Line] = []
        named = 0
        for label in labels:
            text = label.lstrip() if lines else label
            part = max(0, min(len(text), len(name) - named))
            spans: Line = [(" " * (len(label) - len(text)), ""), (text[:part], style), (text[part:], "key")]
            named += part
            padding = [(" " * (self.room - len(label)), "")]
            lines.append([*values, *spans, *padding, *behind] if not lines else [(" " * left, ""), *spans])
        return lines


def detail(row: Row, width: int) -> list[Line]:
    """Everything that is known about one series."""
    unit = unit_of(row.name, row.kind)
    words = [f" {tag}" for tag in row.tags] or [" no tags"]
    kind = f"{row.kind}{f' in {unit}' if unit else ''}"
    facts = [] if row.rate is None else [f"{number(row.rate)}/s"]
    if row.figures is not None:
        facts += [f"n {number(row.figures.n)}"]
        facts += [f"{key} {figure(getattr(row.figures, key), unit)}" for key in ("mean", "p50", "p95", "max")]
    else:
        facts.append(f"{'total ' if row.kind == 'count' else ''}{figure(row.value, unit)}")
    facts += [f"{time_of(row.age) if row.age >= 1 else '0 s'} ago", sparkline(row.history, min(20, width // 3)).strip()]
    first, *parts = row.name.split(".")
    lines: list[Line] = [[(line, "bold")] for line in wrap([first, *(f".{one}" for one in parts)], width, width, 2)]
    lines += [[(line, "key")] for line in wrap([kind, *words], width, width, 2)]
    lines += [[(line, "")] for line in wrap([facts[0], *(f"  {one}" for one in facts[1:])], width, width, 2)]
    return lines
