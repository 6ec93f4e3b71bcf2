"""The board in textual, driven by its own pilot: keys, filter, pause, clear, and what is drawn at three sizes."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from textual.pilot import Pilot

from tests.unit.watching import snapshot
from wsnova_statsd.errors import MissingExtra
from wsnova_statsd.profiles import STANDARD
from wsnova_statsd.watch.board import Board, Lines
from wsnova_statsd.watch.snapshot import Snapshot

LINES = [
    *(f"websocket.message.received:{number}|c|#client:md-1,type:t{number}" for number in range(1, 30)),
    "websocket.connection.up:1|g|#client:md-1,worker:0",
    "shop.orders:3|c",
]


class Source:
    """Returns the lines that a test sets."""

    def __init__(self, *lines: str) -> None:
        self.lines = list(lines)
        self.cleared = 0

    def snapshot(self) -> Snapshot:
        return snapshot(*self.lines)

    def clear(self) -> None:
        self.cleared += 1
        self.lines.clear()


Drive = Callable[[Board, Pilot[None]], Awaitable[None]]


def _drive(
    source: Source, drive: Drive, size: tuple[int, int] = (80, 24), over: Callable[[], bool] | None = None
) -> None:
    async def run() -> None:
        app = Board(source, STANDARD.kpi_targets, over)
        async with app.run_test(size=size) as pilot:
            await _until(pilot, lambda: "lines/s" in _screen(app))
            await drive(app, pilot)

    asyncio.run(run())


async def _until(pilot: Pilot[None], condition: Callable[[], bool]) -> None:
    for _ in range(500):
        if condition():
            return
        await pilot.pause(0.02)
    raise AssertionError("it never came")


def _screen(app: Board) -> str:
    """What the terminal shows."""
    shown = app.query_one(Lines)
    return "\n".join(shown.render_line(y).text.rstrip() for y in range(shown.size.height))


@pytest.mark.parametrize("size", [(80, 24), (40, 15), (200, 50)])
def test_the_whole_terminal_is_drawn_and_no_line_is_wider(size: tuple[int, int]) -> None:
    async def drive(app: Board, pilot: Pilot[None]) -> None:
        shown = app.query_one(Lines)
        assert shown.size == size
        assert {shown.render_line(y).cell_length for y in range(size[1])} == {size[0]}
        assert "1 metrics" in _screen(app) or "1metrics" in _screen(app)
        assert "websocket.connection" in _screen(app)

    _drive(Source(*LINES), drive, size)


def test_digits_and_tab_go_to_the_screens() -> None:
    async def drive(app: Board, pilot: Pilot[None]) -> None:
        for key, screen in (("2", "clients"), ("3", "events"), ("4", "lint"), ("tab", "metrics"), ("left", "lint")):
            await pilot.press(key)
            assert app.view.screen == screen
        await pilot.press("2")
        assert "● md-1  connected" in _screen(app)

    _drive(Source(*LINES), drive)


def test_a_filter_is_typed_kept_and_removed() -> None:
    """While it is typed, letters are no keys."""

    async def drive(app: Board, pilot: Pilot[None]) -> None:
        await pilot.press("slash", *"type:t7 q")
        await pilot.press("backspace", "backspace", "enter")
        assert app.view.needle == "type:t7"
        assert "1 series" in _screen(app)
        assert "shop" not in _screen(app)
        await pilot.press("s")
        assert app.view.sort == "value"
        await pilot.press("slash", "escape")
        assert app.view.needle == ""
        assert "type:t29" in _screen(app)

    _drive(Source(*LINES), drive)


def test_paused_it_does_not_change_and_goes_on_with_what_is_new() -> None:
    source = Source("a.x:1|c")

    async def drive(app: Board, pilot: Pilot[None]) -> None:
        await pilot.press("p")
        source.lines.append("b.x:1|c")
        await pilot.pause(1.3)
        assert "PAUSED" in _screen(app)
        assert "▾ b" not in _screen(app)
        await pilot.press("p")
        await _until(pilot, lambda: "▾ b" in _screen(app))

    _drive(source, drive)


def test_clear_begins_anew() -> None:
    source = Source(*LINES)

    async def drive(app: Board, pilot: Pilot[None]) -> None:
        await pilot.press("c")
        assert source.cleared == 1
        assert "no metric has arrived yet" in _screen(app)

    _drive(source, drive)


def test_new_metrics_appear_without_a_key() -> None:
    source = Source("a.x:1|c")

    async def drive(app: Board, pilot: Pilot[None]) -> None:
        source.lines.append("late.x:1|c")
        await _until(pilot, lambda: "▾ late" in _screen(app))

    _drive(source, drive)


def test_keys_and_the_wheel_choose_rows_and_enter_closes_a_branch() -> None:
    async def drive(app: Board, pilot: Pilot[None]) -> None:
        await pilot.press("end")
        assert "type:t9" in _screen(app).splitlines()[-3]
        await pilot.press("home", "enter")
        assert "▸ shop" in _screen(app)
        await pilot.press("enter", "pagedown", "j", "k", "pageup", "pageup")
        assert "▾ shop" in _screen(app)

    _drive(Source(*LINES), drive)


def test_it_follows_the_size_of_the_terminal() -> None:
    async def drive(app: Board, pilot: Pilot[None]) -> None:
        await pilot.resize_terminal(40, 15)
        await _until(pilot, lambda: _screen(app).startswith("1metrics"))

    _drive(Source(*LINES), drive)


@pytest.mark.parametrize("key", ["q", "ctrl+c", "ctrl+q"])
def test_a_key_quits_it(key: str) -> None:
    async def drive(app: Board, pilot: Pilot[None]) -> None:
        await pilot.press(key)
        await _until(pilot, lambda: not app.is_running)

    _drive(Source(), drive)


def test_it_ends_when_what_it_shows_is_over() -> None:
    over: list[bool] = []

    async def drive(app: Board, pilot: Pilot[None]) -> None:
        over.append(True)
        await _until(pilot, lambda: not app.is_running)

    _drive(Source(), drive, over=lambda: bool(over))


def test_a_metric_with_markup_and_wide_letters_is_shown_as_it_is() -> None:
    async def drive(app: Board, pilot: Pilot[None]) -> None:
        assert "[bold]x[/bold]" in _screen(app)
        assert "\u4e16\u754c" in _screen(app)
        shown = app.query_one(Lines)
        assert {shown.render_line(y).cell_length for y in range(24)} == {80}

    _drive(Source("[bold]x[/bold]:1|c", "\u4e16\u754c:1|c"), drive)


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib
    import sys

    for name in [one for one in sys.modules if one == "textual" or one.startswith("textual.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "textual", None)
    monkeypatch.delitem(sys.modules, "wsnova_statsd.watch.board")
    with pytest.raises(MissingExtra, match=r"pip install 'wsnova-statsd\[watch\]'"):
        importlib.import_module("wsnova_statsd.watch.board")
