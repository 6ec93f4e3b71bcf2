"""`wsnova-statsd lint`: what is judged, what is printed, and which status it ends with."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from wsnova_statsd.cli.main import main
from wsnova_statsd.dashboards.lint import lint_guide, lint_shipped
from wsnova_statsd.profiles import STANDARD

GOOD = 'import wsnova_statsd as ws\nMETRICS = [ws.counter("shop.orders", "shop.order", tags=["venue"])]\n'
BAD = """
import wsnova_statsd as ws

class Shop:
    METRICS = [ws.counter("shop.errors", ws.events.ERROR_OCCURRED, tags=["error"])]

def made():
    return [*Shop.METRICS, "sum:shop.error{*}", {"title": "a\\x1b[2J\\nb", "requests": [{"q": "sum:shop.err{*}"}]}]

def failing():
    raise RuntimeError("no\\nluck")

def leaving():
    raise SystemExit(7)

class Raising:
    def __iter__(self):
        raise RuntimeError("not\\nnow")

LIST = Raising()
ENDLESS = []
ENDLESS.append(ENDLESS)

def yielding():
    yield from Shop.METRICS
    raise RuntimeError("half way")

def asking(name):
    return []

async def waiting():
    return []

NOTHING = []
NUMBER = 7
"""


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder in which the command runs, with a user's modules."""
    (tmp_path / "cli_lint_shop").mkdir()
    for name, source in {
        "good": GOOD,
        "bad": BAD,
        "raising": "raise ValueError('one\\ntwo')",
        "leaving": "import sys\nsys.exit(3)",
        "needing": "import wsnova_no_such_module",
        "wrong": "def",
        "late": "import wsnova_statsd as ws\nws.counter('no spaces')",
    }.items():
        (tmp_path / "cli_lint_shop" / f"{name}.py").write_text(source)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("cli_lint_shop")]:
        del sys.modules[name]


def _run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[object, str, str]:
    try:
        status: object = main(["lint", *arguments])
    except SystemExit as ended:
        status = ended.code
    return (status, *capsys.readouterr())


def test_the_shipped_list_has_no_fault(capsys: pytest.CaptureFixture[str]) -> None:
    """Status 0, with the notes of a profile too."""
    assert _run(capsys) == (0, f"{lint_shipped()}\n", "")
    status, out, err = _run(capsys, "--profile", "standard")
    assert (status, out, err) == (0, f"{lint_shipped(STANDARD)}\n", "")
    assert out.startswith("note   never fires ")


def test_the_guide_has_faults(capsys: pytest.CaptureFixture[str]) -> None:
    """Status 1, the unchanged report, as lines or as a document."""
    assert _run(capsys, "--guide") == (1, f"{lint_guide()}\n", "")
    assert _run(capsys, "--guide", "--profile", "standard") == (1, f"{lint_guide(STANDARD)}\n", "")
    status, out, err = _run(capsys, "--guide", "--json")
    assert (status, err) == (1, "")
    assert json.loads(out)["faults"] == lint_guide().faults


