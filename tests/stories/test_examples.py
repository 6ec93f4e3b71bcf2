"""Every file of examples/ runs alone and says what it shows."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SITE = "WSNOVA_TESTS_SITE"  # names the folder of the installed wheel, set by the fixture `installed`
EXAMPLES = sorted((ROOT / "examples").glob("0*.py"))  # those from 10 on have their own test

# A pattern for the whole output of each.
OUTPUT = {
    "01_three_lines.py": r"stored 100 messages, Datadog counted 100\n",
    "02_on_message.py": (
        r"answer: \{'type': 'ping', 'n': 1\}\nanswer after the cut: \{'type': 'ping', 'n': 2\}\nstate: closed\n"
    ),
    "03_own_handler.py": (
        r"\[\('client:md-1', 'type:book'\), \('client:md-1', 'type:last'\), \('client:md-1', 'type:trade'\)\]\n"
        r"\['Slow message processing: \d+ms for book'.*\]\n"
    ),
    "04_own_metrics.py": (
        r"myapp\.basket d 1\.0 \('team:md',\)\n"
        r"myapp\.logins c 1\.0 \('client:md-1', 'team:md'\)\n"
        r"myapp\.order\.duration d 10\.0 \('client:md-1', 'venue:XETR', 'team:md'\)\n"
        r"myapp\.orders c 10\.0 \('client:md-1', 'venue:XETR', 'team:md'\)\n"
        r"myapp\.orders\.open g 1\.0 \('client:md-1', 'team:md'\)\n"
        r"myapp\.orders\.value c 25\.0 \('client:md-1', 'venue:XETR', 'team:md'\)\n"
        r"myapp\.queue g 12\.0 \('client:md-1', 'team:md'\)\n"
    ),
    "05_slow_alert.py": (
        r"2 slow messages, \d events?: .*\n"
        r"(?s:.*)warning Slow message processing: 1\d\d\.\d+ms for book \('client:md-1', 'type:book'\)\n(?s:.*)"
    ),
    "06_own_protocol.py": (
        r"\[\('trade', 'BTC', 50000\.0\), \('quote', 'BTC', 50001\.0\), \('trade', 'BTC', 50002\.0\)\]\n"
        r"trade 2\.0\nquote 1\.0\ninvalid 1\.0\ndecode errors 1\.0\n"
    ),
    "07_log.py": (
        r"INFO Connection established in [\d.]+ms \[websockex_nova\.connection\.completed client_id=md-1\]\n"
        r"DEBUG Received trade message of size 17 bytes \[websockex_nova\.message\.received client_id=md-1\]\n"
        r"DEBUG Received invalid message of size 7 bytes \[.*\]\n"
        r"ERROR WebSocket error: DecodeError: .*\[websockex_nova\.error\.occurred client_id=md-1\]\n"
        r"DEBUG Received last message of size 16 bytes \[.*\]\n"
    ),
}


def environment() -> dict[str, str]:
    """That of this process, with the installed wheel before the checkout, and without an Agent that the variables
    name."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DD_", "DATADOG_"))}
    return {**kept, "PYTHONPATH": os.environ[SITE], "PYTHONWARNINGS": "error"}


def test_every_example_is_checked_and_they_are_numbered_in_reading_order() -> None:
    names = [path.name for path in EXAMPLES if path.suffix == ".py"]
    assert names == sorted(OUTPUT)
    assert [int(name[:2]) for name in names] == list(range(1, len(names) + 1))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_is_short_and_begins_with_what_it_shows(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    assert len(source.splitlines()) <= 40
    assert ast.get_docstring(ast.parse(source))


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_runs_and_prints_what_it_promises(path: Path, tmp_path: Path) -> None:
    """In a separate process and folder; a warning is an error."""
    command = [sys.executable, str(path)]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=40, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(OUTPUT[path.name], done.stdout), done.stdout
