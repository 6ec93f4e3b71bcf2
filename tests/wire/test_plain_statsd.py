"""Plain StatsD as other servers read it: npm's statsd, and Debian's collectd and netdata, report what was sent."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import wsnova_statsd as ws
from tests.wire.statsd_servers import Collectd, Netdata, Npm, Server

SERVERS = [
    pytest.param(Npm, marks=pytest.mark.needs_statsd_daemon),
    pytest.param(Collectd, marks=pytest.mark.needs_collectd),
    pytest.param(Netdata, marks=pytest.mark.needs_netdata),
]


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    running: Server = request.param(tmp_path)
    yield running
    running.stop()


@pytest.fixture
def npm(tmp_path: Path) -> Iterator[Npm]:
    running = Npm(tmp_path)
    yield running
    running.stop()


def _reporter(server: Server, bus: ws.Bus | None = None, **options: Any) -> ws.StatsdReporter:
    options = {"metrics": (), "namespace": "app", "dialect": "statsd", "flush_interval": 10, **options}
    return ws.StatsdReporter(host="127.0.0.1", port=server.port, bus=bus or ws.Bus(), **options)


@pytest.mark.parametrize("scheme", ["unixgram", "unixstream"])
def test_lines_end_alike_on_datagrams_and_on_a_stream(scheme: str, tmp_path: Path) -> None:
    """A stream has no lengths before packets, unlike the Agent's: each line ends with a newline. Thinned timers have
    their rate, negative ones are lost with a cause."""
    path, stream = str(tmp_path / "statsd"), scheme == "unixstream"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM if stream else socket.SOCK_DGRAM) as server:
        server.bind(path)
        if stream:
            server.listen()
        options: dict[str, Any] = {"namespace": "app", "dialect": "statsd", "flush_interval": 10, "max_samples": 100}
        with ws.StatsdReporter(socket_path=f"{scheme}://{path}", metrics=(), bus=ws.Bus(), **options) as reporter:
            reporter.increment("orders", 3)
            reporter.gauge("depth", -2)
            for _ in range(200):
                reporter.timing("latency", 1.5)
                reporter.timing("ahead", -1)
            assert reporter.flush()
            assert reporter.stats.lost == {"unsendable": 200}
        if stream:
            server, _ = server.accept()
        lines = server.recv(65536).decode().split("\n")
        server.close()
    assert lines.count("") == stream
    assert {"app.orders:3|c", "app.depth:0|g", "app.depth:-2|g"} <= set(lines)
    rates = [float(line.partition("|ms|@")[2]) for line in lines if line.startswith("app.latency:1.5|ms|@")]
    assert round(sum(1 / rate for rate in rates)) == 200


def test_every_kind_is_read_as_it_was_sent(server: Server) -> None:
    """Counts over several flushes, gauges below zero, timers and distributions, sets: to the last one."""
    with _reporter(server) as reporter:
        for turn in range(3):
            for value in range(1, 101):
                reporter.increment("orders", 1, ["venue:xetr"] if value % 2 else [])
                reporter.distribution("size", value)
                reporter.timing("latency", 2 * value)
            reporter.increment("bytes", 1_500_000_000)
            if server.negative_counters:
                reporter.decrement("credit", 2)
            reporter.gauge("depth", -5 - turn)
            assert reporter.flush()
        for member in ("anna", "bert", "a:b", "a_b"):
            reporter.set("users", member)
        stats = reporter.stats
        assert (stats.pending, stats.lost) == (0, {})
    assert server.wait_for(lambda: server.count("app.orders") == 300), server.log.read_text()
    assert server.wait_for(lambda: server.count("app.bytes") == 4_500_000_000)
    assert server.wait_for(lambda: server.gauge("app.depth") == -7)
    assert server.wait_for(lambda: server.timer("app.size") == (300, 100))
    assert server.wait_for(lambda: server.timer("app.latency") == (300, 200))
    assert server.wait_for(lambda: server.members("app.users") == 4)
    assert not server.negative_counters or server.count("app.credit") == -6
    assert server.bad_lines() == 0


def test_the_whole_list_is_read_without_an_error(server: Server) -> None:
    """A client's events as its metrics, with a Monitor's KPIs; two clients' counts add up under one name."""
    bus = ws.Bus()
    reporter = _reporter(server, bus, metrics=None, packet_size=1432)
    with ws.Monitor("financial", reporter=reporter, bus=bus) as monitor:
        for client in ("a", "b"):
            metadata = {"client_id": client, "type": "trade", "result": "ok"}
            for _ in range(50):
                bus.execute(ws.events.MESSAGE_RECEIVED, {"size": 100}, metadata)
                bus.execute(ws.events.MESSAGE_PROCESS_COMPLETED, {"duration": 3_000_000}, metadata)
            bus.execute(ws.events.CONNECTION_COMPLETED, {"duration": 2_000_000}, metadata)
        monitor.increment("orders", 7)
        assert reporter.flush()
        assert {*reporter.stats.lost} <= {"untagged", "dialect"}
    assert server.wait_for(lambda: server.count("app.websocket.message.received") == 100), server.log.read_text()
    assert server.wait_for(lambda: server.count("app.websocket.message.received.bytes") == 10_000)
    assert server.wait_for(lambda: server.timer("app.websocket.message.process.duration.distribution") == (100, 3))
    assert server.wait_for(lambda: server.gauge("app.websocket.connection.up") == 1)
    assert server.wait_for(lambda: server.count("app.orders") == 7)
    assert server.bad_lines() == 0


