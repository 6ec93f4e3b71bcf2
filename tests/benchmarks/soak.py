"""`python -m tests.benchmarks.soak --minutes N [--seed S] [--json FILE]`: stress everything, then add up.

Processes churn clients, count in threads that come and go, and fork children that count too, while Agents (a Unix
socket and a UDP port) are drained, killed and frozen at random, and the WebSocket server is killed, cut and restarted.
At the end a balance sheet has to add up to zero: exit status 0, or 1 if it does not. The seed decides what happens in
which order; the machine decides when.
"""

from __future__ import annotations

import argparse
import json
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import Any, Final

from .agent import Agent, free_port
from .harness import ROOT
from .soak_sheet import Sheet

_WORKERS: Final = ("w1", "w2")
_WARM_UP: Final = 0.3  # of the time
_WORD: Final = 600.0  # seconds between two progress lines of a long run
_END: Final = 150.0  # seconds that the workers have to end


class Server:
    """The WebSocket server, always on the same port."""

    def __init__(self) -> None:
        self._port = free_port(socket.SOCK_STREAM)
        self.url = f"ws://127.0.0.1:{self._port}"
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        self._process = _python("soak_server", str(self._port))
        assert self._process.stdout is not None
        if not self._process.stdout.readline():
            raise RuntimeError("the WebSocket server ended early")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def tell(self, what: str) -> None:
        """`drop` or `leave`."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(what + "\n")
        self._process.stdin.flush()


class Soak:
    """One run. Everything here is done by the main thread, one fault after the other."""

    def __init__(self, seed: str, folder: Path, stack: ExitStack) -> None:
        self.done: Counter[str] = Counter()
        self._random = Random(seed)
        self._seed = seed
        self.unix = stack.enter_context(Agent(folder / "dsd.socket"))
        self.udp = stack.enter_context(Agent(free_port()))
        self._server = Server()
        stack.callback(self._server.kill)
        self._server.start()
        self._stack = stack

    def run(self, seconds: float) -> Sheet:
        """Cause faults for so long, then start everything again, and add up."""
        end = time.monotonic() + seconds
        where = {"url": self._server.url, "unix": str(self.unix.address), "port": self.udp.address}
        arguments = (self._seed, str(seconds * _WARM_UP), json.dumps(where))
        workers = [_python("soak_worker", name, *arguments) for name in _WORKERS]
        for worker in workers:
            self._stack.callback(worker.kill)
        time.sleep(min(1.0, seconds / 4))  # for the workers to begin
        faults: dict[str, tuple[int, Callable[[], None]]] = {
            "Agent drained": (4, lambda: self._renew(self._either(), Agent.stop)),
            "Agent killed": (3, lambda: self._renew(self._either(), Agent.kill)),
            # A UDP port would not report that its queue is full.
            "Agent frozen": (2, lambda: self._freeze(Agent.thaw)),
            "Agent frozen, then killed": (1, lambda: self._freeze(lambda agent: self._renew(agent, Agent.kill))),
            "server killed": (2, self._renew_server),
            "connections cut": (2, lambda: self._server.tell("drop")),
            "connections closed": (1, lambda: self._server.tell("leave")),
        }
        weights = [weight for weight, _ in faults.values()]
        word = time.monotonic() + _WORD
        while time.monotonic() < end:
            if time.monotonic() >= word:
                word += _WORD
                left = (end - time.monotonic()) / 60
                print(f"{sum(self.done.values()):,} faults so far, {left:.0f} minutes to go", flush=True)
            time.sleep(min(self._random.uniform(0.1, 0.8), max(0.0, end - time.monotonic())))
            (name,) = self._random.choices(list(faults), weights)
            faults[name][1]()
            self.done[name] += 1
            for agent in (self.unix, self.udp):
                if not agent.running:  # its journal is full, after a long while without a fault
                    self._renew(agent, Agent.stop)
        reported: list[dict[str, Any]] = []
        for worker in workers:
            assert worker.stdin is not None
            worker.stdin.close()  # all at once: each waits for what it has pending
            worker.stdin = None
        for name, worker in zip(_WORKERS, workers, strict=True):
            said, _ = worker.communicate(timeout=_END)
            reported += json.loads(said) if said else [{"process": name}]
        for agent in (self.unix, self.udp):
            agent.stop()
        return Sheet(reported, {"unix": self.unix.audit, "udp": self.udp.audit})

    def _either(self) -> Agent:
        return self._random.choice((self.unix, self.udp))

    def _away(self) -> None:
        time.sleep(self._random.uniform(0.0, 0.4))

    def _renew(self, agent: Agent, end: Callable[[Agent], None]) -> None:
        end(agent)
        self._away()
        agent.start()

    def _freeze(self, then: Callable[[Agent], None]) -> None:
        self.unix.freeze()
        self._away()
        then(self.unix)

    def _renew_server(self) -> None:
        self._server.kill()
        self._away()
        self._server.start()


def _python(module: str, *arguments: str) -> subprocess.Popen[str]:
    # Python 3.12 and later warn of a fork beside threads, which is intended here.
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-m", f"tests.benchmarks.{module}", *arguments]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.soak", description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, required=True, metavar="N", help="0.15 is a short one")
    parser.add_argument("--seed", default=None, metavar="S", help="decides what happens; a new one unless given")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the sheet there as well; - is the output")
    options = parser.parse_args(arguments)
    seed = options.seed if options.seed is not None else str(Random().randrange(10**6))
    print(f"seed {seed}, {options.minutes:g} minutes", flush=True)
    with tempfile.TemporaryDirectory(prefix="wsnova-soak-") as folder, ExitStack() as stack:
        soak = Soak(seed, Path(folder), stack)
        sheet = soak.run(options.minutes * 60)
    print(", ".join(f"{name} {times} times" for name, times in sorted(soak.done.items())), end="\n\n")
    print(sheet.text())
    if options.json is not None:
        text = json.dumps({"seed": seed, "done": soak.done, **sheet.as_json()}, indent=2)
        if str(options.json) == "-":
            print(text)
        else:
            options.json.write_text(text + "\n", encoding="utf-8")
    return 1 if sheet.faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
