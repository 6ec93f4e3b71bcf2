"""`wsnova-statsd watch` under load: its screen of metrics open at 80x24, datagrams from another process.

What was sent must be what it received plus what the kernel dropped; how far behind it was and what share of a core
it took are the figures.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from tests.terminals import Terminal

from .harness import ROOT, Row, Run, benchmark

SERIES: Final = 500
_DATAGRAM: Final = 1432  # bytes
_SLICE: Final = 0.005  # seconds between two bursts of the sender
_ENDED: Final = re.compile(
    r"(\d+) lines in (\d+) datagrams; (\d+) dropped by the kernel; (?:(\d+) forwarded, (\d+) not; )?"
    r"at most ([\d.]+) s behind"
)


@dataclass(frozen=True, slots=True)
class Load:
    """The result of a run. `lines` and `datagrams` are those that were received."""

    sent: int  # datagrams, as the next
    datagrams: int
    dropped: int
    lines: int
    forwarded: int
    seconds: float
    most_behind: float
    core: float  # share of one


def load(lines_per_s: int, seconds: float, *, forward: bool) -> Load:
    """Start it, send to it for so long, quit it by its key; returns what it prints at the end."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, _Agent() as agent:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        command = [sys.executable, "-m", "wsnova_statsd", "watch", "--port", str(port)]
        command += ["--forward", f"127.0.0.1:{agent.port}"] if forward else []
        environ = {**os.environ, "PYTHONPATH": str(ROOT)}
        with Terminal(command, environ, 80, 24, ROOT) as terminal:
            assert terminal.wait_for("lines/s"), terminal.text
            _settle(terminal.process.pid)
            before, began = _cpu_s(terminal.process.pid), time.monotonic()
            sender = [sys.executable, "-m", "tests.benchmarks.watch", str(port), str(lines_per_s), str(seconds)]
            done = subprocess.run(sender, cwd=ROOT, env=environ, capture_output=True, text=True, check=True)
            took = time.monotonic() - began
            core = (_cpu_s(terminal.process.pid) - before) / took
            terminal.type("q")
            status, text = terminal.end()
        ended = _ENDED.search(text)
        assert status == 0, text
        assert ended is not None, text[-500:]
        lines, datagrams, dropped, forwarded = (int(ended[index] or 0) for index in (1, 2, 3, 4))
        return Load(int(done.stdout), datagrams, dropped, lines, forwarded, took, float(ended[6]), core)


class _Agent:
    """A socket that datagrams can be forwarded to, without a reader."""

    def __enter__(self) -> _Agent:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()


def _settle(pid: int) -> None:
    """Wait until what it does at its start is done: a second in which it takes a twentieth of a core at most."""
    for _ in range(10):
        before = _cpu_s(pid)
        time.sleep(1.0)
        if _cpu_s(pid) - before <= 0.05:
            return


def _cpu_s(pid: int) -> float:
    with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def datagrams() -> list[bytes]:
    """Full ones, in which each of the series occurs often: counts, gauges and distributions of ten clients."""
    lines = [
        f"load.part{index % 5}.metric{index % 50}:{index % 97}.5|{'cgd'[index % 3]}|#client:md-{index // 50},env:test"
        for index in range(SERIES)
    ]
    packed: list[list[str]] = [[]]
    for line in lines * 10:
        if sum(len(one) + 1 for one in packed[-1]) + len(line) > _DATAGRAM:
            packed.append([])
        packed[-1].append(line)
    return ["\n".join(lines).encode() for lines in packed[:-1]]


def send(port: int, lines_per_s: int, seconds: float) -> int:
    """Send so many lines a second for so long; how many datagrams that were."""
    prepared = datagrams()
    each = sum(data.count(b"\n") + 1 for data in prepared) / len(prepared)
    sent, began = 0, time.monotonic()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(("127.0.0.1", port))
        while (now := time.monotonic() - began) < seconds:
            while sent < now * lines_per_s / each:
                sock.send(prepared[sent % len(prepared)])
                sent += 1
            time.sleep(_SLICE)
    return sent


@benchmark("watch")
def watch(run: Run) -> Iterator[Row]:
    """At 100,000 lines a second at most a second behind, with and without forwarding; at 1,000 below 5 % of a core."""
    seconds = run.choose(20, 5)
    for forward in (False, True):
        what = f"watch at 100,000 lines/s{', forwarding' if forward else ''}"
        found = load(100_000, seconds, forward=forward)
        lost = found.sent - found.datagrams - found.dropped
        note = f"{found.lines / seconds:,.0f} lines/s received; {found.dropped} of {found.sent} datagrams dropped by "
        note += f"the kernel, {lost} unaccounted for; {found.forwarded} forwarded"
        yield Row(f"{what}, most behind", "s", found.most_behind, at_most=1.0, note=note)
        yield Row(f"{what}, of a core", "%", 100 * found.core)
    found = load(1_000, seconds, forward=False)
    yield Row("watch at 1,000 lines/s, of a core", "%", 100 * found.core, at_most=5.0)


if __name__ == "__main__":
    print(send(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
