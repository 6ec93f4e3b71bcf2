"""`wsnova-statsd run` with programs that know nothing of this library: each is run bare and under it, and both times it
prints, byte for byte, the same, and ends alike; what happened to its clients is at the Agent."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.stories.test_examples import SITE, environment
from tests.wire.test_websockets_versions import interpreter
from wsnova_statsd.testing.receiver import DogStatsDReceiver
from wsnova_statsd.testing.server import ScriptedConnection, WebSocketServer, send_messages, silent

pytestmark = pytest.mark.usefixtures("installed")


def _run(python: str = sys.executable) -> list[str]:
    """The command that pip installed: unlike python -m, it does not search for modules in the current folder."""
    return [python, str(Path(os.environ[SITE], "bin", "wsnova-statsd")), "run"]


# An unrelated program: it prints ticks, always dials again, and gives up at the end.
STRANGER = '''\
"""Prints ticks."""
import sys
import time
import traceback
from websocket import WebSocketApp, create_connection

url, links = sys.argv[1], int(sys.argv[2])

def on_message(app, text):
    print("tick", text, flush=True)
    if text == "3":
        raise RuntimeError("I do not like three")

def on_error(app, error):
    print("error", type(error).__name__, error)

for link in range(links):
    app = WebSocketApp(url, on_message=on_message, on_error=on_error)
    print("ended:", app.run_forever())
    time.sleep(0.01)
try:
    create_connection("ws://127.0.0.1:1/?token=abc")
except OSError:
    traceback.print_exc()
ws = create_connection(url)
print("first:", ws.recv())
ws.close()
create_connection("ws://127.0.0.1:1")
'''


HERE = "the one that is installed"


class Ended(NamedTuple):
    """What a program printed, and how it ended."""

    out: bytes
    errors: bytes
    status: int


@pytest.fixture
def agent() -> Iterator[DogStatsDReceiver]:
    with DogStatsDReceiver() as receiver:
        yield receiver


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, agent: DogStatsDReceiver) -> Path:
    """The folder in which programs are written and run; they send to `agent`."""
    for name, value in {**environment(), "DD_DOGSTATSD_URL": f"udp://{agent.host}:{agent.port}"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("WSNOVA_STATSD_PROFILE", "financial")
    monkeypatch.delenv("PYTHONWARNINGS", raising=False)  # warnings about what a program leaves open hold port numbers
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _python(release: str) -> str:
    return sys.executable if release == HERE else interpreter(release)


def _end(command: Sequence[str], interrupt: int | None, said: bytes) -> Ended:
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.PIPE) as running:
        assert running.stdout is not None
        first = b""
        if interrupt is not None:
            first = running.stdout.readline()
            time.sleep(0.2)  # until it waits in the call that is interrupted
            running.send_signal(interrupt)
        out, errors = running.communicate(said, timeout=40)
    return Ended(first + out, errors, running.returncode)


def _both(
    *arguments: str,
    bare: Sequence[str] | None = None,
    interrupt: int | None = None,
    said: bytes = b"",
    python: str = sys.executable,
) -> Ended:
    """Run this program bare, then under `run`; returns what it printed both times. `bare` is the command if it differs;
    `interrupt` is sent once it has printed its first line."""
    first = _end([python, *arguments] if bare is None else bare, interrupt, said)
    second = _end([*_run(python), *arguments], interrupt, said)
    assert second == first
    return second


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    "release", [HERE, "websocket-client-1.6.4", "websocket-client-1.7.0", "websocket-client-1.8.0"]
)
def test_an_unrelated_program_prints_and_does_the_same_and_is_counted_exactly(
    agent: DogStatsDReceiver, release: str
) -> None:
    """Output, tracebacks and exit status; three links that are dropped, one that it closes, two dials that fail."""
    Path("stranger.py").write_text(STRANGER)
    ticks = [str(number) for number in range(1, 6)]
    with WebSocketServer(send_messages(ticks, then="drop")) as server:
        ended = _both("stranger.py", server.url, "3", python=_python(release))
        assert server.connections == 2 * 4
    assert ended.status == 1
    assert ended.out.count(b"tick") == 15
    assert ended.errors.count(b"Traceback") == 2
    assert agent.wait_for(lambda r: r.count("websocket.message.batch.count", {"direction": "received"}) == 16)
    received, client = {"type": "text"}, {"client": "127.0.0.1-1"}
    assert agent.count("websocket.message.received", received) == 16
    assert agent.count("websocket.message.process.completed", {**received, "result": "ok"}) == 12
    assert agent.count("websocket.message.process.completed", {**received, "result": "error"}) == 3
    assert agent.count("websocket.connection.started", client) == 6
    assert agent.count("websocket.connection.completed", client) == 4
    assert agent.count("websocket.connection.disconnected", client) == 4
    assert agent.count("websocket.connection.reconnect.success", client) == 3
    assert {tag for _, tags, _ in agent.counts() for tag in tags if tag.startswith("client:")} == {"client:127.0.0.1-1"}
    assert agent.malformed == []


SYNC = """
import sys, traceback
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

