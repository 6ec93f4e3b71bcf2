"""`wsnova-statsd listen` as users start it: a real server, real pipes and terminals, signals, an Agent or none."""

import contextlib
import json
import os
import pty
import re
import shlex
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pytest

from tests.support import LATE, ROOT, authority, tls_contexts, until
from wsnova_statsd.testing import DogStatsDReceiver
from wsnova_statsd.testing.server import ScriptedConnection, WebSocketServer, closes, echo, send_messages

SOON = 30.0  # seconds: a start imports everything, on a machine that may be busy
TRADES = [json.dumps({"type": "trade" if number % 2 else "quote", "n": number}) for number in range(1, 11)]


class Listener:
    """The command as a process; its output is in files, so that nothing blocks it."""

    def __init__(self, folder: Path, *arguments: str, stdin: int | IO[bytes] = subprocess.DEVNULL, **variables: str):
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("DD_", "DATADOG_"))}
        self._out, self._err = folder / "out", folder / "err"
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-W", "error", "-m", "wsnova_statsd", "listen", *arguments],
                cwd=folder,
                env={**kept, "PYTHONPATH": str(ROOT), **variables},
                stdin=stdin,
                stdout=out,
                stderr=err,
            )

    @property
    def out(self) -> str:
        return self._out.read_text(encoding="utf-8")

    @property
    def err(self) -> str:
        return self._err.read_text(encoding="utf-8")

    def says(self, text: str) -> None:
        """Wait until it has printed this, on either stream."""
        assert until(lambda: text in self.out + self.err or self.process.poll() is not None, SOON)
        assert text in self.out + self.err, self.err

    def type(self, text: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(text.encode())
        self.process.stdin.flush()

    def ended(self) -> int:
        return self.process.wait(SOON)

    def row(self, name: str) -> list[str]:
        """The last row of this name in a table."""
        return [line.split() for line in self.err.splitlines() if line.split()[:1] == [name]][-1]


@pytest.fixture
def listen(tmp_path: Path) -> Iterator[Callable[..., Listener]]:
    with contextlib.ExitStack() as stack:

        def start(*arguments: str, **options: Any) -> Listener:
            made = Listener(tmp_path, *arguments, **options)
            stack.callback(made.process.wait, SOON)
            stack.callback(made.process.kill)
            if made.process.stdin is not None:
                stack.callback(made.process.stdin.close)
            return made

        yield start


@pytest.fixture
def agent() -> Iterator[DogStatsDReceiver]:
    with DogStatsDReceiver() as receiver:
        yield receiver
    assert receiver.malformed == []


Listen = Callable[..., Listener]


def test_messages_go_to_stdout_and_everything_else_to_stderr(listen: Listen, agent: DogStatsDReceiver) -> None:
    """Ctrl-C closes with code 1000, prints the table and ends with 130; each message is counted at the Agent."""
    codes: list[int | None] = []

    def script(connection: ScriptedConnection) -> None:
        for trade in TRADES:
            connection.send(trade)
        for _ in connection:
            pass
        codes.append(connection.close_code)

    with WebSocketServer(script) as server:
        listener = listen(server.url, "--to", f"{agent.host}:{agent.port}")
        listener.says(TRADES[-1])
        listener.process.send_signal(signal.SIGINT)
        assert listener.ended() == 130
        assert until(lambda: codes == [1000])
    assert listener.out.splitlines() == TRADES
    assert re.search(rf"connected to {server.url} after", listener.err)
    assert listener.err.index("closed the connection") < listener.err.index("in all,")
    assert listener.row("throughput_per_s")[1] == "10"
    assert "\x1b" not in listener.out + listener.err
    assert agent.count("websocket.message.batch.count", tags=("direction:received",)) == 10


def test_to_changes_only_where_metrics_go(listen: Listen, agent: DogStatsDReceiver) -> None:
    """Names and tags are still those of the variables."""
    elsewhere = {"WSNOVA_STATSD_HOST": "10.0.0.1", "DD_DOGSTATSD_URL": "udp://10.0.0.1:1"}
    own = {"WSNOVA_STATSD_NAMESPACE": "feeds", "WSNOVA_STATSD_TAGS": "team:md"}
    with WebSocketServer(send_messages(TRADES)) as server:
        listener = listen(server.url, "--count", "10", "--to", f"{agent.host}:{agent.port}", **elsewhere, **own)
        assert listener.ended() == 0
    assert agent.count("feeds.websocket.connection.completed", tags=("team:md",)) == 1


def test_without_an_agent_the_table_still_counts(listen: Listen, agent: DogStatsDReceiver) -> None:
    """Each table names the Agent's fault once; the DD_* variables name the Agent, and SIGTERM ends the command."""
    agent.stop()
    with WebSocketServer(send_messages(TRADES)) as server:
        url = f"udp://{agent.host}:{agent.port}"
        listener = listen(server.url, "--profile", "financial", DD_DOGSTATSD_URL=url)
        listener.says(TRADES[-1])
        listener.says("the last 10 s")
        listener.process.send_signal(signal.SIGTERM)
        assert listener.ended() == 0
    assert listener.err.count("Agent at") == listener.err.count("accepts nothing: refused") == 2
    assert "cannot send metrics" not in listener.err
    assert sum("websocket.message.received " in line for line in listener.err.splitlines()) == 4  # two types, twice


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        (["--count", "3"], TRADES[:3]),
        (["--count", "2", "--filter", "type=trade n>4"], [TRADES[4], TRADES[6]]),
        (["--count", "1", "--filter", "QUOTE"], [TRADES[1]]),
    ],
)
def test_it_ends_when_so_many_were_printed(listen: Listen, options: list[str], shown: list[str]) -> None:
    """Filtered messages are still counted."""
    with WebSocketServer(send_messages(TRADES)) as server:
        listener = listen(server.url, *options)
        assert listener.ended() == 0
    assert listener.out.splitlines() == shown


