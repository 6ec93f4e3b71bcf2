"""What a tracker passes to its reporter, tick by tick: gauges of all clients, checks in turn and at every change."""

import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

import wsnova_statsd as ws
from tests.unit.kpis import Clockwork, S, Scene
from wsnova_statsd.insight import kpi
from wsnova_statsd.testing.dogstatsd import ServiceCheck
from wsnova_statsd.testing.metrics import CapturedMetrics, capture_metrics

HEALTH, CONNECT = "websocket.health", "websocket.can_connect"


@pytest.fixture
def clockwork(monkeypatch: pytest.MonkeyPatch) -> Clockwork:
    made = Clockwork()
    monkeypatch.setattr(kpi, "CLOCK", made)
    return made


@pytest.fixture
def metrics() -> Iterator[CapturedMetrics]:
    with capture_metrics([], bus=ws.Bus(), strict=True) as captured:
        yield captured


class EverySecond:
    """The captured reporter, for a tracker: it claims to flush every second, which `Ticks` makes it do."""

    flush_interval = 1.0

    def __init__(self, reporter: ws.StatsdReporter) -> None:
        self.gauge = reporter.gauge
        self.service_check = reporter.service_check
        self.state_tags = reporter.state_tags


class Ticks:
    """A scene whose tracker ships to `metrics`, and its seconds."""

    def __init__(self, clockwork: Clockwork, metrics: CapturedMetrics, **options: Any) -> None:
        self.scene = Scene(reporter=EverySecond(metrics.reporter), **options)
        self.metrics = metrics
        self._clockwork = clockwork

    def tick(self, count: int = 1) -> list[str]:
        """So many seconds pass; the service checks they brought."""
        self.metrics.clear()
        for _ in range(count):
            self.scene.clock.advance(1)
            self._clockwork.run()
            self.metrics.flush()
        return [_check(one) for one in self.metrics.checks]

    def gauges(self) -> dict[str, float | None]:
        """What the last flush brought, by the name's end and the tag beside the worker's."""
        return {
            " ".join((one.name.removeprefix("websocket.kpi."), *_without_worker(one.tags))): one.values[-1]
            for one in self.metrics.metrics()
            if one.type == "g"
        }


def _check(check: ServiceCheck) -> str:
    return " ".join((check.name.removeprefix("websocket."), str(check.status), *_without_worker(check.tags)))


def _without_worker(tags: tuple[str, ...]) -> tuple[str, ...]:
    """Every gauge and check has one."""
    assert tags[-1] == "worker:0"
    return tags[:-1]


@pytest.fixture
def ticks(clockwork: Clockwork, metrics: CapturedMetrics) -> Ticks:
    return Ticks(clockwork, metrics)


def test_what_has_no_data_is_not_shipped(ticks: Ticks) -> None:
    assert ticks.tick(20) == []
    assert ticks.metrics.messages == []


def test_gauges_that_do_not_change_are_sent_every_five_seconds(ticks: Ticks) -> None:
    """Overall and by client: twice in each of the Agent's windows of ten, without a gap."""
    ticks.scene.connected("a", ms=100)
    ticks.scene.connected("b", ms=300)
    wanted = {
        f"{key}{tag}": value
        for tag, ms in ((" scope:all", 200.0), (" client:a", 100.0), (" client:b", 300.0))
        for key, value in (("connection_success_rate", 1.0), ("connection_time_ms", ms), ("blind_s", 0.0))
    }
    for _ in range(3):
        ticks.tick()
        assert ticks.gauges() == wanted
        for _ in range(4):
            ticks.tick()
            assert ticks.gauges() == {}


def test_each_flush_has_every_gauge_if_flushes_are_five_seconds_apart(clockwork: Clockwork) -> None:
    with capture_metrics([], bus=ws.Bus()) as metrics:  # they are ten seconds apart here
        scene = Scene(reporter=metrics.reporter)
        scene.connected()
        lines = []
        for _ in range(40):
            clockwork.run()
            scene.clock.advance(1)
            metrics.flush()
            lines.append(len([one for one in metrics.metrics() if one.name.startswith("websocket.kpi")]))
            metrics.clear()
    assert lines == [6, 0, 0, 0] * 10


def test_a_gauge_that_changes_by_more_than_a_hundredth_is_sent_at_once(ticks: Ticks) -> None:
    """A smaller change waits for its turn; from zero any change counts; one key does not take another along."""
    scene = ticks.scene
    scene.batch(1000, ms=100_000)
    ticks.tick()
    assert ticks.gauges()["processing_time_ms client:a"] == 100.0
    scene.batch(1000, ms=102_000)  # a mean of 101
    ticks.tick()
    assert not any("processing" in name for name in ticks.gauges())
    scene.batch(1, ms=10)
    ticks.tick()
    assert not any("processing" in name for name in ticks.gauges())
    scene.batch(2000, errors=1, ms=204_000)
    ticks.tick()
    assert ticks.gauges()["processing_time_ms client:a"] == pytest.approx(101.5, abs=0.1)
    assert ticks.gauges()["message_error_rate client:a"] > 0  # type: ignore[operator]
    assert "throughput_per_s client:a" in ticks.gauges()


