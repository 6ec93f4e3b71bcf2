"""The sampler under a fake clock: what a sample measures, what it leaves out, and when none is taken."""

import gc
import resource
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

import wsnova_statsd as ws
from tests.unit.alerting import Timers
from wsnova_statsd.insight import tcp_info as tcp_module
from wsnova_statsd.insight.tcp_info import tcp_info
from wsnova_statsd.testing.capture import EventLog, capture_events
from wsnova_statsd.testing.clock import FakeClock
from wsnova_statsd.testing.metrics import capture_metrics

SAMPLED = ws.events.SYSTEM_SAMPLED
ANSWERED, MISSED = ws.events.HEARTBEAT_RECEIVED, ws.events.HEARTBEAT_MISSED
PROCESS = {
    *("cpu_percent", "rss_bytes", "threads", "open_fds", "gc_collections", "gc_collections_full"),
    *("ctx_switches", "ctx_switches_involuntary"),
}


class Scene:
    """A sampler on its own bus, and what it emits."""

    def __init__(self, log: EventLog, bus: ws.Bus, **options: Any) -> None:
        self.bus = bus
        self.timers = Timers(FakeClock())
        self.sampler = ws.SystemSampler(bus=bus, clock=self.timers, **options)
        self._log = log

    def reported(self, seconds: float = 10) -> dict[str | None, dict[str, Any]]:
        """So many seconds pass; the figures that they bring, by client."""
        self._log.clear()
        self.timers.advance(seconds)
        found = self._log.of(SAMPLED)
        assert len({one.metadata["worker"] for one in found}) <= 1
        return {one.metadata["client_id"]: dict(one.measurements) for one in found}

    def answered(self, rtt: object, client_id: object = "md-1") -> None:
        self.bus.execute(ANSWERED, {"rtt": rtt}, {"client_id": client_id})

    def missed(self, client_id: object = "md-1") -> None:
        self.bus.execute(MISSED, {"system_time": 1}, {"client_id": client_id})


@pytest.fixture
def log() -> Iterator[tuple[EventLog, ws.Bus]]:
    bus = ws.Bus()
    with capture_events(SAMPLED, bus=bus) as events:
        yield events, bus


@pytest.fixture
def scene(log: tuple[EventLog, ws.Bus]) -> Scene:
    made = Scene(*log)
    made.sampler.start()
    return made


# When


def test_nothing_is_sampled_before_start_and_after_stop(log: tuple[EventLog, ws.Bus]) -> None:
    scene = Scene(*log)
    assert (scene.timers.waiting, scene.bus.list_handlers()[1:]) == (0, [])
    assert scene.reported(60) == {}
    scene.sampler.start()
    assert set(scene.reported()) == {None}
    scene.sampler.stop()
    assert (scene.timers.waiting, scene.reported(60)) == (0, {})
    scene.missed()
    assert (scene.timers.waiting, scene.reported(60)) == (0, {})


def test_a_sample_comes_at_each_interval_however_often_it_is_started(log: tuple[EventLog, ws.Bus]) -> None:
    scene = Scene(*log, every=2.5)
    for _ in range(3):
        scene.sampler.start()
    scene.timers.advance(25)
    assert len(log[0].of(SAMPLED)) == 10


def test_it_may_be_stopped_twice_and_started_again(scene: Scene) -> None:
    scene.sampler.stop()
    scene.sampler.stop()
    with scene.sampler:
        assert set(scene.reported()) == {None}
    assert scene.reported() == {}


def test_a_tick_of_an_earlier_start_takes_no_sample(scene: Scene) -> None:
    """The clock may have taken the job out just before stop came to cancel it."""
    ((_, _, job),) = scene.timers._jobs
    late = job.work
    assert late is not None
    scene.sampler.stop()
    scene.sampler.start()
    late()
    assert len(scene._log) == 0
    assert scene.timers.waiting == 1


def test_an_event_that_was_on_its_way_when_it_was_stopped_begins_nothing(scene: Scene) -> None:
    """An emitting thread may have read the bus's handlers just before stop detached this one."""
    scene.sampler.stop()
    scene.sampler._handle(MISSED, {}, {"client_id": "md-1"}, None)
    assert scene.timers.waiting == 0


def test_two_samplers_of_one_bus_emit_the_same_totals(log: tuple[EventLog, ws.Bus]) -> None:
    """Each has its own interval, heartbeats and processor share, and stopping one leaves the other."""
    one, other = Scene(*log, worker="one"), Scene(*log, worker="other")
    for scene in (one, other):
        scene.sampler.start()
    one.answered(5)
    first = one.reported()
    one.sampler.stop()
    second = other.reported()
    assert first["md-1"] == second["md-1"] == {"heartbeat_rtt": 5, "heartbeat_missed_share": 0.0}
    for total in ("gc_collections_full", "ctx_switches"):
        assert 0 <= second[None][total] - first[None][total] < 1000


