"""The state of the board - screen, selection, filter, order, pause - drawn as plain lines.

The terminal (board.py) passes keys and snapshots in and displays the lines. Used by one thread; no I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from ..profiles import KpiTargets
from . import clients_screen, list_screens, metrics_screen
from .clients import clients_of
from .figures import figure, number, time_of
from .lint import remarks_of
from .snapshot import Snapshot
from .text import SEVERITIES, Item, Line, Page

SCREENS: Final = ("metrics", "clients", "events", "lint", "output")
FLASH: Final = 2.0  # seconds for which an alert replaces the status
_LATE: Final = 1.0  # seconds; a longer delay is shown
_SHARE: Final = 0.6  # of the height, at most, for the details of the selected row
_KEYS: Final = (("/", "filter"), ("s", "sort"), ("p", "pause"), ("c", "clear"), ("q", "quit"))


class View:
    """What the board shows. KPIs are compared with `targets`; `clock` returns monotonic seconds."""

    def __init__(self, targets: KpiTargets, clock: Callable[[], float]) -> None:
        self.screen: str = "metrics"
        self.needle: str = ""
        self.sort: str = metrics_screen.SORTS[0]
        self.paused: bool = False
        self._targets = targets
        self._clock = clock
        self._snapshot: Snapshot | None = None
        self._folded: frozenset[str] = frozenset()
        self._chosen: dict[str, tuple[object, int]] = {}  # by screen: the item's key, and its last position
        self._tops: dict[str, int] = {}
        self._page = Page()
        self._seen = -1  # the number of the last event that was seen
        self._flash: tuple[float, Line] | None = None
        self._rows_shown = 1

    # -- what comes in ------------------------------------------------------------------------------------------------

    @property
    def screens(self) -> tuple[str, ...]:
        """The available screens; `output` only if a command was started."""
        has_output = self._snapshot is not None and self._snapshot.output is not None
        return SCREENS if has_output else SCREENS[:-1]

    @property
    def flashing(self) -> bool:
        """Whether an alert is shown in place of the status."""
        return self._flash is not None and self._clock() < self._flash[0]

    def update(self, snapshot: Snapshot) -> None:
        """Show this snapshot, unless the board is paused. New alerts in it flash once."""
        if self.paused:
            return
        self._snapshot = snapshot
        new = [one for one in snapshot.events if one.number > self._seen]
        alarms = [one for one in new if one.alert_type in ("error", "warning")]
        if self._seen >= 0 and alarms:
            last = alarms[-1]
            self._flash = (self._clock() + FLASH, [(f" {last.title} ", f"{SEVERITIES[last.alert_type]} flash")])
        self._seen = max([0, self._seen, *(one.number for one in snapshot.events)])

    def show(self, screen: str) -> None:
        """Go to a screen, if it is available."""
        if screen in self.screens:
            self.screen = screen

    def step(self, by: int) -> None:
        """Go to the next screen, or the previous one."""
        self.screen = self.screens[(self.screens.index(self.screen) + by) % len(self.screens)]

    def sort_next(self) -> None:
        """Sort the metrics by the next key."""
        self.sort = metrics_screen.SORTS[(metrics_screen.SORTS.index(self.sort) + 1) % len(metrics_screen.SORTS)]

    def fold(self) -> None:
        """Close or open the selected branch."""
        key = self._chosen.get(self.screen, (None, 0))[0]
        if isinstance(key, str) and self.screen == "metrics":
            self._folded ^= {key}

    def move(self, by: int) -> None:
        """Move the selection down by this many items."""
        index = self._index(self._page.items) + by
        index = max(0, min(index, len(self._page.items) - 1))
        if self._page.items:
            self._chosen[self.screen] = (self._page.items[index].key, index)

    def move_page(self, by: int) -> None:
        """Move the selection down by this many pages."""
        self.move(by * max(1, self._rows_shown - 1))

    def cleared(self) -> None:
        """Forget the selections and scroll positions, after a clear."""
        self._chosen.clear()
        self._tops.clear()

    # -- what is drawn ------------------------------------------------------------------------------------------------

    def draw(self, width: int, height: int) -> list[Line]:
        """The whole board, in exactly `height` lines; a line may be wider than `width`, and is cut off there."""
        lines = [self._tabs(width), self._status(width)]
        bottom = [self._keys(width)]
        self._page = page = self._page_of(width)
        room = height - len(lines) - len(bottom) - len(page.heading)
        detail = self._detail(width, room) if page.items else []
        room = max(0, room - len(detail))
        body = self._list(page, room) if page.items else [[(page.empty, "dim")]]
        body = body[:room] + [[] for _ in range(room - len(body))]
        return [*lines, *page.heading, *body, *detail, *bottom][:height]

    def _page_of(self, width: int) -> Page:
        snapshot = self._snapshot
        if snapshot is None:
            return Page(empty="waiting for the first figures")
        match self.screen:
            case "clients":
                return clients_screen.page(clients_of(snapshot, self._targets), self.needle, width)
            case "events":
                return list_screens.events_page(snapshot, self.needle, width)
            case "lint":
                return list_screens.lint_page(remarks_of(snapshot), self.needle, width)
            case "output":
                return list_screens.output_page(snapshot, self.needle, width)
        return metrics_screen.page(snapshot.rows, self.needle, self.sort, self._folded, width)

    def _index(self, items: Sequence[Item]) -> int:
        """The selected item: by its key, otherwise near its last position; at first the last line of an output."""
        key, before = self._chosen.get(self.screen, (None, len(items) if self.screen == "output" else 0))
        found = next((index for index, one in enumerate(items) if one.key == key), None)
        return max(0, min(before, len(items) - 1)) if found is None else found

    def _detail(self, width: int, room: int) -> list[Line]:
        chosen = self._page.items[self._index(self._page.items)]
        if chosen.detail is None:
            return []
        rule: Line = [("─" * width, "dim")]
        lines, most = [rule, *chosen.detail(width)], max(0, int(room * _SHARE))
        if len(lines) <= most:
            return lines
        return [*lines[: most - 1], [("... and more on a taller terminal", "dim")]] if most else []

    def _list(self, page: Page, room: int) -> list[Line]:
        """As many items around the selected one as fit."""
        chosen = self._index(page.items)
        top = self._scrolled(page.items, chosen, room)
        self._tops[self.screen] = top
        lines: list[Line] = []
        self._rows_shown = 0
        header = page.items[top].header
        if header is not None:
            lines.append(header)
        for index in range(top, len(page.items)):
            if len(lines) >= room or (index > chosen and len(lines) + page.items[index].height > room):
                break  # a row is shown as a whole, or not at all
            drawn = page.items[index].draw()
            lines += [_chosen(line) for line in drawn] if index == chosen else drawn
            self._rows_shown += 1
        return lines

    def _scrolled(self, items: Sequence[Item], chosen: int, room: int) -> int:
        """The first item to draw, so that the selected item is shown as a whole and the list moves little."""
        top = min(self._tops.get(self.screen, 0), chosen)
        used = sum(one.height for one in items[top : chosen + 1])
        while top < chosen and used + (items[top].header is not None) > room:
            used -= items[top].height
            top += 1
        return top

    def _tabs(self, width: int) -> Line:
        blank = "" if width < 50 else " "
        line: Line = []
        for index, name in enumerate(self.screens, 1):
            line.append((f"{index}{blank}{name}", "tab" if name == self.screen else "head"))
            line.append((f" {blank}", "head"))
        return line

    def _status(self, width: int) -> Line:
        if self._flash is not None and self.flashing:
            return self._flash[1]
        snapshot = self._snapshot
        if snapshot is None:
            return [("", "")]
        traffic = snapshot.traffic
        line: Line = [("PAUSED ", "warn")] if self.paused else []
        if self.needle:
            line.append((f"/{self.needle} ", "key"))
        line.append((f"{number(traffic.lines_per_s)} lines/s", "bold"))
        if traffic.dropped is None:
            line.append(("  drops unknown", "dim"))
        else:
            line.append((f"  {number(traffic.dropped)} dropped", "bad" if traffic.dropped else "dim"))
        if traffic.behind > _LATE:
            line.append((f"  {time_of(traffic.behind)} behind", "bad"))
        if traffic.not_forwarded:
            line.append((f"  {number(traffic.not_forwarded)} not forwarded", "bad"))
        if snapshot.note:
            line.append((f"  {snapshot.note}", "warn"))
        line.append((f"  {number(traffic.lines)} lines in {figure(traffic.bytes, 'bytes')}", "dim"))
        line.append((f"  {snapshot.source}", "dim"))
        return line

    def _keys(self, width: int) -> Line:
        screens = f"1-{len(self.screens)}"
        line: Line = [(screens, "tab"), (" screens  ", "dim")] if width >= 50 else []
        for key, what in _KEYS:
            label = f"{what}:{self.sort}" if what == "sort" and width >= 60 else what
            line += [(key, "tab"), (f" {label}  " if width >= 50 else f"{label} ", "dim")]
        return line


def _chosen(line: Line) -> Line:
    return [(text, f"{style} cursor".strip()) for text, style in line]
