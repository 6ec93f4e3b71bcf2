"""`wsnova-statsd listen URL`: a client for any feed. Messages go to stdout, everything else to stderr.

This file is the command: its arguments and when it ends. Threads: the client's thread prints messages, that of
typed_lines sends what is typed, the console's prints its table; the main thread waits.
"""

from __future__ import annotations

import argparse
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, Final

from .. import environment
from ..client.client import Client
from ..client.state import State
from ..contrib.signals import Signals
from ..errors import NotConnected, WsnovaError
from ..monitor import Monitor
from ..profiles import PROFILES
from ..redaction import describe_error
from ..reporters.statsd import StatsdReporter
from .addresses import agents_socket, host_and_port
from .feed import add_feed_arguments, connection
from .message_filter import FILTER, Holds, parse
from .message_lines import Incoming, Keeping, Printer, escaped, line_of
from .parser import DONE, FAILED, INTERRUPTED, add_command, checked_by, choice
from .typed_lines import TypedLines

_APART: Final = 10.0  # seconds between two tables
_TOGETHER: Final = 60.0  # the same, in a terminal that also shows the messages
_LOOK_EVERY: Final = 0.5  # seconds between two checks whether the client has ended by itself
_WAIT_FOR_LINK: Final = 0.5  # seconds of one attempt to send a line while there is no link
_LONGEST: Final = 86_400.0  # seconds
_PLACES: Final = ("host", "port", "socket_path")  # of the Agent
_DIGITS: Final = 15
_SHOWN: Final = 80  # characters


def register(subparsers: Any) -> None:
    """Add the command's parser."""
    parser = add_command(
        subparsers,
        "listen",
        "connect to any WebSocket server, print what it sends, and count it",
        "Prints each message on a line of stdout; the state of the connection and a table of counts go to stderr. "
        "Lines that you type or pipe in are sent, each as a text message. A lost connection is re-established. Metrics "
        "are sent to the Agent that --to or the variables DD_* name; the table counts even without an Agent. The end "
        "of the input ends the command only with --eof-wait. SSL_CERT_FILE names the trusted authorities.",
        usage="URL [OPTIONS]",
        examples={
            "wsnova-statsd listen wss://feed.example/ws": "everything it sends, until Ctrl-C",
            "wsnova-statsd listen wss://feed.example/ws --subscribe trades.BTC --count 10": "ten messages of a channel",
            "wsnova-statsd listen wss://feed.example/ws --filter 'type=trade price>100' --to localhost:8125": "trades "
            "above 100; every message is counted, at this Agent",
        },
        statuses={
            DONE: "--count messages were printed, the time of --eof-wait was over, or SIGTERM",
            FAILED: "there was no connection, which the last line says; or the output was closed by its reader",
        },
    )
    parser.add_argument("url", nargs="?", metavar="URL", help="ws:// or wss://")
    add_feed_arguments(parser)
    profile = choice("the profile", PROFILES)
    text = f"{', '.join(PROFILES)}; default: WSNOVA_STATSD_PROFILE, or standard"
    parser.add_argument("--profile", type=profile, metavar="P", help=text)
    parser.add_argument("--to", type=_agent, metavar="HOST:PORT|PATH", help="the Agent to send metrics to")
    parser.add_argument(
        "--raw", action="store_true", help="messages byte for byte as they arrived; on a terminal, without colour"
    )
    parser.add_argument("--count", type=_count, metavar="N", help="end after N printed messages")
    parser.add_argument("--filter", type=checked_by(parse), metavar="EXPR", help=f"{FILTER}; all messages are counted")
    parser.add_argument(
        "--eof-wait",
        type=_eof_wait,
        metavar="N",
        help="end N seconds after the end of the input, which is read once there is a connection",
    )


def run(args: argparse.Namespace) -> int:
    """Listen until the command ends. Raises ConfigurationError, ConnectionFailed, BrokenPipeError for closed output."""
    if args.url is None:
        args.parser.refuse_nothing("see --help")
    options = connection(args)
    options["protocol"] = Keeping(options["protocol"])
    with Signals() as signals:
        listening = Listening(Printer(sys.stdout, raw=args.raw), args.filter, args.count, args.eof_wait, signals.wake)
        client = Client(**options, on_message=listening.take)
        with _monitor(args):
            try:
                return _until_the_end(client, listening, signals)
            finally:
                client.close()


