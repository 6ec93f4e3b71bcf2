"""Profiles: the numbers of the three, change by `replace`, and messages that name the given and the allowed."""

import dataclasses
import math
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsnova_statsd import profiles
from wsnova_statsd.checks import shown
from wsnova_statsd.errors import ConfigurationError
from wsnova_statsd.profiles import FINANCIAL, LIGHTWEIGHT, PROFILES, STANDARD, Profile, resolve

# field: (financial, standard, lightweight)
NUMBERS: dict[str, tuple[object, object, object]] = {
    "name": ("financial", "standard", "lightweight"),
    "level": ("detailed", "standard", "minimal"),
    "connection_events": (True, True, True),
    "message_events": (True, False, False),
    "error_events": (True, True, True),
    "heartbeat_events": (True, False, False),
    "metadata_filter": (False, True, True),
    "ping_interval": (5, 20, 60),
    "pong_timeout": (3, 10, 20),
    "first_retry": (0, 0.5, 1),
    "retry_base": (0.05, 0.5, 1),
    "retry_cap": (2, 30, 60),
    "max_attempts": (20, 10, 5),
    "give_up": (False, False, False),
    "slow_after": (0.1, 0.1, 0.1),
    "stable_after": (5, 10, 10),
}
KPIS: dict[str, tuple[object, object, object]] = {
    "connection_success_rate": ((">", 0.999), (">", 0.99), (">", 0.99)),
    "connection_time_ms": (("<", 500), ("<", 1000), ("<", 1000)),
    "reconnection_success_rate": ((">", 0.99), (">", 0.99), (">", 0.99)),
    "time_to_reconnect_s": (("<", 2), ("<", 5), ("<", 5)),
    "processing_time_ms": (("<", 10), ("<", 50), ("<", 50)),
    "throughput_per_s": (None, None, None),
    "message_error_rate": (("<", 0.0001), ("<", 0.001), ("<", 0.001)),
    "error_recovery_rate": ((">", 0.99), (">", 0.99), (">", 0.99)),
    "error_to_alert_s": (("<", 5), None, None),
}
THREE = pytest.mark.parametrize(("column", "profile"), list(enumerate((FINANCIAL, STANDARD, LIGHTWEIGHT))))

SECONDS = ("ping_interval", "pong_timeout", "first_retry", "retry_base", "retry_cap", "stable_after", "slow_after")
MAY_BE_ZERO = {"first_retry", "stable_after", "slow_after"}
SWITCHES = ("connection_events", "message_events", "error_events", "heartbeat_events", "give_up")


@THREE
def test_a_profile_has_the_values_of_its_column(column: int, profile: Profile) -> None:
    """Every field but the KPI targets, and no other."""
    found = {field.name: getattr(profile, field.name) for field in dataclasses.fields(profile)}
    found.pop("kpi_targets")
    assert found == {key: row[column] for key, row in NUMBERS.items()}


@THREE
def test_a_profile_has_the_targets_of_its_column(column: int, profile: Profile) -> None:
    """Nine KPIs in the table's order, each with a direction and a limit, or None."""
    assert list(profile.kpi_targets.items()) == [(key, row[column]) for key, row in KPIS.items()]
    assert tuple(KPIS) == profiles.KPI_KEYS


def test_a_profile_is_found_by_its_name() -> None:
    """The three names; a profile is returned as it is."""
    assert [resolve(name) for name in ("financial", "standard", "lightweight")] == [FINANCIAL, STANDARD, LIGHTWEIGHT]
    assert list(PROFILES) == ["financial", "standard", "lightweight"]
    own = STANDARD.replace(name="own")
    assert resolve(own) is own


@pytest.mark.parametrize("unknown", ["Financial", "", "debug", None, 3, ["standard"]], ids=repr)
def test_an_unknown_profile_is_refused_with_the_known_ones(unknown: Any) -> None:
    """Names are exact; the message names the three and how to make your own."""
    nearest = "; did you mean 'financial'?" if unknown == "Financial" else ""
    reported = f"profile is {unknown!r}; allowed: financial, standard, lightweight, a ws.Profile{nearest}"
    with pytest.raises(ConfigurationError, match=f"^{re.escape(reported)}$"):
        resolve(unknown)


