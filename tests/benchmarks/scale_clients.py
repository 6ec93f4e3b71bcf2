"""A thousand real clients in one process with a Monitor: what they take, and whether every count of theirs arrived.

The server and the Agent are processes of their own. Run as a module it is the process that is measured: it takes the
server's and the Agent's port, the number of clients, the messages each gets a second, the seconds to watch and whether
there is a Monitor, and writes JSON. Without messages there are pings and pongs only.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Final

import wsnova_statsd as ws

from .agent import Agent, free_port
from .harness import Child, allow_files, run_child
from .memory import resident

SIZE: Final = 330  # bytes of a message
_CONNECTING: Final = 0.02  # seconds of messages for each client beyond those watched: until all are connected
_PATIENCE: Final = 120.0


class _Handled:
    """Counts messages, in each client's thread."""

    def __init__(self, clients: int) -> None:
        self._each = [0] * clients  # one writer each

    def of(self, number: int) -> Any:
        each = self._each

        def handle(message: object) -> None:
            each[number] += 1

        return handle

    @property
    def total(self) -> int:
        return sum(self._each)


def _roles() -> Counter[str]:
    """Threads by what they are for: the id of a client is left out."""
    return Counter("-".join(thread.name.split("-")[:2]) for thread in threading.enumerate())


def _watch(seconds: float, handled: _Handled, reporter: ws.StatsdReporter) -> dict[str, Any]:
    """What the process spends, and sends, in so many seconds."""
    reporter.flush(_PATIENCE)
    packets, size, before = reporter.stats.packets, reporter.stats.bytes, handled.total
    began, worked = time.perf_counter(), time.process_time()
    time.sleep(seconds)
    took, spent = time.perf_counter() - began, time.process_time() - worked
    messages = (handled.total - before) / took
    reporter.flush(_PATIENCE)
    stats = reporter.stats
    return {
        "cpu": spent / took,
        "messages": messages,
        "datagrams": (stats.packets - packets) / took,
        "bytes": (stats.bytes - size) / took,
    }


def main(port: int, agent: int, clients: int, rate: int, seconds: float, *, monitor: bool) -> None:
    allow_files(clients + 200)
    total = round(rate * (seconds + 2 + clients * _CONNECTING))
    query = f"count={total}&size={SIZE}&rate={rate}" if rate else "take"
    handled, before = _Handled(clients), resident()
    reporter = ws.StatsdReporter(host="127.0.0.1", port=agent)
    with ws.Monitor(profile="standard", reporter=reporter) if monitor else nullcontext():
        began = time.perf_counter()
        opened = [
            ws.Client(f"ws://127.0.0.1:{port}/?{query}", client_id=f"c{number}", on_message=handled.of(number)).start()
            for number in range(clients)
        ]
        connecting = time.perf_counter() - began
        figures = _watch(seconds, handled, reporter)
        figures |= {"memory": resident() - before, "threads": _roles(), "series": reporter.stats.series}
        figures["connected"] = sum(client.state is ws.State.CONNECTED for client in opened)
        until = time.monotonic() + _PATIENCE
        while handled.total < clients * total and time.monotonic() < until:
            time.sleep(0.05)
        for client in opened:
            client.close()
        reporter.flush(_PATIENCE)
    stats = reporter.stats
    figures |= {"connecting": connecting, "sent": clients * total, "handled": handled.total, "packets": stats.packets}
    print(json.dumps({**figures, "pending": stats.pending, "lost": dict(stats.lost)}))


@dataclass(frozen=True, slots=True)
class Measured:
    """One run: what the process said of itself, and what the Agent got."""

    clients: int
    rate: int
    monitor: bool
    figures: Mapping[str, Any]
    datagrams: int
    dropped: int
    malformed: int
    arrived: Mapping[str, int]  # sums of counters by metric

    @property
    def faults(self) -> list[str]:
        """What does not add up: what was sent, handled, counted, and what arrived at the Agent."""
        figures = self.figures
        compared = [
            ("clients connected", figures["connected"], self.clients),
            ("messages handled, and sent by the server", figures["handled"], figures["sent"]),
            ("datagrams at the Agent, and sent", self.datagrams, figures["packets"]),
            ("datagrams that the kernel dropped", self.dropped, 0),
            ("malformed datagrams", self.malformed, 0),
            ("pending at the end", figures["pending"], 0),
        ]
        counted = (
            ("messages in batch sums at the Agent, and handled", self._of("message.batch.count"), figures["handled"]),
            ("connections at the Agent, and clients", self._of("connection.completed"), self.clients),
            ("ends of connections at the Agent, and clients", self._of("connection.disconnected"), self.clients),
        )
        if self.monitor:
            compared += counted
        lost = [f"lost: {amount:g} by {cause}" for cause, amount in figures["lost"].items() if amount]
        return [f"{what}: {one:,} and {other:,}" for what, one, other in compared if one != other] + lost

    def _of(self, metric: str) -> int:
        return self.arrived.get(f"websocket.{metric}", 0)


def measure(clients: int, rate: int, seconds: float, *, monitor: bool = True) -> Measured:
    """One run with a server and an Agent of its own."""
    with Child("feed") as feed:
        agent = Agent(free_port()).start()
        try:
            arguments = map(str, (feed.port, agent.address, clients, rate, seconds, int(monitor)))
            figures = json.loads(run_child("scale_clients", *arguments, timeout=600.0))
        finally:
            agent.stop()
    audit = agent.audit
    arrived: Counter[str] = Counter()
    for (name, _), amount in audit.read.items():
        arrived[name] += amount
    return Measured(clients, rate, monitor, figures, audit.datagrams, audit.dropped, len(audit.malformed), arrived)


if __name__ == "__main__":
    whole = [int(one) for one in sys.argv[1:5]]
    main(whole[0], whole[1], whole[2], whole[3], float(sys.argv[5]), monitor=sys.argv[6] == "1")