def test_channels_and_headers_reach_the_server(listen: Listen) -> None:
    """For any protocol by name."""

    def script(connection: ScriptedConnection) -> None:
        asked = json.loads(connection.recv())
        connection.send(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": asked["params"]["channels"]}))
        connection.send(json.dumps({"jsonrpc": "2.0", "method": "trades", "params": {"price": 1}}))

    with WebSocketServer(script) as server:
        listener = listen(
            server.url, "--protocol", "jsonrpc", "--subscribe", "trades.BTC", "--header", "X-Key: k", "--count", "1"
        )
        assert listener.ended() == 0
        assert server.requests[0].headers["X-Key"] == "k"
    assert json.loads(listener.out) == {"jsonrpc": "2.0", "method": "trades", "params": {"price": 1}}
    assert "subscribed to trades.BTC" in listener.err


def test_lines_of_the_input_are_sent_and_its_end_ends_nothing(listen: Listen) -> None:
    """Unless a time to wait is passed; each as it is."""
    with WebSocketServer(echo) as server:
        listener = listen(server.url, stdin=subprocess.PIPE)
        listener.type('{"subscribe": "btc"}\nné\n')
        listener.says("né")
        assert listener.process.stdin is not None
        listener.process.stdin.close()
        server.send_all("still here")
        listener.says("still here")
        assert server.received == ['{"subscribe": "btc"}', "né"]
        listener.process.send_signal(signal.SIGINT)
        assert listener.ended() == 130


def test_it_waits_for_so_long_after_the_end_of_the_input(listen: Listen) -> None:
    """And then ends in order."""
    with WebSocketServer(echo) as server:
        listener = listen(server.url, "--eof-wait", "0.5", stdin=subprocess.PIPE)
        listener.type("one\ntwo")
        assert listener.process.stdin is not None
        listener.process.stdin.close()
        assert listener.ended() == 0
        assert server.received == ["one", "two"]
    assert listener.out.splitlines() == ["one", "two"]


def test_it_survives_cuts_and_sends_what_was_typed_meanwhile(listen: Listen) -> None:
    """The line waits for the next link."""
    with WebSocketServer(echo) as server:
        listener = listen(server.url, "--count", "2", "--profile", "financial", stdin=subprocess.PIPE)
        listener.type("before\n")
        listener.says("before")
        server.stop(drop=True)
        listener.says("lost the connection")
        listener.type("meanwhile\n")
        time.sleep(0.2)
        server.start()
        assert listener.ended() == 0
        assert server.received == ["before", "meanwhile"]
    assert listener.out.splitlines() == ["before", "meanwhile"]
    assert "reconnected " in listener.err


def test_a_line_that_is_no_utf_8_is_reported_and_the_next_one_sent(listen: Listen) -> None:
    with WebSocketServer(echo) as server:
        listener = listen(server.url, "--count", "1", stdin=subprocess.PIPE)
        assert listener.process.stdin is not None
        listener.process.stdin.write(b"\xff\xfe\nfine\n")
        listener.process.stdin.flush()
        assert listener.ended() == 0
        assert server.received == ["fine"]
    assert "wsnova-statsd listen: a line is not UTF-8, and was not sent" in listener.err


def test_a_feed_of_garbage_moves_no_cursor_and_fills_no_screen(listen: Listen) -> None:
    """Each message is a line; with a protocol that cannot read them, they are counted and reported once."""
    rubbish: list[str | bytes] = [
        "\x1b[2J\x1b]0;owned\x07",
        "a\nb",
        b"\x00\x1b[2J",
        "",
        "{",
        "[" * 50_000,
        *["no json"] * 50,
    ]
    with WebSocketServer(send_messages([*rubbish, "end"])) as server:
        listener = listen(server.url, "--count", str(len(rubbish) + 1))
        assert listener.ended() == 0
        lines = listener.out.split("\n")[:-1]
        assert len(lines) == len(rubbish) + 1
        assert lines[:4] == ["\\u001b[2J\\u001b]0;owned\\u0007", "a\\nb", "binary, 5 bytes: 001b5b324a", ""]
        strict = listen(server.url, "--protocol", "json", "--filter", "never", "--eof-wait", "1")
        assert strict.ended() == 0
    assert strict.out == ""
    assert strict.err.count("cannot be decoded") <= 6
    assert "more events, like these or too many to print" in strict.err
    assert "\x1b" not in listener.out + strict.err


def test_raw_is_what_came_byte_for_byte(listen: Listen, tmp_path: Path) -> None:
    with WebSocketServer(send_messages(["\x1b[2J é", b"\x00\xff"])) as server:
        assert listen(server.url, "--raw", "--count", "2").ended() == 0
    assert (tmp_path / "out").read_bytes() == "\x1b[2J é\n".encode() + b"\x00\xff\n"


@pytest.mark.parametrize(
    ("url", "reported"),
    [
        ("ws://127.0.0.1:{refusing}/nothing", "the server answered"),
        ("wss://localhost:{secure}/", "TLS with localhost failed"),
    ],
)
def test_what_no_retry_fixes_ends_it_in_a_sentence(listen: Listen, url: str, reported: str) -> None:
    """Status 1; the table is still printed."""
    from websockets.http11 import Response

    def refuse(connection: Any, request: Any) -> Response:
        return connection.respond(404, "no such feed\n")  # type: ignore[no-any-return]

    with (
        WebSocketServer(process_request=refuse) as refusing,
        WebSocketServer(ssl=tls_contexts()[0]) as secure,
    ):
        listener = listen(url.format(refusing=refusing.port, secure=secure.port))
        assert listener.ended() == 1
    last = listener.err.splitlines()[-1]
    assert last.startswith("wsnova-statsd listen: ")
    assert reported in last or "404" in last
    assert "in all," in listener.err


def test_authorities_of_your_own_are_named_by_a_variable(listen: Listen, tmp_path: Path) -> None:
    """SSL_CERT_FILE, as --help says."""
    authority().cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    with WebSocketServer(send_messages(TRADES), ssl=tls_contexts()[0]) as server:
        listener = listen(f"wss://localhost:{server.port}/", "--count", "1", SSL_CERT_FILE=str(tmp_path / "ca.pem"))
        assert listener.ended() == 0
    assert listener.out.splitlines() == TRADES[:1]


def test_ctrl_c_ends_it_while_it_has_no_connection_yet(listen: Listen) -> None:
    """At once, with the table."""
    with WebSocketServer() as server:
        url = server.url
    listener = listen(url)
    listener.says("nothing listens")
    began = time.monotonic()
    listener.process.send_signal(signal.SIGINT)
    assert listener.ended() == 130
    assert time.monotonic() - began < 2.0 + LATE
    assert "in all," in listener.err


def test_a_server_that_closes_the_connection_is_dialled_again(listen: Listen) -> None:
    with WebSocketServer(closes(1001)) as server:
        listener = listen(server.url, "--profile", "financial")
        assert until(lambda: server.connections >= 2, SOON)
        listener.process.send_signal(signal.SIGTERM)
        assert listener.ended() == 0
    assert "lost the connection: close_1001" in listener.err


def test_a_reader_that_closes_its_pipe_ends_it(tmp_path: Path) -> None:
    """As `| head` does; without a traceback."""
    with WebSocketServer(send_messages(TRADES * 50)) as server:
        command = f"{sys.executable} -m wsnova_statsd listen {server.url} 2>{tmp_path / 'err'} | head -n 2"
        environ = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            ["sh", "-c", command], env=environ, stdin=subprocess.DEVNULL, capture_output=True, timeout=SOON, check=False
        )
    assert done.stdout.decode().splitlines() == TRADES[:2]
    assert "Traceback" not in (tmp_path / "err").read_text()


