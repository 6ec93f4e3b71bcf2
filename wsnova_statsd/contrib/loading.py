"""Finds the clients that a user's reference names: a module, and a name in it.

The reference comes from a command line, or from a site's settings. Every failure is a ConfigurationError of one
sentence. Runs in the calling thread; it imports and calls user code.
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
    """The object with this name in this module. Raises ConfigurationError."""
    module = imported(module_name, from_here=from_here)
    if not hasattr(module, name):
        there = [key for key, value in vars(module).items() if isinstance(value, Client)]
        known = f"its clients: {', '.join(there) or 'none'}{nearest(name, vars(module))}"
        raise ConfigurationError(f"{module_name} has no {name!r}; {known}")
    return getattr(module, name)


def made(reference: str, found: Any) -> list[Client[Any]]:
    """The clients of the found object: a client, a list of them, or a function that returns either. Raises
    ConfigurationError."""
    found = called(reference, found)
    clients: list[Client[Any]] = [*found] if isinstance(found, list | tuple) else [found]
    for client in clients:
        if not isinstance(client, Client):
            raise ConfigurationError(
                f"{reference} provides {checks.shown(client)}; use a ws.Client, a list of them, or a function that "
                "returns either"
            )
        if client.on_message is None:
            raise ConfigurationError(
                f"client {client.client_id} of {reference} has no on_message, and no loop iterates over it here; pass "
                "on_message=, or run the script that has the loop"
            )
    ids = [client.client_id for client in clients]
    if not clients or len(set(ids)) < len(ids):
        fault = f"has the ids {', '.join(ids)}, with a duplicate" if ids else "provides an empty list"
        raise ConfigurationError(f"{reference} {fault}; provide at least one client, each with a different id")
    return clients


def called(reference: str, found: Any) -> Any:
    """The object itself, or the result of calling it if it is callable. Raises ConfigurationError."""
    if not callable(found):
        return found
    checks.function(reference, found)
    try:
        return found()
    except (Exception, SystemExit) as error:
        raise ConfigurationError(f"{reference} raised {describe_error(error)}") from error


def imported(name: str, *, from_here: bool = False) -> ModuleType:
    """The module of this name; with `from_here` the current folder is searched first, as by python -m. Raises
    ConfigurationError."""
    if from_here and sys.path[:1] != [os.getcwd()]:
        sys.path.insert(0, os.getcwd())
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and error.name and f"{name}.".startswith(f"{error.name}."):
            raise ConfigurationError(
                f"there is no module {error.name!r} in {os.getcwd()} or on this Python's search path"
            ) from error
        raise ConfigurationError(f"{name} cannot be imported: {describe_error(error)}") from error
