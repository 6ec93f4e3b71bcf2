"""The application: checks its settings and, in `ready`, starts the clients, only in processes that serve."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from django.core import checks

from .. import serving
from .checks import check_settings
from .clients import site

if TYPE_CHECKING:
    AppConfig = object  # Django has no types
else:
    from django.apps import AppConfig

_LOADERS = frozenset(("django.core.wsgi", "django.core.asgi"))


class WsnovaStatsdConfig(AppConfig):
    """`wsnova_statsd.contrib.django` in INSTALLED_APPS."""

    name: str = "wsnova_statsd.contrib.django"
    label: str = "wsnova_statsd"
    verbose_name: str = "wsnova_statsd"

    def ready(self) -> None:
        """Called once in each process that sets up Django, in the thread that does so, usually the main thread."""
        checks.register(check_settings, "wsnova_statsd")
        runs_server = _runs_server(sys.argv)
        if site().settings.automatic and (runs_server or not _LOADERS.isdisjoint(serving.callers())):
            if runs_server or serving.loaded_by_server():
                serving.end_in_order()
            site().start()


def _runs_server(arguments: list[str]) -> bool:
    """True if this is `manage.py runserver`, or a variant, and not the process that only reloads it."""
    if not arguments[1:] or not arguments[1].startswith("runserver"):
        return False
    children = (os.environ.get(name) == "true" for name in ("RUN_MAIN", "WERKZEUG_RUN_MAIN"))
    return "--noreload" in arguments or any(children)
