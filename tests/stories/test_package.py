"""The package as users get it: what is in the source distribution and in the wheel, and that both are whole."""

import re
import subprocess
import sys
from pathlib import Path

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
