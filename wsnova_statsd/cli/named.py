"""MODULE:NAME of a command line: imports the module, as `python -m` would find it, and looks the name up.

What the module raises is reported in one sentence. No thread.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Iterator

from .. import checks
from ..errors import ConfigurationError, nearest
from ..redaction import one_line


def load(text: str, example: str) -> object:
    """The object of this name, or what it returns if it is a function. Raises ConfigurationError if that fails."""
    module_name, colon, name = text.partition(":")
    if not colon or not all(part.isidentifier() for part in (*module_name.split("."), *name.split("."))):
        raise checks.refused("MODULE:NAME", text, f"a module and a name in it, such as {example}")
    found = _module(module_name)
    for part in name.split("."):
        if not hasattr(found, part):
            raise ConfigurationError(f"{module_name} has no {name!r}{nearest(part, dir(found))}")
        found = getattr(found, part)
    if not inspect.isroutine(found):
        return found
    checks.function(text, found)
    try:
        made = found()
        return list(made) if isinstance(made, Iterator) else made  # a generator raises when it is read
    except (Exception, SystemExit) as error:
        raise ConfigurationError(f"{text} raises {_in_a_line(error)}") from error


def _module(name: str) -> object:
    if "" not in sys.path:
        sys.path.insert(0, "")  # the folder where the command runs
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            where = "neither in this folder nor installed for this Python"
            raise ConfigurationError(f"there is no module {error.name!r}: it is {where}") from error
        raise ConfigurationError(f"importing {name} raises {_in_a_line(error)}") from error
    except (Exception, SystemExit) as error:
        raise ConfigurationError(f"importing {name} raises {_in_a_line(error)}") from error


def _in_a_line(error: BaseException) -> str:
    return one_line(f"{type(error).__name__}: {error}")
