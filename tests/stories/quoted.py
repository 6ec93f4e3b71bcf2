"""Sentences that pages quote, as the code has them: what a log record or an error says, `<...>` for what differs.

A quoted line is found if a text of the code is the whole of it, with `<...>` or another text of the code, a number or
the name of an error in each of its places (`%s`, `{...}`).
"""

import ast
import difflib
import functools
import re
from collections.abc import Iterator

import wsnova_statsd as ws
from tests.stories.test_examples import ROOT

_PLACE = "\0"
_PERCENT = re.compile(r"%(?:\.\d+)?[sdrgf]")
_ERROR = re.compile(rf"(?:{'|'.join(ws.errors.__all__)}): ")
_LETTERS = 6  # that a text has beside its places; one of fewer would be found in anything


def _texts(tree: ast.AST) -> Iterator[str]:
    """Every text of a file, that of an f-string with a mark for each place."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield _PERCENT.sub(_PLACE, node.value)
        elif isinstance(node, ast.JoinedStr):
            parts = (part.value if isinstance(part, ast.Constant) else _PLACE for part in node.values)
            yield _PERCENT.sub(_PLACE, "".join(map(str, parts)))


@functools.cache
def texts() -> frozenset[str]:
    """All texts of the package."""
    files = (ROOT / "wsnova_statsd").rglob("*.py")
    return frozenset(text for file in files for text in _texts(ast.parse(file.read_text(encoding="utf-8"))))


@functools.cache
def _sentences() -> list[tuple[re.Pattern[str], list[str]]]:
    """Those that have places: a pattern to look for, and what stands between the places."""
    found = [one for one in texts() if _PLACE in one and sum(map(str.isalpha, one)) >= _LETTERS]
    return [(re.compile(".*?".join(map(re.escape, one.split(_PLACE))), re.DOTALL), one.split(_PLACE)) for one in found]


def _in_places(between: list[str], line: str) -> Iterator[tuple[str, ...]]:
    """Each way to put something into the places so that the line comes out."""
    first, *others = between
    rest = line[len(first) :]
    if not line.startswith(first) or not others:
        if line == first and not others:
            yield ()
        return
    for end in range(len(rest) + 1):
        if rest.startswith(others[0], end):
            yield from ((rest[:end], *more) for more in _in_places(others, rest[end:]))


def is_said(line: str) -> bool:
    """Whether the code says this line."""
    return _is_said(re.sub(r"<[^<>]*>", _PLACE, line))


def _is_said(line: str) -> bool:
    said = line.strip("'\"")
    if said in texts() or not re.search(r"[^\W\d_]", said):
        return True
    if _ERROR.match(said) and _is_said(_ERROR.sub("", said, count=1)):
        return True
    fitting = (between for pattern, between in _sentences() if pattern.fullmatch(line))
    return any(all(map(_is_said, found)) for between in fitting for found in _in_places(between, line))


def nearest(line: str) -> str:
    """The text of the code that is most like it, for whoever has to correct the page."""
    readable = [one.replace(_PLACE, "<...>") for one in texts() if len(one) > 20]
    return next(iter(difflib.get_close_matches(line, readable, 1, 0.3)), "nothing like it")