class Mine(ClientConnection):
    def recv(self, *arguments, **options):
        return "mine " + super().recv(*arguments, **options)

for _ in range(2):
    with connect(sys.argv[1], create_connection=Mine) as connection:
        print(type(connection).__name__, isinstance(connection, Mine))
        connection.send("hello")
        try:
            while True:
                print(connection.recv())
        except ConnectionClosed as error:
            print(repr(error))
with connect(sys.argv[1]) as connection:
    connection.send("hello")
    for message in connection:
        print(message)
try:
    connect("ws://127.0.0.1:1")
except OSError:
    traceback.print_exc()
connection.recv()
"""


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("release", [HERE, "websockets-13.1", "websockets-15.0.1"])
def test_a_program_on_the_websockets_library_prints_the_same_and_is_counted(
    agent: DogStatsDReceiver, release: str
) -> None:
    """With its own subclass, iteration, a dial that fails and a receive on a closed connection."""
    Path("sync.py").write_text(SYNC)

    def three(connection: ScriptedConnection) -> None:
        connection.recv()
        for number in "123":
            connection.send(number)
        connection.close()

    with WebSocketServer(three) as server:
        ended = _both("sync.py", server.url, python=_python(release))
    assert (ended.out.count(b"mine "), ended.errors.count(b"Traceback")) == (6, 2)
    assert agent.wait_for(lambda r: r.count("websocket.message.received") == 9), agent.counts()
    assert agent.count("websocket.message.sent") == 3
    assert agent.count("websocket.connection.disconnected", {"reason": "close_1000"}) == 3


TELLS = """
import sys, os
print(sys.argv, __name__, __file__, __package__, sys.path, sys.flags, sys.executable)
import websocket
loader = websocket.__spec__.loader
print(type(loader), websocket.__loader__ is loader, vars(loader), "sitecustomize" in sys.modules)
"""
OWN = [
    *["--help", "--port", "3", "-m", "--debug", "--version", "--health-file", "x", "--", "-h", "a:b", "-"],
    "a b",
    "",
]


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("form", [("tells.py",), ("-m", "tells"), ("package",), ("-m", "package")])
def test_all_that_follows_a_program_belongs_to_it(form: tuple[str, ...]) -> None:
    """Options that `run` has too, and --; argv, __file__, sys.path and what it can see of an import are as bare."""
    Path("package").mkdir()
    for name in ("tells.py", "package/__main__.py"):
        Path(name).write_text(TELLS)
    assert b"'--help', '--port', '3'" in _both(*form, *OWN).out


@pytest.mark.usefixtures("here")
def test_a_command_is_run_with_its_arguments_and_the_signals_that_it_would_have() -> None:
    """Not a Python program: it ignores no signal that Python ignores; its process is the one that was started."""
    shell = ["sh", "-c", 'grep "^Sig[IC]" /proc/self/status; echo "$@"; kill -TERM $$', "--", *OWN]
    ended = _both("--", *shell, bare=shell)
    assert (ended.status, b"--help --port 3" in ended.out) == (-signal.SIGTERM, True)


@pytest.mark.usefixtures("here")
def test_a_program_is_read_from_standard_input_as_well() -> None:
    """As `python -` does."""
    assert _both("-", "a", said=b"import sys; print(sys.argv, input)").out


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("end", "status"),
    [
        ("raise SystemExit(7)", 7),
        ("raise SystemExit('no')", 1),
        ("os._exit(9)", 9),
        ("1/0", 1),
        ("os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM),
        ("os.abort()", -signal.SIGABRT),
        ("def", 1),
        ("raise ExceptionGroup('two', [ValueError(1), KeyError(2)])", 1),
    ],
)
def test_a_program_ends_as_it_does_bare(end: str, status: int) -> None:
    """With a client that is open, and a thread of ours that runs."""
    Path("ends.py").write_text(
        "import os, sys, websocket, signal\n"
        "ws = websocket.create_connection(sys.argv[1])\n"
        "print(signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT), sys.excepthook, flush=True)\n"
        f"{end}\n"
    )
    with WebSocketServer(silent) as server:
        assert _both("ends.py", server.url).status == status


@pytest.mark.usefixtures("here")
def test_ctrl_c_ends_it_with_the_same_traceback() -> None:
    """During recv and run_forever."""
    begin = "import sys, websocket\nurl = sys.argv[1]\ndef ready(app=None): print('ready', flush=True)\n"
    for name, code in {
        "recv.py": "ws = websocket.create_connection(url)\nready()\nws.recv()\n",
        "forever.py": "def error(app, error): print(repr(error))\n"
        "print(websocket.WebSocketApp(url, on_open=ready, on_error=error).run_forever())\n",
    }.items():
        Path(name).write_text(begin + code)
        with WebSocketServer(silent) as server:
            _both(name, server.url, interrupt=signal.SIGINT)


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("custom", ["print('mine', __file__)", "raise ValueError('mine')", "import nowhere_at_all"])
def test_an_existing_sitecustomize_runs_first_and_stays_the_programs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, custom: str
) -> None:
    """Whatever it does; the program imports it."""
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(f"name = 'mine'\n{custom}\n")
    monkeypatch.setenv("PYTHONPATH", f"{os.environ['PYTHONPATH']}{os.pathsep}{folder}")
    # The command itself is a Python too, which would print what a sitecustomize prints: it gets none.
    Path("asks.py").write_text("import sitecustomize, websocket\nprint(sitecustomize.name, sitecustomize.__file__)\n")
    bare = _end([sys.executable, "asks.py"], None, b"")
    startup = Path(os.environ["PYTHONPATH"].split(os.pathsep)[0], "wsnova_statsd", "contrib", "startup")
    monkeypatch.setenv("PYTHONPATH", f"{startup}{os.pathsep}{os.environ['PYTHONPATH']}")
    assert _end([sys.executable, "asks.py"], None, b"") == bare


@pytest.mark.usefixtures("here")
def test_a_library_that_was_imported_before_is_instrumented_too(agent: DogStatsDReceiver) -> None:
    """As by a .pth file, which comes before any sitecustomize."""
    Path("early.py").write_text(
        "import runpy, sys, websocket\n"
        "try:\n    runpy.run_path(sys.argv[1])\nexcept ModuleNotFoundError:\n    pass\n"
        "ws = websocket.create_connection(sys.argv[2])\nprint(ws.recv())\nws.close()\n"
    )
    startup = Path(os.environ[SITE], "wsnova_statsd", "contrib", "startup", "sitecustomize.py")
    with WebSocketServer(send_messages(["tick"])) as server:
        done = _end([sys.executable, "early.py", str(startup), server.url], None, b"")
    assert done == (b"tick\n", b"", 0)
    assert agent.wait_for(lambda r: r.count("websocket.message.received") == 1)


@pytest.mark.usefixtures("here")
def test_a_child_is_instrumented_too(agent: DogStatsDReceiver) -> None:
    """A Python that the program starts."""
    Path("parent.py").write_text(
        "import subprocess, sys\nprint('parent', flush=True)\n"
        "child = 'import sys, websocket; print(websocket.create_connection(sys.argv[1]).recv())'\n"
        "sys.exit(subprocess.call([sys.executable, '-c', child, sys.argv[1]]))\n"
    )
    with WebSocketServer(send_messages(["tick"])) as server:
        assert _both("parent.py", server.url).out == b"parent\ntick\n"
    assert agent.wait_for(lambda r: r.count("websocket.message.received") == 1)


@pytest.mark.usefixtures("here")
def test_a_child_whose_port_for_prometheus_is_taken_is_still_counted(
    agent: DogStatsDReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its parent serves there: only one process can, but all of them send to the Agent. A record says so."""
    Path("parent.py").write_text(
        "import subprocess, sys, websocket\n"
        "print(websocket.create_connection(sys.argv[1]).recv(), flush=True)\n"
        "if not sys.argv[2:]:\n    sys.exit(subprocess.call([sys.executable, *sys.argv, 'child']))\n"
    )
    monkeypatch.setenv("WSNOVA_STATSD_PROMETHEUS_PORT", str(_free_port()))
    with WebSocketServer(send_messages(["tick"])) as server:
        assert _both("parent.py", server.url)[:2] == (b"tick\ntick\n", b"")
        assert agent.wait_for(lambda r: r.count("websocket.message.received") == 2), agent.counts()
        monkeypatch.setenv("WSNOVA_STATSD_LOG", "on")
        said = _end([*_run(), "parent.py", server.url], None, b"").errors
        assert b"measured, without an endpoint for Prometheus" in said


