"""The demo's server side: a loopback WebSocket feed of trades and tickers that stages one drop and one slow message.

What it sent and what arrived can be compared: before the drop it pauses until the client has everything. It runs in
the server's connection threads, one script per connection, one at a time; any thread may read the counts. It listens
on the loopback interface only, and drops one connection only.
"""

from __future__ import annotations

import itertools
import json
import random
import threading
import time
from collections.abc import Callable
from typing import Final

from ..errors import MissingExtra

try:
    from ..testing.server import ScriptedConnection, WebSocketServer, silent
except MissingExtra as _error:  # the server is part of the test kit, which names its own extra
    raise MissingExtra(_error.library, "demo") from _error

RATE: Final = 300  # messages per second
_BURST: Final = 6
_CATCH_UP: Final = 10.0  # seconds a client may take to read what was sent
_DROP_AT: Final = 0.3  # shares of the whole time
_SLOW_AT: Final = 0.7


class Feed:
    """A feed for `seconds` seconds; `received` returns how many messages the client has received. A context manager."""

    def __init__(self, seconds: float, received: Callable[[], int]) -> None:
        self.drop_at: float = seconds * _DROP_AT
        self.slow_at: float = seconds * _SLOW_AT
        self.sent: int = 0  # written by the one script that runs
        self.drops: int = 0
        self.slow_sent: int = 0
        self._received = received
        self._began: float | None = None  # the first connection
        self._ending = threading.Event()
        self._server = WebSocketServer(self._script)
        self._numbers = itertools.count(1)
        self._price = 50_000.0

    def __enter__(self) -> Feed:
        self._server.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ending.set()
        self._server.stop()

    @property
    def url(self) -> str:
        """Where to connect."""
        return self._server.url

    @property
    def elapsed(self) -> float:
        """Seconds since the first connection, 0 before it."""
        return 0.0 if self._began is None else time.monotonic() - self._began

    @property
    def staged(self) -> bool:
        """True once the drop and the slow message have happened."""
        return bool(self.drops and self.slow_sent)

    def finish(self, timeout: float = _CATCH_UP) -> bool:
        """Stop sending; True if the client has received everything within `timeout` seconds."""
        self._ending.set()
        return self._caught_up(timeout)

    def _caught_up(self, timeout: float) -> bool:
        deadline = time.monotonic() + timeout
        while self._received() < self.sent and time.monotonic() < deadline:
            time.sleep(0.005)
        return self._received() >= self.sent

    def _script(self, connection: ScriptedConnection) -> None:
        """In the connection's thread: send at a steady rate, stage what is due, then stay until the client leaves."""
        if self._began is None:
            self._began = time.monotonic()
        while not self._ending.wait(_BURST / RATE):
            if not self.drops and self.elapsed >= self.drop_at:
                self._caught_up(_CATCH_UP)
                self.drops += 1
                connection.drop()
                return
            if self.drops and not self.slow_sent and self.elapsed >= self.slow_at:
                self._send(connection, slow=True)
                self.slow_sent += 1
            for _ in range(_BURST):
                self._send(connection)
        silent(connection)

    def _send(self, connection: ScriptedConnection, *, slow: bool = False) -> None:
        number = next(self._numbers)
        self._price = round(self._price + random.uniform(-5, 5), 2)
        message: dict[str, object] = {"type": "trade" if slow or number % 3 else "ticker", "n": number}
        message |= {"symbol": "BTC-USD", "price": self._price}
        if slow:
            message["slow"] = True  # the demo's handler is slow for it
        connection.send(json.dumps(message))
        self.sent += 1
