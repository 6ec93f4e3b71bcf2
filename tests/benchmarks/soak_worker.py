"""A process of the soak: clients that come and go, threads that count and end, flushes that race, children that count.

Its arguments are its name, a seed, the seconds of warm-up, and as JSON the addresses of Agents and server. It runs
until its input ends, flushes until nothing is pending, and writes one line of JSON: a sheet for itself and each of its
children."""

from __future__ import annotations

import faulthandler
import json
import multiprocessing
import os
import select
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any, Final

import wsnova_statsd as ws
from wsnova_statsd.errors import WsnovaError

from .memory import resident
from .soak_truth import COUNTERS, EVENT, METRICS, OWN, REST, Truth

_CLIENTS: Final = 3
_EMITTERS: Final = 3
_SETTLE: Final = 15.0  # seconds that a process takes at most to flush what is pending at its end
_NAMES: Final = 20  # of children, in turn: a night has thousands, and sheets and Agents' sums are kept by name
_CHILD: Final = 40.0  # seconds after which a child, or a thread at the end, hangs
_PROFILE: Final = ws.FINANCIAL.replace(
    name="soak", ping_interval=1.0, pong_timeout=5.0, retry_base=0.02, retry_cap=0.2, max_attempts=1000
)


class Worker:
    """One process, and what its children inherit."""

    def __init__(self, name: str, url: str, unix: str, port: int) -> None:
        self.name = name
        self.truth = Truth()
        self.ending = threading.Event()
        self.children: dict[str, dict[str, Any]] = {}  # by name; those that hung by process id
        self._url = url
        self._bus = bus = ws.Bus()
        bus.attach_many("soak", {one.event for one in METRICS}, self._observed)
        udp: dict[str, Any] = {"host": "127.0.0.1", "port": port}
        # `stats` says nothing of metrics that are not counters; their sums are compared on arrival.
        self._rest = ws.StatsdReporter(REST, socket_path=unix, bus=bus)
        self._ways = {
            "unix": ws.StatsdReporter(COUNTERS, socket_path=unix, bus=bus),
            "udp": ws.StatsdReporter(COUNTERS, **udp, bus=bus),
        }

    def _observed(self, event: str, measurements: Any, metadata: Any, config: Any) -> None:
        self.truth.observed(event, measurements, metadata)

    def start(self) -> None:
        for reporter in (*self._ways.values(), self._rest):
            reporter.start()

    # -- what is counted ----------------------------------------------------------------------------------------------

    def emit(self, number: int, random: Random, bursts: float = float("inf")) -> None:
        """Count by event and by name."""
        client = f"{self.name}-e{number}"
        metadata, tags = {"client_id": client}, (f"client:{client}",)
        while bursts > 0 and not self.ending.is_set():
            for _ in range(random.randrange(1, 20)):
                self._bus.execute(EVENT, {}, metadata)
                amount = random.randrange(1, 4)
                self.truth.add(OWN, amount)
                for reporter in self._ways.values():
                    reporter.increment(OWN, amount, tags)
            bursts -= 1
            time.sleep(random.random() * 0.01)

    def brief_threads(self, random: Random) -> None:
        """Threads that count a little, and end with counts pending."""
        while not self.ending.wait(random.random() * 0.1):
            brief = [threading.Thread(target=self.emit, args=(9, Random(random.random()), 1)) for _ in range(3)]
            for thread in brief:
                thread.start()
            for thread in brief:
                thread.join()

    def flush(self, random: Random) -> None:
        """Flush beside the flush threads."""
        while not self.ending.wait(random.random() * 0.1):
            random.choice([*self._ways.values(), self._rest]).flush(random.random())

    def watch(self, random: Random) -> None:
        """Read the figures all the time; that folds, also while a packet is on its way."""
        while not self.ending.wait(random.random() * 0.01):
            for reporter in (*self._ways.values(), self._rest):
                assert reporter.stats.delivered >= 0

    def churn(self, number: int, random: Random) -> None:
        """One client after the other, under one id."""
        while not self.ending.is_set():
            self.visit(f"{self.name}-c{number}", random)

    def visit(self, client_id: str, random: Random) -> None:
        """A client's life: receive, send, subscribe, disconnect with a farewell or without. Outages are no fault."""
        link = self.truth.link(client_id)
        client = ws.Client(self._url, client_id=client_id, profile=_PROFILE, bus=self._bus)
        try:
            client.start(5.0)
            left = random.randrange(1, 150)
            for message in client:
                link.handed(message)
                if random.random() < 0.2:
                    with suppress(WsnovaError):
                        client.send({"type": "order", "left": left})
                if random.random() < 0.02:
                    with suppress(WsnovaError):
                        client.subscribe(f"channel-{random.randrange(5)}", timeout=1.0)
                left -= 1
                if left <= 0 or self.ending.is_set():
                    break
            if random.random() < 0.7:
                client.send({"type": "bye"}, wait=1.0)
                begun = link.begun
                while message["type"] != "bye" and link.begun == begun:  # the next connection has no farewell yet
                    message = client.receive(1.0)
                    link.handed(message)
                if message["type"] == "bye" and link.begun == begun:
                    link.farewell(message)
        except (WsnovaError, TimeoutError):
            pass
        finally:
            client.close()

    # -- children -----------------------------------------------------------------------------------------------------

    def bear(self, random: Random) -> None:
        """A child every now and then, by os.fork and by multiprocessing in turn."""
        number = -1
        while not self.ending.wait(random.uniform(0.2, 1.5)):
            number += 1
            name, seed = f"{self.name}.f{number % _NAMES}", random.random()
            reads, writes = os.pipe()
            child = multiprocessing.get_context("fork").Process(target=self._live, args=(name, seed, writes))
            pid = 0
            if number % 2:
                child.start()
                pid = child.pid or 0
            else:
                pid = os.fork()
                if pid == 0:
                    try:
                        self._live(name, seed, writes)
                    finally:
                        os._exit(0)
            os.close(writes)
            reported = _reported(reads)
            if reported is None:
                self.children[str(pid)] = {"process": name, "hung": True}
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            else:
                self.children[name] = together(self.children[name], reported) if name in self.children else reported
            if number % 2:
                child.join()
            else:
                os.waitpid(pid, 0)

    def _live(self, name: str, seed: float, writes: int) -> None:
        """In a child: count afresh, with the inherited reporters and bus, and write the sheet."""
        self.name, self.truth, self.ending = name, Truth(), threading.Event()
        random = Random(seed)
        threads = [threading.Thread(target=self.emit, args=(number, Random(seed), 20)) for number in range(2)]
        if random.random() < 0.5:
            threads.append(threading.Thread(target=self.visit, args=(f"{name}-c0", random)))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        os.write(writes, json.dumps(self.sheet()).encode())

    # -- the end ------------------------------------------------------------------------------------------------------

    def sheet(self) -> dict[str, Any]:
        """Flush until nothing is pending, or time is up; what this process counted and its reporters report."""
        deadline, settled = time.monotonic() + _SETTLE, False
        while not settled and time.monotonic() < deadline:
            counters = [one.flush() and not one.stats.pending for one in self._ways.values()]
            settled = self._rest.flush() and all(counters)
        ways = {}
        for way, reporter in self._ways.items():
            stats = reporter.stats
            ways[way] = {"delivered": stats.delivered, "pending": stats.pending, "lost": dict(stats.lost)}
        return {"process": self.name, "counts": self.truth.counts(), "ways": ways, "settled": settled}


