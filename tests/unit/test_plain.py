"""Plain StatsD: types, numbers and names that any server reads, with or without tags, one value a line."""

import logging
import math
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsnova_statsd.metrics.definitions import Kind
from wsnova_statsd.metrics.store import Series
from wsnova_statsd.reporters.delivery_stats import Line
from wsnova_statsd.reporters.plain import (
    TYPES,
    PlainPacker,
    TagFormat,
    exact_weights,
    plain_number,
    plain_rate,
    tagged_name,
)

LIMIT = 1432


def _packer(tag_format: TagFormat | None = None, tags: tuple[str, ...] = (), limit: int = LIMIT) -> PlainPacker:
    return PlainPacker(tag_format, "app.", tags, 0, limit)


def _series(kind: Kind, name: str = "m", tags: tuple[str, ...] = (), value: float | None = None) -> Series:
    series = Series(name, kind, tags, None, False)
    if value is not None and kind == "gauge":
        series.value, series.fresh = value, True
    elif value is not None:
        series.total = value
    return series


def _text(line: Line) -> str:
    rate = f"|@{plain_rate(line.weight)}" if line.weight > 1 else ""
    return f"{line.name}:{line.value}|{TYPES[line.series.kind]}{rate}"


def _texts(packer: PlainPacker, *all_series: Series) -> list[str]:
    texts = []
    for packet in packer.packets(all_series):
        packer.delivery.accept(packet)
        for line in packet:
            assert len(_text(line)) == line.size
        texts.append("\n".join(map(_text, packet)))
    return texts


@pytest.mark.parametrize("kind", ["counter", "gauge"])
def test_tags_that_are_written_alike_are_logged_once(kind: Kind, caplog: pytest.LogCaptureFixture) -> None:
    """Their counts add up on the server; of their gauges the first is sent. The same tags again are the same series."""
    packer = _packer("graphite")
    series = [_series(kind, "orders", (f"venue:{one}",), 1) for one in ("東京", "大阪", "東京", "a")]
    texts = _texts(packer, *series)[0].split("\n")
    assert texts.count(f"app.orders;venue=__:1|{TYPES[kind]}") == (3 if kind == "counter" else 1)
    reported = [record.getMessage() for record in caplog.records if "both written as" in record.getMessage()]
    assert "'venue:東京' and 'venue:大阪' are both written as 'app.orders;venue=__'" in reported[0]
    assert len(reported) == 1
    assert packer.delivery.lost_by_cause().get("untagged", 0) == (2 if kind == "gauge" else 0)


def test_without_a_format_no_tag_is_written() -> None:
    """Neither the series' own nor the constant ones; the server adds up counters of one name."""
    packer = _packer(tags=("env:prod",))
    counters = [_series("counter", "orders", (f"venue:{one}",), 2) for one in "ab"]
    assert _texts(packer, *counters) == ["app.orders:2|c\napp.orders:2|c"]


@pytest.mark.parametrize(
    ("tag_format", "name"),
    [
        ("graphite", "app.m;venue=x_y;flag=true;path=a_b;env=prod"),
        ("influx", "app.m,venue=x_y,flag=true,path=a_b,env=prod"),
    ],
)
def test_tags_may_be_part_of_the_name(tag_format: TagFormat, name: str) -> None:
    """What would end the name becomes `_`."""
    series = _series("counter", tags=("venue:x:y", "flag", "path:a/b"), value=1)
    assert _texts(_packer(tag_format, ("env:prod",)), series) == [f"{name}:1|c"]


def test_what_is_sampled_is_a_timer_one_value_a_line() -> None:
    """Durations or not, of a distribution, a histogram or a timer; thinned ones carry a rate that any server reads."""
    for kind in ("distribution", "summary", "timing"):
        series = Series("m", kind, (), 1e6, False)
        series.take_samples([1_500_000, 2_000_000, 10], 3, 100)
        assert _texts(_packer(), series) == ["app.m:1.5|ms\napp.m:2.0|ms\napp.m:0.00001|ms"]
        series.take_samples([1e6, 2e6], 5, 100)
        assert _texts(_packer(), series) == [f"app.m:1.0|ms|@{plain_rate(3)}\napp.m:2.0|ms|@0.5"]
        assert series.total == series.delivered == 8


def test_a_set_is_a_set() -> None:
    """Every server has that type."""
    series = _series("set", "users")
    series.take_members(["a", "b"], 0, 10)
    assert _texts(_packer(), series) == ["app.users:a|s\napp.users:b|s"]


def test_a_negative_gauge_follows_a_zero_in_the_same_packet() -> None:
    """A sign would make it a difference; minus zero is zero."""
    packer = _packer()
    assert _texts(packer, _series("gauge", value=-5)) == ["app.m:0|g\napp.m:-5|g"]
    assert _texts(_packer(), _series("gauge", value=-0.0)) == ["app.m:0.0|g"]
    assert _texts(_packer(), _series("gauge", value=5)) == ["app.m:5|g"]
    two = [_series("gauge", "a" * 500, value=-1), _series("gauge", "b" * 500, value=-1)]
    assert [text.count("\n") for text in _texts(_packer(limit=600), *two)] == [1, 1]


