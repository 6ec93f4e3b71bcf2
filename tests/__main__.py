"""`python -m tests`: style, types, rooms, then the tests with coverage; stops at the first failure.

Arguments are handed to pytest. Every tool runs under this interpreter, so any virtual environment will do.
"""

import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# import-linter has no `python -m` form.
_LINT_IMPORTS = "from importlinter.cli import lint_imports_command; lint_imports_command()"

STEPS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("style", ("-m", "ruff", "check", ".")),
    ("format", ("-m", "ruff", "format", "--check", ".")),
    ("types", ("-m", "mypy")),
    ("rooms", ("-c", _LINT_IMPORTS, "--config", "setup.cfg")),
    ("tests", ("-m", "pytest", "--cov")),
)


def main(pytest_arguments: list[str]) -> int:
    """Run the steps in order and return the exit code of the first that fails, or 0."""
    for name, arguments in STEPS:
        extra = pytest_arguments if name == "tests" else []
        command = [sys.executable, *arguments, *extra]
        print(f"== {name}: python {shlex.join(command[1:])}", flush=True)
        code = subprocess.call(command, cwd=ROOT, stdin=subprocess.DEVNULL)
        if code:
            print(f"== {name} failed", file=sys.stderr, flush=True)
            return 1 if code < 0 else code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
