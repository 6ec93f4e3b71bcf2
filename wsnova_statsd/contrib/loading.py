"""The clients that a reference of the user's leads to: a module's name, and a name in it.

It stands in a command line, or in a site's settings. Whatever cannot be used is a ConfigurationError of one sentence.
In the thread that asks; what it imports and calls is the user's.
"""

from __future__ import annotations

import importlib
import os
import sys
from types import ModuleType
from typing import Any

from .. import checks
from ..client.client import Client
from ..errors import ConfigurationError, nearest
from ..redaction import describe_error


def find(module_name: str, name: str, *, from_here: bool = False) -> Any:
    """What this name of this module stands for. Raises ConfigurationError."""
    module = imported(module_name, from_here=from_here)
    if not hasattr(module, name):
        there = [key for key, value in vars(module).items() if isinstance(value, Client)]
        told = f"its clients: {', '.join(there) or 'none'}{nearest(name, vars(module))}"
        raise ConfigurationError(f"{module_name} has no {name!r}; {told}")
    return getattr(module, name)


def made(reference: str, found: Any) -> list[Client[Any]]:
    """The clients that were found: a client, a list of them, or what a function makes. Raises ConfigurationError."""
    found = called(reference, found)
    clients: list[Client[Any]] = [*found] if isinstance(found, list | tuple) else [found]
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


def called(reference: str, found: Any) -> Any:
    """The object itself, or what it returns if it is called. Raises ConfigurationError."""
    if not callable(found):
        return found
    checks.function(reference, found)
    try:
        return found()
    except (Exception, SystemExit) as error:
        raise ConfigurationError(f"{reference} raised {describe_error(error)}") from error


def imported(name: str, *, from_here: bool = False) -> ModuleType:
    """The module of this name; with `from_here` one of the current folder comes first, as for python -m. Raises
    ConfigurationError."""
    if from_here and sys.path[:1] != [os.getcwd()]:
        sys.path.insert(0, os.getcwd())
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and error.name and f"{name}.".startswith(f"{error.name}."):
            raise ConfigurationError(
                f"there is no module {error.name!r} in {os.getcwd()} or where this Python looks for modules"
            ) from error
        raise ConfigurationError(f"{name} cannot be imported: {describe_error(error)}") from error
