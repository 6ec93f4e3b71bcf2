"""The pytest plugin, in test runs of another project: found by its entry point, light until used, working with
xdist."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.stories.test_examples import SITE

pytestmark = pytest.mark.usefixtures("installed")

USES = """
import pytest
import wsnova_statsd as ws

@pytest.mark.parametrize("number", range(4))
def test_events_and_metrics_are_this_tests_own(wsnova_events, wsnova_metrics, number):
    for _ in range(number):
        ws.telemetry.execute(ws.events.MESSAGE_RECEIVED, {"size": 3}, {"client_id": "a", "type": "trade"})
    wsnova_events.assert_count(ws.events.MESSAGE_RECEIVED, number)
    wsnova_metrics.assert_count("websocket.message.received", number, tags={"client": "a"})

@pytest.mark.parametrize("number", range(4))
def test_a_client_and_a_monitor_of_the_environment(wsnova_receiver, wsnova_server, number):
    with ws.Monitor("financial"), ws.Client(wsnova_server.url, client_id=f"c{number}", profile="financial") as client:
        client.send({"type": "hello"})
        assert client.receive(timeout=10) == {"type": "hello"}
    assert wsnova_receiver.wait_for(lambda r: r.count("websocket.message.received", {"client": f"c{number}"}) == 1)
    assert wsnova_receiver.count("websocket.connection.completed") == 1
"""

LIGHT = """
import sys

def test_nothing_is_imported_for_who_does_not_ask():
    assert "wsnova_statsd_pytest" in sys.modules
    assert [name for name in sys.modules if name.split(".")[0] in ("wsnova_statsd", "datadog", "websockets")] == []
"""

MALFORMED = """
import socket

def test_what_the_agent_would_not_read(wsnova_receiver):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"a:nan|c", wsnova_receiver.address)
"""


LINTS = """
import pytest
import wsnova_statsd as ws

METRICS = [*ws.statsd_metrics(), ws.counter("shop.orders", "shop.order", tags=["venue"])]

def test_my_metrics(wsnova_lint):
    assert wsnova_lint(METRICS).findings == ()
    assert wsnova_lint([*METRICS, "sum:shop.orders{*} by {venue}"], profile="financial").queries == 1

@pytest.mark.xfail(strict=True, raises=pytest.fail.Exception)
def test_my_board(wsnova_lint):
    wsnova_lint([*METRICS, "sum:shop.order{*}"])

def test_my_uris(wsnova_lint):
    wsnova_lint([ws.counter("shop.dials", ws.events.CONNECTION_STARTED, tags=["uri"])])
"""


def _run(folder: Path, source: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A test run over one file where the wheel is installed."""
    (folder / "tests").mkdir()
    (folder / "tests" / "test_one.py").write_text(source)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DD_", "PYTEST_"))}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--rootdir={folder}", *arguments, "tests"],
        cwd=folder,
        env={**kept, "PYTHONPATH": os.environ[SITE], "DD_DOGSTATSD_DISABLE": "true"},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


@pytest.mark.parametrize("arguments", [(), ("-n", "2")], ids=["serial", "xdist"])
def test_the_fixtures_work(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """Each test has its own events, numbers, ports and Agent, in one process or in several, also if
    DD_DOGSTATSD_DISABLE keeps the machine's tests quiet; warnings are errors."""
    done = _run(tmp_path, USES, "-W", "error", *arguments)
    assert "8 passed" in done.stdout, done.stdout + done.stderr


def test_the_plugin_imports_nothing_of_the_package_until_a_fixture_is_used(tmp_path: Path) -> None:
    """Unrelated tests lose neither time nor coverage."""
    done = _run(tmp_path, LIGHT)
    assert "1 passed" in done.stdout, done.stdout + done.stderr


def test_it_is_switched_off_by_its_name(tmp_path: Path) -> None:
    """In pytest's own way."""
    done = _run(tmp_path, USES, "-p", "no:wsnova_statsd")
    assert "fixture 'wsnova_events' not found" in done.stdout, done.stdout + done.stderr
    assert "passed" not in done.stdout


def test_the_receivers_fixture_fails_a_test_that_sent_what_the_agent_would_drop(tmp_path: Path) -> None:
    """Otherwise it would be lost without an error."""
    done = _run(tmp_path, MALFORMED)
    assert "1 passed, 1 error" in done.stdout, done.stdout + done.stderr
    assert "bad number 'nan'" in done.stdout


def test_the_linter_fails_a_test_with_its_report(tmp_path: Path) -> None:
    """A list without a fault passes; of one with a fault the report is all that is shown, no traceback."""
    done = _run(tmp_path, LINTS)
    assert "1 failed, 1 passed, 1 xfailed" in done.stdout, done.stdout + done.stderr
    assert "fault  unbounded tag        shop.dials: tag uri has no bound" in done.stdout
    assert "def judge" not in done.stdout


def test_the_fixtures_have_names_of_their_own(tmp_path: Path) -> None:
    """All of them begin with the package's name, and the help says what each is."""
    reported = _run(tmp_path, LIGHT, "--fixtures").stdout
    names = re.findall(r"^(\w+) -- \S*wsnova_statsd_pytest\.py:\d+\n    (?!no docstring)\w", reported, re.MULTILINE)
    assert names == ["wsnova_events", "wsnova_metrics", "wsnova_receiver", "wsnova_server", "wsnova_lint"]
    assert reported.count("wsnova_statsd_pytest.py") == len(names)
