"""Packets are full and never too large, and a flush that stops anywhere accounts for everything."""

import itertools
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from wsnova_statsd import wire
from wsnova_statsd.metrics.definitions import Kind
from wsnova_statsd.metrics.store import Series
from wsnova_statsd.reporters.delivery_stats import Line
from wsnova_statsd.reporters.packing import TYPES, Packer

LIMIT = wire.UDP_BYTES
Spec = tuple[Kind, int, int, int, int]  # kind, length of the name, tags, samples or amount, occurrences without sample


def _text(line: Line) -> str:
    """The line as the official client writes it."""
    made = f"{line.name}:{line.value}|{TYPES[line.series.kind]}"
    made += f"|@{wire.rate_of(line.weight)!r}" if line.weight > 1 else ""
    return made + ("|#" + ",".join(line.tags) if line.tags else "")


def _datagram(packet: list[Line], suffix: int = 0) -> bytes:
    return "".join(_text(line) + "s" * suffix + "\n" for line in packet).encode()


kinds = st.sampled_from(["counter", "gauge", "distribution", "sum", "summary"])
specs = st.tuples(kinds, st.integers(1, 40), st.integers(0, 3), st.integers(1, 400), st.integers(0, 900))


def _make(index: int, spec: Spec) -> Series:
    kind, name, tags, samples, thinned = spec
    series = Series(f"m{index}" + "x" * name, kind, tuple(f"tag{i}:größe{i}" for i in range(tags)), None, False)
    if kind == "gauge":
        series.value, series.fresh = 1.5 * samples, True
    elif kind in ("counter", "sum"):
        series.total = samples
    else:
        series.take_samples([i * 0.1 for i in range(samples)], samples + thinned, 10**9)
    return series


@given(st.lists(specs, max_size=40), st.sampled_from([512, LIMIT, wire.UNIX_BYTES]), st.sampled_from([0, 30]))
def test_packets_are_never_above_the_limit_and_never_emptier_than_necessary(
    given_specs: list[Spec], limit: int, suffix: int
) -> None:
    """Counted in bytes as sent, LF and suffix too; no packet had room for the first line of the next."""
    packer = Packer("", (), suffix, limit)
    packets = list(packer.packets(_make(index, spec) for index, spec in enumerate(given_specs)))
    sizes = [len(_datagram(packet, suffix)) for packet in packets]
    assert all(0 < size <= limit for size in sizes)
    assert sizes == [sum(line.size + 1 for line in packet) for packet in packets]
    for size, following in itertools.pairwise(zip(sizes, packets, strict=True)):
        assert size[0] + following[1][0].size + 1 > limit
    lines = [line for packet in packets for line in packet]
    assert {line.series.name for line in lines} == {f"m{i}" + "x" * spec[1] for i, spec in enumerate(given_specs)}
    assert packer.delivery.lost() == 0


def test_a_packet_may_be_exactly_as_large_as_the_limit_and_not_a_byte_larger() -> None:
    """Lines of 20 bytes, LF included, under every limit there can be."""
    for limit in range(60, 101):
        packer = Packer("", (), 0, limit)
        series = [Series(f"name.{number:010}", "counter", (), None, False) for number in range(30)]
        for one in series:
            one.total = 7
        sizes = [len(_datagram(packet)) for packet in packer.packets(series)]
        assert set(sizes[:-1]) == {limit // 20 * 20}


def test_samples_that_a_stopped_flush_did_not_reach_wait_for_the_next() -> None:
    """Of two windows that wait only the refused packet's samples are lost when the first is interrupted."""
    packer, series = Packer("", (), 0, 200), Series("m", "distribution", (), None, False)
    series.take_samples([float(i) for i in range(300)], 300, 10**9)
    series.take_samples([1.0, 2.0], 5, 10**9)
    refused = _flush(packer, [series], lambda number: number < 1)
    assert 20 < len(refused[0].batch) < 60
    assert packer.delivery.lost() == len(refused[0].batch)
    went = int(series.delivered + series.lost)
    assert [value for values, _ in series.batches[:-1] for value in values] == [float(i) for i in range(went, 300)]
    assert series.batches[-1] == ([1.0, 2.0], 5)
    _flush(packer, [series], lambda number: True)
    assert series.delivered + series.lost == 305
    assert packer.delivery.lost() == len(refused[0].batch)


def test_one_large_distribution_fills_its_packets() -> None:
    """Except for the last one, each is full to a value's length."""
    series = Series("m", "distribution", (), None, False)
    series.take_samples([i * 0.25 for i in range(5_000)], 5_000, 10**9)
    sizes = [len(_datagram(packet)) for packet in Packer("", (), 0, LIMIT).packets([series])]
    assert all(LIMIT - 8 <= size <= LIMIT for size in sizes[:-1])


@given(st.lists(specs, min_size=1, max_size=30), st.integers(0, 12))
def test_a_flush_that_stops_loses_nothing_uncounted(given_specs: list[Spec], taken: int) -> None:
    """Closing the iterator anywhere leaves every amount delivered, pending or counted as lost; a later flush works."""
    packer, all_series = Packer("", (), 0, 512), [_make(index, spec) for index, spec in enumerate(given_specs)]
    refused = _flush(packer, all_series, lambda number: number < taken)
    for series in all_series:
        waiting = sum(stood for _, stood in series.batches)
        if series.kind in ("summary", "distribution"):
            assert series.delivered + series.lost + waiting == series.total
        elif series.kind != "gauge":
            assert series.lost == 0
            assert series.delivered in (0, series.total)
    assert sum(series.lost for series in all_series) == packer.delivery.lost()
    assert packer.delivery.lost() == sum(line.amount for line in refused if line.batch)
    _flush(packer, all_series, lambda number: True)
    for series in all_series:
        assert series.kind == "gauge" or series.delivered + series.lost == series.total
        assert not series.fresh
        assert series.batches == []


def test_values_that_cannot_be_written_are_lost_alone() -> None:
    """The series after them are sent, and nothing is tried for ever."""
    packer, good = Packer("", (), 0, LIMIT), Series("good", "counter", (), None, False)
    bad = Series("bad", "distribution", (), 3.0, False)
    good.total = 3
    bad.take_samples([10**400], 7, 10)
    assert [[line.name for line in packet] for packet in packer.packets([bad, good])] == [["good"]]
    assert (bad.lost, bad.batches, packer.delivery.lost()) == (7, [], 7)


def _flush(packer: Packer, all_series: list[Series], accepts: Callable[[int], bool]) -> list[Line]:
    """Ship packets until the first refusal, as the reporter does; returns the packet that was refused."""
    packets = packer.packets(all_series)
    for number, packet in enumerate(packets):
        if not accepts(number):
            packer.delivery.refuse(packet)
            packets.close()
            return packet
        packer.delivery.accept(packet)
    return []
