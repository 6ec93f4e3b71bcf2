"""The end of a process: clients, watchers, reporters, after the application's own callbacks; a fault stops no other."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

EXIT = """
import atexit, sys, time
atexit.register(lambda: print("the application's, registered before the import"))
from wsnova_statsd import process
atexit.register(lambda: print("the application's, registered after the import"))
class Part:
    def __init__(self, name, party):
        self.name = name
        process.at_exit(self, party)
    def at_exit(self, deadline):
        left = deadline - time.monotonic()
        print(self.name, 0 < left <= process.EXIT_SECONDS == 1.0)
        if "raises" in self.name:
            raise ValueError(self.name)
REPORTER, WATCHER, CLIENT = process.REPORTER, process.WATCHER, process.CLIENT
parts = [Part("reporter", REPORTER), Part("client raises", CLIENT), Part("reporter raises", REPORTER)]
parts += [Part("watcher", WATCHER), Part("client", CLIENT)]
process.at_exit(parts[0], REPORTER)
dropped = Part("dropped", CLIENT)
del dropped
print("last line")
"""


@pytest.fixture(scope="module")
def ended() -> subprocess.CompletedProcess[str]:
    """A program that ended with two clients, a watcher and two reporters; a client and a reporter failing."""
    return subprocess.run([sys.executable, "-c", EXIT], cwd=ROOT, capture_output=True, text=True, timeout=50)


def test_clients_are_closed_first_and_reporters_last_each_once(
    ended: subprocess.CompletedProcess[str],
) -> None:
    """Clients first, so that what they emit while closing is still flushed; one that was dropped is not called."""
    reported = [line.removesuffix(" True") for line in ended.stdout.splitlines() if line.endswith(" True")]
    assert sorted(reported[:2]) == ["client", "client raises"]
    assert reported[2] == "watcher"
    assert sorted(reported[3:]) == ["reporter", "reporter raises"]


def test_the_hook_runs_after_those_of_the_application(ended: subprocess.CompletedProcess[str]) -> None:
    """What an application counts in its own atexit callback, registered after the import, is still delivered."""
    lines = ended.stdout.splitlines()
    assert lines[:2] == ["last line", "the application's, registered after the import"]
    assert lines[-1] == "the application's, registered before the import"
    assert len(lines) == 8


def test_a_component_that_fails_at_exit_stops_no_other(ended: subprocess.CompletedProcess[str]) -> None:
    """Every component was called, both faults were logged with a traceback, and the program ended well."""
    assert ended.returncode == 0
    assert ended.stderr.count("Traceback (most recent call last)") == 2
    assert "ValueError: client raises" in ended.stderr
    assert "ValueError: reporter raises" in ended.stderr
