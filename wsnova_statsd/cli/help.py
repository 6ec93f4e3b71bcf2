"""`wsnova-statsd help [COMMAND]`: what --help prints, for all commands or for one."""

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
        "describe one command, or list all",
        "Prints what --help prints: for the named command, or for wsnova-statsd.",
        examples={"wsnova-statsd help demo": "the arguments, examples and exit statuses of demo"},
        statuses={DONE: "printed"},
    )
    parser.add_argument("topic", nargs="?", metavar="COMMAND", help="the command to describe")
    parser.set_defaults(parsers=subparsers.choices)


def run(args: argparse.Namespace) -> int:
    """Print the help. Raises ConfigurationError for an unknown command."""
    if args.topic is None:
        print(args.whole.format_help(), end="")
    elif args.topic in args.parsers:
        print(args.parsers[args.topic].format_help(), end="")
    else:
        raise one_of("COMMAND", args.topic, args.parsers)
    return DONE
