"""The source of the hot path: functions that write one occurrence of an event into rows, made for its definitions.

They are compiled, because a closure that loops over definitions costs half as much again. Names from users appear in
the source only as their repr. Tracebacks show the lines: each distinct source is in `linecache` once, for as long as
the program runs.
"""

from __future__ import annotations

import linecache
from collections.abc import Callable, Iterable
from itertools import count
from types import CodeType
from typing import Any, Final

from ..events import TAGS
from .definitions import Definition
from .series import SAMPLED, SUMMED

# Numbers between these bounds need no further check. CPython compares integers of 30 bits, and floats with floats,
# without a call, but not in a chain `a < b < c`.
_USUAL: Final = (1 << 30) - 1
_USUAL_FLOAT: Final = 2.0**62
_made: Final[dict[tuple[str, str], CodeType]] = {}  # by event and source
_numbers: Final = count()

Lines = list[str]
Read = Callable[[str, str], Lines]  # the lines that read a measurement for a row and write it there


class Source:
    """The source for the definitions of one event that share their rows: tag keys, and measurements in order."""

    def __init__(
        self, definitions: Iterable[Definition], keys: Iterable[str], measurements: Iterable[str | float]
    ) -> None:
        self._keys = tuple(keys)
        self._measurements = tuple(measurements)
        self._rows = ["row", *(f"row{index}" for index in range(1, len(self._measurements)))]
        self._kinds = {
            measurement: {one.kind for one in definitions if one.measurement == measurement}
            for measurement in self._measurements
        }

    def handler(self) -> str:
        """`count(event, measurements, metadata, config)`: finds the row by the tag values, checks what it reads."""
        path = "".join(f"[metadata[{key!r}]]" for key in self._keys)
        return _text(
            "def count(event, measurements, metadata, config):",
            "    if not alive:",
            "        in_child()",
            "    try:",
            f"        row = plan.row(metadata) if tagged and {TAGS!r} in metadata else local.rows{path or '[()]'}",
            "    except Exception:",  # no row yet, or a tag value of the emitter whose hash raises
            "        row = plan.row(metadata)",
            *_indented(self._more()),
            *_indented(self._body(self._checked)),
        )

    def binder(self, names: tuple[str, ...]) -> str:
        """`count(row)`: returns a function that takes the values of the measurements `names`, finite numbers."""

        def trusted(row: str, measurement: str) -> Lines:
            if measurement not in names:
                return [f"{row}.miss, {row}.n = {row}.miss + 1, {row}.n + 1"]
            return self._write(row, measurement, f"v{names.index(measurement)}")

        return _text(
            "def count(row):",
            *_indented(self._more()),
            f"    def record({', '.join(f'v{index}' for index in range(len(names)))}):",
            *_indented(_indented(self._body(trusted))),
            "    return record",
        )

    def _more(self) -> Lines:
        _, *more = self._rows
        return [f"{', '.join(more)}, = row.more"] if more else []

    def _body(self, read: Read) -> Lines:
        """Write one occurrence. Each row is updated in one statement without a call: a signal handler that counts or
        raises runs either before or after it."""
        if not self._measurements:
            return ["row.n += 1"]
        lines: Lines = []
        for row, measurement in zip(self._rows, self._measurements, strict=True):
            if isinstance(measurement, str):
                lines += read(row, measurement)
            else:
                lines += self._write(row, measurement, repr(measurement))
        return lines

    def _write(self, row: str, measurement: str | float, value: str, amount: str = "") -> Lines:
        """Write the value of this variable or literal and count the occurrence. A sum adds `amount` instead, if it is
        set: the integer for a float, which would not add up exactly."""
        kinds = self._kinds[measurement]
        lines = [f"{row}.last.value = {value}"] if "gauge" in kinds else []
        if kinds & SAMPLED:
            lines += [f"if {row}.n < {row}.full:", f"    {row}.samples.append({value})"]
            lines += [f"elif {row}.n >= {row}.due:", f"    {row}.keep({value})"]
        if kinds & SUMMED:
            total = f"{row}.fine" if amount else f"{row}.total"
            return [*lines, f"{total}, {row}.n = {total} + {amount or value}, {row}.n + 1"]
        return [*lines, f"{row}.n += 1"]

    def _checked(self, row: str, measurement: str) -> Lines:
        usual, usual_float = (f"-{one} < value and value < {one}" for one in (_USUAL, _USUAL_FLOAT))
        # The plan, which is not a number, stands for a missing measurement.
        read = ["try:", f"    value = measurements[{measurement!r}]", "except KeyError:", "    value = plan"]
        look = ["given = value", "value = number(given)"]
        refuse = [
            "if value is None:",
            f"    bad = {row}.bad + (given is not plan)",
            f"    {row}.bad, {row}.miss, {row}.n = bad, {row}.miss + 1, {row}.n + 1",
        ]
        write = _indented(self._write(row, measurement, "value"))
        if self._kinds[measurement] & SUMMED:
            return [
                *(*read, f"if type(value) is int and {usual}:", *write),
                *("else:", *_indented([*look, *refuse, "elif type(value) is int:", *write, "else:"])),
                *_indented(_indented(["fine = fixed(value)", *self._write(row, measurement, "value", "fine")])),
            ]
        return [
            *(*read, f"if not ({usual} if type(value) is int else type(value) is float and {usual_float}):"),
            *(*_indented(look), *refuse, "else:", *write),
        ]


def function(source: str, event: str, scope: dict[str, Any]) -> Any:
    """The function `count` of a source, in this scope. Tracebacks show the lines of the source."""
    code = _made.get((event, source))
    if code is None:
        code = compile(source, f"<wsnova_statsd metrics of {event!r}, {next(_numbers)}>", "exec")
        _made[event, source] = code
        linecache.cache[code.co_filename] = (len(source), None, source.splitlines(keepends=True), code.co_filename)
    exec(code, scope)
    return scope["count"]


def _indented(lines: Lines) -> Lines:
    return ["    " + line for line in lines]


def _text(*lines: str) -> str:
    return "\n".join([*lines, ""])
