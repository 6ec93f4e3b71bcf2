"""The application's own metrics, of a reporter and of a Monitor: types on the wire, timers of blocks and functions."""

import asyncio
import threading
from collections.abc import Iterator

import pytest

import wsnova_statsd as ws
from wsnova_statsd.metrics.application import ApplicationMetrics, Timed
from wsnova_statsd.metrics.direct import TagsGiven
from wsnova_statsd.testing import CapturedMetrics, capture_metrics


@pytest.fixture
def metrics() -> Iterator[CapturedMetrics]:
    with capture_metrics((), bus=ws.Bus(), strict=True) as captured:
        yield captured


@pytest.fixture(params=["reporter", "monitor"])
def counting(request: pytest.FixtureRequest, metrics: CapturedMetrics) -> ApplicationMetrics:
    """A reporter, and a Monitor that holds it."""
    if request.param == "reporter":
        return metrics.reporter
    return ws.Monitor(reporter=metrics.reporter, alerts=False, kpis=False, bus=ws.Bus())


def test_each_method_has_its_type_on_the_wire(counting: ApplicationMetrics, metrics: CapturedMetrics) -> None:
    """And the same tags: a list, or a mapping."""
    counting.increment("orders", 3, ["venue:xetr"])
    counting.decrement("orders", 1, {"venue": "xetr"})
    counting.decrement("orders", tags=("venue:xetr",))
    counting.gauge("depth", 5)
    counting.histogram("size", 7, ["venue:xetr"])
    counting.distribution("size.distribution", 7)
    counting.timing("latency", 12.5)
    counting.set("users", "anna", ["venue:xetr"])
    counting.set("users", 42)
    counting.set("users", "anna", ["venue:xetr"])
    metrics.flush()
    assert sorted((one.name, one.type, one.raw_values, one.tags) for one in metrics.metrics()) == [
        ("depth", "g", ("5",), ()),
        ("latency", "ms", ("12.5",), ()),
        ("orders", "c", ("1",), ("venue:xetr",)),
        ("size", "h", ("7",), ("venue:xetr",)),
        ("size.distribution", "d", ("7",), ()),
        ("users", "s", ("42",), ()),
        ("users", "s", ("anna",), ("venue:xetr",)),
    ]
    assert dict(metrics.reporter.stats.lost) == {}


def test_events_and_checks_are_sent_with_all_of_their_fields(
    counting: ws.StatsdReporter | ws.Monitor, metrics: CapturedMetrics
) -> None:
    sent = list[str]()
    counting.event(
        *("deployed", "to all", "success", {"team": "md"}, "deploy-7"),
        priority="low",
        date_happened=1_700_000_000,
        hostname="web-1",
        source_type="ci",
        on_sent=lambda: sent.append("deployed"),
    )
    counting.service_check("orders.up", 1, ["team:md"], "m:slow")
    metrics.flush()
    (event,), (check,) = metrics.events, metrics.checks
    assert (event.title, event.text, event.alert_type, event.tags) == ("deployed", "to all", "success", ("team:md",))
    assert (event.aggregation_key, event.priority, event.timestamp) == ("deploy-7", "low", 1_700_000_000)
    assert (event.hostname, event.source_type, sent) == ("web-1", "ci", ["deployed"])
    assert (check.name, check.status, check.message) == ("orders.up", 1, "m:slow")


def test_a_name_after_a_namespace_may_begin_with_a_digit() -> None:
    """Status classes are named so."""
    with capture_metrics((), bus=ws.Bus(), namespace="http", strict=True) as metrics:
        metrics.reporter.increment("2xx")
        metrics.reporter.increment("xx")
        metrics.reporter.service_check("2xx", 0)
        metrics.flush()
        assert sorted(one.name for one in metrics.metrics()) == ["http.2xx", "http.xx"]
        assert [one.name for one in metrics.checks] == ["http.2xx"]


def test_members_that_clean_to_one_text_stay_two(metrics: CapturedMetrics) -> None:
    """A colon would end the member, a bar the line."""
    for member in ("a:b", "a_b", "a|b", "a\nb", "x" * 300, "x" * 301):
        metrics.reporter.set("users", member)
    metrics.flush()
    found = [one.raw_values[0] for one in metrics.metrics("users")]
    assert len(set(found)) == len(found) == 6
    assert "a_b" in found


def test_a_block_is_timed_in_milliseconds_also_if_it_raises(
    counting: ApplicationMetrics, metrics: CapturedMetrics
) -> None:
    """The exception goes through; blocks of one timer may be nested."""
    timer = counting.timed("job", ["kind:a"])
    with pytest.raises(ZeroDivisionError), timer, timer:
        raise ZeroDivisionError
    metrics.flush()
    (one,) = metrics.metrics("job")
    assert (one.type, len(one.values), one.tags) == ("ms", 2, ("kind:a",))
    assert all(0 < value < 10_000 for value in one.values)


def test_a_function_is_timed_at_every_call(metrics: CapturedMetrics) -> None:
    """It keeps its name, arguments and result; calls that overlap in several threads are timed separately."""
    meet = threading.Barrier(2, timeout=10)

    @metrics.reporter.timed("job")
    def job(number: int, *, times: int) -> int:
        """Multiply."""
        meet.wait()
        return number * times

    other = threading.Thread(target=job, args=(1,), kwargs={"times": 1})
    other.start()
    assert job(3, times=4) == 12
    other.join()
    assert (job.__name__, job.__doc__) == ("job", "Multiply.")
    metrics.assert_count("job", 2)


def test_a_coroutine_is_timed_to_its_end(metrics: CapturedMetrics) -> None:
    """Not to the moment when it was made."""
    written: list[float] = []

    def write(name: str, value: float, tags: TagsGiven) -> None:
        written.append(value)

    async def job(gate: asyncio.Event) -> str:
        await gate.wait()
        return "done"

    async def main() -> str:
        gate = asyncio.Event()
        running = asyncio.create_task(Timed(write, "job", ())(job)(gate))
        await asyncio.sleep(0)
        assert written == []
        gate.set()
        return await running

    assert asyncio.run(main()) == "done"
    assert len(written) == 1
