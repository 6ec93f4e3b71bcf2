"""`python -m tests.pictures`: the live view over the demo, drawn at three sizes into examples/ for the README.

A real run, so the figures differ from one picture to the next. Needs the extras `demo` and `watch`.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from pathlib import Path
from typing import Final

from wsnova_statsd.cli.demo_run import Demo
from wsnova_statsd.profiles import FINANCIAL
from wsnova_statsd.watch.board import Board
from wsnova_statsd.watch.snapshot import Snapshot

EXAMPLES: Final = Path(__file__).resolve().parents[1] / "examples"
SIZES: Final = ((80, 24), (40, 15), (200, 50))
_SECONDS: Final = 14.0
_KEYS: Final = ("slash", *"message", "enter", "pagedown")


class Still:
    """A source that shows one moment for ever."""

    def __init__(self, moment: Snapshot) -> None:
        self._moment = moment

    def snapshot(self) -> Snapshot:
        return self._moment

    def clear(self) -> None:
        pass


def moment() -> Snapshot:
    """The demo after everything in it has happened."""
    demo = Demo(_SECONDS, FINANCIAL, None)
    almost = threading.Event()
    seen: list[Snapshot] = []

    def look(at: object) -> None:
        if getattr(at, "elapsed", 0.0) > _SECONDS - 1 and not almost.is_set():
            almost.set()
            seen.append(demo.watched.snapshot())

    demo.run(look, lambda: False)
    return seen[0]


async def draw(shown: Snapshot, size: tuple[int, int]) -> str:
    """The board's screen of metrics at this size, as SVG."""
    app = Board(Still(shown), FINANCIAL.kpi_targets)
    async with app.run_test(size=size) as pilot:
        await pilot.pause(0.5)
        await pilot.press(*_KEYS)
        await pilot.pause(0.2)
        return app.export_screenshot(title="wsnova-statsd watch")


def main(folder: Path = EXAMPLES) -> int:
    logging.getLogger("wsnova_statsd").addHandler(logging.NullHandler())  # the demo loses its link on purpose
    shown = moment()
    for columns, rows in SIZES:
        path = folder / f"watch_{columns}x{rows}.svg"
        path.write_text(asyncio.run(draw(shown, (columns, rows))), encoding="utf-8")
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