# The process


def test_the_figures_of_the_process_are_those_of_the_system(scene: Scene) -> None:
    figures = scene.reported()[None]
    assert set(figures) == PROCESS
    assert figures["rss_bytes"] == pytest.approx(psutil.Process().memory_info().rss, rel=0.2)
    assert figures["threads"] >= threading.active_count()
    assert figures["cpu_percent"] >= 0
    assert scene.sampler.failed == 0


def test_new_descriptors_and_threads_are_counted(scene: Scene) -> None:
    before = scene.reported()[None]
    go = threading.Event()
    threads = [threading.Thread(target=go.wait) for _ in range(40)]
    pairs = [socket.socketpair() for _ in range(20)]
    for thread in threads:
        thread.start()
    after = scene.reported()[None]
    go.set()
    for thread in threads:
        thread.join()
    for pair in pairs:
        for one in pair:
            one.close()
    for figure in ("open_fds", "threads"):  # some of other tests may come and go
        assert after[figure] - before[figure] == pytest.approx(40, abs=8)


def test_collections_are_counted_in_all_and_full_ones_apart(scene: Scene) -> None:
    gc.disable()
    try:
        before = scene.reported()[None]
        gc.collect(0)
        gc.collect(0)
        gc.collect()
        after = scene.reported()[None]
    finally:
        gc.enable()
    assert after["gc_collections"] - before["gc_collections"] == 3
    assert after["gc_collections_full"] - before["gc_collections_full"] == 1


def test_context_switches_are_those_of_every_thread(scene: Scene) -> None:
    """The figure of psutil is that of the main thread."""

    def sleeps() -> None:
        for _ in range(50):
            time.sleep(0.0001)

    before = scene.reported()[None]
    thread = threading.Thread(target=sleeps)
    thread.start()
    thread.join()
    after = scene.reported()[None]
    assert after["ctx_switches"] - before["ctx_switches"] >= 50
    usage = resource.getrusage(resource.RUSAGE_SELF)
    assert 0 <= after["ctx_switches_involuntary"] <= usage.ru_nivcsw
    assert after["ctx_switches"] <= usage.ru_nvcsw + usage.ru_nivcsw


def test_the_processor_share_is_that_since_the_last_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first one counts from start, so psutil's meaningless first value is never emitted."""
    shares = iter([0.0, 40.0, 250.0])
    asked = SimpleNamespace(cpu_percent=lambda interval: next(shares))
    monkeypatch.setattr(psutil, "Process", lambda: asked)
    bus = ws.Bus()
    with capture_events(SAMPLED, bus=bus) as log:
        scene = Scene(log, bus)
        scene.sampler.start()
        assert [scene.reported()[None]["cpu_percent"] for _ in range(2)] == [40.0, 250.0]


def test_a_figure_that_cannot_be_read_is_left_out_and_counted(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_: object) -> int:
        raise psutil.AccessDenied(1)

    with monkeypatch.context() as patch:
        patch.setattr(psutil.Process, "num_fds", refused)
        patch.setattr(psutil.Process, "cpu_percent", lambda *_: 1 / 0)
        for _ in range(3):
            assert set(scene.reported()[None]) == PROCESS - {"open_fds", "cpu_percent"}
    assert scene.sampler.failed == 6
    assert set(scene.reported()[None]) == PROCESS


@pytest.mark.parametrize(("worker", "tag"), [(None, "0"), ("web-1", "web-1")], ids=["process", "named"])
def test_a_worker_is_named_or_has_the_name_of_its_reporter(
    log: tuple[EventLog, ws.Bus], worker: str | None, tag: str
) -> None:
    scene = Scene(*log, worker=worker)
    scene.sampler.start()
    scene.timers.advance(10)
    assert [one.metadata for one in log[0].of(SAMPLED)] == [{"client_id": None, "worker": tag}]


# Heartbeats


def test_heartbeats_are_emitted_by_client_with_the_last_rtt_and_the_share_missed(scene: Scene) -> None:
    for rtt in (9, 7, 5):
        scene.answered(rtt)
    scene.missed()
    scene.missed("md-2")
    reported = scene.reported()
    assert reported["md-1"] == {"heartbeat_rtt": 5, "heartbeat_missed_share": 0.25}
    assert reported["md-2"] == {"heartbeat_missed_share": 1.0}
    assert set(scene.reported()) == {None}


@pytest.mark.parametrize("rtt", [None, "5", -1, float("nan"), True])
def test_a_heartbeat_without_a_usable_rtt_is_skipped_and_counted(scene: Scene, rtt: object) -> None:
    scene.answered(rtt)
    scene.answered(5, client_id=["md-1"])
    scene.missed(None)
    assert scene.sampler.skipped == 3
    assert set(scene.reported()) == {None}


