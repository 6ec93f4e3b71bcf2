"""Which events are emitted under a profile: every event, level and toggle against the table, written here by hand."""

from itertools import product

import pytest

from wsnova_statsd import profiles
from wsnova_statsd.events import CATALOGUE, PREFIX
from wsnova_statsd.profiles import FINANCIAL, LIGHTWEIGHT, PROFILES, STANDARD, Profile

CONNECTION, ERROR, MESSAGE, HEARTBEAT = TOGGLES = (
    "connection_events",
    "error_events",
    "message_events",
    "heartbeat_events",
)
LEVELS = ("minimal", "standard", "detailed")

# toggle (None: never removed), level from which all of it is emitted, its events
TABLE: tuple[tuple[str | None, str, str], ...] = (
    (CONNECTION, "minimal", "connection.started connection.completed connection.disconnected"),
    (CONNECTION, "minimal", "connection.reconnect.success"),
    (CONNECTION, "standard", "connection.reconnect.attempt connection.reconnect.failed"),
    (CONNECTION, "minimal", "auth.failed"),
    (CONNECTION, "standard", "auth.started auth.completed auth.refresh.started auth.refresh.completed"),
    (CONNECTION, "standard", "subscription.subscribe.started subscription.subscribe.completed"),
    (CONNECTION, "standard", "subscription.unsubscribe.started subscription.unsubscribe.completed"),
    (ERROR, "standard", "error.occurred error.handled"),
    (MESSAGE, "standard", "message.received message.sent message.process.completed"),
    (MESSAGE, "detailed", "message.decode.started message.decode.completed"),
    (MESSAGE, "detailed", "message.encode.started message.encode.completed message.process.started"),
    (HEARTBEAT, "minimal", "heartbeat.sent heartbeat.received heartbeat.missed"),
    (None, "minimal", "message.batch_processed message.process.slow message.process.stuck"),
    (None, "minimal", "system.sampled"),
)
ROWS = {name: (toggle, level) for toggle, level, names in TABLE for name in names.split()}

# What else a minimal level emits: these events with this metadata.
MAJOR: dict[str, list[dict[str, object]]] = {
    "connection.reconnect.failed": [{"final": True}],
    "error.occurred": [{"severity": "error"}, {"severity": "critical"}],
    "error.handled": [{"severity": "error"}, {"severity": "critical"}],
}
MINOR: dict[str, list[dict[str, object]]] = {
    "connection.reconnect.failed": [{"final": False}, {}],
    "error.occurred": [{"severity": "warning"}, {}],
    "error.handled": [{"severity": "warning"}, {}],
}


def _variants() -> list[Profile]:
    """Each of the three profiles at each level with each of the sixteen settings of the toggles."""
    return [
        profile.replace(level=level, **dict(zip(TOGGLES, switches, strict=True)))
        for profile in PROFILES.values()
        for level in LEVELS
        for switches in product((True, False), repeat=4)
    ]


def _share(name: str, profile: Profile) -> str:
    """How much of the event is emitted by the table: all, major or none."""
    toggle, level = ROWS[name]
    if toggle is not None and not getattr(profile, toggle):
        return "none"
    if LEVELS.index(profile.level) >= LEVELS.index(level):
        return "all"
    return "major" if name in MAJOR else "none"


def test_the_table_has_a_row_for_every_event() -> None:
    """No event of the catalogue is left undecided, and none is decided that does not exist."""
    assert {PREFIX + name for name in ROWS} == set(CATALOGUE)


@pytest.mark.parametrize("name", ROWS)
def test_an_event_is_emitted_by_level_and_toggle_and_nothing_else(name: str) -> None:
    """144 profiles: the three, at every level, under every setting of the four toggles."""
    spec = CATALOGUE[PREFIX + name]
    for profile in _variants():
        share = _share(name, profile)
        assert profile.level_of(spec) == share, profile
        for metadata in MAJOR.get(name, [{}]):
            assert profile.emits(spec, metadata) is (share != "none"), (profile, metadata)
        for metadata in MINOR.get(name, []):
            assert profile.emits(spec, metadata) is (share == "all"), (profile, metadata)


def test_metadata_decides_only_if_the_table_says_so() -> None:
    """`final` and `severity` on other events change nothing."""
    severe = {"final": True, "severity": "critical"}
    for name in ROWS.keys() - MAJOR.keys():
        spec = CATALOGUE[PREFIX + name]
        for profile in _variants():
            assert profile.emits(spec, severe) is profile.emits(spec), (name, profile)


def test_the_three_profiles_emit_what_their_users_expect() -> None:
    """Financial all events, standard all but messages and heartbeats, lightweight the major ones."""

    def all_of(profile: Profile) -> set[str]:
        return {name for name in ROWS if profile.level_of(CATALOGUE[PREFIX + name]) == "all"}

    never_removed = {name for name, (toggle, _) in ROWS.items() if toggle is None}
    assert all_of(FINANCIAL) == set(ROWS)
    assert all_of(STANDARD) == {name for name, (toggle, _) in ROWS.items() if toggle in (CONNECTION, ERROR, None)}
    assert all_of(LIGHTWEIGHT) == never_removed | {
        "connection.started",
        "connection.completed",
        "connection.disconnected",
        "connection.reconnect.success",
        "auth.failed",
    }


def test_a_profiles_name_decides_nothing() -> None:
    """A standard profile called financial emits what a standard one does: profiles are values."""
    disguised = STANDARD.replace(name="financial")
    specs = CATALOGUE.values()
    assert [disguised.level_of(spec) for spec in specs] == [STANDARD.level_of(spec) for spec in specs]
    assert profiles.resolve(disguised) is disguised
