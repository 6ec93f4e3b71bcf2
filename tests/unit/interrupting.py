"""A signal's handler at every line: runs a call over and over, each time interrupted one line later."""

import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

_LIMIT = 50.0  # seconds; a call that takes longer hangs, also on a busy machine


def at_every_line(part: str, make: Callable[[], tuple[Callable[[], object], Callable[[], object]]], check: Any) -> int:
    """`make()` gives a call and what interrupts it, once, before a line of the files whose path holds `part`; then
    `check()`. Returns how many lines there were. Runs in a separate thread, so that a call that hangs is noticed."""
    lines, faults = 0, []

    def run() -> None:
        nonlocal lines
        try:
            while True:
                call, interrupt = make()
                if not _interrupted(part, call, interrupt, lines):
                    return
                check(lines)
                lines += 1
        except BaseException as error:
            faults.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(_LIMIT)
    assert not thread.is_alive(), f"interrupted before line {lines}, the call hangs"
    if faults:
        raise AssertionError(f"interrupted before line {lines}") from faults[0]
    return lines


def _interrupted(part: str, call: Callable[[], object], interrupt: Callable[[], object], number: int) -> bool:
    """Make the call, with `interrupt()` before its line of this number, from 0. False if it has fewer."""
    left, done = number, False

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal left, done
        if part not in frame.f_code.co_filename:
            return None
        if event == "line" and not done:
            left -= 1
            if left < 0:
                done = True
                sys.settrace(None)
                interrupt()
        return None if done else trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return done
