"""When clients of a site start, in separate processes: forks, calling servers, signals."""

import logging
import os
import subprocess
import sys

import pytest

from tests.support import ROOT
from wsnova_statsd.contrib import serving

_HEAD = "import os, signal, sys\nimport wsnova_statsd as ws\nfrom wsnova_statsd.contrib import serving\n"


def _said(script: str) -> str:
    """The output of a separate process, which ends well: held starts concern the whole process."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", _HEAD + script], capture_output=True, text=True, timeout=50, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_in_a_held_process_starts_happen_in_the_released_children() -> None:
    """Once in each; a later start happens at once, and none in the held process."""
    script = """
serving.hold()
for number in range(2):
    serving.when_serving(lambda number=number: print(f'{number} in {os.getpid() != parent}', flush=True))
parent = os.getpid()
for _ in range(2):
    child = os.fork()
    if not child:
        serving.release()
        serving.release()
        serving.when_serving(lambda: print('later', flush=True))
        os._exit(0)
    os.waitpid(child, 0)
"""
    assert _said(script) == "0 in True\n1 in True\nlater\n" * 2


def test_a_child_of_a_held_process_that_loads_the_application_itself_serves() -> None:
    """As a worker of gunicorn does without --preload; its hook finds nothing left to start."""
    script = """
serving.hold()
child = os.fork()
if not child:
    serving.when_serving(lambda: print('begun', flush=True))
    serving.release()
    os._exit(0)
os.waitpid(child, 0)
"""
    assert _said(script) == "begun\n"


@pytest.mark.parametrize(
    ("module", "starts"), [("gunicorn.arbiter", False), ("gunicorn.workers.sync", True), ("uvicorn.server", True)]
)
def test_gunicorns_master_is_recognized_without_its_hook(module: str, starts: bool) -> None:
    """By the calling modules; what starts there is logged once, with the line to add."""
    script = f"""
source = "for _ in range(2): serving.when_serving(lambda: print('begun')); print(serving.loaded_by_server())"
exec(source, {{'__name__': {module!r}, 'serving': serving}})
"""
    said = _said(script)
    assert said.count("begun") == (2 if starts else 0)
    assert said.count("True") == 2
    assert said.count("from wsnova_statsd.contrib.gunicorn import post_worker_init, worker_exit") == (not starts)


def test_a_test_runner_is_no_server() -> None:
    """No server module is among the callers."""
    assert not serving.loaded_by_server()
    assert __name__ in serving.callers()


def test_a_monitor_that_cannot_be_started_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """In a sentence; nothing is raised."""
    caplog.set_level(logging.ERROR)
    serving.start(profil="financial")
    [reported] = [record.getMessage() for record in caplog.records if record.name == serving.__name__]
    assert reported.startswith("the Monitor that the settings ask for is not started: ")
    assert "did you mean 'profile'" in reported


def test_sigterm_ends_in_order_if_nothing_else_handles_it() -> None:
    """An existing handler stays; in another thread nothing happens."""
    script = """
import threading
def look(): return signal.getsignal(signal.SIGTERM)
thread = threading.Thread(target=serving.end_in_order)
thread.start()
thread.join()
print(look() is signal.SIG_DFL)
serving.end_in_order()
print(callable(look()))
signal.signal(signal.SIGTERM, print)
serving.end_in_order()
print(look() is print)
"""
    assert _said(script) == "True\nTrue\nTrue\n"
