"""The store adds up exactly, keeps a bounded and unbiased choice of samples, and bounds the number of series."""

import random
from collections.abc import Iterable, Iterator
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

import wsnova_statsd as ws
from wsnova_statsd.metrics.plan import handler
from wsnova_statsd.metrics.store import OVERFLOW_TAGS, Series, Store

EVENT = ws.events.MESSAGE_RECEIVED
DISTRIBUTION = ws.distribution("d", EVENT, "size")


@pytest.fixture(autouse=True)
def _same_dice() -> Iterator[None]:
    """Thinning is random; here it is the same in every run."""
    state = random.getstate()
    random.seed(20_240_229)
    yield
    random.setstate(state)


def _window(values: Iterable[float], limit: int, folds: int = 1) -> Series:
    """One distribution that saw these values, folded that many times while they came."""
    store = Store(max_samples=limit)
    handle = handler(store, [DISTRIBUTION]).function
    given_values = list(values)
    step = max(1, len(given_values) // folds)
    for start in range(0, len(given_values), step):
        for value in given_values[start : start + step]:
            handle(EVENT, {"size": value}, {}, None)
        (series,) = store.fold()
    return series


def _kept(series: Series) -> list[float]:
    return [value for values, _ in series.batches for value in values]


def _mean(series: Series) -> float:
    """The mean that the Agent will compute: each batch weighs what it stands for."""
    return float(sum(sum(values) / len(values) * stood for values, stood in series.batches) / series.total)


def test_below_the_limit_every_sample_is_kept_in_order() -> None:
    """Thinning begins only when it must."""
    assert _kept(_window(range(99), limit=100)) == list(range(99))


@pytest.mark.parametrize("folds", [1, 7])
@pytest.mark.parametrize("n", [100, 101, 1_000, 54_321])
def test_samples_are_bounded_and_their_number_is_exact(n: int, folds: int) -> None:
    """At most the limit is kept, from all of the window, and together they stand for every occurrence."""
    series = _window(range(n), limit=100, folds=folds)
    kept = _kept(series)
    assert len(kept) <= 100
    assert len(kept) >= 20
    assert len(set(kept)) == len(kept)
    assert series.total == sum(stood for _, stood in series.batches) == n
    assert min(kept) < n / 10
    assert max(kept) > n * 9 / 10


@pytest.mark.parametrize("every", [1, 3, 100_000])
def test_samples_are_bounded_where_another_measurement_is_often_missing(every: int) -> None:
    """Two distributions of one event: each keeps its own choice, with its own exact number."""
    store = Store(max_samples=100)
    handle = handler(store, [DISTRIBUTION, ws.distribution("e", EVENT, "rare")]).function
    for value in range(9_000):
        handle(EVENT, {"size": value, "rare": value} if value % every == every - 1 else {"size": value}, {}, None)
        if value == 4_500:
            store.fold()
    often, rare = store.fold()
    assert (often.total, rare.total) == (9_000, 9_000 // every)
    assert 20 <= len(_kept(often)) <= 200
    assert len(_kept(rare)) <= 200
    assert sum(stood for _, stood in often.batches) == 9_000


def test_more_rows_leave_fewer_samples_to_each() -> None:
    """From the window after they came: what waits for a fold is bounded over all rows."""
    store = Store(max_samples=5_000)
    handle = handler(store, [ws.distribution("d", EVENT, "size", ["type"])]).function
    for turn in range(3):
        for kind in range(400):
            for size in range(300):
                handle(EVENT, {"size": size}, {"type": kind}, None)
        series = store.fold()
        kept = sum(len(_kept(one)) for one in series)
        for one in series:
            one.batches = []
        assert kept > 25_000
        assert turn == 0 or kept <= 100_000


def test_the_first_third_of_a_window_weighs_a_third() -> None:
    """A start of the window unlike its rest is neither favoured nor lost."""
    share = [_mean(_window([300.0] * 5_000 + [0.0] * 10_000, limit=200)) for _ in range(40)]
    assert sum(share) / len(share) == pytest.approx(100.0, abs=5)


@pytest.mark.parametrize("period", [2, 4, 7, 64])
def test_periodic_data_are_not_hit_in_step(period: int) -> None:
    """Every n-th value is large: choosing every m-th would see all of them or none."""
    large = [_mean(_window([period if i % period == 0 else 0.0 for i in range(12_800)], limit=200)) for _ in range(40)]
    assert sum(large) / len(large) == pytest.approx(1.0, abs=0.25)


def test_a_burst_at_the_end_is_seen_at_its_weight() -> None:
    """The last tenth is slow: the 95th percentile must see it, and no more than it."""
    windows = [_window([1.0] * 18_000 + [100.0] * 2_000, limit=500) for _ in range(20)]
    slow = [sum(value == 100 for value in _kept(one)) / len(_kept(one)) for one in windows]
    assert sum(slow) / len(slow) == pytest.approx(0.1, abs=0.02)


@pytest.mark.parametrize(
    "windows",
    [
        [(0.0, 5_000), (10.0, 50), (0.0, 150), (2.0, 5_000)],
        [(1.0, 820), (0.0, 199)],
        [(0.0, 199), (1.0, 820)],
        [(1.0, 3_300), (0.0, 190), (0.0, 190), (0.0, 190)],
    ],
)
def test_windows_that_wait_are_thinned_to_one_density(windows: list[tuple[float, int]]) -> None:
    """While the Agent is unreachable windows pile up: bounded, exact in number, and no window weighs more than its
    share."""
    all_of_them = sum(n for _, n in windows)
    means = []
    for _ in range(60):
        store = Store(max_samples=200)
        handle = handler(store, [DISTRIBUTION]).function
        for value, n in windows:
            for _ in range(n):
                handle(EVENT, {"size": value}, {}, None)
            (series,) = store.fold()
        assert len(_kept(series)) <= 200
        assert series.total == sum(stood for _, stood in series.batches) == all_of_them
        means.append(_mean(series))
    assert sum(means) / len(means) == pytest.approx(sum(value * n for value, n in windows) / all_of_them, rel=0.05)


def test_thinning_starts_over_with_every_window() -> None:
    """A burst in one window costs the next one nothing."""
    store = Store(max_samples=100)
    handle = handler(store, [DISTRIBUTION]).function
    for n in (10_000, 50):
        for value in range(n):
            handle(EVENT, {"size": value}, {}, None)
        (series,) = store.fold()
        batches, series.batches = series.batches, []
    assert batches == [(list(range(50)), 50)]


@given(st.lists(st.sampled_from(["emit", "fold"]), max_size=60))
def test_folding_at_any_moment_counts_everything_once(steps: list[str]) -> None:
    """In any order of folds and occurrences, sums and samples are those of one fold at the end."""
    store = Store()
    handle = handler(store, [ws.counter("c", EVENT), ws.sum_("s", EVENT, "size"), DISTRIBUTION]).function
    sizes: list[int] = []
    for step in steps:
        if step == "emit":
            sizes.append(len(sizes) + 1)
            handle(EVENT, {"size": sizes[-1]}, {}, None)
        else:
            store.fold()
    found = {one.name: one for one in store.fold()}
    assert [one.total for one in found.values()] == ([len(sizes), sum(sizes), len(sizes)] if sizes else [])
    assert not sizes or _kept(found["d"]) == sizes


def test_a_gauge_is_fresh_only_when_there_is_a_new_sample() -> None:
    """Setting the same value again is new; a fold without an occurrence is not."""
    store = Store()
    handle = handler(store, [ws.gauge("g", EVENT, "size")]).function
    for _ in range(2):
        handle(EVENT, {"size": 5}, {}, None)
        (series,) = store.fold()
        assert (series.fresh, series.value) == (True, 5)
        series.fresh = False
    handle(EVENT, {}, {}, None)
    assert not store.fold()[0].fresh


def test_too_many_tag_values_share_one_overflow_series() -> None:
    """At most max_series and one more per name, no more rows than that, and every sum exact."""
    store = Store(max_series=10)
    tags = {"type": "type"}
    metrics = [
        ws.counter("c", EVENT, tags),
        ws.sum_("s", EVENT, "size", tags),
        ws.distribution("d", EVENT, "size", tags),
    ]
    handle = handler(store, metrics).function
    for turn in range(3):
        for kind in range(100):
            handle(EVENT, {"size": kind}, {"type": f"t{kind}"}, None)
        series = store.fold()
        assert sum(one.total for one in series if one.name == "c") == 100 * (turn + 1)
    for name, total, rest in (("c", 300, 270), ("s", 3 * sum(range(100)), 3 * sum(range(10, 100))), ("d", 300, 270)):
        members = [one for one in series if one.name == name]
        assert len(members) == 11
        assert sum(one.total for one in members) == total
        assert [one.total for one in members if one.tags == OVERFLOW_TAGS] == [rest]
    assert store.overflowed > 0
    assert sum(len(shard.rows) for shard in store._shards) == 11


def test_series_of_the_same_tags_share_them() -> None:
    """Thousands of clients times a dozen metrics: one tuple of tags for each client."""
    store = Store()
    metrics = [ws.counter("c", EVENT, ["type"]), DISTRIBUTION, ws.sum_("s", EVENT, "size", ["type"])]
    handle = handler(store, metrics).function
    for kind in "ab":
        handle(EVENT, {"size": 1}, {"type": kind}, None)
    found = {(one.name, one.tags): one.tags for one in store.fold()}
    assert found["c", ("type:a",)] is found["s", ("type:a",)]
    assert len({id(tags) for tags in found.values()}) == 3


def test_the_cap_is_per_name() -> None:
    """One name with endless values takes no place from another; known series stay when the cap is reached."""
    store = Store(max_series=2)
    handle = handler(store, [ws.counter("many", EVENT, ["type"]), ws.counter("few", EVENT, ["client_id"])]).function
    for kind in ("a", "b", "c", "a", "d", "b"):
        handle(EVENT, {}, {"type": kind, "client_id": "md"}, None)
    totals = {(one.name, one.tags): one.total for one in store.fold()}
    assert totals == {
        ("many", ("type:a",)): 2,
        ("many", ("type:b",)): 2,
        ("many", OVERFLOW_TAGS): 2,
        ("few", ("client_id:md",)): 6,
    }


def test_a_new_row_is_reported_without_the_lock() -> None:
    """The reporter may read the store in that call."""
    store, reported = Store(), []
    store.on_new_row = lambda: reported.append(store.lock.locked())
    handle = handler(store, [ws.counter("c", EVENT, ["type"])]).function
    for kind in ("a", "b", "a"):
        handle(EVENT, {}, {"type": kind}, None)
    assert reported == [False, False]


def test_a_child_starts_from_nothing() -> None:
    """The parent keeps what was counted; the same handler goes on, from zero, even under an inherited lock."""
    store = Store()
    handle = handler(store, [ws.counter("c", EVENT)]).function
    handle(EVENT, {}, {}, None)
    store.lock.acquire()
    store.after_fork()
    assert store.fold() == []
    handle(EVENT, {}, {}, None)
    assert [one.total for one in store.fold()] == [1]


def test_integers_add_up_exactly() -> None:
    """Byte counts beyond a float's 53 bits lose nothing."""
    store = Store()
    handle = handler(store, [ws.sum_("s", EVENT, "size")]).function
    for _ in range(3):
        handle(EVENT, {"size": 2**60 + 1}, {}, None)
    assert Fraction(store.fold()[0].total) == 3 * (2**60 + 1)


def test_a_users_tag_that_says_overflow_does_not_undo_the_cap() -> None:
    """Another metric had those tags first; endless values still end in one row."""
    store = Store(max_series=3)
    handle = handler(store, [ws.counter("mine", EVENT, ["overflow"]), ws.counter("c", EVENT, ["type"])]).function
    for kind in range(50):
        handle(EVENT, {}, {"overflow": "true", "type": kind}, None)
    totals = {(one.name, one.tags): one.total for one in store.fold()}
    assert (totals["mine", OVERFLOW_TAGS], totals["c", OVERFLOW_TAGS]) == (50, 47)
    assert sum(len(shard.rows) for shard in store._shards) <= 4
