"""gunicorn, by its page: each worker has each client once, the master none; what was counted arrives, and it ends in
time.

Two workers for a plain WSGI application, a feed that sends 100 trades on each connection.
"""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.ending import PATIENCE, Ended
from tests.faults.pages import EXAMPLES, IN_TIME, MESSAGES, Run, answers, feed, get, write
from tests.support import until
from wsnova_statsd.testing.receiver import DogStatsDReceiver
from wsnova_statsd.testing.server import WebSocketServer

WORKERS = 2
RECEIVED = "websocket.message.received"
LINE = "from wsnova_statsd.contrib.gunicorn import post_worker_init, worker_exit"
PRELOAD = pytest.mark.parametrize("options", [(), ("--preload",)], ids=["loaded by each worker", "--preload"])


class Gunicorn:
    """The page's application, with a feed and an Agent."""

    def __init__(self, folder: Path) -> None:
        write("gunicorn.md", folder)
        self.folder = folder
        self.path = str(folder / "http.socket")
        self.feed: WebSocketServer = feed()
        self.agent = DogStatsDReceiver()

    def run(self, *options: str, config: str = "gunicorn.conf.py") -> Run:
        """Started, and serving."""
        command = ("-m", "gunicorn", "shop:application", "--workers", str(WORKERS), "--bind", f"unix:{self.path}")
        given = ("--config", str(self.folder / config), "--no-control-socket", *options)
        program = Run(self.agent, self.feed.url, self.folder, *command, *given)
        assert until(lambda: answers(self.path), PATIENCE), program.reported()
        return program

    def connected(self, links: int, among: int | Callable[[], int]) -> bool:
        """Until there are so many links of so many that were ever made, all of which have reached the Agent."""

        def there() -> bool:
            wanted = among() if callable(among) else among
            made = self.feed.connections == self.count("websocket.connection.completed") == wanted
            return made and self.feed.open_connections == links

        return until(there, PATIENCE)

    def ended(self, program: Run, number: int = signal.SIGTERM) -> Ended:
        """End all, and the Agent, which has read what arrived by then."""
        ended = program.end(number)
        self.agent.stop()
        assert ended.took < IN_TIME
        assert "Traceback" not in ended.errors, ended.errors
        return ended

    def workers(self) -> set[str]:
        """The tags that distinguish the states of processes at the Agent."""
        metrics = self.agent.metrics("websocket.connection.up")
        return {tag for one in metrics for tag in one.tags if tag.startswith("worker:")}

    def count(self, name: str, *tags: str) -> float:
        return self.agent.count(name, tags)


@pytest.fixture
def gunicorn(tmp_path: Path) -> Iterator[Gunicorn]:
    there = Gunicorn(tmp_path)
    with there.feed, there.agent:
        yield there


@PRELOAD
@pytest.mark.parametrize("config", ["gunicorn.conf.py", "own_hooks.conf.py"])
def test_each_worker_has_the_client_once_and_the_master_none(
    config: str, options: tuple[str, ...], gunicorn: Gunicorn
) -> None:
    """Two connections at the feed, two hundred messages and two ends at the Agent, which sees two workers;
    with your own hooks too."""
    with gunicorn.run(*options, config=config) as program:
        assert gunicorn.connected(WORKERS, among=WORKERS), program.reported()
        assert until(lambda: len(gunicorn.workers()) == WORKERS, PATIENCE), gunicorn.workers()
        ended = gunicorn.ended(program)
    assert ended.code == 0
    assert gunicorn.feed.connections == WORKERS
    assert gunicorn.count(RECEIVED, "client:prices", "type:trade") == WORKERS * len(MESSAGES)
    assert gunicorn.count("websocket.connection.completed") == WORKERS
    assert gunicorn.count("websocket.connection.disconnected", "reason:shutdown") == WORKERS


@PRELOAD
def test_a_reload_ends_each_link_and_makes_a_new_one(options: tuple[str, ...], gunicorn: Gunicorn) -> None:
    """HUP: new workers, as many connections as before, and nothing is lost."""
    with gunicorn.run(*options) as program:
        assert gunicorn.connected(WORKERS, among=WORKERS), program.reported()
        program.signal(signal.SIGHUP)
        assert gunicorn.connected(WORKERS, among=2 * WORKERS), program.reported()
        gunicorn.ended(program)
    assert gunicorn.feed.connections == 2 * WORKERS
    assert gunicorn.count(RECEIVED) == 2 * WORKERS * len(MESSAGES)
    assert gunicorn.count("websocket.connection.disconnected", "reason:shutdown") == 2 * WORKERS


