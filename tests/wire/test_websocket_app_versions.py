"""The table of how a WebSocketApp's connections end, under each release of websocket-client that is supported: which
events are emitted, and that the app's callbacks are called as those of the bare app are."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.support import ROOT
from wsnova_statsd.testing.server import WebSocketServer, echo
from wsnova_statsd.testing.tcp import CLOSE, TEXT, Connection, LoopbackPort, TcpServer, server_frame

RELEASES = tuple(f"websocket-client-{one}" for one in ("1.6.4", "1.7.0", "1.8.0", "newest"))
HERE = "the one that is installed"
FOLDER = os.environ.get("WSNOVA_VERSIONS", "")  # of virtual environments, one for each release, with rel
LOOPS = ("none", "reconnect", "rel")
WAYS = ("abort", "close1000", "close1013", "ping", "refused", "local")

FIRST = [
    "started False",
    "completed False",
    *(HANDLED := ["received", "process.started", "sent", "process.completed ok"]),
]
AGAIN = ["attempt", "started True", "completed True", "success", "handled connection"]
LEFT = ["received", "process.started", "disconnected local", "process.completed ok", "closed"]
LOST = "error connection"
PING = ["heartbeat.sent", "heartbeat.missed"]


def expected(way: str, loop: str, comes_back: bool) -> list[str]:
    """What is emitted. `comes_back`: this release dials again after a close frame of the server."""
    if way == "local":
        return ["started False", "completed False", *LEFT]
    if way == "refused":
        once = ["started False", LOST]
        return once if loop == "none" else [*once, "attempt", "started True", LOST, "failed"]
    if way == "ping":
        end = ["disconnected ping_timeout", LOST]
        if loop == "rel":  # it raises out of rel.dispatch, and the program closes the app
            return [*FIRST, *PING, *end, "closed"]
        return [*FIRST, *PING, *end, *([*AGAIN, *LEFT] if loop == "reconnect" else [])]
    end = [f"disconnected {'close_1006' if way == 'abort' else f'close_{way[5:]}'}", LOST]
    again = loop != "none" and (way == "abort" or comes_back)
    return [*FIRST, *end, *([*AGAIN, *LEFT] if again else [])]


def _reported(events: list[str]) -> list[str]:
    """Short names; a message that closes the app may be a slow one."""
    return [one for one in events if not one.startswith("process.slow")]


def interpreter(release: str) -> str:
    """The one that has this release; skips the test if there is none."""
    if release == HERE:
        return sys.executable
    path = Path(FOLDER, release, "bin", "python")
    if not FOLDER or not path.exists():
        pytest.skip(f"no virtual environment {release} (WSNOVA_VERSIONS names the folder of one for each release)")
    return str(path)


@pytest.fixture
def url() -> Iterator[str]:
    """A server whose first link under a path ends as the path says; later ones stay until the client disconnects."""
    links: Counter[bytes] = Counter()

    def script(connection: Connection) -> None:
        path = connection.read_request().split()[1]
        links[path] += 1
        way, first = path.split(b"/")[1].decode(), links[path] == 1
        connection.accept_upgrade()
        connection.send(server_frame(TEXT, b"first" if first else b"again"))
        with suppress(EOFError, OSError):
            if first and way in ("abort", "close1000", "close1013"):
                connection.read_frame()
                if way != "abort":
                    connection.send(server_frame(CLOSE, int(way[5:]).to_bytes(2) + b"later"))
                    connection.wait_closed()
                return
            answers = not (first and way == "ping")
            while (frame := connection.read_frame())[0] != CLOSE:
                pass
            if answers:
                connection.send(server_frame(CLOSE, frame[1]))

    with TcpServer(script) as server:
        yield server.url


def run(release: str, url: str, loop: str) -> dict[str, dict[str, dict[str, list[Any]]]]:
    """What the program saw and emitted in each way, bare and instrumented."""
    program = [
        interpreter(release),
        "-W",
        "error",
        "-W",
        "ignore::ResourceWarning",
        "tests/wire/websocket_app_program.py",
    ]
    done = subprocess.run(
        [*program, f"ws://127.0.0.1:{LoopbackPort().port},{url}", loop, *WAYS],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=55,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, dict[str, dict[str, list[Any]]]] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("release", [HERE, *RELEASES])
def test_the_table_of_ends(release: str, loop: str, url: str) -> None:
    """Each way of an end, without reconnecting, with reconnect=, and under rel."""
    if release == HERE and loop == "rel":
        pytest.importorskip("rel", reason="the package rel is not installed")
    found = run(release, url, loop)
    comes_back = release in (HERE, "websocket-client-newest")
    for way in WAYS:
        bare, instrumented = (found[way][name] for name in ("bare", "instrumented"))
        assert instrumented["callbacks"] == bare["callbacks"], way
        assert _reported(instrumented["events"]) == expected(way, loop, comes_back), way


CLIENT = """
import sys, time
import wsnova_statsd as ws
bus, seen = ws.Bus(), []
bus.attach_many("test", ws.events.CATALOGUE, lambda event, *given: seen.append(event.removeprefix(ws.events.PREFIX)))
profile = ws.FINANCIAL.replace(ping_interval=0.05)
with ws.Client(sys.argv[1], client_id="md-1", profile=profile, bus=bus) as client:
    for number in range(3):
        client.send({"n": number})
        print(client.receive(timeout=10))
    until = time.monotonic() + 10
    while "heartbeat.received" not in seen and time.monotonic() < until:
        try:
            client.receive(timeout=0.05)
        except TimeoutError:
            pass
print(*sorted({one for one in seen if one.startswith(("connection", "heartbeat", "error"))}))
"""


@pytest.mark.parametrize("release", RELEASES)
def test_our_own_client_runs_on_each_release(release: str) -> None:
    """It uses the control frames of the library: pings, pongs and the close frame."""
    with WebSocketServer(echo) as server:
        done = subprocess.run(
            [interpreter(release), "-W", "error", "-c", CLIENT, server.url],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=55,
            check=False,
        )
    assert done.stdout.splitlines() == [
        *(f"{{'n': {number}}}" for number in range(3)),
        "connection.completed connection.disconnected connection.started heartbeat.received heartbeat.sent",
    ], done.stderr
    assert done.stderr == ""
