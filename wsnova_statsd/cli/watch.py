"""`wsnova-statsd watch`: a live view of what any program sends by DogStatsD, in the terminal, the browser or a pipe.

This file is the command: its arguments, the choice of a display, and what is refused. Threads: those of watch/; the
main thread shows.
"""

from __future__ import annotations

import argparse
import math
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from .. import environment
from ..errors import ConfigurationError
from ..profiles import PROFILES
from .addresses import agent
from .parser import DONE, add_command, choice

if TYPE_CHECKING:
    from ..watch.session import Session

PORT: Final = 8125
_FASTEST: Final = 1e6


def register(subparsers: Any) -> None:
    """Add the command's parser."""
    parser = add_command(
        subparsers,
        "watch",
        "see live what any program sends over DogStatsD",
        "Listens in place of the Datadog Agent and shows every metric, event and check that arrives, the state of each "
        "client of wsnova_statsd, and what lint finds. It starts the COMMAND, if given, with DD_AGENT_HOST and "
        "DD_DOGSTATSD_PORT set to a free port, and shows its output on a tab. In the terminal and in the browser it "
        "needs the extra `watch`; --plain and --json need none.",
        usage="[OPTIONS] [-- COMMAND ...]",
        examples={
            "wsnova-statsd watch": "what is sent to port 8125 of this machine",
            "wsnova-statsd watch -- python feed.py": "start a program and see what it sends, its output on a tab",
            "wsnova-statsd watch --port 8126 --forward localhost:8125": "receive everything before the Agent does",
            "wsnova-statsd watch --web 8080": "in the browser, at the address that is printed",
            "wsnova-statsd watch --plain --filter 'rtt client:md-1'": "lines for a pipe",
            "wsnova-statsd watch --record feed.txt": "record what arrives, as text",
            "wsnova-statsd watch --replay feed.txt --speed 10": "replay it, ten times as fast",
        },
        statuses={DONE: "ended by q or Ctrl-C, or the recording is over; the status of a COMMAND that ended by itself"},
    )
    parser.add_argument("--host", default="127.0.0.1", metavar="H", help="the address to listen at; default 127.0.0.1")
    parser.add_argument("--port", type=_port, metavar="N", help=f"the UDP port, 0 for a free one; default {PORT}")
    parser.add_argument("--socket", metavar="PATH", help="listen at a Unix datagram socket instead")
    parser.add_argument(
        "--forward",
        type=agent,
        metavar="HOST:PORT|PATH",
        help="pass every datagram on to a real Agent, unchanged; over a Unix socket the Agent then sees watch as the "
        "sender, not the program (it tags by the sender's container)",
    )
    ways = parser.add_mutually_exclusive_group()
    ways.add_argument("--plain", action="store_true", help="print what is new as lines, once a second")
    ways.add_argument("--json", action="store_true", help="print JSON documents, one a second, each on one line")
    ways.add_argument(
        "--web", type=_port, metavar="PORT", help="show it in the browser, on loopback only; 0: a free port"
    )
    parser.add_argument(
        "--filter", default="", metavar="WORDS", help="with --plain: only lines that contain all these words"
    )
    record = parser.add_mutually_exclusive_group()
    record.add_argument("--record", metavar="FILE", help="write what arrives to a file, as text that can be edited")
    record.add_argument("--replay", metavar="FILE", help="show a recording instead of listening")
    parser.add_argument("--speed", type=_speed, metavar="N", help="with --replay: N times as fast; default 1")
    profile = choice("the profile", PROFILES)
    text = "compare KPIs with the targets of this profile; default: WSNOVA_STATSD_PROFILE, or standard"
    parser.add_argument("--profile", type=profile, metavar="P", help=text)
    parser.add_argument("argv", nargs="*", metavar="COMMAND", help="a program to start, after --")


def run(args: argparse.Namespace) -> int:
    """Show until the user quits or the source ends. Raises ConfigurationError, MissingExtra."""
    _refuse(args)
    profile = args.profile or environment.profile(os.environ)
    if args.web is not None:
        from ..watch.web import serve

        with _session(args) as session:
            serve(session, args.web, profile)
    elif args.plain or args.json:
        from ..watch.plain import Printer

        session = _session(args)
        printer = Printer(session, document=args.json, needle=args.filter)
        with _ended_by_sigterm(), session:
            printer.run(lambda: _is_over(session))
            status = _status(session)
        printer.tell()  # stopped by now: everything that had arrived is in it
        return status
    else:
        from ..watch.board import run as show

        session = _session(args)
        with session:
            show(session, PROFILES[profile].kpi_targets)
            status = _status(session)
        print(session.summary())  # stopped by now: everything that had arrived is in it
        return status
    return DONE


def _refuse(args: argparse.Namespace) -> None:
    """Raise ConfigurationError for what does not go together, or cannot be shown here."""
    if args.argv and (args.socket or args.replay):
        other = "--socket" if args.socket else "--replay"
        raise ConfigurationError(
            f"a COMMAND is given together with {other}; it sends to a UDP port, so pass one of the two"
        )
    if args.replay and (args.socket or args.port is not None):
        raise ConfigurationError("--replay does not listen; leave --port and --socket out")
    if args.socket and args.port is not None:
        raise ConfigurationError("--socket and --port are given; pass one of the two")
    if args.speed is not None and not args.replay:
        raise ConfigurationError("--speed is given without --replay; pass both, or neither")
    if args.filter and not args.plain:
        raise ConfigurationError("--filter is for --plain; in the terminal and in the browser, press / to filter")
    shown = args.plain or args.json or args.web is not None
    if not shown and not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise ConfigurationError("this is not a terminal; use --plain for lines, --json for documents, or --web PORT")
    if not shown and os.environ.get("TERM", "dumb") == "dumb":
        raise ConfigurationError("TERM names no terminal that can be drawn on; set it, or use --plain")


def _session(args: argparse.Namespace) -> Session:
    from ..watch.command import Command
    from ..watch.session import Given, Session

    free = 0 if args.argv else PORT
    given = Given(
        host=args.host,
        port=free if args.port is None else args.port,
        socket_path=args.socket,
        forward=args.forward,
        record=args.record,
        replay=args.replay,
        speed=args.speed or 1.0,
    )
    aside = sys.stderr if args.plain or args.json else None
    return Session(given, Command(args.argv, aside) if args.argv else None)


def _is_over(session: Session) -> bool:
    """Lines and documents end with their source: the recording, or the program that was started."""
    return session.ended.is_set() or session.status is not None


def _status(session: Session) -> int:
    return DONE if session.status is None else session.status


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """SIGTERM ends it as Ctrl-C does: what arrived is printed, the program that was started is ended."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


# -- arguments: each sentence names the value and what is allowed -----------------------------------------------------


def _port(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text[:6]) <= 65_535):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a port; allowed: a whole number from 0 to 65535, 0 for a free one"
        )
    return int(text)


def _speed(text: str) -> float:
    try:
        speed = float(text)
    except ValueError:
        speed = math.nan
    if not 0 < speed <= _FASTEST:  # also for nan
        raise argparse.ArgumentTypeError(f"{text!r} is not a speed; allowed: a number above 0, up to {_FASTEST:g}")
    return speed
