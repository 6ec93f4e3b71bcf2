"""The board in a terminal, or in a browser through textual-serve. The only file that imports textual and rich.

Handles keys, the mouse and a timer; view.py draws the plain lines. Everything runs in the thread that calls `run`,
which is the main thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, ClassVar, Final

from ..errors import MissingExtra
from ..profiles import KpiTargets
from .session import Source
from .text import Line
from .view import FLASH, SCREENS, View

try:
    from rich.segment import Segment
    from rich.style import Style
    from textual import events
    from textual.app import App, ComposeResult
    from textual.binding import Binding, BindingType
    from textual.geometry import Size
    from textual.strip import Strip
    from textual.widget import Widget
    from textual.widgets import Input
except ImportError as _missing:
    raise MissingExtra("textual", "watch") from _missing

_EVERY: Final = 1.0  # seconds between two snapshots
_SOON: Final = 0.2  # seconds until the first one
_BACKGROUND: Final = "#101418"
_STYLES: Final = {
    "": Style(color="#d8dee9"),
    "dim": Style(color="#8b95a5"),
    "bold": Style(color="#ffffff", bold=True),
    "head": Style(color="#8b95a5", bold=True),
    "tab": Style(color="#101418", bgcolor="#88c0d0", bold=True),
    "key": Style(color="#88c0d0"),
    "good": Style(color="#a3d977"),
    "warn": Style(color="#f0c674"),
    "bad": Style(color="#ff7b72", bold=True),
    "cursor": Style(bgcolor="#2e3a48"),
    "flash": Style(reverse=True, bold=True),
}


class Lines(Widget, can_focus=True):
    """Displays the view's lines."""

    DEFAULT_CSS: ClassVar[str] = "Lines { width: 1fr; height: 1fr; }"

    def __init__(self, view: View) -> None:
        super().__init__()
        self._view = view
        self._drawn: list[Line] = []
        self._size = Size(0, 0)
        self._base = Style(bgcolor=_BACKGROUND)

    def redraw(self) -> None:
        """Redraw after the view has changed."""
        self._drawn, self._size = self._view.draw(self.size.width, self.size.height), self.size
        self.refresh()

    def render_line(self, y: int) -> Strip:
        """One line of the screen."""
        if self._size != self.size:
            self._drawn, self._size = self._view.draw(self.size.width, self.size.height), self.size
        spans = self._drawn[y] if y < len(self._drawn) else []
        strip = Strip([Segment(text, self._base + _style(names)) for text, names in spans if text])
        last = self._base + _style("cursor" if spans and "cursor" in spans[-1][1] else "")
        return strip.adjust_cell_length(self.size.width, last)


def _style(names: str) -> Style:
    style = _STYLES[""]
    for name in names.split():
        style += _STYLES[name]
    return style


class Board(App[None]):
    """The application. `source` provides the snapshots; `over`, called before each of them, returns True to end it."""

    ENABLE_COMMAND_PALETTE: ClassVar[bool] = False
    CSS: ClassVar[str] = f"""
    Screen {{ background: {_BACKGROUND}; }}
    Input {{ height: 1; border: none; dock: bottom; display: none; }}
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", "quit"),
        Binding("ctrl+c,ctrl+q", "quit", "quit", priority=True),
        *(Binding(str(index), f"screen('{name}')", name) for index, name in enumerate(SCREENS, 1)),
        Binding("tab", "step(1)", "next screen", priority=True),  # otherwise Tab moves the focus
        Binding("shift+tab", "step(-1)", "previous screen", priority=True),
        Binding("right,l", "step(1)", "next screen"),
        Binding("left,h", "step(-1)", "previous screen"),
        Binding("down,j", "move(1)", "down"),
        Binding("up,k", "move(-1)", "up"),
        Binding("pagedown,space", "move_page(1)", "page down"),
        Binding("pageup", "move_page(-1)", "page up"),
        Binding("home,g", "move(-1000000)", "top"),
        Binding("end,G", "move(1000000)", "end"),
        Binding("enter", "fold", "open or close a branch"),
        Binding("slash", "filter", "filter"),
        Binding("escape", "unfilter", "clear the filter"),
        Binding("s", "sort", "sort"),
        Binding("p", "pause", "pause"),
        Binding("c", "clear", "clear"),
    ]

    def __init__(self, source: Source, targets: KpiTargets, over: Callable[[], bool] | None = None) -> None:
        super().__init__()
        self.title: str = "wsnova-statsd watch"
        self.view: View = View(targets, time.monotonic)
        self._source = source
        self._over = over
        self._lines = Lines(self.view)
        self._input = Input(placeholder="filter: words found in a name or a tag", id="filter")

    def compose(self) -> ComposeResult:
        """The lines, and the filter field, which is hidden until `/` is pressed."""
        yield self._lines
        yield self._input

    def on_mount(self) -> None:
        """Start taking snapshots."""
        self._lines.focus()
        self.set_timer(_SOON, self._look)
        self.set_interval(_EVERY, self._look)

    def _look(self) -> None:
        if self._over is not None and self._over():
            self.exit()
            return
        if not self.view.paused:
            self.view.update(self._source.snapshot())
            if self.view.flashing:
                self.set_timer(FLASH, self._lines.redraw)
            self._lines.redraw()

    # -- keys ---------------------------------------------------------------------------------------------------------

    def action_screen(self, name: str) -> None:
        """Go to a screen."""
        self.view.show(name)
        self._lines.redraw()

    def action_step(self, by: int) -> None:
        """Go to a neighbouring screen."""
        self.view.step(by)
        self._lines.redraw()

    def action_move(self, by: int) -> None:
        """Move the selection by rows."""
        self.view.move(by)
        self._lines.redraw()

    def action_move_page(self, by: int) -> None:
        """Move the selection by pages."""
        self.view.move_page(by)
        self._lines.redraw()

    def action_fold(self) -> None:
        """Open or close a branch."""
        self.view.fold()
        self._lines.redraw()

    def action_sort(self) -> None:
        """Sort by the next key."""
        self.view.sort_next()
        self._lines.redraw()

    def action_pause(self) -> None:
        """Pause or resume."""
        self.view.paused = not self.view.paused
        self._look()
        self._lines.redraw()

    def action_clear(self) -> None:
        """Start over with no figures."""
        self._source.clear()
        self.view.cleared()
        self._look()

    def action_filter(self) -> None:
        """Show the filter field."""
        self._input.display = True
        self._input.focus()

    def action_unfilter(self) -> None:
        """Clear the filter and hide its field."""
        self._input.value = self.view.needle = ""
        self._end_filter()

    def on_input_changed(self, changed: Input.Changed) -> None:
        """Apply the filter while it is typed."""
        self.view.needle = changed.value
        self._lines.redraw()

    def on_input_submitted(self, _: Input.Submitted) -> None:
        """Keep the filter and return the focus to the lines."""
        self._end_filter()

    def _end_filter(self) -> None:
        self._input.display = False
        self._lines.focus()
        self._lines.redraw()

    def on_mouse_scroll_down(self, _: events.MouseScrollDown) -> None:
        """The mouse wheel."""
        self.action_move(3)

    def on_mouse_scroll_up(self, _: events.MouseScrollUp) -> None:
        """The mouse wheel."""
        self.action_move(-3)


def run(source: Source, targets: KpiTargets, over: Callable[[], bool] | None = None, **options: Any) -> None:
    """Show the board until the user quits or `over()` returns True. Call it in the main thread."""
    Board(source, targets, over).run(**options)
