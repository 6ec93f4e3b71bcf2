"""What clients cost that receive nothing but pongs: memory, threads and processor time, against WebSocketApp.

Run as a module it is a process that holds such clients: its arguments are their kind, the feed's port, their number,
the seconds between two pings and the seconds to watch, and writes JSON. Each client has received 300 bytes by then.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

import websocket

import wsnova_statsd as ws

from .harness import Child, Row, Run, allow_files, benchmark, run_child
from .memory import resident
from .receive import feed_url

# Of the process, however many clients it has
_SHARED_THREADS = ("MainThread", "wsnova-keeper", "wsnova-clock")
# Dials once; calls back for the message, and returns a function that says whether it is connected
_Connect = Callable[[Callable[[], object]], Callable[[], bool]]


def _ours(url: str, ping_interval: float) -> _Connect:
    profile = ws.STANDARD.replace(ping_interval=ping_interval, pong_timeout=ping_interval / 2)

    def connect(observed: Callable[[], object]) -> Callable[[], bool]:
        client = ws.Client(url, profile=profile, protocol=ws.Protocol(), on_message=lambda message: observed())
        client.start(30)
        return lambda: client.state is ws.State.CONNECTED

    return connect


def _by_websocket_app(url: str, ping_interval: float) -> _Connect:
    options = {"ping_interval": ping_interval, "ping_timeout": ping_interval / 2}

    def connect(observed: Callable[[], object]) -> Callable[[], bool]:
        def message(app: object, text: object) -> None:
            observed()

        app = websocket.WebSocketApp(url, on_message=message)
        threading.Thread(target=app.run_forever, kwargs=options, daemon=True).start()
        return lambda: app.sock is not None and bool(app.sock.connected)

    return connect


_SIDES: dict[str, Callable[[str, float], _Connect]] = {"ours": _ours, "peer": _by_websocket_app}


def _open(connect: _Connect, clients: int) -> list[Callable[[], bool]]:
    """One after the other, each once the one before has its message; then a moment to settle."""
    opened = []
    observed = threading.Semaphore(0)
    for _ in range(clients):
        opened.append(connect(observed.release))
        if not observed.acquire(timeout=30):
            raise RuntimeError(f"client {len(opened)} got no message within 30 s")
    time.sleep(0.2)
    return opened


def main(side: str, port: int, clients: int, ping_interval: float, seconds: float) -> None:
    allow_files(4096)
    connect = _SIDES[side](feed_url(port, 1, 300), ping_interval)
    opened = _open(connect, 1)  # what the first one imports and starts does not count for the others
    before = resident()
    opened += _open(connect, clients - 1)
    memory = (resident() - before) / (clients - 1)
    threads = sum(thread.name not in _SHARED_THREADS for thread in threading.enumerate())
    began, worked = time.perf_counter(), time.process_time()
    time.sleep(seconds)
    share = (time.process_time() - worked) / (time.perf_counter() - began)
    connected = sum(alive() for alive in opened)
    figures = {"KiB": memory / 1024, "threads": threads / clients, "%": share * 100, "connected": connected}
    print(json.dumps(figures), flush=True)
    os._exit(0)  # a thousand close handshakes are not measured


@benchmark("idle")
def idle(run: Run) -> Iterator[Row]:
    """At most 60 KiB and one thread each, and 1 % of a core. A quick run: fewer clients, as many pings a second."""
    clients, ping_interval = run.choose(1_000, 100), run.choose(20, 2)
    rounds = min(run.rounds, run.choose(3, 1))
    found: dict[str, list[dict[str, Any]]] = {side: [] for side in _SIDES}
    for index in range(rounds):
        for side in list(_SIDES)[:: -1 if index % 2 else 1]:
            with Child("feed") as feed:  # a new one, so that the end of one side's clients does not slow the other's
                arguments = (side, str(feed.port), str(clients), str(ping_interval), str(ping_interval))
                found[side].append(json.loads(run_child("idle", *arguments)))
    least = {side: min(one["connected"] for one in figures) for side, figures in found.items()}
    lost = [f"{side}: only {alive} were connected at the end" for side, alive in least.items() if alive < clients]
    what = f"{clients:,} idle clients, a ping every {ping_interval} s"
    for unit, name, most in (("KiB", "memory of each", 60), ("threads", "threads of each", 1), ("%", "of a core", 1)):
        ours, peer = ([one[unit] for one in found[side]] for side in ("ours", "peer"))
        ratios = tuple(other / one for one, other in zip(ours, peer, strict=True))
        yield Row(
            f"{what}: {name} | WebSocketApp",
            unit.removeprefix("threads"),
            median(ours),
            median(peer),
            ratios,
            at_most=most,
            absolute=True,
            note="; ".join(lost),
        )


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]), float(sys.argv[5]))
