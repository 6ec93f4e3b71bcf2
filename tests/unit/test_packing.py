"""Series become lines and packets: within the limit, well filled, each amount accepted, pending or told as lost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsnova_statsd import wire
from wsnova_statsd.metrics.definitions import Kind
from wsnova_statsd.metrics.store import Series
from wsnova_statsd.reporters.delivery_stats import Line
from wsnova_statsd.reporters.packing import TYPES, Packer
from wsnova_statsd.testing.clock import FakeClock

LIMIT = wire.UDP_BYTES


def _series(
    kind: Kind = "counter",
    name: str = "m",
    tags: tuple[str, ...] = (),
    *,
    state: bool = False,
    divisor: float | None = None,
) -> Series:
    return Series(name, kind, tags, divisor, state)


def _counted(total: float, name: str = "m", tags: tuple[str, ...] = ()) -> Series:
    series = _series("counter", name, tags)
    series.total = total
    return series


def _sampled(*batches: tuple[list[float], int], kind: Kind = "distribution", divisor: float | None = None) -> Series:
    series = _series(kind, divisor=divisor)
    for kept, stood in batches:
        series.take_samples(kept, stood, 10**9)
    return series


def _packer(
    limit: int = LIMIT, prefix: str = "", tags: tuple[str, ...] = (), suffix: int = 0, clock: FakeClock | None = None
) -> Packer:
    return Packer(prefix, tags, suffix, limit, clock=clock if clock is not None else FakeClock())


def _text(line: Line) -> str:
    """The line as the official client writes it."""
    made = f"{line.name}:{line.value}|{TYPES[line.series.kind]}"
    made += f"|@{wire.rate_of(line.weight)!r}" if line.weight > 1 else ""
    return made + ("|#" + ",".join(line.tags) if line.tags else "")


def _lines(packer: Packer, series: Series) -> list[Line]:
    return list(packer.lines(series))


def test_a_counter_tells_the_difference_since_what_was_accepted() -> None:
    """The cursor moves on acceptance only; nothing new, nothing said."""
    packer, series = _packer(), _counted(5)
    (line,) = _lines(packer, series)
    assert _text(line) == "m:5|c"
    (again,) = _lines(packer, series)
    assert again.value == "5"
    line.accept()
    assert _lines(packer, series) == []
    series.total += 2
    assert [one.value for one in _lines(packer, series)] == ["2"]


def test_a_refused_count_waits() -> None:
    """With what comes on top of it, and none of it is lost."""
    packer, series = _packer(), _counted(5)
    packer.delivery.refuse(_lines(packer, series))
    series.total += 1
    assert [one.value for one in _lines(packer, series)] == ["6"]
    assert (series.lost, packer.delivery.lost()) == (0, 0)


def test_a_gauge_is_told_once_per_sample() -> None:
    """A refused one is told again, with the value of that moment."""
    packer, series = _packer(), _series("gauge", divisor=1e6)
    assert _lines(packer, series) == []
    series.value, series.fresh = 12_500_000, True
    (line,) = _lines(packer, series)
    assert _text(line) == "m:12.5|g"
    assert _lines(packer, series) == []
    packer.delivery.refuse([line])
    series.value = 7_000_000
    assert [one.value for one in _lines(packer, series)] == ["7.0"]


def _flushes(clock: FakeClock, packer: Packer, series: Series, every: float, times: int) -> list[str]:
    """What leaves of one series with each of so many flushes; all of it is accepted."""
    told = []
    for _ in range(times):
        lines = [line for packet in packer.packets([series]) for line in packet]
        for line in lines:
            line.accept()
        told.append("".join(line.value for line in lines))
        clock.advance(every)
    return told


@pytest.mark.parametrize(
    ("every", "told"),
    [(1, ["1", "", "", "", "1", "", "", "", "1"]), (2, ["1", "", "1", "", "1"])],
)
def test_a_state_gauge_leaves_again_with_the_first_flush_four_seconds_later(every: float, told: list[str]) -> None:
    """Also where each flush is a little early; a new sample of the same value is no change."""
    clock = FakeClock()
    packer, series = _packer(clock=clock), _series("gauge", state=True)
    series.value = 1
    assert _flushes(clock, packer, series, every - 0.01, len(told)) == told
    series.fresh = True
    assert _flushes(clock, packer, series, every, 1) == [""]


@pytest.mark.parametrize("every", [5, 10])
def test_a_state_gauge_leaves_with_every_flush_of_a_long_interval(every: float) -> None:
    """The Agent's windows are ten seconds long, and none of them is without it."""
    clock = FakeClock()
    packer, series = _packer(clock=clock), _series("gauge", state=True)
    series.value = 1
    assert _flushes(clock, packer, series, every, 4) == ["1"] * 4


def test_a_state_gauge_leaves_when_it_changes_until_it_ends() -> None:
    """Also to 0; one that was refused leaves with the next flush; a new sample after its end brings it back."""
    clock = FakeClock()
    packer, series = _packer(clock=clock), _series("gauge", state=True)
    told = []
    for value in (1, 0, 0, 2):
        series.value = value
        told += _flushes(clock, packer, series, 1, 1)
    assert told == ["1", "0", "", "2"]
    series.value = 3
    (packet,) = packer.packets([series])
    for line in packet:
        line.keep()
    assert _flushes(clock, packer, series, 1, 2) == ["3", ""]
    series.ended = True
    assert _flushes(clock, packer, series, 10, 2) == ["", ""]
    series.fresh = True
    assert _flushes(clock, packer, series, 10, 2) == ["3", "3"]


