"""The application's own metrics: cleaned when a row is made, counted exactly; nothing is raised into the caller."""

import enum
import math
import threading
from collections.abc import Iterable
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import wsnova_statsd as ws
from wsnova_statsd.errors import ConfigurationError
from wsnova_statsd.metrics.definitions import Kind
from wsnova_statsd.metrics.direct import Direct, Names
from wsnova_statsd.metrics.store import OVERFLOW_TAGS, Series, Store

NOT_NUMBERS: list[object] = [math.nan, math.inf, -math.inf, True, False, None, "5", b"5", [], 10**400]


class _Rude:
    """Raises when asked for its text."""

    def __str__(self) -> str:
        raise RuntimeError("no")


class _Status(int, enum.Enum):
    """An integer whose text is not its number."""

    GONE = 410


class _Bench:
    """A store with one writer of a kind."""

    def __init__(self, kind: Kind, *, strict: bool = False, max_series: int = 2000, max_samples: int = 5000) -> None:
        self.store = Store(max_series, max_samples)
        self.direct = Direct(self.store, kind, strict)

    def series(self) -> Series:
        (one,) = self.store.fold()
        return one


def test_a_counter_adds_up() -> None:
    """Whole numbers stay whole."""
    bench = _Bench("counter")
    for value in (1, 5, 2.5):
        bench.direct.write("orders", value, ())
    assert (bench.series().name, bench.series().kind, bench.series().total) == ("orders", "counter", 8.5)


def test_a_gauge_keeps_the_last_value() -> None:
    """And is fresh."""
    bench = _Bench("gauge")
    for value in (3, 7, 4):
        bench.direct.write("depth", value, ())
    assert (bench.series().value, bench.series().fresh) == (4, True)


def test_a_distribution_keeps_every_value_up_to_its_bound() -> None:
    """The number beside them is exact."""
    bench = _Bench("distribution", max_samples=100)
    for value in range(50):
        bench.direct.write("ms", value, ())
    assert bench.series().batches == [(list(range(50)), 50)]
    for value in range(50_000):
        bench.direct.write("ms", value, ())
    assert sum(len(values) for values, _ in bench.series().batches) <= 100
    assert sum(stood for _, stood in bench.series().batches) == 50_050


@pytest.mark.parametrize("kind", ["counter", "gauge", "distribution"])
@pytest.mark.parametrize("value", NOT_NUMBERS)
def test_what_is_no_number_is_counted_as_invalid(kind: Kind, value: Any) -> None:
    """It raises nothing and changes nothing; strict, for tests, raises and says what was given."""
    bench = _Bench(kind)
    bench.direct.write("m", value, ())
    assert (bench.series().total, bench.series().value, bench.series().batches, bench.store.invalid) == (0, None, [], 1)
    with pytest.raises(ConfigurationError, match="finite number"):
        _Bench(kind, strict=True).direct.write("m", value, ())


def test_no_sum_grows_beyond_a_float() -> None:
    """The largest numbers that are accepted add up, as integers and floats, without an error for the caller."""
    bench = _Bench("counter")
    for value in (2**960, 1.5, 2**960, 2.0**960, 2**961, 1.7e308, int(1.7e308)):
        bench.direct.write("m", value, ())
    assert bench.series().total == 3 * Fraction(2) ** 960 + Fraction(3, 2)
    assert bench.store.invalid == 3


def test_numbers_of_other_classes_become_plain() -> None:
    """An integer enum's text is its name, which is no number on the wire."""
    bench = _Bench("gauge")
    bench.direct.write("status", _Status.GONE, ())
    assert (bench.series().value, type(bench.series().value)) == (410, int)


@pytest.mark.parametrize("tags", [["b:2", "a:1"], ("b:2", "a:1"), {"b": 2, "a": 1}, ["b:2", "a:1", "b:2", None, ""]])
def test_tags_are_a_list_a_tuple_or_a_mapping(tags: Any) -> None:
    """They all name the same series."""
    bench = _Bench("counter")
    bench.direct.write("m", 1, ("b:2", "a:1"))
    bench.direct.write("m", 1, tags)
    assert (bench.series().tags, bench.series().total) == (("b:2", "a:1"), 2)