class Terminal:
    """The command on its own terminal, whose master side is here; what is shown is in `seen`."""

    def __init__(self, *arguments: str, behind: str | None = None, **variables: str) -> None:
        environ = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", **variables}
        environ.pop("NO_COLOR", None) if "NO_COLOR" not in variables else None
        self.pid, self.master = pty.fork()
        if not self.pid:
            command = [sys.executable, "-m", "wsnova_statsd", "listen", *arguments]
            if behind is not None:  # a shell is in front, and runs this meanwhile
                command = ["/bin/sh", "-mc", f"{shlex.join(command)} & {behind}"]
            os.execve(command[0], command, environ)
        attributes = termios.tcgetattr(self.master)
        attributes[3] &= ~termios.ECHO
        termios.tcsetattr(self.master, termios.TCSANOW, attributes)
        os.set_blocking(self.master, False)
        self.seen = ""

    def shows(self, text: str) -> bool:
        """Wait until this is seen."""

        def read() -> bool:
            with contextlib.suppress(OSError):  # nothing yet, or the end
                self.seen += os.read(self.master, 65536).decode(errors="replace")
            return text in self.seen

        return until(read, SOON)

    def ended(self) -> int:
        found: list[int] = []

        def over() -> bool:
            self.shows_now()
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                found.append(os.waitstatus_to_exitcode(status))
            return bool(pid)

        assert until(over, SOON)
        self.shows_now()
        os.close(self.master)
        return found[0]

    def shows_now(self) -> None:
        with contextlib.suppress(OSError):
            self.seen += os.read(self.master, 65536).decode(errors="replace")


