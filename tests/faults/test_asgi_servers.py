"""uvicorn with two workers, by the page on ASGI: each has the client once, from the start of its lifespan to the end.

A feed that sends 100 trades on each connection; applications of FastAPI and Starlette, and one without a framework.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults.ending import PATIENCE
from tests.faults.pages import IN_TIME, MESSAGES, Run, answers, feed, get, write
from tests.support import until
from wsnova_statsd.testing.receiver import DogStatsDReceiver
from wsnova_statsd.testing.server import WebSocketServer

WORKERS = 2
RECEIVED = "websocket.message.received"
STARLETTE = """
import os
import wsnova_statsd as ws
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route
from wsnova_statsd.contrib.asgi import lifespan

client = ws.Client(os.environ["FEED_URL"], client_id="prices", profile="financial", on_message=lambda message: None)
app = Starlette(routes=[Route("/", lambda request: JSONResponse({"feed": client.health()}))], lifespan=lifespan(client))
"""


@pytest.fixture
def agent() -> Iterator[DogStatsDReceiver]:
    with DogStatsDReceiver() as receiver:
        yield receiver


@contextmanager
def _served(agent: DogStatsDReceiver, source: WebSocketServer, folder: Path, module: str) -> Iterator[Run]:
    write("asgi.md", folder)
    (folder / "other.py").write_text(STARLETTE, encoding="utf-8")
    path = str(folder / "http.socket")
    command = ("-m", "uvicorn", "--workers", str(WORKERS), "--uds", path, f"{module}:app")
    with Run(agent, source.url, folder, *command) as program:
        assert until(lambda: program.errors.count("startup complete") == WORKERS and answers(path), PATIENCE), (
            program.reported()
        )
        yield program


@pytest.mark.parametrize("module", ["shop", "plain", "other"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_each_worker_has_the_client_once(module: str, number: int, agent: DogStatsDReceiver, tmp_path: Path) -> None:
    """Two connections; two hundred messages and two close frames arrive; SIGTERM or Ctrl-C ends it in time."""
    with feed() as source, _served(agent, source, tmp_path, module) as program:
        assert until(lambda: agent.count(RECEIVED) == WORKERS * len(MESSAGES), PATIENCE), agent.counts()
        assert source.open_connections == WORKERS
        os.killpg(program.pid, number)
        ended = program.end()
        agent.stop()  # reads what has arrived
        assert source.connections == WORKERS
    assert ended.took < IN_TIME
    assert "Traceback" not in ended.errors
    assert agent.count(RECEIVED) == WORKERS * len(MESSAGES)
    assert agent.count("websocket.connection.disconnected", ["reason:shutdown"]) == WORKERS
    if module == "shop":
        assert [ended.said.count(f"database: {state}") for state in ("open", "closed")] == [WORKERS, WORKERS]


def test_a_feed_that_is_down_at_boot_delays_no_worker(agent: DogStatsDReceiver, tmp_path: Path) -> None:
    """Requests are answered, with the health of a client without a link; once the feed runs each worker has one."""
    with feed() as source:
        source.stop()
        with _served(agent, source, tmp_path, "shop") as program:
            assert get(str(tmp_path / "http.socket"))["feed"]["status"] == "degraded"
            source.start()
            assert until(lambda: agent.count("websocket.connection.completed") == WORKERS, PATIENCE), program.reported()
            assert source.connections == WORKERS
            assert "Traceback" not in program.errors
