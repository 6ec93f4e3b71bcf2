"""The KPIs of the notes, on scripted histories under a fake clock: every value exact, nothing made of nothing."""

import json
import threading
from typing import Any

import pytest

import wsnova_statsd as ws
from tests.unit.kpis import MS, S, Scene
from wsnova_statsd import events
from wsnova_statsd.profiles import KPI_KEYS

PROFILES = ("financial", "standard", "lightweight")


@pytest.fixture
def scene() -> Scene:
    return Scene()


@pytest.mark.parametrize("profile", PROFILES)
def test_without_data_every_value_is_none(profile: str) -> None:
    """Never 0, never 100 %, and no verdict; overall and for a client that nobody knows."""
    scene = Scene(profile)
    for client in (None, "nobody"):
        report = scene.tracker.report(client)
        assert [row.key for row in report] == [*KPI_KEYS, "blind_s"]
        assert {(row.value, row.ok, row.n, row.max, row.p95) for row in report} == {(None, None, 0, None, None)}
        assert {row.key: row.target for row in report[:-1]} == ws.FINANCIAL.replace(
            kpi_targets=scene.tracker.profile.kpi_targets
        ).kpi_targets
        assert report.status is None


# Connections


def test_the_success_rate_leaves_dials_under_way_out(scene: Scene) -> None:
    """Three dials: one made, one failed, one under way."""
    scene.connected()
    scene.lost()
    scene.started(reconnect=True)
    scene.failed()
    scene.started(reconnect=True)
    row = scene.row("connection_success_rate")
    assert (row.value, row.n) == (1 / 2, 2)
    scene.completed(reconnect=True)
    row = scene.row("connection_success_rate")
    assert (row.value, row.n) == (2 / 3, 3)


def test_a_dial_whose_failure_the_profile_keeps_in_is_over_with_the_next_one(scene: Scene) -> None:
    """The minimal level does not tell of a retry that failed."""
    for _ in range(4):
        scene.started()
    scene.completed()
    assert scene.row("connection_success_rate")[1:] == (1 / 4, (">", 0.999), False, 4, None, None)


def test_a_first_dial_that_fails_is_told_by_its_error_alone(scene: Scene) -> None:
    scene.started()
    assert scene.value("connection_success_rate") is None
    scene.error("e1", kind="connection", severity="warning")
    assert scene.value("connection_success_rate") == 0
    scene.started()
    scene.error("e2", kind="handler")  # says nothing of the dial
    assert scene.row("connection_success_rate").n == 1


def test_a_dial_that_closing_cut_short_was_none(scene: Scene) -> None:
    """Closing on purpose is no error."""
    scene.connected()
    scene.lost()
    scene.started(reconnect=True)
    scene.closed()
    assert scene.row("connection_success_rate")[1:] == (1.0, (">", 0.999), True, 1, None, None)
    scene.connected()
    assert scene.row("connection_success_rate")[1:] == (1.0, (">", 0.999), True, 2, None, None)


def test_a_dial_that_began_before_the_tracker_does_not_pass_the_whole(scene: Scene) -> None:
    scene.completed()
    assert scene.value("connection_success_rate") is None
    scene.connected()
    assert scene.value("connection_success_rate") == 1.0


def test_dials_of_several_clients_do_not_end_each_other(scene: Scene) -> None:
    for client in "abc":
        scene.started(client)
    assert scene.value("connection_success_rate") is None
    scene.completed("a")
    scene.completed("b")
    assert (scene.value("connection_success_rate"), scene.row("connection_success_rate").n) == (1.0, 2)


def test_connection_time_is_the_mean_of_single_durations(scene: Scene) -> None:
    for client, ms in (("a", 100), ("a", 200), ("b", 900)):
        scene.connected(client, ms)
    assert scene.row("connection_time_ms")[1:5] == (400.0, ("<", 500.0), True, 3)
    assert scene.value("connection_time_ms", "a") == 150.0
    assert scene.row("connection_time_ms", "b")[1:5] == (900.0, ("<", 500.0), False, 1)


