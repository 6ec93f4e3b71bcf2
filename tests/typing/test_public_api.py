"""The public surface is frozen: it is what `public_api.txt` says, and a change of it is made knowingly."""

import difflib
import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.typing import public_api

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "examples").glob("*.md")), *sorted((ROOT / "examples").glob("*.py"))]
_DO = f"""
The public surface differs from tests/typing/public_api.txt.
If you meant to change it: run `{public_api.COMMAND}`, commit the listing with a line in CHANGELOG.md, and keep
what it replaces as "Deprecation" in CONTRIBUTING.md says.
If you did not: restore the name, argument, default or value of the lines that begin with `-`.
"""


def test_the_public_surface_is_the_committed_one() -> None:
    """Names, signatures, defaults, attributes, values, commands with options, and the default metrics."""
    committed = public_api.LISTING.read_text(encoding="utf-8").splitlines()
    now = public_api.listing().splitlines()
    diff = list(difflib.unified_diff(committed, now, "committed", "now", lineterm="", n=1))
    if diff:
        pytest.fail(_DO + "\n".join(diff), pytrace=False)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ("ws.Client.close = lambda self, timeout=5.0: None", "-    close(timeout: float = 5.0) -> None"),
        ("del ws.errors.BufferFull; ws.errors.__all__.remove('BufferFull')", "-class wsnova_statsd.errors.BufferFull"),
        ("ws.Client.pause = lambda self: None", "+    pause()"),
        ("ws.Client.receive.__defaults__ = (1.0,)", "+    receive(timeout: float | None = 1.0) -> Message"),
        ("ws.alerts.SlowProcessing.cool_down = 1.0", "+    cool_down: float = 1.0"),
        ("ws.events.MESSAGE_SENT = 'sent'", "-wsnova_statsd.events.MESSAGE_SENT = 'websockex_nova.message.sent'"),
    ],
)
def test_a_change_of_the_surface_is_shown_with_what_to_do(change: str, line: str) -> None:
    """A name that is gone or new, a default, a value; in an interpreter of its own."""
    script = (
        "import wsnova_statsd as ws\n"
        f"{change}\n"
        "from tests.typing import test_public_api as t\n"
        "try: t.test_the_public_surface_is_the_committed_one()\n"
        "except BaseException as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=50)
    assert done.stderr == ""
    assert any(shown.startswith(line) for shown in done.stdout.splitlines()), done.stdout
    assert f"run `{public_api.COMMAND}`" in done.stdout


def test_every_module_that_lists_its_names_is_compared() -> None:
    """But for what the instrumentations share; the alerts are reached as `ws.alerts`."""
    listing = re.compile(r"^__all__ = ", re.MULTILINE)
    package = ROOT / "wsnova_statsd"
    found = {
        ".".join(("wsnova_statsd", *path.relative_to(package).with_suffix("").parts)).removesuffix(".__init__")
        for path in package.rglob("*.py")
        if listing.search(path.read_text(encoding="utf-8"))
    }
    assert found - {"wsnova_statsd.contrib.foreign"} == set(public_api.MODULES)


def test_what_pages_and_examples_import_is_public() -> None:
    """A reader who writes down what a page says relies on it."""
    public = public_api.names()
    imported = {
        (module, name)
        for page in PAGES
        for module, listed in re.findall(r"from (wsnova_statsd[\w.]*) import ([\w, ]+)", page.read_text("utf-8"))
        for name in re.findall(r"(\w+)(?: as \w+)?(?:,|\s|$)", listed)
        if name not in ("as", "wsnova")
    }
    assert len(imported) > 15
    for module, name in imported:
        assert name in public.get(module, ()) or f"{module}.{name}" in public, f"{module}.{name}"


def test_no_page_names_a_member_that_is_internal() -> None:
    """And each of them is there, so that the list does not outlive them."""
    text = "\n".join(page.read_text("utf-8") for page in PAGES)
    classes = {
        name: found
        for module, listed in public_api.names().items()
        for name in listed
        if inspect.isclass(found := getattr(importlib.import_module(module), name))
    }
    for name, members in public_api.INTERNAL.items():
        source = "".join(inspect.getsource(one) for one in classes[name].__mro__ if one.__module__.startswith("wsnova"))
        for member in members.split():
            assert re.search(rf"\b(def {member}\(|self\.{member}\b|{member}: )", source), f"{name}.{member}"
            assert f"{name}.{member}" not in text
