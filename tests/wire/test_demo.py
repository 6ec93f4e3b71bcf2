"""The demo in this process: feed, client, stand-in for the Agent and what is printed, with all its threads."""

import json
import signal
import threading

import pytest

from tests.support import until
from wsnova_statsd.cli.main import main


def _threads() -> set[str]:
    return {one.name for one in threading.enumerate() if one.name not in ("wsnova-clock", "wsnova-keeper")}


def test_the_numbers_add_up_as_lines_and_nothing_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    """One drop, one slow message, one alert; then threads and handlers of signals are as before."""
    threads, handlers = _threads(), (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM))
    assert main(["demo", "--seconds", "5", "--profile", "standard"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert "The numbers add up:" in printed
    assert any(line.startswith("   reconnects  1 drop, 1 reconnect") for line in printed)
    assert any(line.startswith("   alerts      1 slow message, 1 alert") for line in printed)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers
    assert until(lambda: _threads() <= threads), _threads() - threads


def test_the_document_has_what_arrived_of_each_series(capsys: pytest.CaptureFixture[str]) -> None:
    """And nothing else is printed: messages that were sent, received and counted are the same number."""
    assert main(["demo", "--seconds", "5", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    counts: dict[str, float] = {}
    for row in document["series"]:
        if row["type"] == "count":
            counts[row["metric"]] = counts.get(row["metric"], 0) + row["value"]
    assert document["profile"] == "financial"
    assert counts["websocket.message.received"] > 500
    assert counts["websocket.connection.reconnect.success"] == 1
    assert [one["title"] for one in document["events"] if one["title"].startswith("Slow message processing")] != []
