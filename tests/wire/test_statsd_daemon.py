"""The original StatsD daemon adds up what the reporter sends: plain counters and gauges, by namespace, no tags."""

import os
import re
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import wsnova_statsd as ws
from tests.benchmarks.agent import free_port

pytestmark = pytest.mark.needs_statsd_daemon

DEADLINE = 15.0
_ENTRY = re.compile(r"'?([\w.]+)'?: (-?[\d.]+)")


class _Daemon:
    """The npm package's `stats.js` with its console backend, and what that printed so far."""

    def __init__(self, folder: Path, config: Path, port: int) -> None:
        self.port = port
        self._changed = threading.Condition()  # guards printed
        self.printed = ""
        self.process = subprocess.Popen(
            ["node", "stats.js", str(config)], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._changed:
                self.printed += line
                self._changed.notify_all()

    def wait_for(self, what: str) -> bool:
        """Until this has been printed, or the deadline is over."""
        with self._changed:
            return self._changed.wait_for(lambda: what in self.printed, DEADLINE)

    def section(self, name: str) -> list[dict[str, float]]:
        """The entries of this section of every whole flush: `counters: { 'a': 1 },`."""
        with self._changed:
            found = re.findall(rf"^  {name}: \{{(.*?)\}},$", self.printed, re.MULTILINE | re.DOTALL)
        return [{key: float(value) for key, value in _ENTRY.findall(one)} for one in found]

    def total(self, name: str) -> float:
        """A counter over all flushes: the daemon starts each one from zero."""
        return sum(one.get(name, 0.0) for one in self.section("counters"))

    def wait_for_total(self, name: str, total: float) -> bool:
        """Until a counter has reached this total, or the deadline is over."""
        with self._changed:
            return self._changed.wait_for(lambda: self.total(name) >= total, DEADLINE)

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(DEADLINE)
        self._reader.join(DEADLINE)
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[_Daemon]:
    folder = os.environ.get("WSNOVA_TESTS_DAEMON")
    if not folder:
        pytest.skip("WSNOVA_TESTS_DAEMON is not set; it names the folder of the npm package statsd")
    if not (Path(folder) / "stats.js").is_file():
        pytest.skip(f"WSNOVA_TESTS_DAEMON is {folder}, where there is no stats.js of the npm package statsd")
    if shutil.which("node") is None:
        pytest.skip("node is not installed; the StatsD daemon runs on it")
    monkeypatch.setenv("DD_ORIGIN_DETECTION_ENABLED", "false")  # in a container the client adds a field of DogStatsD
    port = free_port(socket.SOCK_DGRAM)
    config = tmp_path / "config.js"
    management = free_port(socket.SOCK_STREAM)
    config.write_text(
        f"{{ address: '127.0.0.1', port: {port}, mgmt_address: '127.0.0.1', mgmt_port: {management},"
        " backends: ['./backends/console'], flushInterval: 500, title: false }"
    )
    running = _Daemon(Path(folder), config, port)
    try:
        assert running.wait_for("server is up"), running.printed
        yield running
    finally:
        running.stop()


def _reporter(daemon: _Daemon, bus: ws.Bus | None = None, **options: object) -> ws.StatsdReporter:
    return ws.StatsdReporter(
        host="127.0.0.1",
        port=daemon.port,
        namespace="myapp",
        flush_interval=10,
        bus=bus or ws.Bus(),
        **options,  # type: ignore[arg-type]
    )


def test_counters_and_gauges_without_tags_are_accepted_by_the_daemon(daemon: _Daemon) -> None:
    """Every count over several flushes is in its totals, the gauge is the last value, and no line was bad."""
    with _reporter(daemon) as reporter:
        for turn in range(5):
            for _ in range(100):
                reporter.increment("orders")
            reporter.increment("bytes", 1_500)
            reporter.gauge("depth", 10.5 + turn)
            assert reporter.flush()
        assert (reporter.stats.delivered, reporter.stats.pending) == (8_000, 0)
    assert daemon.wait_for_total("myapp.orders", 500), daemon.printed
    assert daemon.wait_for_total("myapp.bytes", 7_500), daemon.printed
    assert daemon.total("myapp.orders") == 500
    assert daemon.total("myapp.bytes") == 7_500
    assert daemon.section("gauges")[-1]["myapp.depth"] == 14.5
    assert daemon.total("statsd.bad_lines_seen") == 0
    assert daemon.total("statsd.metrics_received") == 15


def test_metrics_of_events_without_tags_are_accepted_by_the_daemon(daemon: _Daemon) -> None:
    """A list of definitions without tags makes any event usable for it, packed into few datagrams."""
    bus = ws.Bus()
    received = ws.events.MESSAGE_RECEIVED
    metrics = [ws.counter("messages", received), ws.sum_("bytes", received, "size"), ws.gauge("size", received, "size")]
    with _reporter(daemon, bus, metrics=metrics) as reporter:
        for size in range(1, 1_001):
            bus.execute(received, {"size": size}, {"client_id": "a", "type": "b"})
        assert reporter.flush()
        assert reporter.stats.packets == 1
    assert daemon.wait_for_total("myapp.messages", 1_000), daemon.printed
    assert daemon.total("myapp.messages") == 1_000
    assert daemon.total("myapp.bytes") == 500_500
    assert daemon.section("gauges")[-1]["myapp.size"] == 1_000
    assert daemon.total("statsd.bad_lines_seen") == 0
