"""Checks of written values: what passes is returned as it is, what does not is named with what is allowed."""

import asyncio
import functools
import inspect
import math
import re
import threading
from collections.abc import Callable
from typing import Any

import pytest

from wsnova_statsd import checks
from wsnova_statsd.errors import ConfigurationError

HUGE = 10**5000  # Python refuses to print it


def _refused(check: Callable[..., object], *arguments: Any, **options: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        check("x", *arguments, **options)
    return str(caught.value)


@pytest.mark.parametrize("given", [1, 0.5, 1e9])
def test_seconds_are_returned_as_given(given: float) -> None:
    """Whole or fractional, up to thirty years."""
    assert checks.seconds("x", given) is given


@pytest.mark.parametrize("given", [0, -1, True, None, "5", math.nan, math.inf, -math.inf, 1.1e9, 10**400])
def test_an_unusable_number_of_seconds_is_refused(given: object) -> None:
    """The error names the argument, what is allowed, and what was given, in one line of bounded length."""
    said = _refused(checks.seconds, given)
    assert said.startswith("x must be a positive number of seconds, at most 1e+09, got ")
    assert len(said) < 150
    assert _refused(checks.seconds, HUGE).endswith(", got <int>")


def test_zero_seconds_and_endless_ones_are_choices_of_the_caller() -> None:
    """A timeout may be 0 or infinite; nothing else changes."""
    assert checks.seconds("x", 0, zero=True) == 0
    assert checks.seconds("x", math.inf, endless=True) == math.inf
    assert _refused(checks.seconds, -0.1, zero=True) == (
        "x must be a non-negative number of seconds, at most 1e+09, got -0.1"
    )
    assert "got nan" in _refused(checks.seconds, math.nan, zero=True, endless=True)
    assert "got -inf" in _refused(checks.seconds, -math.inf, zero=True, endless=True)


@pytest.mark.parametrize(
    ("options", "good", "bad", "allowed"),
    [
        ({}, -5, math.inf, "a finite number"),
        ({"above": 0, "unit": "messages per second"}, 0.1, 0, "a positive number of messages per second"),
        ({"above": 2}, 2.5, 2, "a finite number, more than 2"),
        ({"least": 1, "most": 3}, 3, 3.1, "a finite number, at least 1, at most 3"),
        ({"least": 0}, 0, -1, "a non-negative number"),
    ],
)
def test_a_number_keeps_within_its_limits(options: dict[str, Any], good: float, bad: float, allowed: str) -> None:
    """The error names the limits, and only those that exist."""
    assert checks.number("x", good, **options) == good
    assert _refused(checks.number, bad, **options) == f"x must be {allowed}, got {bad!r}"


@pytest.mark.parametrize("given", [0, -1, 2.0, True, None, "3"])
def test_a_whole_number_is_an_int_from_its_lowest(given: object) -> None:
    """1.0 and True equal 1, and are no counts."""
    assert checks.whole("x", 1) == 1
    assert checks.whole("x", HUGE) == HUGE
    assert (
        _refused(checks.whole, given, unit="bytes") == f"x must be a whole number of bytes, at least 1, got {given!r}"
    )
    assert _refused(checks.whole, 9, least=0, most=8) == "x must be a whole number from 0 to 8, got 9"


@pytest.mark.parametrize("given", [0, -1, 65536, True, 80.0, None, "http", "80", 10**400])
def test_a_port_is_from_1_to_65535(given: object) -> None:
    """A hint of the caller's precedes what was given."""
    assert checks.port("x", 65535) == 65535
    said = _refused(checks.port, given, hint="the usual one is 8125")
    assert said == f"x must be a port from 1 to 65535, got {checks.shown(given)}; the usual one is 8125"


def test_port_0_and_digits_are_choices_of_the_caller() -> None:
    """A server may listen on any free port; a variable holds text."""
    assert checks.port("x", 0, zero="any free one") == 0
    assert checks.port("x", " 8125 ", text=True) == 8125
    assert "from 0 to 65535 (0: any free one), got -1" in _refused(checks.port, -1, zero="any free one")
    for text in ("0", "65536", "-1", "80.5", "9" * 5000):
        assert "from 1 to 65535, got '" in _refused(checks.port, text, text=True)


@pytest.mark.parametrize("given", [0, 1, None, "yes"])
def test_a_flag_is_true_or_false(given: object) -> None:
    """A value that merely counts as true is refused."""
    assert checks.flag("x", False) is False
    assert _refused(checks.flag, given) == f"x must be True or False, got {given!r}"


def test_what_cannot_be_shown_is_named_by_its_class() -> None:
    """An error about a value must not fail because of the value."""

    class Silent:
        def __repr__(self) -> str:
            raise ValueError

    assert checks.shown(Silent()) == "<Silent>"
    assert checks.shown(HUGE) == "<int>"
    assert re.fullmatch(r"'x{76}\.\.\.", checks.shown("x" * 500))


def _plain(message: object) -> None: ...


async def _coroutine(message: object) -> None: ...


def _generator(message: object) -> Any:
    yield message


async def _both(message: object) -> Any:
    yield message


class _Callable:
    async def __call__(self, message: object) -> None: ...


@pytest.mark.parametrize(
    "given",
    [
        _plain,
        lambda message: None,
        lambda *all_of_them: None,
        functools.partial(_plain),
        [].append,
        print,
        dict,
        str,
    ],
)
def test_a_function_that_can_be_called_so_passes(given: Callable[..., Any]) -> None:
    """Functions of Python and of C, partials, methods and classes."""
    checks.function("x", given, "message")
    checks.function("x", given, "message", answers=False)


@pytest.mark.parametrize("given", [_coroutine, functools.partial(_coroutine), _Callable(), _both])
@pytest.mark.parametrize("answers", [True, False])
def test_a_function_whose_body_would_never_run_is_refused(given: Callable[..., Any], answers: bool) -> None:
    """A coroutine function in every form: it would return at once, and be counted as done."""
    with pytest.raises(
        ConfigurationError, match=r"^x is the coroutine function \w+, whose body would never run: this "
    ):
        checks.function("x", given, "message", answers=answers)


def test_a_generator_is_refused_if_its_result_is_not_iterated() -> None:
    """If the result is used it may be iterated, as that of a function of headers is."""
    checks.function("x", _generator, "message")
    with pytest.raises(ConfigurationError, match="x is the generator function _generator"):
        checks.function("x", _generator, "message", answers=False)


@pytest.mark.parametrize("arguments", [(), ("message",), ("event", "config")])
def test_the_line_that_passes_messages_to_a_loop_works(arguments: tuple[str, ...]) -> None:
    """The error's own line, run in another thread, puts the handler's message into the loop's queue."""
    with pytest.raises(ConfigurationError) as caught:
        checks.function("x", _coroutine, *arguments, answers=False)
    line = re.search(r"pass (lambda.*), and await queue\.get\(\) there$", str(caught.value))
    assert line is not None

    async def main() -> object:
        queue: asyncio.Queue[object] = asyncio.Queue()
        handler = eval(line[1], {"loop": asyncio.get_running_loop(), "queue": queue})
        threading.Thread(target=handler, args=arguments).start()
        return await asyncio.wait_for(queue.get(), 10)

    assert asyncio.run(main()) == (arguments if len(arguments) > 1 else arguments[0] if arguments else None)


def test_a_function_of_other_arguments_is_refused_with_both_lists() -> None:
    """The arguments it accepts and those it is called with; a default, which may be a secret, is not shown."""
    secret = "hunter2"

    def handler(event: str, token: str = secret) -> None: ...

    with pytest.raises(ConfigurationError) as caught:
        checks.function("x", handler)
    assert str(caught.value) == "x takes (event, token), but is called with (): missing a required argument: 'event'"


class _Box:
    @checks.by_name
    def __init__(self, width: int, *, depth: int = 1, lid: bool = True) -> None:
        self.given = width, depth, lid


def test_an_argument_of_an_unknown_name_is_refused_with_the_nearest() -> None:
    """And with all other names."""
    with pytest.raises(ConfigurationError) as caught:
        _Box(1, dept=2)  # type: ignore[call-arg]
    assert str(caught.value) == "_Box has no 'dept'; it has: width, depth, lid; did you mean 'depth'?"
    assert _Box(width=1, lid=False).given == (1, 1, False)


def test_a_keyword_argument_passed_by_position_is_accepted_with_a_warning() -> None:
    """The warning names the arguments and the caller's line, not the values. Python refuses what is passed twice."""
    with pytest.warns(DeprecationWarning, match=r"^_Box takes depth=, lid= by keyword only$") as caught:
        assert _Box(1, 2, False).given == (1, 2, False)  # type: ignore[call-arg]
    assert caught[0].filename == __file__
    with pytest.raises(TypeError):
        _Box(1, 2, depth=3)  # type: ignore[misc]
    with pytest.raises(TypeError):
        _Box(1, 2, False, 4)  # type: ignore[call-arg]


def test_the_signature_that_editors_and_help_show_is_the_functions_own() -> None:
    """With its names, kinds and defaults."""
    assert str(inspect.signature(_Box)) == "(width: int, *, depth: int = 1, lid: bool = True) -> None"
