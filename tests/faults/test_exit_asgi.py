"""ASGI servers: what their workers count arrives with the one documented line, `lifespan(application)`.

uvicorn raises SIGTERM again after its shutdown, so that no exit hook runs. The applications are in `asgi_shop.py`.
"""

import signal
from pathlib import Path

import pytest

from tests.faults.ending import PATIENCE, Ended, Program
from tests.faults.load import answered
from tests.support import until
from wsnova_statsd.testing.receiver import DogStatsDReceiver

REQUESTS = 1_000
WORKERS = 2
HELD = 8.0  # seconds: one of ours, the end of two servers in a row, and a busy machine
KIND = ("--worker-class", "uvicorn_worker.UvicornWorker", "--no-control-socket")


class Server(Program):
    """A server with two workers for one of the applications, on a Unix socket in this folder."""

    def __init__(self, agent: DogStatsDReceiver, folder: Path, name: str, application: str) -> None:
        self.path = str(folder / "http.socket")
        target, workers = f"tests.faults.asgi_shop:{application}", str(WORKERS)
        commands = {
            "uvicorn": ["-m", "uvicorn", target, "--workers", workers, "--uds", self.path, "--no-access-log"],
            "uvicorn, one process": ["-m", "uvicorn", target, "--uds", self.path, "--no-access-log"],
            "gunicorn": ["-m", "gunicorn", target, "--workers", workers, "--bind", f"unix:{self.path}", *KIND],
        }
        super().__init__(agent, *commands[name], measured=False)
        started = 1 if "one" in name else WORKERS
        there = until(lambda: self.errors.count("Application startup complete") == started, PATIENCE)
        assert there, self.reported()


def _ended(server: Server, agent: DogStatsDReceiver) -> Ended:
    assert answered(server.path, REQUESTS, timeout=PATIENCE) == REQUESTS, server.reported()
    ended = server.end(signal.SIGTERM)
    agent.stop()  # reads what has arrived
    return ended


@pytest.mark.parametrize("name", ["uvicorn", "uvicorn, one process", "gunicorn"])
def test_of_a_thousand_requests_each_is_counted(name: str, tmp_path: Path) -> None:
    """Over UDP, with an application without its own lifespan; the server ends in time, as it would without us."""
    with DogStatsDReceiver() as agent:
        with Server(agent, tmp_path, name, "plain") as server:
            ended = _ended(server, agent)
        assert agent.count("requests") == agent.count("websocket.message.received") == REQUESTS
        assert agent.malformed == []
    assert ended.code in (0, -signal.SIGTERM)
    assert "Traceback" not in ended.errors
    assert ended.took < HELD


def test_what_an_application_counts_as_its_lifespan_ends_arrives_too(tmp_path: Path) -> None:
    """Over a Unix socket: the flush comes after the application's own shutdown, in each worker."""
    with DogStatsDReceiver(str(tmp_path / "dsd.socket")) as agent:
        with Server(agent, tmp_path, "uvicorn", "own") as server:
            ended = _ended(server, agent)
        assert [agent.count(name) for name in ("requests", "startup", "shutdown")] == [REQUESTS, WORKERS, WORKERS]
    assert "Traceback" not in ended.errors
