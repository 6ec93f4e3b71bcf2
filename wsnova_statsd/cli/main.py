"""The command `wsnova-statsd`: finds the subcommand, runs it, and turns errors into one sentence and an exit status.

0: done; 1: it was tried and failed; 2: bad input, refused before anything started. A command is a module with
`register(subparsers)`, which adds its parser, and `run(args) -> int`. Imports nothing optional; starts no thread.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from typing import Any, Final, NoReturn

from .. import __version__
from ..errors import ConfigurationError, WsnovaError
from . import demo, doctor

COMMANDS: Final = {"demo": demo, "doctor": doctor}

BAD_INPUT: Final = 2
INTERRUPTED: Final = 130  # what a shell reports for Ctrl-C


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence, without the usage above it; that is for --help."""

    def __init__(self, *positional: Any, **options: Any) -> None:
        super().__init__(*positional, **{"allow_abbrev": False, **options})

    def error(self, message: str) -> NoReturn:
        self.exit(BAD_INPUT, f"{self.prog}: {message}\n")

    def refuse_unknown(self, unknown: Sequence[str]) -> None:
        """End with a sentence that names the arguments nobody knows and those there are."""
        if unknown:
            allowed = [option for action in self._actions for option in action.option_strings if option != "-h"]
            self.error(f"unknown argument {' '.join(unknown)!r}; allowed: {', '.join(allowed)}")


def build_parser() -> Parser:
    """The parser with every command's own; a command's namespace has `run` and its `parser`."""
    parser = Parser(prog="wsnova-statsd", description="What a WebSocket client lives through, as StatsD metrics.")
    parser.add_argument("--version", action="version", version=f"wsnova-statsd {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for name, command in COMMANDS.items():
        command.register(subparsers)
        subparsers.choices[name].set_defaults(run=command.run, parser=subparsers.choices[name])
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line; the exit status. Leaves by SystemExit for --help, --version and what argparse refuses."""
    logging.getLogger("wsnova_statsd").addHandler(logging.NullHandler())  # a command tells by itself what fails
    parser = build_parser()
    args, unknown = parser.parse_known_args(arguments)
    (args.parser if args.command else parser).refuse_unknown(unknown)
    if not args.command:
        parser.error(f"no command is given; allowed: {', '.join(COMMANDS)}")
    try:
        status: int = args.run(args)
        sys.stdout.flush()
    except ConfigurationError as error:
        args.parser.error(str(error))
    except WsnovaError as error:
        print(f"{args.parser.prog}: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # the reader of our output has left, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    return status
