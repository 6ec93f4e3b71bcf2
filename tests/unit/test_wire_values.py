"""Numbers on the wire: written exactly, weighted exactly, packed full and never above the room."""

import itertools
import math
import random
from fractions import Fraction

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


def _joined(values: list[float], divisor: float | None) -> list[Fraction]:
    """What is written, as the exact numbers it stands for."""
    texts = wire.join_values(values, divisor).split(":")
    assert all(map(math.isfinite, _metric(f"a:{':'.join(texts[:20])}|d").values))
    return [Fraction(one) for one in texts]


SIZES = st.sampled_from([1, 2, 999, 1000, 1001, 2500])


@given(st.lists(st.integers(-(2**960), 2**960), min_size=1, max_size=20), SIZES, st.integers(-9, 9))
def test_integers_are_joined_exactly_in_any_decimal_unit(values: list[int], size: int, exponent: int) -> None:
    """Nanoseconds shipped as milliseconds lose nothing, however many they are and however large."""
    values = (values * size)[:size]
    assert _joined(list(values), float(f"1e{exponent}")) == [one / Fraction(10) ** exponent for one in values]
    assert _joined(list(values), None) == values


def test_what_the_agent_reads_of_integers_is_their_quotient() -> None:
    """To the last bit: 1234567e-6 is the float nearest to it, as is 1234567 / 1e6."""
    draw = random.Random(3)
    values = [draw.randrange(2 ** draw.randrange(1, 53)) for _ in range(20_000)]
    assert list(map(float, wire.join_values(values, 1e6).split(":"))) == [one / 1e6 for one in values]
    assert wire.join_values([1, 100_000_000], 1e6) == "1e-6:100000000e-6"


floats = st.floats(-(2.0**960), 2.0**960, allow_subnormal=False)


@given(
    st.lists(floats | st.integers(-(2**70), 2**70), min_size=1, max_size=20), SIZES, st.sampled_from([None, 1e6, 3.0])
)
def test_floats_are_joined_with_13_digits(values: list[float], size: int, divisor: float | None) -> None:
    """Also where integers stand among them: far below the 1 % that the Agent keeps of samples."""
    values = [1.5, *values][:size]
    for written, value in zip(_joined(values, divisor), values, strict=True):
        assert float(written) == pytest.approx(value / (divisor or 1), rel=1e-12, abs=1e-300)


def test_numbers_as_people_write_them_stay_as_they_are() -> None:
    """No digits are added."""
    assert wire.join_values([0.1, 12.5, 3.0, 1e22, -0.001]) == "0.1:12.5:3:1e+22:-0.001"
    assert wire.join_values([1.0, 250.0], 1e-3) == "1000:250000"
    assert wire.join_values([]) == ""


values = st.lists(st.from_regex(r"\A-?[0-9]{1,12}(\.[0-9]{1,6})?\Z"), max_size=60)


@given(values, st.integers(20, 90))
def test_values_are_cut_to_the_room_and_no_emptier(given_values: list[str], room: int) -> None:
    """Never above the room, all values in order, and no piece could have taken the first value of the next."""
    pieces = list(wire.cut_values(":".join(given_values), room))
    assert [value for piece, _ in pieces for value in piece.split(":")] == given_values
    assert all(count == len(piece.split(":")) for piece, count in pieces)
    assert all(len(piece) <= room for piece, _ in pieces)
    for (piece, _), (following, _) in itertools.pairwise(pieces):
        assert len(piece) + 1 + len(following.split(":")[0]) > room


def test_a_value_longer_than_the_room_stands_alone() -> None:
    """It takes no other value with it."""
    long = "2" * 30
    assert list(wire.cut_values(f"1:{long}:3:4", 10)) == [("1", 1), (long, 1), ("3:4", 2)]
    assert list(wire.cut_values(long, 10)) == [(long, 1)]


@pytest.mark.parametrize("value", ["", "abc", "é", "💥x"])
def test_size_counts_bytes(value: str) -> None:
    """The length on the wire, not that in characters."""
    assert wire.size(value) == len(value.encode())
