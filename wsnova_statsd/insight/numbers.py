"""Numbers for people to read, in at most nine characters with their unit. Pure functions, any thread."""

from __future__ import annotations

import math
import re
from typing import Final

# The unit by the last part of a metric's name.
_SUFFIXES: Final = (
    (re.compile(r"(?:^|[._])(?:ms|millis|milliseconds)$"), "millisecond"),
    (re.compile(r"(?:^|[._])(?:s|sec|secs|seconds)$"), "second"),
    (re.compile(r"(?:^|[._])bytes$"), "bytes"),
    (re.compile(r"(?:^|[._])(?:percent|pct)$"), "percent"),
)
_SECONDS: Final = {"millisecond": 1e-3, "second": 1.0, "microsecond": 1e-6, "nanosecond": 1e-9}
_TIMES: Final = ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))
_THOUSANDS: Final = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1, ""))


def unit_by_name(name: str) -> str:
    """The unit of a metric's values by its name; '' if the name does not say."""
    return next((unit for suffix, unit in _SUFFIXES if suffix.search(name)), "")


def figure(value: float | None, unit: str = "") -> str:
    """A number, with the unit that fits its magnitude if it is a time or a size; '' for None."""
    if value is None or not math.isfinite(value):
        return "" if value is None else str(value)
    if unit in _SECONDS:
        return time_of(value * _SECONDS[unit])
    if unit == "bytes":
        size = next((one for one in _THOUSANDS if abs(value) >= one[0]), _THOUSANDS[-1])
        return f"{_three(value / size[0])} {size[1]}B"
    if unit == "percent":
        return f"{_three(value)} %"
    return number(value)


def time_of(seconds: float) -> str:
    """A duration with its unit."""
    if not seconds:
        return "0 s"
    size = next((one for one in _TIMES if abs(seconds) >= one[0]), _TIMES[-1])
    return f"{_three(seconds / size[0])} {size[1]}"


def number(value: float) -> str:
    """A plain number: whole numbers in full up to a million, others with three digits."""
    if value == round(value) and abs(value) < 1e6:
        return f"{value:,.0f}"
    if abs(value) < 0.001:
        return f"{value:.2g}"
    if abs(value) < 1000:
        return _three(value)
    size = next(one for one in _THOUSANDS if abs(value) >= one[0])
    return f"{_three(value / size[0])}{size[1]}" if abs(value) < 1e15 else f"{value:.2e}"


def _three(value: float) -> str:
    """A number with three digits; a whole number without a fraction."""
    size = abs(value)
    if size >= 100 or (value == round(value) and size < 1e4):
        return f"{value:.0f}"
    return f"{value:.1f}" if size >= 10 else f"{value:.2f}" if size >= 1 else f"{value:.3f}"
