"""LogReporter beside a real client: what a person reads of a connection, of its messages, and of its loss."""

import logging
import re
import threading
from collections.abc import Iterator

import pytest

import wsnova_statsd as ws
from wsnova_statsd.profiles import ProfileName
from wsnova_statsd.testing.capture import capture_events
from wsnova_statsd.testing.server import WebSocketServer

PATIENCE = 20.0  # seconds; reached only by a failing test
NAME = "test_wire_log_reporter"


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.DEBUG, NAME):
        yield caplog


def _ours(log: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [one for one in log.records if one.name == NAME]


def _lines(log: pytest.LogCaptureFixture) -> list[str]:
    """Level and text of our records, numbers of milliseconds as <ms>."""
    return [f"{one.levelname} {re.sub(r'[0-9.]+ms', '<ms>', one.getMessage())}" for one in _ours(log)]


def test_a_session_with_a_loss_reads_like_the_guide(log: pytest.LogCaptureFixture) -> None:
    """Connected, two messages, cut, back, one more; a close on purpose is not logged."""
    bus, back = ws.Bus(), threading.Event()
    with (
        WebSocketServer() as echo,
        capture_events(bus=bus) as events,
        ws.LogReporter(NAME, bus=bus).start(),  # twice, then
        ws.Client(
            echo.url, client_id="md-1", profile="financial", bus=bus, on_message=lambda _: None, on_reconnect=back.set
        ) as client,
    ):
        for message in ({"type": "trade"}, {"type": "quote"}):
            client.send(message)
        assert events.wait_for(ws.events.MESSAGE_PROCESS_COMPLETED, 2, PATIENCE)
        echo.drop_all()
        assert back.wait(PATIENCE)
        client.send({"type": "trade"})
        assert events.wait_for(ws.events.MESSAGE_PROCESS_COMPLETED, 3, PATIENCE)
    lines = _lines(log)
    lost = [
        line for line in lines if line.startswith("ERROR WebSocket error: ConnectionFailed: the connection was lost")
    ]
    assert len(lost) == 1
    assert [line for line in lines if line not in lost] == [
        "INFO Connection established in <ms>",
        "DEBUG Received trade message of size 16 bytes",
        "DEBUG Received quote message of size 16 bytes",
        "INFO Connection established in <ms>",
        "INFO Connection is back, <ms> after its loss, attempt 1",
        "DEBUG Received trade message of size 16 bytes",
    ]
    first = _ours(log)[0]
    assert (vars(first)["client_id"], vars(first)["uri"]) == ("md-1", echo.url)


@pytest.mark.parametrize("profile", ["standard", "lightweight"])
def test_a_profile_decides_what_is_logged(profile: ProfileName, log: pytest.LogCaptureFixture) -> None:
    """Without message events there are no lines of messages."""
    bus = ws.Bus()
    with (
        WebSocketServer() as echo,
        ws.LogReporter(NAME, bus=bus),
        ws.Client(echo.url, profile=profile, bus=bus) as client,
    ):
        client.send({"type": "trade"})
        assert client.receive(PATIENCE) == {"type": "trade"}
    assert _lines(log) == ["INFO Connection established in <ms>"]


def test_a_client_builds_nothing_for_a_level_that_is_not_logged() -> None:
    """Its messages are processed as if no handler were attached."""
    bus = ws.Bus()
    with WebSocketServer() as echo, ws.LogReporter(NAME, "INFO", bus), ws.Client(echo.url, bus=bus) as client:
        assert not bus.slot(ws.events.MESSAGE_RECEIVED).handlers
        client.send({"type": "trade"})
        assert client.receive(PATIENCE) == {"type": "trade"}
