"""Answers the queries of boards, monitors and SLOs as Datadog does, over the ten-second windows of a DatadogAgent.

It knows the subset that is in use: a query it cannot parse raises. Written from Datadog's documentation of queries,
with no line of the package that writes them.
"""

import math
import operator
import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from tests.stories.datadog_agent import WINDOW, DatadogAgent, Windows

Group = tuple[str, ...]
Answer = dict[Group, Windows]  # by the values of the tags that are grouped by

_QUERY: Final = re.compile(
    r"(?P<space>avg|sum|min|max|count|p50|p95|p99):(?P<name>[A-Za-z][\w.]*)\{(?P<filters>[^{}]*)\}"
    r"(?: by \{(?P<by>[a-z_,]+)\})?(?P<as>\.as_(?:count|rate)\(\))?(?:\.rollup\((?P<time>min|max)\))?"
)
_FILTER: Final = re.compile(r"(!?)([a-z_]+:[\w./-]+)\Z")
_MONITOR: Final = re.compile(r"(sum|min|max)\(last_(\d+)m\):(.*) (>=|<=) ([\d.]+)\Z")
_CHECK: Final = re.compile(
    r'"([\w.]+)"\.over\("(\*|[a-z]+:[\w.-]+)"\)(?:\.exclude\("([^"]+)"\))?\.by\(((?:"[a-z]+",?)+)\)'
    r"\.last\((\d+)\)\.count_by_status\(\)\Z"
)
_TOKEN: Final = re.compile(r"\s*(?:(\d+(?:\.\d+)?)|(default_zero)\(|([a-z]+\d*)|([-+*/()]))")
_OPERATORS: Final[Mapping[str, Callable[[float, float], float]]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
}


@dataclass(frozen=True)
class Query:
    """One query, parsed; its filters are tags that a series has to have, or must not."""

    space: str
    name: str
    has: frozenset[str]
    lacks: frozenset[str]
    by: Group
    as_: str | None

    def takes(self, tags: frozenset[str]) -> bool:
        return self.has <= tags and not self.lacks & tags

    def group(self, tags: frozenset[str]) -> Group:
        """The values of the tags that are grouped by; Datadog shows `N/A` for a series without one of them."""
        values = {key: value for key, _, value in (tag.partition(":") for tag in tags)}
        return tuple(values.get(key, "N/A") for key in self.by)


def parse(text: str, variables: Mapping[str, str]) -> Query:
    """A query, with the values of its variables; `*` filters nothing. Raises ValueError."""
    found = _QUERY.fullmatch(text)
    if found is None:
        raise ValueError(f"no query that is known here: {text}")
    has: set[str] = set()
    lacks: set[str] = set()
    for one in found["filters"].split(","):
        if one.startswith("$"):
            value = variables[one[1:]]
            if value != "*":
                has.add(f"{one[1:]}:{value}")
        elif one != "*":
            part = _FILTER.match(one)
            if part is None:
                raise ValueError(f"no filter that is known here: {one!r} in {text}")
            (lacks if part[1] else has).add(part[2])
    by = tuple(found["by"].split(",")) if found["by"] else ()
    return Query(found["space"], found["name"], frozenset(has), frozenset(lacks), by, found["as"])


def answer(agent: DatadogAgent, query: Query) -> Answer:
    """Window by window, for each group."""
    kind = agent.kind_of(query.name)
    samples = kind == "d"
    if query.as_ is None and kind == "c":
        raise ValueError(f"a count is asked without as_count: {query}")
    if not samples and query.space not in ("avg", "sum", "min", "max"):
        raise ValueError(f"{query.space} of what is no distribution: {query}")
    groups: dict[Group, list[list[Any]]] = defaultdict(list)
    for tags, windows in agent.series_of(query.name):
        group = query.group(tags)
        if query.takes(tags):
            groups[group].append(list(windows))
    found: Answer = {}
    for group, series in groups.items():
        columns = [[one for one in column if one is not None] for column in zip(*series, strict=True)]
        if samples:
            columns = [[value for values in column for value in values] for column in columns]
        found[group] = [joined(query.space, column) if column else None for column in columns]
    if query.as_ == ".as_rate()":
        return {group: [None if one is None else one / WINDOW for one in windows] for group, windows in found.items()}
    return found


def joined(space: str, values: list[float]) -> float:
    """Several values as one; a percentile by the nearest rank."""
    match space:
        case "avg":
            return math.fsum(values) / len(values)
        case "sum":
            return math.fsum(values)
        case "count":
            return float(len(values))
        case "min" | "max":
            return min(values) if space == "min" else max(values)
    rank = math.ceil(int(space[1:]) / 100 * len(values))
    return sorted(values)[rank - 1]


def whole(agent: DatadogAgent, query: Query) -> dict[Group, float]:
    """Of a distribution over the whole time: all of its values together, as Datadog keeps them."""
    groups: dict[Group, list[float]] = defaultdict(list)
    for tags, windows in agent.series_of(query.name):
        group = query.group(tags)
        if query.takes(tags):
            groups[group] += [value for values in windows if isinstance(values, list) for value in values]
    return {group: joined(query.space, values) for group, values in groups.items()}