# TCP_INFO


def _struct(**fields: int) -> bytes:
    """The tcp_info of linux/tcp.h as far as it is read: eight bytes, and these 24 numbers."""
    names = (
        *("rto", "ato", "snd_mss", "rcv_mss", "unacked", "sacked", "lost", "retrans", "fackets"),
        *("last_data_sent", "last_ack_sent", "last_data_recv", "last_ack_recv", "pmtu", "rcv_ssthresh"),
        *("rtt", "rttvar", "snd_ssthresh", "snd_cwnd", "advmss", "reordering", "rcv_rtt", "rcv_space"),
        "total_retrans",
    )
    return b"\xff" * 8 + struct.pack("=24I", *(fields.get(name, 4_000_000_000) for name in names))


def test_the_four_fields_are_read_from_their_places() -> None:
    """Microseconds become nanoseconds; retransmits are the connection's total, lost is what counts as lost now."""
    raw = _struct(rtt=1250, rttvar=300, total_retrans=7, lost=2)
    figures = tcp_info(lambda level, name, size: raw[:size] + bytes(size - len(raw)))
    assert figures == {"tcp_rtt": 1_250_000, "tcp_rttvar": 300_000, "tcp_retransmits": 7, "tcp_lost": 2}


def test_an_older_kernel_a_closed_socket_and_a_platform_without_it_give_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def closed(level: int, name: int, size: int) -> bytes:
        raise OSError(9, "Bad file descriptor")

    def there(level: int, name: int, size: int) -> bytes:
        return _struct()

    assert tcp_info(lambda level, name, size: b"\0" * 60) == {}
    assert tcp_info(closed) == {}
    assert (tcp_info(there) != {}) == (sys.platform == "linux")
    monkeypatch.setattr(tcp_module, "_OPTION", None)
    assert tcp_info(there) == {}


# What is sent

CLIENT = {
    "tcp_rtt": 1_250_000,
    "tcp_rttvar": 300_000,
    "tcp_retransmits": 7,
    "tcp_lost": 2,
    "heartbeat_rtt": 2_500_000,
    "heartbeat_missed_share": 0.5,
}
CLIENT_GAUGES = {
    "tcp.rtt_ms": 1.25,
    "tcp.rttvar_ms": 0.3,
    "heartbeat.rtt_ms": 2.5,
    "tcp.retransmits": 7.0,
    "tcp.lost": 2.0,
    "heartbeat.missed_share": 0.5,
}
WORKER_GAUGES = (
    *("cpu_percent", "rss_bytes", "threads", "open_fds"),
    *("gc.collections", "gc.collections.full", "ctx_switches", "ctx_switches.involuntary"),
)


def test_every_figure_has_its_gauge_with_the_worker_and_that_of_a_client_with_the_client() -> None:
    """So they can be joined. Those of the process are states: they are sent repeatedly."""
    bus = ws.Bus()
    with capture_metrics(bus=bus, strict=True) as metrics:
        bus.execute(SAMPLED, dict.fromkeys(PROCESS, 3), {"client_id": None, "worker": "w"})
        bus.execute(SAMPLED, CLIENT, {"client_id": "md-1", "worker": "w"})
        metrics.flush()
        assert [f"{one.name} {one.values} {one.type} {one.tags}" for one in metrics.metrics()] == [
            *(f"websocket.system.{name} (3.0,) g ('worker:w',)" for name in WORKER_GAUGES),
            *(
                f"websocket.system.{name} ({value},) g ('client:md-1', 'worker:w')"
                for name, value in CLIENT_GAUGES.items()
            ),
        ]
    states = {one.name for one in ws.statsd_metrics() if one.event == SAMPLED and one.state}
    assert states == {f"websocket.system.{name}" for name in WORKER_GAUGES}


# Bad input


@pytest.mark.parametrize("every", [0, 0.999, -1, float("nan"), float("inf"), True, "10", None])
def test_an_interval_below_a_second_is_refused_with_what_is_allowed(every: Any) -> None:
    with pytest.raises(
        ws.errors.ConfigurationError, match=r"every must be a number of seconds between two samples, at least 1"
    ):
        ws.SystemSampler(every)


@pytest.mark.parametrize("worker", ["", 7, ["a"]])
def test_a_worker_without_a_name_is_refused(worker: Any) -> None:
    with pytest.raises(ws.errors.ConfigurationError, match=r"worker is .*; pass a name"):
        ws.SystemSampler(worker=worker)


def test_without_psutil_it_says_at_once_which_extra_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psutil", None)
    with pytest.raises(ws.errors.MissingExtra, match=r"^psutil is not installed; .*'wsnova-statsd\[system\]'$"):
        ws.SystemSampler()
