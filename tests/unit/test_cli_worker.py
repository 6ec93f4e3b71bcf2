"""`wsnova-statsd run MODULE:NAME` without a network: what it finds, refuses, touches and says; with a fake clock."""

import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import wsnova_statsd as ws
from tests.support import until
from wsnova_statsd.cli import worker
from wsnova_statsd.cli.main import main
from wsnova_statsd.errors import ConfigurationError, WsnovaError
from wsnova_statsd.testing.clock import FakeClock

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
    clients = worker.load(f"feeds:{name}")
    assert [client.client_id for client in clients] == ids
    assert {client.state for client in clients} == {ws.State.IDLE}


@pytest.mark.usefixtures("feeds")
@pytest.mark.parametrize(
    ("reference", "told"),
    [
        ("feeds:on", "feeds has no 'on'; its clients: one, loop; did you mean 'one'?"),
        ("feeds:number", "feeds:number gives 5; give a ws.Client, a list of them, or a function that returns either"),
        ("feeds:mixed", "feeds:mixed gives 5"),
        ("feeds:nothing", "gives an empty list"),
        ("feeds:twins", "x, x, of which one comes twice"),
        ("feeds:loop", "client loop of feeds:loop has no on_message"),
        ("feeds:asks", "feeds:asks takes (url), and is called with ()"),
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
    capsys: pytest.CaptureFixture[str], reference: str, told: str
) -> None:
    """Which says what was found and what there is, and shows no secret."""
    with pytest.raises(SystemExit) as refused:
        main(["run", reference])
    err = capsys.readouterr().err
    assert refused.value.code == 2
    assert err.startswith("wsnova-statsd run: ")
    assert told in err
    assert err.count("\n") == 1
    assert "S3cret" not in err


@pytest.mark.usefixtures("feeds")
def test_the_traceback_of_a_module_that_fails_is_there_to_be_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    """With the line of the module in it."""
    with pytest.raises(SystemExit):
        main(["run", "--debug", "broken:one"])
    assert "import feeds, nowhere_at_all" in capsys.readouterr().err


@pytest.mark.usefixtures("feeds")
@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["feeds:one", "--port", "80"], "feeds:one names clients, which take no arguments, got '--port 80'"),
        (["--health-file", "nowhere/alive", "feeds:one"], "--health-file is 'nowhere/alive'; give the path of a file"),
        (["--health-file", ".", "feeds:one"], "--health-file is '.'"),
        (["--health-file", "alive", "feeds.py"], "--health-file is for your own clients"),
        ([], "usage: wsnova-statsd run [--health-file PATH] MODULE:NAME | SCRIPT [ARGS]"),
        (["--"], "usage: wsnova-statsd run"),
    ],
)
def test_arguments_that_do_not_fit_are_one_sentence(
    capsys: pytest.CaptureFixture[str], arguments: list[str], told: str
) -> None:
    """Before anything is imported or touched."""
    with pytest.raises(SystemExit) as refused:
        main(["run", *arguments])
    err = capsys.readouterr().err
    assert (refused.value.code, err.count("\n")) == (2, 1)
    assert told in err
    assert not Path("alive").exists()


# -- while they run


class _Waits:
    """The waiting of a worker: the clock goes on, and `when` says what happens at a second."""

    def __init__(self, clock: FakeClock, until: float, number: int, when: Callable[[float], object]) -> None:
        self._clock, self._until, self._number, self._when = clock, until, number, when
        self._began = clock()

    def __call__(self, seconds: float) -> int | None:
        self._clock.advance(seconds)
        self._when(self._clock() - self._began)
        return self._number if self._clock() - self._began >= self._until else None


def _run(
    client: ws.Client,
    health_file: Path | None = None,
    seconds: float = 30.0,
    number: int = signal.SIGTERM,
    when: Callable[[float], object] = lambda seconds: None,
) -> int:
    clock = FakeClock()
    made = worker.Worker([client], health_file, clock)
    return made.run(_Waits(clock, seconds, number, when))


def _client(**options: object) -> ws.Client:
    """One that nobody answers, which tries for ever."""
    made: ws.Client = ws.Client("ws://127.0.0.1:1", client_id="a", on_message=print, bus=ws.Bus(), **options)  # type: ignore[arg-type]
    return made.start(wait=False)


def test_a_status_line_is_written_each_minute(caplog: pytest.LogCaptureFixture) -> None:
    """With the client's figures, and why it has no link."""
    caplog.set_level(logging.INFO)
    client = _client()
    assert until(lambda: client.health()["error"] is not None)
    assert _run(client, seconds=185) == 0
    lines = [one.getMessage() for one in caplog.records if " received (+" in one.getMessage()]
    assert len(lines) == 3
    assert lines[0].startswith("client a ")
    assert "0 received (+0), 0 sent, 0 waiting, 0.0 s behind, 0 reconnects; " in lines[0]
    assert "nothing listens" in lines[-1]


def test_the_health_file_is_touched_every_five_seconds_though_the_feed_is_down(tmp_path: Path) -> None:
    """From the first moment on."""
    path, touched = tmp_path / "alive", list[float]()

    def look(seconds: float) -> None:
        if path.exists():
            touched.append(seconds)
            path.unlink()

    assert _run(_client(), path, seconds=21, when=look) == 0
    assert touched == [0.5, 5.5, 10.5, 15.5, 20.5]


def test_a_client_whose_thread_is_gone_has_its_health_file_grow_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing else tells that it is lost."""
    path = tmp_path / "alive"
    monkeypatch.setattr("threading.enumerate", list)
    assert _run(_client(), path, seconds=21) == 0
    assert not path.exists()


def test_a_health_file_that_cannot_be_touched_is_told_once_and_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Until its folder is there again."""
    path = tmp_path / "gone" / "alive"
    assert _run(_client(), path, seconds=21, when=lambda s: path.parent.mkdir(exist_ok=True) if s >= 14 else None) == 0
    assert path.exists()
    assert [one.levelno for one in caplog.records if "health file" in one.getMessage()] == [logging.ERROR]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_signal_closes_the_clients(number: int, status: int) -> None:
    """Status 0 for SIGTERM, 130 for Ctrl-C."""
    client = _client()
    assert _run(client, seconds=1, number=number) == status
    assert client.state is ws.State.CLOSED


def test_a_client_that_closes_itself_is_an_end_in_order() -> None:
    """Long before any signal."""
    client = _client()
    assert _run(client, seconds=1e6, when=lambda s: client.close() if s >= 3 else None) == 0


def test_a_client_that_ended_by_itself_is_an_error_that_says_why() -> None:
    """The other clients are closed too."""
    client = ws.Client("ws://127.0.0.1:1", client_id="b", reconnect=False, on_message=print, bus=ws.Bus())
    other = _client()
    with pytest.raises(ws.errors.ConnectionFailed):
        client.start(timeout=10)
    with pytest.raises(WsnovaError, match=r"client b ended by itself: nothing listens"):
        _run(client)
    assert other.state is ws.State.CLOSED


def test_the_health_files_path_is_checked_before_the_start(tmp_path: Path) -> None:
    """What exists must be writable, else its folder must be."""
    (tmp_path / "there").touch()
    for name in ("there", "new"):
        assert worker.checked_path(str(tmp_path / name)) == tmp_path / name
    for given in ("", str(tmp_path), str(tmp_path / "no" / "file")):
        with pytest.raises(ConfigurationError, match="--health-file is "):
            worker.checked_path(given)
    if os.getuid():
        (tmp_path / "there").chmod(0o400)
        with pytest.raises(ConfigurationError):
            worker.checked_path(str(tmp_path / "there"))