@PRELOAD
def test_workers_that_are_replaced_leave_nothing_open(options: tuple[str, ...], gunicorn: Gunicorn) -> None:
    """--max-requests: each worker had one connection, and closed it."""
    with gunicorn.run("--max-requests", "5", *options) as program:

        def booted() -> int:
            return program.errors.count("Booting worker")

        for _ in range(3):
            assert gunicorn.connected(WORKERS, among=booted), program.reported()
            before = booted()
            for _ in range(8):  # ends at least one worker, and none that has just begun
                get(gunicorn.path)
            assert until(lambda before=before: booted() > before, PATIENCE)  # type: ignore[misc]
        assert gunicorn.connected(WORKERS, among=booted), program.reported()
        workers = booted()
        gunicorn.ended(program)
    assert workers >= 5
    assert gunicorn.feed.connections == gunicorn.count("websocket.connection.completed") == workers
    assert gunicorn.count("websocket.connection.disconnected", "reason:shutdown") == workers
    assert gunicorn.count(RECEIVED) == workers * len(MESSAGES)


def test_ctrl_c_ends_it_with_nothing_lost(gunicorn: Gunicorn) -> None:
    """SIGINT reaches the master and both workers at once, as from a terminal."""
    with gunicorn.run() as program:
        assert gunicorn.connected(WORKERS, among=WORKERS), program.reported()
        # no request is under way then, which gunicorn would break off with a traceback
        assert until(lambda: gunicorn.count(RECEIVED) == WORKERS * len(MESSAGES), PATIENCE)
        os.killpg(program.pid, signal.SIGINT)
        gunicorn.ended(program, 0)
    assert gunicorn.count(RECEIVED) == WORKERS * len(MESSAGES)
    assert gunicorn.count("websocket.connection.disconnected", "reason:shutdown") == WORKERS


@PRELOAD
def test_a_feed_that_is_down_at_boot_delays_nothing(options: tuple[str, ...], gunicorn: Gunicorn) -> None:
    """Requests are answered, with the health of a client without a link; once the feed runs it has one."""
    url = gunicorn.feed.url
    gunicorn.feed.stop()
    with gunicorn.run(*options) as program:
        health = get(gunicorn.path)["feed"]
        assert (health["status"], health["connected_since"]) == ("degraded", None)
        gunicorn.feed.start()
        assert gunicorn.feed.url == url
        assert gunicorn.connected(WORKERS, among=WORKERS), program.reported()
        gunicorn.ended(program)
    assert gunicorn.count("websocket.connection.completed") == WORKERS


@pytest.mark.parametrize("kind", ["gthread", "gevent"])
def test_other_kinds_of_workers_do_the_same(kind: str, gunicorn: Gunicorn) -> None:
    """Those of gevent if gunicorn.conf.py begins with the line of the page."""
    [page] = (EXAMPLES / "gunicorn.md").read_text(encoding="utf-8").split("`import gevent.monkey; ")[1:]
    patch = f"import gevent.monkey; {page.partition('`')[0]}\n" if kind == "gevent" else ""
    config = gunicorn.folder / "gunicorn.conf.py"
    config.write_text(patch + config.read_text(encoding="utf-8"), encoding="utf-8")
    with gunicorn.run("--worker-class", kind) as program:
        assert gunicorn.connected(WORKERS, among=WORKERS), program.reported()
        gunicorn.ended(program)
    assert gunicorn.count(RECEIVED) == WORKERS * len(MESSAGES)
    assert gunicorn.count("websocket.connection.disconnected", "reason:shutdown") == WORKERS


def test_under_preload_without_the_hooks_a_log_line_says_which_line_to_add(gunicorn: Gunicorn) -> None:
    """The application serves, and nothing dials, neither the master nor a worker."""
    (gunicorn.folder / "empty.conf.py").touch()
    with gunicorn.run("--preload", config="empty.conf.py") as program:
        assert get(gunicorn.path)["feed"]["state"] == "idle"
        ended = gunicorn.ended(program)
    assert ended.errors.count(LINE) == 1
    assert gunicorn.feed.connections == 0
