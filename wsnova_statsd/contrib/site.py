"""The clients of a web site: each once in a process, however many applications name it; and its health page.

A site is made where an application is set up, starts nothing by itself, and begins where `serving` says. Any thread: a
request may ask for a client while another one, or the server, starts them.
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
    """The named clients of this process: what each was made of, and it or why there is none."""

    def __init__(self) -> None:
        self.made: dict[str, tuple[Given, Client[Any] | ConfigurationError]] = {}
        self.after_fork()
        process.on_fork(self)

    def after_fork(self) -> None:
        """In a child: another thread of the parent may have held the lock. Clients are there to be started anew."""
        self.lock: threading.RLock = (
            threading.RLock()
        )  # guards `made`; a signal's handler may come in the midst of any line


_PROCESS: Final = Clients()


class Page(TypedDict):
    """What a health page says. `unhealthy` comes with status 503, the others with 200."""

    status: Literal["ok", "degraded", "unhealthy"]
    clients: list[Health]
    kpis: list[dict[str, Any]]  # the fields of each ws.Kpi, of all clients together


class Site:
    """The clients that an application's settings name. `wrap` returns what calls a handler as the framework wants."""

    def __init__(
        self,
        settings: Settings,
        wrap: Wrap,
        handlers: dict[str, Callable[[Any], object]],
        clients: Clients = _PROCESS,
    ) -> None:
        self.settings = settings
        self._wrap = wrap
        self._handlers = handlers  # by the client's name, of those that were given a URL only
        self._clients = clients
        self._begun = False

    # -- clients ------------------------------------------------------------------------------------------------------

    def client(self, name: str) -> Client[Any]:
        """The client of this name, made at the first call, and started by the server. Raises ConfigurationError for
        an unknown name, and for a client that cannot be made."""
        given = self.settings.clients.get(name)
        if given is None:
            raise one_of("the client's name", name, self.settings.clients)
        with self._clients.lock:
            if name not in self._clients.made:
                self._clients.made[name] = given, self._make(name, given)
            made_of, client = self._clients.made[name]
        if made_of != given:
            raise ConfigurationError(
                f"{CLIENTS}[{name!r}] is another one than in the application that named it before it; give it another "
                "name, or the same value"
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
        """The client's thread: a message of one that was given a URL only."""
        handler = self._handlers.get(name)
        if handler is not None:
            handler(message)
        elif self._handlers.setdefault(name, _ignore) is _ignore:
            _log.warning("nothing handles the messages of client %s, which are counted: give @on_message", name)

    # -- start --------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the Monitor and the clients, once this process serves. Waits for nothing and raises nothing: what
        cannot be started is logged, each in a sentence. Started already: nothing happens."""
        serving.when_serving(self._begin)

    def _begin(self) -> None:
        self._begun = True
        for problem in self.settings.problems:
            _log.error("%s", one_line(problem))
        clients = list[Client[Any]]()
        for name in self.settings.clients:
            try:
                client = self.client(name)
                if client.state in _NOT_STARTED:  # one that was closed stays so
                    clients.append(client)
            except ConfigurationError as error:
                _log.error("client %s is not started: %s", one_line(name), one_line(str(error)))
        serving.start(*clients, **self._monitor())

    def _monitor(self) -> Mapping[str, Any]:
        """Arguments of the Monitor. The environment's alone do not replace what the program has set up itself."""
        here = self.settings.asks_for_monitor or not telemetry.DEFAULT.list_handlers()
        return self.settings.monitor if here else {}

    def problems(self) -> list[str]:
        """A sentence for each setting that is not usable, and for each name that leads nowhere; what the names of
        CLIENTS lead to is imported for it."""
        problems = list(self.settings.problems)
        for name, given in self.settings.clients.items():
            try:
                find(name, given)
            except ConfigurationError as error:
                problems.append(str(error))
        for name in self._handlers.keys() - self.settings.clients.keys():
            problems.append(str(one_of("the name given to on_message", name, self.settings.clients)))
        return problems

    def listen(self, names: Sequence[str], health_file: str | None = None) -> int:
        """Run these clients, or all, in the foreground until SIGTERM, Ctrl-C or their end; the exit status. Raises
        ConfigurationError for what is not usable, and WsnovaError if a client ends by itself. Main thread only."""
        path = None if health_file is None else worker.checked_path(health_file)
        if problems := self.problems():
            raise ConfigurationError(problems[0])
        clients = [self.client(name) for name in dict.fromkeys(names or self.settings.clients)]
        if not clients:
            raise ConfigurationError(f"{CLIENTS} names no client; give a mapping of names to URLs or dotted names")
        worker.write_records()
        serving.start_monitor(**self._monitor())
        return worker.run(clients, path)

    # -- health -------------------------------------------------------------------------------------------------------

    def health(self, *, live: bool = False) -> tuple[int, str]:
        """The status and the JSON text of a health page. `live`: a client that is away, for however long, is no
        reason for 503, as a restart of this process mends no exchange."""
        names = dict.fromkeys((*(self.settings.clients if self._shows_all() else ()), *self._clients.made.copy()))
        after = float("inf") if live else self.settings.unhealthy_after
        shown = page([self._figures(name) for name in names], after)
        return 503 if shown["status"] == "unhealthy" else 200, json.dumps(shown)

    def _figures(self, name: str) -> Health:
        """Of the client of this name, as client.health() has it."""
        made = self._clients.made.get(name)
        if made is None:
            return health(name, State.IDLE.value, None)
        if isinstance(made[1], Client):
            return made[1].health()
        return {**health(name, State.CLOSED.value, None), "error": one_line(str(made[1]))}

    def _shows_all(self) -> bool:
        """Whether the clients of the settings belong to this process, or to a worker elsewhere."""
        return self.settings.automatic or self._begun


def page(clients: list[Health], unhealthy_after: float, clock: Callable[[], float] = time.time) -> Page:
    """The health page of clients that have these figures. `clock` gives seconds since the epoch."""
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
    """What handles the messages of a client for which nothing was given."""
