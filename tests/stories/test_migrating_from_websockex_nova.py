"""The page for users of WebSockexNova: the guide's handlers and definitions in Python do what they do there."""

import inspect
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import fields
from typing import Any

import pytest

import wsnova_statsd as ws
from tests.faults.pages import EXAMPLES, files
from tests.markdown import tables
from wsnova_statsd.metrics import guide
from wsnova_statsd.testing.receiver import DogStatsDReceiver
from wsnova_statsd.testing.server import WebSocketServer, send_messages

NAME = "migrating_from_websockex_nova.md"
PROGRAMS = files(NAME)
PAGE = (EXAMPLES / NAME).read_text(encoding="utf-8")
TABLES = {heading: rows[2:] for heading, rows in tables(PAGE)}
PROMISED = "What the guide promises, and what the library emits"
# Beyond the guide's list: a row that names all events of a kind is of the guide's.
BEYOND = {"message.process.slow", "message.process.stuck"}


@pytest.fixture
def agent(monkeypatch: pytest.MonkeyPatch) -> Iterator[DogStatsDReceiver]:
    """The Agent of this machine, as the variables say."""
    with DogStatsDReceiver() as receiver:
        monkeypatch.setenv("DD_DOGSTATSD_URL", f"udp://{receiver.host}:{receiver.port}")
        yield receiver


def test_the_guides_handler_logs_the_guides_texts(caplog: pytest.LogCaptureFixture) -> None:
    """Of a connection, of messages, of an error; with the client's id beside each."""
    try:
        exec(compile(PROGRAMS["handlers.py"], "the page", "exec"), {})
        with (
            caplog.at_level("DEBUG", "feeds"),
            WebSocketServer(send_messages(['{"type": "trade"}', "{"])) as feed,
            ws.Client(feed.url, client_id="md-1", profile="financial") as client,
        ):
            assert client.receive(5) == {"type": "trade"}
            with suppress(TimeoutError):
                client.receive(0.5)
    finally:
        ws.telemetry.detach("websockex-nova-logger")
    records = [one for one in caplog.records if one.name == "feeds"]
    texts = [one.getMessage() for one in records]
    assert re.fullmatch(r"Connection established in [\d.]+ms", texts[0])
    assert texts[1:3] == ["Received trade message of size 17 bytes", "Received invalid message of size 1 bytes"]
    assert texts[3].startswith("WebSocket error: ")
    assert {vars(one)["client_id"] for one in records} == {"md-1"}


def test_the_guides_definitions_are_sent_and_shown(agent: DogStatsDReceiver) -> None:
    """With the types of the Elixir reporter's Datadog formatter; on the page to scrape under the guide's names."""
    names: dict[str, Any] = {}
    exec(compile(PROGRAMS["metrics.py"].replace("port=9568", "port=0"), "the page", "exec"), names)
    try:
        about = {"client_id": "md-1", "uri": "wss://feed.example/ws", "type": "trade"}
        ws.telemetry.execute(ws.events.CONNECTION_STARTED, {}, about)
        ws.telemetry.execute(ws.events.CONNECTION_COMPLETED, {"duration": 12_500_000}, about)
        ws.telemetry.execute(ws.events.MESSAGE_RECEIVED, {"size": 330}, about)
        shown = names["prometheus"].render()
    finally:
        names["prometheus"].stop()
        names["statsd"].stop()
    agent.stop()
    sent = {one.name: (one.type, one.values) for one in agent.metrics() if one.name.startswith(ws.events.PREFIX)}
    assert sent == {
        "websockex_nova.connection.started.count": ("c", (1,)),
        "websockex_nova.connection.completed.duration": ("d", (12.5,)),
        "websockex_nova.message.received.size": ("h", (330,)),
    }
    assert "websockex_nova_connection_completed_duration_milliseconds_bucket{" in shown
    assert 'websockex_nova_message_received_size_count{client_id="md-1",type="trade"} 1.0' in shown
    assert set(names["metrics"]) <= set(guide.DEFINITIONS)


def test_each_of_the_guides_definitions_is_in_the_default_list() -> None:
    assert set(guide.DEFINITIONS) <= set(ws.prometheus_metrics())


def test_what_the_page_names_of_this_package_is_there() -> None:
    for owner, dotted in re.findall(r"`[^`]*?\b(ws|client)\.([a-zA-Z_.]+)", PAGE):
        found: Any = {"ws": ws, "client": ws.Client}[owner]
        for part in dotted.rstrip(".").split("."):
            found = getattr(found, part)
    reporter = {*inspect.signature(ws.StatsdReporter).parameters}
    code = [span for row in TABLES["The StatsD reporter"] for span in re.findall(r"`([^`]+)`", row[1])]
    assert {span.partition("=")[0] for span in code if not span.startswith("DD_")} <= reporter
    toggles = {word for row in TABLES["Profiles"] for word in re.findall(r"`(\w+):`", row[0])}
    assert toggles <= {one.name for one in fields(ws.Profile)}


def test_every_event_of_the_guide_has_a_row_and_is_emitted_here() -> None:
    """25 of them."""
    events = [name.removeprefix(ws.events.PREFIX) for name in ws.events.CATALOGUE]
    named: set[str] = set()
    for row in TABLES[PROMISED]:
        stem = ""
        for name, kind in re.findall(r"`([a-z_.]+?)(\.\*)?`", row[0]):
            stem = f"{stem.rpartition('.')[0]}{name}" if name.startswith(".") else name
            named |= {one for one in events if one == stem or (kind and one.startswith(f"{stem}."))}
    assert len(named - BEYOND) == 25
