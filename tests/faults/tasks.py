"""A Celery application whose tasks count: `celery -A tests.faults.tasks worker`, with the broker in the same process.

The worker sends itself TASKS tasks when it is ready. A task is done when it has made a file in the folder DONE, which
is how a test knows that nothing is left to do. The flush interval is 10 s.
"""

import os
import threading
from pathlib import Path
from typing import Any

from celery import Celery, signals

import wsnova_statsd as ws
from tests.support import until

DONE = Path(os.environ["DONE"])
TASKS = int(os.environ["TASKS"])
COUNTS = 25  # of each task

app: Any = Celery("tasks", broker="memory://")
app.conf.update(
    task_ignore_result=True,
    broker_transport_options={"polling_interval": 0.05},
    worker_cancel_long_running_tasks_on_connection_loss=False,  # otherwise it warns of its default
)
reporter = ws.StatsdReporter(flush_interval=10).start()


def _count(number: int) -> None:
    for _ in range(COUNTS):
        reporter.increment("orders", tags=[f"pid:{os.getpid()}"])
        ws.telemetry.execute(ws.events.MESSAGE_RECEIVED, {"size": 10}, {"client_id": "a", "type": "b"})
    DONE.joinpath(str(number)).touch()


@app.task(name="count")  # type: ignore[untyped-decorator]
def count(number: int) -> None:
    """A task like any other."""
    _count(number)


@app.task(name="stay")  # type: ignore[untyped-decorator]
def stay() -> None:
    """The last one: under way when the worker gets its signal."""
    DONE.joinpath("stay").touch()
    assert until(DONE.joinpath("reported").exists, 60)
    _count(-1)


def _send() -> None:
    for number in range(TASKS):
        count.delay(number)
    stay.delay()


@signals.worker_ready.connect  # type: ignore[untyped-decorator]
def _ready(**_: Any) -> None:
    reporter.increment("parent", 7)
    threading.Thread(target=_send, daemon=True).start()
