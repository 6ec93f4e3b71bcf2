"""`wsnova-statsd run SCRIPT`: this process becomes the program, by exec, with contrib/startup first on PYTHONPATH.

So it keeps its process id, its streams, its signals and its exit status. Bad input is refused before that.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NoReturn

from .. import contrib
from ..errors import ConfigurationError
from ..monitor import Monitor

STARTUP: Final = str(Path(str(contrib.__file__)).parent / "startup")
# Python ignores these signals for itself, and a program that is not Python would inherit that.
_IGNORED: Final = [getattr(signal, name) for name in ("SIGPIPE", "SIGXFSZ") if hasattr(signal, name)]


def become(given: Sequence[str], *, as_module: bool) -> NoReturn:
    """Become `given`: a script, with `as_module` a module, after `--` a command; and its arguments. Raises
    ConfigurationError for a missing file and for unusable settings."""
    command = _command(given, as_module=as_module)
    Monitor.from_env()  # raises for an unusable setting, which the program would ignore in silence
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    ignored = [number for number in _IGNORED if signal.getsignal(number) == signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execve(command[0], command[1:], environment(os.environ))
    except OSError as error:
        for number in ignored:  # this process goes on: a peer that closed must not end it
            signal.signal(number, signal.SIG_IGN)
        raise ConfigurationError(f"{command[0]!r} cannot be run: {error.strerror}") from error
    finally:  # still this program
        for number in ignored:
            signal.signal(number, signal.SIG_IGN)


def environment(before: Mapping[str, str]) -> dict[str, str]:
    """These variables, with the folder of our sitecustomize first on PYTHONPATH."""
    path = before.get("PYTHONPATH", "")
    if path.split(os.pathsep)[0] != STARTUP:
        path = f"{STARTUP}{os.pathsep}{path}" if path else STARTUP
    return {**before, "PYTHONPATH": path}


def _command(given: Sequence[str], *, as_module: bool) -> list[str]:
    """The file to execute, and its arguments from argv[0] on."""
    if as_module:
        return [sys.executable, sys.executable, "-m", *given]
    if given[0] == "--":
        found = shutil.which(given[1])
        if found is None:
            raise ConfigurationError(f"there is no command {given[1]!r} on the PATH; for a script leave out the --")
        return [found, *given[1:]]
    if given[0] != "-" and not os.path.exists(given[0]):
        raise ConfigurationError(
            f"there is no script {given[0]!r}; pass the path of a script, -m MODULE or -- COMMAND, or MODULE:NAME for "
            "your own clients"
        )
    return [sys.executable, sys.executable, *given]
