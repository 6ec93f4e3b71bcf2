"""What is actually emitted: every event under every profile, level and toggle, by a real emitter on a real bus,
compared with tables written by hand; and that a profile's name is accepted everywhere."""

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any

import pytest

import wsnova_statsd as ws
from tests.unit.test_profiles_events import MAJOR, MINOR, ROWS, _share, _variants
from wsnova_statsd.client.emitter import Emitter
from wsnova_statsd.errors import ConfigurationError
from wsnova_statsd.events import CATALOGUE, PREFIX
from wsnova_statsd.profiles import FINANCIAL, LIGHTWEIGHT, STANDARD, Profile

# The level column of the list of events: D, S, M; of two kinds of one event the first is the one named in MAJOR.
COLUMN = {
    "connection.started": "M",
    "connection.completed": "M",
    "connection.disconnected": "M",
    "connection.reconnect.attempt": "S",
    "connection.reconnect.success": "M",
    "connection.reconnect.failed": "M S",
    "message.received": "D",
    "message.sent": "D",
    "message.decode.started": "D",
    "message.decode.completed": "D",
    "message.encode.started": "D",
    "message.encode.completed": "D",
    "message.process.started": "D",
    "message.process.completed": "D",
    "message.process.slow": "M",
    "message.process.stuck": "M",
    "message.batch_processed": "M",
    "subscription.subscribe.started": "S",
    "subscription.subscribe.completed": "S",
    "subscription.unsubscribe.started": "S",
    "subscription.unsubscribe.completed": "S",
    "error.occurred": "M S",
    "error.handled": "M S",
    "auth.started": "S",
    "auth.completed": "S",
    "auth.failed": "M",
    "auth.refresh.started": "S",
    "auth.refresh.completed": "S",
    "heartbeat.sent": "any",
    "heartbeat.received": "any",
    "heartbeat.missed": "any",
    "system.sampled": "-",
}
HEARD_IN = {"D": (FINANCIAL,), "S": (FINANCIAL, STANDARD), "M": (FINANCIAL, STANDARD, LIGHTWEIGHT)}
HEARD_IN |= {"any": (FINANCIAL,), "-": HEARD_IN["M"]}  # those with heartbeat_events; any with the sampler


class Ear:
    """Handles every event of a bus."""

    def __init__(self) -> None:
        self.bus = ws.Bus()
        self.reported: list[str] = []
        self.bus.attach_many("ear", list(CATALOGUE), lambda event, *_: self.reported.append(event))

    def leaves(self, emit: Emitter, name: str, metadata: Mapping[str, object]) -> bool:
        """Whether this emitter emits the event, once."""
        self.reported.clear()
        emit(PREFIX + name, {"system_time": 1, "duration": 1}, **metadata)
        assert self.reported in ([], [PREFIX + name])
        return bool(self.reported)


def _kinds(name: str) -> list[tuple[dict[str, object], bool]]:
    """Metadata that make a difference, and whether they make the event a major one."""
    if name not in MAJOR:
        return [({}, False)]
    return [(metadata, True) for metadata in MAJOR[name]] + [(metadata, False) for metadata in MINOR[name]]


def test_an_emitter_emits_what_the_table_of_levels_and_toggles_says() -> None:
    """All events, in each kind, under the three profiles at three levels with sixteen settings of the toggles: as
    emitted by name, and by slot as on a hot path."""
    ear = Ear()
    for profile in _variants():
        emit = Emitter(ear.bus, profile, "md-1")
        for name in ROWS:
            share = _share(name, profile)
            assert bool(emit.slot(PREFIX + name).handlers) is (share != "none"), (name, profile)
            for metadata, major in _kinds(name):
                expected = share == "all" or (share == "major" and major)
                assert ear.leaves(emit, name, metadata) is expected, (name, metadata, profile)


