"""The KPIs of messages, errors and alerts, on scripted histories under a fake clock: every value exact."""

import pytest

import wsnova_statsd as ws
from tests.unit.kpis import MS, S, Scene
from wsnova_statsd import events
from wsnova_statsd.profiles import KPI_KEYS, ProfileName

PROFILES = ("financial", "standard", "lightweight")


@pytest.fixture
def scene() -> Scene:
    return Scene()


@pytest.mark.parametrize("profile", PROFILES)
def test_without_data_every_value_is_none(profile: ProfileName) -> None:
    """Never 0, never 100 %, and no verdict; overall and for an unknown client."""
    scene = Scene(profile)
    for client in (None, "nobody"):
        report = scene.tracker.report(client)
        assert [row.key for row in report] == [*KPI_KEYS, "blind_s"]
        assert {(row.value, row.ok, row.n, row.max, row.p95) for row in report} == {(None, None, 0, None, None)}
        assert {row.key: row.target for row in report[:-1]} == ws.FINANCIAL.replace(
            kpi_targets=scene.tracker.profile.kpi_targets
        ).kpi_targets
        assert report.status is None


# Messages


@pytest.mark.parametrize("profile", PROFILES)
def test_message_kpis_come_from_the_sums_in_every_profile(profile: ProfileName) -> None:
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


def test_messages_without_a_handler_have_no_processing_time(scene: Scene) -> None:
    """They were answers, or returned by receive(), which is not timed; and what is sent is not processed."""
    scene.batch(50)
    scene.batch(50, way="sent")
    assert (scene.value("processing_time_ms"), scene.value("throughput_per_s")) == (None, 50.0)


def test_the_processing_time_is_that_of_the_messages_that_were_processed(scene: Scene) -> None:
    """Half of them cannot be read: the mean is that of the others, and of all if the emitter does not count them."""
    scene.batch(40, errors=20, ms=400, longest=25, processed=20)
    row = scene.row("processing_time_ms")
    assert (row.value, row.max, row.n) == (20.0, 25.0, 20)
    assert scene.row("throughput_per_s").n == 40
    scene.batch(20, ms=400)
    assert (scene.value("processing_time_ms"), scene.row("processing_time_ms").n) == (20.0, 40)


def test_throughput_is_over_the_time_that_was_watched(scene: Scene) -> None:
    """At least a second; at most the window; for a client since its first event."""
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
    """From events of single messages, by handler or by recorder, if the profile has them."""
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


def test_the_p95_leaves_the_window_also_without_a_report(scene: Scene) -> None:
    """The sums of each second fold what was recorded in it."""
    record = scene.bus.slot(events.MESSAGE_PROCESS_COMPLETED).recorder(("duration",), {"client_id": "a"})
    assert record is not None
    record(900 * MS)
    scene.batch(1, ms=900)
    scene.clock.advance(400)
    record(MS)
    scene.batch(1, ms=1)
    assert scene.row("processing_time_ms").p95 == pytest.approx(1, rel=1 / 32)


@pytest.mark.parametrize("profile", ["standard", "lightweight"])
def test_under_a_profile_without_message_events_none_is_handled(profile: ProfileName) -> None:
    """So a client of these profiles still handles messages in runs."""
    scene = Scene(profile)
    assert scene.bus.slot(events.MESSAGE_PROCESS_COMPLETED).handlers == ()
    assert scene.bus.slot(events.MESSAGE_BATCH_PROCESSED).handlers


# Errors and alerts


def test_the_recovery_rate_leaves_critical_errors_out(scene: Scene) -> None:
    """Even if one is handled at the end."""
    scene.error("e1")
    scene.error("e2", severity="warning")
    scene.error("e3", severity="critical")
    for error_id in ("e1", "e3"):
        scene.handled(error_id)
    assert scene.row("error_recovery_rate")[1:5] == (1 / 2, (">", 0.99), False, 2)
    scene.handled("e2")
    assert scene.row("error_recovery_rate")[1:5] == (1.0, (">", 0.99), True, 2)


def test_an_error_that_the_profile_left_out_is_not_handled_either(scene: Scene) -> None:
    """The minimal level emits no warnings, but everything that is handled."""
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


def test_error_to_alert_is_the_longest_of_the_window(scene: Scene) -> None:
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
    assert len(history.sketch._bins) < 200
    assert sum(history.window.bins.values()) <= 300
