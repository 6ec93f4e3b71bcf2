"""The same life of connections emits the same under each supported release of the websockets library."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT
from wsnova_statsd.testing.server import ScriptedConnection, WebSocketServer
from wsnova_statsd.testing.tcp import LoopbackPort

RELEASES = ("websockets-13.1", "websockets-15.0.1", "websockets-newest")
FOLDER = os.environ.get("WSNOVA_VERSIONS", "")  # of virtual environments, one for each release

EXPECTED = """
connection.started reconnect=False
connection.completed reconnect=False
message.sent type=text
message.received type=text
message.sent type=binary
message.received type=binary
message.process.started type=binary
message.process.completed type=binary result=ok
message.sent type=text
message.received type=text
timeout
heartbeat.sent
message.sent type=text
heartbeat.received
message.received type=text
connection.disconnected reason=local detail=
connection.started reconnect=False
connection.completed reconnect=False
message.sent type=text
connection.disconnected reason=close_1013 detail=try again later
error.occurred error_type=connection
closed
connection.started reconnect=True
connection.completed reconnect=True
connection.reconnect.success
error.handled error_type=connection
message.sent type=text
connection.disconnected reason=close_1006 detail=the server ended the connection without a close frame
error.occurred error_type=connection
connection.started reconnect=False
error.occurred error_type=connection
refused
message.sent type=text
message.received type=text
connection.started reconnect=True
connection.completed reconnect=True
connection.reconnect.success
error.handled error_type=connection
message.sent type=text
message.received type=text
connection.disconnected reason=local detail=
"""


def interpreter(release: str) -> str:
    """The one that has this release; skips the test if there is none."""
    path = Path(FOLDER, release, "bin", "python")
    if not FOLDER or not path.exists():
        pytest.skip(f"no virtual environment {release} (WSNOVA_VERSIONS names the folder of one for each release)")
    return str(path)


def answering(connection: ScriptedConnection) -> None:
    """Echo; a request for fragments gets some, one to close or to drop is fulfilled."""
    for message in connection:
        if message == "close":
            connection.close(1013, "try again later")
        elif message == "drop":
            connection.drop()
        elif message == "fragments please":
            connection.send(iter(["ab", "cd"]))
        else:
            connection.send(message)


@pytest.mark.parametrize("release", ["the one that is installed", *RELEASES])
def test_each_release_emits_the_same(release: str) -> None:
    """Dials, messages however they are received and sent, heartbeats, ends, and what was open before."""
    python = sys.executable if release not in RELEASES else interpreter(release)
    no_server = LoopbackPort()
    with WebSocketServer(answering) as server:
        done = subprocess.run(
            [python, "-W", "error", "tests/wire/websockets_life.py", server.url, f"ws://localhost:{no_server.port}"],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    lines = [" ".join(one) for one in json.loads(done.stdout)]
    assert lines == EXPECTED.strip().splitlines(), "\n".join(lines)


@pytest.mark.parametrize("release", RELEASES[:2])
def test_a_release_without_reconnect_is_refused(release: str) -> None:
    """In one sentence, at the call."""
    code = "from wsnova_statsd.contrib import websockets_sync as it; it.reconnect('ws://127.0.0.1:1')"
    done = subprocess.run(
        [interpreter(release), "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.stderr.splitlines()[-1].startswith(
        "wsnova_statsd.errors.ConfigurationError: this release of websockets"
    )
