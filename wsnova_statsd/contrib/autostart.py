"""What `wsnova-statsd run` does inside a program that does not use this library.

The libraries that the program has imported are instrumented. Its first client that dials starts a Monitor configured by
the environment - not before, so that a process without a client gets no thread. The program's output is not changed:
records go to the logging that it configures, or with WSNOVA_STATSD_LOG to stderr. Runs in any thread that imports, or
dials.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from importlib import import_module
from typing import Any, Final

from .. import environment, telemetry
from ..errors import ConfigurationError
from ..events import CLIENT_OPENED
from ..monitor import init_from_env
from ..redaction import describe_error

# A supported library, and the module that instruments it.
_WAYS: Final = {"websocket": "websocket_app", "websockets.sync.client": "websockets_sync"}
_FORMAT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_PORT: Final = f"{environment.PREFIX}PROMETHEUS_PORT"
_HANDLER: Final = ("wsnova_statsd", "autostart")
_log = logging.getLogger(__name__)
_done: Final[dict[str, object]] = {}


def instrument() -> None:
    """Instrument those of the libraries that are imported, each once."""
    me = object()
    if _done.setdefault("", me) is me:
        _write_records()
        telemetry.attach(_HANDLER, CLIENT_OPENED, _start)
    for library, way in _WAYS.items():
        if library in sys.modules and _done.setdefault(library, me) is me:
            try:
                import_module(f".{way}", __package__).instrument_all(profile=environment.profile(os.environ))
            except Exception as error:
                _log.error("the clients of %s are not instrumented: %s", library, describe_error(error))


def _write_records() -> None:
    """Log to stderr if WSNOVA_STATSD_LOG is on and the program has no logging handlers; otherwise never to stderr."""
    package = logging.getLogger(__name__.partition(".")[0])
    handler: logging.Handler = logging.NullHandler()
    if environment.switched_on(os.environ, "LOG"):
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter(_FORMAT))
        handler.addFilter(lambda record: not logging.getLogger().handlers)
        package.setLevel(package.level or logging.INFO)
    package.addHandler(handler)


def _start(event: str, measurements: Mapping[str, Any], metadata: Mapping[str, Any], config: object) -> None:
    """A client begins. If it is the first of another library, and the program has not set up telemetry itself, start a
    Monitor, and pass this event to it too."""
    me = object()
    if "emits" not in metadata or _done.setdefault(CLIENT_OPENED, me) is not me:
        return
    telemetry.detach(_HANDLER)
    if telemetry.list_handlers():
        return
    try:
        _init()
    except Exception as error:
        _log.error("this program is not measured: %s", describe_error(error))
    else:
        telemetry.execute(event, measurements, metadata)


def _init() -> None:
    """Start the Monitor. Only one of several processes can use the port for Prometheus: the others run without it."""
    try:
        init_from_env()
    except ConfigurationError as error:
        if not isinstance(error.__cause__, OSError):
            raise
        init_from_env({name: value for name, value in os.environ.items() if name != _PORT})
        _log.warning("this process is measured, without an endpoint for Prometheus: %s", describe_error(error))
