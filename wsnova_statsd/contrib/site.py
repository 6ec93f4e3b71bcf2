"""The clients of a web site: each exists once in a process, even if several applications name it; and the health page.

A site is created where an application is set up, starts nothing by itself, and begins when `serving` says so. Any
thread: a request may ask for a client while another request, or the server, starts them.
"""

from __future__ import annotations

import functools
import json
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal, TypedDict, TypeVar

from .. import process, telemetry
from ..client.client import Client
from ..client.health import Health, health
from ..client.state import State
from ..errors import ConfigurationError, one_of
from ..monitor import Monitor
from ..redaction import describe_error, one_line
from . import serving, worker
from .site_settings import CLIENTS, Given, Settings, find, make

_log = logging.getLogger(__name__)
Handler = TypeVar("Handler", bound=Callable[[Any], object])
Wrap = Callable[[Callable[..., object]], Callable[..., object]]
_NOT_STARTED: Final = (State.IDLE, State.FORKED)
_DEAD: Final = (State.CLOSED.value, State.FORKED.value)


class Clients:
    """The named clients of this process: the setting of each, and the client or the error why there is none."""

    def __init__(self) -> None:
        self.made: dict[str, tuple[Given, Client[Any] | ConfigurationError]] = {}
        self.after_fork()
        process.on_fork(self)

    def after_fork(self) -> None:
        """In a forked child: another thread of the parent may have held the lock. Clients stay, to be started again."""
        self.lock: threading.RLock = threading.RLock()  # guards `made`; re-entrant for a signal's handler


_PROCESS: Final = Clients()


class Page(TypedDict):
    """The content of a health page. `unhealthy` is sent with status 503, the others with 200."""

    status: Literal["ok", "degraded", "unhealthy"]
    clients: list[Health]
    kpis: list[dict[str, Any]]  # the fields of each ws.Kpi, of all clients together


