"""The page on `wsnova-statsd listen`: each of its command lines is run, against a feed of its kind."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stories.test_examples import ROOT, SITE, environment
from wsnova_statsd.testing.receiver import DogStatsDReceiver
from wsnova_statsd.testing.server import ScriptedConnection, WebSocketServer

pytestmark = pytest.mark.usefixtures("installed")
PAGE = (ROOT / "examples" / "listen.md").read_text(encoding="utf-8")
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]
WELCOME = '{"type": "welcome"}'
SUBSCRIBED = '{"type": "subscribed", "channel": "trades.BTC"}'


def _trade(number: int) -> str:
    return json.dumps({"type": "trade", "price": 100 + number})


def _feed(connection: ScriptedConnection) -> None:
    """Sends a welcome, and trades to each subscriber."""
    connection.send(WELCOME)
    for text in connection:
        connection.send(json.dumps({"type": "subscribed", "channel": json.loads(text)["channel"]}))
        for number in range(20):
            connection.send(_trade(number))


# A pattern for the whole stdout of each line. A confirmation of a request is not delivered.
OUTPUT = [
    re.escape(f"{WELCOME}\n"),
    re.escape("".join(f"{line}\n" for line in (WELCOME, _trade(0), _trade(1)))),
    re.escape("".join(f"{line}\n" for line in (WELCOME, SUBSCRIBED, _trade(0), _trade(1), _trade(2)))),
    re.escape("".join(f"{line}\n" for line in (_trade(11), _trade(12)))),
    "",
    re.escape(f"{WELCOME}\n"),
    r"(ok    \w+ +\S.*\n){5}All right; a client can listen to it\.\n",
]


@pytest.fixture
def agent() -> Iterator[DogStatsDReceiver]:
    with DogStatsDReceiver() as receiver:
        yield receiver
    assert receiver.malformed == []


def test_every_command_line_has_its_output() -> None:
    assert len(COMMANDS) == len(OUTPUT)


@pytest.mark.parametrize(("line", "output"), [*zip(COMMANDS, OUTPUT, strict=True)])
def test_a_command_line_of_the_page_does_what_it_says(
    line: str, output: str, tmp_path: Path, agent: DogStatsDReceiver
) -> None:
    """By the shell, unchanged except for the addresses."""
    command = Path(tmp_path, "bin")
    command.mkdir()
    program = Path(os.environ[SITE], "bin", "wsnova-statsd")
    Path(command, "wsnova-statsd").write_text(f'#!/bin/sh\nexec "{sys.executable}" "{program}" "$@"\n')
    Path(command, "wsnova-statsd").chmod(0o755)
    variables = {"PATH": f"{command}{os.pathsep}{os.environ['PATH']}", "DD_DOGSTATSD_PORT": str(agent.port)}
    with WebSocketServer(_feed) as server:
        here = line.replace("wss://feed.example/ws", server.url).replace("localhost:8125", f"localhost:{agent.port}")
        done = subprocess.run(
            ["sh", "-c", here],
            cwd=tmp_path,
            env={**environment(), **variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )
    assert re.fullmatch(output, done.stdout), done.stdout + done.stderr
    assert done.returncode == 0, done.stderr
    if "messages.txt" in line:
        assert (tmp_path / "messages.txt").read_text() == f"{WELCOME}\n"
    if "doctor" not in line:
        assert "in all," in done.stderr
        assert agent.count("websocket.connection.completed") == 1


def test_the_block_for_a_program_runs(tmp_path: Path) -> None:
    """It prints a table, on stderr."""
    [block] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", block],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "")
    assert "wsnova_statsd standard: in all," in done.stderr


def test_the_shown_output_of_doctor_is_what_it_prints() -> None:
    """The hops, in their order."""
    [shown] = re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL)
    assert [line.split()[1] for line in shown.splitlines()[:-1]] == ["name", "TCP", "TLS", "upgrade", "message", "ping"]
    assert shown.splitlines()[-1] == "All right; a client can listen to it."