@pytest.mark.usefixtures("here")
def test_gevent_patches_first_and_warns_of_nothing(agent: DogStatsDReceiver) -> None:
    """Nothing was imported before that it wants to patch."""
    Path("green.py").write_text(
        "from gevent import monkey\nmonkey.patch_all()\nimport sys, websocket\n"
        "print(websocket.create_connection(sys.argv[1]).recv())\n"
    )
    with WebSocketServer(send_messages(["tick"])) as server:
        assert _both("green.py", server.url)[:2] == (b"tick\n", b"")
    assert agent.wait_for(lambda r: r.count("websocket.message.received") == 1)


@pytest.mark.usefixtures("here")
def test_gevent_that_patches_late_has_the_program_go_on_uninstrumented(agent: DogStatsDReceiver) -> None:
    """As bare: code that waited for a thread of ours would wait for ever."""
    Path("late.py").write_text(
        "import sys, websocket\nfrom gevent import monkey\nmonkey.patch_all()\n"
        "ws = websocket.create_connection(sys.argv[1])\nprint(ws.recv())\nws.close()\n"
        "websocket.WebSocketApp(sys.argv[1], on_message=lambda app, text: (print(text), app.close())).run_forever()\n"
    )
    with WebSocketServer(send_messages(["tick"])) as server:
        assert _both("late.py", server.url).out == b"tick\ntick\n"
    assert agent.counts() == []


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("fault", ["1/0", "import nowhere_at_all", "raise SystemExit(4)", "def"])
def test_a_library_that_cannot_be_imported_shows_its_own_traceback(fault: str) -> None:
    """Without a frame of ours."""
    Path("websocket.py").write_text(f"{fault}\n")
    Path("uses.py").write_text("print('begins', flush=True)\nimport websocket\n")
    assert b"begins" in _both("uses.py").out


