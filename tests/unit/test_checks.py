"""Checks of written values: what passes is returned as it is, what does not is named with what is allowed."""

import math
import re
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
    """Whole or broken, up to thirty years."""
    assert checks.seconds("x", given) is given


@pytest.mark.parametrize("given", [0, -1, True, None, "5", math.nan, math.inf, -math.inf, 1.1e9, 10**400])
def test_what_is_no_number_of_seconds_is_refused(given: object) -> None:
    """The error names the argument, what is allowed, and what was given, in one line of bounded length."""
    said = _refused(checks.seconds, given)
    assert said.startswith("x must be a positive number of seconds, at most 1e+09, got ")
    assert len(said) < 150
    assert _refused(checks.seconds, HUGE).endswith(", got <int>")


def test_zero_seconds_and_endless_ones_are_choices_of_the_caller() -> None:
    """A timeout may be 0 or infinite; nothing else changes with that."""
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
    """The limits stand in the error, and only those that there are."""
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
    """A hint of the caller's stands before what was given."""
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
    """Nothing that is merely taken for one."""
    assert checks.flag("x", False) is False
    assert _refused(checks.flag, given) == f"x must be True or False, got {given!r}"


def test_what_cannot_be_shown_is_named_by_its_class() -> None:
    """An error about a value must not fail of the value."""

    class Silent:
        def __repr__(self) -> str:
            raise ValueError

    assert checks.shown(Silent()) == "<Silent>"
    assert checks.shown(HUGE) == "<int>"
    assert re.fullmatch(r"'x{76}\.\.\.", checks.shown("x" * 500))
