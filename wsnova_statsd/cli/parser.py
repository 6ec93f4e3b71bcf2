"""What all commands of `wsnova-statsd` share: its --help, its exit statuses, and how it refuses bad input.

A command is a module of this folder, listed in COMMANDS of main.py. It has `register(subparsers)`, which calls
`add_command` here and adds its arguments, and `run(args) -> int`, which returns one of the statuses it documents. It
raises ConfigurationError for bad input (status 2) and other errors of wsnova_statsd.errors for what failed (status 1).
A module that is slow to import, or needs an extra, is imported when the command runs. No thread.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NoReturn

from ..errors import ConfigurationError, nearest, one_of

DONE: Final = 0
FAILED: Final = 1
BAD_INPUT: Final = 2
INTERRUPTED: Final = 130  # what a shell reports for Ctrl-C
_EVERYWHERE: Final = {BAD_INPUT: "bad input, refused before anything started", INTERRUPTED: "ended by Ctrl-C"}
_COLUMN: Final = 6  # where the meaning of an exit status begins


class Parser(argparse.ArgumentParser):
    """Reports an error in one sentence, without the usage; that is for --help, which ends with examples and exit
    statuses."""

    def __init__(self, *positional: Any, **options: Any) -> None:
        super().__init__(*positional, **{"allow_abbrev": False, **options})
        self.examples: Mapping[str, str] = {}
        self.statuses: Mapping[int, str] = {}

    def error(self, message: str) -> NoReturn:
        self.exit(BAD_INPUT, f"{self.prog}: {message}\n")

    def refuse_unknown(self, unknown: Sequence[str]) -> None:
        """End with a sentence that names the unknown arguments and the allowed ones."""
        if unknown:
            allowed = [option for action in self._actions for option in action.option_strings if option != "-h"]
            meant = nearest(unknown[0].partition("=")[0], allowed)
            self.error(f"unknown argument {' '.join(unknown)!r}; allowed: {', '.join(allowed)}{meant}")

    def refuse_nothing(self, hint: str) -> NoReturn:
        """End with the usage and a hint in one line, if no argument was given."""
        self.exit(BAD_INPUT, f"{' '.join(self.format_usage().split())}; {hint}\n")

    def format_help(self) -> str:
        """Everything that --help prints."""
        parts = [super().format_help(), "examples:"]
        parts += (f"  {line}\n{'':{_COLUMN}}{meaning}" for line, meaning in self.examples.items())
        parts += ["\nexit status:"]
        parts += (f"  {status:<{_COLUMN - 2}}{meaning}" for status, meaning in sorted(self.statuses.items()))
        return "\n".join(parts) + "\n"


def add_command(
    subparsers: Any,
    name: str,
    summary: str,
    description: str,
    *,
    examples: Mapping[str, str],
    statuses: Mapping[int, str],
    usage: str | None = None,
) -> Parser:
    """The parser of one command, with everything its --help shows except its arguments, and with --debug.

    Args:
        subparsers: The argument of `register`.
        name: The command's name, which is that of its module.
        summary: One line for the list of commands, in lower case and without a full stop.
        description: What it does, a few sentences.
        examples: Whole command lines, each with what it is for. The tests parse each of them.
        statuses: Exit statuses, each with its meaning; those of bad input and of Ctrl-C are added.
        usage: The arguments as the usage shows them. Default: None, made from the arguments.
    """
    shown = None if usage is None else f"wsnova-statsd {name} {usage}"
    parser: Parser = subparsers.add_parser(name, help=summary, description=description, usage=shown)
    return complete(parser, examples, statuses)


def complete(parser: Parser, examples: Mapping[str, str], statuses: Mapping[int, str]) -> Parser:
    """Add --debug, the examples and the statuses to a parser."""
    parser.add_argument(
        "--debug", action="store_true", default=argparse.SUPPRESS, help="show the traceback of an error"
    )
    parser.examples, parser.statuses = examples, {**_EVERYWHERE, **statuses}
    return parser


def choice(what: str, allowed: Iterable[str]) -> Callable[[str], str]:
    """For `type=`: one of these words; the error names all of them, and the nearest one."""

    def checked(text: str) -> str:
        if text not in allowed:
            raise argparse.ArgumentTypeError(str(one_of(what, text, allowed)))
        return text

    return checked


def checked_by(check: Callable[[str], Any]) -> Callable[[str], Any]:
    """For `type=`: a ConfigurationError of this function becomes the sentence that is printed."""

    def checked(text: str) -> Any:
        try:
            return check(text)
        except ConfigurationError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return checked
