"""Runs the program to watch: sets DD_AGENT_HOST and DD_DOGSTATSD_PORT, keeps its output, ends it with the view.

One daemon thread, `wsnova-watch-output`, reads the program's output. The program has no terminal: nothing it prints can
disturb the screen, and Ctrl-C does not reach it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from typing import IO, Final

from ..errors import ConfigurationError
from .datagrams import printable

_KEPT: Final = 1000  # lines of output
_LONGEST: Final = 2000  # characters of a line
# Variables that override DD_AGENT_HOST and DD_DOGSTATSD_PORT.
_ELSEWHERE: Final = ("DD_DOGSTATSD_URL", "DD_DOGSTATSD_SOCKET", "WSNOVA_STATSD_SOCKET_PATH")


class Command:
    """Runs `argv`. If `through` is given, the output goes there and is not kept. `stop` sends SIGTERM, and SIGKILL
    after `patience` seconds."""

    def __init__(self, argv: Sequence[str], through: IO[str] | None = None, patience: float = 5.0) -> None:
        self._argv = list(argv)
        self._through = through
        self._patience = patience
        self._process: subprocess.Popen[bytes] | None = None
        self._thread: threading.Thread | None = None
        self._lines: deque[str] = deque(maxlen=_KEPT)  # appended by the thread

    def start(self, host: str, port: int) -> None:
        """Start the program. Raises ConfigurationError if that fails."""
        kept = self._through is None
        try:
            self._process = subprocess.Popen(
                self._argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if kept else self._through,
                stderr=subprocess.STDOUT if kept else None,
                env=environment(os.environ, host, port),
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else error
            raise ConfigurationError(f"cannot start {self._argv[0]!r}: {why}") from error
        if kept:
            self._thread = threading.Thread(target=self._read, name="wsnova-watch-output", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End the program and the processes it has started: by SIGTERM, then by SIGKILL."""
        process = self._process
        if process is None:
            return
        if process.poll() is None:
            self._send(signal.SIGTERM)
            try:
                process.wait(self._patience)
            except subprocess.TimeoutExpired:
                self._send(signal.SIGKILL)
                process.wait()
        if self._thread is not None:
            self._thread.join(1.0)

    @property
    def status(self) -> int | None:
        """The exit status as a shell reports it; None while the program runs."""
        code = None if self._process is None else self._process.poll()
        return code if code is None or code >= 0 else 128 - code

    @property
    def output(self) -> tuple[str, ...] | None:
        """The latest lines; None if the output goes to `through`."""
        return tuple(self._lines.copy()) if self._through is None else None

    def _send(self, number: signal.Signals) -> None:
        assert self._process is not None
        try:
            os.killpg(self._process.pid, number)
        except ProcessLookupError:
            pass

    def _read(self) -> None:
        """Runs in the thread wsnova-watch-output until the output ends."""
        assert self._process is not None
        stream = self._process.stdout
        assert stream is not None
        with stream:
            while line := stream.readline(_LONGEST):
                self._lines.append(printable(line.rstrip(b"\r\n").expandtabs(8)))


def environment(environ: Mapping[str, str], host: str, port: int) -> dict[str, str]:
    """The program's environment: `environ` and this address, without the variables that would override it."""
    kept = {key: value for key, value in environ.items() if key not in _ELSEWHERE}
    return {**kept, "DD_AGENT_HOST": host, "DD_DOGSTATSD_PORT": str(port), "PYTHONUNBUFFERED": "1"}