def test_the_idle_clients_of_a_fleet_cost_few_lines(ticks: Ticks) -> None:
    """300 of them, with all of their gauges and checks, over a minute."""
    for number in range(300):
        ticks.scene.connected(f"c{number}")
    ticks.tick(10)
    lines = 0
    for _ in range(60):
        ticks.tick()
        lines += len(ticks.metrics.metrics()) + len(ticks.metrics.checks)
    assert lines / 60 < 250  # and 75 for the state of their links


def test_every_kpi_with_a_value_has_its_gauge(ticks: Ticks) -> None:
    scene = ticks.scene
    scene.connected()
    scene.lost()
    scene.back()
    scene.batch(4, ms=4)
    scene.error("e1")
    scene.tracker.alerted("a", S)
    ticks.tick()
    assert ticks.gauges() == {
        " ".join((key, *tag)): value
        for client, tag in ((None, ("scope:all",)), ("a", ("client:a",)))
        for key, value in scene.values(client).items()
    }
    assert len(ticks.gauges()) == 20


def test_the_health_check_comes_every_ten_seconds_with_what_is_missed(ticks: Ticks) -> None:
    ticks.scene.connected(ms=100)
    assert ticks.tick() == ["health 0 scope:all", "health 0 client:a", "can_connect 0 client:a"]
    assert ticks.metrics.checks[0].message in (None, "")
    assert ticks.tick(9) == []
    ticks.scene.connected(ms=960)
    assert ticks.tick() == ["health 1 scope:all", "health 1 client:a", "can_connect 0 client:a"]
    assert ticks.metrics.checks[0].message == "connection_time_ms 530, target < 500"
    ticks.scene.batch(10, errors=1)
    assert ticks.tick(9) == []
    assert ticks.tick() == ["health 2 scope:all", "health 2 client:a", "can_connect 0 client:a"]
    message = "connection_time_ms 530, target < 500, message_error_rate 0.1, target < 0.0001"
    assert ticks.metrics.checks[1].message == message


def test_can_connect_follows_the_connection_within_a_second(ticks: Ticks) -> None:
    """And comes again every ten, whether or not it changes."""
    scene = ticks.scene
    scene.started()
    assert ticks.tick() == ["can_connect 2 client:a"]
    scene.completed()
    assert ticks.tick() == ["can_connect 0 client:a"]
    assert ticks.tick() == []
    scene.lost()
    assert ticks.tick() == ["can_connect 2 client:a"]
    assert ticks.metrics.checks[0].message == "no working connection"
    scene.started(reconnect=True)
    scene.completed(reconnect=True)
    assert ticks.tick() == []  # not logged in yet
    scene.emit(ws.events.CONNECTION_RECONNECT_SUCCESS, "a", {"duration": S})
    assert ticks.tick() == ["can_connect 0 client:a"]
    assert [one for one in ticks.tick(20) if "connect" in one] == ["can_connect 0 client:a"] * 2


def test_a_closed_client_is_sent_once_more_and_then_no_longer(ticks: Ticks) -> None:
    """If it ended in an outage, its check is critical; if it was closed on purpose, it has none."""
    scene = ticks.scene
    for client in "ab":
        scene.connected(client)
    ticks.tick(2)
    scene.lost("a", "close_1006")
    scene.lost("b", "local")
    for client in "ab":
        scene.closed(client)
    assert ticks.tick() == ["can_connect 2 client:a"]
    assert {tag for name in ticks.gauges() for tag in name.split()[1:]} - {"scope:all"} == {"client:a", "client:b"}
    assert [one for one in ticks.tick(20) if "client" in one] == []
    assert {tag for name in ticks.gauges() for tag in name.split()[1:]} - {"scope:all"} == set()
    scene.connected("b")
    assert ticks.tick(10)
    assert {tag for name in ticks.gauges() for tag in name.split()[1:]} - {"scope:all"} == {"client:b"}


def test_checks_of_many_clients_are_spread_so_that_the_queue_holds_them(ticks: Ticks) -> None:
    """A tenth of them each second in turn, and at most a hundred changes; every client is sent soon, nothing is
    lost."""
    for number in range(600):
        ticks.scene.connected(f"c{number}")
    reported: set[str] = set()
    for _ in range(6):
        checks = ticks.tick()
        assert len(checks) <= 1 + 60 + 60 + 100
        reported |= {check for check in checks if check.startswith("can_connect")}
    assert len(reported) == 600
    checks = ticks.tick(10)
    assert len(checks) == len(set(checks)) == 1 + 600 + 600
    assert "queue" not in ticks.metrics.reporter.stats.lost