def test_of_gauges_that_differ_in_tags_the_first_is_sent(caplog: pytest.LogCaptureFixture) -> None:
    """The others are lost with their own cause, logged once; when the first expires another takes the name."""
    packer = _packer()
    gauges = [_series("gauge", "depth", (f"venue:{one}",), value) for value, one in enumerate("abc", 1)]
    assert _texts(packer, *gauges) == ["app.depth:1|g"]
    for value, gauge in enumerate(gauges, 7):
        gauge.value, gauge.fresh = value, True
    assert _texts(packer, *gauges) == ["app.depth:7|g"]
    assert packer.delivery.lost_by_cause() == {"untagged": 4}
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "'untagged': gauges 'depth' differ in tags" in record.getMessage()
    gauges[2].fresh = True
    assert _texts(packer, gauges[2]) == ["app.depth:9|g"]


def test_with_a_format_every_gauge_is_sent() -> None:
    """Each has its own name."""
    packer = _packer("graphite")
    gauges = [_series("gauge", "depth", (f"venue:{one}",), 1) for one in "ab"]
    assert _texts(packer, *gauges) == ["app.depth;venue=a:1|g\napp.depth;venue=b:1|g"]
    assert packer.delivery.lost() == 0


def test_what_no_server_accepts_is_lost_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A negative timer, and a line that exceeds any datagram."""
    series = _series("distribution")
    series.take_samples([-1.0, 2.0], 2, 100)
    packer = _packer()
    assert _texts(packer, series) == ["app.m:2.0|ms"]
    assert _texts(packer, _series("counter", value=10**9000)) == []
    assert packer.delivery.lost_by_cause() == {"unsendable": 1 + 10**9000} or packer.delivery.lost() > 1
    assert "no negative timers" in caplog.text


def test_a_flush_that_stops_between_two_values_loses_none() -> None:
    """What was not tried waits with its weight."""
    series = _series("distribution")
    series.take_samples([1.0, 2.0, 3.0], 7, 100)
    packer = _packer(limit=16)
    packets = packer.packets([series])
    packer.delivery.accept(next(packets))
    packets.close()
    assert (series.delivered, sum(stood for _, stood in series.batches)) == (3, 4)
    assert _texts(packer, series) == [f"app.m:2.0|ms|@{plain_rate(2)}", f"app.m:3.0|ms|@{plain_rate(2)}"]
    assert series.delivered == 7


@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**30), 10**30))
def test_a_number_has_no_exponent_and_stays_the_same(value: float) -> None:
    """Digits, a point and a minus only."""
    text = plain_number(value)
    assert text is not None
    assert set(text) <= set("0123456789.-")
    assert Decimal(text) == Decimal(repr(value))
    assert text[0] != "-" or value < 0


def test_a_number_beyond_a_float_is_not_sent() -> None:
    """It is counted as lost."""
    assert [plain_number(value) for value in (math.inf, -math.inf, math.nan, 1 << 1024)] == [None] * 4


def test_rates_stand_for_exactly_their_weight() -> None:
    """As a server divides by them; without an exponent, at which some stop reading. For 49 there is no such rate."""
    for weight in (*range(2, 3_000), 10**5, 123_457, 10**6):
        rates = [plain_rate(part) for part in exact_weights(weight)]
        assert not any("e" in rate for rate in rates)
        assert sum(1 / float(rate) for rate in rates) == weight
    assert exact_weights(49) == [48, 1]


def test_a_weight_without_a_rate_is_two_lines_and_a_flush_may_stop_between_them() -> None:
    """What was not tried waits."""
    series = _series("distribution")
    series.take_samples([1.0], 49, 100)
    packer = _packer(limit=16)
    packets = packer.packets([series])
    packer.delivery.accept(next(packets))
    packets.close()
    assert (series.delivered, series.batches) == (48, [([1.0], 1)])
    assert _texts(packer, series) == ["app.m:1.0|ms"]
    assert series.delivered == 49


@given(st.lists(st.text(max_size=30), max_size=5), st.sampled_from(["graphite", "influx"]))
def test_no_tag_ends_the_name(tags: list[str], tag_format: TagFormat) -> None:
    """With any content: there are as many pairs as tags, and neither a colon nor a bar."""
    separator = ";" if tag_format == "graphite" else ","
    name, *pairs = tagged_name("m", tags, tag_format).split(separator)
    assert (name, len(pairs)) == ("m", len(tags))
    assert all(pair.count("=") == 1 and not set(":|\n @#") & set(pair) and pair.isascii() for pair in pairs)
