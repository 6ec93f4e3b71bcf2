"""`python -m tests`: style, spelling, types, rooms, then the tests with coverage; stops at the first failure.

The tests run in two passes: those that share the machine in several processes, then those marked `alone` in one. What
fails in the first is run again alone, which distinguishes a fault from a machine that was too busy; both are printed.
Coverage is that of all. Arguments are passed to pytest. Every tool runs under this interpreter, so any virtual
environment will do.
"""

import os
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# import-linter has no `python -m` form.
_LINT_IMPORTS = "from importlinter.cli import lint_imports_command; lint_imports_command()"

# Most tests wait for a peer most of their time, so that more processes than cores pay off.
_PROCESSES = str(2 * (os.cpu_count() or 1))
_TOGETHER = ("-n", _PROCESSES, "--dist", "worksteal", "--cov-fail-under=0", "--cov-report=")

CHECKS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("style", ("-m", "ruff", "check", ".")),
    ("format", ("-m", "ruff", "format", "--check", ".")),
    ("spelling", ("-m", "codespell_lib")),
    ("types", ("-m", "mypy")),
    ("rooms", ("-c", _LINT_IMPORTS, "--config", "setup.cfg")),
)
PASSES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("tests", ("-m", "pytest", "--cov", "--alone=without", *_TOGETHER)),
    ("tests alone", ("-m", "pytest", "--cov", "--alone=only", "--cov-append")),
)
_FAILED, _NOTHING_SELECTED = 1, 5  # pytest's exit codes
_AGAIN = ("-m", "pytest", "--cov", "--cov-append", "--cov-fail-under=0", "--cov-report=", "--lf", "--lfnf=none", "-x")


def main(pytest_arguments: list[str]) -> int:
    """Run the steps in order and return the exit code of the first that fails, or 0."""
    for name, arguments in CHECKS:
        if code := _run(name, arguments):
            return _failed(name, code)
    codes = []
    for name, arguments in PASSES:
        code = _run(name, (*arguments, *pytest_arguments))
        if code == _FAILED and name == "tests":
            code = _run("what failed, by itself", _AGAIN)
        codes.append(code)
        if codes[-1] not in (0, _NOTHING_SELECTED):
            return _failed(name, codes[-1])
    return min(codes)  # arguments that select tests of one pass only leave the other without any


def _run(name: str, arguments: tuple[str, ...]) -> int:
    print(f"== {name}: python {shlex.join(arguments)}", flush=True)
    return subprocess.call([sys.executable, *arguments], cwd=ROOT, stdin=subprocess.DEVNULL)


def _failed(name: str, code: int) -> int:
    print(f"== {name} failed", file=sys.stderr, flush=True)
    return 1 if code < 0 else code


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:  # the step that ran has said so
        sys.exit(130)
