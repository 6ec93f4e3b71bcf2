"""Message types as tags: whatever a server calls its messages, the tags are clean and few."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsnova_statsd.client.types import MessageTypes

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


def test_each_client_has_a_hundred_of_its_own() -> None:
    """One object knows nothing of another's types."""
    crowded, fresh = MessageTypes(), MessageTypes()
    for number in range(200):
        crowded(f"type{number}")
    assert (crowded("trade"), fresh("trade")) == ("other", "trade")


@pytest.mark.parametrize("raw", ["x" * 10_000_000, "İ" * 10_000])
def test_an_endless_type_is_cut(raw: str) -> None:
    """Length is bounded after lower-casing, which can lengthen a text."""
    assert CLEAN.fullmatch(MessageTypes()(raw))


@given(st.lists(st.one_of(st.text(), st.integers(0, 500).map(str), st.none()), max_size=300))
def test_any_names_give_clean_and_few_tags(raws: list[str | None]) -> None:
    """Every tag fits the pattern, at most 100 are distinct besides `other` and `unknown`, and a name keeps its tag."""
    types = MessageTypes()
    tags = {raw: types(raw) for raw in dict.fromkeys(raws)}
    assert all(CLEAN.fullmatch(tag) for tag in tags.values())
    assert len(set(tags.values()) - {"other", "unknown"}) <= 100
    assert {raw: types(raw) for raw in tags} == tags
