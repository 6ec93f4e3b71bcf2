"""Two processes whose clients have one id: each reports itself, and neither hides an outage of the other."""

import subprocess
import sys
from pathlib import Path

from tests.support import ROOT
from wsnova_statsd.testing.receiver import DogStatsDReceiver
from wsnova_statsd.testing.server import WebSocketServer

PATIENCE = 30.0  # reached only by a failing test
UP, CHECK = "websocket.connection.up", "websocket.can_connect"
WORKER = """
import os, sys
import wsnova_statsd as ws
os.environ.pop("WSNOVA_STATSD_WORKER", None)
os.environ["XDG_RUNTIME_DIR"] = sys.argv[3]
ws.init("financial", reporter=ws.StatsdReporter(host="127.0.0.1", port=int(sys.argv[1])), system=1.0)
client = ws.Client(sys.argv[2], client_id="md-1", on_message=print).start(timeout=20)
client.send({"type": "order"})
sys.stdin.read()
"""


def _by_worker(agent: DogStatsDReceiver, name: str) -> dict[str, float]:
    """The last value of each series of this client, by its worker."""
    reported = {}
    for one in agent.metrics(name, ["client:md-1"]):
        reported[next(tag for tag in one.tags if tag.startswith("worker:"))] = one.values[-1]
    return reported


def test_an_outage_of_one_of_two_workers_is_seen(tmp_path: Path) -> None:
    """`up`, KPIs and checks of each are separate, under the tag that its system figures have; counts add up."""
    with DogStatsDReceiver() as agent, WebSocketServer() as good, WebSocketServer() as bad:
        assert agent.port is not None
        workers = [
            subprocess.Popen(
                [sys.executable, "-c", WORKER, str(agent.port), server.url, str(tmp_path)],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
            )
            for server in (good, bad)
        ]
        try:
            assert agent.wait_for(lambda agent: sorted(_by_worker(agent, UP).values()) == [1, 1], PATIENCE)
            assert agent.wait_for(lambda agent: agent.count("websocket.message.sent", ["client:md-1"]) == 2, PATIENCE)
            bad.stop(drop=True)
            assert agent.wait_for(lambda agent: sorted(_by_worker(agent, UP).values()) == [0, 1], PATIENCE)

            def checks() -> dict[str, int]:
                return {one.tags[1]: one.status for one in agent.checks if one.name == CHECK}

            assert agent.wait_for(lambda _: sorted(checks().values()) == [0, 2], PATIENCE)
            names = set(_by_worker(agent, UP))
            assert agent.wait_for(
                lambda agent: names == {one.tags[0] for one in agent.metrics("websocket.system.threads")}, PATIENCE
            )
        finally:
            for worker in workers:
                worker.communicate(timeout=PATIENCE)
    assert set(checks()) == names
    assert all("worker" not in tag for one in agent.metrics("websocket.message.sent") for tag in one.tags)
    assert agent.malformed == []
