"""`wsnova-statsd run MODULE:NAME`: our own clients in the foreground, until a signal or their end.

The main thread starts them, each in a thread of its own, then waits: it writes a status line a minute, touches the
health file, and looks whether a client has ended. A signal's handler only notes the signal; a second one acts as if
there were no handler. What has to leave in the end - close frames, sums, alerts - process.finish sends.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from .. import checks, process, telemetry
from ..client.client import Client
from ..client.health import Health
from ..client.state import State
from ..errors import ConfigurationError, WsnovaError, nearest
from ..redaction import describe_error, one_line
from .parser import DONE, INTERRUPTED
from .references import called, imported
from .signals import Signals

STATUS_EVERY: Final = 60.0  # seconds
TOUCH_EVERY: Final = 5.0
_LOOK_EVERY: Final = 0.5  # whether a client has ended
_GOODBYE: Final = 2.0  # for all clients to close, and reporters to flush
_FORMAT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_log = logging.getLogger(__name__)
AnyClient = Client[Any]


def run(reference: str, health_file: str | None) -> int:
    """Run these clients; the exit status. Raises ConfigurationError for what cannot be run, and WsnovaError with the
    reason when a client ends by itself."""
    health = None if health_file is None else checked_path(health_file)
    clients = load(reference)
    if not logging.getLogger().handlers:
        logging.basicConfig(level=logging.INFO, format=_FORMAT)  # to stderr
    if telemetry.DEFAULT.list_handlers():
        _log.info("telemetry is as %s set it up", reference.partition(":")[0])
    else:
        from ..monitor import init_from_env  # not needed, and slow, where nothing is to be sent

        init_from_env()
    with Signals() as signals:
        for client in clients:
            client.start(wait=False)
        return Worker(clients, health).run(signals.wait)


class Worker:
    """Clients that were started, and what is done while they run. `clock` gives seconds."""

    def __init__(
        self, clients: list[AnyClient], health_file: Path | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clients = clients
        self._health_file = health_file
        self._clock = clock
        self._received: dict[str, int] = {}  # at the last status line
        self._said_unwritable = False

    def run(self, wait: Callable[[float], int | None]) -> int:
        """Until `wait`, called with seconds, returns a signal's number, or no client is left. Raises WsnovaError if one
        ended by itself."""
        now = self._clock()
        touch, status, number = now, now + STATUS_EVERY, None
        _log.info("running %s; SIGTERM or Ctrl-C ends it", ", ".join(one_line(one.client_id) for one in self._clients))
        while number is None and self._some_run():
            now = self._clock()
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
        return INTERRUPTED if number == signal.SIGINT else DONE

    def _some_run(self) -> bool:
        for client in self._clients:
            error = client.health()["error"] if client.state is State.CLOSED else None
            if error is not None:
                process.finish(_GOODBYE)
                raise WsnovaError(f"client {one_line(client.client_id)} ended by itself: {error}")
        return any(client.state is not State.CLOSED for client in self._clients)

    def _touch(self) -> None:
        """Say that the threads of all clients live; whether their links do is no reason for a restart."""
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
                _log.error("the health file cannot be touched, which is tried again: %s", describe_error(error))
            self._said_unwritable = True

    def _line(self, health: Health) -> str:
        name = health["client_id"]
        gained = health["received"] - self._received.get(name, 0)
        self._received[name] = health["received"]
        told = f"client {one_line(name)} {health['state']}: {health['received']} received (+{gained})"
        told += f", {health['sent']} sent, {health['waiting']} waiting, {health['behind']:.1f} s behind"
        told += f", {health['reconnects']} reconnects"
        return told if health["error"] is None else f"{told}; {health['error']}"


# -- what is to be run ------------------------------------------------------------------------------------------------


def checked_path(given: str) -> Path:
    """The path of a file that can be touched. Raises ConfigurationError."""
    path = Path(given)
    if not given or path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise ConfigurationError(f"--health-file is {given!r}; give the path of a file that this user may write")
    return path


def load(reference: str) -> list[AnyClient]:
    """The clients that `module:name` leads to. Raises ConfigurationError."""
    module_name, _, name = reference.partition(":")
    module = imported(module_name)
    if not hasattr(module, name):
        there = [key for key, value in vars(module).items() if isinstance(value, Client)]
        told = f"its clients: {', '.join(there) or 'none'}{nearest(name, vars(module))}"
        raise ConfigurationError(f"{module_name} has no {name!r}; {told}")
    found: Any = called(reference, getattr(module, name))
    clients: list[AnyClient] = [*found] if isinstance(found, list | tuple) else [found]
    for client in clients:
        if not isinstance(client, Client):
            raise ConfigurationError(
                f"{reference} gives {checks.shown(client)}; give a ws.Client, a list of them, or a function that "
                "returns either"
            )
        if client.on_message is None:
            raise ConfigurationError(
                f"client {client.client_id} of {reference} has no on_message, and nobody iterates over it here; give "
                "it on_message=, or run the script that has the loop"
            )
    ids = [client.client_id for client in clients]
    if not clients or len(set(ids)) < len(ids):
        told = f"has the ids {', '.join(ids)}, of which one comes twice" if ids else "gives an empty list"
        raise ConfigurationError(f"{reference} {told}; give at least one client, each with an id of its own")
    return clients