def test_a_count_with_a_state_leaves_as_0_at_once_and_after_two_minutes_of_silence() -> None:
    """Until it ends; a value in between begins the two minutes anew, and nothing is booked for a 0."""
    clock = FakeClock()
    packer, series = _packer(clock=clock), _series("counter", state=True)
    assert _flushes(clock, packer, series, 60, 5) == ["0", "", "0", "", "0"]
    series.total = 7
    assert _flushes(clock, packer, series, 60, 3) == ["7", "", "0"]
    assert (series.total, series.delivered, series.unsettled) == (7, 7, True)
    series.ended = True
    assert _flushes(clock, packer, series, 300, 2) == ["", ""]
    assert not series.unsettled
    assert _flushes(clock, packer, _series("counter"), 300, 2) == ["", ""]


def test_samples_are_packed_into_one_line() -> None:
    """In their order, converted, and gone from the series."""
    packer, series = _packer(), _sampled(([1_000_000, 2_500_000], 2), divisor=1e6)
    (line,) = _lines(packer, series)
    assert _text(line) == "m:1000000e-6:2500000e-6|d"
    line.accept()
    assert (series.batches, series.delivered, series.total) == ([], 2, 2)


def test_a_summary_is_a_histogram() -> None:
    """The DogStatsD type that has statistics per host."""
    assert [_text(line) for line in _lines(_packer(), _sampled(([3, 4], 2), kind="summary"))] == ["m:3:4|h"]


def _weighed(line: Line) -> int:
    """How many samples the Agent takes this line for: it truncates 1/rate."""
    rate = float(repr(wire.rate_of(line.weight))) if line.weight > 1 else 1.0
    return len(line.value.split(":")) * int(1 / rate)


@given(st.lists(st.tuples(st.integers(1, 300), st.integers(0, 20_000)), min_size=1, max_size=4), st.integers(120, 1432))
def test_thinned_samples_stand_for_exactly_all(sizes: list[tuple[int, int]], limit: int) -> None:
    """By rates 1/n, some values for q and the others for q + 1, and each line within the limit."""
    packer = _packer(limit)
    series = _sampled(*(([float(i) for i in range(kept)], kept + more) for kept, more in sizes))
    lines = _lines(packer, series)
    assert sum(_weighed(line) for line in lines) == sum(line.amount for line in lines) == series.total
    assert packer.delivery.lost() == 0
    for line in lines:
        assert len(_text(line)) == line.size
        assert line.size < limit
        line.accept()
    assert series.delivered == series.total


def test_refused_samples_are_told_as_lost() -> None:
    """They are not kept for another time; the count of what is lost is that of what they stood for."""
    packer, series = _packer(), _sampled(([1.0, 2.0], 9))
    packer.delivery.refuse(_lines(packer, series))
    assert packer.delivery.lost() == series.lost == 9
    assert _lines(packer, series) == []


def test_prefix_tags_and_suffix_go_with_every_line() -> None:
    """Constant tags behind the series' own, none twice; the suffix is what the client adds, counted."""
    packer = _packer(prefix="app.", tags=("env:p", "a:1"), suffix=7)
    (line,) = _lines(packer, _counted(1, "orders", ("a:1", "b:2")))
    assert _text(line) == "app.orders:1|c|#a:1,b:2,env:p"
    assert line.size == len(_text(line)) + 7


def test_a_prefixed_name_stays_within_200_characters() -> None:
    """It is cut like any other name."""
    (line,) = _lines(_packer(prefix="p" * 100 + "."), _counted(1, "n" * 200))
    assert line.name == "p" * 100 + "." + "n" * 99


def test_what_fits_no_packet_is_told_as_lost_once() -> None:
    """A line with more tags than a packet holds is given up, the others go on."""
    packer = _packer()
    long = _counted(3, "long", tuple(f"k{i}:{'x' * 180}" for i in range(8)))
    packets = list(packer.packets([long, _counted(1, "short")]))
    assert [[line.name for line in packet] for packet in packets] == [["short"]]
    assert (packer.delivery.lost(), long.lost) == (3, 3)
    assert list(packer.packets([long])) == []
    assert packer.delivery.lost() == 3


def test_samples_too_long_for_a_packet_are_told_as_lost() -> None:
    """All that they stood for."""
    packer, series = _packer(60), _series("distribution", "n" * 60)
    series.take_samples([1.0, 2.0], 5, 100)
    assert _lines(packer, series) == []
    assert (packer.delivery.lost(), series.lost, series.total) == (5, 5, 5)


@pytest.mark.parametrize("total", [2**1023, -(2**1023)], ids=["above", "below"])
def test_a_total_beyond_the_wire_is_given_up(total: float) -> None:
    """It cannot stand on the wire, and does not stay pending for ever."""
    packer, series = _packer(), _counted(total)
    assert _lines(packer, series) == []
    assert (series.lost, packer.delivery.lost()) == (total, total)
    series.total += 1
    assert [line.value for line in _lines(packer, series)] == ["1"]