def test_every_client_that_ends_in_an_outage_is_sent_however_many_at_once(ticks: Ticks) -> None:
    for number in range(250):
        ticks.scene.connected(f"c{number}")
        ticks.scene.lost(f"c{number}")
        ticks.scene.closed(f"c{number}")
    checks = [one for one in ticks.tick(4) if one.startswith("can_connect")]
    assert sorted(checks) == sorted(f"can_connect 2 client:c{number}" for number in range(250))


def test_stopping_ships_the_last_values_and_ends_the_ticks(ticks: Ticks, clockwork: Clockwork) -> None:
    """Also for a script that runs for less than a second, and for a change of less than a hundredth."""
    ticks.scene.connected(ms=703)
    ticks.tick()
    ticks.scene.connected(ms=697)
    ticks.metrics.clear()
    ticks.scene.tracker.stop()
    ticks.metrics.flush()
    assert ticks.gauges()["connection_time_ms scope:all"] == ticks.gauges()["connection_time_ms client:a"] == 700.0
    assert [_check(one) for one in ticks.metrics.checks] == ["health 2 scope:all"]
    clockwork.run()
    assert clockwork.jobs == []
    assert ticks.tick() == []


def test_starting_again_during_a_tick_leaves_one_chain_of_ticks(clockwork: Clockwork) -> None:
    class Restarting:
        tracker: ws.KpiTracker | None = None

        def gauge(self, name: str, value: float, tags: Any = ()) -> None:
            tracker, self.tracker = self.tracker, None
            if tracker is not None:
                tracker.stop()
                tracker.start()

        def service_check(self, name: str, status: int, tags: Any = (), message: str = "") -> None: ...

    sink = Restarting()
    scene = Scene(reporter=sink)
    scene.connected()
    sink.tracker = scene.tracker
    for _ in range(3):
        clockwork.run()
        assert sink.tracker is None
        assert len(clockwork.jobs) == 1


def test_a_sink_that_raises_does_not_end_the_ticks(clockwork: Clockwork) -> None:
    class Broken:
        calls = 0

        def gauge(self, name: str, value: float, tags: Any = ()) -> None:
            self.calls += 1
            raise OSError("no space")

        def service_check(self, name: str, status: int, tags: Any = (), message: str = "") -> None:
            raise OSError("no space")

    broken = Broken()
    Scene(reporter=broken).connected()
    for _ in range(3):
        with pytest.raises(OSError, match="no space"):  # the clock logs it
            clockwork.run()
    assert broken.calls == 3
    assert len(clockwork.jobs) == 1


def test_a_tick_is_due_every_second_however_late_the_last_one_was(
    ticks: Ticks, clockwork: Clockwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A missed one is not made up for."""
    (first, _), now = clockwork.jobs[0], ticks.scene.tracker._due
    assert 0 <= first <= 1
    for late, pause in ((0.25, 0.75), (0.0, 1.0), (5.5, 0.0), (0.0, 1.0)):
        now = ticks.scene.tracker._due + late
        monkeypatch.setattr(kpi, "time", SimpleNamespace(monotonic=lambda now=now: now))
        clockwork.run()
        assert clockwork.jobs[0][0] == pytest.approx(pause)


def test_in_a_forked_child_counting_begins_anew_and_shipping_with_the_first_client(
    ticks: Ticks, clockwork: Clockwork
) -> None:
    """The parent reports what happened to its clients."""
    tracker, scene = ticks.scene.tracker, ticks.scene
    scene.connected("parents", ms=900)
    holder = threading.Thread(target=tracker._lock.acquire)  # it is not in the child
    holder.start()
    holder.join()
    tracker.after_fork()
    clockwork.jobs.clear()
    assert set(scene.values().values()) == {None}
    assert clockwork.jobs == []
    scene.connected("own", ms=50)
    ticks.tick()
    assert ticks.gauges()["connection_time_ms scope:all"] == ticks.gauges()["connection_time_ms client:own"] == 50.0
    assert not any("parents" in name for name in ticks.gauges())


def test_a_hostile_client_id_forges_nothing(ticks: Ticks) -> None:
    """Its tag is clean, everywhere."""
    ticks.scene.connected("x|#a:b,c\nwebsocket.kpi.fake:1|g")
    assert len(ticks.tick()) == 3
    assert not any("fake" in one.name for one in ticks.metrics.metrics())
    assert all(len(one.tags) == 2 for one in ticks.metrics.metrics())