def together(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """The sheet of two processes of one name, the second after the first."""
    ways = {}
    for way, first in one["ways"].items():
        second = other["ways"][way]
        lost = dict(Counter(first["lost"]) + Counter(second["lost"]))
        ways[way] = {key: first[key] + second[key] for key in ("delivered", "pending")} | {"lost": lost}
    counts = dict(Counter(one["counts"]) + Counter(other["counts"]))
    return {**one, "counts": counts, "ways": ways, "settled": one["settled"] and other["settled"]}


def _reported(reads: int) -> dict[str, Any] | None:
    """What a child wrote until its end; None if that does not come in time, or is empty."""
    deadline, data = time.monotonic() + _CHILD, b""
    try:
        while select.select([reads], [], [], max(0.0, deadline - time.monotonic()))[0]:
            piece = os.read(reads, 65536)
            if not piece:
                found: dict[str, Any] | None = json.loads(data) if data else None
                return found
            data += piece
        return None
    finally:
        os.close(reads)


def _size() -> dict[str, int]:
    fds = len(list(Path("/proc/self/fd").iterdir()))
    return {"rss": resident(), "threads": threading.active_count(), "fds": fds}


def main(name: str, seed: str, warm_up: float, where: dict[str, Any]) -> None:
    worker = Worker(name, where["url"], where["unix"], where["port"])
    worker.start()
    start = _size()
    random = Random(f"{seed} {name}")
    work: list[tuple[Callable[..., None], tuple[Any, ...]]] = [
        *((worker.emit, (number,)) for number in range(_EMITTERS)),
        *((worker.churn, (number,)) for number in range(_CLIENTS)),
        *((one, ()) for one in (worker.brief_threads, worker.flush, worker.watch, worker.bear)),
    ]
    # A generator each: the seed does not decide which thread comes first.
    threads = [threading.Thread(target=run, args=(*given, Random(random.random())), daemon=True) for run, given in work]
    for thread in threads:
        thread.start()
    select.select([0], [], [], warm_up)
    start["rss"] = resident()
    os.read(0, 1)  # not sys.stdin: its lock would be held in every child
    worker.ending.set()
    until = time.monotonic() + _CHILD
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
    stuck = [thread.name for thread in threads if thread.is_alive()]
    if stuck:
        faulthandler.dump_traceback(all_threads=True)
    sheet = worker.sheet() | {"start": start, "end": _size(), "stuck": stuck}
    print(json.dumps([sheet, *worker.children.values()]), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]), json.loads(sys.argv[4]))
