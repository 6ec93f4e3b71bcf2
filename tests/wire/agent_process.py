"""An Agent in a separate process: adds up what it reads, starts and stops on command, and reports its totals at the
end.

    python -m tests.wire.agent_process unix PATH | udp PORT

Commands by line: `stop` drains what has arrived and releases the address, `start` binds it again, `end` drains and
prints totals by name as JSON. Each answers with a line.
"""

import json
import os
import selectors
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

from wsnova_statsd.testing.dogstatsd import DatagramError, Metric, parse_datagram


class AgentProcess:
    """The other side of the pipe: starts it, sends it commands, ends it with the context."""

    def __init__(self, kind: str, where: str) -> None:
        self._command = [sys.executable, "-m", "tests.wire.agent_process", kind, where]

    def __enter__(self) -> Self:
        root = Path(__file__).resolve().parents[2]
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root
        )
        self._answer()
        return self

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the Agent's process ended"
        return line

    def tell(self, command: str) -> str:
        assert self._process.stdin is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        return self._answer()

    def end(self) -> dict[str, float]:
        """Totals by name, after everything that was sent has been read; `malformed` is one of them."""
        totals: dict[str, float] = json.loads(self.tell("end"))
        return totals

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait(30)
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()


class _Agent:
    def __init__(self, kind: str, where: str) -> None:
        self._unix = kind == "unix"
        self._where = where
        self._totals: dict[str, float] = {"malformed": 0}
        self.sock: socket.socket | None = None

    def start(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX if self._unix else socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 * 2**20)
        self.sock.bind(self._where if self._unix else ("127.0.0.1", int(self._where)))
        self.sock.setblocking(False)

    def stop(self) -> None:
        """Accept no more, read what has arrived, and stop: nothing that was accepted is lost."""
        if self.sock is not None:
            if self._unix:
                os.unlink(self._where)
                self.sock.shutdown(socket.SHUT_RD)
            self.read()
            self.sock.close()
            self.sock = None

    def read(self) -> None:
        assert self.sock is not None
        while True:
            try:
                data = self.sock.recv(65536)
            except BlockingIOError:
                return
            if not data:
                return
            self._add(data)

    def _add(self, data: bytes) -> None:
        try:
            messages: list[Any] = parse_datagram(data)
        except DatagramError:
            self._totals["malformed"] += 1
            return
        for message in messages:
            name, amount = (message.name, message.count) if isinstance(message, Metric) else ("other", 1)
            self._totals[name] = self._totals.get(name, 0) + amount

    def account(self) -> str:
        return json.dumps(self._totals)


def main(kind: str, where: str) -> None:
    agent = _Agent(kind, where)
    agent.start()
    print("ready", flush=True)
    with selectors.DefaultSelector() as selector:
        selector.register(sys.stdin, selectors.EVENT_READ)
        while True:
            if agent.sock is not None:
                selector.register(agent.sock, selectors.EVENT_READ)
            ready = [key.fileobj for key, _ in selector.select()]
            if agent.sock is not None:
                selector.unregister(agent.sock)
                agent.read()
            if sys.stdin in ready:
                command = sys.stdin.readline().strip()
                if command in ("stop", "end", ""):
                    agent.stop()
                elif agent.sock is None:
                    agent.start()
                print(agent.account() if command == "end" else "done", flush=True)
                if command in ("end", ""):
                    return


if __name__ == "__main__":
    main(*sys.argv[1:])
