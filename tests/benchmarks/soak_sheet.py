"""The balance sheet of a soak: pure functions from the reports of processes and Agents to lines, and to what does not
add up.

For each process and way: emitted = delivered + pending + lost by cause, by its own count and `reporter.stats`; and
delivered = received + unread in the queues of killed Agents, by the Agents' counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from .agent import Audit
from .soak_truth import COUNTERS, OWN, SUMS

COUNTED: Final = {*(one.name for one in COUNTERS), OWN}
GROWTH: Final = 24 * 2**20  # bytes of RSS from the end of the warm-up on
_THREADS: Final = 2  # more than at the start: wsnova-keeper and wsnova-clock
_FDS: Final = 8
_MESSAGES: Final = (
    "to_hand",
    "handed",
    "gaps",
    "farewells",
    "handed_there",
    "told_sent",
    "sent_there",
    "told_received",
)


@dataclass(frozen=True, slots=True)
class Line:
    """One process on one way to an Agent; amounts are occurrences of counters."""

    process: str
    way: str
    emitted: float
    delivered: float
    pending: float
    lost: Mapping[str, float]
    received: float
    unread: float

    @property
    def untold(self) -> float:
        """Emitted, and in none of the reporter's figures."""
        return self.emitted - self.delivered - self.pending - sum(self.lost.values())

    @property
    def missing(self) -> float:
        """Delivered, and received nowhere; below zero: received twice."""
        return self.delivered - self.received - self.unread

    def as_json(self) -> dict[str, object]:
        return {**asdict(self), "untold": self.untold, "missing": self.missing}


def _by_process(found: Mapping[tuple[str, tuple[str, ...]], int]) -> dict[str, Counter[str]]:
    """Sums by process and metric name; a client's id begins with its process."""
    sums: dict[str, Counter[str]] = {}
    for (name, tags), amount in found.items():
        if not name.startswith("websocket.reporter."):  # what a reporter sends about itself
            client = next((tag for tag in tags if tag.startswith("client:")), "client:(none)-")
            sums.setdefault(client[7:].rpartition("-")[0], Counter())[name] += amount
    return sums


