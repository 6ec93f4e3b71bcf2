"""A session that is fed with bytes and numbers for time, as tests of it share."""

from wsnova_statsd.link.frames import BINARY, PONG, TEXT
from wsnova_statsd.link.session import Limits, Loss, Session
from wsnova_statsd.testing.tcp import server_frame

BIG = server_frame(BINARY, bytes(100_000))  # a message that takes its time
MESSAGE = server_frame(TEXT, b"message")


class Feed(Session):
    """A session and its clock. What is due is done as the link does it; the peer reads all that is sent."""

    def __init__(
        self, interval: float | None = 5.0, timeout: float = 3.0, *, idle: float | None = None, **limits: int
    ) -> None:
        self.now = 100.0
        self.pings: list[bytes] = []
        super().__init__(Limits(interval, timeout, idle, **limits), self.now)

    def at(self, now: float, *frames: bytes, dry: bool = True) -> Loss | None:
        """What has arrived by then is taken in, and then the clock looked at; why the link is over, if it is."""
        self.now = now
        for data in frames:
            self.receive(data, now, round(now * 1e9))
        self.tick(now, dry=dry)
        if self.ping_due:
            self.pings.append(self.ping(now))
            self.pinged(self.pings[-1], now, written=True)
        return self.loss

    def through(self, now: float, *frames: bytes) -> Loss | None:
        """The same, and everything that is due until then is done at its moment."""
        while self.loss is None and self.due < now:
            self.at(self.due)
        return self.at(now, *frames)

    def pong(self, payload: bytes | None = None) -> bytes:
        """The answer to the latest ping, or to any."""
        return server_frame(PONG, self.pings[-1] if payload is None else payload)

    def noticed(self) -> list[str]:
        """What was noticed so far, without numbers."""
        return [name for name, _ in self.notices]