def test_exactly_on_target_misses_it(scene: Scene) -> None:
    """The targets are strict, in both directions."""
    scene.connected(ms=500)
    scene.batch(10_000, errors=1)
    scene.back(seconds=2)
    for key, value in (("connection_time_ms", 300), ("message_error_rate", 0.0001), ("time_to_reconnect_s", 2)):
        assert scene.value(key) == value
    assert [scene.row(key).ok for key in ("message_error_rate", "time_to_reconnect_s")] == [False, False]
    scene = Scene()
    for number in range(1000):
        scene.started()
        if number:
            scene.completed()
    scene.started()
    assert (scene.value("connection_success_rate"), scene.row("connection_success_rate").ok) == (0.999, False)


# Outages


def test_an_outage_that_passed_the_alarm_is_no_success_however_it_ends(scene: Scene) -> None:
    """One in time; one with the alarm, told twice, and a link at last."""
    scene.connected()
    scene.lost()
    scene.back()
    scene.lost()
    scene.failed(final=True)
    scene.failed(final=True)
    scene.failed(final=False)
    assert scene.row("reconnection_success_rate")[1:5] == (1 / 2, (">", 0.99), False, 2)
    scene.back(seconds=90)
    assert scene.row("reconnection_success_rate").n == 2
    scene.lost()
    scene.back()
    assert (scene.value("reconnection_success_rate"), scene.row("reconnection_success_rate").n) == (2 / 3, 3)


def test_a_link_that_flaps_after_the_alarm_is_in_the_same_outage(scene: Scene) -> None:
    """The client tells its alarm once until a link was stable (5 s in this profile), or was dropped on purpose."""
    scene.connected()
    scene.lost()
    scene.failed(final=True)
    for _ in range(50):
        scene.back()
        scene.lost(lived=4.9)
    assert scene.row("reconnection_success_rate")[1:5] == (0.0, (">", 0.99), False, 1)
    scene.back()
    scene.lost(lived=5)
    scene.back()
    assert (scene.value("reconnection_success_rate"), scene.row("reconnection_success_rate").n) == (1 / 2, 2)
    scene.lost()
    scene.failed(final=True)
    scene.back()
    scene.lost(reason="local", lived=1)
    scene.back()
    assert (scene.value("reconnection_success_rate"), scene.row("reconnection_success_rate").n) == (1 / 2, 4)


def test_the_alarm_of_one_client_is_not_that_of_another(scene: Scene) -> None:
    for client in "ab":
        scene.connected(client)
        scene.lost(client)
    scene.failed("a", final=True)
    scene.back("b")
    assert [scene.value("reconnection_success_rate", client) for client in (None, "a", "b")] == [0.5, 0.0, 1.0]


def test_an_outage_that_closing_ends_is_neither(scene: Scene) -> None:
    scene.connected()
    scene.lost()
    scene.closed()
    assert scene.value("reconnection_success_rate") is None


def test_time_to_reconnect_is_the_nearest_rank_p95(scene: Scene) -> None:
    """Exact, up to 256 reconnects in a slice."""
    for seconds in range(1, 101):
        scene.back(seconds=seconds)
    assert scene.row("time_to_reconnect_s")[1:5] == (95.0, ("<", 2.0), False, 100)
    scene = Scene()
    scene.back(seconds=0.25)
    assert scene.value("time_to_reconnect_s") == 0.25


def test_blind_seconds_run_from_the_first_dial_and_from_each_loss_to_a_usable_link(scene: Scene) -> None:
    """A retry is usable at reconnect.success, after its login."""
    scene.started()
    scene.clock.advance(0.5)
    assert scene.row("blind_s")[1:5] == (0.5, None, None, 1)
    scene.completed()
    scene.clock.advance(20)
    assert scene.value("blind_s") == 0.5
    scene.lost()
    scene.clock.advance(3)
    scene.started(reconnect=True)
    scene.completed(reconnect=True)
    scene.clock.advance(1)
    assert scene.row("blind_s")[1:5] == (4.5, None, None, 2)
    scene.emit(events.CONNECTION_RECONNECT_SUCCESS, "a", {"duration": 4 * S})
    scene.clock.advance(9)
    assert scene.row("blind_s")[1:5] == (4.5, None, None, 2)


