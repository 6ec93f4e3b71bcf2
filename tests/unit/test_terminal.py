"""What may be printed, and when it is in colour."""

import io

import pytest

from wsnova_statsd import terminal


class _Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def _out(encoding: str) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding=encoding)


def test_a_line_has_no_control_characters_and_what_the_encoding_can_write() -> None:
    assert terminal.printable("a\x1b[2Jb\nc\u202ed", _out("utf-8")) == "a [2Jb c d"
    assert terminal.printable("5 µs →", _out("latin-1")) == "5 µs ?"


@pytest.mark.parametrize(
    ("environ", "colour"),
    [
        ({"TERM": "xterm"}, True),
        ({"TERM": "xterm", "NO_COLOR": ""}, True),
        ({"TERM": "xterm", "NO_COLOR": "1"}, False),
        ({"TERM": "dumb"}, False),
        ({}, False),
    ],
)
def test_a_terminal_has_colours_unless_its_user_says_no(environ: dict[str, str], colour: bool) -> None:
    """By the rule of no-color.org: a variable that is not empty."""
    assert terminal.takes_colour(_Screen(), environ) is colour
    assert terminal.takes_colour(io.StringIO(), environ) is False


def test_a_style_colours_the_text_and_none_leaves_it_alone() -> None:
    assert terminal.painted("x", "bad") == "\x1b[31mx\x1b[0m"
    assert terminal.painted("x", "") == "x"


def test_a_program_that_closed_its_stderr_has_no_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", None)
    assert terminal.stderr() is None
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr("sys.stderr", closed)
    assert terminal.stderr() is None
    still = io.StringIO()
    monkeypatch.setattr("sys.stderr", still)
    assert terminal.stderr() is still
