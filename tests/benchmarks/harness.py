"""What every benchmark is made of: rows, rounds in which ours and the peer take turns, and processes beside this one.

A measurement is worth something only beside another one of the same minute, so a figure is the median of ratios, one
ratio per round; the lowest and the highest are printed with it. Everything here runs in the main thread.
"""

from __future__ import annotations

import gc
import importlib
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Final, NamedTuple, Self

ROOT: Final = Path(__file__).resolve().parents[2]
ROUNDS: Final = 5


@dataclass(slots=True)
class Costs:
    """What one variant took in each round, in ns for each item: by the wall clock, and of processor time in this
    process."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)


Measured = dict[str, Costs]


class Spent(NamedTuple):
    """What one item took, in ns."""

    wall: float
    cpu: float


class Stopwatch:
    """Measures from its creation, by the wall clock and in processor time of the whole process."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter_ns(), time.process_time_ns()

    def each(self, n: int) -> Spent:
        """What each of `n` items took up to now."""
        cpu, wall = time.process_time_ns(), time.perf_counter_ns()
        return Spent((wall - self._wall) / n, (cpu - self._cpu) / n)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table; `what` is "subject | what it is compared with", or the subject alone. Less is better.

    With `ratios` (one per round) their median is judged, otherwise `ours` itself, as also if the bound is `absolute`.
    `cpu_ratios` are the same in processor time, which other processes of a busy machine disturb less. If processor
    time is what a row is about, both are of that, and its unit says so.
    """

    what: str
    unit: str
    ours: float
    peer: float | None = None
    ratios: tuple[float, ...] = ()
    cpu_ratios: tuple[float, ...] = ()
    at_least: float | None = None
    at_most: float | None = None
    absolute: bool = False
    note: str = ""

    @property
    def subject(self) -> str:
        return self.what.partition(" | ")[0]

    @property
    def against(self) -> str:
        return self.what.partition(" | ")[2]

    @property
    def ratio(self) -> float | None:
        return median(self.ratios) if self.ratios else None

    @property
    def ok(self) -> bool | None:
        """Whether the figure is reached; None for a row that only informs."""
        figure = self.ours if self.ratio is None or self.absolute else self.ratio
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
            "ratios": self.ratios,
            "cpu_ratio": median(self.cpu_ratios) if self.cpu_ratios else None,
            "at_least": self.at_least,
            "at_most": self.at_most,
            "bound_on": "ours" if self.absolute or not self.ratios else "ratio",
            "ok": self.ok,
            "note": self.note,
        }


def _ratios(over: list[float], under: list[float]) -> tuple[float, ...]:
    return tuple(one / other for one, other in zip(over, under, strict=True))


def times_faster(what: str, ours: Costs, peer: Costs, *, at_least: float | None = None) -> Row:
    """How many times less ours takes, round by round."""
    wall, cpu = _ratios(peer.wall, ours.wall), _ratios(peer.cpu, ours.cpu)
    return Row(what, "ns", median(ours.wall), median(peer.wall), wall, cpu, at_least=at_least)


def times_cost(what: str, ours: Costs, base: Costs, *, at_most: float | None = None) -> Row:
    """What ours costs as a multiple of the base, round by round."""
    wall, cpu = _ratios(ours.wall, base.wall), _ratios(ours.cpu, base.cpu)
    return Row(what, "ns", median(ours.wall), median(base.wall), wall, cpu, at_most=at_most)


def cpu_cost(what: str, ours: Costs, base: Costs, *, at_most: float | None = None, note: str = "") -> Row:
    """What ours costs in processor time as a multiple of the base, round by round."""
    cpu = _ratios(ours.cpu, base.cpu)
    return Row(what, "ns of cpu", median(ours.cpu), median(base.cpu), cpu, cpu, at_most=at_most, note=note)


@dataclass(frozen=True, slots=True)
class Run:
    """How thorough this run is, and which peers it had to leave out."""

    quick: bool = False
    rounds: int = ROUNDS
    missing: list[str] = field(default_factory=list)

    def choose(self, full: int, quick: int) -> int:
        return quick if self.quick else full

    def peer(self, distribution: str, module: str) -> Any:
        """The module of a peer from PyPI; None, and noted as missing, if it is not installed."""
        try:
            return importlib.import_module(module)
        except ImportError:
            if distribution not in self.missing:
                self.missing.append(distribution)
            return None

    def alternate(self, variants: Mapping[str, Callable[[int], float | Spent]], n: int | Mapping[str, int]) -> Measured:
        """Measure every variant with `n` items (or its own number) in each round, after a short one to warm up; every
        other round goes backwards. A variant returns its cost per item: ns on the wall, its processor time being that
        of the whole call, or both of just the part that counts."""
        items = n if isinstance(n, Mapping) else dict.fromkeys(variants, n)
        measured: Measured = {name: Costs() for name in variants}
        for name, variant in variants.items():
            variant(max(1, items[name] // 10))
        for index in range(self.rounds):
            for name in list(variants)[:: -1 if index % 2 else 1]:
                gc.collect()  # what one variant left must not be collected in the next one's time
                began = time.process_time_ns()
                spent = variants[name](items[name])
                if not isinstance(spent, Spent):
                    spent = Spent(spent, (time.process_time_ns() - began) / items[name])
                measured[name].wall.append(spent.wall)
                measured[name].cpu.append(spent.cpu)
        return measured


Benchmark = Callable[[Run], Iterable[Row]]
BENCHMARKS: Final[dict[str, Benchmark]] = {}


def benchmark(name: str) -> Callable[[Benchmark], Benchmark]:
    """Register a function that measures and yields rows under the name for `--only`."""

    def register(function: Benchmark) -> Benchmark:
        BENCHMARKS[name] = function
        return function

    return register


class Child:
    """A module of this package as a separate process. It writes its port first, then one line per line it is sent,
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


def allow_files(wanted: int) -> None:
    """Let this process open so many files, as far as the system allows: 1,024 is a common limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def run_child(module: str, *arguments: str, timeout: float = 120.0) -> str:
    """Run a module of this package to its end, and return what it wrote."""
    command = [sys.executable, "-m", f"tests.benchmarks.{module}", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=timeout, check=False)
    if done.returncode:
        raise RuntimeError(f"{command!r} failed:\n{done.stderr}")
    return done.stdout
