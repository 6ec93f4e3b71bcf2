"""The page on programs that use websocket-client: its blocks run as they stand there, and its program."""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress

import pytest
import websocket

import wsnova_statsd as ws
from tests.stories.test_examples import ROOT, environment
from wsnova_statsd.contrib import websocket_app
from wsnova_statsd.testing.capture import capture_events
from wsnova_statsd.testing.receiver import DogStatsDReceiver
from wsnova_statsd.testing.server import WebSocketServer, send_messages
from wsnova_statsd.testing.tcp import Ending

PAGE = (ROOT / "examples" / "instrument_websocket_app.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
URL = "wss://feed.example/ws"
MESSAGES = [f'{{"n": {number}}}' for number in range(10)]


class _Enough(Exception):
    """Ends a block that runs for ever."""


@pytest.fixture
def agent(monkeypatch: pytest.MonkeyPatch) -> Iterator[DogStatsDReceiver]:
    """The Agent of this machine, as the variables say."""
    with DogStatsDReceiver() as receiver:
        monkeypatch.setenv("DD_DOGSTATSD_URL", f"udp://{receiver.host}:{receiver.port}")
        yield receiver
    ws.init("financial").stop()


@pytest.mark.parametrize(("number", "then", "received"), [(0, "wait", 10), (1, "drop", 30), (2, "wait", 1)])
def test_a_block_of_the_page_runs_as_it_stands(
    number: int, then: Ending, received: int, agent: DogStatsDReceiver
) -> None:
    """But for the address; one that runs for ever is ended when it sleeps for the third time, or has all messages."""
    turns = 0
    namespace: dict[str, object] = {}

    def sleep(_seconds: float) -> None:
        nonlocal turns
        turns += 1
        if turns == 3:
            raise _Enough

    def show(message: str) -> None:
        app = namespace.get("app")
        if number == 0 and message == MESSAGES[-1] and isinstance(app, websocket.WebSocketApp):
            app.close()

    with WebSocketServer(send_messages(MESSAGES, then=then)) as server, capture_events() as log:
        namespace |= {"sleep": sleep, "print": show}
        block = BLOCKS[number].replace(URL, server.url).replace("time.sleep(", "sleep(")
        with suppress(_Enough):
            exec(compile(block, "the page", "exec"), namespace)
        if isinstance(app := namespace.get("app"), websocket.WebSocketApp):
            app.close()
    ws.init("financial").stop()
    assert log.count(ws.events.MESSAGE_RECEIVED) == received
    assert {one.metadata["client_id"] for one in log} == {"md-1"}
    assert agent.wait_for(lambda it: it.count("websocket.message.received", ["client:md-1"]) == received)


def test_every_block_is_run() -> None:
    assert len(BLOCKS) == 3


def test_the_page_names_what_there_is() -> None:
    """Each function of the module, and no other."""
    named = set(re.findall(r"websocket_app\.(\w+)\(", PAGE))
    assert named == set(websocket_app.__all__)


@pytest.mark.usefixtures("installed")
def test_the_program_of_the_page_runs_and_prints_what_it_promises(tmp_path: object) -> None:
    """In a process and a folder of its own; what is lost is logged, and nothing else stands on stderr."""
    path = ROOT / "examples" / "instrument_websocket_app.py"
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 40
    done = subprocess.run(
        [sys.executable, str(path)],
        cwd=str(tmp_path),
        env=environment(),
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == (
        "the connection was lost\n" * 3
        + "stored 300, Datadog counted 300 trades\n"
        + "connection.completed 3\nconnection.reconnect.success 2\nconnection.disconnected 3\n"
        + "('client:md-1', 'reason:close_1006')\n"
    )
    assert re.fullmatch(r"(client md-1: no connection: .*close_1006.*\n)+", done.stderr), done.stderr
