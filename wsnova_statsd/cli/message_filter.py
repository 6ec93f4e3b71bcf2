"""`--filter EXPR`: which messages are shown. All words of it have to match; nothing is evaluated. Pure.

A word is PATH=VALUE, PATH!=VALUE, or PATH<N, <=, >, >= with a number, where PATH leads into a decoded message by keys
and list positions with dots between; any other word has to occur in the message's text, in upper or lower case.
"""

from __future__ import annotations

import json
import operator
import re
import shlex
from collections.abc import Callable
from typing import Any, Final

from ..errors import ConfigurationError

FILTER: Final = (
    "show messages that match all these words: PATH=VALUE, PATH!=VALUE, PATH>N, >=, <, <= with keys and list "
    "positions as in data.0.price, or text that occurs in the message"
)
_WORD: Final = re.compile(r"([A-Za-z_][\w-]*(?:\.[\w-]+)*)(!=|>=|<=|=|>|<)(.+)", re.DOTALL)
_ORDER: Final[dict[str, Callable[[float, float], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_MISSING: Final = object()
Holds = Callable[[Any, str], bool]


def parse(expression: str) -> Holds:
    """A function of a decoded message and its text that returns whether to show it. Raises ConfigurationError."""
    try:
        words = shlex.split(expression)
    except ValueError as error:
        raise ConfigurationError(f"--filter is {expression!r}: {error}; close the quotes") from None
    if not words:
        raise ConfigurationError(f"--filter is {expression!r}; pass words, such as type=trade or BTC")
    checks = [_check(word) for word in words]
    return lambda message, text: all(holds(message, text) for holds in checks)


def _check(word: str) -> Holds:
    found = _WORD.fullmatch(word)
    if found is None:
        lower = word.lower()
        return lambda message, text: lower in text.lower()
    path, sign, wanted = found[1].split("."), found[2], found[3]
    if sign in _ORDER:
        limit = _number(wanted)
        if limit is None:
            raise ConfigurationError(f"--filter has {word!r}; use a number after {sign}, such as price{sign}100")
        compare = _ORDER[sign]
        return lambda message, text: (value := _number(_at(message, path))) is not None and compare(value, limit)
    equal = sign == "="
    return lambda message, text: _is(_at(message, path), wanted) is equal


def _at(message: Any, path: list[str]) -> Any:
    """What the path leads to in a message, or _MISSING."""
    for step in path:
        if isinstance(message, dict):
            message = message.get(step, _MISSING)
        elif isinstance(message, list) and step.isdecimal() and int(step[:9]) < len(message):
            message = message[int(step[:9])]
        else:
            return _MISSING
    return message


def _is(value: Any, wanted: str) -> bool:
    if value is _MISSING:
        return False
    if isinstance(value, str):
        return value == wanted
    if isinstance(value, bool) or value is None:
        return json.dumps(value) == wanted
    number = _number(value)
    return number is not None and number == _number(wanted)


def _number(value: Any) -> float | None:
    """A number, also from a text, as many feeds write prices; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None
