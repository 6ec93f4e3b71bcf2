"""The page about logging: its programs run, and its tables are those of the code."""

import importlib.util
import json
import logging
from collections.abc import Iterator

import pytest

import wsnova_statsd as ws
from tests.stories.page_blocks import Page
from wsnova_statsd.reporters.log import LINES
from wsnova_statsd.testing.server import WebSocketServer, send_messages

PAGE = Page("logging")


@pytest.fixture
def feed_logger() -> Iterator[logging.Logger]:
    """The logger that the program sets up, as it was before."""
    logger = logging.getLogger("feed")
    yield logger
    logger.handlers.clear()
    logger.setLevel(logging.NOTSET)


def test_every_block_is_run_by_one_of_the_tests_below() -> None:
    assert PAGE.marked_once("log = ws.LogReporter", "class Json")


def test_one_line_logs_what_the_level_asks_for(caplog: pytest.LogCaptureFixture) -> None:
    """And no message, which is below it."""
    with caplog.at_level("DEBUG"), PAGE.run("log = ws.LogReporter")["log"]:
        ws.telemetry.execute(ws.events.CONNECTION_COMPLETED, {"duration": 1_500_000}, {"client_id": "md-1"})
        ws.telemetry.execute(ws.events.MESSAGE_RECEIVED, {"size": 5}, {"client_id": "md-1", "type": "trade"})
        assert not ws.telemetry.list_handlers(ws.events.MESSAGE_RECEIVED)
    said = [one.getMessage() for one in caplog.records if one.name == "wsnova_statsd.events"]
    assert said == ["Connection established in 1.5ms"]


@pytest.mark.usefixtures("feed_logger")
def test_a_formatter_has_the_fields_of_the_event(capsys: pytest.CaptureFixture[str]) -> None:
    with WebSocketServer(send_messages(['{"type": "trade"}'])) as feed:
        PAGE.run("class Json", feed.url)
    record, message = capsys.readouterr().out.splitlines()
    fields = json.loads(record)
    assert fields["text"] == f"Connection established in {fields['duration'] / 1_000_000}ms"
    assert (fields["level"], fields["client_id"], fields["event_name"]) == (
        "INFO",
        "md-1",
        ws.events.CONNECTION_COMPLETED,
    )
    assert message == "{'type': 'trade'}"


def test_the_table_of_lines_has_each_line() -> None:
    rows = []
    for line in LINES:
        fields = ["ms" if field == "duration" else field for field in line.fields]
        event = f"`{line.event.removeprefix(ws.events.PREFIX)}`" + (", final" if line.only else "")
        rows.append([event, logging.getLevelName(line.level), f"`{line.text.replace('%s', '{{{}}}').format(*fields)}`"])
    assert [[event, level, text.partition(";")[0]] for event, level, text in PAGE.table("event")] == rows


def test_the_loggers_of_the_other_table_are_those_of_modules() -> None:
    """But for that of the sink for alerts."""
    names = {row[0].strip("`") for row in PAGE.table("logger")}
    assert ws.alerts.ToLog().logger.name in names
    modules = names - {ws.alerts.ToLog().logger.name}
    assert all(importlib.util.find_spec(name) is not None for name in modules)
    assert len(modules) == 2
