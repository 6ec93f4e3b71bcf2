"""What stories run against is what users install: the wheel, built from the source distribution. And the Agent."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stories.test_examples import ROOT, SITE
from wsnova_statsd.testing.receiver import DogStatsDReceiver

_NOT_SOURCES = (".*", "*.egg-info", "build", "dist", "htmlcov", "tests", "__pycache__")
_BUILD = "import sys; from setuptools import build_meta; getattr(build_meta, sys.argv[1])(sys.argv[2])"


def _python(folder: Path, *arguments: str) -> None:
    """Without PYTHONPATH, which would make the sources win over what is installed."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=kept, capture_output=True, text=True, timeout=55, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def agent(monkeypatch: pytest.MonkeyPatch) -> Iterator[DogStatsDReceiver]:
    """The Agent of this machine, found by the variable that operators set."""
    with DogStatsDReceiver() as receiver:
        monkeypatch.setenv("DD_DOGSTATSD_URL", f"udp://{receiver.host}:{receiver.port}")
        yield receiver


@pytest.fixture(scope="session")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source distribution, unpacked."""
    folder = tmp_path_factory.mktemp("sdist")
    shutil.copytree(ROOT, folder / "checkout", ignore=shutil.ignore_patterns(*_NOT_SOURCES))
    _python(folder / "checkout", "-c", _BUILD, "build_sdist", str(folder))
    [packed] = folder.glob("*.tar.gz")
    _python(folder, "-m", "tarfile", "-e", packed.name)
    return folder / packed.name.removesuffix(".tar.gz")


@pytest.fixture(scope="session")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the source distribution."""
    folder = tmp_path_factory.mktemp("wheel")
    _python(sdist, "-c", _BUILD, "build_wheel", str(folder))
    [built] = folder.glob("*.whl")
    return built


@pytest.fixture(scope="session")
def installed(wheel: Path) -> Path:
    """The folder where pip put the wheel; with `environment()` it comes before the checkout."""
    site = wheel.parent / "site"
    options = ("--no-index", "--no-deps", "--no-compile", "--disable-pip-version-check", "--quiet")
    _python(wheel.parent, "-m", "pip", "install", *options, "--target", str(site), str(wheel))
    os.environ[SITE] = str(site)
    return site
