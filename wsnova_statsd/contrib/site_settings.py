"""The settings of a web site, `WSNOVA_STATSD_*`, read and checked. Pure, except for the environment; starts nothing.

They are the variables of the environment, which they override, plus CLIENTS, START and UNHEALTHY_AFTER. Errors are
reported setting by setting; the other settings stay usable, so that a site works without the invalid one.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from .. import checks
from ..client.client import Client
from ..client.options import check_client_id
from ..dial.target import target
from ..environment import NAMES, PREFIX, read, read_settings
from ..errors import ConfigurationError, WsnovaError, nearest, one_of
from ..monitor import Monitor
from ..reporters.statsd import StatsdReporter
from . import loading

Given = str | Client[Any] | Callable[[], object]  # a URL, a dotted name, or the client or function itself

_FAMILY: Final = "WSNOVA"  # unknown names with this prefix are refused
_OWN: Final = ("CLIENTS", "START", "UNHEALTHY_AFTER")
_STARTS: Final = ("auto", "never")
_DOTTED: Final = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")
CLIENTS: Final = f"{PREFIX}CLIENTS"


@dataclass(frozen=True, slots=True)
class Settings:
    """The valid settings. `problems` has a sentence for each invalid one."""

    clients: Mapping[str, Given] = field(default_factory=dict)
    automatic: bool = True  # the clients start with the server
    unhealthy_after: float = 60.0  # seconds
    monitor: Mapping[str, Any] = field(default_factory=dict)  # arguments of ws.init, including the environment's
    asks_for_monitor: bool = False  # one of them is in the settings
    problems: tuple[str, ...] = ()


def read_site(given: Mapping[str, Any]) -> Settings:
    """The settings among these names; the others come from the environment."""
    problems = list[str]()
    known = [f"{PREFIX}{name}" for name in (*_OWN, *NAMES)]
    for name in given:
        if name.startswith(_FAMILY) and name not in known:
            problems.append(f"{name} is no setting; allowed: {', '.join(known)}{nearest(name, known)}")
    usable: dict[str, Any] = {"clients": _clients(given.get(CLIENTS), problems)}
    start, away = given.get(f"{PREFIX}START", "auto"), given.get(f"{PREFIX}UNHEALTHY_AFTER", 60.0)
    if start not in _STARTS:
        problems.append(str(one_of(f"{PREFIX}START", start, _STARTS)))
    try:
        usable["unhealthy_after"] = checks.seconds(f"{PREFIX}UNHEALTHY_AFTER", away, endless=True)
    except ConfigurationError as error:
        problems.append(str(error))
    names = {name: given[f"{PREFIX}{name}"] for name in NAMES if f"{PREFIX}{name}" in given}
    usable["monitor"], usable["asks_for_monitor"] = _monitor(names, problems), bool(names)
    return Settings(automatic=start != "never", problems=tuple(problems), **usable)


def _clients(given: Any, problems: list[str]) -> dict[str, Given]:
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        problems.append(f"{CLIENTS} is {checks.shown(given)}; set it to a mapping of names to URLs or dotted names")
        return {}
    usable = {}
    for name, value in given.items():
        try:
            check_client_id(name)
            _check(value)
        except ConfigurationError as error:
            problems.append(f"{CLIENTS}[{checks.shown(name)}]: {error}")
        else:
            usable[name] = value
    return usable


def _check(given: Any) -> None:
    if isinstance(given, str) and "://" in given:
        target(given)
    elif not isinstance(given, Client) and not (isinstance(given, str) and _DOTTED.fullmatch(given)):
        if not callable(given):
            shown = checks.shown(given)
            allowed = "a URL such as wss://feed.example/ws, or the dotted name of a function that returns a ws.Client"
            raise ConfigurationError(f"it is {shown}; use {allowed}")
        checks.function("it", given)


def _monitor(names: Mapping[str, Any], problems: list[str]) -> dict[str, Any]:
    """The arguments of ws.init; none if they are invalid. Checked by creating a Monitor, which is discarded."""
    monitor, reporter = dict[str, Any](), dict[str, Any]()
    try:
        for one in (read(os.environ), read_settings(names)):
            monitor |= one[0]
            reporter |= one[1]
        if reporter:
            monitor["reporter"] = StatsdReporter(**reporter)
        Monitor(**monitor)
    except (WsnovaError, TypeError, ValueError) as error:
        text, argument = str(error), str(error).partition(" ")[0]
        named = argument.upper() in NAMES and not text.startswith(PREFIX)
        problems.append(f"{PREFIX}{argument.upper()}: {text}" if named else text)
        return {}
    return monitor


def find(name: str, given: Given) -> Any:
    """The value of the setting of this name: a URL, or the object of a dotted name. Raises ConfigurationError."""
    if not isinstance(given, str) or "://" in given:
        return given
    module, _, attribute = given.rpartition(".")
    try:
        return loading.find(module, attribute)
    except ConfigurationError as error:
        raise ConfigurationError(f"{CLIENTS}[{name!r}]: {error}") from error


def make(name: str, given: Given, on_message: Callable[[Any], object]) -> Client[Any]:
    """The client of this name. `on_message` is for a client configured by a URL only. Raises ConfigurationError."""
    found = find(name, given)
    if isinstance(found, str) and found == given:
        return Client(found, client_id=name, on_message=on_message)
    what = given if isinstance(given, str) else f"{CLIENTS}[{name!r}]"
    clients = loading.made(what, found)
    if len(clients) != 1:
        raise ConfigurationError(f"{what} provides {len(clients)} clients; provide one for each name")
    return clients[0]