@pytest.mark.parametrize("no_colour", [False, True])
def test_on_a_terminal_lines_are_typed_and_messages_are_in_colour(no_colour: bool) -> None:
    """Ctrl-C is typed there too; NO_COLOR applies."""
    with WebSocketServer(echo) as server:
        terminal = Terminal(server.url, **({"NO_COLOR": "1"} if no_colour else {}))
        assert terminal.shows("connected to")
        os.write(terminal.master, b'{"price": 5}\n')
        assert terminal.shows('{"price": 5}' if no_colour else '{\x1b[36m"price"\x1b[0m: \x1b[33m5\x1b[0m}')
        os.write(terminal.master, b"\x03")
        assert terminal.ended() == 130
        assert server.received == ['{"price": 5}']
    assert "in all," in terminal.seen
    assert ("\x1b" in terminal.seen) is not no_colour


def test_in_the_background_of_a_terminal_it_reads_nothing_and_goes_on(tmp_path: Path) -> None:
    """What is typed goes to the shell."""
    with WebSocketServer(echo) as server:
        front = (
            f'while ! test -e {shlex.quote(str(tmp_path / "go"))}; do sleep 0.1; done; read line; echo "shell: $line"'
        )
        terminal = Terminal(server.url, behind=f"{front}; kill %1; wait", NO_COLOR="1")
        assert terminal.shows("connected to")
        os.write(terminal.master, b"typed\n")
        time.sleep(1.5)  # it has checked its input since, and nothing else has
        server.send_all("a message")
        assert terminal.shows("a message")
        (tmp_path / "go").touch()
        assert terminal.shows("shell: typed")
        assert terminal.shows("in all,")
        terminal.ended()
        assert server.received == []
