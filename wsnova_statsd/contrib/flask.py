"""WebSocket clients in a Flask application: `WSNova(app)`, or `init_app(app)` in a factory.

init_app reads the configuration, `WSNOVA_STATSD_CLIENTS` and `WSNOVA_STATSD_*`. It starts clients only if a server is
loading the application: `flask run` (not the process that only reloads), gunicorn, uvicorn, waitress and the like.
Under other servers the first request starts the clients; commands, shells and tests start nothing.
"""

from __future__ import annotations

import functools
import importlib.metadata
import os
from collections.abc import Callable
from typing import Any, Final

from ..client.client import Client
from ..errors import ConfigurationError, MissingExtra, WsnovaError
from . import serving
from .site import Handler, Site
from .site_settings import Settings, read_site

try:
    import click
    import flask
    import flask.cli
    import flask.helpers
except ImportError as _missing:
    raise MissingExtra("flask", "flask") from _missing

__all__ = ["WSNova", "health"]

_NAME: Final = "wsnova_statsd"  # of the extension and of the blueprint

if [int(part) for part in importlib.metadata.version("flask").split(".")[:2]] < [2, 3]:
    raise ConfigurationError(
        f"Flask {importlib.metadata.version('flask')} is installed; wsnova_statsd.contrib.flask needs 2.3 or later: "
        "pip install 'wsnova-statsd[flask]'"
    )


class WSNova:
    """The extension. You may set it up for several applications; a process still has each client only once.

    Raises ConfigurationError at once for an invalid configuration.
    """

    def __init__(self, app: flask.Flask | None = None) -> None:
        self._handlers: dict[str, Callable[[Any], object]] = {}
        self._site: Site | None = None  # of the last application that was set up
        if app is not None:
            self.init_app(app)

    def init_app(self, app: flask.Flask) -> None:
        """Read the configuration of this application, and start its clients with its server."""
        settings = read_site({name: value for name, value in app.config.items() if name.startswith("WSNOVA")})
        if settings.problems:
            raise ConfigurationError(settings.problems[0])
        self._site = site = Site(settings, functools.partial(_in_context, app), self._handlers)
        app.extensions[_NAME] = site
        app.cli.add_command(_commands(site))
        if settings.automatic and not app.testing:
            if _served():
                serving.end_in_order()
                site.start()
            else:
                app.before_request(functools.partial(_start_with_first_request, app, site, []))

    def client(self, name: str) -> Client[Any]:
        """The client with this name in WSNOVA_STATSD_CLIENTS; created at the first call, started by the server.

        Raises ConfigurationError for an unknown name, and for a client that cannot be created.
        """
        return self._set_up().client(name)

    def on_message(self, name: str) -> Callable[[Handler], Handler]:
        """A decorator: the function is called, in an application context, with each message of the client with this
        name, if that is configured by a URL. The last function counts."""

        def register(function: Handler) -> Handler:
            self._handlers[name] = function
            return function

        return register

    def start(self) -> None:
        """Start the Monitor and the clients, in a process that serves in a way unknown here. What cannot be started is
        logged. Does nothing if already started."""
        self._set_up().start()

    def _set_up(self) -> Site:
        if self._site is None:
            raise ConfigurationError("this WSNova belongs to no application yet; call init_app(app) first")
        return self._site


def _in_context(app: flask.Flask, function: Callable[..., object]) -> Callable[..., object]:
    @functools.wraps(function)
    def called(*arguments: Any) -> object:
        with app.app_context():
            return function(*arguments)

    return called


# -- where the application is served ----------------------------------------------------------------------------------


def _served() -> bool:
    """True if a server is loading the application, in the process that will serve it."""
    context = click.get_current_context(silent=True)
    if context is not None and isinstance(context.find_root().command, flask.cli.FlaskGroup):
        return context.command is flask.cli.run_command and _serves(context)
    return os.environ.get("WERKZEUG_RUN_MAIN") == "true" or serving.loaded_by_server()


def _serves(context: click.Context) -> bool:
    """True if this `flask run` serves, and does not only restart itself to reload."""
    asked = context.params.get("reload")
    reloads = flask.helpers.get_debug_flag() if asked is None else asked
    return not reloads or os.environ.get("WERKZEUG_RUN_MAIN") == "true"


def _start_with_first_request(app: flask.Flask, site: Site, begun: list[bool]) -> None:
    """Called before each request. A request of a test client names no server."""
    environ = flask.request.environ
    if not begun and not app.testing and ("SERVER_SOFTWARE" in environ or "uwsgi.version" in environ):
        begun.append(True)
        site.start()


# -- flask wsnova, and the health page --------------------------------------------------------------------------------


def _commands(site: Site) -> click.Group:
    def listen(names: tuple[str, ...], health_file: str | None) -> None:
        try:
            raise SystemExit(site.listen(names, health_file))
        except ConfigurationError as error:
            raise click.UsageError(str(error)) from error
        except WsnovaError as error:
            raise click.ClickException(str(error)) from error

    name = click.Argument(["names"], metavar="[NAME]...", nargs=-1)
    touched = "Touched every 5 s while the clients' threads live."
    file = click.Option(["--health-file"], metavar="PATH", help=touched)
    what = "Run the named clients of WSNOVA_STATSD_CLIENTS, or all, until SIGTERM (status 0) or Ctrl-C (130)."
    command = click.Command("listen", callback=listen, params=[name, file], help=what)
    return click.Group("wsnova", commands=[command], help="WebSocket clients of this application.")


def _health(live: bool = False) -> flask.Response:
    """200 with `status` ok or degraded; 503 if a client is closed or forked or, unless `live`, disconnected for too
    long."""
    site = flask.current_app.extensions.get(_NAME) or Site(Settings(), lambda function: function, {})
    status, text = site.health(live=live)
    return flask.Response(text, status, {"Cache-Control": "no-store"}, mimetype="application/json")


health: Final = flask.Blueprint(_NAME, __name__, url_prefix="/health")
health.add_url_rule("", "health", _health)
health.add_url_rule("/live", "live", functools.partial(_health, live=True))
