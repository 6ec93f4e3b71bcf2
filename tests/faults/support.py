"""What the fault tests share: a quick profile, scripts in separate processes, a server that can be stopped."""

import signal
import subprocess
import sys
import threading
from types import TracebackType

import wsnova_statsd as ws
from tests.support import ROOT
from wsnova_statsd.testing.server import ScriptedConnection

# Every event, and retries that cost no test time; pings are far apart unless a test is about them.
QUICK = ws.FINANCIAL.replace(
    name="quick", ping_interval=30.0, pong_timeout=10.0, retry_base=0.01, retry_cap=0.05, slow_after=100.0
)


def run_script(code: str, timeout: float = 50.0, *arguments: str) -> str:
    """Run a program in a separate process, which has to end well; returns what it printed."""
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", code, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, f"exit code {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


EVERY = 0.3  # seconds between an impatient server's pings
PATIENCE = 2.0  # seconds that it waits for each pong

_SERVER = """
import sys
from wsnova_statsd.testing.server import WebSocketServer, echo, send_messages
script = echo if len(sys.argv) < 2 else send_messages(sys.argv[1:])
with WebSocketServer(script) as server:
    print(server.url, flush=True)
    sys.stdin.read()
"""


class ServerProcess:
    """A WebSocket server in a separate process, which can be frozen. It echoes, or sends the given messages."""

    def __init__(self, *messages: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _SERVER, *messages],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()

    def __enter__(self) -> "ServerProcess":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def freeze(self) -> None:
        """The server stops; its kernel goes on acknowledging TCP."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """The server goes on."""
        self._process.send_signal(signal.SIGCONT)


class Impatient:
    """A server's script: numbered messages, and a ping every EVERY seconds whose pong has to come within PATIENCE.

    `finished` is set after so many pings, or by a pong that did not come.
    """

    def __init__(self, pings: int, messages_per_ping: int = 5) -> None:
        self.sent = 0
        self.gave_up = False
        self.finished = threading.Event()
        self._pings = pings
        self._per_ping = messages_per_ping

    def __call__(self, connection: ScriptedConnection) -> None:
        for _ in range(self._pings):
            for _ in range(self._per_ping):
                connection.send(f'{{"n": {self.sent}}}')
                self.sent += 1
            if not connection.ping().wait(PATIENCE):
                self.gave_up = True
                self.finished.set()
                connection.drop()
                return
            connection.owner.stopping.wait(EVERY)
        self.finished.set()
        connection.recv()
