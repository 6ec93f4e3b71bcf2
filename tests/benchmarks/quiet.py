"""The memory that each client keeps after a flood.

Run as a module it is a process that holds such clients: its arguments are the feed's port, their number, the messages
of each and the seconds of quiet; it writes JSON. All of them are flooded at once, each in its own thread; there is no
reporter, whose series are measured elsewhere.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from statistics import median

import orjson

import wsnova_statsd as ws

from .endpoints import SIZE
from .harness import Child, Row, Run, allow_files, benchmark, run_child
from .memory import resident
from .receive import Tally, feed_url


def _flood(port: int, clients: int, messages: int) -> list[ws.Client]:
    """Connect so many clients, and return them once each has all its messages."""
    url = f"{feed_url(port, messages, SIZE)}&together={clients}"
    protocol = ws.JsonProtocol(loads=orjson.loads)
    tallies = [Tally(messages) for _ in range(clients)]
    opened = [ws.Client(url, profile=ws.FINANCIAL, protocol=protocol, on_message=tally) for tally in tallies]
    for client in opened:
        client.start(30)
    deadline = time.monotonic() + 60
    for tally in tallies:
        if not tally.done.wait(deadline - time.monotonic()):
            raise RuntimeError(f"not all of {messages} messages came to {clients} clients within 60 s")
    return opened


def main(port: int, clients: int, messages: int, quiet: float) -> None:
    allow_files(4096)
    opened = _flood(port, 1, messages)  # what the first one imports and starts does not count for the others
    before = resident()
    opened += _flood(port, clients, messages)
    after = resident()
    time.sleep(quiet)
    kept = resident()
    connected = sum(client.state is ws.State.CONNECTED for client in opened) - 1
    figures = {"kept": (kept - before) / clients, "flooded": (after - before) / clients, "connected": connected}
    print(json.dumps(figures), flush=True)
    os._exit(0)  # hundreds of close handshakes are not measured


@benchmark("quiet")
def quiet(run: Run) -> Iterator[Row]:
    """At most 80 KiB each. A quick run: fewer clients, and a shorter quiet."""
    clients, seconds = run.choose(200, 50), run.choose(10, 2)
    messages = run.choose(1_000, 200)
    found: list[dict[str, float]] = []
    for _ in range(min(run.rounds, run.choose(3, 1))):
        with Child("feed") as feed:
            found.append(json.loads(run_child("quiet", str(feed.port), str(clients), str(messages), str(seconds))))
    kept, flooded = ([one[name] / 1024 for one in found] for name in ("kept", "flooded"))
    note = f"{min(kept):.0f} to {max(kept):.0f} KiB; {median(flooded):.0f} KiB right after the flood"
    if (connected := min(one["connected"] for one in found)) < clients:
        note += f"; only {connected:g} were connected at the end"
    what = f"memory of each of {clients:,} clients, {seconds} s after {messages:,} messages of {SIZE} B each"
    yield Row(what, "KiB", median(kept), at_most=80, note=note)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