@pytest.mark.parametrize("name", COLUMN)
def test_the_three_profiles_emit_what_the_level_column_says(name: str) -> None:
    """Detailed events in financial, standard ones in two, minimal ones in all three; both kinds of those with two."""
    ear = Ear()
    major, _, minor = COLUMN[name].partition(" ")
    for profile in (FINANCIAL, STANDARD, LIGHTWEIGHT):
        emit = Emitter(ear.bus, profile, "md-1")
        for metadata, is_major in _kinds(name):
            level = major if is_major or not minor else minor
            assert ear.leaves(emit, name, metadata) is (profile in HEARD_IN[level]), (profile.name, metadata)


def test_the_column_has_every_event() -> None:
    """And a second level for just those that are major in part."""
    assert {PREFIX + name for name in COLUMN} == set(CATALOGUE)
    assert {name for name, levels in COLUMN.items() if " " in levels} == set(MAJOR)


# Where a profile is accepted


def _alerts(profile: Any) -> Profile:
    rules = ws.alerts.Alerts([ws.alerts.ErrorRate()], ws.StatsdReporter(bus=ws.Bus()), profile=profile, bus=ws.Bus())
    (rule,) = rules.rules
    assert isinstance(rule, ws.alerts.ErrorRate)
    limits = {one.kpi_targets["message_error_rate"]: one for one in (FINANCIAL, STANDARD)}
    return limits["<", rule.limit]  # type: ignore[index]  # fitted: it has one


def _metrics(profile: Any) -> Profile:
    names = {definition.event for definition in ws.statsd_metrics(profile)}
    found = [one for one in (FINANCIAL, STANDARD) if names == {row.event for row in ws.statsd_metrics(one)}]
    return found[0]


def _init(profile: Any) -> Profile:
    monitor = ws.init(profile, bus=ws.Bus(), alerts=False, kpis=False)
    monitor.stop()
    return monitor.profile


TAKERS: dict[str, Callable[[Any], Profile]] = {
    "Client": lambda profile: ws.Client("ws://feed.example", profile=profile, bus=ws.Bus()).profile,
    "KpiTracker": lambda profile: ws.KpiTracker(profile, ws.Bus()).profile,
    "Monitor": lambda profile: ws.Monitor(profile, bus=ws.Bus()).profile,
    "alerts.Alerts": _alerts,
    "init": _init,
    "statsd_metrics": _metrics,
}


def test_every_callable_of_the_front_door_that_accepts_a_profile_is_listed() -> None:
    """All with a parameter `profile`."""
    public = {name: getattr(ws, name) for name in ws.__all__} | {"alerts.Alerts": ws.alerts.Alerts}
    takers = {
        name
        for name, thing in public.items()
        if callable(thing)
        and not isinstance(thing, type(ws.alerts))
        and "profile" in inspect.signature(thing).parameters
    }
    assert takers == set(TAKERS)


@pytest.mark.parametrize("taker", TAKERS)
@pytest.mark.parametrize("profile", [FINANCIAL, STANDARD], ids=lambda profile: profile.name)
def test_a_profile_is_accepted_by_its_name_and_as_an_object(taker: str, profile: Profile) -> None:
    assert TAKERS[taker](profile.name) is profile
    assert TAKERS[taker](profile) is profile
    TAKERS[taker](profile.replace(name="own"))


@pytest.mark.parametrize("taker", TAKERS)
@pytest.mark.parametrize("wrong", ["Financial", "", "fast", 3, ["standard"], b"standard", True], ids=repr)
def test_another_name_is_refused_at_once_with_the_known_ones(taker: str, wrong: Any) -> None:
    nearest = "; did you mean 'financial'?" if wrong == "Financial" else ""
    reported = f"profile is {wrong!r}; allowed: financial, standard, lightweight, a ws.Profile{nearest}"
    with pytest.raises(ConfigurationError, match=f"^{re.escape(reported)}$"):
        TAKERS[taker](wrong)


def test_of_several_unknown_fields_the_first_is_named() -> None:
    """With the known ones; a known one beside it changes nothing."""
    with pytest.raises(
        ConfigurationError, match=r"^a profile has no 'levle'; it has: name, level, connection_events, "
    ):
        STANDARD.replace(levle="detailed", colour="red", message_events=True)
