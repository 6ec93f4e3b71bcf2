"""What holds for every command: a table with a row for each, so that a new command is covered without further work."""

import re
import shlex

import pytest

from wsnova_statsd.cli.main import COMMANDS, build_parser, main
from wsnova_statsd.cli.parser import Parser

EVERY = pytest.mark.parametrize("name", COMMANDS)
WHOLE = pytest.mark.parametrize("name", ["", *COMMANDS])
# Arguments with which the examples of a command cannot be parsed here: what they name does not exist.
ABSENT = {"/var/run/datadog/dsd.socket": "/dev/null"}


def _ended(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[object, str, str]:
    """Status, stdout and stderr of a command line that is refused, or only prints."""
    try:
        status: object = main(arguments)
    except SystemExit as ended:
        status = ended.code
    return (status, *capsys.readouterr())


def _parser(name: str) -> Parser:
    parser = build_parser().parse_args(["help"]).parsers[name]
    assert isinstance(parser, Parser)
    return parser


@WHOLE
def test_help_says_what_it_does_by_examples_and_exit_statuses(capsys: pytest.CaptureFixture[str], name: str) -> None:
    """With --help and `help` alike; each example is a separate line, with a line that says what it is for."""
    status, out, err = _ended(capsys, *([name] if name else []), "--help")
    assert (status, err) == (0, "")
    assert _ended(capsys, "help", *([name] if name else [])) == (0, out, "")
    assert out.startswith(f"usage: wsnova-statsd {name}".rstrip())
    examples = out.partition("\nexamples:\n")[2].partition("\nexit status:\n")[0]
    assert re.fullmatch(r"(  wsnova-statsd \S.*\n      \S.*\n)+", examples)
    statuses = dict(re.findall(r"^  (\d+) +(\S.*)$", out.partition("\nexit status:\n")[2], re.MULTILINE))
    assert set(statuses) >= {"0", "2", "130"}


@EVERY
def test_the_list_of_commands_has_a_line_of_each(capsys: pytest.CaptureFixture[str], name: str) -> None:
    """In lower case, without a full stop."""
    out = " ".join(_ended(capsys, "--help")[1].split())
    reported = re.search(rf" {name} ([a-z][^.]*?)(?: ({'|'.join(COMMANDS)}) | examples:)", out)
    assert reported


@EVERY
def test_every_example_is_a_command_line_that_is_accepted(name: str) -> None:
    """By the parser: nothing is run."""
    for line in _parser(name).examples:
        program, *arguments = (ABSENT.get(word, word) for word in shlex.split(line))
        assert (program, arguments[0]) == ("wsnova-statsd", name)
        assert build_parser().parse_known_args(arguments)[1] == []


@EVERY
def test_an_unknown_argument_is_one_line_with_the_nearest(capsys: pytest.CaptureFixture[str], name: str) -> None:
    """Status 2; nothing is run."""
    for given in ("--debgu", "--debgu=1"):
        status, out, err = _ended(capsys, name, given)
        assert (status, out) == (2, "")
        assert re.fullmatch(rf"wsnova-statsd {name}: .*{given}.*did you mean '--debug'\?\n", err)


@WHOLE
def test_debug_is_accepted_before_and_after_the_command_and_version_before_it(
    capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """--debug belongs to every command, --version to the program."""
    options = set(re.findall(r"^  (?:-\w, )?(--\w+)", _ended(capsys, "help", *filter(None, [name]))[1], re.MULTILINE))
    assert "--debug" in options
    assert ("--version" in options) is (not name)
