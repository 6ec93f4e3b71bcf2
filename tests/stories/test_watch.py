"""`wsnova-statsd watch` as users start it: from install to a live board, at three sizes, in pipes, and refused."""

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.stories.test_examples import ROOT, environment
from tests.support import until
from tests.terminals import Terminal
from tests.unit.watching import labels_of
from wsnova_statsd.cli.main import build_parser
from wsnova_statsd.testing.server import WebSocketServer, send_messages
from wsnova_statsd.watch import recording

pytestmark = pytest.mark.usefixtures("installed")

CWD: Final = ROOT / "examples"  # python -m searches here first: a folder without the package
COMMAND: Final = [sys.executable, "-m", "wsnova_statsd"]
WATCH: Final = [*COMMAND, "watch"]
SENT: Final = [
    *(f"websocket.message.process.duration:{index}|g|#client:md-{index},type:trade" for index in range(3)),
    "websocket.message.process.duration.distribution:1:2:3|d|#client:md-1,type:trade",
    "websocket.message.process.duration.distribution:1:2:3|d|#client:md-1,type:ticker",
    "websocket.connection.up:1|g|#client:md-1,worker:0",
]
LABELS: Final = {
    *(f"websocket.message.process.duration client:md-{index}" for index in range(3)),
    "websocket.message.process.duration.distribution type:trade",
    "websocket.message.process.duration.distribution type:ticker",
    "websocket.connection.up",
}
# Sends repeatedly to the address it gets, and prints it.
PROGRAM: Final = """
import os, socket, sys, time
to = os.environ["DD_AGENT_HOST"], int(os.environ["DD_DOGSTATSD_PORT"])
print("it runs", flush=True)
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
while True:
    sock.sendto(sys.argv[1].encode(), to)
    time.sleep(0.3)
"""


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _send(port: int, *lines: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for line in lines:
            sender.sendto(line.encode(), ("127.0.0.1", port))


@contextmanager
def _running(*arguments: str) -> Iterator["subprocess.Popen[str]"]:
    pipe = subprocess.PIPE
    process = subprocess.Popen([*WATCH, *arguments], cwd=CWD, env=environment(), stdout=pipe, stderr=pipe, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _run(command: list[str], environ: dict[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
    """Until it ends, without a terminal."""
    return subprocess.run(
        command,
        cwd=CWD,
        env=environment() if environ is None else environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def _end(process: "subprocess.Popen[str]", number: signal.Signals = signal.SIGINT) -> tuple[int, str, str]:
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    return process.returncode, out, err


# -- pipes


def test_plain_prints_what_is_new_and_flushes_it_and_ctrl_c_is_status_0() -> None:
    port = _free_port()
    with _running("--plain", "--port", str(port)) as process:
        line = ""
        assert process.stdout is not None
        while "shop.orders" not in line:
            _send(port, "shop.orders:3|c|#shop:one")
            os.set_blocking(process.stdout.fileno(), False)
            line = process.stdout.readline() or ""
            time.sleep(0.05)
        os.set_blocking(process.stdout.fileno(), True)
        _send(port, "_e{4,1}:slow|x|t:warning")
        status, out, err = _end(process)
    assert line.split()[1:3] == ["shop.orders", "count"]
    assert line.split()[-1] == "shop:one"
    assert "event warning slow x" in out
    assert (status, err) == (0, "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_json_prints_a_document_a_second_each_on_one_line(number: signal.Signals) -> None:
    """The last one has all that came."""
    port = _free_port()
    with _running("--json", "--port", str(port)) as process:
        assert process.stdout is not None
        first = json.loads(process.stdout.readline())
        _send(port, *SENT)
        status, out, err = _end(process, number)
    assert (status, err) == (0, "")
    assert (first["source"], first["rows"]) == (f"udp 127.0.0.1:{port}", [])
    last = json.loads(out.splitlines()[-1])
    assert len(last["rows"]) == len(SENT)
    assert last["traffic"]["lines"] == len(SENT)


def test_what_is_recorded_is_text_and_replayed_without_a_terminal(tmp_path: Path) -> None:
    """A recording that was edited too; the replay ends without a key."""
    port, path = _free_port(), tmp_path / "feed.txt"
    with _running("--json", "--port", str(port), "--record", str(path)) as process:
        assert process.stdout is not None
        process.stdout.readline()
        _send(port, "shop.orders:3|c|#shop:one")
        assert until(lambda: "shop.orders:3|c|#shop:one" in path.read_text(encoding="utf-8"))
        assert _end(process)[0] == 0
    path.write_text(path.read_text(encoding="utf-8") + "60 shop.orders:4|c|#shop:one\n", encoding="utf-8")
    assert [data for _, data in recording.read(path)] == [b"shop.orders:3|c|#shop:one", b"shop.orders:4|c|#shop:one"]
    command = [*WATCH, "--plain", "--replay", str(path), "--speed", "100"]
    done = _run(command)
    assert (done.returncode, done.stderr) == (0, "")
    words = [line.split()[1:] for line in done.stdout.splitlines()]
    assert ["shop.orders", "count", "7"] in [line[:3] for line in words]
    assert done.stdout.splitlines()[-1].endswith("watch: the recording is over: 2 datagrams")


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_a_stream_that_the_shell_has_closed_changes_nothing_else(tmp_path: Path, closed: str) -> None:
    """The other stream's output is complete, and so is the status."""
    path = tmp_path / "feed.txt"
    path.write_text("0 shop.orders:4|c\n", encoding="utf-8")
    done = _run(["sh", "-c", f'exec "$@" {closed}', "sh", *WATCH, "--plain", "--replay", str(path)])
    assert (done.returncode, done.stderr) == (0, "")
    assert ("shop.orders" in done.stdout) == (not closed.startswith(">"))


def test_a_program_in_a_pipe_keeps_its_output_apart_and_gives_its_status() -> None:
    code = "import os, sys; print(os.environ['DD_DOGSTATSD_PORT']); sys.exit(5)"
    command = [*WATCH, "--json", "--", sys.executable, "-c", code]
    done = _run(command)
    assert done.returncode == 5
    assert done.stderr.strip().isdecimal()
    last = json.loads(done.stdout.splitlines()[-1])
    assert (last["source"], last["note"]) == (
        f"udp 127.0.0.1:{done.stderr.strip()}",
        "the command has ended with status 5",
    )


# -- its page


def _page() -> str:
    return (CWD / "watch.md").read_text(encoding="utf-8")


def test_every_command_line_of_the_page_is_accepted_and_what_it_names_exists() -> None:
    """By the command's own parser."""
    lines = re.findall(r"^wsnova-statsd .*$", _page(), re.MULTILINE)
    assert len(lines) == 10
    for line in lines:
        args, unknown = build_parser().parse_known_args(shlex.split(line)[1:])
        assert (args.command in ("watch", "demo"), unknown) == (True, [])
    assert all((CWD / name).exists() for name in re.findall(r"\]\((\S+)\)", _page()))


def test_the_pages_block_replays_its_recording() -> None:
    [block] = re.findall(r"```python\n(.*?)```", _page(), re.DOTALL)
    assert _run([sys.executable, "-c", block]).stderr == ""


def test_what_follows_the_dashes_belongs_to_the_command() -> None:
    """Further dashes too."""
    parse = build_parser().parse_args
    assert parse(["watch", "--", "wsnova-statsd", "run", "--", "gunicorn", "--plain"]).argv[:4] == [
        "wsnova-statsd",
        "run",
        "--",
        "gunicorn",
    ]
    assert parse(["watch", "--plain"]).argv == []


# -- the terminal


def test_a_program_that_knows_nothing_of_this_library_is_watched_unchanged() -> None:
    """The whole way from install to a live board: its client is on the screen of clients."""
    ticks = [json.dumps({"type": "trade", "price": 100})] * 20
    with WebSocketServer(send_messages(ticks)) as server:
        program = [*COMMAND, "run", str(CWD / "ticker.py"), server.url, "1"]
        with Terminal([*WATCH, "--", *program], environment(), 80, 24, CWD) as terminal:
            assert terminal.wait_for("websocket.connection"), terminal.text
            terminal.type("2")
            assert terminal.wait_for("connected"), terminal.text
            assert "127.0.0.1" in terminal.text
            terminal.type("q")
            assert "\x1b[?1049l" in terminal.end()[1]


def test_from_install_to_a_live_board_in_one_line() -> None:
    """A program is started with its board beside it; its output is on a tab; q ends both, and prints what came."""
    command = [*WATCH, "--", sys.executable, "-c", PROGRAM, "shop.orders:3|c|#shop:one"]
    with Terminal(command, environment(), 80, 24, CWD) as terminal:
        assert terminal.wait_for("orders"), terminal.text
        assert terminal.text.startswith("\x1b")
        terminal.type("5")
        assert terminal.wait_for("it runs"), terminal.text
        terminal.type("q")
        status, text = terminal.end()
    assert status == 0
    assert "\x1b[?1049l" in text
    assert "0 dropped by the kernel; at most" in text.rpartition("\x1b")[2]


@contextmanager
def _tmux(columns: int, rows: int, *arguments: str) -> Iterator[list[str]]:
    """A private tmux server with one window of this size, in which it runs; the command that talks to it."""
    tmux = ["tmux", "-L", f"wsnova-{uuid.uuid4().hex[:8]}", "-f", "/dev/null"]
    size = ["-x", str(columns), "-y", str(rows)]
    subprocess.run([*tmux, "new-session", "-d", *size, *WATCH, *arguments], cwd=CWD, env=environment(), check=True)
    try:
        yield tmux
    finally:
        subprocess.run([*tmux, "kill-server"], check=False)


def _shown(tmux: list[str]) -> list[str]:
    done = subprocess.run([*tmux, "capture-pane", "-p"], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


@pytest.mark.alone
@pytest.mark.needs_tmux
@pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")
@pytest.mark.parametrize(("columns", "rows"), [(80, 24), (40, 15), (200, 50)])
def test_in_a_terminal_every_row_has_name_value_and_distinguishing_tags(columns: int, rows: int) -> None:
    """At any scroll position every series is shown, with its whole name and the tags that differ."""
    port = _free_port()
    with _tmux(columns, rows, "--port", str(port)) as tmux:
        assert until(lambda: any("no metric has arrived" in line for line in _shown(tmux)), 20)
        _send(port, *SENT)
        assert until(lambda: any("process" in line for line in _shown(tmux)), 20)
        seen = set[str]()
        for _ in range(len(SENT) + 4):
            lines = _shown(tmux)
            assert len(lines) == rows
            assert all(len(line) <= columns for line in lines)
            seen |= labels_of(lines)
            subprocess.run([*tmux, "send-keys", "Down"], check=True)
            time.sleep(0.15)
        assert seen == LABELS
        assert _shown(tmux)[-1].startswith(("1-4 screens", "/filter"))


@pytest.mark.parametrize(
    ("arguments", "environ", "reported"),
    [
        ([], {}, "this is not a terminal; use --plain for lines, --json for documents, or --web PORT"),
        (["--port", "70000"], {}, "'70000' is not a port"),
        (["--forward", "localhost"], {}, "'localhost' is not an address"),
        (["--forward", "/nowhere/dsd"], {}, "'/nowhere/dsd' is not a socket"),
        (["--plain", "--speed", "0"], {}, "'0' is not a speed"),
        (["--plain", "--speed", "2"], {}, "--speed is given without --replay"),
        (["--plain", "--json"], {}, "not allowed with argument"),
        (["--json", "--filter", "x"], {}, "--filter is for --plain"),
        (["--plain", "--replay", "/nowhere/x"], {}, "cannot read the recording /nowhere/x: No such file"),
        (["--plain", "--replay", "x", "--port", "1"], {}, "--replay does not listen"),
        (["--plain", "--socket", "x", "--port", "1"], {}, "--socket and --port are given"),
        (["--plain", "--socket", "x", "--", "true"], {}, "a COMMAND is given together with --socket"),
        (["--plain", "--host", "192.0.2.1"], {}, "cannot listen at 192.0.2.1:8125"),
        (["--plain", "--", "/nowhere/program"], {}, "cannot start '/nowhere/program'"),
        (["--profile", "loud"], {}, "'loud'"),
        (["--plain"], {"WSNOVA_STATSD_PROFILE": "loud"}, "WSNOVA_STATSD_PROFILE is 'loud'"),
        (["--plian"], {}, "did you mean '--plain'?"),
    ],
)
def test_bad_input_is_one_sentence_and_status_2(arguments: list[str], environ: dict[str, str], reported: str) -> None:
    done = _run([*WATCH, *arguments], {**environment(), **environ})
    assert (done.returncode, done.stdout) == (2, "")
    assert reported in done.stderr
    assert done.stderr.startswith("wsnova-statsd watch: ")
    assert done.stderr.count("\n") == 1


def test_a_taken_port_is_refused_with_its_holder_and_the_remedy() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        command = [*WATCH, "--plain", "--port", str(port)]
        done = subprocess.run(
            command, cwd=CWD, env=environment(), capture_output=True, text=True, timeout=30, check=False
        )
    assert done.returncode == 2
    assert f"pid {os.getpid()} (" in done.stderr
    assert f"use --port {port + 1}, and set DD_DOGSTATSD_PORT={port + 1}" in done.stderr


@pytest.mark.parametrize(("gone", "arguments"), [("textual", []), ("textual_serve", ["--web", "0"])])
def test_without_the_extra_it_is_named_and_plain_lines_need_none(gone: str, arguments: list[str]) -> None:
    code = f"import sys; sys.modules[{gone!r}] = None; from wsnova_statsd.cli.main import main; "
    code += "sys.stdin.isatty = sys.stdout.isatty = lambda: True; sys.exit(main(sys.argv[1:]))"
    environ = {**environment(), "TERM": "xterm"}
    command = [sys.executable, "-c", code, "watch", "--port", "0", *arguments]
    done = _run(command, environ)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith("is not installed; install it with: pip install 'wsnova-statsd[watch]'\n")
    code = (
        "import sys; [sys.modules.__setitem__(one, None) for one in ('textual', 'textual_serve', 'rich', 'aiohttp')]; "
    )
    code += "from wsnova_statsd.cli.main import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "watch", "--plain", "--", "true"]
    done = _run(command, environ)
    assert (done.returncode, done.stderr) == (0, "")


def test_garbage_ends_nothing_and_is_a_row_of_lint() -> None:
    port = _free_port()
    with _running("--json", "--port", str(port)) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for number in range(200):
                sender.sendto(os.urandom(number * 7), ("127.0.0.1", port))
        _send(port, "shop.orders:3|c")
        status, out, _ = _end(process)
    last = json.loads(out.splitlines()[-1])
    assert status == 0
    assert "shop.orders" in [row["name"] for row in last["rows"]]
    assert sum(one["count"] for one in last["rejected"]) > 100
