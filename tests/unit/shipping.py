"""A reporter's parts without thread or socket, on a clock that stands still; the official client is real."""

import socket
from collections.abc import Callable, Iterable

from wsnova_statsd.metrics.definitions import Definition, Kind
from wsnova_statsd.metrics.direct import Direct, TagsGiven
from wsnova_statsd.metrics.store import Store
from wsnova_statsd.reporters.agent import Agent
from wsnova_statsd.reporters.figures import Stats
from wsnova_statsd.reporters.outbox import Outbox
from wsnova_statsd.reporters.settings import Address
from wsnova_statsd.reporters.shipping import Destination, Shipper
from wsnova_statsd.reporters.statsd import official_client
from wsnova_statsd.testing.clock import FakeClock
from wsnova_statsd.testing.dogstatsd import Event, Message, Metric, parse_datagram

ADDRESS = Address("agent", 8125, None)


class Line:
    """The other end: accepts packets, or refuses every one from the `after`th on with `error`."""

    family = socket.AF_INET

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.tried = 0
        self.error: BaseException | None = None
        self.after = 0

    def go(self, error: BaseException | None = None, after: int = 0) -> None:
        """From here on refuse, after so many packets more."""
        self.error = error if error is not None else ConnectionRefusedError(111, "Connection refused")
        self.after = after

    def come(self) -> None:
        self.error = None

    def connect(self, deadline: float) -> "Line":
        return self

    def send(self, data: bytes) -> int:
        self.tried += 1
        if self.error is not None:
            if self.after == 0:
                raise type(self.error)(*self.error.args)  # each with its own traceback
            self.after -= 1
        self.messages += parse_datagram(data)
        return len(data)

    def getsockopt(self, level: int, option: int) -> int:
        return socket.SOCK_DGRAM if option == socket.SO_TYPE else 0

    def close(self) -> None:
        """Nothing is open."""

    def count(self, name: str) -> float:
        return sum(one.count for one in self.messages if isinstance(one, Metric) and one.name == name)

    def values(self, name: str) -> list[float]:
        return [value for one in self.messages if isinstance(one, Metric) and one.name == name for value in one.values]

    def events(self) -> list[Event]:
        return [one for one in self.messages if isinstance(one, Event)]


class Parts:
    """Store, outbox and shipper of a reporter; `flush` is that of its thread."""

    def __init__(self, max_samples: int = 5000, enabled: bool = True, definitions: Iterable[Definition] = ()) -> None:
        self.clock = FakeClock()
        self.line = Line()
        self.store = Store(max_samples=max_samples)
        self.outbox = Outbox(False, self.clock)
        to = Destination(ADDRESS, self._agent, "", (), enabled)
        self.shipper = Shipper(self.store, self.outbox, to, self.clock, definitions)
        self.count = self._writer("counter")
        self.add = self._writer("sum")
        self.set = self._writer("gauge")
        self.sample = self._writer("distribution")

    def _writer(self, kind: Kind) -> Callable[..., None]:
        write = Direct(self.store, kind, False).write

        def call(name: str, value: float = 1, tags: TagsGiven = ()) -> None:
            write(name, value, tags)

        return call

    def _agent(self) -> Agent:
        return Agent(ADDRESS, official_client(ADDRESS), clock=self.clock, connect=self.line.connect)

    def event(self, title: str) -> None:
        self.outbox.event(title, "text", "info", (), None, 8000)

    def stats(self) -> Stats:
        return self.shipper.stats(0, 0, 0, None)

    def flush(self) -> bool:
        return self.shipper.flush(10, self.stats)
