"""Scraped over HTTP: by prometheus_client's parsers, by a forked process, and by a real Prometheus."""

import ctypes
import os
import re
import select
import socket
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import prometheus_client
import pytest
from prometheus_client.openmetrics import parser as strict_parser
from prometheus_client.parser import text_string_to_metric_families as parse

import wsnova_statsd as ws
from tests.faults.forking import Child, Fork
from tests.prometheus import Prometheus, program_of
from tests.support import until
from wsnova_statsd.reporters.scrape_server import ScrapeServer
from wsnova_statsd.testing.server import WebSocketServer, echo

PAGE = (Path(__file__).resolve().parents[2] / "examples" / "prometheus.md").read_text(encoding="utf-8")
DEADLINE = 20.0
RECEIVED = ws.events.MESSAGE_RECEIVED
KIND = {"client_id": "md-1", "type": "trade"}
COUNT = "websockex_nova_message_received_count"
OPENMETRICS = "application/openmetrics-text;version=1.0.0"

# The guide's, character for character.
QUERIES = {
    "Connection Success Rate": """\
sum(rate(websockex_nova_connection_completed_count[5m])) /
sum(rate(websockex_nova_connection_started_count[5m]))
""",
    "Average Connection Time": """\
avg(websockex_nova_connection_completed_duration_milliseconds_sum /
websockex_nova_connection_completed_duration_milliseconds_count)
""",
    "Message Throughput": """\
sum(rate(websockex_nova_message_received_count[1m])) by (client_id, type)
""",
    "Error Rate": """\
sum(rate(websockex_nova_error_occurred_count[5m])) by (error_type)
""",
}


@pytest.fixture
def reporter(bus: ws.Bus) -> Iterator[ws.PrometheusReporter]:
    """The guide's list on its own bus, at a free port of this machine."""
    running = ws.PrometheusReporter(bus=bus).start(port=0)
    yield running
    running.stop()


def _get(url: str, accept: str = "*/*") -> tuple[str, str]:
    """Content type and body."""
    request = urllib.request.Request(url, headers={"Accept": accept})
    with urllib.request.urlopen(request, timeout=DEADLINE) as response:
        return response.headers["Content-Type"], response.read().decode()


def _scrape(port: int | None) -> str:
    assert port is not None
    return _get(f"http://127.0.0.1:{port}/metrics")[1]


def _total(text: str, name: str) -> float:
    return sum(sample.value for family in parse(text) for sample in family.samples if sample.name == name)


