"""The tracker itself: how it distinguishes clients, what it refuses, when it is attached, how its report reads."""

import json
import threading
from typing import Any

import pytest

import wsnova_statsd as ws
from tests.unit.kpis import MS, Scene
from wsnova_statsd import events
from wsnova_statsd.profiles import KPI_KEYS


@pytest.fixture
def scene() -> Scene:
    return Scene()


# Clients


def test_a_closed_client_is_forgotten_after_the_window(scene: Scene) -> None:
    for client in "ab":
        scene.connected(client)
        scene.closed(client)
    scene.started("b")
    scene.clock.advance(290)
    scene.tracker.report()
    assert set(scene.tracker._clients) == {"a", "b"}
    scene.clock.advance(20)
    scene.tracker.report()
    assert set(scene.tracker._clients) == {"b"}
    assert scene.values("a") == dict.fromkeys([*KPI_KEYS, "blind_s"])


def test_a_thousand_clients_are_kept_apart_and_the_rest_is_counted(scene: Scene) -> None:
    """Closed ones make room first; further clients are in the overall figures."""
    for number in range(1010):
        scene.connected(f"c{number}", ms=100)
        scene.batch(1, client=f"c{number}", ms=1)
        if number < 3:
            scene.closed(f"c{number}")
    assert len(scene.tracker._clients) == 1000
    assert [scene.value("connection_time_ms", f"c{number}") for number in (0, 2, 3, 1002, 1003)] == [
        *(None, None, 100.0, 100.0, None)
    ]
    assert (scene.value("connection_time_ms"), scene.row("connection_time_ms").n) == (100.0, 1010)
    assert scene.row("connection_success_rate")[1:5] == (1.0, (">", 0.999), True, 1010)
    assert scene.row("throughput_per_s").n == 1010
    for client in ("c1008", "c1009"):
        scene.lost(client)
        scene.failed(client, final=True)
    scene.back("c1007")
    assert scene.value("reconnection_success_rate") == 1 / 3
    scene.clock.advance(5)
    assert scene.value("blind_s") == 0.0


def test_events_of_a_client_after_its_close_do_not_keep_it(scene: Scene) -> None:
    scene.connected()
    scene.closed()
    scene.batch(5)
    assert scene.row("throughput_per_s", "a").n == 5
    scene.clock.advance(310)
    scene.tracker.report()
    assert scene.tracker._clients == {}
    scene.closed("stranger")
    assert scene.tracker._clients == {}


# Bad input


NUMBERS = [None, "12", True, -1, float("nan"), float("inf"), 10**30, [1], 1 << 2000]