def test_blind_seconds_of_all_are_those_of_each_together(scene: Scene) -> None:
    for client in "ab":
        scene.connected(client)
        scene.lost(client)
    scene.clock.advance(7)
    scene.back("a")
    scene.clock.advance(5)
    assert [scene.value("blind_s", client) for client in (None, "a", "b")] == [19.0, 7.0, 12.0]


def test_a_long_outage_is_blind_for_the_whole_window_and_leaves_it_slice_by_slice(scene: Scene) -> None:
    scene.connected()
    scene.lost()
    scene.clock.advance(400)
    assert scene.row("blind_s")[1:5] == (290.0, None, None, 1)  # the slice under way has just begun
    scene.clock.advance(7)
    assert scene.value("blind_s") == 297.0
    scene.back()
    assert scene.value("blind_s") == scene.value("blind_s", "a") == 297.0
    scene.clock.advance(275)
    assert scene.value("blind_s") == 17.0
    scene.clock.advance(20)
    assert (scene.value("blind_s"), scene.row("blind_s").n) == (0.0, 0)


def test_a_client_that_was_closed_on_purpose_is_not_blind(scene: Scene) -> None:
    """One that is closed in an outage was, until then."""
    for client in "ab":
        scene.connected(client)
    scene.lost("a", "local")
    scene.lost("b")
    scene.clock.advance(2)
    for client in "ab":
        scene.closed(client)
    scene.clock.advance(50)
    assert [scene.value("blind_s", client) for client in (None, "a", "b")] == [2.0, 0.0, 2.0]
    scene.lost("a")  # told late: this link was over with its client
    scene.clock.advance(50)
    assert scene.value("blind_s", "a") == 0.0
    scene.started("a")
    scene.clock.advance(1)
    assert scene.value("blind_s", "a") == 1.0


# Messages


@pytest.mark.parametrize("profile", PROFILES)
def test_message_kpis_come_from_the_sums_in_every_profile(profile: str) -> None:
    """Per-message events count for nothing but the p95."""
    scene = Scene(profile)
    scene.batch(100, errors=2, ms=500, longest=90)
    scene.batch(300, ms=300, longest=10)
    scene.batch(600, errors=3, way="sent")
    for event in (events.MESSAGE_RECEIVED, events.MESSAGE_SENT, events.MESSAGE_PROCESS_SLOW):
        scene.emit(event, "a", {"size": 9, "duration": 9 * S}, type="t")
    processing = scene.row("processing_time_ms")
    assert (processing.value, processing.max, processing.p95, processing.n) == (2.0, 90.0, None, 400)
    assert (scene.value("message_error_rate"), scene.row("message_error_rate").n) == (5 / 1000, 1000)
    scene.clock.advance(8)
    assert (scene.value("throughput_per_s"), scene.row("throughput_per_s").n) == (50.0, 400)
    assert scene.row("throughput_per_s").ok is None


def test_messages_that_nobody_processed_have_no_processing_time(scene: Scene) -> None:
    """They were answers, or handed out by receive(), which is not timed; and what is sent is not processed."""
    scene.batch(50)
    scene.batch(50, way="sent")
    assert (scene.value("processing_time_ms"), scene.value("throughput_per_s")) == (None, 50.0)


def test_throughput_is_over_the_time_that_was_watched(scene: Scene) -> None:
    """A second at least; the window at most; of a client since it was first heard of."""
    scene.batch(10, client="a")
    assert scene.value("throughput_per_s") == 10.0
    scene.clock.advance(100)
    scene.batch(10, client="b")
    assert [scene.value("throughput_per_s", client) for client in (None, "a", "b")] == [0.2, 0.1, 10.0]
    scene.clock.advance(195)
    assert scene.value("throughput_per_s") == 20 / 295
    scene.clock.advance(10)
    assert scene.value("throughput_per_s") == 10 / 295


def test_p95_beside_the_mean_is_right_within_its_stated_error(scene: Scene) -> None:
    """From events of single messages, heard or recorded, where the profile has them."""
    slot = scene.bus.slot(events.MESSAGE_PROCESS_COMPLETED)
    record = slot.recorder(("duration",), {"client_id": "a", "type": "t", "result": "ok"})
    assert record is not None
    for number in range(1, 1001):
        if number % 2:
            record(number * MS)
        else:
            scene.emit(events.MESSAGE_PROCESS_COMPLETED, "a", {"duration": number * MS}, type="t")
    for client in (None, "a"):
        row = scene.row("processing_time_ms", client)
        assert row.value is None
        assert row.p95 == pytest.approx(950, rel=1 / 32)
    scene.clock.advance(301)
    assert scene.row("processing_time_ms").p95 is None


