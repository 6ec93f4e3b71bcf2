"""`wsnova-statsd run MODULE:NAME` without a network: what it finds, and what it refuses."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import wsnova_statsd as ws
from wsnova_statsd.cli.main import main
from wsnova_statsd.cli.run import load

FEEDS = """
import wsnova_statsd as ws

def client(name, on_message=print):
    return ws.Client("ws://127.0.0.1:1", client_id=name, on_message=on_message, bus=ws.Bus())

one = client("one")
two = [client("a"), client("b")]
def made(): return (client("made"),)
def fails(): raise ValueError("no url token=S3cret")
def leaves(): raise SystemExit("not today")
def asks(url): return one
async def later(): return one
number, nothing, mixed, twins = 5, [], [one, 5], [client("x"), client("x")]
loop = client("loop", None)
"""


@pytest.fixture
def feeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The folder in which the command is run; its modules are forgotten afterwards."""
    (tmp_path / "feeds.py").write_text(FEEDS)
    (tmp_path / "broken.py").write_text("import feeds, nowhere_at_all\n")
    (tmp_path / "dies.py").write_text("raise RuntimeError('Authorization: Basic S3cret')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    yield
    for name in ("feeds", "broken", "dies"):
        sys.modules.pop(name, None)


@pytest.mark.usefixtures("feeds")
@pytest.mark.parametrize(("name", "ids"), [("one", ["one"]), ("two", ["a", "b"]), ("made", ["made"])])
def test_a_client_a_list_and_a_function_that_returns_either_are_found(name: str, ids: list[str]) -> None:
    """In the current folder; none of them is started."""
    clients = load(f"feeds:{name}")
    assert [client.client_id for client in clients] == ids
    assert {client.state for client in clients} == {ws.State.IDLE}


@pytest.mark.usefixtures("feeds")
@pytest.mark.parametrize(
    ("reference", "reported"),
    [
        ("feeds:on", "feeds has no 'on'; its clients: one, loop; did you mean 'one'?"),
        ("feeds:number", "feeds:number provides 5; use a ws.Client, a list of them, or a function that returns either"),
        ("feeds:mixed", "feeds:mixed provides 5"),
        ("feeds:nothing", "provides an empty list"),
        ("feeds:twins", "x, x, with a duplicate"),
        ("feeds:loop", "client loop of feeds:loop has no on_message"),
        ("feeds:asks", "feeds:asks takes (url), but is called with ()"),
        ("feeds:later", "coroutine function later"),
        ("feeds:fails", "feeds:fails raised ValueError: no url token="),
        ("feeds:leaves", "feeds:leaves raised SystemExit: not today"),
        ("feds:one", "there is no module 'feds'"),
        ("feeds.more:one", "there is no module 'feeds.more'"),
        ("broken:one", "broken cannot be imported: ModuleNotFoundError: No module named 'nowhere_at_all'"),
        ("dies:one", "dies cannot be imported: RuntimeError: Authorization"),
    ],
)
def test_what_cannot_be_run_is_one_sentence_and_status_2(
    capsys: pytest.CaptureFixture[str], reference: str, reported: str
) -> None:
    """Which says what was found and what exists, and shows no secret."""
    with pytest.raises(SystemExit) as refused:
        main(["run", reference])
    err = capsys.readouterr().err
    assert refused.value.code == 2
    assert err.startswith("wsnova-statsd run: ")
    assert reported in err
    assert err.count("\n") == 1
    assert "S3cret" not in err


@pytest.mark.usefixtures("feeds")
def test_the_traceback_of_a_module_that_fails_is_shown_with_debug(capsys: pytest.CaptureFixture[str]) -> None:
    """With the line of the module in it."""
    with pytest.raises(SystemExit):
        main(["run", "--debug", "broken:one"])
    assert "import feeds, nowhere_at_all" in capsys.readouterr().err


@pytest.mark.usefixtures("feeds")
@pytest.mark.parametrize(
    ("arguments", "reported"),
    [
        (["feeds:one", "--port", "80"], "feeds:one names clients, which take no arguments, got '--port 80'"),
        (["--health-file", "nowhere/alive", "feeds:one"], "--health-file is 'nowhere/alive'; pass the path of a file"),
        (["--health-file", ".", "feeds:one"], "--health-file is '.'"),
        (["--health-file", "alive", "feeds.py"], "--health-file is for your own clients"),
        ([], "usage: wsnova-statsd run [--health-file PATH] MODULE:NAME | SCRIPT [ARGS]"),
        (["--"], "usage: wsnova-statsd run"),
    ],
)
def test_arguments_that_do_not_fit_are_one_sentence(
    capsys: pytest.CaptureFixture[str], arguments: list[str], reported: str
) -> None:
    """Before anything is imported or touched."""
    with pytest.raises(SystemExit) as refused:
        main(["run", *arguments])
    err = capsys.readouterr().err
    assert (refused.value.code, err.count("\n")) == (2, 1)
    assert reported in err
    assert not Path("alive").exists()
