"""gunicorn: what its workers count arrives, however the application is loaded and however they end.

The application is `shop.py`, which counts each request directly and by an event; its flush interval is 10 s.
"""

import contextlib
import signal
import socket
from pathlib import Path

import pytest

from tests.faults.ending import PATIENCE, Ended, Program
from tests.faults.load import answered
from tests.support import until
from wsnova_statsd.testing.receiver import DogStatsDReceiver

WORKERS = 4
HELD = 5.0  # seconds: one for a worker and one for the master, gunicorn's own end, and a busy machine
KINDS = {"sync": (), "gthread": ("--worker-class", "gthread", "--threads", "4")}


CONFIGURATION = """
def post_worker_init(worker):
    worker.log.info("Worker ready")
"""


class Gunicorn(Program):
    """gunicorn with four workers on a Unix socket in this folder."""

    def __init__(self, agent: DogStatsDReceiver | str, folder: Path, kind: str, preload: bool, *more: str) -> None:
        self.path = str(folder / "http.socket")
        configuration = folder / "gunicorn.conf.py"
        configuration.write_text(CONFIGURATION)
        options = ["--workers", str(WORKERS), "--bind", f"unix:{self.path}", "--no-control-socket", *KINDS[kind], *more]
        options += ["--config", str(configuration), *(["--preload"] if preload else [])]
        super().__init__(agent, "-m", "gunicorn", *options, "tests.faults.shop:application", measured=False)
        self.settle(0)

    def settle(self, ended: int) -> None:
        """Until four workers are ready, after at least so many have ended.

        gunicorn may lose a signal to a worker that it has only just forked, and kills that worker half a minute later.
        """

        def settled() -> bool:
            gone = self.errors.count("Worker exiting")
            return gone >= ended and self.errors.count("Worker ready") == self.errors.count("Booting") == WORKERS + gone

        assert until(settled, PATIENCE), self.reported()

    def requests(self, number: int) -> int:
        """How many of so many requests were answered."""
        return answered(self.path, number, timeout=PATIENCE)


def _went_well(ended: Ended, agent: DogStatsDReceiver, requests: int) -> None:
    agent.stop()  # reads what has arrived
    assert agent.count("requests") == agent.count("websocket.message.received") == requests
    assert agent.malformed == []
    assert ended.code == 0, ended.errors
    assert "Traceback" not in ended.errors
    assert ended.took < HELD


@pytest.mark.parametrize("preload", [False, True], ids=["without --preload", "--preload"])
def test_of_twenty_thousand_requests_to_four_workers_each_is_counted_once(preload: bool, tmp_path: Path) -> None:
    """Over UDP, by threads that share a worker; what the master counted at its import is counted once."""
    with DogStatsDReceiver() as agent, Gunicorn(agent, tmp_path, "gthread", preload) as server:
        assert server.requests(20_000) == 20_000
        _went_well(server.end(signal.SIGTERM), agent, 20_000)
        assert agent.count("imported") == (1 if preload else WORKERS)
        assert 1 < len({metric.tags for metric in agent.metrics("requests")}) <= WORKERS


@pytest.mark.parametrize(("kind", "preload"), [("sync", False), ("gthread", True)])
def test_workers_that_are_recycled_and_reloaded_ship_what_they_counted(
    kind: str, preload: bool, tmp_path: Path
) -> None:
    """Over a Unix socket: a HUP ends every worker in the middle of a load, later each after 120 requests."""
    with (
        DogStatsDReceiver(str(tmp_path / "dsd.socket")) as agent,
        Gunicorn(agent, tmp_path, kind, preload, "--max-requests", "120") as server,
    ):
        assert server.requests(60) == 60
        server.signal(signal.SIGHUP)
        assert server.requests(50) == 50
        server.settle(WORKERS)
        assert server.requests(600) == 600
        server.settle(WORKERS + 1)
        _went_well(server.end(signal.SIGTERM), agent, 710)
        assert len({metric.tags for metric in agent.metrics("requests")}) > WORKERS


def test_an_agent_that_reads_nothing_delays_no_worker_beyond_its_bound(tmp_path: Path) -> None:
    """A Unix socket without a reader; workers and the master, which has preloaded, end in time and print nothing."""
    path = str(tmp_path / "dsd.socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as unread:
        unread.bind(path)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
            other.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    other.sendto(b"full:1|c", path)
        with Gunicorn(path, tmp_path, "gthread", True) as server:
            assert server.requests(100) == 100
            ended = server.end(signal.SIGTERM)
    assert ended.code == 0, ended.errors
    assert "Traceback" not in ended.errors
    assert ended.took < HELD
