"""`wsnova-statsd help [COMMAND]`: what --help prints, of all commands or of one."""

from __future__ import annotations

import argparse
from typing import Any

from ..errors import one_of
from .parser import DONE, add_command


def register(subparsers: Any) -> None:
    """Add the command's parser."""
    parser = add_command(
        subparsers,
        "help",
        "tell about one command, or list all",
        "Prints what --help prints: of the command that is named, else of wsnova-statsd.",
        examples={"wsnova-statsd help demo": "the arguments, examples and exit statuses of demo"},
        statuses={DONE: "printed"},
    )
    parser.add_argument("topic", nargs="?", metavar="COMMAND", help="the command to tell about")
    parser.set_defaults(parsers=subparsers.choices)


def run(args: argparse.Namespace) -> int:
    """Print it. Raises ConfigurationError for a command that there is not."""
    if args.topic is None:
        print(args.whole.format_help(), end="")
    elif args.topic in args.parsers:
        print(args.parsers[args.topic].format_help(), end="")
    else:
        raise one_of("COMMAND", args.topic, args.parsers)
    return DONE
