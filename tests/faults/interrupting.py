"""Code that comes between the lines of other code, as that of a signal's handler does: by a trace function, so that
every line is interrupted once.

A trace function may raise where a real signal's handler cannot, as the interpreter looks for signals when a call has
returned, when a function begins and when a loop turns: at the line of a `with` statement when its block has ended and
the lock is not released yet, at a `try` itself, at the first step of a `finally`, and after a constant that was
assigned. What is raised there proves nothing, so `raising` leaves such lines out.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Any

import wsnova_statsd

PACKAGE = str(Path(wsnova_statsd.__file__).parent)
GENERATED = "<wsnova_statsd"  # the metrics' handlers

Act = Callable[[], object]


def _is_ours(frame: FrameType) -> bool:
    return frame.f_code.co_filename.startswith((PACKAGE, GENERATED))


def out_of_reach(frame: FrameType) -> bool:
    """Whether no real signal's handler can raise before the line that the frame is at."""
    return frame.f_lineno in _lines_out_of_reach(frame.f_code.co_filename)


@cache
def _lines_out_of_reach(file: str) -> frozenset[int]:
    if not file.startswith(PACKAGE):
        return frozenset()
    lines = set[int]()
    for node in ast.walk(ast.parse(Path(file).read_text())):
        if isinstance(node, ast.With):
            lines.add(node.lineno)
        if isinstance(node, ast.Try):
            lines.add(node.lineno)
        if isinstance(node, ast.Try) and node.finalbody:
            step = node.finalbody[0]
            lines.add(step.lineno)
            while isinstance(step, ast.If | ast.Try):
                step = step.body[0]
                lines.add(step.lineno)
        body = getattr(node, "body", ())
        for step, after in pairwise(body if isinstance(body, list) else ()):
            if isinstance(step, ast.Assign) and isinstance(step.value, ast.Constant):
                lines.add(after.lineno)
    return frozenset(lines)


def _traced(work: Act, at_line: Callable[[FrameType], object]) -> None:
    """Run `work`, and `at_line(frame)` before each line of the package's that it runs in this thread."""

    def local(frame: FrameType, event: str, argument: object) -> Any:
        if event == "line":
            at_line(frame)
        return local

    def every(frame: FrameType, event: str, argument: object) -> Any:
        return local if _is_ours(frame) else None

    before = sys.gettrace()
    sys.settrace(every)
    try:
        work()
    finally:
        sys.settrace(before)


def files_of(work: Act) -> list[str]:
    """The file of each line of the package that `work` runs."""
    seen: list[str] = []
    _traced(work, lambda frame: seen.append(frame.f_code.co_filename))
    return seen


def lines_of(work: Act) -> int:
    """How many lines of the package `work` runs."""
    return len(files_of(work))


def re_entering(work: Act, act: Act, line: int) -> bool:
    """Run `work`, and `act` before its line of this number. False if it has no such line."""
    seen = [0]

    def enter(frame: FrameType) -> None:
        seen[0] += 1
        if seen[0] == line:
            before = sys.gettrace()
            sys.settrace(None)
            try:
                act()
            finally:
                sys.settrace(before)

    _traced(work, enter)
    return seen[0] >= line


def raising(work: Act, error: BaseException, line: int) -> bool:
    """Run `work`, and raise `error` before its line of this number. False if it has no such line or may not there."""
    seen = [0]

    def fail(frame: FrameType) -> None:
        seen[0] += 1
        if seen[0] == line and not out_of_reach(frame):
            raise error

    try:
        _traced(work, fail)
    except type(error) as raised:
        if raised is not error:
            raise
        return True
    return False
