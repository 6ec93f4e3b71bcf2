"""What two strict checkers report for programs that use the package: nothing for correct ones, each fault in its
line."""

import inspect
import json
import os
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

import wsnova_statsd as ws
from tests.stories.page_blocks import Page
from wsnova_statsd.monitor import MonitorOptions

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
_SAID = re.compile(r"(?P<file>\w+)\.py:(?P<line>\d+): error: .*\[(?P<code>[a-z-]+)\]$", re.MULTILINE)
_REFUSED = re.compile(r"# refused: (.*)")
_PROGRAMS = ("accepted.py", "refused.py")

Told = dict[int, set[str]]
pytestmark = pytest.mark.timeout(180)  # checkers read all of the package, beside other tests


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Told]:
    """The codes of mypy's errors by file and line."""
    cache = tmp_path_factory.mktemp("mypy")
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file", os.devnull, "--cache-dir", str(cache)]
    (cache / "page.py").write_text(_of_the_page(), encoding="utf-8")
    programs = [*(str(HERE / name) for name in _PROGRAMS), "page.py"]
    command += ["--follow-imports=silent", "--python-version=3.11", *programs]
    environ = {**os.environ, "MYPYPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=cache, env=environ, timeout=170)
    assert done.returncode == 1, done.stdout + done.stderr
    found: dict[str, Told] = {name: defaultdict(set) for name in ("accepted", "refused", "page")}
    for one in _SAID.finditer(done.stdout):
        found[one["file"]][int(one["line"])].add(one["code"])
    return found


def _of_the_page() -> str:
    """The typed program of the page on protocols, and what its reader is promised of its types."""
    [block] = [block for block in Page("protocols").python if "class Ticks" in block]
    return f"from typing import assert_type\n\n{block}\nassert_type(client, ws.Client[Tick])\nassert_type(tick, Tick)\n"


def _pyright(folder: Path, *arguments: str) -> dict[str, Any]:
    """The answer of pyright, from basedpyright: its Node.js is part of the wheel, and nothing is fetched."""
    first = {"PATH": str(Path(sys.executable).parent), "PYTHONPATH": str(ROOT)}  # by which it finds this interpreter's
    environ = {**os.environ, **{key: os.pathsep.join([one, os.environ.get(key, "")]) for key, one in first.items()}}
    command = [sys.executable, "-m", "basedpyright", "--outputjson", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environ, timeout=170)
    answer = json.loads(done.stdout or "{}")
    assert isinstance(answer, dict)
    assert answer, done.stderr
    return answer


def _marked() -> dict[int, set[str]]:
    """What mypy has to report for the lines of the programs that have to be refused."""
    lines = enumerate((HERE / "refused.py").read_text(encoding="utf-8").splitlines(), 1)
    return {number: set(found[1].split(", ")) for number, line in lines if (found := _REFUSED.search(line))}


def test_a_program_that_uses_the_package_well_passes(reported: dict[str, Told]) -> None:
    """Under --strict, without a None check for what was requested, and with the types that it wrote."""
    assert dict(reported["accepted"]) == {}


def test_the_typed_program_of_the_page_passes_unchanged(reported: dict[str, Told]) -> None:
    """And its client and message have the types that its comments say."""
    assert dict(reported["page"]) == {}


def test_every_fault_is_found_in_its_line(reported: dict[str, Told]) -> None:
    """A typo, a word outside a closed set, an argument by position, a handler of other arguments; nothing else."""
    assert len(_marked()) > 55
    assert dict(reported["refused"]) == _marked()


def test_pyright_reports_the_same(tmp_path: Path) -> None:
    """Most editors show its messages. Its lines are those of mypy, with other texts."""
    programs = [str(HERE / name) for name in _PROGRAMS]
    settings = {"typeCheckingMode": "strict", "include": programs, "pythonVersion": "3.11"}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings), encoding="utf-8")
    reported = _pyright(tmp_path)["generalDiagnostics"]
    places = {(Path(one["file"]).name, one["range"]["start"]["line"] + 1) for one in reported}
    assert places == {("refused.py", number) for number in _marked()}


def test_the_types_of_the_package_are_complete(tmp_path: Path) -> None:
    """Every name that a user's checker may meet has its type, so that no checker has to infer it in its own way."""
    reported = _pyright(tmp_path, "--verifytypes", "wsnova_statsd", "--ignoreexternal")["typeCompleteness"]
    assert [one["name"] for one in reported["symbols"] if one["isExported"] and not one["isTypeKnown"]] == []
    assert reported["completenessScore"] == 1
    assert reported["exportedSymbolCounts"]["withKnownType"] > 2000
    assert Path(reported["pyTypedPath"]) == ROOT / "wsnova_statsd" / "py.typed"


def test_the_options_of_a_monitor_that_a_checker_knows_are_all_its_options() -> None:
    """Beside `profile`, and `kpis`, by which `monitor.kpis` has its type."""
    taken = [name for name in inspect.signature(ws.Monitor).parameters if name not in ("profile", "kpis")]
    assert list(MonitorOptions.__annotations__) == taken
