"""Clients in the workers of Celery, RQ, Dramatiq, Huey and APScheduler: connections counted at the feed, counts at the
Agent exact.

Those of the pages as on the pages; the others start their client when their module is loaded, and do nothing
for the end. The feed sends 100 trades on each connection.
"""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.ending import PATIENCE, Ended
from tests.faults.pages import MESSAGES, Run, feed, write
from tests.support import until
from wsnova_statsd.testing.receiver import DogStatsDReceiver
from wsnova_statsd.testing.server import WebSocketServer

PROCESSES = 2
TASKS = 20
RECEIVED = "websocket.message.received"
# Counts are sent at the end of a process, or too late: the flush interval is 10 s.
HEAD = """
import os
import wsnova_statsd as ws
monitor = ws.init("financial", reporter=ws.StatsdReporter(flush_interval=10))
client = ws.Client(os.environ["FEED_URL"], client_id="prices", on_message=lambda message: None).start(wait=False)
"""


class Bench:
    """A folder, a feed and an Agent; `run` starts a program there."""

    def __init__(self, folder: Path, source: WebSocketServer) -> None:
        self.folder = folder
        self.feed = source
        self.agent = DogStatsDReceiver()

    def run(self, *arguments: str, **more: str) -> Run:
        return Run(self.agent, self.feed.url, self.folder, *arguments, **more)

    def count(self, name: str, *tags: str) -> float:
        return self.agent.count(name, tags)

    def ended(self, program: Run, number: int | None = signal.SIGTERM) -> Ended:
        """Its end, after a signal if one is passed; the Agent has read what arrived."""
        ended = program.end(number)
        self.agent.stop()
        assert "wsnova" not in ended.errors, ended.errors
        return ended


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with feed() as source:
        there = Bench(tmp_path, source)
        with there.agent:
            yield there


# -- the pages --------------------------------------------------------------------------------------------------------


@pytest.mark.needs_redis
@pytest.mark.parametrize("options", [(), ("--max-tasks-per-child", "5")], ids=["warm shutdown", "max-tasks-per-child"])
def test_each_process_of_celerys_pool_has_the_client_once(options: tuple[str, ...], redis: str, bench: Bench) -> None:
    """And the process that forks them none; each replaced one closed its link, and nothing is lost."""
    write("celery.md", bench.folder)
    settings = {"BROKER_URL": f"redis+socket://{redis}"}
    worker = ("-m", "celery", "-A", "tasks", "worker", "--concurrency", str(PROCESSES), "--loglevel", "INFO", *options)
    send = f"import tasks\nfor _ in range({TASKS}): tasks.order.delay('BTC')"
    with bench.run(*worker, "--without-gossip", "--without-mingle", **settings) as program:
        assert until(lambda: bench.count("websocket.connection.completed") == PROCESSES, PATIENCE), program.reported()
        with bench.run("-c", send, **settings) as sending:
            assert sending.end().code == 0
        assert until(lambda: program.errors.count("succeeded in") == TASKS, PATIENCE), program.reported()
        ended = bench.ended(program)
    assert ended.code == 0
    assert bench.count("orders", "priced:true") + bench.count("orders", "priced:false") == TASKS
    made = bench.count("websocket.connection.completed")
    assert bench.count("websocket.connection.disconnected", "reason:shutdown") == made
    if options:  # a process may have been replaced while it dialled
        assert bench.feed.connections >= made > PROCESSES
    else:
        assert bench.feed.connections == made == PROCESSES
        assert bench.count(RECEIVED) == PROCESSES * len(MESSAGES)


@pytest.mark.needs_redis
def test_each_job_of_rq_opens_its_connection_and_closes_it(redis: str, bench: Bench) -> None:
    """Five jobs, five connections, each closed by the client; what each counted arrives."""
    write("rq.md", bench.folder)
    with bench.run(str(bench.folder / "enqueue.py"), REDIS_URL=f"unix://{redis}") as program:
        assert program.end().code == 0, program.reported()
    worker = ("-c", "from rq.cli import main; main()", "worker", "--burst", "--url", f"unix://{redis}")
    with bench.run(*worker) as program:
        ended = bench.ended(program, None)
    assert ended.code == 0, ended.errors
    assert bench.feed.connections == bench.count("quotes", "symbol:BTC") == 5
    assert bench.count("websocket.connection.disconnected", "reason:local") == 5


# -- the others -------------------------------------------------------------------------------------------------------


def _module(bench: Bench, text: str) -> None:
    (bench.folder / "work.py").write_text(HEAD + text, encoding="utf-8")