def _without(sums: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    return {**sums, key: value} if value is not None else {name: sums[name] for name in sums if name != key}


@pytest.mark.parametrize("value", NUMBERS)
def test_events_with_missing_or_unusable_measurements_are_skipped_and_counted(scene: Scene, value: Any) -> None:
    """No value of them counts, nothing is raised, and earlier values stay."""
    scene.connected()
    scene.back(seconds=1)
    scene.batch(10, errors=1, ms=10, longest=5)
    before = scene.tracker.report(), scene.tracker.report("a")
    sums = {"count": 10, "errors": 1, "process_time": 5, "process_time_max": 5}
    keys = [*sums] if value is not None else ["count", "errors", "process_time"]
    for key in keys:
        scene.emit(events.MESSAGE_BATCH_PROCESSED, "a", _without(sums, key, value), direction="received")
    for event in (
        events.CONNECTION_COMPLETED,
        events.CONNECTION_RECONNECT_SUCCESS,
        events.MESSAGE_PROCESS_COMPLETED,
    ):
        scene.emit(event, "a", _without({"duration": 5}, "duration", value))
    scene.tracker.alerted("a", value)
    assert (scene.tracker.report(), scene.tracker.report("a")) == before
    assert scene.tracker.skipped == len(keys) + 4
    handlers = {handler.handler_id for handler in scene.bus.list_handlers()}
    assert scene.bus.handler_errors == 0
    assert len(handlers) == 2


def test_impossible_sums_are_skipped_too(scene: Scene) -> None:
    """More errors than messages, an unknown direction, no client."""
    scene.batch(3, errors=4)
    scene.batch(3, way="sideways")
    scene.bus.execute(events.MESSAGE_BATCH_PROCESSED, {"count": 3, "errors": 0}, {"direction": "sent"})
    for event in (events.CONNECTION_STARTED, events.CLIENT_CLOSED):
        scene.bus.execute(event, {}, {"client_id": ["a"]})
    scene.tracker.alerted(None, 5)  # type: ignore[arg-type]  # what a caller may get wrong
    metadata = {"type": "t", "result": "ok"}
    record = scene.bus.slot(events.MESSAGE_PROCESS_COMPLETED).recorder(("duration",), metadata)
    assert record is not None
    record(5)
    assert scene.tracker.skipped == 7
    assert set(scene.values().values()) == {None}


def test_metadata_of_any_kind_raises_nothing(scene: Scene) -> None:
    strange = {"reason": ["x"], "error_type": {}, "severity": [1], "error_id": {}, "final": [], "direction": {}}
    for event in events.CATALOGUE:
        scene.emit(event, "a", {"duration": 1, "count": 1, "errors": 0, "process_time": 1}, **strange)
    assert scene.bus.handler_errors == 0
    assert scene.tracker.skipped == 1


def test_an_event_emitted_by_a_signals_handler_waits_for_no_lock(scene: Scene) -> None:
    """Such a handler may interrupt this thread during another event."""
    with scene.tracker._lock:
        scene.connected()
    assert scene.value("connection_time_ms") == 100.0


@pytest.mark.parametrize("window_s", [0, -1, 9.99, float("nan"), float("inf"), "300", True, None])
def test_a_window_shorter_than_the_sampling_is_refused(window_s: Any) -> None:
    with pytest.raises(ws.errors.ConfigurationError, match=r"window_s must be a number of seconds, at least 10"):
        ws.KpiTracker("standard", ws.Bus(), window_s=window_s)


def test_an_unknown_profile_or_an_unusable_reporter_is_refused() -> None:
    with pytest.raises(ws.errors.ConfigurationError, match="profile is 'fast'; allowed: financial"):
        ws.KpiTracker("fast")  # type: ignore[arg-type]  # what a caller may get wrong
    with pytest.raises(ws.errors.ConfigurationError, match=r"without gauge; pass a ws\.StatsdReporter"):
        ws.KpiTracker("standard", reporter=object())  # type: ignore[arg-type]  # what a caller may get wrong


# Life


def test_nothing_is_counted_before_the_start_or_after_the_stop() -> None:
    """Starting twice or stopping twice is harmless; starting again begins anew."""
    bus = ws.Bus()
    before = set(threading.enumerate())
    tracker = ws.KpiTracker("financial", bus)
    assert bus.list_handlers() == []
    tracker.stop()
    assert tracker.start() is tracker.start()
    assert len({handler.handler_id for handler in bus.list_handlers()}) == 2
    bus.execute(events.CONNECTION_COMPLETED, {"duration": 5 * MS}, {"client_id": "a"})
    tracker.stop()
    tracker.stop()
    assert bus.list_handlers() == []
    assert tracker.report("a")[1].value == 5.0
    with tracker:
        assert tracker.report("a")[1].value is None
    assert set(threading.enumerate()) == before  # without a reporter there is nothing to do meanwhile


def test_two_trackers_on_one_bus_do_not_disturb_each_other(scene: Scene) -> None:
    other = ws.KpiTracker("lightweight", scene.bus, clock=scene.clock.ns).start()
    scene.connected()
    assert other.report("a")[1].value == scene.value("connection_time_ms") == 100.0
    scene.tracker.stop()
    scene.connected(ms=300)
    assert other.report()[1].value == 200.0
    assert scene.value("connection_time_ms") == 100.0


def test_threads_that_emit_at_once_lose_nothing(scene: Scene) -> None:
    """Eight clients, a thread each."""

    def tell(client: str) -> None:
        for _ in range(500):
            scene.batch(3, errors=1, client=client, ms=6)
            scene.started(client)
            scene.completed(client, ms=10)

    threads = [threading.Thread(target=tell, args=(f"c{number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [scene.row(key).n for key in ("message_error_rate", "connection_success_rate")] == [12_000, 4_000]
    assert [scene.value(key) for key in ("message_error_rate", "processing_time_ms")] == [1 / 3, 2.0]


def test_the_reports_text_is_a_table_and_its_json_the_same_rows(scene: Scene) -> None:
    scene.connected(ms=612)
    lines = str(scene.tracker.report()).splitlines()
    assert lines[:4] == [
        "KPI                          value  target    ok   n",
        "connection_success_rate          1  > 0.999   yes  1",
        "connection_time_ms             612  < 500     no   1",
        "reconnection_success_rate  no data  > 0.99         0",
    ]
    assert len(lines) == 11
    rows = json.loads(scene.tracker.report("a").to_json())
    assert rows[1] == {
        "key": "connection_time_ms",
        "value": 612.0,
        "target": ["<", 500.0],
        "ok": False,
        "n": 1,
        "max": None,
        "p95": None,
    }