@pytest.mark.needs_statsd_daemon
def test_numbers_have_no_exponent_and_fractions_stay(npm: Npm) -> None:
    """The daemon reads a value exactly, however small or large, and counts a thinned timer as often as it stands
    for."""
    with _reporter(npm, max_samples=100) as reporter:
        for _ in range(10):
            reporter.increment("paid", 0.1)
        reporter.increment("large", 1e22)
        reporter.gauge("small", 0.00000125)
        for value in range(10_007):
            reporter.timing("latency", value / 1e6)
        assert reporter.flush()
        assert reporter.stats.lost == {}
    assert npm.wait_for(lambda: npm.count("app.paid") == 1), npm.log.read_text()
    assert npm.wait_for(lambda: npm.count("app.large") == 1e22)
    assert npm.wait_for(lambda: npm.gauge("app.small") == 0.00000125)
    assert npm.wait_for(lambda: npm.timer("app.latency")[0] == 10_007)
    assert npm.bad_lines() == 0


@pytest.mark.needs_statsd_daemon
def test_without_a_format_the_first_gauge_of_a_name_is_sent(npm: Npm, caplog: pytest.LogCaptureFixture) -> None:
    """The others are lost with a cause, events and checks too: each is logged once."""
    with _reporter(npm) as reporter:
        for _ in range(2):
            for value, venue in enumerate(("xetr", "xlon", "xpar"), 1):
                reporter.gauge("depth", value, {"venue": venue})
                reporter.timing("latency", value, {"venue": venue})
            reporter.event("t", "x")
            reporter.service_check("up", 0)
            assert reporter.flush()
        assert reporter.stats.lost == {"untagged": 4, "dialect": 4}
    assert npm.wait_for(lambda: npm.timer("app.latency") == (6, 3)), npm.log.read_text()
    assert npm.gauge("app.depth") == 1
    assert npm.bad_lines() == 0
    assert [record.getMessage().split(":")[0] for record in caplog.records] == [
        "lost by cause 'dialect'",
        "lost by cause 'untagged'",
    ]


@pytest.mark.needs_statsd_daemon
@pytest.mark.parametrize(("tag_format", "separator"), [("graphite", ";"), ("influx", ",")])
def test_tags_may_be_part_of_the_name(npm: Npm, tag_format: str, separator: str) -> None:
    """Every series is separate: npm's daemon keeps Graphite's form, and removes the comma of the other."""
    with _reporter(npm, tag_format=tag_format, tags=["env:prod"]) as reporter:
        for value, venue in enumerate(("xetr", "xlon"), 1):
            reporter.gauge("depth", -value, {"venue": venue})
        assert reporter.flush()
        assert reporter.stats.lost == {}
    separator = separator if separator == ";" else ""
    for value, venue in enumerate(("xetr", "xlon"), 1):
        name = f"app.depth{separator}venue={venue}{separator}env=prod"
        assert npm.wait_for(lambda name=name, value=value: npm.gauge(name) == -value), npm.graphite.values  # type: ignore[misc]
    assert npm.bad_lines() == 0


@pytest.mark.needs_statsd_daemon
def test_in_a_container_no_field_of_dogstatsd_is_sent(npm: Npm, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the container's id, nor what the admission controller wrote, nor a cardinality."""
    monkeypatch.setenv("DD_EXTERNAL_ENV", "it-false,cn-app,pu-1")
    monkeypatch.setenv("DD_CARDINALITY", "low")
    monkeypatch.setenv("DD_ENTITY_ID", "pod-1")
    with _reporter(npm) as reporter:
        reporter.increment("orders")
        assert reporter.flush()
    assert npm.wait_for(lambda: npm.count("app.orders") == 1), npm.log.read_text()
    assert npm.bad_lines() == 0
