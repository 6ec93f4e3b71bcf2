"""Our own clients in the foreground, until a signal or their end: the loop of a worker.

`wsnova-statsd run MODULE:NAME`, `manage.py wsnova_listen` and `flask wsnova listen` run it. The main thread starts the
clients, each in its own thread, then waits: it logs a status line a minute, touches the health file, and checks whether
a client has ended. A signal's handler only notes the signal; a second signal acts as if there were no handler. At the
end process.finish sends close frames, sums and alerts.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from .. import process
from ..client.client import Client
from ..client.health import Health
from ..client.state import State
from ..errors import ConfigurationError, WsnovaError
from ..redaction import describe_error, one_line
from .signals import Signals

STATUS_EVERY: Final = 60.0  # seconds
TOUCH_EVERY: Final = 5.0
_LOOK_EVERY: Final = 0.5  # seconds between checks whether a client has ended
_GOODBYE: Final = 2.0  # for all clients to close, and reporters to flush
_STATUSES: Final[dict[int | None, int]] = {signal.SIGINT: 130}  # a shell's exit status for Ctrl-C; 0 for all others
_FORMAT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_log = logging.getLogger(__name__)
AnyClient = Client[Any]


def write_records() -> None:
    """Log records of level INFO and above to stderr, unless the program has configured logging."""
    if not logging.getLogger().handlers:
        logging.basicConfig(level=logging.INFO, format=_FORMAT)


def run(clients: Sequence[AnyClient], health_file: Path | None) -> int:
    """Start these clients, and run until SIGTERM, Ctrl-C or their end; returns the exit status. Raises WsnovaError with
    the reason if a client ends by itself. Main thread only."""
    with Signals() as signals:
        for client in clients:
            client.start(wait=False)
        return Worker(clients, health_file).run(signals.wait)


class Worker:
    """Started clients, and the work while they run. `clock` returns seconds."""

    def __init__(
        self, clients: Sequence[AnyClient], health_file: Path | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clients = clients
        self._health_file = health_file
        self._clock = clock
        self._received: dict[str, int] = {}  # at the last status line
        self._connected = {client.client_id: False for client in clients}  # at least once
        self._said_unwritable = False

    def run(self, wait: Callable[[float], int | None]) -> int:
        """Run until `wait`, called with seconds, returns a signal's number, or no client is left. Raises WsnovaError if
        a client ended by itself."""
        now = self._clock()
        touch, status, number = now, now + STATUS_EVERY, None
        _log.info("running %s; SIGTERM or Ctrl-C ends it", ", ".join(one_line(one.client_id) for one in self._clients))
        while number is None and self._some_run():
            now = self._clock()
            self._log_connected()
            if now >= touch:
                touch = now + TOUCH_EVERY
                self._touch()
            if now >= status:
                status = now + STATUS_EVERY
                for client in self._clients:
                    _log.info("%s", self._line(client.health()))
            number = wait(_LOOK_EVERY)
        if number is not None:
            _log.info("%s: closing", signal.Signals(number).name)
        process.finish(_GOODBYE)
        return _STATUSES.get(number, 0)

    def _log_connected(self) -> None:
        """Each client's first connection; the client itself logs that it is connected again."""
        for client in self._clients:
            if client.state is State.CONNECTED and not self._connected[client.client_id]:
                self._connected[client.client_id] = True
                _log.info("client %s is connected", one_line(client.client_id))

    def _some_run(self) -> bool:
        for client in self._clients:
            error = client.health()["error"] if client.state is State.CLOSED else None
            if error is not None:
                process.finish(_GOODBYE)
                raise WsnovaError(f"client {one_line(client.client_id)} ended by itself: {error}")
        return any(client.state is not State.CLOSED for client in self._clients)

    def _touch(self) -> None:
        """Touch the health file if the threads of all clients live; a lost link is no reason for a restart."""
        names = {thread.name for thread in threading.enumerate()}
        owners = {process.thread_name("client", one.client_id): one for one in self._clients}
        if self._health_file is None or any(
            name not in names and client.state is not State.CLOSED for name, client in owners.items()
        ):
            return
        try:
            self._health_file.touch()
            self._said_unwritable = False
        except OSError as error:
            if not self._said_unwritable:
                _log.error("the health file cannot be touched and is retried: %s", describe_error(error))
            self._said_unwritable = True

    def _line(self, health: Health) -> str:
        name = health["client_id"]
        gained = health["received"] - self._received.get(name, 0)
        self._received[name] = health["received"]
        state = "not connected" if health["state"] == State.WAITING.value else health["state"]
        line = f"client {one_line(name)} {state}: {health['received']} received (+{gained})"
        line += f", {health['sent']} sent, {health['waiting']} waiting, {health['behind']:.1f} s behind"
        line += f", {health['reconnects']} reconnects"
        return line if health["error"] is None else f"{line}; {health['error']}"


def checked_path(given: str) -> Path:
    """The path of a file that can be touched. Raises ConfigurationError."""
    path = Path(given)
    if not given or path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise ConfigurationError(f"--health-file is {given!r}; pass the path of a file that this user may write")
    return path
