"""WebSocket clients in a Django project: `INSTALLED_APPS = [..., "wsnova_statsd.contrib.django"]`.

The settings `WSNOVA_STATSD_CLIENTS` and `WSNOVA_STATSD_*` define the clients, and what is sent where. The clients start
with `runserver`, or when a server loads the WSGI or ASGI application; `client(name)` returns one of them, and
`@on_message(name)` handles its messages.
"""

from __future__ import annotations

from ...errors import ConfigurationError, MissingExtra

try:
    import django
except ImportError as _missing:
    raise MissingExtra("django", "django") from _missing

if django.VERSION < (4, 2):
    raise ConfigurationError(
        f"Django {django.__version__} is installed; wsnova_statsd.contrib.django needs 4.2 or later: "
        "pip install 'wsnova-statsd[django]'"
    )

from .clients import client, on_message, start  # after the checks above, whose errors are clearer

__all__ = ["client", "on_message", "start"]