def test_the_p95_leaves_the_window_also_if_nobody_asks_for_it(scene: Scene) -> None:
    """The sums of each second bring home what was recorded in it."""
    record = scene.bus.slot(events.MESSAGE_PROCESS_COMPLETED).recorder(("duration",), {"client_id": "a"})
    assert record is not None
    record(900 * MS)
    scene.batch(1, ms=900)
    scene.clock.advance(400)
    record(MS)
    scene.batch(1, ms=1)
    assert scene.row("processing_time_ms").p95 == pytest.approx(1, rel=1 / 32)


@pytest.mark.parametrize("profile", ["standard", "lightweight"])
def test_a_profile_without_events_of_single_messages_hears_none(profile: str) -> None:
    """So that a client of these profiles goes on dealing with messages in runs."""
    scene = Scene(profile)
    assert scene.bus.slot(events.MESSAGE_PROCESS_COMPLETED).handlers == ()
    assert scene.bus.slot(events.MESSAGE_BATCH_PROCESSED).handlers


# Errors and alerts


def test_the_recovery_rate_leaves_critical_errors_out(scene: Scene) -> None:
    """Also where one is handled in the end."""
    scene.error("e1")
    scene.error("e2", severity="warning")
    scene.error("e3", severity="critical")
    for error_id in ("e1", "e3"):
        scene.handled(error_id)
    assert scene.row("error_recovery_rate")[1:5] == (1 / 2, (">", 0.99), False, 2)
    scene.handled("e2")
    assert scene.row("error_recovery_rate")[1:5] == (1.0, (">", 0.99), True, 2)


def test_an_error_that_the_profile_kept_in_is_not_handled_either(scene: Scene) -> None:
    """The minimal level tells of no warning, and of everything that is handled."""
    scene.error("e1")
    scene.handled("never heard of")
    assert scene.value("error_recovery_rate") == 0.0
    scene.handled("e1")
    scene.handled("e1")
    assert scene.value("error_recovery_rate") == 1.0


def test_errors_without_an_id_are_counted_by_number(scene: Scene) -> None:
    for _ in range(4):
        scene.error(None)
    scene.handled(None)
    assert scene.value("error_recovery_rate") == 0.25
    for _ in range(4):
        scene.handled(None)
    assert scene.value("error_recovery_rate") == 1.0


def test_a_recovery_counts_where_its_error_did(scene: Scene) -> None:
    """It leaves the window with the error, and adds nothing once that has left."""
    scene.error("e1")
    scene.error("e2")
    scene.clock.advance(200)
    scene.error("e3")
    scene.handled("e1")
    assert scene.value("error_recovery_rate") == 1 / 3
    scene.clock.advance(150)
    scene.handled("e2")
    assert (scene.value("error_recovery_rate"), scene.row("error_recovery_rate").n) == (0.0, 1)


def test_error_to_alert_is_the_worst_of_those_told(scene: Scene) -> None:
    for client, ms in (("a", 12), ("a", 700), ("b", 80)):
        scene.tracker.alerted(client, ms * MS)
    assert scene.row("error_to_alert_s")[1:5] == (0.7, ("<", 5.0), True, 3)
    assert scene.value("error_to_alert_s", "b") == 0.08
    scene.clock.advance(301)
    assert scene.value("error_to_alert_s") is None


# The window


def test_everything_leaves_the_window_after_its_length(scene: Scene) -> None:
    """Not before; and an empty window holds no data."""
    scene.connected()
    scene.lost()
    scene.back()
    scene.batch(10, errors=1, ms=10, longest=5)
    scene.error("e1")
    scene.tracker.alerted("a", S)
    before = scene.values()
    assert None not in before.values()
    scene.clock.advance(299.999)
    assert {**scene.values(), "throughput_per_s": before["throughput_per_s"]} == before
    scene.clock.advance(0.001)
    for client in (None, "a"):
        assert scene.values(client) == {**dict.fromkeys(KPI_KEYS), "blind_s": 0.0}  # its link is known to be up


