"""`wsnova-statsd run`: a program that does not use this library, instrumented; or your own clients as a worker.

This file is the command: which of the two is asked for. Threads: the main thread.
"""

from __future__ import annotations

import argparse
import logging
import re
from typing import Any, Final

from .. import telemetry
from ..client.client import Client
from ..contrib import loading, worker
from ..errors import ConfigurationError
from . import program
from .parser import DONE, FAILED, add_command

_log = logging.getLogger(__name__)
_REFERENCE: Final = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")


def register(subparsers: Any) -> None:
    """Add the command's parser."""
    parser = add_command(
        subparsers,
        "run",
        "run a program with its WebSocket clients measured, or your own clients as a worker",
        "Runs a Python program unchanged, and measures the clients of websocket-client and websockets that it creates: "
        "this process becomes the program, and all arguments after it are the program's. Or runs the clients of your "
        "own module (MODULE:NAME, a ws.Client, a list of them, or a function that returns either) until SIGTERM or "
        "Ctrl-C. The variables DD_* name the Agent, WSNOVA_STATSD_* are all other settings.",
        usage="[--health-file PATH] MODULE:NAME | SCRIPT [ARGS] | -m MODULE [ARGS] | -- COMMAND [ARGS]",
        examples={
            "wsnova-statsd run feed.py --port 80": "python feed.py --port 80, instrumented",
            "wsnova-statsd run -m feeds.main": "python -m feeds.main, instrumented",
            "wsnova-statsd run -- gunicorn shop:app": "any command that runs Python, with its children, instrumented",
            "wsnova-statsd run --health-file /tmp/alive feeds.live:client": "your own clients, in the foreground",
        },
        statuses={
            DONE: "your own clients ended by SIGTERM or their close(); a program has its own status",
            FAILED: "one of your own clients ended by itself; the last line says why",
        },
    )
    parser.add_argument("-m", dest="as_module", action="store_true", help="what follows is a module, as for python -m")
    parser.add_argument(
        "--health-file", metavar="PATH", help="for your own clients: touched every 5 s while their threads are alive"
    )
    parser.add_argument("program", nargs=argparse.REMAINDER, metavar="...", help="the program and its arguments")


def run(args: argparse.Namespace) -> int:
    """Become the program, or run the clients; returns their status. Raises ConfigurationError for what cannot run."""
    given = args.program
    if not given or given == ["--"]:
        args.parser.refuse_nothing("see --help")
    if not args.as_module and _REFERENCE.fullmatch(given[0]):
        if given[1:]:
            raise ConfigurationError(
                f"{given[0]} names clients, which take no arguments, got {' '.join(given[1:])!r}; put -- before a "
                "command of that name"
            )
        return _run_clients(given[0], args.health_file)
    if args.health_file is not None:
        raise ConfigurationError("--health-file is for your own clients, MODULE:NAME; leave it out for a program")
    return program.become(given, as_module=args.as_module)


def _run_clients(reference: str, health_file: str | None) -> int:
    """Check the arguments before anything starts."""
    health = None if health_file is None else worker.checked_path(health_file)
    clients = load(reference)
    worker.write_records()
    if telemetry.DEFAULT.list_handlers():
        _log.info("telemetry is already set up by %s", reference.partition(":")[0])
    else:
        from ..monitor import init_from_env  # slow, and not needed if nothing is to be sent

        init_from_env()
    return worker.run(clients, health)


def load(reference: str) -> list[Client[Any]]:
    """The clients that `module:name` names; modules of the current folder come first, as for python -m."""
    module, _, name = reference.partition(":")
    return loading.made(reference, loading.find(module, name, from_here=True))