class Sheet:
    """`processes` are the sheets of workers and their children, `audits` what the Agent of each way saw."""

    def __init__(self, processes: Iterable[Mapping[str, Any]], audits: Mapping[str, Audit]) -> None:
        reported = list(processes)
        self.audits = audits
        self.processes = [one for one in reported if "counts" in one]
        self.faults = [f"{one['process']} hung, or reported nothing" for one in reported if "counts" not in one]
        self.lines: list[Line] = []
        self.links: Counter[str] = Counter()
        for one in self.processes:
            self.links.update(one["counts"])
        for way, audit in audits.items():
            self._way(way, audit)
        self._links()
        for one in self.processes:
            self._size(one)

    def _way(self, way: str, audit: Audit) -> None:
        read, unread = _by_process(audit.read), _by_process(audit.unread)
        for one in self.processes:
            name, counts, reported = one["process"], one["counts"], one["ways"][way]
            came, died = read.pop(name, Counter()), unread.pop(name, Counter())
            line = Line(
                name,
                way,
                sum(amount for metric, amount in counts.items() if metric in COUNTED),
                **reported,
                received=sum(amount for metric, amount in came.items() if metric in COUNTED),
                unread=sum(amount for metric, amount in died.items() if metric in COUNTED),
            )
            self.lines.append(line)
            if line.untold:
                self.faults.append(f"{name} by {way}: {line.untold:g} emitted and untold")
            if line.missing:
                self.faults.append(f"{name} by {way}: {line.missing:g} delivered and missing")
            if one["settled"] and not line.lost:
                compared = COUNTED | (SUMS if way == "unix" else set())
                off = {metric: counts.get(metric, 0) - came[metric] - died[metric] for metric in compared}
                self.faults += [f"{name} by {way}: {metric} is off by {n:g}" for metric, n in off.items() if n]
        self.faults += [f"{way}: counts of an unknown process, {name!r}" for name in {*read, *unread}]
        if audit.malformed:
            self.faults.append(f"{way}: {len(audit.malformed)} malformed datagrams, the first: {audit.malformed[0]}")
        if audit.left_by_drained:
            self.faults.append(f"{way}: Agents that drained left {audit.left_by_drained} datagrams")
        if audit.dropped:
            self.faults.append(f"{way}: the kernel dropped {audit.dropped} datagrams, the queue being full")

    def _links(self) -> None:
        links = self.links
        each = links["websocket.message.received"] + links["websocket.message.sent"]
        each += links["websocket.message.batch.errors"]  # sends that failed; nothing else goes wrong here
        for what, ours, theirs in (
            ("messages in batch sums, and one by one", links["websocket.message.batch.count"], each),
            ("messages received, and handed on", links["to_hand"], links["handed"]),
            ("with a farewell: messages handed on, and sent by the server", links["handed_there"], links["told_sent"]),
            ("with a farewell: messages sent, and got by the server", links["sent_there"], links["told_received"]),
            ("gaps in what a connection brought", links["gaps"], 0),
        ):
            if ours != theirs:
                self.faults.append(f"{what}: {ours} and {theirs}")

    def _size(self, one: Mapping[str, Any]) -> None:
        if "start" not in one:  # a child: it is over too soon
            return
        start, end, name = one["start"], one["end"], one["process"]
        for what, allowed in (("rss", GROWTH), ("threads", _THREADS), ("fds", _FDS)):
            if end[what] - start[what] > allowed:
                self.faults.append(f"{name}: {what} grew from {start[what]} to {end[what]}")
        self.faults += [f"{name}: thread {thread} does not end" for thread in one["stuck"]]

    def as_json(self) -> dict[str, object]:
        return {
            "closes": not self.faults,
            "faults": self.faults,
            "lines": [line.as_json() for line in self.lines],
            "messages": {name: self.links[name] for name in _MESSAGES},
            "agents": {
                way: {
                    "datagrams": audit.datagrams,
                    "drained": audit.drained,
                    "killed": audit.killed,
                    "left": audit.left,
                    "dropped": audit.dropped,
                }
                for way, audit in self.audits.items()
            },
            "processes": [{key: one.get(key) for key in ("process", "start", "end")} for one in self.processes],
        }

    # -- for people ---------------------------------------------------------------------------------------------------

    def text(self) -> str:
        """The table; children are added up beside each parent."""
        heads = ("process", "way", "emitted", "delivered", "pending", "lost", "received", "unread", "off")
        rows = [heads, *(_row(line) for line in self._summed())]
        widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
        table = [
            "  ".join(cell.ljust(width) if at < 2 else cell.rjust(width) for at, (cell, width) in enumerate(pairs))
            for pairs in (list(zip(row, widths, strict=True)) for row in rows)
        ]
        return "\n".join([*table, "", *self._agents(), *self._sizes(), *self._messages(), "", *self._verdict()])

    def _summed(self) -> list[Line]:
        groups: dict[tuple[str, str], list[Line]] = {}
        for line in self.lines:
            parent, _, child = line.process.partition(".")
            groups.setdefault((parent + (" children" if child else ""), line.way), []).append(line)
            groups.setdefault(("~ all", line.way), []).append(line)
        return [_sum(*key, groups[key]) for key in sorted(groups)]

    def _agents(self) -> list[str]:
        return [
            f"Agent on {way}: {audit.datagrams:,} datagrams read; drained {audit.drained} times, "
            f"{audit.left_by_drained} left; killed {audit.killed} times, {sum(audit.left)} left, "
            f"at most {max(audit.left, default=0)} at once"
            for way, audit in self.audits.items()
        ]

    def _sizes(self) -> list[str]:
        return [
            f"{one['process']}: RSS {start['rss'] / 2**20:.1f} MiB after the warm-up, {end['rss'] / 2**20:.1f} at the "
            f"end; threads {start['threads']} and {end['threads']}; open files {start['fds']} and {end['fds']}"
            for one in self.processes
            if "start" in one
            for start, end in [(one["start"], one["end"])]
        ]

    def _messages(self) -> list[str]:
        links = self.links
        sent, failed = links["websocket.message.sent"], links["websocket.message.batch.errors"]
        return [
            f"Messages: {links['handed']:,} handed on, {sent:,} sent, {failed:,} not; in batch sums "
            f"{links['websocket.message.batch.count']:,}, acknowledgements among them",
            f"On {links['farewells']:,} connections with a farewell: the server sent {links['told_sent']:,}, handed on "
            f"{links['handed_there']:,}; sent {links['sent_there']:,}, the server got {links['told_received']:,}",
        ]

    def _verdict(self) -> list[str]:
        return ["It does not close:", *self.faults] if self.faults else ["It closes to zero."]


def _sum(process: str, way: str, lines: list[Line]) -> Line:
    lost: Counter[str] = Counter()
    for line in lines:
        lost.update(line.lost)
    fields = ("emitted", "delivered", "pending", "received", "unread")
    return Line(process, way, lost=lost, **{name: sum(getattr(line, name) for line in lines) for name in fields})


def _row(line: Line) -> tuple[str, ...]:
    lost = " ".join(f"{cause}:{amount:,.0f}" for cause, amount in line.lost.items()) or "0"
    off = abs(line.untold) + abs(line.missing)
    amounts = (line.emitted, line.delivered, line.pending)
    return (
        line.process,
        line.way,
        *(f"{amount:,.0f}" for amount in amounts),
        lost,
        *(f"{amount:,.0f}" for amount in (line.received, line.unread, off)),
    )
