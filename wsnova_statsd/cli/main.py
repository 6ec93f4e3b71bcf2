"""The command `wsnova-statsd`: finds the command, runs it, and turns errors into one sentence and an exit status.

0: done; 1: it was tried and failed; 2: bad input, refused before anything started; 130: Ctrl-C. parser.py says what a
command consists of. Imports nothing optional; starts no thread.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Final

from .. import __version__
from ..errors import ConfigurationError, WsnovaError, one_of
from . import cost, dashboards, demo, doctor, help, lint, listen, metadata, monitors, run, slos, watch
from .parser import DONE, FAILED, INTERRUPTED, Parser, complete

COMMANDS: Final = {
    "demo": demo,
    "doctor": doctor,
    "run": run,
    "listen": listen,
    "dashboards": dashboards,
    "monitors": monitors,
    "slos": slos,
    "metadata": metadata,
    "lint": lint,
    "cost": cost,
    "watch": watch,
    "help": help,
}


def build_parser() -> Parser:
    """The parser, with one for each command; a namespace has `run`, its `parser` and `whole`, the outer one."""
    parser = Parser(
        prog="wsnova-statsd",
        usage="wsnova-statsd COMMAND [ARGUMENTS]",
        description="Measures WebSocket clients, for Datadog, StatsD and Prometheus.",
    )
    parser.add_argument("--version", action="version", version=f"wsnova-statsd {__version__}")
    parser.set_defaults(parser=parser, whole=parser, debug=False)
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands", prog=parser.prog)
    for name, command in COMMANDS.items():
        command.register(subparsers)
        subparsers.choices[name].set_defaults(run=command.run, parser=subparsers.choices[name])
    return complete(
        parser,
        {"wsnova-statsd help doctor": "arguments, examples and exit statuses of one command"},
        {DONE: "done", FAILED: "it was tried, and failed"},
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line; returns the exit status. Raises SystemExit for --help, --version and bad input."""
    logging.getLogger("wsnova_statsd").addHandler(logging.NullHandler())  # a command itself prints what fails
    _open_streams()
    given = list(sys.argv[1:] if arguments is None else arguments)
    parser = build_parser()
    first = next((one for one in given if not one.startswith("-")), "")
    if first and first not in COMMANDS:
        parser.error(str(one_of("the command", first, COMMANDS)))
    args, unknown = parser.parse_known_args(given)
    args.parser.refuse_unknown(unknown)
    if not args.command:
        parser.refuse_nothing(f"COMMAND is one of {', '.join(COMMANDS)}; see --help")
    try:
        status: int = args.run(args)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of our output has closed it, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        if args.debug:
            traceback.print_exc()
        if isinstance(error, ConfigurationError):
            args.parser.error(str(error))
        text = str(error) if isinstance(error, WsnovaError) else f"{_in_a_line(error)}; use --debug for the traceback"
        print(f"{args.parser.prog}: {text}", file=sys.stderr)
        return FAILED
    return status


def _open_streams() -> None:
    """If the shell has closed stdout or stderr (`>&-`), discard what is printed there."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, os.O_WRONLY)  # stays open as long as the process
            setattr(sys, name, os.fdopen(nowhere, "w", encoding="utf-8", closefd=False))


def _in_a_line(error: Exception) -> str:
    """An error that is not of this package, in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())
