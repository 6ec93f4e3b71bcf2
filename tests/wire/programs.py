"""Third-party programs that tests run: where they are, and how one is started that listens."""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.support import until

DEADLINE: Final = 15.0


def unpacked(variable: str, program: str) -> Path:
    """The folder under which a Debian package was unpacked, or the root of the machine if it is installed."""
    home = Path(os.environ.get(variable, "/"))
    if not (home / "usr/sbin" / program).is_file():
        pytest.skip(f"{program} is not installed, and {variable} does not name the folder of its unpacked package")
    return home


def program(variable: str, name: str) -> str:
    """The path of a program, named by the variable if it is not installed."""
    found = os.environ.get(variable) or shutil.which(name)
    if found is None:
        pytest.skip(f"no {name}: {variable} names its program, as in the Debian package {name}")
    return found


@contextmanager
def running(command: list[str], port: int, home: Path = Path("/")) -> Iterator[None]:
    """A program that listens on this port, with the libraries that lie beside it."""
    libraries = [str(home / "usr/lib"), *map(str, home.glob("usr/lib/*-linux-gnu*"))] if home != Path("/") else []
    environ = {**os.environ, **({"LD_LIBRARY_PATH": os.pathsep.join(libraries)} if libraries else {})}
    with subprocess.Popen(
        command, env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:

        def listens() -> bool:
            with socket.socket() as sock:
                return sock.connect_ex(("127.0.0.1", port)) == 0

        try:
            assert until(listens, DEADLINE), f"{command[0]} does not listen: {process.poll()}"
            yield
        finally:
            process.terminate()
            process.wait(DEADLINE)
