"""uWSGI with two workers, by its page: each has the client once, the master none, and its end loses nothing.

A plain WSGI application, loaded by the master or by each worker; a feed that sends 100 trades on each connection.
"""

import signal
import sys
from pathlib import Path

import pytest

from tests.faults.ending import PATIENCE
from tests.faults.pages import IN_TIME, MESSAGES, Run, answers, feed, get, write
from tests.faults.test_uwsgi import EXEC, UWSGI
from tests.support import until
from wsnova_statsd.testing.receiver import DogStatsDReceiver

WORKERS = 2
RECEIVED = "websocket.message.received"
LOADED = pytest.mark.parametrize("options", [(), ("--lazy-apps",)], ids=["loaded by the master", "--lazy-apps"])
pytestmark = pytest.mark.skipif(UWSGI is None, reason="there is no uwsgi here; pip install pyuwsgi, or uwsgi")


FLASK = """
import os
from flask import Flask
from wsnova_statsd.contrib.flask import WSNova

application = Flask(__name__)
application.config["WSNOVA_STATSD_CLIENTS"] = {"prices": os.environ["FEED_URL"]}
application.config["WSNOVA_STATSD_PROFILE"] = "financial"
feeds = WSNova(application)

@application.get("/")
def page():
    return {"feed": feeds.client("prices").health()}
"""


@LOADED
@pytest.mark.parametrize("down", [False, True], ids=["feed up", "feed down at boot"])
def test_each_worker_has_the_client_once(down: bool, options: tuple[str, ...], tmp_path: Path) -> None:
    """Two connections, two hundred messages, two ends; a feed that is down at boot delays no request."""
    write("uwsgi.md", tmp_path)
    _runs(tmp_path, down, options)


@LOADED
def test_each_worker_of_a_flask_application_has_it_too(options: tuple[str, ...], tmp_path: Path) -> None:
    """The extension requests its clients when the module is loaded; they start after the fork."""
    write("uwsgi.md", tmp_path)
    (tmp_path / "shop.py").write_text(FLASK, encoding="utf-8")
    _runs(tmp_path, False, options)


def _runs(tmp_path: Path, down: bool, options: tuple[str, ...]) -> None:
    path = str(tmp_path / "http.socket")
    command = (str(UWSGI), "--ini", str(tmp_path / "shop.ini"), "--http-socket", path, "--virtualenv", sys.prefix)
    with feed() as source, DogStatsDReceiver() as agent:
        if down:
            source.stop()
        with Run(agent, source.url, tmp_path, "-c", EXEC, *command, *options) as program:
            assert until(lambda: answers(path), PATIENCE), program.reported()
            if down:
                assert get(path)["feed"]["status"] == "degraded"
                source.start()
            there = until(lambda: agent.count(RECEIVED) == WORKERS * len(MESSAGES), PATIENCE)
            assert there, (agent.count(RECEIVED), program.running, program.reported())
            assert source.open_connections == WORKERS
            ended = program.end(signal.SIGTERM)
        agent.stop()  # reads what has arrived
        assert source.connections == agent.count("websocket.connection.completed") == WORKERS
    assert agent.count("websocket.connection.disconnected", ["reason:shutdown"]) == WORKERS
    assert agent.count(RECEIVED) == WORKERS * len(MESSAGES)
    assert (ended.code, "Traceback" in ended.errors) == (0, False)
    assert ended.took < IN_TIME