@pytest.mark.usefixtures("here")
def test_if_this_library_cannot_be_imported_the_program_runs_bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """For example in another environment. With WSNOVA_STATSD_LOG it is logged in one line."""
    Path("wsnova_statsd.py").write_text("raise RuntimeError('not here')\n")
    Path("uses.py").write_text("import websocket, sys\nprint(websocket.WebSocketApp, 'wsnova_statsd' in sys.modules)\n")
    _both("uses.py")
    monkeypatch.setenv("WSNOVA_STATSD_LOG", "on")
    assert (
        _end([*_run(), "uses.py"], None, b"").errors == b"wsnova_statsd: this program is not instrumented: not here\n"
    )


@pytest.mark.usefixtures("here")
def test_unusable_settings_are_refused_and_those_of_a_child_are_ignored(
    monkeypatch: pytest.MonkeyPatch, agent: DogStatsDReceiver
) -> None:
    """Before the program starts, in one sentence; within it nothing may fail."""
    child = (
        "import os, sys, websocket; os.environ['WSNOVA_STATSD_PROFILE'] = 'x'; os.environ['WSNOVA_STATSD_SISTEM'] = 'x'"
    )
    Path("child.py").write_text(f"{child}\nprint(websocket.create_connection(sys.argv[1]).recv())\n")
    with WebSocketServer(send_messages(["tick"])) as server:
        assert _both("child.py", server.url)[:2] == (b"tick\n", b"")
        monkeypatch.setenv("WSNOVA_STATSD_SISTEM", "on")
        refused = _end([*_run(), "child.py", server.url], None, b"")
        assert server.connections == 2
    assert (refused.status, refused.out, refused.errors.count(b"\n")) == (2, b"", 1)
    assert b"did you mean 'SYSTEM'?" in refused.errors
    assert agent.counts() == []


