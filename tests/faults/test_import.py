"""Importing the package does nothing but import: seen from a separate process."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Everything that is optional, and what datadog brings along; `websocket` and `tenacity` are required and ours.
LAZY = (
    "datadog",
    "requests",
    "orjson",
    "websockets",
    "psutil",
    "prometheus_client",
    "django",
    "flask",
    "textual",
    "pytest",
)

# Also recorded is what would be closed or ended again before the import is done.
SCRIPT = """
import _thread, json, os, sys, threading

def descriptors():
    return sorted(os.listdir("/dev/fd"))

observed = []
def listen(event, args):
    if event.startswith(("socket.", "subprocess.", "os.fork", "os.exec", "os.posix_spawn")):
        observed.append(event)
before = descriptors()
loaded = set(sys.modules)
sys.addaudithook(listen)
def hear(name, start):  # Python 3.11 audits no thread
    return lambda *args, **options: (observed.append(name), start(*args, **options))[1]
threading.Thread.start = hear("thread", threading.Thread.start)
_thread.start_new_thread = hear("thread", _thread.start_new_thread)
import wsnova_statsd
during = list(observed)
threads = [thread.name for thread in threading.enumerate()]
after = descriptors()
import socket
socket.socket().close()
threading.Thread(target=int).start()
print(json.dumps({
    "observed": during,
    "control": observed[len(during):],
    "threads": threads,
    "descriptors": [before, after],
    "modules": sorted(set(sys.modules) - loaded),
    "file": wsnova_statsd.__file__,
}))
"""


def _python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=50)


@pytest.fixture(scope="module")
def imported() -> Any:
    """What a fresh interpreter reports of one import of the package."""
    done = _python("-c", SCRIPT)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_this_package_is_the_one_that_is_imported(imported: Any) -> None:
    """The subprocess imports the sources beside these tests, so what follows is about them."""
    assert Path(imported["file"]) == ROOT / "wsnova_statsd" / "__init__.py"
    assert "wsnova_statsd.client.client" in imported["modules"]


def test_the_recording_works(imported: Any) -> None:
    """A socket and a thread made after the import were recorded, so those of the import would have been."""
    assert imported["control"] == ["socket.__new__", "thread"]


def test_importing_starts_no_thread_and_no_process(imported: Any) -> None:
    """One thread before, the same after, and none in between."""
    assert imported["threads"] == ["MainThread"]
    assert [event for event in imported["observed"] if not event.startswith("socket.")] == []


def test_importing_opens_no_socket_and_no_descriptor(imported: Any) -> None:
    """The open descriptors are those of before, and no socket was ever made or name looked up."""
    before, after = imported["descriptors"]
    assert len(before) >= 3
    assert after == before
    assert [event for event in imported["observed"] if event.startswith("socket.")] == []


@pytest.mark.parametrize("library", LAZY)
def test_importing_leaves_out_what_is_optional_or_slow(imported: Any, library: str) -> None:
    """The datadog client and every optional library are imported on use, not here."""
    assert [name for name in imported["modules"] if name.split(".")[0] == library] == []


def test_importing_is_silent_with_warnings_as_errors() -> None:
    """`python -W error -c "import wsnova_statsd"` prints nothing and succeeds."""
    done = _python("-W", "error", "-c", "import wsnova_statsd")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_importing_configures_no_logging_and_touches_no_signal() -> None:
    """Root logger, its level and the signal handlers are those of before; the application sets them."""
    script = """
import logging, signal
def state():
    return logging.root.level, list(logging.root.handlers), [signal.getsignal(one) for one in signal.valid_signals()]
before = state()
import wsnova_statsd
assert wsnova_statsd.Bus and state() == before
"""
    done = _python("-c", script)
    assert (done.returncode, done.stderr) == (0, "")