def _refused(port: int) -> bool:
    """Nothing listens there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def test_a_scrape_is_what_render_returns_in_both_formats(bus: ws.Bus, reporter: ws.PrometheusReporter) -> None:
    """Under any path, as text by default, as OpenMetrics on request."""
    bus.execute(RECEIVED, {"size": 330}, KIND)
    bus.execute(ws.events.MESSAGE_PROCESS_COMPLETED, {"duration": 1_500_000}, KIND)
    assert _scrape(reporter.port) == reporter.render()
    plain, text = _get(f"http://127.0.0.1:{reporter.port}/")
    strict, openmetrics = _get(f"http://127.0.0.1:{reporter.port}/metrics", OPENMETRICS)
    assert plain.startswith("text/plain")
    assert strict.startswith("application/openmetrics-text")
    read: Any = strict_parser.text_string_to_metric_families
    both = list(parse(text)), list(read(openmetrics))
    dated = {sample.name for one in both[1] for sample in one.samples} - {
        sample.name for one in both[0] for sample in one.samples
    }
    process = "websockex_nova_message_process_completed_duration_milliseconds"
    assert dated == {"websockex_nova_message_received_size_created", f"{process}_created"}
    undated = [
        [(one.name, one.type, [sample for sample in one.samples if sample.name not in dated]) for one in families]
        for families in both
    ]
    assert undated[0] == undated[1]
    assert _total(text, COUNT) == 1


def test_scrapes_while_threads_emit_end_at_what_was_emitted(bus: ws.Bus, reporter: ws.PrometheusReporter) -> None:
    """Conservation through HTTP, with labels that try to forge one another."""

    def emit(number: int) -> None:
        for size in range(3_000):
            bus.execute(
                RECEIVED, {"size": size}, {"client_id": f"c{number % 2}", "type": f'"}} 1\n{COUNT}{{x="{size % 5}'}
            )

    threads = [threading.Thread(target=emit, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    reported = [0.0]
    while any(thread.is_alive() for thread in threads):
        reported.append(_total(_scrape(reporter.port), COUNT))
    for thread in threads:
        thread.join()
    text = _scrape(reporter.port)
    assert reported == sorted(reported)
    assert _total(text, COUNT) == _total(text, "websockex_nova_message_received_size_count") == 18_000
    assert _total(text, "websockex_nova_message_received_size_sum") == 6 * sum(range(3_000))


def test_start_twice_is_harmless_and_stop_closes_the_port(bus: ws.Bus) -> None:
    """A named thread serves; after another start the totals go on."""
    reporter = ws.PrometheusReporter(bus=bus)
    assert reporter.start(port=0) is reporter
    port = reporter.port
    assert port
    reporter.start(port=0)
    assert reporter.port == port
    assert [thread.name for thread in threading.enumerate()].count("wsnova-prometheus") == 1
    bus.execute(RECEIVED, {"size": 1}, KIND)
    reporter.stop()
    assert reporter.port is None
    assert _refused(port)
    assert "wsnova-prometheus" not in [thread.name for thread in threading.enumerate()]
    bus.execute(RECEIVED, {"size": 1}, KIND)
    reporter.start(port=port)
    bus.execute(RECEIVED, {"size": 1}, KIND)
    assert _total(_scrape(port), COUNT) == 2
    reporter.stop()


def test_a_server_can_be_added_to_one_that_only_counts(bus: ws.Bus) -> None:
    reporter = ws.PrometheusReporter(bus=bus).start(port=None)
    bus.execute(RECEIVED, {"size": 1}, KIND)
    assert reporter.port is None
    reporter.start(port=0)
    assert _total(_scrape(reporter.port), COUNT) == 1
    reporter.stop()


def _scraping() -> list[str]:
    """The threads that answer requests."""
    return [thread.name for thread in threading.enumerate() if thread.name == "wsnova-scrape"]


def test_by_default_a_page_is_for_this_machine_alone(bus: ws.Bus) -> None:
    """127.0.0.2 is this machine too, and another address; 0.0.0.0 is both."""
    for address, elsewhere in (({}, False), ({"address": "127.0.0.1"}, False), ({"address": "0.0.0.0"}, True)):
        with ws.PrometheusReporter(bus=bus).start(port=0, **address) as reporter:
            with socket.socket() as probe:
                assert (probe.connect_ex(("127.0.0.2", reporter.port)) == 0) is elsewhere
            assert _scrape(reporter.port)


def test_stop_ends_requests_under_way_with_their_threads(bus: ws.Bus) -> None:
    """A peer that connected and sends nothing blocks neither the end nor a thread."""
    reporter = ws.PrometheusReporter(bus=bus).start(port=0)
    with socket.create_connection(("127.0.0.1", reporter.port or 0), timeout=DEADLINE) as peer:
        until(lambda: len(_scraping()) == 1)
        began = time.monotonic()
        reporter.stop()
        assert _scraping() == []
        assert time.monotonic() - began < 5
        assert peer.recv(1) == b""


def test_a_silent_peer_is_disconnected_and_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    """Whether it sent nothing or stopped within a line; other requests meanwhile are answered."""
    server = ScrapeServer("127.0.0.1", 0, prometheus_client.make_wsgi_app(), silence=0.2)
    server.start()
    place = ("127.0.0.1", server.server_port)
    with socket.create_connection(place, DEADLINE) as mute, socket.create_connection(place, DEADLINE) as slow:
        slow.sendall(b"GET /metrics HT")
        assert _scrape(server.server_port)
        assert (mute.recv(1), slow.recv(1)) == (b"", b"")
    until(lambda: _scraping() == [])
    server.stop()
    assert capfd.readouterr() == ("", "")


def test_as_a_context_manager_it_serves_at_its_usual_port_or_names_its_holder(bus: ws.Bus) -> None:
    """9568, for this machine alone; another one at the port is refused in one sentence, and neither counts nor
    serves."""
    if not _refused(9568):
        pytest.skip("something listens on port 9568 of this machine")
    with ws.PrometheusReporter(bus=bus) as first:
        assert first.port == 9568
        second = ws.PrometheusReporter(bus=bus)
        handlers = bus.list_handlers()
        with pytest.raises(
            ws.errors.ConfigurationError, match=r"cannot be served on port 9568 of '127\.0\.0\.1' \(.+\); "
        ):
            second.start()
        assert bus.list_handlers() == handlers
        assert not second.running
        bus.execute(RECEIVED, {"size": 1}, KIND)
        assert _total(_scrape(9568), COUNT) == 1
    assert _refused(9568)


@pytest.mark.parametrize("address", ["192.0.2.1", "a" * 100 + ".invalid", "", 5])
def test_an_address_that_is_not_this_machines_is_refused(bus: ws.Bus, address: Any) -> None:
    """192.0.2.1 is reserved (RFC 5737)."""
    with pytest.raises(ws.errors.ConfigurationError, match=f"on port 0 of {address!r} "):
        ws.PrometheusReporter(bus=bus).start(port=0, address=address)
    assert bus.list_handlers() == []


def test_two_reporters_serve_their_own_at_two_ports(bus: ws.Bus, reporter: ws.PrometheusReporter) -> None:
    other = ws.PrometheusReporter([ws.counter("c", RECEIVED)], bus=bus).start(port=0)
    bus.execute(RECEIVED, {"size": 1}, KIND)
    assert _total(_scrape(other.port), "c") == 1
    other.stop()
    bus.execute(RECEIVED, {"size": 1}, KIND)
    assert _total(_scrape(reporter.port), COUNT) == 2


def test_a_session_is_counted_and_none_of_its_secrets_is_shown(bus: ws.Bus, reporter: ws.PrometheusReporter) -> None:
    """User-info, query, headers and the password of a login; the uri label is scheme, host, port and path."""
    with WebSocketServer(echo) as server:
        url = server.url.replace("://", "://user:S3cret-1@") + "/feed?token=S3cret-2"
        with ws.Client(url, client_id="md-1", profile="financial", headers={"X-Key": "S3cret-3"}, bus=bus) as client:
            client.send({"type": "trade", "password": "S3cret-4"})
            assert client.receive(timeout=DEADLINE)
        shown = server.url + "/feed"
    text = _scrape(reporter.port)
    assert "S3cret" not in text
    assert f'websockex_nova_connection_completed_count{{client_id="md-1",uri="{shown}"}} 1.0' in text
    assert f'{COUNT}{{client_id="md-1",type="trade"}} 1.0' in text


FORKS = [pytest.param(os.fork, id="os.fork"), pytest.param(ctypes.PyDLL(None).fork, id="libc")]


@pytest.mark.parametrize("fork", FORKS)
def test_a_child_counts_afresh_and_does_not_serve_for_its_parent(
    fork: Fork, bus: ws.Bus, reporter: ws.PrometheusReporter
) -> None:
    """Its totals are its own, served at its own port; the parent's port is free once the parent releases it."""
    for _ in range(300):
        bus.execute(RECEIVED, {"size": 1}, KIND)
    port = reporter.port
    assert port
    (ready, tell_ready), (wait, go) = os.pipe(), os.pipe()
    child = Child(fork)
    if child.pid == 0:
        child.tell(_total(reporter.render(), COUNT))
        for _ in range(7):
            bus.execute(RECEIVED, {"size": 5}, KIND)
        child.tell(reporter.running, reporter.port, _total(reporter.render(), COUNT))
        reporter.start(port=0)
        text = _scrape(reporter.port)
        child.tell(_total(text, COUNT), _total(text, "websockex_nova_message_received_size_sum"))
        os.write(tell_ready, b"!")
        os.read(wait, 1)
        child.end()
    assert select.select([ready], [], [], DEADLINE)[0]
    bus.execute(RECEIVED, {"size": 1}, KIND)
    assert _total(_scrape(port), COUNT) == 301
    reporter.stop()
    free = _refused(port)  # while the child lives
    os.write(go, b"!")
    assert child.said() == [[0], [True, None, 7], [7, 35]]
    assert free
    for end in (ready, tell_ready, wait, go):
        os.close(end)


