"""gunicorn with three workers, in prometheus_client's multiprocess mode: the page of any worker has the counts of all,
of those that have ended too, and the states of those that live.
"""

import http.client
import signal
import socket
from pathlib import Path

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families as parse

from tests.faults.ending import PATIENCE, Program
from tests.faults.load import answered
from tests.support import until
from wsnova_statsd.testing.receiver import DogStatsDReceiver

WORKERS = 3
CONFIGURATION = """
from wsnova_statsd.reporters.prometheus import child_exit

def post_worker_init(worker):
    worker.log.info("Worker ready")
"""


class _Connection(http.client.HTTPConnection):
    """Over a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("shop", timeout=PATIENCE)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(self._path)


class Gunicorn(Program):
    """Three workers of scraped_shop.py on a Unix socket, which count into a folder."""

    def __init__(self, agent: DogStatsDReceiver, folder: Path, *more: str) -> None:
        self.path, counts = str(folder / "http.socket"), folder / "counts"
        counts.mkdir()
        configuration = folder / "gunicorn.conf.py"
        configuration.write_text(CONFIGURATION)
        options = ["--workers", str(WORKERS), "--bind", f"unix:{self.path}", "--no-control-socket", *more]
        options += ["--config", str(configuration), "tests.faults.scraped_shop:application"]
        super().__init__(agent, "-m", "gunicorn", *options, measured=False, PROMETHEUS_MULTIPROC_DIR=str(counts))
        self.settle(0)

    def settle(self, ended: int) -> None:
        """Until three workers are ready, after at least so many have ended."""

        def settled() -> bool:
            gone = self.errors.count("Worker exiting")
            return gone >= ended and self.errors.count("Worker ready") == self.errors.count("Booting") == WORKERS + gone

        assert until(settled, PATIENCE), self.reported()

    def get(self, path: str) -> str:
        """The body of an answer of any worker."""
        connection = _Connection(self.path)
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read().decode()
        connection.close()
        assert answer.status == 200, body
        return body

    def page(self) -> dict[str, Metric]:
        return {family.name: family for family in parse(self.get("/metrics"))}

    def connect_all(self) -> set[str]:
        """A client in each worker has a link; their pids."""
        pids: set[str] = set()
        assert until(lambda: len(pids.add(self.get("/connect")) or pids) == WORKERS, PATIENCE)  # type: ignore[func-returns-value]
        return pids


def _exact(page: dict[str, Metric], requests: int) -> None:
    """Each request was counted once, by a counter, a summary and a histogram in seconds."""
    names = {"message_received_total": requests, "message_received_size_bytes_sum": 10 * requests}
    names |= {"message_process_completed_duration_seconds_count": requests}
    samples = {sample.name: sample.value for family in page.values() for sample in family.samples}
    assert {name: samples[f"websockex_nova_{name}"] for name in names} == names
    buckets = page["websockex_nova_message_process_completed_duration_seconds"].samples
    by_bound = {sample.labels["le"]: sample.value for sample in buckets if sample.name.endswith("_bucket")}
    assert (by_bound["0.001"], by_bound["0.005"], by_bound["+Inf"]) == (0, requests, requests)
    assert samples["websockex_nova_message_process_completed_duration_seconds_sum"] == pytest.approx(0.0015 * requests)


def _up(page: dict[str, Metric]) -> set[str]:
    states = page.get("websockex_nova_connection_up")
    return {sample.labels["pid"] for sample in states.samples if sample.value == 1} if states is not None else set()


def test_the_page_is_exact_through_a_reload_and_workers_that_are_recycled(tmp_path: Path) -> None:
    """A HUP ends every worker, later each ends after some requests; gunicorn's hook removes the states of ended
    ones."""
    with DogStatsDReceiver() as agent, Gunicorn(agent, tmp_path, "--max-requests", "150") as server:
        assert answered(server.path, 60, turns=1) == 60
        _exact(server.page(), 60)
        before = server.connect_all()
        assert _up(server.page()) == before
        server.signal(signal.SIGHUP)
        server.settle(WORKERS)
        _exact(server.page(), 60)
        assert until(lambda: _up(server.page()) == set(), PATIENCE)  # the master has noticed those that ended
        assert answered(server.path, 600, turns=1) == 600
        server.settle(WORKERS + 3)
        after = server.connect_all()
        _exact(server.page(), 660)
        assert until(lambda: _up(server.page()) == after, PATIENCE)
        assert not after & before
        assert server.get("/metrics/health") == "counting\n"
        ended = server.end(signal.SIGTERM)
    assert ended.code == 0, ended.errors
    assert "Traceback" not in ended.errors
