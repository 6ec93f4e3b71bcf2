"""What arrived, added up: totals and rates by a fake clock, bounds, what is rejected, and what is forgotten."""

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsnova_statsd.testing.clock import FakeClock
from wsnova_statsd.watch import model as model_module
from wsnova_statsd.watch.model import Model
from wsnova_statsd.watch.snapshot import Row


def _model(clock: FakeClock, *datagrams: bytes) -> Model:
    model = Model(clock, lambda: 1000.0)
    model.take(datagrams)
    return model


def _rows(model: Model) -> dict[str, Row]:
    return {f"{row.name}#{','.join(row.tags)}": row for row in model.rows()}


def test_counts_add_up_gauges_keep_the_last_and_distributions_have_figures() -> None:
    """Each set of tags by itself; the weight of a sample rate counts."""
    model = _model(
        FakeClock(),
        b"c:2|c|#a:1\nc:3|c|#a:1\ng:1.5|g\ng:2.5|g\nd:1:2:6|d",
        b"d:3|d|@0.5\nc:7|c|#a:2\nm:al|s\nm:bo|s\nm:al|s",
    )
    rows = _rows(model)
    assert (rows["c#a:1"].value, rows["c#a:2"].value, rows["g#"].value) == (5.0, 7.0, 2.5)
    assert rows["m#"].value == 2.0
    figures = rows["d#"].figures
    assert figures is not None
    assert (figures.n, figures.mean, figures.max) == (5.0, 3.0, 6.0)
    assert (model.lines, model.datagrams) == (10, 2)


