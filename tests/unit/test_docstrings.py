"""What an editor shows: every public name says what it is, and every option its meaning, unit and default."""

import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import is_dataclass
from typing import Any

import pytest

import wsnova_statsd as ws
from wsnova_statsd import testing

LARGE: list[Callable[..., Any]] = [
    *(ws.Client, ws.Profile, ws.Monitor, ws.StatsdReporter),
    *(ws.PrometheusReporter, ws.LogReporter, ws.KpiTracker, ws.SystemSampler),
]
DEFINITIONS: list[Callable[..., Any]] = [ws.counter, ws.sum_, ws.gauge, ws.summary, ws.distribution]
BOTH = pytest.mark.parametrize("one", [*LARGE, *DEFINITIONS], ids=lambda one: one.__name__)
_ENTRY = re.compile(r"^    (\w+): (.+(?:\n        .+)*)", re.MULTILINE)


def _reported(one: Callable[..., Any]) -> dict[str, str]:
    """What the list after `Args:` says of each name."""
    return {
        name: " ".join(text.split()) for name, text in _ENTRY.findall((inspect.getdoc(one) or "").partition("Args:")[2])
    }


def _public() -> Iterator[tuple[str, Any]]:
    """All that users reach by the front door, the test kit and their modules: names, and methods of classes."""
    for module in (ws, ws.errors, ws.events, ws.telemetry, ws.alerts, testing):
        for name in module.__all__:
            found = getattr(module, name)
            if inspect.isclass(found) and found.__module__.startswith("wsnova_statsd"):
                yield from ((f"{name}.{key}", getattr(found, key)) for key in vars(found) if not key.startswith("_"))
            if inspect.isclass(found) or inspect.isroutine(found):
                yield name, found


def test_every_public_name_says_what_it_is() -> None:
    """Classes, functions, methods and properties, by their own words or those of the class they derive from."""
    silent = {
        name
        for name, one in _public()
        if (inspect.isclass(one) or inspect.isroutine(one) or isinstance(one, property)) and not inspect.getdoc(one)
    }
    assert silent == set()


@BOTH
def test_every_parameter_is_in_the_list_in_the_signatures_order(one: Callable[..., Any]) -> None:
    """None is forgotten, and none that is gone is still described."""
    assert list(_reported(one)) == list(inspect.signature(one).parameters)


@BOTH
def test_an_optional_parameter_names_its_default(one: Callable[..., Any]) -> None:
    """A number by its digits."""
    reported = _reported(one)
    for name, parameter in inspect.signature(one).parameters.items():
        default = parameter.default
        if default is inspect.Parameter.empty:
            continue
        assert "Default: " in reported[name], name
        if isinstance(default, int | float) and not isinstance(default, bool):
            digits = f"{default / 2**20:g} MiB" if default >= 2**20 else f"{default:g}"
            assert f"Default: {digits}" in reported[name], name
        elif isinstance(default, bool | str):
            assert re.search(rf'Default: "?{default}\b', reported[name]), name


@pytest.mark.parametrize("one", LARGE, ids=lambda one: one.__name__)
def test_every_amount_names_its_unit_and_its_range(one: Callable[..., Any]) -> None:
    """Seconds, bytes, samples or tries, and the lowest value."""
    for name, parameter in inspect.signature(one).parameters.items():
        kinds = str(parameter.annotation).split(" | ")
        if {"int", "float"} & set(kinds) and "str" not in kinds:
            reported = _reported(one)[name]
            assert re.search(r"[Ss]econds|\d s\b|Bytes|Samples|Combinations|Tries|port|scraped", reported), name
            assert re.search(r"above \d|from \d|from retry_base|\d+ to \d+|\d or \d+|above 0", reported), name


def test_the_numbers_of_the_three_profiles_are_those_of_the_docstring() -> None:
    """In the order financial, standard, lightweight."""
    assert is_dataclass(ws.Profile)
    for name, text in _reported(ws.Profile).items():
        values = [getattr(profile, name) for profile in (ws.FINANCIAL, ws.STANDARD, ws.LIGHTWEIGHT)]
        if isinstance(values[0], float | int) and len(set(values)) > 1:
            assert re.search(
                rf": {', '.join(str(one) if isinstance(one, bool) else f'{one:g}' for one in values)}\.", text
            ), name