def _has(prometheus: Prometheus, times: int) -> bool:
    """It has scraped all that was emitted in so many rounds."""
    once = {"connection_started_count": 4, "connection_completed_count": 3, "error_occurred_count": 1}
    seen = {f"websockex_nova_{name}": total for name, total in once.items()} | {f"sum({COUNT})": 14}
    return all(prometheus.number(query) == times * total for query, total in seen.items())


@pytest.fixture
def program() -> str:
    return program_of("prometheus")


@pytest.mark.needs_prometheus
def test_the_guides_queries_return_numbers_in_a_real_prometheus(
    bus: ws.Bus, reporter: ws.PrometheusReporter, program: str, tmp_path: Path
) -> None:
    """Three of four dials succeed, in 10, 20 and 60 ms; ten trades and four quotes come; an error is emitted."""
    about = {"client_id": "md-1", "uri": "wss://feed.example/ws", "error_type": "decode"}

    def emit() -> None:
        for _ in range(4):
            bus.execute(ws.events.CONNECTION_STARTED, {}, about)
        for milliseconds in (10, 20, 60):
            bus.execute(ws.events.CONNECTION_COMPLETED, {"duration": milliseconds * 1_000_000}, about)
        for kind in ["trade"] * 10 + ["quote"] * 4:
            bus.execute(RECEIVED, {"size": 330}, {**about, "type": kind})
        bus.execute(ws.events.ERROR_OCCURRED, {}, about)

    emit()
    assert reporter.port
    with Prometheus(program, tmp_path, {"wsnova": [reporter.port]}, "200ms") as prometheus:
        assert until(lambda: _has(prometheus, 1), DEADLINE), prometheus.log
        emit()  # a rate needs a rise between two scrapes
        assert until(lambda: _has(prometheus, 2), DEADLINE), prometheus.log
        assert prometheus.number(QUERIES["Connection Success Rate"]) == pytest.approx(0.75)
        assert prometheus.number(QUERIES["Average Connection Time"]) == pytest.approx(30)
        rates = prometheus.ask(QUERIES["Message Throughput"])
        by_type = {one["metric"]["type"]: float(one["value"][1]) for one in rates}
        assert by_type == {"trade": pytest.approx(2.5 * by_type["quote"]), "quote": by_type["quote"]}
        assert by_type["quote"] > 0
        errors = prometheus.ask(QUERIES["Error Rate"])
        assert [one["metric"] for one in errors] == [{"error_type": "decode"}]
        assert float(errors[0]["value"][1]) > 0
        own = _queries_of_the_page()
        assert prometheus.number(own["Average connection time, every dial alike"]) == pytest.approx(30)
        assert 10 < prometheus.number(own["95th percentile of the same"]) <= 100


