"""A receiver with all that is around it, and a link that returns the runs a test sets."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import wsnova_statsd as ws
from tests.unit.messages import made
from wsnova_statsd import events
from wsnova_statsd.client.receiver import Receiver
from wsnova_statsd.link.frames import TEXT, Received, Violation
from wsnova_statsd.link.link import MANY, Driver
from wsnova_statsd.testing.capture import EventLog

NEVER_NS = 2**62
SUMS = (events.MESSAGE_BATCH_PROCESSED, events.MESSAGE_PROCESS_SLOW, events.ERROR_OCCURRED)
EACH = (*SUMS, events.MESSAGE_RECEIVED)
Run = tuple[int, list[bytes]]


class RunLink:
    """Returns these runs, one per read, and then nothing. The keeper puts `kept` into the inbox before them."""

    def __init__(self, runs: Iterable[Run], kept: Sequence[Run] = ()) -> None:
        self.reads = list(runs)
        self.kept = list(kept)
        self.inbox: deque[Received] = deque()
        self.opened_ns = 1
        self.idle = 0.0
        self.kind = self.stamp = 0
        self.unclaimed: list[bytes] = []
        self.driver = Driver.AWAY
        self.in_kernel = 0
        self.breaches: list[Violation] = []
        self.on_breach: Callable[[], object] = lambda: None
        self.on_read: Callable[[], object] = lambda: None
        self.read = 0

    def breach(self, violation: Violation) -> None:
        self.breaches.append(violation)
        self.on_breach()

    def next_run(self, _until: float, *, direct: bool = True) -> list[bytes]:
        self.on_read()
        self.unclaimed = []
        if not self.reads:
            return []
        self.read += 1
        self.kind, run = self.reads.pop(0)
        self.stamp = self.read
        if self.kept:
            kind, payloads = self.kept.pop(0)
            self.inbox.extend((kind, payload, self.stamp) for payload in payloads)
        if not direct or self.inbox:
            self.inbox.extend((self.kind, payload, self.stamp) for payload in run)
            return []
        self.unclaimed = run
        return run

    def reclaim(self) -> None:
        self.put_back([(self.kind, payload, self.stamp) for payload in self.unclaimed])

    def runs(self, turn: Any, bulk: Callable[[], bool]) -> Iterator[list[bytes]]:
        while (run := self.next_run(turn.due / 1e9, direct=bulk())) or self.inbox:
            if len(run) < MANY or not bulk():
                self.reclaim()
                run = []
            yield run

    def put_back(self, rest: Iterable[Received]) -> None:
        self.inbox.extendleft(reversed([*rest]))
        self.unclaimed = []

    def waiting(self) -> tuple[int, int]:
        return len(self.inbox), sum(len(payload) for _, payload, _ in self.inbox) + self.in_kernel


class Answers:
    """What a client's other threads wait for: messages of these payloads, while `active`."""

    def __init__(self) -> None:
        self.active = False
        self.wanted: list[Any] = []
        self.offered: list[Any] = []
        self.found: list[Received] = []

    def offer(self, message: Any, received: Received, *, owner: bool) -> bool:
        self.offered.append(message)
        return message in self.wanted

    @property
    def awaiting(self) -> bool:
        return bool(self.found)

    def met(self, received: Received) -> bool:
        return any(one is received for one in self.found)

    def forget_met(self) -> None:
        self.forgotten = True


class Receiving:
    """A receiver with all that is around it."""

    def __init__(
        self,
        link: RunLink,
        on_message: Callable[[Any], object] | None = None,
        *,
        observed: Sequence[str] = SUMS,
        profile: ws.Profile = ws.FINANCIAL,
        protocol: ws.Protocol | None = None,
    ) -> None:
        self.wire: Any = link
        self.link: RunLink | None = link  # the one in use
        self.made = made(protocol, profile)
        link.on_breach = lambda: setattr(self, "link", None)
        self.bus = self.made.bus
        self.answers = Answers()
        self.answered: list[Any] = []
        self.observed = observed
        connection: Any = self
        requests: Any = self.answers
        self.receiver = Receiver(on_message, self.made.events, requests, connection, self.answered.append)

    def turn(self, due: int = NEVER_NS) -> list[Any]:
        """One turn: what a loop gets."""
        self.receiver.due = due
        return list(self.receiver.messages(self.wire))

    def sums(self, log: EventLog) -> dict[str, int]:
        """All sums so far."""
        self.receiver.flush()
        reported = [one.measurements for one in log.of(events.MESSAGE_BATCH_PROCESSED)]
        names = ("count", "total_size", "errors", "processed")
        return {name: sum(one[name] for one in reported) for name in names}


def run_of(*numbers: int, kind: int = TEXT) -> Run:
    return kind, [b"%d" % number for number in numbers]


def read_all(client: Receiving) -> None:
    """Turns until nothing is left."""
    link = client.link
    while link is not None and (link.reads or link.inbox):
        client.turn()
