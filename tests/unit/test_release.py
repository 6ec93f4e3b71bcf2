"""The release script refuses what does not fit together, each time with the reason, and publishes nothing.

It runs in small separate repositories. Its steps from the build on need the extra `release` and are run by a person.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / ".ci/release.py"
CHANGELOG = "# Changelog\n\n## [1.2.3] - 2026-11-30\n\n### Added\n\n- All.\n\n## [1.2.2] - 2026-11-01\n"
_AGREED = "install the extra: pip install -e '.[release]'"  # the next step, without site-packages

Repository = Callable[..., Path]


def _git(folder: Path, *arguments: str) -> None:
    who = (
        "-c",
        "user.name=a",
        "-c",
        "user.email=a@example.com",
        "-c",
        "commit.gpgsign=false",
        "-c",
        "tag.gpgsign=false",
    )
    subprocess.run(["git", "-C", str(folder), *who, *arguments], check=True, capture_output=True, timeout=20)


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """Makes a repository with one commit of a package of version 1.2.3, the script, and this changelog."""
    if shutil.which("git") is None:
        pytest.skip("no git")

    def make(changelog: str = CHANGELOG) -> Path:
        (tmp_path / ".ci").mkdir()
        (tmp_path / "wsnova_statsd").mkdir()
        shutil.copy(SCRIPT, tmp_path / ".ci/release.py")
        (tmp_path / "wsnova_statsd/__init__.py").write_text('__version__ = "1.2.3"\n', encoding="utf-8")
        (tmp_path / "CHANGELOG.md").write_text(changelog, encoding="utf-8")
        _git(tmp_path, "init", "-q")
        _git(tmp_path, "add", "-A")
        _git(tmp_path, "commit", "-q", "-m", "first")
        return tmp_path

    return make


def _release(folder: Path) -> str:
    """Why the script ends."""
    command = [sys.executable, "-I", "-S", str(folder / ".ci/release.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 1, done.stdout
    assert not (folder / "dist").exists()
    return done.stderr


def test_a_clean_commit_whose_changelog_has_its_version_goes_on_to_the_build(repository: Repository) -> None:
    """The extra `release` makes it; without the extra the script names it."""
    assert _AGREED in _release(repository())


def test_a_commit_that_has_the_tag_of_its_version_goes_on_too(repository: Repository) -> None:
    """Tags of another kind are ignored."""
    folder = repository()
    _git(folder, "tag", "-a", "v1.2.3", "-m", "1.2.3")
    _git(folder, "tag", "nightly")
    assert _AGREED in _release(folder)


@pytest.mark.parametrize("name", ["CHANGELOG.md", "left_over.py"])
def test_uncommitted_files_are_refused_and_named(repository: Repository, name: str) -> None:
    """A changed file and a new one."""
    folder = repository()
    (folder / name).write_text("new\n", encoding="utf-8")
    reported = _release(folder)
    assert "the checkout has changes that no commit has" in reported
    assert name in reported


def test_a_changelog_of_another_version_is_refused(repository: Repository) -> None:
    reported = _release(repository(CHANGELOG.replace("1.2.3", "1.3.0")))
    assert "__version__ is 1.2.3, the topmost version of CHANGELOG.md is 1.3.0" in reported


@pytest.mark.parametrize("date", ["unreleased", "30.11.2026"])
def test_a_version_without_its_date_is_refused(repository: Repository, date: str) -> None:
    """A version without a date is not a release."""
    assert "CHANGELOG.md has no line like" in _release(repository(CHANGELOG.replace("2026-11-30", date)))


def test_a_commit_with_the_tag_of_another_version_is_refused(repository: Repository) -> None:
    folder = repository()
    _git(folder, "tag", "v1.2.4")
    assert "the commit has the tag v1.2.4, the version is 1.2.3" in _release(folder)


def test_a_version_that_another_commit_has_is_refused(repository: Repository) -> None:
    """What is published cannot be published again."""
    folder = repository()
    _git(folder, "tag", "v1.2.3")
    _git(folder, "commit", "-q", "--allow-empty", "-m", "second")
    assert "v1.2.3 is the tag of another commit" in _release(folder)


def test_the_script_runs_no_command_that_publishes_or_tags() -> None:
    """The words appear only in printed text."""
    lines = SCRIPT.read_text(encoding="utf-8").splitlines()
    [start] = [number for number, line in enumerate(lines) if line.startswith("def print_commands")]
    [end] = [number for number, line in enumerate(lines) if line.startswith("def without_index")]
    words = re.compile(r"\bupload\b|\bpush\b|\"tag\", \"-a\"|git tag -a")
    assert [number for number, line in enumerate(lines) if words.search(line) and not start < number < end] == []
    assert "subprocess" not in "".join(lines[start:end])
    assert "run(" not in "".join(lines[start:end])