def _until_the_end(client: Client[Incoming], listening: Listening, signals: Signals) -> int:
    """Connect, send what is typed, and wait. Runs in the main thread."""
    threading.Thread(target=listening.start, args=(client,), name="wsnova-listen-start", daemon=True).start()
    typed: TypedLines | None = None
    try:
        while True:
            number = signals.wait(listening.look_in())
            if number is not None:
                return INTERRUPTED if number == signal.SIGINT else DONE
            if listening.fault is not None:
                raise listening.fault
            if listening.printer.reader_has_gone():
                raise BrokenPipeError
            if listening.done:
                return DONE
            if listening.started and typed is None:
                typed = TypedLines(sys.stdin, listening.sender(client), listening.input_is_over)
                typed.start()
            if listening.started and client.state is State.CLOSED:
                raise WsnovaError(f"the client ended by itself: {client.health()['error']}")
    finally:
        listening.ending = True
        if typed is not None:
            typed.stop()


def _monitor(args: argparse.Namespace) -> Monitor[Any]:
    """The monitor that the variables describe, except for what is given here. Its console is the table on stderr."""
    given: dict[str, Any] = {"console": _TOGETHER if sys.stdout.isatty() and sys.stderr.isatty() else _APART}
    if args.profile is not None:
        given["profile"] = args.profile
    if args.to is not None:
        others = {name: one for name, one in environment.read(os.environ)[1].items() if name not in _PLACES}
        given["reporter"] = StatsdReporter(**others, **args.to)
    return Monitor.from_env(**given)


class Listening:
    """What is printed and sent, and when to end. `wake` makes the main thread check."""

    def __init__(
        self,
        printer: Printer,
        shown: Holds | None,
        count: int | None,
        eof_wait: float | None,
        wake: Callable[[], object],
    ) -> None:
        self.printer: Printer = printer
        self._shown = shown
        self._left = count
        self._eof_wait = eof_wait
        self._wake = wake
        self._over_at: float | None = None  # when the time after the end of the input is over, on time.monotonic()
        self.started: bool = False
        self.ending: bool = False
        self.fault: Exception | None = None  # what ended it: no connection, or closed output

    def start(self, client: Client[Incoming]) -> None:
        """Connect. Runs in the thread wsnova-listen-start."""
        try:
            client.start()
            self.started = True
        except Exception as error:
            self.fault = error
        self._wake()

    def take(self, incoming: Incoming) -> None:
        """Print a message, if the filter accepts it. Runs in the client's thread."""
        if self.fault is not None or self.ending or self._left == 0:
            return
        if self._shown is not None and not self._shown(incoming.message, line_of(incoming)):
            return
        try:
            self.printer.show(incoming)
        except (OSError, ValueError) as error:  # ValueError: stdout is closed
            self.fault = error
            self._wake()
            return
        if self._left is not None:
            self._left -= 1
            if not self._left:
                self._wake()

    def sender(self, client: Client[Incoming]) -> Callable[[bytes], object]:
        """A function that sends a line as a text message once there is a link; the input's thread calls it."""

        def send(line: bytes) -> None:
            try:
                text = line.decode()
            except UnicodeDecodeError:
                _say("a line is not UTF-8, and was not sent")
                return
            while True:
                try:
                    client.send_text(text, wait=_WAIT_FOR_LINK)
                    return
                except NotConnected:
                    if self.ending or client.state is State.CLOSED:
                        _say(f"not sent, as there is no connection: {escaped(text)[:_SHOWN]}")
                        return
                except WsnovaError as error:
                    _say(f"not sent: {describe_error(error)}")
                    return

        return send

    def input_is_over(self) -> None:
        """All lines were sent. Runs in the thread that reads the input."""
        if self._eof_wait is not None:
            self._over_at = time.monotonic() + self._eof_wait
            self._wake()

    @property
    def done(self) -> bool:
        """Whether enough was printed, or the time after the end of the input is over."""
        return self._left == 0 or (self._over_at is not None and time.monotonic() >= self._over_at)

    def look_in(self) -> float:
        """Seconds until the main thread has to check again."""
        left = _LOOK_EVERY if self._over_at is None else self._over_at - time.monotonic()
        return max(0.0, min(_LOOK_EVERY, left))


def _say(text: str) -> None:
    print(f"wsnova-statsd listen: {text}", file=sys.stderr, flush=True)


# -- arguments: each sentence names the value and what is allowed -----------------------------------------------------


def _agent(text: str) -> dict[str, Any]:
    if "/" in text:
        return {"socket_path": agents_socket(text)}
    host, port = host_and_port(text)
    return {"host": host, "port": port}


def _count(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text[:_DIGITS]) > 0 and len(text) <= _DIGITS):
        raise argparse.ArgumentTypeError(
            f"{text[:_SHOWN]!r} is not a number of messages; allowed: a whole number from 1"
        )
    return int(text)


def _eof_wait(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= _LONGEST:  # also for nan
        raise argparse.ArgumentTypeError(
            f"{text[:_SHOWN]!r} is not a duration; allowed: seconds, from 0 to {_LONGEST:g}"
        )
    return seconds
