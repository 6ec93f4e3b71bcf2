"""Series become lines and packets: within the limit, well filled, each amount delivered, pending or counted as lost."""

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

import wsnova_statsd as ws
from wsnova_statsd import wire
from wsnova_statsd.metrics.definitions import Kind
from wsnova_statsd.metrics.direct import Direct
from wsnova_statsd.metrics.store import Series, Store
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


def test_a_counter_sends_the_difference_since_what_was_accepted() -> None:
    """The cursor moves on acceptance only; without a change nothing is sent."""
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
    """It is sent with later counts, and none of it is lost."""
    packer, series = _packer(), _counted(5)
    packer.delivery.refuse(_lines(packer, series))
    series.total += 1
    assert [one.value for one in _lines(packer, series)] == ["6"]
    assert (series.lost, packer.delivery.lost()) == (0, 0)


def test_a_gauge_is_sent_once_per_sample() -> None:
    """A refused one is sent again, with the value of that moment."""
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
    """What each of so many flushes sends of one series; all of it is accepted."""
    reported = []
    for _ in range(times):
        lines = [line for packet in packer.packets([series]) for line in packet]
        for line in lines:
            line.accept()
        reported.append("".join(line.value for line in lines))
        clock.advance(every)
    return reported


@pytest.mark.parametrize(
    ("every", "reported"),
    [(1, ["1", "", "", "", "1", "", "", "", "1"]), (2, ["1", "", "1", "", "1"])],
)
def test_a_state_gauge_is_sent_again_by_the_first_flush_four_seconds_later(every: float, reported: list[str]) -> None:
    """Also if each flush is a little early; a new sample of the same value is no change."""
    clock = FakeClock()
    packer, series = _packer(clock=clock), _series("gauge", state=True)
    series.value = 1
    assert _flushes(clock, packer, series, every - 0.01, len(reported)) == reported
    series.fresh = True
    assert _flushes(clock, packer, series, every, 1) == [""]


@pytest.mark.parametrize("every", [5, 10])
def test_a_state_gauge_is_sent_by_every_flush_of_a_long_interval(every: float) -> None:
    """The Agent's windows are ten seconds long, and none of them is without it."""
    clock = FakeClock()
    packer, series = _packer(clock=clock), _series("gauge", state=True)
    series.value = 1
    assert _flushes(clock, packer, series, every, 4) == ["1"] * 4


def test_a_state_gauge_is_sent_when_it_changes_until_it_ends() -> None:
    """Also to 0; one that was refused is sent by the next flush; a new sample after its end brings it back."""
    clock = FakeClock()
    packer, series = _packer(clock=clock), _series("gauge", state=True)
    reported = []
    for value in (1, 0, 0, 2):
        series.value = value
        reported += _flushes(clock, packer, series, 1, 1)
    assert reported == ["1", "0", "", "2"]
    series.value = 3
    (packet,) = packer.packets([series])
    for line in packet:
        line.keep()
    assert _flushes(clock, packer, series, 1, 2) == ["3", ""]
    series.ended = True
    assert _flushes(clock, packer, series, 10, 2) == ["", ""]
    series.fresh = True
    assert _flushes(clock, packer, series, 10, 2) == ["3", "3"]


def test_a_count_with_a_state_is_sent_as_0_at_once_and_after_two_minutes_of_silence() -> None:
    """Until it ends; a value in between restarts the two minutes, and a 0 is not counted as delivered."""
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


def test_refused_samples_are_counted_as_lost() -> None:
    """They are not kept for the next flush; what is lost is what they stood for."""
    packer, series = _packer(), _sampled(([1.0, 2.0], 9))
    packer.delivery.refuse(_lines(packer, series))
    assert packer.delivery.lost() == series.lost == 9
    assert _lines(packer, series) == []


def test_prefix_tags_and_suffix_are_on_every_line() -> None:
    """Constant tags after the series' own, none twice; the suffix that the client adds is counted."""
    packer = _packer(prefix="app.", tags=("env:p", "a:1"), suffix=7)
    (line,) = _lines(packer, _counted(1, "orders", ("a:1", "b:2")))
    assert _text(line) == "app.orders:1|c|#a:1,b:2,env:p"
    assert line.size == len(_text(line)) + 7


def test_a_prefixed_name_stays_within_200_characters() -> None:
    """It is cut like any other name."""
    (line,) = _lines(_packer(prefix="p" * 100 + "."), _counted(1, "n" * 200))
    assert line.name == "p" * 100 + "." + "n" * 99


def test_a_line_that_is_longer_than_a_packet_is_alone_in_one() -> None:
    """Up to what the Agent reads at once, as the official client does; the lines around it share one."""
    packer = _packer()
    tags = tuple(f"k{i}:{'x' * 180}" for i in range(9))
    long, samples = _counted(3, "long", tags), _series("distribution", "samples", tags)
    samples.take_samples([1.0, 2.0], 2, 100)
    packets = list(packer.packets([_counted(1, "a"), _counted(1, "b"), long, samples, _counted(1, "c")]))
    assert [[line.name for line in packet] for packet in packets] == [["a", "b"], ["long"], ["samples"], ["c"]]
    assert packets[2][0].value == "1:2"
    assert packer.delivery.lost() == 0


