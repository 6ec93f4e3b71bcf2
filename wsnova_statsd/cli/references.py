"""MODULE:NAME on a command line: the object it leads to. Every fault is a ConfigurationError."""

from __future__ import annotations

import importlib
import os
import sys
from types import ModuleType

from .. import checks
from ..errors import ConfigurationError
from ..redaction import describe_error


def imported(name: str) -> ModuleType:
    """The module of this name, from the current folder or where Python looks for modules."""
    if sys.path[:1] != [os.getcwd()]:
        sys.path.insert(0, os.getcwd())  # where python -m looks, too
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and error.name and f"{name}.".startswith(f"{error.name}."):
            raise ConfigurationError(
                f"there is no module {error.name!r} in {os.getcwd()} or where this Python looks for modules"
            ) from error
        raise ConfigurationError(f"{name} cannot be imported: {describe_error(error)}") from error


def called(reference: str, found: object) -> object:
    """The object itself, or what it returns if it is called."""
    if not callable(found):
        return found
    checks.function(reference, found)
    try:
        return found()
    except (Exception, SystemExit) as error:
        raise ConfigurationError(f"{reference} raised {describe_error(error)}") from error