DRAMATIQ = """
import dramatiq
from dramatiq.brokers.redis import RedisBroker
dramatiq.set_broker(RedisBroker(url=os.environ["REDIS_URL"]))

@dramatiq.actor
def order():
    monitor.increment("orders")
    with open(os.environ["DONE"], "a") as done:
        done.write("x")
"""


@pytest.mark.needs_redis
def test_dramatiqs_processes_need_nothing(redis: str, bench: Bench) -> None:
    """Each has its client from the module it loads; SIGTERM ends them in order."""
    _module(bench, DRAMATIQ)
    done = bench.folder / "done"
    settings = {"REDIS_URL": f"unix://{redis}", "DONE": str(done)}
    command = ("-m", "dramatiq", "work", "--processes", str(PROCESSES), "--threads", "2")
    with bench.run(*command, **settings) as program:
        assert until(lambda: bench.feed.open_connections == PROCESSES, PATIENCE), program.reported()
        send = f"import work\nfor _ in range({TASKS}): work.order.send()"
        with bench.run("-c", send, **settings) as sending:
            assert sending.end().code == 0, sending.reported()
        assert until(lambda: done.exists() and len(done.read_bytes()) == TASKS, PATIENCE), program.reported()
        ended = bench.ended(program)
    assert ended.code == 0
    assert bench.feed.connections == PROCESSES + 1  # the sender of the orders loaded the module, too
    assert bench.count("orders") == TASKS
    assert bench.count("websocket.connection.disconnected", "reason:shutdown") >= PROCESSES


HUEY = """
from huey import SqliteHuey
huey = SqliteHuey(filename=os.environ["DATABASE"])

@huey.task()
def order():
    monitor.increment("orders")
    with open(os.environ["DONE"], "a") as done:
        done.write("x")
"""


@pytest.mark.parametrize("kind", ["thread", "process"])
def test_hueys_consumer_needs_nothing(kind: str, bench: Bench) -> None:
    """Its client is that of the consumer's process; SIGINT, its graceful end, loses nothing."""
    _module(bench, HUEY)
    done = bench.folder / "done"
    settings = {"DATABASE": str(bench.folder / "huey.db"), "DONE": str(done)}
    command = ("-m", "huey.bin.huey_consumer", "work.huey", "--workers", str(PROCESSES), "--worker-type", kind)
    with bench.run(*command, **settings) as program:
        assert until(lambda: bench.feed.open_connections == 1, PATIENCE), program.reported()
        send = f"import work\nwork.client.close()\nfor _ in range({TASKS}): work.order()"
        with bench.run("-c", send, **settings) as sending:
            assert sending.end().code == 0, sending.reported()
        assert until(lambda: done.exists() and len(done.read_bytes()) == TASKS, PATIENCE), program.reported()
        ended = bench.ended(program, signal.SIGINT)
    assert ended.code == 0, ended.errors
    assert bench.count("orders") == TASKS
    assert bench.feed.wait_for(lambda: bench.feed.open_connections == 0)


SCHEDULER = """
import sys
from apscheduler.executors.pool import ProcessPoolExecutor, ThreadPoolExecutor
from apscheduler.schedulers.blocking import BlockingScheduler

def order():
    ws.init("financial", reporter=ws.StatsdReporter(flush_interval=10)).increment("orders")
    with open(os.environ["DONE"], "a") as done:
        done.write("x")

if __name__ == "__main__":
    ws.end_on_sigterm()
    if sys.argv[1] == "process":
        import signal
        signal.signal(signal.SIGTERM, lambda *_: scheduler.shutdown())
    kind = ThreadPoolExecutor if sys.argv[1] == "thread" else ProcessPoolExecutor
    scheduler = BlockingScheduler(executors={"default": kind(2)})
    for _ in range(20):
        scheduler.add_job(order, misfire_grace_time=60)
    scheduler.start()
"""


@pytest.mark.parametrize("kind", ["thread", "process"])
def test_apscheduler_needs_the_one_line_for_sigterm(kind: str, bench: Bench) -> None:
    """Jobs count in the scheduler's own process, or in those of its pool, which load the module, and so have a client,
    and end when the scheduler is shut down."""
    _module(bench, SCHEDULER)
    done = bench.folder / "done"
    with bench.run(str(bench.folder / "work.py"), kind, DONE=str(done)) as program:
        assert until(lambda: done.exists() and len(done.read_bytes()) == TASKS, PATIENCE), program.reported()
        processes = 1 if kind == "thread" else 1 + PROCESSES
        assert until(lambda: bench.feed.open_connections == processes, PATIENCE), program.reported()
        bench.ended(program)
    assert bench.feed.connections == processes
    assert bench.count("orders") == TASKS
    assert bench.count("websocket.connection.disconnected", "reason:shutdown") == processes
