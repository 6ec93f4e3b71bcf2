"""Django and Flask that are missing, or too old: a sentence that says what to install."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT


def _reported(module: str, folder: Path, first: str = "") -> str:
    """The last line of an interpreter that imports this module, and finds libraries in this folder first."""
    path = os.pathsep.join((str(ROOT), str(folder)))
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{first}\nimport {module}"],
        capture_output=True,
        text=True,
        timeout=50,
        env={**os.environ, "PYTHONPATH": path},
        check=False,
    )
    assert done.returncode == 1
    return done.stderr.splitlines()[-1]


@pytest.mark.parametrize("library", ["django", "flask"])
def test_a_library_that_is_missing_is_named_with_its_extra(library: str, tmp_path: Path) -> None:
    """By an ImportError, like any import that fails."""
    reported = _reported(f"wsnova_statsd.contrib.{library}", tmp_path, f"sys.modules[{library!r}] = None")
    extra = f"pip install 'wsnova-statsd[{library}]'"
    assert reported == f"wsnova_statsd.errors.MissingExtra: {library} is not installed; install it with: {extra}"


def test_an_old_django_is_refused(tmp_path: Path) -> None:
    """By its version, before anything of it is used."""
    (tmp_path / "django.py").write_text("VERSION = (4, 1, 13, 'final', 0)\n__version__ = '4.1.13'\n")
    reported = _reported("wsnova_statsd.contrib.django", tmp_path)
    assert reported.startswith("wsnova_statsd.errors.ConfigurationError: Django 4.1.13 is installed; ")
    assert "needs 4.2 or later: pip install" in reported


def test_an_old_flask_is_refused(tmp_path: Path) -> None:
    """By the version of its distribution."""
    for name in ("click.py", "flask/__init__.py", "flask/cli.py", "flask/helpers.py", "flask-2.2.5.dist-info/METADATA"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("Name: flask\nVersion: 2.2.5\n" if "METADATA" in name else "")
    reported = _reported("wsnova_statsd.contrib.flask", tmp_path)
    assert reported.startswith("wsnova_statsd.errors.ConfigurationError: Flask 2.2.5 is installed; ")
    assert "needs 2.3 or later: pip install" in reported
