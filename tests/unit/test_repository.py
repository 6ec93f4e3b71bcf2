"""The repository polices its own files: commands, versions, names and configuration agree with each other."""

import ast
import os
import re
import shlex
import tomllib
from fnmatch import fnmatch
from pathlib import Path

from tests.__main__ import CHECKS

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "wsnova_statsd"
_FILES = sorted(PACKAGE.rglob("*.py"))

TEST_COMMAND = "python3 -m venv .venv && .venv/bin/pip install -q -e '.[test]' && .venv/bin/python -m tests"
DEMO_COMMAND = "python3 -m venv .venv && .venv/bin/pip install -q -e '.[demo]' && .venv/bin/wsnova-statsd demo"

TOP_LEVEL = {
    ".ci",
    ".git",
    ".gitignore",
    ".pre-commit-config.yaml",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE",
    "MANIFEST.in",
    "README.md",
    "SECURITY.md",
    "examples",
    "pyproject.toml",
    "setup.cfg",
    "setup.py",
    "tests",
    "wsnova_statsd",
}


def _lines(name: str) -> list[str]:
    return (ROOT / name).read_text(encoding="utf-8").splitlines()


def _version() -> str:
    """The version as setuptools reads it: a plain string assigned in `__init__.py`, found without importing it."""
    for node in ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8")).body:
        match node:
            case (
                ast.Assign(targets=[ast.Name(id="__version__")], value=ast.Constant(value=str(version)))
                | ast.AnnAssign(target=ast.Name(id="__version__"), value=ast.Constant(value=str(version)))
            ):
                return version
    raise AssertionError("wsnova_statsd/__init__.py assigns no literal string to __version__")


def _imports(path: Path) -> set[str]:
    """Every dotted name that a file imports, with and without the last part of `from a import b`."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def _files_importing(library: str) -> set[str]:
    return {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if any(name == library or name.startswith(f"{library}.") for name in _imports(path))
    }


_BLOCKS = (ast.If, ast.For, ast.While, ast.Try, ast.TryStar, ast.With, ast.Match)
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def _depth(node: ast.AST, level: int = 0) -> int:
    """How deep blocks nest below this node, those of functions within it left out; an elif is no deeper than its if."""
    deepest = level
    for name, value in ast.iter_fields(node):
        below = [child for child in (value if isinstance(value, list) else [value]) if isinstance(child, ast.AST)]
        is_elif = isinstance(node, ast.If) and name == "orelse" and len(below) == 1 and isinstance(below[0], ast.If)
        for child in below:
            if not isinstance(child, (*_FUNCTIONS, ast.ClassDef)):
                deepest = max(deepest, _depth(child, level + (isinstance(child, _BLOCKS) and not is_elif)))
    return deepest


def test_the_readme_gives_the_test_command_and_the_demo_command_each_as_one_line() -> None:
    readme = _lines("README.md")
    assert TEST_COMMAND in readme
    assert DEMO_COMMAND in readme


def test_the_contributing_page_gives_the_same_test_command() -> None:
    assert TEST_COMMAND in _lines("CONTRIBUTING.md")


def test_ci_runs_the_readmes_test_command_and_can_be_executed() -> None:
    assert TEST_COMMAND in _lines(".ci/run")
    assert os.access(ROOT / ".ci/run", os.X_OK)


def test_ci_names_every_python_that_the_package_says_it_runs_on() -> None:
    """And the newest one without the GIL, of which the import warns."""
    said = re.findall(r"Python :: (3\.\d+)$", "\n".join(_lines("setup.cfg")), re.MULTILINE)
    (named,) = [found[1] for line in _lines(".ci/run") if (found := re.match(r"for version in (.*); do", line))]
    assert named.split() == [*said, f"{said[-1]}t"]


def test_a_commit_is_checked_by_the_quick_steps_of_the_test_command() -> None:
    """The same tools by the same names; the two of ruff mend what they can."""
    steps = {name: shlex.join(("python", *arguments)) for name, arguments in CHECKS}
    text = "\n".join(_lines(".pre-commit-config.yaml"))
    hooks = dict(re.findall(r"- id: (\w+)\n.*\n +entry: (.*)", text))
    assert set(hooks) == set(steps) - {"rooms"}
    for name, entry in hooks.items():
        assert steps[name].startswith(entry.removesuffix(" --fix"))


def test_the_topmost_version_of_the_changelog_is_the_packages_version() -> None:
    versions = [found[1] for line in _lines("CHANGELOG.md") if (found := re.match(r"## \[([^\]]+)\]", line))]
    assert versions
    assert versions[0] == _version()


def test_a_version_of_the_changelog_has_the_day_it_was_published() -> None:
    """So nothing stands under "unreleased" when the version says it is done."""
    heads = [line for line in _lines("CHANGELOG.md") if line.startswith("## ")]
    assert [line for line in heads if not re.fullmatch(r"## \[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", line)] == []


def test_no_address_is_invented_and_there_is_one_place_for_them() -> None:
    """In setup.cfg, in comments until there is a repository; the changelog has no links."""
    lines = _lines("setup.cfg")
    [start] = [number for number, line in enumerate(lines) if re.match(r"(# )?project_urls =", line)]
    assert "The one place for addresses" in lines[start - 1]
    if lines[start].startswith("#"):
        for name in ("setup.cfg", "setup.py", "CHANGELOG.md"):
            assert [line for line in _lines(name) if re.search(r"://\w", line)] == []


def test_the_top_level_holds_only_what_the_design_allows() -> None:
    ignored = [line.strip("/") for line in _lines(".gitignore") if line]
    found = {path.name for path in ROOT.iterdir()}
    assert {name for name in found - TOP_LEVEL if not any(fnmatch(name, pattern) for pattern in ignored)} == set()


def test_pyproject_holds_only_the_build_system_and_ruff() -> None:
    tables = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert set(tables) == {"build-system", "tool"}
    assert set(tables["tool"]) == {"ruff"}


def test_the_two_halves_of_datadog_are_each_imported_in_one_file() -> None:
    """import-linter sees an outside library only as a whole, so the line inside `datadog` is drawn here."""
    assert _files_importing("datadog.dogstatsd") <= {"reporters/statsd.py"}
    assert _files_importing("datadog.api") <= {"dashboards/push.py"}


def test_a_file_has_at_most_500_lines() -> None:
    sizes = {path.relative_to(PACKAGE).as_posix(): len(path.read_text("utf-8").splitlines()) for path in _FILES}
    assert {name: size for name, size in sizes.items() if size > 500} == {}


def test_a_function_has_at_most_60_lines_and_nests_at_most_4_blocks() -> None:
    """From `def` to its end, docstring and comments included."""
    found = []
    for path in _FILES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, _FUNCTIONS):
                lines, depth = (node.end_lineno or 0) - node.lineno + 1, _depth(node)
                if lines > 60 or depth > 4:
                    found.append(f"{path.relative_to(PACKAGE)}: {node.name} has {lines} lines, {depth} blocks deep")
    assert _depth(ast.parse("if a:\n for b in c:\n  with d:\n   pass\nelif e:\n pass")) == 3
    assert found == []


def test_the_rfc_part_of_the_client_needs_no_socket_lock_or_clock() -> None:
    """Bytes and time come in as arguments: it is tested with numbers for time."""
    for name in ("link/session", "link/frames", "link/deflate", "dial/target", "dial/headers", "dial/answer"):
        imported = _imports(PACKAGE / f"{name}.py")
        assert imported & {"socket", "select", "selectors", "ssl", "threading", "time", "asyncio"} == set(), name
