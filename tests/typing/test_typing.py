"""What a strict checker says of programs that use the package: nothing of good ones, and of each fault where it is."""

import inspect
import os
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

import wsnova_statsd as ws
from wsnova_statsd.monitor import MonitorOptions

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
_SAID = re.compile(r"(?P<file>\w+)\.py:(?P<line>\d+): error: .*\[(?P<code>[a-z-]+)\]$", re.MULTILINE)
_REFUSED = re.compile(r"# refused: (.*)")

Told = dict[int, set[str]]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Told]:
    """The codes of mypy's errors by file and line."""
    cache = tmp_path_factory.mktemp("mypy")
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file", os.devnull, "--cache-dir", str(cache)]
    command += ["--follow-imports=silent", "--python-version=3.11", str(HERE / "accepted.py"), str(HERE / "refused.py")]
    environ = {**os.environ, "MYPYPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=cache, env=environ, timeout=55)
    assert done.returncode == 1, done.stdout + done.stderr
    found: dict[str, Told] = {"accepted": defaultdict(set), "refused": defaultdict(set)}
    for one in _SAID.finditer(done.stdout):
        found[one["file"]][int(one["line"])].add(one["code"])
    return found


def test_a_program_that_uses_the_package_well_passes(told: dict[str, Told]) -> None:
    """Under --strict, without a None check for what was asked for, and with the types that it wrote."""
    assert dict(told["accepted"]) == {}


def test_every_fault_is_found_in_its_line(told: dict[str, Told]) -> None:
    """A typo, a word outside a closed set, an argument by position, a handler of other arguments; nothing else."""
    lines = (HERE / "refused.py").read_text(encoding="utf-8").splitlines()
    marked = {number: found[1] for number, line in enumerate(lines, 1) if (found := _REFUSED.search(line))}
    assert len(marked) > 30
    assert dict(told["refused"]) == {number: set(codes.split(", ")) for number, codes in marked.items()}


def test_the_options_of_a_monitor_that_a_checker_knows_are_all_that_it_takes() -> None:
    """Beside `profile`, and `kpis`, by which `monitor.kpis` has its type."""
    taken = [name for name in inspect.signature(ws.Monitor).parameters if name not in ("profile", "kpis")]
    assert list(MonitorOptions.__annotations__) == taken
