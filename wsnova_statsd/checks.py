"""Checks of user input: numbers, seconds, whole numbers, ports, flags, functions, argument names.

Each returns the value, or raises a ConfigurationError that says what was given and what is allowed. True and False are
not accepted as numbers, nor are NaN, infinity or integers beyond a float's range. Pure functions, any thread.
"""

from __future__ import annotations

import functools
import inspect
import math
import warnings
from collections.abc import Callable
from typing import Any, Final, TypeGuard, TypeVar, cast

from .errors import ConfigurationError, known_keys

LONGEST: Final = 1e9  # seconds, about thirty years: the waits of the threading module still accept it
_HIGHEST: Final = 1e300
_SHOWN: Final = 80  # characters of what was given, in an error
_Kind = TypeVar("_Kind")
_Function = TypeVar("_Function", bound=Callable[..., Any])


def refused(what: str, given: object, allowed: str, hint: str = "") -> ConfigurationError:
    """The error for a value that is not allowed: "<what> must be <allowed>, got <given>; <hint>"."""
    return ConfigurationError(f"{what} must be {allowed}, got {shown(given)}{hint and '; '}{hint}")


def shown(given: object) -> str:
    """A value as an error shows it: its repr, cut; its class if repr raises, as for an integer with too many digits."""
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
    """A finite number from `least` or above `above`, up to `most`. The error names `unit`, what the number counts."""
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
    """True or False; values that are merely truthy or falsy are refused."""
    if isinstance(given, bool):
        return given
    raise refused(what, given, "True or False")


def function(what: str, given: Callable[..., Any], *arguments: str, answers: bool = True) -> None:
    """A function that can be called with these arguments and runs when called. `answers`: its result is used.

    Refuses coroutine functions, and generator functions if the result is not used: their bodies would never run. A
    callable whose signature Python cannot read, as for some C functions, passes.
    """
    call = given if inspect.isroutine(given) or isinstance(given, functools.partial | type) else type(given).__call__
    is_async = any(map(inspect.iscoroutinefunction, (given, call))) or inspect.isasyncgenfunction(call)
    if is_async or (not answers and inspect.isgeneratorfunction(call)):
        kind, name = "coroutine" if is_async else "generator", getattr(given, "__name__", type(given).__name__)
        takes, value = ", ".join(arguments), ", ".join(arguments) or "None"
        line = f"lambda {takes}: " if takes else "lambda: "
        line += f"loop.call_soon_threadsafe(queue.put_nowait, {f'({value})' if len(arguments) > 1 else value})"
        hint = "" if answers else f"; to hand over to an asyncio loop, pass {line}, and await queue.get() there"
        raise ConfigurationError(
            f"{what} is the {kind} function {name}, whose body would never run: this library is synchronous; "
            f"pass a plain function{hint}"
        )
    try:
        signature = inspect.signature(given)
    except (TypeError, ValueError, NameError):
        return
    try:
        signature.bind(*arguments)
    except TypeError as error:
        empty = inspect.Parameter.empty  # a default may be a secret
        takes = ", ".join(str(one.replace(default=empty, annotation=empty)) for one in signature.parameters.values())
        raise ConfigurationError(
            f"{what} takes ({takes}), but is called with ({', '.join(arguments)}): {error}"
        ) from None


def by_name(function: _Function) -> _Function:
    """Decorator for functions with many arguments: refuses an unknown keyword, and the error names the nearest one.

    Accepts keyword-only arguments that are passed by position, with a DeprecationWarning that names them.
    """
    code = function.__code__
    positional, names = code.co_argcount, code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    known = [name for name in names if name != "self"]
    what = function.__qualname__.removesuffix(".__init__")

    @functools.wraps(function)
    def checked(*given: Any, **named: Any) -> Any:
        known_keys(what, named, known)
        if positional < len(given) <= len(names):
            late = dict(zip(names[positional:], given[positional:], strict=False))
            if not late.keys() & named.keys():
                keywords = ", ".join(f"{name}=" for name in late)
                warnings.warn(f"{what} takes {keywords} by keyword only", DeprecationWarning, stacklevel=2)
                given, named = given[:positional], {**late, **named}
        return function(*given, **named)

    return cast(_Function, checked)


def named_fields(kind: type[_Kind]) -> type[_Kind]:
    """by_name for a dataclass: a decorator above `@dataclass`."""
    setattr(kind, "__init__", by_name(kind.__init__))  # noqa: B010  # mypy refuses to assign a function to a method
    return kind
