"""Message types as tags: for any names from a server, the tags are clean and few."""

import re
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsnova_statsd.client.message_types import PERIOD, MessageTypes
from wsnova_statsd.testing import FakeClock

CLEAN = re.compile(r"[a-z0-9_.:-]{1,64}")


@pytest.mark.parametrize(
    ("raw", "tag"),
    [
        ("trade", "trade"),
        ("Trade", "trade"),
        ("public/subscribe", "public_subscribe"),
        ("trades.BTC-USD:1", "trades.btc-usd:1"),
        ("a|b#c,d\ne", "a_b_c_d_e"),
        ("größe", "gr__e"),
        ("", "unknown"),
        ("x" * 64, "x" * 64),
        ("x" * 65, "x" * 64),
    ],
)
def test_a_type_is_lower_case_and_clean(raw: str, tag: str) -> None:
    """Only letters, digits and `_.:-` are left, 64 of them at most."""
    types = MessageTypes()
    assert types(raw) == tag
    assert types(raw) == tag  # and from the memory


@pytest.mark.parametrize("raw", [None, 7, 1.5, True, b"trade", [], {}, ("trade",), {"type": "x"}])
def test_what_is_no_text_is_unknown(raw: object) -> None:
    """A protocol may return anything, hashable or not."""
    assert MessageTypes()(raw) == "unknown"


def test_the_hundred_and_first_type_is_other() -> None:
    """A hundred distinct tags keep their names, all later ones share one; spellings of a known tag stay known."""
    types = MessageTypes()
    first = [types(f"type{number}") for number in range(100)]
    assert first == [f"type{number}" for number in range(100)]
    assert {types(f"late{number}") for number in range(5_000)} == {"other"}
    assert types("type99") == "type99"
    assert types("TYPE99") == "type99"


def test_each_client_has_its_own_hundred() -> None:
    """Two objects share no types."""
    crowded, fresh = MessageTypes(), MessageTypes()
    for number in range(200):
        crowded(f"type{number}")
    assert (crowded("trade"), fresh("trade")) == ("other", "trade")


@pytest.mark.parametrize("raw", ["x" * 10_000_000, "İ" * 10_000])
def test_an_endless_type_is_cut(raw: str) -> None:
    """Length is bounded after lower-casing, which can lengthen a text."""
    assert CLEAN.fullmatch(MessageTypes()(raw))


@given(st.lists(st.one_of(st.text(), st.integers(0, 500).map(str), st.none()), max_size=300))
def test_any_names_become_clean_and_few_tags(raws: list[str | None]) -> None:
    """Every tag fits the pattern, at most 100 are distinct besides `other` and `unknown`, and a name keeps its tag."""
    types = MessageTypes()
    tags = {raw: types(raw) for raw in dict.fromkeys(raws)}
    assert all(CLEAN.fullmatch(tag) for tag in tags.values())
    assert len(set(tags.values()) - {"other", "unknown"}) <= 100
    assert {raw: types(raw) for raw in tags} == tags


def test_a_type_that_does_not_occur_frees_its_place() -> None:
    """After a whole period without it; a type that occurs keeps its name through all of them."""
    clock = FakeClock()
    types = MessageTypes(clock)
    for number in range(150):
        types(f"old{number}")
    clock.advance(PERIOD)
    types.tidy()
    assert (types("old7"), types("old120")) == ("old7", "other")
    clock.advance(PERIOD)
    types.tidy()
    assert [types(f"new{number}") for number in range(99)] == [f"new{number}" for number in range(99)]
    assert (types("old7"), types("new99"), types("old8")) == ("old7", "other", "other")


def test_a_period_ends_when_new_types_come() -> None:
    """Also for a client that only sends; until then nothing is forgotten."""
    clock = FakeClock()
    types = MessageTypes(clock)
    for number in range(150):
        types(f"old{number}")
    clock.advance(PERIOD - 1)
    types("more")
    assert (types.periods, types("late")) == (0, "other")
    for turn in (1, 2):
        clock.advance(PERIOD)
        types(f"turn{turn}")
        assert types.periods == turn
    assert types("late") == "late"


def test_a_period_is_ended_once() -> None:
    """Another thread that finds it over at the same moment leaves the types alone."""
    clock = FakeClock()
    types = MessageTypes(clock)
    types("trade")
    clock.advance(PERIOD)
    threads = [threading.Thread(target=types.tidy) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (types.periods, types("trade")) == (1, "trade")


def test_too_many_types_are_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """In one sentence that says what to look at, for any number of further types."""
    types = MessageTypes()
    for number in range(5_000):
        types(f"type{number}")
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "type100" in record.getMessage()


def test_endless_types_take_no_memory() -> None:
    """Raw names are remembered up to a number, tags up to a hundred, in every period."""
    clock = FakeClock()
    types = MessageTypes(clock)
    for period in range(20):
        for number in range(1_500):
            types(f"{period}-{number}")
        clock.advance(PERIOD)
    assert types.periods == 19
    assert len(types._cache) <= 1_000
    assert len(types._known) <= 100
