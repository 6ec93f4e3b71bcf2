"""The pages on `wsnova-statsd run`: their command lines are accepted, their blocks run, their programs print what they
promise."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import wsnova_statsd as ws
from tests.stories.test_examples import ROOT, environment
from wsnova_statsd.cli.main import build_parser

EXAMPLES = ROOT / "examples"
PAGES = ["run_a_program_unchanged.md", "run_as_a_worker.md"]
OUTPUT = {
    "run_a_program_unchanged.py": (
        r"(high: \{'type': 'trade', 'price': 200\}\n){3}303 trades\nsame output: True\nexit status: 3 3\n"
        r"message\.received 303\nconnection\.completed 3\nconnection\.reconnect\.success 2\n"
        r"connection\.disconnected 3\n"
    ),
    "run_as_a_worker.py": r"stored 1\nstored 2\nexit status 0\nDatadog counted 2\nhealth file: True\n",
}
ERRORS = {
    "run_a_program_unchanged.py": "",
    "run_as_a_worker.py": (
        r".* INFO wsnova_statsd\.contrib\.worker: running md-1; SIGTERM or Ctrl-C ends it\n"
        r"(.* INFO wsnova_statsd\.contrib\.worker: client md-1 is connected\n)?"  # unless it ends within half a second
        r".* INFO wsnova_statsd\.contrib\.worker: SIGTERM: closing\n"
    ),
}


def _page(name: str) -> str:
    return (EXAMPLES / name).read_text(encoding="utf-8")


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("name", OUTPUT)
def test_a_program_runs_and_prints_what_it_promises(name: str, tmp_path: Path) -> None:
    """In a separate process and folder; it is short, and its page names it."""
    command = [sys.executable, str(EXAMPLES / name)]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=50, check=False
    )
    assert re.fullmatch(OUTPUT[name], done.stdout), done.stdout + done.stderr
    assert re.fullmatch(ERRORS[name], done.stderr), done.stderr
    assert done.returncode == 0
    assert len(_page(name).splitlines()) <= 40
    assert f"`{name}`" in _page(name.replace(".py", ".md"))


def test_the_ticker_knows_nothing_of_this_library() -> None:
    """Except for the comment that says so."""
    source = _page("ticker.py")
    assert len(source.splitlines()) <= 30
    assert "wsnova_statsd" not in source.partition('"""\n')[2]


@pytest.mark.parametrize("name", PAGES)
def test_every_command_line_of_a_page_is_accepted(name: str) -> None:
    """By the command's own parser."""
    lines = re.findall(r"^wsnova-statsd .*$", "".join(re.findall(r"```sh\n(.*?)```", _page(name), re.DOTALL)), re.M)
    assert lines
    for line in lines:
        args, unknown = build_parser().parse_known_args(shlex.split(line)[1:])
        assert (args.command, unknown) == ("run", [])


def test_the_workers_block_makes_a_client() -> None:
    """One that is not started."""
    [block] = re.findall(r"```python\n(.*?)```", _page("run_as_a_worker.md"), re.DOTALL)
    made: dict[str, object] = {}
    exec(compile(block, "the page", "exec"), made)
    assert isinstance(made["client"], ws.Client)
    assert made["client"].state is ws.State.IDLE