class Formula:
    """A formula over answers: numbers, names, + - * / and default_zero. Raises ValueError for anything else."""

    def __init__(self, text: str, answers: Mapping[str, Answer], windows: int) -> None:
        self._text = text
        self._answers = answers
        self._windows = windows
        self._tokens = self._cut(text)
        self._at = 0

    def value(self) -> Answer:
        found = self._sum()
        if self._at != len(self._tokens):
            raise ValueError(f"no formula that is known here: {self._text}")
        return found

    @staticmethod
    def _cut(text: str) -> list[tuple[str, str]]:
        tokens, at = [], 0
        while at < len(text.rstrip()):
            found = _TOKEN.match(text, at)
            if found is None:
                raise ValueError(f"no formula that is known here: {text}")
            kind = ("number", "zero", "name", "sign")[found.lastindex - 1 if found.lastindex else 0]
            tokens.append((kind, found[found.lastindex or 0]))
            at = found.end()
        return tokens

    def _next(self, *signs: str) -> str | None:
        if self._at < len(self._tokens) and self._tokens[self._at] in [("sign", sign) for sign in signs]:
            self._at += 1
            return self._tokens[self._at - 1][1]
        return None

    def _sum(self) -> Answer:
        found = self._product()
        while sign := self._next("+", "-"):
            found = self._both(sign, found, self._product())
        return found

    def _product(self) -> Answer:
        found = self._one()
        while sign := self._next("*", "/"):
            found = self._both(sign, found, self._one())
        return found

    def _one(self) -> Answer:
        if self._at >= len(self._tokens):
            raise ValueError(f"no formula that is known here: {self._text}")
        kind, text = self._tokens[self._at]
        self._at += 1
        if kind == "number":
            return {(): [float(text)] * self._windows}
        if kind == "name":
            if text not in self._answers:
                raise ValueError(f"no name that is known here: {text} in {self._text}")
            return self._answers[text]
        if kind == "zero" or text == "(":
            inner = self._sum()
            if self._next(")") is None:
                raise ValueError(f"no formula that is known here: {self._text}")
            return self._zero(inner) if kind == "zero" else inner
        raise ValueError(f"no formula that is known here: {self._text}")

    def _zero(self, inner: Answer) -> Answer:
        """0 if a group has no data; what is not grouped exists even if nothing ever came."""
        filled: Answer = {group: [one or 0.0 for one in windows] for group, windows in inner.items()}
        return filled or {(): [0.0 for _ in range(self._windows)]}

    def _both(self, sign: str, left: Answer, right: Answer) -> Answer:
        """Group by group; a side that is not grouped is combined with every group of the other."""
        nothing: Windows = [None] * self._windows
        found: Answer = {}
        for group in dict.fromkeys([*left, *right]):
            if group or not any(set(one) - {()} for one in (left, right)):
                sides = [side.get(group, side.get((), nothing)) for side in (left, right)]
                found[group] = [self._number(sign, one, other) for one, other in zip(*sides, strict=True)]
        return found

    @staticmethod
    def _number(sign: str, one: float | None, other: float | None) -> float | None:
        if one is None or other is None or (sign == "/" and not other):
            return None
        return _OPERATORS[sign](one, other)


def inline(agent: DatadogAgent, text: str) -> Answer:
    """A formula that contains its queries, as monitors and SLOs write it."""
    answers: dict[str, Answer] = {}

    def named(found: re.Match[str]) -> str:
        name = f"query{len(answers) + 1}"
        answers[name] = answer(agent, parse(found[0], {}))
        return name

    return Formula(_QUERY.sub(named, text), answers, agent.window).value()


@dataclass(frozen=True)
class Monitor:
    """A query alert, parsed: the number of each group at the end of a window."""

    how: str
    windows: int
    text: str
    sign: str
    limit: float

    @classmethod
    def of(cls, text: str) -> "Monitor":
        found = _MONITOR.match(text)
        if found is None:
            raise ValueError(f"no monitor that is known here: {text}")
        return cls(found[1], int(found[2]) * 60 // WINDOW, found[3], found[4], float(found[5]))

    def values(self, agent: DatadogAgent, window: int) -> dict[Group, float]:
        """By group, of those that had data."""
        found = {}
        for group, windows in inline(agent, self.text).items():
            seen = [one for one in windows[max(0, window + 1 - self.windows) : window + 1] if one is not None]
            if seen:
                found[group] = joined(self.how, seen)
        return found

    def alerts(self, value: float) -> bool:
        return value >= self.limit if self.sign == ">=" else value <= self.limit


def check(agent: DatadogAgent, text: str) -> Answer:
    """The statuses of a service check by group, as a monitor of it reads them."""
    found = _CHECK.match(text)
    if found is None:
        raise ValueError(f"no check that is known here: {text}")
    has, without = frozenset({found[2]} - {"*"}), frozenset([found[3]] if found[3] else [])
    by = tuple(re.findall(r'"([a-z]+)"', found[4]))
    return answer(agent, Query("max", found[1], has, without, by, None))


def stream(agent: DatadogAgent, text: str, variables: Mapping[str, str]) -> list[str]:
    """The titles of the events that a stream shows: each word is a tag that an event has, `key:*` any of that key."""
    words = [f"{one[1:]}:{variables[one[1:]]}" if one.startswith("$") else one for one in text.split()]
    wanted = [word.removesuffix("*") for word in words]
    if not all(re.fullmatch(r"[a-z]+:[\w./-]*", word) for word in wanted):
        raise ValueError(f"no search of events that is known here: {text}")
    return [
        event.title
        for event in agent.events
        if all(
            any(tag.startswith(word) if word.endswith(":") else tag == word for tag in event.tags) for word in wanted
        )
    ]