class Site:
    """The clients that an application's settings name. `wrap` wraps a handler as the framework requires."""

    def __init__(
        self,
        settings: Settings,
        wrap: Wrap,
        handlers: dict[str, Callable[[Any], object]],
        clients: Clients = _PROCESS,
    ) -> None:
        self.settings = settings
        self._wrap = wrap
        self._handlers = handlers  # by the client's name, for clients configured by a URL only
        self._clients = clients
        self._begun = False

    # -- clients ------------------------------------------------------------------------------------------------------

    def client(self, name: str) -> Client[Any]:
        """The client of this name, created at the first call, and started by the server. Raises ConfigurationError for
        an unknown name, and for a client that cannot be created."""
        given = self.settings.clients.get(name)
        if given is None:
            raise one_of("the client's name", name, self.settings.clients)
        with self._clients.lock:
            if name not in self._clients.made:
                self._clients.made[name] = given, self._make(name, given)
            made_of, client = self._clients.made[name]
        if made_of != given:
            raise ConfigurationError(
                f"{CLIENTS}[{name!r}] differs from the value in the application that named it first; use another name, "
                "or the same value"
            )
        if isinstance(client, ConfigurationError):
            raise client
        return client

    def _make(self, name: str, given: Given) -> Client[Any] | ConfigurationError:
        try:
            client = make(name, given, functools.partial(self._hand_over, name))
            client.wrap_callbacks(self._wrap)
        except ConfigurationError as error:
            return error
        except Exception as error:
            return ConfigurationError(describe_error(error))
        return client

    def _hand_over(self, name: str, message: Any) -> None:
        """The client's thread: handle a message of a client configured by a URL only."""
        handler = self._handlers.get(name)
        if handler is not None:
            handler(message)
        elif self._handlers.setdefault(name, _ignore) is _ignore:
            _log.warning("the messages of client %s are counted and have no handler; add one with @on_message", name)

    # -- start --------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the Monitor and the clients, once this process serves. Waits for nothing and raises nothing: what
        cannot be started is logged, one sentence each. Does nothing if already started."""
        serving.when_serving(self._begin)

    def _begin(self) -> None:
        self._begun = True
        for problem in self.settings.problems:
            _log.error("%s", one_line(problem))
        clients = list[Client[Any]]()
        for name in self.settings.clients:
            try:
                client = self.client(name)
                if client.state in _NOT_STARTED:  # a closed client stays closed
                    clients.append(client)
            except ConfigurationError as error:
                _log.error("client %s is not started: %s", one_line(name), one_line(str(error)))
        serving.start(*clients, **self._monitor())

    def _monitor(self) -> Mapping[str, Any]:
        """The Monitor's arguments; none if the site has no setting for it and the program set up its own telemetry."""
        here = self.settings.asks_for_monitor or not telemetry.DEFAULT.list_handlers()
        return self.settings.monitor if here else {}

    def problems(self) -> list[str]:
        """A sentence for each invalid setting, and for each name that does not exist; this imports the dotted names in
        CLIENTS."""
        problems = list(self.settings.problems)
        for name, given in self.settings.clients.items():
            try:
                find(name, given)
            except ConfigurationError as error:
                problems.append(str(error))
        for name in self._handlers.keys() - self.settings.clients.keys():
            problems.append(str(one_of("the name passed to on_message", name, self.settings.clients)))
        return problems

    def listen(self, names: Sequence[str], health_file: str | None = None) -> int:
        """Run these clients, or all, in the foreground until SIGTERM, Ctrl-C or their end; returns the exit status.
        Raises ConfigurationError for invalid settings, and WsnovaError if a client ends by itself. Main thread only."""
        path = None if health_file is None else worker.checked_path(health_file)
        if problems := self.problems():
            raise ConfigurationError(problems[0])
        clients = [self.client(name) for name in dict.fromkeys(names or self.settings.clients)]
        if not clients:
            raise ConfigurationError(f"{CLIENTS} names no client; set it to a mapping of names to URLs or dotted names")
        worker.write_records()
        serving.start_monitor(**self._monitor())
        return worker.run(clients, path)

    # -- health -------------------------------------------------------------------------------------------------------

    def health(self, *, live: bool = False) -> tuple[int, str]:
        """The status and the JSON text of a health page. `live`: a client without a connection, for however long, is no
        reason for 503, because restarting this process does not repair an exchange."""
        names = dict.fromkeys((*(self.settings.clients if self._shows_all() else ()), *self._clients.made.copy()))
        after = float("inf") if live else self.settings.unhealthy_after
        shown = page([self._figures(name) for name in names], after)
        return 503 if shown["status"] == "unhealthy" else 200, json.dumps(shown)

    def _figures(self, name: str) -> Health:
        """The figures of client.health() for the client of this name."""
        made = self._clients.made.get(name)
        if made is None:
            return health(name, State.IDLE.value, None)
        if isinstance(made[1], Client):
            return made[1].health()
        return {**health(name, State.CLOSED.value, None), "error": one_line(str(made[1]))}

    def _shows_all(self) -> bool:
        """True if the clients of the settings belong to this process, not to a worker elsewhere."""
        return self.settings.automatic or self._begun


def page(clients: list[Health], unhealthy_after: float, clock: Callable[[], float] = time.time) -> Page:
    """The health page of clients with these figures. `clock` returns seconds since the epoch."""
    status: Literal["ok", "degraded", "unhealthy"] = "ok"
    for one in clients:
        since = one["disconnected_since"]
        if one["state"] in _DEAD or (since is not None and clock() - since > unhealthy_after):
            status = "unhealthy"
        elif one["status"] != "ok" and status == "ok":
            status = "degraded"
    monitor = next((one for one in telemetry.DEFAULT.profiles.copy() if isinstance(one, Monitor)), None)
    rows = () if monitor is None or monitor.kpis is None else monitor.kpis.report()
    return {"status": status, "clients": clients, "kpis": [row._asdict() for row in rows]}


def _ignore(message: Any) -> None:
    """The handler of a client without one."""