@pytest.mark.needs_prometheus
def test_one_dial_and_the_first_error_have_an_answer_in_a_real_prometheus(
    bus: ws.Bus, reporter: ws.PrometheusReporter, program: str, tmp_path: Path
) -> None:
    """Each has its zero before it: a client that connects once and stays has a success rate, of 1, and a mean."""
    started = "websockex_nova_connection_started_count"
    assert reporter.port
    with (
        Prometheus(program, tmp_path, {"wsnova": [reporter.port]}, "200ms") as prometheus,
        WebSocketServer(echo) as server,
    ):
        client = ws.Client(server.url, client_id="md-1", profile="financial", bus=bus, on_message=print)
        assert until(lambda: prometheus.number(started) == 0, DEADLINE), prometheus.log
        client.start(timeout=DEADLINE)
        assert until(lambda: prometheus.number(started) == 1, DEADLINE), prometheus.log
        queries = QUERIES | _queries_of_the_page()
        assert until(lambda: prometheus.number(queries["Connection Success Rate"]) == pytest.approx(1), DEADLINE)
        for name in ("Average Connection Time", "Average connection time, every dial alike"):
            assert 0 < prometheus.number(queries[name]) < 10_000
        assert 0 < prometheus.number(queries["95th percentile of the same"]) < 10_000
        server.drop_all()
        error = 'sum(rate(websockex_nova_error_occurred_count{error_type="connection"}[5m]))'
        assert until(lambda: prometheus.number(error) > 0, DEADLINE), prometheus.log
        assert set(_types(prometheus.ask(QUERIES["Error Rate"]))) == set(ws.events.ERROR_TYPES)
        client.close()


def _types(found: list[dict[str, Any]]) -> list[str]:
    return [one["metric"]["error_type"] for one in found]


def test_a_client_that_is_older_than_the_reporter_has_its_zeros(bus: ws.Bus) -> None:
    """The reporter lists the clients when it starts; a client that is closed, or on another bus, has none."""
    living, closed = (ws.Client("ws://127.0.0.1:1/", client_id=name, bus=bus) for name in ("living", "closed"))
    elsewhere = ws.Client("ws://127.0.0.1:1/", client_id="elsewhere", bus=ws.Bus())
    with pytest.raises(ws.errors.ConnectionFailed):
        closed.start(timeout=0.05)
    reporter = ws.PrometheusReporter(bus=bus).start(port=None)
    shown = {sample.labels["client_id"] for family in parse(reporter.render()) for sample in family.samples}
    reporter.stop()
    assert shown == {living.client_id}
    assert elsewhere.state is ws.State.IDLE


def _queries_of_the_page() -> dict[str, str]:
    """By the comment before each."""
    blocks = re.findall(r"^```promql\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    return dict(re.findall(r"^# (.*)\n((?:[^#\n].*\n)+)", "\n".join(blocks), re.MULTILINE))


def test_the_page_has_the_guides_queries_character_for_character() -> None:
    assert {name: query for name, query in _queries_of_the_page().items() if name in QUERIES} == QUERIES
