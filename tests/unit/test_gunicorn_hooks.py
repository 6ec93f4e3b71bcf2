"""gunicorn's hooks: the master starts nothing, a worker what was requested, and its end ships what it counted.

Each in a separate process, as importing them marks the process.
"""

import subprocess
import sys

from wsnova_statsd.testing.receiver import DogStatsDReceiver

BEGINS = """
from wsnova_statsd.contrib import gunicorn, serving
began = []
serving.when_serving(lambda: began.append("asked for in the master"))
print(began)
gunicorn.post_worker_init(None)
serving.when_serving(lambda: began.append("asked for in the worker"))
gunicorn.post_worker_init(None)
print(began)
"""
ENDS = """
import os
import sys
import wsnova_statsd as ws
from wsnova_statsd.contrib import gunicorn
ws.StatsdReporter(host=sys.argv[1], port=int(sys.argv[2]), flush_interval=10).start().increment("orders", 7)
gunicorn.worker_exit(None, None)
os._exit(0)  # past every exit hook
"""


def _python(code: str, *arguments: str) -> str:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout


def test_a_start_requested_in_the_master_happens_once_in_the_worker() -> None:
    """A start requested in a worker happens at once."""
    assert _python(BEGINS) == "[]\n['asked for in the master', 'asked for in the worker']\n"


def test_the_end_of_a_worker_ships_what_it_counted() -> None:
    """Although Python's own exit hooks no longer run."""
    with DogStatsDReceiver() as agent:
        _python(ENDS, agent.host, str(agent.port))
        assert agent.wait_for(lambda it: it.count("orders") == 7, timeout=5)
