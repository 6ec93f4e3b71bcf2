"""The page about lint and cost: its commands print what it shows, its program runs, and its tables are complete."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from tests.stories.test_examples import ROOT, environment
from wsnova_statsd.dashboards.findings import Rule

pytestmark = pytest.mark.usefixtures("installed")

PAGE = (ROOT / "examples" / "cost.md").read_text(encoding="utf-8")
SHOWN = re.findall(r"^```sh\n(.*)\n```\n\n```text\n((?:.*\n)*?)```$", PAGE, re.MULTILINE)
TEST = re.findall(r"^```python\n((?:.*\n)*?)```$", PAGE, re.MULTILINE)
LINT = SHOWN[1][1]  # of the program's list
PRINTED = f"""\
{LINT}all metrics: 4607 series, billed as 8207, with percentiles as 12707
the lean list: 3947 series, billed as 7547, with percentiles as 12047
{{'myapp.orders': 2}}
"""


def _run(*arguments: str, folder: Path = ROOT / "examples") -> subprocess.CompletedProcess[str]:
    """Python where the wheel is installed, in the folder of the page."""
    return subprocess.run(
        [sys.executable, "-B", *arguments],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


def _pattern(line: str) -> str:
    """A line as it is shown, but for how much was judged: that grows with the board."""
    return r"(?:.*\n)*" if line == "...\n" else re.sub(r"\d+(?=\\ (metrics|queries))", r"\\d+", re.escape(line))


@pytest.mark.parametrize(("command", "output"), SHOWN, ids=[command for command, _ in SHOWN])
def test_a_command_prints_what_the_page_shows(command: str, output: str) -> None:
    """Line by line, with any number of lines where it has three dots; status 1 if it found a fault."""
    program, *arguments = shlex.split(command)
    assert program == "wsnova-statsd"
    done = _run("-m", "wsnova_statsd", *arguments)
    assert re.fullmatch("".join(map(_pattern, output.splitlines(keepends=True))), done.stdout), done.stdout
    assert (done.returncode, done.stderr) == (int("fault  " in output), "")


def test_the_page_shows_each_command_once() -> None:
    """Lint of what is shipped, of a list of one's own, and a bill."""
    assert [command.split()[1] for command, _ in SHOWN] == ["lint", "lint", "cost"]
    assert len(re.findall(r"^```\w", PAGE, re.MULTILINE)) == 2 * len(SHOWN) + len(TEST)


def test_the_program_prints_the_same_and_counts_the_series_of_a_run() -> None:
    """The example as it stands, of at most 40 lines."""
    done = _run("cost.py")
    assert (done.returncode, done.stdout, done.stderr) == (0, PRINTED, "")
    assert len((ROOT / "examples" / "cost.py").read_text(encoding="utf-8").splitlines()) <= 40


def test_the_test_of_the_page_fails_with_the_report(tmp_path: Path) -> None:
    """As its list has two faults."""
    (block,) = TEST
    (tmp_path / "test_mine.py").write_text(block)
    where = os.pathsep.join([str(ROOT / "examples"), environment()["PYTHONPATH"]])
    done = subprocess.run(
        [sys.executable, "-B", "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--rootdir={tmp_path}", str(tmp_path)],
        cwd=tmp_path,
        env={**environment(), "PYTHONPATH": where},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert "1 failed" in done.stdout, done.stdout + done.stderr
    for line in LINT.splitlines()[:2]:
        assert line in done.stdout


def test_the_table_has_every_rule() -> None:
    """By its name, each once."""
    rows = re.findall(r"^\| ([a-z].*?) \| .* \|$", PAGE, re.MULTILINE)
    rules = [rule for row in rows if row != "rule" for rule in row.split(", ")]
    assert sorted(rules) == sorted(get_args(Rule))
