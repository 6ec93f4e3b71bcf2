"""Endless tag values end in one series per metric, exactly and with one warning; samples represent all values."""

import logging
import random
from typing import Any

import pytest

import wsnova_statsd as ws
from wsnova_statsd import events
from wsnova_statsd.client.message_types import MessageTypes
from wsnova_statsd.metrics.catalogue import statsd_metrics
from wsnova_statsd.metrics.direct import Direct
from wsnova_statsd.metrics.plan import handler
from wsnova_statsd.metrics.series import OVERFLOW_TAGS, Series
from wsnova_statsd.metrics.store import Store

EVENT = events.MESSAGE_RECEIVED
MILLION = 1_000_000


def test_metrics_without_a_type_are_not_pushed_aside_by_those_with_one(caplog: pytest.LogCaptureFixture) -> None:
    """The whole default list, 3,000 types of one client: sums exact, one overflow series for each metric that has
    types, none for the others, and one warning for all of them."""
    store, bus = Store(), ws.Bus()
    ws.HandlerRegistry(statsd_metrics(), store).attach(bus)
    names = [events.MESSAGE_RECEIVED, events.MESSAGE_DECODE_STARTED, events.HEARTBEAT_SENT, events.ERROR_OCCURRED]
    for number in range(3_000):
        metadata = {"client_id": "md", "type": f"t{number}", "error_type": f"e{number}", "severity": "error"}
        for event in names:
            bus.execute(event, {"size": 3}, metadata)
    typed = {one.name for one in statsd_metrics() if {"type", "error_type"} & {key for _, key in one.tags}}
    found: dict[str, list[Series]] = {}
    for one in store.fold():
        found.setdefault(one.name, []).append(one)
    assert sum(one.total for one in found["websocket.message.received.bytes"]) == 9_000
    for name, members in found.items():
        assert len(members) == (2_001 if name in typed else 1)
        assert (OVERFLOW_TAGS in {one.tags for one in members}) == (name in typed)
        assert members[0].kind != "counter" or sum(one.total for one in members) == 3_000
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "2000" in caplog.text


def test_a_million_types_are_a_hundred_and_one(caplog: pytest.LogCaptureFixture) -> None:
    """As a client names them: totals exact, one warning, and no more rows than accepted types."""
    types, store = MessageTypes(), Store()
    count = handler(store, [ws.counter("c", EVENT, ["type"]), ws.sum_("s", EVENT, "size", ["type"])]).function
    for number in range(MILLION):
        count(EVENT, {"size": 2}, {"type": types(f"type{number}")}, None)
    series = store.fold()
    assert sum(one.total for one in series if one.name == "c") == MILLION
    assert sum(one.total for one in series if one.name == "s") == 2 * MILLION
    assert [one.total for one in series if one.tags == ("type:other",)] == [MILLION - 100, 2 * (MILLION - 100)]
    assert sum(len(shard.rows) for shard in store._shards) == 101
    assert len(caplog.records) == 1


def test_endless_names_of_another_kind_take_one_row() -> None:
    """Refused values are counted, and not remembered one by one."""
    store = Store()
    Direct(store, "counter", strict=False).write("m", 1, ())
    gauges = Direct(store, "gauge", strict=False)
    for number in range(500):
        gauges.write("m", 1, {"user": number})
    assert [one.kind for one in store.fold()] == ["counter"]
    assert store.invalid == 500
    assert sum(len(shard.rows) for shard in store._shards) == 2


def test_a_series_without_tags_has_its_place() -> None:
    """There is one per name, so the cap does not apply to it."""
    store = Store(max_series=3)
    counters = Direct(store, "counter", strict=False)
    for user in range(10):
        counters.write("logins", 1, {"user": user})
    counters.write("logins", 1, ())
    assert [one.total for one in store.fold() if one.tags == ()] == [1]


def test_a_handler_of_the_warning_may_count(caplog: pytest.LogCaptureFixture) -> None:
    """A log handler that counts what is logged does not wait for a held lock."""
    store = Store(max_series=1)
    count = handler(store, [ws.counter("c", EVENT, ["type"])]).function

    class _Counting(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            count(EVENT, {}, {"type": "logged"}, None)

    listener = _Counting()
    logger = logging.getLogger("wsnova_statsd.metrics.store")
    logger.addHandler(listener)
    try:
        for kind in "abc":
            count(EVENT, {}, {"type": kind}, None)
    finally:
        logger.removeHandler(listener)
    assert sum(one.total for one in store.fold()) == 4
    assert len(caplog.records) == 1


_SKEWED: dict[str, Any] = {
    "lognormal": lambda dice: dice.lognormvariate(0, 1),
    "exponential": lambda d: d.expovariate(1),
}


@pytest.mark.parametrize(("shape", "folds"), [("lognormal", 1), ("exponential", 10)])
def test_ten_thousand_samples_give_the_95th_percentile_of_a_million(shape: str, folds: int) -> None:
    """Of a skewed distribution: within 5 %, by values that weigh what they stand for; their number is exact. The first
    third of the window is ten times as slow as the rest."""
    dice = random.Random(7)
    random.seed(20_240_229)
    values = [_SKEWED[shape](dice) for _ in range(MILLION)]
    values[: MILLION // 3] = [10 * value for value in values[: MILLION // 3]]
    store = Store(max_samples=10_000)
    handle = handler(store, [ws.distribution("d", EVENT, "size")]).function
    for number, value in enumerate(values):
        handle(EVENT, {"size": value}, {}, None)
        if folds > 1 and number % (MILLION // folds) == 0:
            store.fold()
    (series,) = store.fold()
    assert sum(len(kept) for kept, _ in series.batches) <= 10_000
    assert series.total == sum(stood for _, stood in series.batches) == MILLION
    weighed = sorted((value, stood / len(kept)) for kept, stood in series.batches for value in kept)
    found, below = 0.0, 0.0
    for value, weight in weighed:
        below += weight
        if below >= 0.95 * MILLION:
            found = value
            break
    assert found == pytest.approx(sorted(values)[95 * MILLION // 100], rel=0.05)


def test_half_of_the_samples_are_kept_if_there_is_no_room() -> None:
    """Never fewer than half of what may be kept: few samples say little about the slowest."""
    kept = []
    for emitted in range(1_001, 20_000, 311):
        store = Store(max_samples=1_000)
        handle = handler(store, [ws.distribution("d", EVENT, "size")]).function
        for value in range(emitted):
            handle(EVENT, {"size": value}, {}, None)
        (series,) = store.fold()
        ((values, stood_for),) = series.batches
        assert stood_for == emitted
        kept.append(len(values))
    assert 450 <= min(kept) <= max(kept) <= 1_000
