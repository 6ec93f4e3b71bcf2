"""Numbers as a person reads them: units of our own and of other metrics, at most nine characters, sparklines; wrapped
text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsnova_statsd.watch.figures import figure, sparkline, time_of, unit_of
from wsnova_statsd.watch.text import matches, paragraph, wrap


@pytest.mark.parametrize(
    ("name", "kind", "unit"),
    [
        ("websocket.message.process.duration", "gauge", "millisecond"),
        ("shop.websocket.message.process.duration.distribution", "distribution", "millisecond"),
        ("websocket.message.received.bytes", "count", "bytes"),
        ("websocket.kpi.time_to_reconnect_s", "gauge", "second"),
        ("shop.time_ms", "gauge", "millisecond"),
        ("shop.time", "timer", "millisecond"),
        ("shop.age.seconds", "gauge", "second"),
        ("shop.body_bytes", "distribution", "bytes"),
        ("cpu.percent", "gauge", "percent"),
        ("shop.forms", "count", ""),
    ],
)
def test_a_unit_is_that_of_the_catalogue_or_of_another_programs_name(name: str, kind: str, unit: str) -> None:
    assert unit_of(name, kind) == unit


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (None, "", ""),
        (0, "millisecond", "0 s"),
        (0.000271, "millisecond", "271 ns"),
        (1234, "millisecond", "1.23 s"),
        (7200, "second", "2 h"),
        (-0.5, "second", "-500 ms"),
        (1536, "bytes", "1.54 kB"),
        (0, "bytes", "0 B"),
        (12.34, "percent", "12.3 %"),
        (1234, "", "1,234"),
        (1_234_567, "", "1.23M"),
        (0.25, "", "0.250"),
        (0.00001234, "", "1.2e-05"),
        (1e18, "", "1.00e+18"),
    ],
)
def test_a_figure_has_the_unit_that_suits_its_size(value: float | None, unit: str, text: str) -> None:
    assert figure(value, unit) == text


@given(st.floats(), st.sampled_from(["", "millisecond", "second", "bytes", "percent"]))
def test_no_number_raises(value: float, unit: str) -> None:
    assert figure(value, unit)


@given(st.floats(-9e14, 9e14), st.sampled_from(["", "bytes"]))
def test_a_figure_is_short(value: float, unit: str) -> None:
    """So that a column of nine characters holds it."""
    assert len(figure(value, unit)) <= 9


def test_lengths_of_time_go_from_nanoseconds_to_days() -> None:
    assert [time_of(seconds) for seconds in (5e-9, 90, 3600, 200_000)] == ["5 ns", "1.50 min", "1 h", "2.31 d"]


def test_a_sparkline_goes_from_the_least_to_the_greatest_and_leaves_a_blank_for_nothing() -> None:
    assert sparkline((0, 5, 10), 5) == "  ▁▅█"
    assert sparkline((1, None, 1), 3) == "█ █"
    assert sparkline((None,), 2) == "  "
    assert sparkline((0, 0), 2) == "▁▁"
    assert sparkline((-2, 0, 2), 3) == "▁▅█"
    assert sparkline(tuple(range(100)), 4)[-1] == "█"


def test_words_are_wrapped_and_one_that_is_too_long_is_cut_into_pieces() -> None:
    assert wrap(["a.long", ".name", " tag:1", " tag:2"], 12, 14, 2) == ["a.long.name", "  tag:1 tag:2"]
    assert wrap(["abcdefghij"], 4, 5, 2) == ["abcd", "  efg", "  hij"]
    assert wrap([], 4, 4, 2) == [""]


@given(st.lists(st.text("ab.", min_size=1, max_size=9), max_size=9), st.integers(3, 12))
def test_nothing_is_lost_by_wrapping_and_no_line_is_too_long(words: list[str], width: int) -> None:
    lines = wrap([f" {word}" for word in words], width, width, 2)
    assert "".join(line.replace(" ", "") for line in lines) == "".join(words)
    assert all(len(line) <= width for line in lines)


def test_a_paragraph_keeps_its_line_feeds() -> None:
    assert paragraph("one two\nthree", 6, "dim", 1) == [[(" one", "dim")], [(" two", "dim")], [(" three", "dim")]]


def test_a_filter_is_all_of_its_words_in_any_case() -> None:
    assert matches("RTT md-1", "websocket.heartbeat.rtt", "client:md-1")
    assert not matches("rtt md-2", "websocket.heartbeat.rtt", "client:md-1")
    assert matches("", "anything")
