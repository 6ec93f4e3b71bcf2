"""From the moment in which a server cuts the TCP connection to connection.reconnect.success, on a live listener."""

from __future__ import annotations

import queue
import time
from collections.abc import Iterator, Mapping
from statistics import median
from typing import Any

import wsnova_statsd as ws
from wsnova_statsd.testing.tcp import Connection, TcpServer, cut

from .feed import answer_close
from .harness import Row, Run, benchmark


@benchmark("reconnect")
def reconnect(run: Run) -> Iterator[Row]:
    """At most 50 ms for 99 of 100 cuts; the financial profile."""
    cuts = run.choose(200, 30)
    upgraded: queue.SimpleQueue[Connection] = queue.SimpleQueue()
    restored: queue.SimpleQueue[int] = queue.SimpleQueue()

    def script(connection: Connection) -> None:
        connection.accept_upgrade()
        upgraded.put(connection)
        answer_close(connection)

    def success(event: str, measurements: Mapping[str, Any], metadata: Mapping[str, Any], config: object) -> None:
        restored.put(time.monotonic_ns())

    bus = ws.Bus()
    bus.attach("bench", ws.events.CONNECTION_RECONNECT_SUCCESS, success)
    profile = ws.FINANCIAL.replace(stable_after=0)
    took = []
    with (
        TcpServer(script) as server,
        ws.Client(server.url, profile=profile, on_message=lambda message: None, bus=bus),
    ):
        for _ in range(cuts):
            connection = upgraded.get(timeout=10)
            time.sleep(0.005)  # let the client find the link idle, as it would be
            began = time.monotonic_ns()
            cut(connection.socket)
            took.append((restored.get(timeout=10) - began) / 1e6)
    took.sort()
    p99 = took[min(len(took) - 1, round(0.99 * len(took)))]
    note = f"median {median(took):.1f} ms, {took[0]:.1f} to {took[-1]:.1f} ms"
    yield Row(f"reconnect after a cut, p99 of {cuts}", "ms", p99, at_most=50, note=note)