def test_the_window_may_be_of_another_length() -> None:
    scene = Scene(window_s=60)
    scene.connected()
    scene.clock.advance(59.9)
    assert scene.value("connection_time_ms") == 100.0
    scene.clock.advance(0.2)
    assert scene.value("connection_time_ms") is None


def test_memory_does_not_grow_with_events(scene: Scene) -> None:
    """A long life of everything: what is kept has the size of one window."""
    for number in range(2000):
        scene.back(seconds=number % 7)
        scene.error(f"e{number}")
        scene.batch(3, ms=1, longest=1)
        scene.emit(events.MESSAGE_PROCESS_COMPLETED, "a", {"duration": number % 900 * MS}, type="t")
        scene.clock.advance(1)
    history = scene.tracker._clients["a"]
    assert len(history._errors) == 500
    assert len(history.window._slices) <= 30
    assert len(history.window.samples()) <= 300
    assert len(history.spread._bins) < 200
    assert sum(history.window.bins.values()) <= 300


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


def test_a_thousand_clients_are_told_apart_and_the_rest_is_counted(scene: Scene) -> None:
    """Closed ones make room first; what is beyond is in the overall figures."""
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


def test_what_a_client_says_after_its_close_does_not_keep_it(scene: Scene) -> None:
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
def test_events_with_missing_or_absurd_measurements_are_skipped_and_counted(scene: Scene, value: Any) -> None:
    """Nothing of them is taken, nothing is raised, and what was there stays."""
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


def test_sums_that_cannot_be_are_skipped_too(scene: Scene) -> None:
    """More errors than messages, an unknown direction, no client."""
    scene.batch(3, errors=4)
    scene.batch(3, way="sideways")
    scene.bus.execute(events.MESSAGE_BATCH_PROCESSED, {"count": 3, "errors": 0}, {"direction": "sent"})
    scene.bus.execute(events.CONNECTION_STARTED, {}, {"client_id": ["a"]})
    scene.tracker.alerted(None, 5)  # type: ignore[arg-type]  # what a caller may get wrong
    metadata = {"type": "t", "result": "ok"}
    record = scene.bus.slot(events.MESSAGE_PROCESS_COMPLETED).recorder(("duration",), metadata)
    assert record is not None
    record(5)
    assert scene.tracker.skipped == 6
    assert set(scene.values().values()) == {None}


@pytest.mark.parametrize("window_s", [0, -1, 9.99, float("nan"), float("inf"), "300", True, None])
def test_a_window_shorter_than_the_sampling_is_refused(window_s: Any) -> None:
    with pytest.raises(ws.errors.ConfigurationError, match=r"window_s is .*; give seconds, at least 10"):
        ws.KpiTracker("standard", ws.Bus(), window_s=window_s)


def test_an_unknown_profile_or_a_reporter_that_is_none_is_refused() -> None:
    with pytest.raises(ws.errors.ConfigurationError, match="profile is 'fast'; allowed: financial"):
        ws.KpiTracker("fast")
    with pytest.raises(ws.errors.ConfigurationError, match=r"without gauge; give a ws\.StatsdReporter"):
        ws.KpiTracker("standard", reporter=object())  # type: ignore[arg-type]  # what a caller may get wrong


# Life


def test_nothing_is_heard_before_the_start_or_after_the_stop() -> None:
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
    assert set(threading.enumerate()) == before  # without a reporter there is nothing to do in between


def test_two_trackers_on_one_bus_do_not_disturb_each_other(scene: Scene) -> None:
    other = ws.KpiTracker("lightweight", scene.bus, clock=scene.clock.ns).start()
    scene.connected()
    assert other.report("a")[1].value == scene.value("connection_time_ms") == 100.0
    scene.tracker.stop()
    scene.connected(ms=300)
    assert other.report()[1].value == 200.0
    assert scene.value("connection_time_ms") == 100.0


def test_threads_that_tell_at_once_lose_nothing(scene: Scene) -> None:
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