@pytest.mark.parametrize("size", [8191, 8192])
def test_what_the_agent_does_not_read_is_lost_once_and_logged_once(size: int, caplog: pytest.LogCaptureFixture) -> None:
    """Of 8,192 bytes one is the line's LF; the log names the metric with such long tags, the others go on."""
    packer = _packer(tags=("all:" + "x" * 96,))
    long = _counted(3, "long", (f"{'y' * (size - 100 - len('long:3|c|#,'))}",))
    packets = list(packer.packets([long, _counted(1, "short")]))
    names = [line.name for packet in packets for line in packet]
    if size < 8192:
        assert (names, packer.delivery.lost(), len(_text(packets[0][0]))) == (["long", "short"], 0, size)
        return
    assert (names, packer.delivery.lost(), long.lost) == (["short"], 3, 3)
    long.total += 1
    assert list(packer.packets([long])) == []
    assert packer.delivery.lost_by_cause() == {"unsendable": 4}
    (record,) = caplog.records
    assert "'long' takes 8191 bytes before its value, 100 of them constant tags" in record.getMessage()


def test_samples_and_gauges_that_the_agent_does_not_read_are_lost() -> None:
    """All that they stood for; a gauge's value counts as one."""
    packer, series = _packer(), _series("distribution", tags=("t" * 9000,))
    series.take_samples([1.0, 2.0], 5, 100)
    assert _lines(packer, series) == []
    assert (packer.delivery.lost(), series.lost, series.total) == (5, 5, 5)
    gauge = _series("gauge", tags=("t" * 9000,))
    gauge.value, gauge.fresh = 1, True
    assert _lines(packer, gauge) == []
    assert packer.delivery.lost_by_cause() == {"unsendable": 6}


def test_a_set_is_a_line_for_each_member() -> None:
    """What was not tried waits; members beyond the bound are lost with their own cause."""
    packer, series = _packer(), _series("set", "users")
    series.take_members(["a", "b", "a"], 0, 100)
    series.take_members(["b", "c"], 0, 100)
    packets = _packer(limit=14).packets([series])
    (first,) = next(packets)
    packets.close()
    assert (_text(first), first.amount) == ("users:a|s", 1)
    first.accept()
    assert [_text(line) for line in _lines(packer, series)] == ["users:b|s", "users:c|s"]
    assert (series.total, series.delivered) == (3, 1)
    series.take_members([str(number) for number in range(10)], 5, 4)
    assert [line.value for line in _lines(packer, series)] == ["0", "1", "2", "3"]
    assert packer.delivery.lost_by_cause() == {"overflow": 11}


@pytest.mark.parametrize(
    ("amounts", "sent"),
    [
        ([[0.1]] * 5, ["0.1"] * 5),
        ([[0.1] * 10], ["1.0"]),
        ([[1e16], [1.0] * 1000], ["10000000000000000", "1000"]),
        ([[2**53, 1.0, 0.5]], ["9007199254740994.0"]),
        ([[10**18, 1.0]], ["1000000000000000001"]),
        ([[1e280], [1.0, -1e280]], ["1e+280", "-1e+280"]),
    ],
)
def test_floats_that_are_counted_are_sent_as_their_exact_sum(amounts: list[list[float]], sent: list[str]) -> None:
    """With any number of flushes between: no noise in small sums, no loss in large ones."""
    store, packer, values = Store(), _packer(), []
    counter = Direct(store, "counter", strict=True)
    for window in amounts:
        for amount in window:
            counter.write("paid", amount, ())
        for series in store.fold():
            for line in _lines(packer, series):
                values.append(line.value)
                packer.delivery.accept([line])
    assert values == sent
    account = packer.delivery.accounts(store.series)["counter"]
    assert (account.pending, account.delivered) == (0, math.fsum(amount for window in amounts for amount in window))


@given(st.lists(st.floats(-1e15, 1e15) | st.integers(-(10**18), 10**18), max_size=30))
def test_any_numbers_add_up_without_rounding(amounts: list[float]) -> None:
    """The same for the sum of an event, in any order."""
    store, bus = Store(), ws.Bus()
    ws.HandlerRegistry([ws.sum_("paid", "shop.paid", "amount")], store).attach(bus)
    counter = Direct(store, "counter", strict=True)
    for amount in amounts:
        bus.execute("shop.paid", {"amount": amount}, {})
        counter.write("own", amount, ())
        store.fold()
    expected = sum(map(Fraction, amounts))
    assert {one.name: one.total for one in store.fold()} == ({"paid": expected, "own": expected} if amounts else {})


@pytest.mark.parametrize("total", [2**1023, -(2**1023)], ids=["above", "below"])
def test_a_total_beyond_the_wire_is_given_up(total: float) -> None:
    """It cannot be written on the wire, and does not stay pending for ever."""
    packer, series = _packer(), _counted(total)
    assert _lines(packer, series) == []
    assert (series.lost, packer.delivery.lost()) == (total, total)
    series.total += 1
    assert [line.value for line in _lines(packer, series)] == ["1"]
