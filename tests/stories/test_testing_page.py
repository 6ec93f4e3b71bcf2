"""The page about testing: its tests pass in a test run of their own, and its tables are those of the kit."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.stories.page_blocks import Page, code
from tests.stories.test_examples import SITE, environment
from wsnova_statsd import testing
from wsnova_statsd.testing import tcp

PAGE = Page("testing")


@pytest.mark.usefixtures("installed")
def test_the_tests_of_the_page_pass(tmp_path: Path) -> None:
    """As they stand there, where the wheel is installed; a warning is an error."""
    for number, block in enumerate(PAGE.python):
        (tmp_path / f"test_{number}.py").write_text(block, encoding="utf-8")
    kept = {name: value for name, value in environment().items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--rootdir={tmp_path}", str(tmp_path)],
        cwd=tmp_path,
        env={**kept, "PYTHONPATH": os.environ[SITE]},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    tests = sum(block.count("\ndef test_") for block in PAGE.python)
    assert tests == 7
    assert f"{tests} passed" in done.stdout, done.stdout + done.stderr


def test_each_block_has_a_test() -> None:
    assert all("\ndef test_" in block for block in PAGE.python)


def test_the_tables_name_what_the_kit_has() -> None:
    """Its scripts, and the questions to captured metrics."""
    scripts = [re.match(r"\w+", word) for word in code([row[0] for row in PAGE.table("script")])]
    assert {found[0] for found in scripts if found} <= {*testing.__all__}
    questions = re.findall(r"(?:metrics)?\.(\w+)", " ".join(code([row[0] for row in PAGE.table("question")])))
    assert {*questions} - {*dir(testing.CapturedMetrics)} == set()
    others = PAGE.text.split("Other scripts are ")[1].split("; ")[0]
    assert {*code([others])} <= {*tcp.__all__}


def test_the_table_of_fixtures_has_each_fixture() -> None:
    source = Path(testing.__file__).parent / "plugin" / "wsnova_statsd_pytest.py"
    names = re.findall(r"^@pytest.fixture\ndef (\w+)", source.read_text(encoding="utf-8"), re.MULTILINE)
    assert code([row[0] for row in PAGE.table("fixture")]) == names
