"""Numbers on the wire: written exactly, weighted exactly, packed full and never above the room."""

import itertools
import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from wsnova_statsd import wire
from wsnova_statsd.testing.dogstatsd import Metric, parse_datagram


def _metric(line: str) -> Metric:
    (message,) = parse_datagram(line.encode())
    assert isinstance(message, Metric)
    return message


@given(st.integers() | st.integers(-(2**1030), 2**1030) | st.floats())
@example(2**53 + 1)
@example(5e-324)
def test_a_number_is_written_exactly_or_not_at_all(value: float) -> None:
    """What is written reads back as the same number, and nothing the Agent would drop is written."""
    text = wire.format_value(value)
    if text is None:
        assert not -(2**1023) < value < 2**1023
    else:
        assert type(value)(text) == value
        assert _metric(f"a:{text}|g").values == (float(value),)


def test_numbers_without_a_value_on_the_wire() -> None:
    """NaN, the infinities and integers beyond a float have no text."""
    assert [wire.format_value(one) for one in (math.nan, math.inf, -math.inf, 10**400)] == [None] * 4
    assert [wire.format_value(one) for one in (100, 12.5, -3, 1e22)] == ["100", "12.5", "-3", "1e+22"]


def test_every_rate_truncates_back_to_its_weight() -> None:
    """For every weight from 2 to 100000 the Agent, truncating 1/rate as it reads it, counts that many."""
    wrong = [n for n in range(2, 100_001) if int(1 / float(repr(wire.rate_of(n)))) != n]
    assert wrong == []
    assert all(0 < wire.rate_of(n) <= 1 for n in (1, 2, 100_000))


values = st.lists(st.from_regex(r"\A-?[0-9]{1,12}(\.[0-9]{1,6})?\Z"), max_size=60)


@given(values, st.integers(20, 90))
def test_values_are_packed_to_the_room_and_no_emptier(given_values: list[str], room: int) -> None:
    """Never above the room, all values in order, and no piece could have taken the first value of the next."""
    pieces = list(wire.pack_values(given_values, room))
    assert [value for piece, _ in pieces for value in piece.split(":")] == given_values
    assert all(count == len(piece.split(":")) for piece, count in pieces)
    assert all(len(piece) <= room for piece, _ in pieces)
    for (piece, _), (following, _) in itertools.pairwise(pieces):
        assert len(piece) + 1 + len(following.split(":")[0]) > room


def test_a_value_longer_than_the_room_stands_alone() -> None:
    """It takes no other value with it."""
    assert list(wire.pack_values(["1", "2" * 30, "3", "4"], 10)) == [("1", 1), ("2" * 30, 1), ("3:4", 2)]


@pytest.mark.parametrize("value", ["", "abc", "é", "💥x"])
def test_size_counts_bytes(value: str) -> None:
    """The length on the wire, not that in characters."""
    assert wire.size(value) == len(value.encode())
