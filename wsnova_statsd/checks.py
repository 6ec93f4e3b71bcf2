"""Checks of values that users write down: numbers, seconds, whole numbers, ports and flags.

Each returns the value, or raises ConfigurationError that says what was given and what is allowed. True and False are
no numbers here, and neither are NaN, infinity or what no float holds. Pure functions, any thread.
"""

from __future__ import annotations

import math
from typing import Any, Final, TypeGuard

from .errors import ConfigurationError

LONGEST: Final = 1e9  # seconds, some thirty years: a wait of the threading module still takes them
_HIGHEST: Final = 1e300
_SHOWN: Final = 80  # characters of what was given, in an error


def refused(what: str, given: object, allowed: str, hint: str = "") -> ConfigurationError:
    """The error for a value that is not allowed: "<what> must be <allowed>, got <given>; <hint>"."""
    return ConfigurationError(f"{what} must be {allowed}, got {shown(given)}{hint and '; '}{hint}")


def shown(given: object) -> str:
    """A value as an error shows it: its repr, cut; its class if that raises, as that of an endless integer does."""
    try:
        text = repr(given)
    except Exception:
        text = f"<{type(given).__name__}>"
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


def is_number(given: object) -> TypeGuard[float]:
    """True for an int or float that is neither a bool nor NaN, nor infinite, nor beyond a float's range."""
    return isinstance(given, int | float) and not isinstance(given, bool) and -_HIGHEST <= given <= _HIGHEST


def number(
    what: str,
    given: Any,
    *,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    unit: str = "",
    hint: str = "",
) -> float:
    """A finite number from `least` or above `above`, up to `most`. `unit` is what it counts, for the error."""
    low = -_HIGHEST if least is None else least
    high = _HIGHEST if most is None else most
    if is_number(given) and low <= given <= high and (above is None or given > above):
        return given
    sign = "non-negative " if least == 0 else "positive " if above == 0 else ""
    allowed = f"a {sign}number of {unit}" if unit else f"a {sign or 'finite '}number"
    if above:
        allowed += f", more than {above:g}"
    if least:
        allowed += f", at least {least:g}"
    raise refused(what, given, allowed if most is None else f"{allowed}, at most {most:g}", hint)


def seconds(what: str, given: Any, *, zero: bool = False, endless: bool = False, most: float = LONGEST) -> float:
    """A number of seconds greater than 0 (`zero`: or 0), and `most` or less; `endless`: or math.inf."""
    if endless and isinstance(given, float) and given == math.inf:
        return given
    return number(what, given, least=0 if zero else None, above=None if zero else 0, most=most, unit="seconds")


def whole(what: str, given: Any, *, least: int = 1, most: int | None = None, unit: str = "") -> int:
    """An int from `least` on, up to `most`."""
    if isinstance(given, int) and not isinstance(given, bool) and given >= least and (most is None or given <= most):
        return given
    allowed = f"a whole number of {unit}" if unit else "a whole number"
    raise refused(what, given, f"{allowed}, at least {least}" if most is None else f"{allowed} from {least} to {most}")


def port(what: str, given: Any, *, zero: str = "", hint: str = "", text: bool = False) -> int:
    """A port from 1 to 65535; with `zero`, which says what 0 means, 0 too; `text`: also as digits, from a variable."""
    least = 0 if zero else 1
    digits = text and isinstance(given, str) and given.strip().isdecimal() and len(given) < _SHOWN
    value = int(given) if digits else given
    if isinstance(value, int) and not isinstance(value, bool) and least <= value <= 65535:
        return value
    meaning = f" (0: {zero})" if zero else ""
    raise refused(what, given, f"a port from {least} to 65535{meaning}", hint)


def flag(what: str, given: Any) -> bool:
    """True or False, and nothing that is merely taken for one."""
    if isinstance(given, bool):
        return given
    raise refused(what, given, "True or False")
