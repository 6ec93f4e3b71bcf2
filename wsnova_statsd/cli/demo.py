"""`wsnova-statsd demo`: a feed, a client and the Datadog side on this machine, with a lost link and a slow handler.

This file is the command: its arguments, Ctrl-C, and what is printed at the end. Threads: the main thread only;
demo_run names those of the parts. What needs an extra is imported when the command runs.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from .. import __version__
from ..errors import ConfigurationError, MissingExtra
from ..profiles import PROFILES
from ..reporters import settings
from ..watch.text import printable
from .addresses import agents_socket, host_and_port
from .demo_lines import Lines
from .parser import DONE, FAILED, add_command, choice

if TYPE_CHECKING:
    from .demo_run import Demo
    from .demo_summary import Summary

_SHORTEST: Final = 5.0  # seconds in which both incidents happen with any profile
_LONGEST: Final = 86_400.0


def register(subparsers: Any) -> None:
    """Add the command's parser."""
    parser = add_command(
        subparsers,
        "demo",
        "watch metrics and an alert arrive, without a feed or a Datadog account",
        "Runs a feed, a client and a stand-in for the Datadog Agent on this machine. The feed drops the connection "
        "once, the client's handler is slow once.",
        examples={
            "wsnova-statsd demo": "run it for 15 seconds",
            "wsnova-statsd demo --seconds 5 --profile standard --json": "five seconds, another profile, as JSON",
            "wsnova-statsd demo --to localhost:8125": "send the metrics to the Agent of this machine",
        },
        statuses={DONE: "all numbers add up", FAILED: "they do not, or the demo could not run"},
    )
    parser.add_argument("--seconds", type=_seconds, default=15.0, metavar="N", help="how long, from 5; default 15")
    profile = choice("the profile", PROFILES)
    parser.add_argument("--profile", type=profile, default="financial", metavar="P", help=", ".join(PROFILES))
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--to", type=_address, metavar="HOST:PORT", help="send to a real Agent over UDP")
    where.add_argument("--socket", type=_socket, metavar="PATH", help="send to a real Agent over its Unix socket")
    parser.add_argument("--json", action="store_true", help="print one JSON document and nothing else")


def run(args: argparse.Namespace) -> int:
    """Run the demo; 0 if its numbers add up, otherwise 1. Raises MissingExtra, ConfigurationError, ConnectionFailed."""
    if settings.disabled():
        given = os.environ["DD_DOGSTATSD_DISABLE"]
        raise ConfigurationError(f"DD_DOGSTATSD_DISABLE is {given!r}, which turns the reporter off; unset it")
    from .demo_run import Demo

    demo = Demo(args.seconds, PROFILES[args.profile], args.to or args.socket)
    with _interruptible() as interrupted:
        if args.json:
            summary = demo.run(lambda _: None, interrupted)
        elif args.to or args.socket or not _shows_views():
            summary = demo.run(Lines(sys.stdout).show, interrupted)
        else:
            summary = _with_view(demo, args.profile, interrupted)
    if args.json:
        print(json.dumps(_document(args, demo, summary), indent=2))
    else:
        print("\n".join(printable(line, sys.stdout) for line in summary.lines()))
    return DONE if summary.adds_up else FAILED


def _shows_views() -> bool:
    """Whether there is a terminal, and the extra for a live view."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()) or os.environ.get("TERM", "dumb") == "dumb":
        return False
    try:
        from ..watch import board
    except MissingExtra as missing:
        print(f"no live view: {missing}")
        return False
    return bool(board)


def _with_view(demo: Demo, profile: str, interrupted: Callable[[], bool]) -> Summary:
    """Run the demo in the thread `wsnova-demo`, as a view needs the main thread; leaving the view ends the demo."""
    from ..watch import board
    from .demo_run import event_line

    left, over = threading.Event(), threading.Event()
    ended: list[Summary | BaseException] = []

    def run() -> None:
        try:
            ended.append(demo.run(lambda _: None, lambda: left.is_set() or interrupted()))
        except BaseException as error:  # raised again in the main thread
            ended.append(error)
        finally:
            over.set()

    thread = threading.Thread(target=run, name="wsnova-demo", daemon=True)
    thread.start()
    try:
        board.run(demo, PROFILES[profile].kpi_targets, over.is_set)
    finally:
        left.set()
        thread.join()
    (found,) = ended
    if isinstance(found, BaseException):
        raise found
    for event in demo.events():
        print(printable(event_line(event), sys.stdout))
    return found


@contextmanager
def _interruptible() -> Iterator[Callable[[], bool]]:
    """Ctrl-C and SIGTERM end the demo early, with its summary; a second one ends it at once."""
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return

    def note(number: int, frame: object) -> None:  # a plain list: an Event's lock may be held by the interrupted code
        received.append(number)
        signal.signal(number, before[signal.Signals(number)])

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _document(args: argparse.Namespace, demo: Demo, summary: Summary) -> dict[str, Any]:
    return {
        "version": __version__,
        "profile": args.profile,
        "seconds": round(demo.duration, 3),
        "series": [
            {
                "metric": row.name,
                "type": row.kind,
                "tags": list(row.tags),
                "value": row.value,
                "count": row.total,
                "rate": None if row.kind == "gauge" else row.total / max(demo.duration, 1.0),
            }
            for row in demo.rows()
        ],
        "events": [
            {
                "title": event.title,
                "text": event.text,
                "alert_type": event.alert_type,
                "tags": list(event.tags),
                "aggregation_key": event.aggregation_key,
            }
            for event in demo.events()
        ],
        "summary": summary.figures,
    }


# -- arguments: each sentence names the value and what is allowed -----------------------------------------------------


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not _SHORTEST <= seconds <= _LONGEST:  # also for nan
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a usable length; allowed: {_SHORTEST:g} to {_LONGEST:g} seconds, so that the drop and "
            "the slow message both fit in"
        )
    return seconds


def _address(text: str) -> dict[str, Any]:
    return dict(zip(("host", "port"), host_and_port(text), strict=True))


def _socket(text: str) -> dict[str, Any]:
    return {"socket_path": agents_socket(text)}
