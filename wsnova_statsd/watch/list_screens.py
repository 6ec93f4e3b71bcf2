"""The list screens: service checks and events with their text, what lint finds, the command's output.

Pure, any thread.
"""

from __future__ import annotations

import time

from .lint import Remark
from .snapshot import SeenCheck, SeenEvent, Snapshot
from .text import SEVERITIES, STATUSES, Item, Line, Page, item, matches, paragraph, wrap

_INDENT = 2
_URGENCY = (2, 1, 3, 0)  # statuses of checks: critical first, ok last


def events_page(snapshot: Snapshot, needle: str, width: int) -> Page:
    """Service checks with their latest status, the worst first, then events, the latest first."""
    checks = [one for one in snapshot.checks if matches(needle, one.name, one.message, *one.tags)]
    events = [one for one in snapshot.events if matches(needle, one.title, one.text, one.alert_type, *one.tags)]
    items = [
        _check(one, width) for one in sorted(checks, key=lambda one: (_URGENCY.index(one.status), one.name, one.tags))
    ]
    items += [_event(one, width) for one in reversed(events)]
    return Page([], items, f"no event or check contains {needle!r}" if needle else "no event or check has arrived yet")


def _check(check: SeenCheck, width: int) -> Item:
    status, style = STATUSES[check.status]
    words = [f" {check.name}", *(f" {tag}" for tag in check.tags)]
    first, *rest = wrap(words, width - len(status), width, _INDENT)
    lines: list[Line] = [[(status, style), (first, "")], *([(line, "key")] for line in rest)]
    lines += paragraph(check.message, width, "dim", _INDENT) if check.message else []
    return item(("check", check.name, check.tags), lines)


def _event(event: SeenEvent, width: int) -> Item:
    style = SEVERITIES.get(event.alert_type, "")
    at = time.strftime("%H:%M:%S", time.localtime(event.at))
    words = [f" {word}" for word in event.title.split()]
    first, *rest = wrap(words, width - len(at), width, _INDENT)
    lines: list[Line] = [[(at, "dim"), (first, style or "bold")], *([(line, style or "bold")] for line in rest)]
    lines += paragraph(event.text, width, "", _INDENT) if event.text else []
    if event.tags:
        tags = wrap([f"  {event.tags[0]}", *(f" {tag}" for tag in event.tags[1:])], width, width, _INDENT)
        lines += [[(line, "key")] for line in tags]
    return item(("event", event.number), lines)


def lint_page(remarks: list[Remark], needle: str, width: int) -> Page:
    """The findings of lint, faults first."""
    shown = [one for one in remarks if matches(needle, one.rule, one.subject, one.text)]
    items = []
    for number, one in enumerate(shown):
        words = [one.rule, f" {one.subject}:", *(f" {word}" for word in one.text.split())]
        style = "bad" if one.fault else "dim"
        first, *rest = wrap(words, width, width, _INDENT)
        lines: list[Line] = [[(one.rule, style), (first[len(one.rule) :], "")], *([(line, "")] for line in rest)]
        items.append(item((one.rule, one.subject, number), lines))
    return Page([], items, f"no finding of lint contains {needle!r}" if needle else "lint finds no fault")


def output_page(snapshot: Snapshot, needle: str, width: int) -> Page:
    """The command's output."""
    output = snapshot.output or ()
    lines = [line for line in output if matches(needle, line)]
    items = [item(number, _as_it_is(line, width)) for number, line in enumerate(lines)]
    return Page([], items, f"no line contains {needle!r}" if needle else "the command has written nothing yet")


def _as_it_is(line: str, width: int) -> list[Line]:
    """The line with its spaces, in pieces that fit."""
    return [[(line[start : start + width], "")] for start in range(0, max(1, len(line)), max(1, width))]
