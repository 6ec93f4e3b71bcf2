"""The package as users get it: what is in the source distribution and in the wheel, and that both are whole."""

import re
import shlex
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from tests.stories.test_examples import ROOT, environment


def _files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def _sources(folder: str) -> set[str]:
    return {path.relative_to(ROOT).as_posix() for path in (ROOT / folder).rglob("*.py")}


def test_the_source_distribution_has_the_examples_and_the_pages(sdist: Path) -> None:
    """All of the package and examples/, what changed, how to contribute and to report a vulnerability; no tests."""
    files = _files(sdist)
    assert files >= _sources("wsnova_statsd") | _sources("examples") | {"wsnova_statsd/py.typed"}
    assert files >= {"README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "LICENSE"}
    assert {name for name in files if name.startswith(("tests/", ".ci/"))} == set()


def test_the_wheel_has_the_package_its_plugin_and_nothing_else(installed: Path) -> None:
    """The plugin lies at the top, where pytest finds it without importing the package."""
    plugin = "wsnova_statsd/testing/plugin/wsnova_statsd_pytest.py"
    files = {name for name in _files(installed) if not re.match(r"wsnova_statsd-[^/]*\.dist-info/|bin/", name)}
    data = {"wsnova_statsd/py.typed", "wsnova_statsd/watch/templates/app_index.html"}
    wanted = _sources("wsnova_statsd") - {plugin} | data | {"wsnova_statsd_pytest.py"}
    assert files - {plugin} == wanted


def test_the_stories_import_the_wheel_and_not_the_checkout(installed: Path, tmp_path: Path) -> None:
    """Package, plugin, and the version that pip tells."""
    script = (
        "import importlib.metadata as m, wsnova_statsd as ws, wsnova_statsd_pytest\n"
        "print(ws.__file__, wsnova_statsd_pytest.__file__, m.version('wsnova-statsd') == ws.__version__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=50
    )
    assert done.stderr == ""
    package, plugin = installed / "wsnova_statsd" / "__init__.py", installed / "wsnova_statsd_pytest.py"
    assert done.stdout.split() == [str(package), str(plugin), "True"]


def test_pip_installs_the_command(installed: Path, tmp_path: Path) -> None:
    """`wsnova-statsd` is there and answers."""
    command = [sys.executable, str(installed / "bin" / "wsnova-statsd"), "demo", "--help"]
    done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=50)
    assert (done.returncode, done.stderr) == (0, "")
    assert "--seconds" in done.stdout


def test_the_readmes_install_line_gives_a_client_and_a_reporter(wheel: Path, tmp_path: Path) -> None:
    """Into a fresh environment, from a folder of wheels and no index; then a program of a feed, a client and an Agent.

    The dependencies are fetched into that folder; without an index there is none, and the test is skipped.
    """
    line = re.search(r"^pip install wsnova-statsd$", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert line is not None
    wheelhouse, pip = tmp_path / "wheels", [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    fetched = _quiet(*pip, "--retries", "0", "--timeout", "5", "download", "--dest", str(wheelhouse), str(wheel))
    if fetched.returncode:
        pytest.skip(f"no index to fetch the dependencies from: {fetched.stderr.strip().splitlines()[-1]}")
    venv.create(tmp_path / "venv")
    python = str(tmp_path / "venv/bin/python")
    _program, *arguments = shlex.split(line[0])
    from_folder = ("--no-index", "--find-links", str(wheelhouse))
    installed = _quiet(*pip, "--python", python, *arguments, *from_folder)
    assert installed.returncode == 0, installed.stderr
    done = _quiet(python, "-I", "-W", "error", str(ROOT / ".ci/smoke.py"))
    assert (done.returncode, done.stderr) == (0, "")
    assert "100 messages sent, received and counted" in done.stdout


def _quiet(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd="/", capture_output=True, text=True, check=False, timeout=50)


def test_the_description_on_an_index_leads_nowhere_that_is_not_there(sdist: Path, wheel: Path) -> None:
    """It is the README. Links into the repository are text that names the file; an index has no such file."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    done = _quiet(sys.executable, "-m", "zipfile", "-e", str(wheel), str(wheel.parent / "unpacked"))
    assert done.returncode == 0, done.stderr
    [metadata] = wheel.parent.glob("unpacked/*.dist-info/METADATA")
    description = metadata.read_text(encoding="utf-8").partition("\n\n")[2]
    assert (sdist / "PKG-INFO").read_text(encoding="utf-8").partition("\n\n")[2].strip() == description.strip()
    assert re.findall(r"\]\((?!https?:|#)[^)]*\.(?:md|py|svg|txt)[^)]*\)", description) == []
    for text, path in re.findall(r"(?<!!)\[([^\]]+)\]\(([\w./]+\.md)[^)]*\)", readme):
        assert f"{text} (`{path}`)" in description or path in text
    for text in re.findall(r"!\[([^\]]+)\]", readme):
        assert f"*Picture: {text}*" in description


_PICTURE = re.compile(r"^!\[([^\]]*)\]\([^)]*\)$", re.MULTILINE)
_POINTS_AT = re.compile(
    r"\b(?:picture|screenshot|image|chart)s? (?:above|below|shows?)\b|\b(?:above|below) (?:picture|chart)\b"
)
PAGES = [ROOT / "README.md", *sorted((ROOT / "examples").glob("*.md")), *sorted((ROOT / "tests").rglob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_reads_without_its_pictures(page: Path) -> None:
    """Each has a text of five words or more that says what is seen, and no sentence needs what only it shows."""
    text = page.read_text(encoding="utf-8")
    for alt in _PICTURE.findall(text):
        assert len(alt.split()) >= 5, f"say what is seen: {alt!r}"
    assert [found[0] for found in _POINTS_AT.finditer(re.sub(r"```.*?```", "", text, flags=re.DOTALL))] == []
    for before in re.findall(r"([^\n]*)\n+!\[", text):
        assert not before.endswith(":"), f"a sentence ends in a picture: {before!r}"
