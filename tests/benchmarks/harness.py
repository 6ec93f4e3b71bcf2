"""What every benchmark is made of: rows, rounds in which ours and the peer take turns, and processes beside this one.

A measurement is worth something only beside another one of the same minute, so a figure is the median of ratios, one
ratio per round; the lowest and the highest are told with it. Everything here runs in the main thread.
"""

from __future__ import annotations

import gc
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Final, Self

ROOT: Final = Path(__file__).resolve().parents[2]
ROUNDS: Final = 5


@dataclass(slots=True)
class Costs:
    """What one variant took in each round, in ns for each item: on the wall, and of processor time in this process."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)


Measured = dict[str, Costs]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. With `ratios` (one per round) their median is judged, else `ours` itself.

    `cpu_ratios` are the same in processor time, which other processes of a busy machine disturb less.
    """

    what: str
    unit: str
    ours: float
    peer: float | None = None
    ratios: tuple[float, ...] = ()
    cpu_ratios: tuple[float, ...] = ()
    at_least: float | None = None
    at_most: float | None = None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        return median(self.ratios) if self.ratios else None

    @property
    def ok(self) -> bool | None:
        """Whether the figure is reached; None for a row that only informs."""
        figure = self.ours if self.ratio is None else self.ratio
        if self.at_least is not None:
            return figure >= self.at_least
        return None if self.at_most is None else figure <= self.at_most

    def as_json(self) -> dict[str, object]:
        return {
            "what": self.what,
            "unit": self.unit,
            "ours": self.ours,
            "peer": self.peer,
            "ratio": self.ratio,
            "lowest": min(self.ratios, default=None),
            "highest": max(self.ratios, default=None),
            "rounds": len(self.ratios),
            "cpu_ratio": median(self.cpu_ratios) if self.cpu_ratios else None,
            "at_least": self.at_least,
            "at_most": self.at_most,
            "ok": self.ok,
            "note": self.note,
        }


def _ratios(over: list[float], under: list[float]) -> tuple[float, ...]:
    return tuple(one / other for one, other in zip(over, under, strict=True))


def times_faster(what: str, ours: Costs, peer: Costs, *, at_least: float | None = None) -> Row:
    """How many times less ours takes, round by round."""
    wall, cpu = _ratios(peer.wall, ours.wall), _ratios(peer.cpu, ours.cpu)
    return Row(what, "ns", median(ours.wall), median(peer.wall), wall, cpu, at_least=at_least)


def times_cost(what: str, ours: Costs, base: Costs, *, at_most: float) -> Row:
    """What ours costs as a multiple of the base, round by round."""
    wall, cpu = _ratios(ours.wall, base.wall), _ratios(ours.cpu, base.cpu)
    return Row(what, "ns", median(ours.wall), median(base.wall), wall, cpu, at_most=at_most)


@dataclass(frozen=True, slots=True)
class Run:
    """How thorough this run is."""

    quick: bool = False

    def choose(self, full: int, quick: int) -> int:
        return quick if self.quick else full

    def alternate(self, variants: Mapping[str, Callable[[int], float]], n: int) -> Measured:
        """Measure every variant with `n` items in each round, after a short one to warm up; every other round goes
        backwards. A variant returns its cost per item, in ns."""
        measured: Measured = {name: Costs() for name in variants}
        for variant in variants.values():
            variant(max(1, n // 10))
        for index in range(ROUNDS):
            for name in list(variants)[:: -1 if index % 2 else 1]:
                gc.collect()  # what one variant left behind is not to be collected in the next one's time
                began = time.process_time_ns()
                measured[name].wall.append(variants[name](n))
                measured[name].cpu.append((time.process_time_ns() - began) / n)
        return measured


Benchmark = Callable[[Run], Iterable[Row]]
BENCHMARKS: Final[dict[str, Benchmark]] = {}


def benchmark(name: str) -> Callable[[Benchmark], Benchmark]:
    """Register a function that measures and yields rows under the name that `--only` takes."""

    def register(function: Benchmark) -> Benchmark:
        BENCHMARKS[name] = function
        return function

    return register


class Child:
    """A module of this package as a process of its own. It writes its port first, then one line per line it is sent,
    and ends with its input."""

    def __init__(self, module: str, *arguments: str) -> None:
        command = [sys.executable, "-m", f"tests.benchmarks.{module}", *arguments]
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.port = int(self.read())

    def read(self) -> str:
        """The next line it writes."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._process.args!r} ended early")
        return line

    def ask(self, question: str = "") -> str:
        """Send a line, and read the answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(question + "\n")
        self._process.stdin.flush()
        return self.read()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._process.communicate(timeout=10)


def run_child(module: str, *arguments: str, timeout: float = 120.0) -> str:
    """Run a module of this package to its end, and return what it wrote."""
    command = [sys.executable, "-m", f"tests.benchmarks.{module}", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=timeout, check=False)
    if done.returncode:
        raise RuntimeError(f"{command!r} failed:\n{done.stderr}")
    return done.stdout
