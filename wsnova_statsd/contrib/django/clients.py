"""The project's clients, and how Django requires their handlers to be called.

Handlers run in the client's own thread, which has its own database connections. They are treated like those of a
request: closed before and after a handler if they are unusable, or older than CONN_MAX_AGE.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.signals import setting_changed
from django.db import close_old_connections

from ...client.client import Client
from ..site import Handler, Site
from ..site_settings import read_site

_handlers: dict[str, Callable[[Any], object]] = {}


@functools.cache
def site() -> Site:
    """The site of the settings, which are read at the first call. Any thread."""
    names = [name for name in dir(settings) if name.startswith("WSNOVA")]
    return Site(read_site({name: getattr(settings, name) for name in names}), _wrap, _handlers)


def _forget(*, setting: str, **details: Any) -> None:
    """Called when a test overrides a setting."""
    if setting.startswith("WSNOVA"):
        site.cache_clear()


setting_changed.connect(_forget, dispatch_uid=__name__)


def _wrap(function: Callable[..., object]) -> Callable[..., object]:
    @functools.wraps(function)
    def called(*arguments: Any) -> object:
        if not apps.ready:  # clients start with one of the applications; others may still be loading
            apps.ready_event.wait()
        close_old_connections()
        try:
            return function(*arguments)
        finally:
            close_old_connections()

    return called


def client(name: str) -> Client[Any]:
    """The client with this name in WSNOVA_STATSD_CLIENTS; created at the first call, started by the server.

    Raises ConfigurationError for an unknown name, and for a client that cannot be created.
    """
    return site().client(name)


def on_message(name: str) -> Callable[[Handler], Handler]:
    """A decorator: the function is called with each message of the client with this name, if that is configured by a
    URL. The last function counts. Import its module in the `ready` of its application."""

    def register(function: Handler) -> Handler:
        _handlers[name] = function
        return function

    return register


def start() -> None:
    """Start the Monitor and the clients, in a process that serves in a way unknown here. What cannot be started is
    logged. Does nothing if already started."""
    site().start()