def test_a_changed_list_of_tags_changes_nothing_counted() -> None:
    """The caller may use its list again."""
    bench, tags = _Bench("counter"), ["a:1"]
    bench.direct.write("m", 1, tags)
    tags[0] = "a:2"
    bench.direct.write("m", 1, tags)
    assert {one.tags: one.total for one in bench.store.fold()} == {("a:1",): 1, ("a:2",): 1}


@given(
    st.text() | st.binary() | st.integers() | st.none() | st.sampled_from([_Rude(), "a|b", "é\n", "x" * 500]),
    st.lists(st.text() | st.none() | st.integers())
    | st.dictionaries(st.text(), st.text() | st.none())
    | st.text()
    | st.sampled_from([None, 5, _Rude(), [_Rude()], {"k": _Rude()}, [["a"]]]),
)
def test_no_name_and_no_tags_raise(name: Any, tags: Any) -> None:
    """Every value is counted, under a clean name or as invalid."""
    bench = _Bench("counter")
    for _ in range(2):
        bench.direct.write(name, 1, tags)
    series = bench.store.fold()
    assert sum(one.total for one in series) + bench.store.invalid == 2
    assert len(series) <= 1


def test_hostile_names_and_tags_are_cleaned() -> None:
    """No datagram is forged by data."""
    bench = _Bench("counter")
    bench.direct.write("a b|c\n", 1, ["t:x|#y", "host:other", "dd.internal.card:none"])
    assert (bench.series().name, bench.series().tags) == ("a_b_c_", ("t:x__y", "host:other"))


def test_a_name_without_a_usable_character_is_invalid() -> None:
    """Every occurrence is counted, none is shipped under an empty name."""
    bench = _Bench("counter")
    for _ in range(3):
        bench.direct.write("|||", 1, ())
    assert bench.store.fold() == []
    assert bench.store.invalid == 3
    with pytest.raises(ConfigurationError, match="is invalid"):
        _Bench("counter", strict=True).direct.write("|||", 1, ())


def test_strict_refuses_a_name_that_would_be_changed() -> None:
    """And names what would be usable."""
    with pytest.raises(ConfigurationError, match="would be sent as 'a_b'"):
        _Bench("counter", strict=True).direct.write("a b", 1, ())


def test_a_name_of_another_kind_is_invalid() -> None:
    """A name never changes its type: what came first stays, the rest is counted as invalid."""
    store = Store()
    Direct(store, "counter", strict=False).write("m", 1, ("a:1",))
    for tags in ((), ("a:1",)):
        Direct(store, "gauge", strict=False).write("m", 5, tags)
    (series,) = store.fold()
    assert (series.kind, series.total, series.value) == ("counter", 1, None)
    assert store.invalid == 2
    with pytest.raises(ConfigurationError, match="already a counter"):
        Direct(store, "gauge", strict=True).write("m", 5, ())


def test_a_definitions_name_is_taken_before_its_first_event() -> None:
    """The application cannot change its kind, nor can a definition change that of the application's metric."""
    store = Store()
    registry = ws.HandlerRegistry([ws.counter("m", ws.events.MESSAGE_SENT)], store)
    Direct(store, "gauge", strict=False).write("m", 5, ())
    Direct(store, "counter", strict=False).write("m", 5, ())
    assert [(one.kind, one.total) for one in store.fold()] == [("counter", 5)]
    assert store.invalid == 1
    Direct(store, "gauge", strict=False).write("depth", 5, ())
    with pytest.raises(ConfigurationError, match="'depth' is already counted as a gauge"):
        registry.add(ws.counter("depth", ws.events.MESSAGE_SENT))


@pytest.mark.parametrize("tags", ["team:md", 5, [["team:md"]], [("team", "md")]])
def test_tags_that_are_no_list_are_refused(tags: Any, caplog: pytest.LogCaptureFixture) -> None:
    """The count would be in a series that was not meant: it is lost as invalid, and that is logged once."""
    bench = _Bench("counter")
    for _ in range(3):
        bench.direct.write("orders", 1, tags)
    assert (bench.store.fold(), bench.store.invalid) == ([], 3)
    (record,) = caplog.records
    assert "metric 'orders' was given the tags" in record.getMessage()
    assert "pass a list such as ['venue:xetr']" in record.getMessage()
    with pytest.raises(ConfigurationError, match="the tags of metric 'orders' are not a list or mapping; pass a list"):
        _Bench("counter", strict=True).direct.write("orders", 1, tags)