@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=150))
def test_quantiles_are_right_within_a_thirty_second_of_themselves(values: list[float]) -> None:
    """Below zero too."""
    model = _model(FakeClock(), b"d:%b|d" % b":".join(repr(value).encode() for value in values))
    figures = model.rows()[0].figures
    assert figures is not None
    for share, found in ((0.5, figures.p50), (0.95, figures.p95)):
        exact = sorted(values)[max(0, -int(-share * len(values) // 1) - 1)]
        assert found == pytest.approx(exact, rel=1 / 16, abs=1e-300)
    assert figures.max == max(values)


def test_a_rate_is_that_of_the_last_ten_seconds() -> None:
    clock = FakeClock()
    model = _model(clock)
    for _ in range(30):
        model.take([b"c:10|c\nd:1:2|d"])
        clock.advance(1)
    assert _rows(model)["c#"].rate == 10.0
    assert _rows(model)["d#"].rate == 2.0
    assert model.lines_per_s == 2.0
    clock.advance(10)
    assert _rows(model)["c#"].rate == 0.0


def test_the_history_has_a_figure_for_each_second_and_is_bounded() -> None:
    """A count's sum, a gauge's value held, a distribution's mean or nothing."""
    clock = FakeClock()
    model = _model(clock, b"c:4|c\ng:7|g\nd:1:3|d")
    clock.advance(1)
    model.take([b"c:5|c"])
    clock.advance(1)
    rows = _rows(model)
    assert rows["c#"].history == (4.0, 5.0)
    assert rows["g#"].history == (7.0, 7.0)
    assert rows["d#"].history == (2.0, None)
    clock.advance(100_000)
    assert len(_rows(model)["c#"].history) == 60


def test_a_distributions_figures_are_those_of_the_last_minute() -> None:
    """What is older than that is gone, whatever the maximum was."""
    clock = FakeClock()
    model = _model(clock, b"d:1000|d")
    clock.advance(31)
    model.take([b"d:1|d"])
    figures = model.rows()[0].figures
    assert figures is not None
    assert figures.max == 1000
    clock.advance(31)
    model.take([b"d:2|d"])
    figures = model.rows()[0].figures
    assert figures is not None
    assert (figures.n, figures.max) == (2.0, 2.0)
    clock.advance(200)
    assert model.rows()[0].figures is None


def test_a_line_that_cannot_be_read_harms_none_of_its_neighbours() -> None:
    model = _model(FakeClock(), b"a:1|c\nrubbish\nb:nan|g\nc:1e999|g\nd:1.2.3|c\na:2|c\n\n\xff\xfe:1|c")
    model.take([b"c:1e999|g\na:1.2.3|c\na:3|c"])
    rows = _rows(model)
    assert rows["a#"].value == 6.0
    assert "b#" not in rows
    _, _, rejected, _ = model.seen()
    assert {one.reason.partition(":")[0]: one.count for one in rejected} == {
        "no metric": 1,
        "a value that is NaN or infinite": 1,
        "a value beyond 1e+100, which is too large to be added up here": 2,
        "a value that is not a number": 2,
    }


@pytest.mark.parametrize(
    "line", [b"h:1e308|d", b"h:-1e308:-1e308|c", b"h:1e308|g", b"h:1|c|@1e-310", b"h:1|d|@5e-324", b"h:1|c|@1e400"]
)
def test_no_sum_leaves_the_range_of_a_float(line: bytes) -> None:
    """Such a line is reported and makes no series; its neighbours are added up, and every figure fits into JSON."""
    model = _model(FakeClock(), *[line] * 3, b"a:1|c\n%b\nd:1:3|d" % line)
    rows = model.rows()
    assert [(row.name, row.value) for row in rows] == [("a", 1.0), ("d", 2.0)]
    assert [one.count for one in model.seen()[2]] == [4]
    json.dumps([dataclasses.asdict(row) for row in rows], allow_nan=False)


def test_a_datagram_that_the_agent_would_cut_is_cut_and_reported() -> None:
    """The line that is cut in half counts nowhere."""
    model = _model(FakeClock(), b"a:1|c\n" * 2000)
    reported = [(one.count, one.reason.partition(":")[0]) for one in model.seen()[2]]
    cut = "a datagram of more than 8192 bytes, of which the Agent reads no more"
    assert reported == [(1, cut), (1, "no type that there is")]
    assert _rows(model)["a#"].value == 8192 // 6


def test_long_lines_are_added_up_too_and_not_remembered() -> None:
    """Twenty thousand of them would need much memory."""
    tag = "x" * 4000
    model = _model(FakeClock(), *(f"c:{number}|c|#{tag}".encode() for number in range(5)))
    model.take([f"d:1:2|d|#{tag}".encode(), f"d:1e999|d|#{tag}".encode()])
    assert [row.value for row in model.rows()] == [10.0, 1.5]
    assert [one.count for one in model.seen()[2]] == [1]


def test_events_and_checks_are_kept_in_order_and_bounded() -> None:
    model = _model(FakeClock())
    model.take(f"_e{{{len(str(number))},1}}:{number}|x|t:error".encode() for number in range(700))
    model.take(f"_sc|check{number}|1|m:no".encode() for number in range(600))
    model.take([b"_sc|check0|0"])
    events, checks, _, crowded = model.seen()
    assert (len(events), events[-1].title, events[-1].number, events[-1].at) == (500, "699", 700, 1000.0)
    assert (len(checks), checks[0].status, crowded) == (500, 0, 100)


def test_series_beyond_the_bound_are_counted_until_others_have_been_silent_for_a_minute() -> None:
    clock = FakeClock()
    model = _model(clock)
    model.take(f"n{number}:1|c".encode() for number in range(model_module.MOST_SERIES + 5))
    assert (len(model.rows()), model.seen()[3]) == (model_module.MOST_SERIES, 5)
    clock.advance(61)
    model.take([b"n0:1|c", b"late:1|c", b"late:1|c"])
    rows = _rows(model)
    assert (rows["n0#"].value, rows["late#"].value) == (2.0, 2.0)


def test_lines_that_differ_in_more_than_their_value_are_bounded_and_none_is_lost() -> None:
    """A timestamp makes every line different; the sum is still exact."""
    model = _model(FakeClock())
    many = 45_000
    model.take(f"c:1|c|T{number}".encode() for number in range(many))
    assert _rows(model)["c#"].value == many


def test_memory_does_not_grow_with_the_values_that_came() -> None:
    """What waits to be added up is bounded, and so are bins and histories."""
    import tracemalloc

    model = _model(FakeClock())
    datagram = b"\n".join(b"d:%d:%d|d" % (number, number * 7) for number in range(100))
    tracemalloc.start()
    for _ in range(600):
        model.take([datagram])
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(1800):
        model.take([datagram])
    assert tracemalloc.get_traced_memory()[0] < before + 4_000_000
    tracemalloc.stop()


def test_after_clear_everything_but_the_overall_totals_begins_anew() -> None:
    clock = FakeClock()
    model = _model(clock, b"a:1|c\nrubbish\n_sc|up|0")
    clock.advance(5)
    model.clear()
    assert (model.rows(), model.seen(), model.seconds, model.lines) == ([], ((), (), (), 0), 0.0, 3)
    model.take([b"a:1|c"])
    assert _rows(model)["a#"].value == 1.0


@given(st.lists(st.binary(max_size=80), max_size=20))
def test_no_datagram_raises(datagrams: list[bytes]) -> None:
    """For any content, and every line of it is counted."""
    model = _model(FakeClock(), *datagrams)
    model.rows()
    assert model.lines == sum(data.count(b"\n") + (not data.endswith(b"\n")) for data in datagrams)