def test_a_list_of_a_module_in_this_folder_is_judged(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By a name, a name in a class, or a function; what a title holds changes no terminal."""
    assert _run(capsys, "cli_lint_shop.good:METRICS") == (0, "0 faults and 0 notes in 1 metric and 0 queries\n", "")
    status, out, err = _run(capsys, "cli_lint_shop.bad:Shop.METRICS")
    assert (status, err) == (1, "")
    assert out.startswith("fault  unbounded tag        shop.errors: tag error has no bound")
    status, out, err = _run(capsys, "cli_lint_shop.bad:made")
    assert (status, err) == (1, "")
    assert [line.split(":")[0] for line in out.splitlines()] == [
        "fault  unbounded tag        shop.errors",
        "fault  unknown metric       query 2",
        "fault  unknown metric       a [2J b",
        "3 faults and 0 notes in 1 metric and 2 queries",
    ]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("cli_lint_shop.good", "MODULE:NAME must be a module and a name in it, such as shop.metrics:METRICS, got "),
        (":METRICS", "MODULE:NAME must be a module and a name in it"),
        ("cli_lint_shop/good.py:METRICS", "MODULE:NAME must be a module and a name in it"),
        ("wsnova_no_such_module:A", "there is no module 'wsnova_no_such_module': it is neither in this folder nor "),
        ("cli_lint_shop.god:METRICS", "there is no module 'cli_lint_shop.god': it is neither in this folder nor "),
        ("cli_lint_shop.good:METRIC", "cli_lint_shop.good has no 'METRIC'; did you mean 'METRICS'?"),
        ("cli_lint_shop.bad:NUMBER.imagg", "cli_lint_shop.bad has no 'NUMBER.imagg'; did you mean 'imag'?"),
        ("cli_lint_shop.raising:A", "importing cli_lint_shop.raising raises ValueError: one\\ntwo"),
        ("cli_lint_shop.leaving:A", "importing cli_lint_shop.leaving raises SystemExit: 3"),
        ("cli_lint_shop.needing:A", "importing cli_lint_shop.needing raises ModuleNotFoundError: No module named "),
        ("cli_lint_shop.wrong:A", "importing cli_lint_shop.wrong raises SyntaxError: "),
        ("cli_lint_shop.late:A", "importing cli_lint_shop.late raises ConfigurationError: metric name 'no spaces' is "),
        ("cli_lint_shop.bad:failing", "cli_lint_shop.bad:failing raises RuntimeError: no\\nluck"),
        ("cli_lint_shop.bad:leaving", "cli_lint_shop.bad:leaving raises SystemExit: 7"),
        ("cli_lint_shop.bad:LIST", "what lint checks raises RuntimeError: not\\nnow when it is read; pass metric "),
        ("cli_lint_shop.bad:ENDLESS", "what lint checks raises RecursionError: "),
        ("cli_lint_shop.bad:yielding", "cli_lint_shop.bad:yielding raises RuntimeError: half way"),
        ("cli_lint_shop.bad:asking", "cli_lint_shop.bad:asking takes (name), but is called with ()"),
        ("cli_lint_shop.bad:waiting", "cli_lint_shop.bad:waiting is the coroutine function waiting, whose body would "),
        ("cli_lint_shop.bad:NOTHING", "there is nothing to check; pass metric definitions or queries"),
        ("cli_lint_shop.bad:NUMBER", "what lint checks must be metric definitions and queries: "),
    ],
)
def test_what_cannot_be_judged_is_one_sentence_and_status_2(
    shop: Path, capsys: pytest.CaptureFixture[str], given: str, sentence: str
) -> None:
    """For every kind of mistake."""
    status, out, err = _run(capsys, given)
    assert (status, out) == (2, "")
    assert err.startswith(f"wsnova-statsd lint: {sentence}")
    assert err.count("\n") == 1


def test_two_things_at_once_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """By name."""
    status, out, err = _run(capsys, "--guide", "a:b")
    assert (status, out) == (2, "")
    assert err == "wsnova-statsd lint: --guide is given together with a:b; pass one of the two\n"


def test_the_traceback_of_a_module_that_raises_is_shown_with_debug(
    shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the user's own line."""
    _, _, err = _run(capsys, "cli_lint_shop.raising:A", "--debug")
    assert "raise ValueError('one\\ntwo')" in err


def test_the_installed_command_finds_modules_of_the_folder_where_it_runs(tmp_path: Path) -> None:
    """As a separate process, which is not started by `python -m`."""
    (tmp_path / "my_metrics.py").write_text(GOOD)
    code = "import sys; sys.path.remove(''); from wsnova_statsd.cli.main import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-B", "-c", code, "lint", "my_metrics:METRICS"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "0 faults and 0 notes in 1 metric and 0 queries\n", "")
