"""`wsnova-statsd demo`: a feed, a client and the Datadog side on this machine, with a lost link and a slow handler.

This page is the command: its arguments, Ctrl-C, and what is printed in the end. Threads: the main thread only; those
of the parts are told of in demo_run. What needs an extra is imported when the command runs.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import signal
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from .. import __version__
from ..errors import ConfigurationError
from ..profiles import PROFILES
from ..reporters import settings
from .parser import DONE, FAILED, add_command, choice

if TYPE_CHECKING:
    from .demo_run import Session
    from .demo_summary import Summary

_SHORTEST: Final = 5.0  # seconds in which both incidents happen with any profile
_LONGEST: Final = 86_400.0
_TABLE: Final = 16  # lines of the table that stays on the terminal


def register(subparsers: Any) -> None:
    """Add the command's parser."""
    parser = add_command(
        subparsers,
        "demo",
        "watch metrics and an alert arrive, without a feed or a Datadog account",
        "Runs a feed, a client and a stand-in for the Datadog Agent on this machine. The feed drops the connection "
        "once, the client's handler is slow once.",
        examples={
            "wsnova-statsd demo": "15 seconds of it",
            "wsnova-statsd demo --seconds 5 --profile standard --json": "five, with another profile, for a program",
            "wsnova-statsd demo --to localhost:8125": "shipped to the Agent of this machine",
        },
        statuses={DONE: "all numbers add up in the end", FAILED: "they do not, or the demo could not run"},
    )
    parser.add_argument("--seconds", type=_seconds, default=15.0, metavar="N", help="how long, from 5; default 15")
    profile = choice("the profile", PROFILES)
    parser.add_argument("--profile", type=profile, default="financial", metavar="P", help=", ".join(PROFILES))
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--to", type=_host_and_port, metavar="HOST:PORT", help="ship to a real Agent by UDP")
    where.add_argument("--socket", type=_socket_path, metavar="PATH", help="ship to a real Agent by its Unix socket")
    parser.add_argument("--json", action="store_true", help="print one JSON document and nothing else")


def run(args: argparse.Namespace) -> int:
    """Run the demo; 0 if its numbers add up, else 1. Raises MissingExtra, ConfigurationError, ConnectionFailed."""
    if settings.disabled():
        given = os.environ["DD_DOGSTATSD_DISABLE"]
        raise ConfigurationError(f"DD_DOGSTATSD_DISABLE is {given!r}, which turns the reporter off; unset it")
    from .demo_run import Session
    from .demo_screen import screen_for

    session = Session(args.seconds, PROFILES[args.profile], args.to or args.socket)
    with _interruptible() as interrupted:
        summary = session.run(screen_for(sys.stdout, args.json), interrupted)
    if args.json:
        print(json.dumps(_document(args, session, summary), indent=2))
    else:
        _print_end(session, summary)
    return DONE if summary.adds_up else FAILED


@contextmanager
def _interruptible() -> Iterator[Callable[[], bool]]:
    """Ctrl-C and SIGTERM end the demo early and in order; a second one ends it at once."""
    told: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return

    def tell(number: int, frame: object) -> None:  # a plain list: an Event's lock may be held by the interrupted code
        told.append(number)
        signal.signal(number, before[signal.Signals(number)])

    before = {number: signal.signal(number, tell) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(told)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _document(args: argparse.Namespace, session: Session, summary: Summary) -> dict[str, Any]:
    return {
        "version": __version__,
        "profile": args.profile,
        "seconds": round(session.duration, 3),
        "series": [
            {
                "metric": row.name,
                "type": row.kind,
                "tags": list(row.tags),
                "value": row.value,
                "count": row.total,
                "rate": row.rate,
            }
            for row in session.rows()
        ],
        "events": [
            {
                "title": event.title,
                "text": event.text,
                "alert_type": event.alert_type,
                "tags": list(event.tags),
                "aggregation_key": event.aggregation_key,
            }
            for event in session.tally.events()[1]
        ],
        "summary": summary.figures,
    }


def _print_end(session: Session, summary: Summary) -> None:
    """What stays on the terminal."""
    from .demo_screen import printable, table

    lines = summary.lines()
    if sys.stdout.isatty():
        size = shutil.get_terminal_size()
        view = session.view(session.duration)
        rows = table(session.rows(), size.columns - 1, min(_TABLE, size.lines - len(lines) - 4)) if view.rows else []
        lines = [view.title, *rows, *(f"event: {event}" for event in view.events), *lines]
    print("\n".join(printable(line, sys.stdout) for line in lines))


# -- arguments: each sentence names the value and what is allowed -----------------------------------------------------


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not _SHORTEST <= seconds <= _LONGEST:  # also for nan
        raise argparse.ArgumentTypeError(
            f"{text!r} is no usable length; allowed: {_SHORTEST:g} to {_LONGEST:g} seconds, so that the drop and the "
            "slow message both fit in"
        )
    return seconds


def _host_and_port(text: str) -> dict[str, Any]:
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or not port or parts.path or "@" in text:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no address; allowed: HOST:PORT with a port from 1 to 65535, such as localhost:8125"
        )
    return {"host": host, "port": port}


def _socket_path(text: str) -> dict[str, Any]:
    path = text.partition("://")[2] if text.startswith(("unix://", "unixgram://", "unixstream://")) else text
    try:
        found = stat.S_ISSOCK(os.stat(path).st_mode)
    except (OSError, ValueError):
        found = False
    if not found:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no socket; allowed: the path of the Agent's Unix socket, such as {settings.DEFAULT_SOCKET}"
        )
    return {"socket_path": text.removeprefix("unix://")}
