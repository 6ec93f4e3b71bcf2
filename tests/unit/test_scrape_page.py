"""The page as an application: which format is answered, `/health`, WSGI and ASGI, and who is not answered."""

import asyncio
import gzip
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client.openmetrics import parser as strict_parser
from prometheus_client.parser import text_string_to_metric_families as parse

import wsnova_statsd as ws
from tests.unit.interrupting import at_every_line
from wsnova_statsd.reporters.scrape_page import OPENMETRICS, PLAIN, TYPES, format_of

RECEIVED = ws.events.MESSAGE_RECEIVED
COUNT = "websockex_nova_message_received_count"
PROMETHEUS = (  # what Prometheus 2.42 sends
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)


@pytest.fixture
def reporter(bus: ws.Bus) -> Iterator[ws.PrometheusReporter]:
    """One message was received."""
    running = ws.PrometheusReporter(bus=bus).start(port=None)
    bus.execute(RECEIVED, {"size": 330}, {"client_id": "md-1", "type": "trade"})
    yield running
    running.stop()


def _wsgi(reporter: ws.PrometheusReporter, path: str = "/", method: str = "GET", **headers: str) -> Any:
    said: list[Any] = []
    environ = {"REQUEST_METHOD": method, "PATH_INFO": path, **{f"HTTP_{key}": value for key, value in headers.items()}}
    body = b"".join(reporter.wsgi_app()(environ, lambda status, given, error=None: said.extend((status, given))))  # type: ignore[arg-type]
    return said[0], dict(said[1]), body


def _asgi(reporter: ws.PrometheusReporter, scope: dict[str, Any], *events: dict[str, Any]) -> list[dict[str, Any]]:
    """What the application sends."""
    sent: list[dict[str, Any]] = []
    waiting = [*events]

    async def receive() -> dict[str, Any]:
        return waiting.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(reporter.asgi_app()(scope, receive, send))  # type: ignore[arg-type]
    return sent


def _http(path: str = "/", method: str = "GET", **headers: str) -> dict[str, Any]:
    given = [(key.replace("_", "-").encode(), value.encode()) for key, value in headers.items()]
    return {"type": "http", "method": method, "path": path, "headers": given}


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", PLAIN),
        ("*/*", PLAIN),
        (PROMETHEUS, OPENMETRICS),
        ("application/openmetrics-text; version=1.0.0", OPENMETRICS),
        ("text/plain;version=0.0.4;q=0.9, application/openmetrics-text;q=0.5", PLAIN),
        ("application/openmetrics-text;q=0", PLAIN),
        ("application/openmetrics-text;q=much", PLAIN),
        ("text/html,application/xhtml+xml", PLAIN),
        (";;q=,,", PLAIN),
    ],
)
def test_the_format_is_the_one_that_a_client_prefers(accept: str, expected: str) -> None:
    """Plain text in doubt, as for a browser."""
    assert format_of(accept) == expected


@pytest.mark.parametrize(("accept", "form"), [("", PLAIN), (PROMETHEUS, OPENMETRICS)])
def test_both_applications_answer_the_same_page(reporter: ws.PrometheusReporter, accept: str, form: str) -> None:
    """With its length, and what it varies by."""
    status, headers, body = _wsgi(reporter, "/metrics", ACCEPT=accept)
    assert (status, headers["Content-Type"]) == ("200 OK", TYPES[form])
    assert headers["Content-Length"] == str(len(body))
    assert headers["Vary"] == "Accept, Accept-Encoding"
    start, end = _asgi(reporter, _http("/metrics", accept=accept))
    assert start["status"] == 200
    assert dict(start["headers"]) == {key.lower().encode(): value.encode() for key, value in headers.items()}
    assert end["body"] == body
    text = body.decode()
    read: Any = strict_parser.text_string_to_metric_families
    found = list(parse(text) if form == PLAIN else read(text))
    assert [s.value for one in found for s in one.samples if s.name == COUNT] == [1.0]


def test_a_page_is_shrunk_for_who_takes_gzip(reporter: ws.PrometheusReporter) -> None:
    _, headers, body = _wsgi(reporter, ACCEPT_ENCODING="deflate, gzip")
    assert headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(body).decode() == reporter.render()


@pytest.mark.parametrize("path", ["/health", "/metrics/health"])
def test_health_says_whether_it_counts(reporter: ws.PrometheusReporter, path: str) -> None:
    """Under whatever path the application is mounted."""
    assert _wsgi(reporter, path)[::2] == ("200 OK", b"counting\n")
    reporter.stop()
    assert _wsgi(reporter, path)[::2] == ("503 Service Unavailable", b"stopped: nothing is counted\n")
    start, end = _asgi(reporter, _http(path))
    assert (start["status"], end["body"]) == (503, b"stopped: nothing is counted\n")


def test_a_head_has_no_body_and_other_methods_are_refused(reporter: ws.PrometheusReporter) -> None:
    _, headers, body = _wsgi(reporter, method="HEAD")
    assert (headers["Content-Length"] > "0", body) == (True, b"")
    assert _asgi(reporter, _http(method="HEAD"))[1]["body"] == b""
    status, headers, body = _wsgi(reporter, method="POST")
    assert (status, headers["Allow"], body) == ("405 Method Not Allowed", "GET, HEAD", b"")


def test_alone_under_a_server_the_asgi_application_takes_part_in_its_lifespan(reporter: ws.PrometheusReporter) -> None:
    """And a WebSocket is closed."""
    phases = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    sent = _asgi(reporter, {"type": "lifespan"}, *phases)
    assert [one["type"] for one in sent] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert _asgi(reporter, {"type": "websocket", "path": "/"}) == [{"type": "websocket.close"}]


def test_a_page_under_way_keeps_no_emitting_thread_waiting() -> None:
    """Halted before any line of its making, another thread counts what is known, what is new, and a new client."""
    reporters: list[ws.PrometheusReporter] = []
    few = [ws.counter(f"{RECEIVED}.count", tags=["client_id", "type"]), ws.distribution(f"{RECEIVED}.size")]

    def emit(bus: ws.Bus, new: str) -> None:
        bus.execute(ws.events.CLIENT_OPENED, {"system_time": 1}, {"client_id": new, "started": True})
        for kind in ("trade", new):
            bus.execute(RECEIVED, {"size": 330}, {"client_id": "md-1", "type": kind})

    def make() -> tuple[Any, Any]:
        bus = ws.Bus()
        reporters[:] = [ws.PrometheusReporter(few, bus=bus)]
        reporters[0].start(port=None)
        emit(bus, "before")

        def interrupt() -> None:
            emitting = threading.Thread(target=emit, args=(bus, "meanwhile"), daemon=True)
            emitting.start()
            emitting.join(10.0)
            assert not emitting.is_alive(), "an emitting thread waits for the page"

        return reporters[0].render, interrupt

    def check(line: int) -> None:
        page = reporters[0].render().splitlines()
        assert f'{COUNT}{{client_id="md-1",type="trade"}} 2.0' in page
        assert f'{COUNT}{{client_id="md-1",type="meanwhile"}} 1.0' in page
        reporters[0].stop()

    assert at_every_line("wsnova_statsd/", make, check) > 100
