"""Makes the distributions of a release in `dist/` and checks them. It publishes nothing, and prints what would.

    .venv/bin/pip install -q -e '.[release]' && .venv/bin/python .ci/release.py

In this order, and it stops at the first that fails: nothing is uncommitted; the version of the package is the topmost
of CHANGELOG.md, with its date, and that of the commit's tag, if it has one; `python -m build` of a copy of the commit;
`twine check --strict`; into a fresh virtual environment, from `dist/` and a folder with the dependencies, without an
index; `smoke.py` there. The dependencies come from the index, or with `--wheelhouse FOLDER` from a folder, which then
also has setuptools for the build.
"""

import argparse
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parents[1]
NAME = "wsnova-statsd"
TOOLS = ("build", "twine", "readme_renderer")


def main(arguments: list[str]) -> int:
    """Make and check the distributions of the commit that is checked out."""
    parser = argparse.ArgumentParser(prog=".ci/release.py", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--wheelhouse", type=Path, help="a folder with the dependencies and setuptools; use no index")
    given = parser.parse_args(arguments)
    version, is_tagged = agreed_version()
    if missing := [tool for tool in TOOLS if importlib.util.find_spec(tool) is None]:
        fail(f"{', '.join(missing)} not installed; install the extra: pip install -e '.[release]'")
    with tempfile.TemporaryDirectory(prefix="release-") as scratch:
        made = build(Path(scratch), given.wheelhouse, version)
        say("twine check --strict")
        run(sys.executable, "-m", "twine", "check", "--strict", *made)
        install(Path(scratch), given.wheelhouse, version, made)
        (ROOT / "dist").mkdir(exist_ok=True)
        kept = [Path(shutil.copy2(path, ROOT / "dist")) for path in made]
    print_commands(version, is_tagged, kept)
    return 0


def agreed_version() -> tuple[str, bool]:
    """The version that package, changelog and tag agree on, and whether the commit has its tag."""
    say("uncommitted files, version, changelog, tag")
    if changed := git("status", "--porcelain"):
        fail(f"the checkout has changes that no commit has; commit or remove them:\n{changed}")
    version = found(r'^__version__ = "([^"]+)"$', ROOT / "wsnova_statsd/__init__.py")
    changelog = found(r"^## \[([^\]]+)\]", ROOT / "CHANGELOG.md")
    if changelog != version:
        fail(f"__version__ is {version}, the topmost version of CHANGELOG.md is {changelog}; make them the same")
    found(rf"^## \[{re.escape(version)}\] - (\d{{4}}-\d\d-\d\d)$", ROOT / "CHANGELOG.md")
    tags = git("tag", "--points-at", "HEAD", "--list", "v*").split()
    if others := set(tags) - {f"v{version}"}:
        fail(f"the commit has the tag {', '.join(sorted(others))}, the version is {version}; make them the same")
    if not tags and git("tag", "--list", f"v{version}"):
        fail(f"v{version} is the tag of another commit; set the next version, or check that commit out")
    return version, bool(tags)


def build(scratch: Path, wheelhouse: Path | None, version: str) -> list[str]:
    """Both distributions of the commit: what is ignored or left over in the checkout is not in them."""
    say("python -m build")
    copy, made = scratch / "commit", scratch / "made"
    run("git", "-C", str(ROOT), "checkout-index", "--all", f"--prefix={copy}/")
    run(sys.executable, "-m", "build", "--outdir", str(made), str(copy), environ=without_index(wheelhouse))
    wanted = [made / f"wsnova_statsd-{version}{end}" for end in ("-py3-none-any.whl", ".tar.gz")]
    if sorted(made.iterdir()) != sorted(wanted):
        fail(f"built were {sorted(path.name for path in made.iterdir())}, not {[path.name for path in wanted]}")
    return [str(path) for path in wanted]


def install(scratch: Path, wheelhouse: Path | None, version: str, made: list[str]) -> None:
    """As a user does who has no index, then a program with nothing else installed."""
    say("pip install --no-index --find-links, and a program")
    wheels = wheelhouse or scratch / "wheelhouse"
    if wheelhouse is None:
        run(sys.executable, "-m", "pip", "download", "-q", "--dest", str(wheels), made[0])
    venv.create(scratch / "venv", with_pip=True)
    python = str(scratch / "venv/bin/python")
    links = ("--find-links", str(Path(made[0]).parent), "--find-links", str(wheels))
    run(python, "-m", "pip", "install", "-q", "--no-index", *links, f"{NAME}=={version}")
    run(python, "-I", "-W", "error", str(ROOT / ".ci/smoke.py"))


def print_commands(version: str, is_tagged: bool, made: list[Path]) -> None:
    """What is left to do, by a person."""
    print(f"== {NAME} {version} is in dist/. Nothing was tagged and nothing was published.")
    for path in made:
        print(f"sha256 {hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(ROOT)}")
    print("\nTo publish it:\n")
    if not is_tagged:
        print(f'    git tag -a v{version} -m "{NAME} {version}"')
    print(f"    git push origin v{version}")
    print(f"    python -m twine upload {' '.join(str(path.relative_to(ROOT)) for path in made)}")


def without_index(wheelhouse: Path | None) -> dict[str, str]:
    """The environment in which pip takes all from this folder, also for the environment that `build` makes."""
    here = {} if wheelhouse is None else {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheelhouse.resolve())}
    return {**os.environ, **here}


def found(pattern: str, path: Path) -> str:
    """The first group of the first match in a file; there has to be one."""
    match = re.search(pattern, path.read_text(encoding="utf-8"), re.MULTILINE)
    if match is None:
        fail(f"{path.relative_to(ROOT)} has no line like {pattern}")
    return match[1]


def git(*arguments: str) -> str:
    """What git prints of this checkout."""
    done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        fail(f"git {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout.strip()


def run(*command: str, environ: dict[str, str] | None = None) -> None:
    """Run a command outside the checkout, without its sources on the path; stop if it fails."""
    kept = {name: value for name, value in (environ or os.environ).items() if name != "PYTHONPATH"}
    done = subprocess.run(
        command, cwd=tempfile.gettempdir(), env=kept, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        fail(f"{' '.join(command)} ended with status {done.returncode}:\n{done.stdout}")


def say(step: str) -> None:
    """One line before each step."""
    print(f"== {step}", flush=True)


def fail(why: str) -> NoReturn:
    """End with status 1 and the reason; nothing of the release is in dist/ then."""
    sys.exit(f".ci/release.py: {why}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
