"""CONTRIBUTING.md is true: its rooms are those of setup.cfg, its map leads to functions that exist, its paths too."""

import ast
import configparser
import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "wsnova_statsd"
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def _rows(heading: str) -> list[list[str]]:
    """The rows of the first table below a heading."""
    section = TEXT.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def _named(body: list[ast.stmt]) -> dict[str, list[ast.stmt]]:
    """What a module or class writes down: functions, classes, assigned names; a class with its body."""
    found: dict[str, list[ast.stmt]] = {}
    for node in body:
        match node:
            case ast.ClassDef(name=name, body=inner):
                found[name] = inner
            case ast.FunctionDef(name=name) | ast.AnnAssign(target=ast.Name(id=name)):
                found[name] = []
            case ast.Assign(targets=[ast.Name(id=name)]):
                found[name] = []
    return found


def _holds(path: Path, dotted: str) -> bool:
    """Whether this file defines this function, class, method, attribute or constant, maybe in a base of the class."""
    body = ast.parse(path.read_text(encoding="utf-8")).body
    first, *rest = dotted.split(".")
    known = _named(body)
    if first not in known:
        return False
    bases = [
        base.id
        for node in body
        if isinstance(node, ast.ClassDef) and node.name == first
        for base in node.bases
        if isinstance(base, ast.Name) and base.id in known
    ]
    return not rest or any(rest[0] in _named(known[one]) for one in [first, *bases])


def test_the_rooms_are_those_of_the_contract_in_its_order() -> None:
    """From the ground up; import-linter has the highest first, and rooms beside each other in one line."""
    setup = configparser.ConfigParser(interpolation=None)
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    layers = setup["importlinter:contract:rooms"]["layers"].split("\n")
    rooms = [room.strip(" ()") for layer in reversed(layers) if layer for room in layer.split("|")]
    assert [row[0].strip("`") for row in _rows("Rooms")] == rooms


@pytest.mark.parametrize("row", _rows("Rooms"), ids=lambda row: row[0].strip("`"))
def test_the_file_to_read_first_is_in_its_room(row: list[str]) -> None:
    room, _, file = (cell.strip("`") for cell in row)
    assert (PACKAGE / file).is_file()
    assert file.split("/")[0] in (room, f"{room}.py")


@pytest.mark.parametrize("row", _rows("To change X, open Y"), ids=lambda row: row[0])
def test_what_the_map_leads_to_is_there(row: list[str]) -> None:
    """The file, and in it each function, class, attribute or constant that the row names."""
    _, file, looked_at = row
    names = re.findall(r"`([\w.]+)`", looked_at)
    assert names
    for name in names:
        assert _holds(PACKAGE / file.strip("`"), name), f"{file} has no {name}"


def test_the_map_has_at_least_twenty_rules_and_none_twice() -> None:
    rules = [row[0] for row in _rows("To change X, open Y")]
    assert len(rules) >= 20
    assert len(set(rules)) == len(rules)


def test_what_is_looked_for_can_be_missing() -> None:
    """The check of the map finds a name that moved."""
    assert _holds(PACKAGE / "wire.py", "clean_tag")
    assert not _holds(PACKAGE / "wire.py", "clean_tags_of")
    assert _holds(PACKAGE / "profiles.py", "Profile.slow_after")
    assert not _holds(PACKAGE / "profiles.py", "Profile.slow_before")
    assert not _holds(PACKAGE / "profiles.py", "slow_after")


def test_the_files_that_the_page_names_exist() -> None:
    """Those of the package by their path below it, all others by their path in the checkout."""
    named = set(re.findall(r"`([\w./-]+\.(?:py|md|cfg|txt))`", TEXT)) | {".ci/run"}
    assert len(named) > 30
    missing = {one for one in named if not (ROOT / one).exists() and not (PACKAGE / one).exists()}
    assert missing == set()


def test_the_modules_that_its_commands_run_exist() -> None:
    """Each `python -m`, and each script by its path."""
    for module in set(re.findall(r"python -m ([\w.]+)", TEXT)):
        assert importlib.util.find_spec(module) is not None, module
    for script in set(re.findall(r"python (\.ci/\S+\.py)", TEXT)):
        assert (ROOT / script).is_file(), script


def test_each_heading_stands_in_the_contents() -> None:
    """A link for each, in order."""
    headings = re.findall(r"^## (.*)$", TEXT, re.MULTILINE)
    anchors = [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]
    assert re.findall(r"\]\(#([\w-]+)\)", TEXT) == anchors


def test_a_decision_has_about_ten_lines() -> None:
    """What, why, what it costs, what would change it."""
    decisions = TEXT.split("\n## Decisions\n")[1].split("\n## ")[0].split("\n### ")[1:]
    assert len(decisions) >= 5
    for decision in decisions:
        title, *lines = decision.strip().splitlines()
        assert 8 <= len([line for line in lines if line]) <= 14, title
        assert "It costs" in decision.replace("\n", " "), title
        assert "It would change if" in decision.replace("\n", " "), title