def test_a_profile_is_a_value_that_does_not_change() -> None:
    """Neither a field nor a target can be assigned to, and equal values are equal profiles."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        STANDARD.level = "detailed"  # type: ignore[misc]
    with pytest.raises(TypeError):
        STANDARD.kpi_targets["throughput_per_s"] = (">", 1.0)  # type: ignore[index]
    with pytest.raises(TypeError):
        PROFILES["own"] = STANDARD  # type: ignore[index]
    assert STANDARD.replace() == STANDARD


def test_replace_changes_what_is_named_and_nothing_else() -> None:
    """The original stays as it is; the new one differs in the given fields only."""
    changed = LIGHTWEIGHT.replace(ping_interval=7.5, give_up=True)
    assert (LIGHTWEIGHT.ping_interval, LIGHTWEIGHT.give_up) == (60.0, False)
    differing = {
        field.name
        for field in dataclasses.fields(Profile)
        if getattr(changed, field.name) != getattr(LIGHTWEIGHT, field.name)
    }
    assert differing == {"ping_interval", "give_up"}
    assert (changed.ping_interval, changed.give_up) == (7.5, True)


@given(st.sampled_from([key for key in SECONDS if key != "retry_base"]), st.floats(100, 1e6))
def test_replace_takes_any_number_of_seconds_in_range(key: str, seconds: float) -> None:
    """Whole and fractional seconds are kept as given."""
    assert getattr(STANDARD.replace(**{key: seconds}), key) == seconds
    assert getattr(STANDARD.replace(**{key: int(seconds)}), key) == int(seconds)


def test_replace_refuses_an_unknown_field_and_names_the_known_ones() -> None:
    """A misspelled field is refused at once, with all fields."""
    with pytest.raises(ConfigurationError, match=r"^a profile has no 'ping'; it has: name, level, ") as caught:
        STANDARD.replace(ping=3)
    assert [field.name for field in dataclasses.fields(Profile) if field.name not in str(caught.value)] == []


@pytest.mark.parametrize("name", ["", None, 7], ids=repr)
def test_a_name_is_a_non_empty_string(name: Any) -> None:
    """The message shows what was given."""
    with pytest.raises(ConfigurationError, match=re.escape(f"name is {name!r}; pass a non-empty string")):
        STANDARD.replace(name=name)


@pytest.mark.parametrize("level", ["verbose", "Detailed", "any", None, 2], ids=repr)
def test_a_level_is_one_of_three(level: Any) -> None:
    """The message shows what was given and the three levels."""
    nearest = "; did you mean 'detailed'?" if level == "Detailed" else ""
    reported = f"a profile's level is {level!r}; allowed: minimal, standard, detailed{nearest}"
    with pytest.raises(ConfigurationError, match=f"^{re.escape(reported)}$"):
        STANDARD.replace(level=level)


@pytest.mark.parametrize("key", SWITCHES)
@pytest.mark.parametrize("value", [1, 0, None, "yes"], ids=repr)
def test_a_switch_is_true_or_false(key: str, value: object) -> None:
    """Nothing that merely counts as true; the message names the switch and both values."""
    reported = f"a profile's {key} must be True or False, got {value!r}"
    with pytest.raises(ConfigurationError, match=f"^{re.escape(reported)}$"):
        STANDARD.replace(**{key: value})


def test_a_metadata_filter_is_a_switch_or_a_function() -> None:
    """A callable replaces the rule; anything else is refused with the allowed ones."""
    assert STANDARD.replace(metadata_filter=dict).metadata_filter is dict
    reported = "a profile's metadata_filter is 'on'; allowed: True, False, a callable"
    with pytest.raises(ConfigurationError, match=f"^{re.escape(reported)}$"):
        STANDARD.replace(metadata_filter="on")


@pytest.mark.parametrize("key", SECONDS)
@pytest.mark.parametrize("value", [-0.001, math.nan, math.inf, 1.1e9, 10**400, True, "5", None], ids=repr)
def test_seconds_are_finite_numbers_that_are_not_negative(key: str, value: object) -> None:
    """The message names the field, what was given and the lowest value. No interval at all means no pings."""
    if (key, value) == ("ping_interval", None):
        assert STANDARD.replace(ping_interval=None).ping_interval is None
        return
    sign = "non-negative" if key in MAY_BE_ZERO else "positive"
    reported = f"a profile's {key} must be a {sign} number of seconds, at most 1e+09, got {shown(value)}"
    with pytest.raises(ConfigurationError, match=f"^{re.escape(reported)}$"):
        STANDARD.replace(**{key: value})


@pytest.mark.parametrize("key", SECONDS)
def test_only_a_first_retry_a_stable_time_and_a_slow_limit_may_be_zero(key: str) -> None:
    """A ping interval or a pong timeout of zero would be a busy loop."""
    if key in MAY_BE_ZERO:
        assert getattr(STANDARD.replace(**{key: 0}), key) == 0
    else:
        with pytest.raises(ConfigurationError, match=f"{key} must be a positive number of seconds, .* got 0"):
            STANDARD.replace(**{key: 0})


def test_the_cap_of_the_retries_is_not_below_their_base() -> None:
    """Equal is legal: a constant wait."""
    assert STANDARD.replace(retry_cap=0.5).retry_cap == 0.5
    with pytest.raises(ConfigurationError, match=r"retry_cap is 0\.4, below its retry_base 0\.5"):
        STANDARD.replace(retry_cap=0.4)


@pytest.mark.parametrize("attempts", [0, -1, 2.0, True, None, "3"], ids=repr)
def test_max_attempts_is_a_whole_number_from_one(attempts: object) -> None:
    """The message shows what was given; one is enough."""
    assert STANDARD.replace(max_attempts=1).max_attempts == 1
    reported = f"a profile's max_attempts must be a whole number, at least 1, got {attempts!r}"
    with pytest.raises(ConfigurationError, match=f"^{re.escape(reported)}$"):
        STANDARD.replace(max_attempts=attempts)


def test_an_unknown_kpi_is_refused_with_the_nine() -> None:
    """Targets may be some of the nine KPIs, no others."""
    own = STANDARD.replace(kpi_targets={"throughput_per_s": (">", 100), "connection_time_ms": None})
    assert own.kpi_targets == {"throughput_per_s": (">", 100), "connection_time_ms": None}
    reported = f"kpi_targets has no 'speed'; it has: {', '.join(KPIS)}"
    with pytest.raises(ConfigurationError, match=f"^{re.escape(reported)}$"):
        STANDARD.replace(kpi_targets={"speed": (">", 1)})


@pytest.mark.parametrize("target", [5, ("=", 5), (">", "5"), (">",), "<5"], ids=repr)
def test_a_target_is_a_direction_and_a_limit(target: object) -> None:
    """A target that no verdict can be made of is refused where it is written."""
    reported = f"has {target!r} for connection_time_ms; use ('>', limit), ('<', limit) or None"
    with pytest.raises(ConfigurationError, match=re.escape(reported)):
        STANDARD.replace(kpi_targets={"connection_time_ms": target})
