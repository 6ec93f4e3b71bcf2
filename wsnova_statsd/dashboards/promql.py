"""Reads PromQL as far as a linter needs it: which metrics an expression selects, by which labels, and what it averages.

A recursive descent over the grammar of Prometheus's "Querying basics", "Operators" and "Functions" pages. Precedence is
left out: all binary operators are read from left to right, which changes neither the selectors nor what stands under a
division. Variables of Grafana (`$client`) stand for any name. Pure functions, no thread; the text comes from a user.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

from .. import checks
from ..errors import ConfigurationError

_TOKEN: Final = re.compile(
    r"""\s*(?:\#[^\n]*\n?\s*)*(?:
    (?P<text>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|`[^`]*`)
    |(?P<number>(?:\d[\d.]*[eE][+-]?\d+|\d\w*(?:\.\d+)?|\.\d+))
    |(?P<name>\$?[A-Za-z_:][A-Za-z0-9_:]*|\$\{\w+\})
    |(?P<sign>[=!<>]=|=~|!~|[-+*/%^=<>(){}\[\],@:])
    |(?P<end>\Z))""",
    re.VERBOSE,
)
_OPERATORS: Final = frozenset(
    {"+", "-", "*", "/", "%", "^", "==", "!=", "<=", ">=", "<", ">", "and", "or", "unless", "atan2"}
)
_MATCHES: Final = ("=", "!=", "=~", "!~")
_AVERAGES: Final = frozenset({"avg", "avg_over_time"})
_GROUPING: Final = frozenset({"by", "without"})
_DEEPEST: Final = 50  # brackets within brackets
_LONGEST: Final = 1000  # tokens


@dataclass(frozen=True, slots=True)
class Selector:
    """One metric that an expression selects. `by` are the labels its results are grouped by, `where` the labels that
    filter it, each with its value if that is matched exactly."""

    metric: str
    by: frozenset[str]
    where: tuple[tuple[str, str | None], ...]


@dataclass(frozen=True, slots=True)
class _Node:
    """A part of an expression: a selector, or an operator or function over parts. `labels` are those of by and on."""

    symbol: str
    parts: tuple[_Node, ...] = ()
    labels: frozenset[str] = frozenset()
    where: tuple[tuple[str, str | None], ...] | None = None  # of a selector


@dataclass(frozen=True, slots=True)
class Expression:
    """What is known of one expression. `averages` are the metrics whose mean, a sum divided by a count, it averages."""

    selectors: tuple[Selector, ...]
    averages: tuple[str, ...]


def read(text: str) -> Expression:
    """Read an expression. Raises ConfigurationError for a text that is not PromQL."""
    reader = _Reader(text)
    node = reader.expression(0)
    reader.end()
    return Expression(tuple(_selectors(node, frozenset())), tuple(dict.fromkeys(_averages(node))))


def _selectors(node: _Node, by: frozenset[str]) -> Iterator[Selector]:
    if node.where is not None:
        if node.symbol and not node.symbol.startswith("$"):
            yield Selector(node.symbol, by, node.where)
        return
    for part in node.parts:
        yield from _selectors(part, by | node.labels)


def _averages(node: _Node) -> Iterator[str]:
    """The metrics whose mean is averaged anywhere in this part."""
    if node.symbol in _AVERAGES:
        yield from _means(node)
    else:
        for part in node.parts:
            yield from _averages(part)


def _means(node: _Node) -> Iterator[str]:
    """The metrics whose sum is divided by their count in this part."""
    if node.symbol == "/" and node.where is None:
        above, below = ({one.metric for one in _selectors(part, frozenset())} for part in node.parts)
        counts = {name.removesuffix("_count") for name in below if name.endswith("_count")}
        yield from sorted(counts & {name.removesuffix("_sum") for name in above if name.endswith("_sum")})
    for part in node.parts:
        yield from _means(part)


class _Reader:
    """The text, token by token. `depth` in its methods counts the enclosing brackets."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = list(islice(self._split(text), _LONGEST + 1))
        if len(self._tokens) > _LONGEST:
            raise self._refused(f"a text of more than {_LONGEST} words and signs")
        self._at = 0

    def _split(self, text: str) -> Iterator[tuple[str, str]]:
        place = 0
        while True:
            found = _TOKEN.match(text, place)
            if found is None:
                raise self._refused(f"{text[place:].strip()[:1]!r}")
            kind = str(found.lastgroup)
            yield kind, found[kind]
            if kind == "end":
                return
            place = found.end()

    def _refused(self, what: str) -> ConfigurationError:
        return ConfigurationError(f"{what} is not expected in the PromQL {checks.shown(self._text)}")

    def _unexpected(self) -> ConfigurationError:
        """The error for the next token."""
        return self._refused(repr(self._next) if self._next else "the end")

    @property
    def _next(self) -> str:
        return self._tokens[self._at][1]

    @property
    def _kind(self) -> str:
        return self._tokens[self._at][0]

    def _take(self, *wanted: str) -> str:
        """The next token, which has to be one of these, or of any kind."""
        token = self._next
        if self._kind == "end" or (wanted and token not in wanted):
            raise self._unexpected()
        self._at += 1
        return token

    def _of_kind(self, kind: str) -> str:
        """The next token, which has to be of this kind."""
        if self._kind != kind:
            raise self._unexpected()
        return self._take()

    def _skip(self, *tokens: str) -> bool:
        if self._kind != "text" and self._next in tokens:
            self._at += 1
            return True
        return False

    def end(self) -> None:
        """Check that nothing is left."""
        if self._kind != "end":
            raise self._unexpected()

    def expression(self, depth: int) -> _Node:
        """Operands and the operators between them."""
        if depth > _DEEPEST:
            raise self._refused(f"a bracket within {_DEEPEST} others")
        node = self._operand(depth)
        while self._next in _OPERATORS and self._kind != "text":
            symbol = self._take()
            self._skip("bool")
            labels: frozenset[str] = frozenset()
            while self._next in ("on", "ignoring", "group_left", "group_right"):
                named, given = self._take(), self._labels() if self._next == "(" else frozenset()
                labels |= given if named == "on" else frozenset()
            node = _Node(symbol, (node, self._operand(depth)), labels)
        return node

    def _operand(self, depth: int) -> _Node:
        while self._skip("-", "+"):
            pass
        node = self._primary(depth)
        while True:
            if self._skip("["):  # a range, with a step in a subquery
                while not self._skip("]"):
                    self._take()
            elif self._skip("offset"):
                self._skip("-")
                self._take()
            elif self._skip("@"):
                self._take()
                if self._skip("("):
                    self._take(")")
            else:
                return node

    def _primary(self, depth: int) -> _Node:
        if self._kind in ("text", "number"):
            self._take()
            return _Node("")
        if self._skip("("):
            node = self.expression(depth + 1)
            self._take(")")
            return node
        name = "" if self._next == "{" else self._of_kind("name")
        if self._next == "(" or (name and self._next in _GROUPING):
            return self._call(name, depth)
        return self._selector(name)

    def _call(self, name: str, depth: int) -> _Node:
        """A function or an aggregation, whose grouping comes before or after its arguments."""
        labels, parts = self._grouping(), []
        self._take("(")
        while not self._skip(")"):
            parts.append(self.expression(depth + 1))
            if self._next != ")":
                self._take(",")
        return _Node(name, tuple(parts), labels | self._grouping())

    def _grouping(self) -> frozenset[str]:
        if self._next not in _GROUPING:
            return frozenset()
        named, labels = self._take(), self._labels()
        return labels if named == "by" else frozenset()

    def _labels(self) -> frozenset[str]:
        self._take("(")
        labels = set()
        while not self._skip(")"):
            labels.add(self._of_kind("name"))
            self._skip(",")
        return frozenset(labels)

    def _selector(self, name: str) -> _Node:
        where = []
        if self._skip("{"):
            while not self._skip("}"):
                label, sign = self._of_kind("name"), self._take(*_MATCHES)
                value = self._of_kind("text")[1:-1]
                if label == "__name__" and sign == "=":
                    name = value
                else:
                    where.append((label, value if sign == "=" else None))
                self._skip(",")
        return _Node(name, where=tuple(where))