LOGS = """
import logging, sys, websocket
if len(sys.argv) > 2:
    logging.basicConfig(level="INFO", format="MINE %(levelname)s %(name)s %(message)s")
for _ in range(2):
    websocket.create_connection(sys.argv[1]).close()
try:
    websocket.create_connection("ws://127.0.0.1:1")
except OSError:
    print("refused")
websocket.create_connection(sys.argv[1]).close()
"""


@pytest.mark.usefixtures("here")
def test_records_are_written_where_the_program_configures_it_or_not_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """WSNOVA_STATSD_LOG writes them to stderr, once."""
    Path("logs.py").write_text(LOGS)
    with WebSocketServer(silent) as server:
        assert _both("logs.py", server.url)[:2] == (b"refused\n", b"")
        command = [*_run(), "logs.py", server.url]
        assert b"MINE WARNING wsnova_statsd." in _end([*command, "configure"], None, b"").errors
        monkeypatch.setenv("WSNOVA_STATSD_LOG", "on")
        lines = _end(command, None, b"").errors.splitlines()
        assert any(b" WARNING wsnova_statsd." in line for line in lines)
        assert any(b"Connection established" in line for line in lines)
        assert _end([*command, "configure"], None, b"").errors.count(b"MINE") > len(lines) / 2


@pytest.mark.usefixtures("here")
def test_a_program_that_uses_this_library_itself_is_not_counted_twice(agent: DogStatsDReceiver) -> None:
    """In any order of imports: its own Monitor replaces ours, with its own settings."""
    received = {"direction": "received"}

    def two(seen: DogStatsDReceiver) -> bool:
        return seen.count("websocket.message.batch.count", received) == 2

    for order in ("import wsnova_statsd as ws, websocket", "import websocket, wsnova_statsd as ws"):
        agent.clear()
        Path("knows.py").write_text(
            f"import sys\n{order}\n"
            "print(websocket.create_connection(sys.argv[1]).recv())\n"
            "ws.init('standard', reporter=ws.StatsdReporter(tags=['mine:1']))\n"
            "print(websocket.create_connection(sys.argv[1]).recv())\n"
        )
        with WebSocketServer(send_messages(["tick"])) as server:
            assert _end([*_run(), "knows.py", server.url], None, b"")[:2] == (b"tick\ntick\n", b"")
        assert agent.wait_for(two)
        assert agent.count("websocket.message.batch.count", {**received, "mine": "1"}) >= 1


def test_each_worker_of_a_prefork_server_is_counted(here: Path, agent: DogStatsDReceiver) -> None:
    """Gunicorn with two workers of an application that calls a feed for each request; SIGTERM ends it as usual."""
    (here / "shop.py").write_text(
        "import os, websocket\n"
        "def app(environ, start):\n"
        "    price = websocket.create_connection(os.environ['FEED'])\n"
        "    body = price.recv().encode()\n    price.close()\n"
        "    start('200 OK', [('Content-Length', str(len(body)))])\n    return [body]\n"
    )
    script = (
        "import os, signal, subprocess, sys, time, urllib.request\n"
        "port = sys.argv[1]\n"
        "server = subprocess.Popen(sys.argv[2:])\n"
        "def ask():\n"
        "    return urllib.request.urlopen(f'http://127.0.0.1:{port}/', timeout=10).read()\n"
        "for _ in range(300):\n"
        "    try:\n        ask()\n        break\n    except OSError:\n        time.sleep(0.1)\n"
        "print([ask() for _ in range(9)])\n"
        "server.send_signal(signal.SIGTERM)\nprint(server.wait(20))\n"
    )
    (here / "ask.py").write_text(script)
    with WebSocketServer(send_messages(["7"])) as server:
        os.environ["FEED"] = server.url
        port = str(_free_port())
        command = ["-m", "gunicorn", "-w", "2", "-b", f"127.0.0.1:{port}", "shop:app"]
        try:
            done = _end([sys.executable, "ask.py", port, *_run(), "--", sys.executable, *command], None, b"")
        finally:
            del os.environ["FEED"]
    assert done.out.splitlines() == [str([b"7"] * 9).encode(), b"0"], done.errors
    assert agent.wait_for(lambda r: r.count("websocket.message.received", {"type": "text"}) == 10), agent.counts()
    assert agent.count("websocket.connection.completed") == 10


def _free_port() -> int:
    import socket

    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port