@pytest.mark.parametrize(
    ("first", "second", "sent"),
    [("a b", "a_b", "a_b"), ("a_b", "a b", "a_b"), ("a b", "a|b", "a_b"), ("x" * 250, "x" * 251, "x" * 196)],
)
def test_two_names_that_become_one_are_logged(
    first: str, second: str, sent: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Both count, and one record says so for each name that they become."""
    store, names = Store(), Names("app.")
    for name in (first, first, second, second, "other"):
        Direct(store, "counter", False, names).write(name, 1, ())
    assert {one.name: one.total for one in store.fold()} == {sent: 4, "other": 1}
    (record,) = caplog.records
    assert f"are both sent as 'app.{sent}'" in record.getMessage()


def test_a_name_that_becomes_a_definitions_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Those of events are taken already."""
    store = Store()
    ws.HandlerRegistry([ws.counter("a_b", ws.events.MESSAGE_SENT)], store)
    Direct(store, "counter", False).write("a b", 1, ())
    assert "the metric names 'a_b' and 'a b' are both sent as 'a_b'" in caplog.text


def test_a_name_after_a_namespace_may_begin_with_a_digit() -> None:
    """`http.2xx` is another metric than `http.xx`."""
    store, names = Store(), Names("http.")
    for name in ("2xx", "xx"):
        Direct(store, "counter", True, names).write(name, 1, ())
    assert sorted(one.name for one in store.fold()) == ["2xx", "xx"]


def test_a_set_keeps_each_member_once_in_a_window() -> None:
    """Any object by its text, of several threads; the next window begins anew."""
    bench = _Bench("set")
    threads = [threading.Thread(target=_add, args=(bench.direct, range(100 * n, 100 * n + 200))) for n in range(3)]
    for thread in threads:
        thread.start()
        thread.join()
    ((members, stood),) = bench.series().batches
    assert (sorted(members, key=int), stood) == ([str(n) for n in range(400)], 400)
    bench.series().batches = []
    _add(bench.direct, [5, "5", None, True])
    ((members, stood),) = bench.series().batches
    assert (members, stood, bench.store.invalid) == (["5", "true"], 2, 1)


def _add(direct: Direct, members: Iterable[object]) -> None:
    for member in members:
        direct.add_member("users", member, ())


def test_a_set_keeps_no_more_members_than_samples() -> None:
    """What has no place is counted, so that it can be reported as lost."""
    bench = _Bench("set", max_samples=100)
    for _ in range(2):
        _add(bench.direct, range(1000))
        _add(bench.direct, range(1000))
        series = bench.series()
    assert [len(members) for members, _ in series.batches] == [100]
    assert series.total == series.batches[0][1]
    assert series.total >= 1000


def test_endless_tag_values_end_in_one_overflow_series() -> None:
    """Exact in sum, and no row is kept for each value."""
    bench = _Bench("counter", max_series=10)
    for user in range(500):
        bench.direct.write("logins", 1, {"user": user})
    series = bench.store.fold()
    assert sum(one.total for one in series) == 500
    assert [one.total for one in series if one.tags == OVERFLOW_TAGS] == [490]
    assert sum(len(shard.rows) for shard in bench.store._shards) == 11


def test_endless_tags_of_a_refused_name_take_no_memory() -> None:
    """Of another kind, or with no usable character: one row counts them all as invalid, beside that of "m"."""
    bench = _Bench("counter")
    bench.direct.write("m", 1, ())
    gauges = Direct(bench.store, "gauge", strict=False)
    for user in range(500):
        gauges.write("m", 1, {"user": user})
        gauges.write("|", 1, {"user": user})
    assert len(bench.store.fold()) == 1
    assert bench.store.invalid == 1000
    assert sum(len(shard.rows) for shard in bench.store._shards) == 2


def test_a_child_counts_from_zero() -> None:
    """With the same writer."""
    bench = _Bench("counter")
    bench.direct.write("m", 5, ())
    bench.store.after_fork()
    bench.direct.write("m", 1, ())
    assert bench.series().total == 1
