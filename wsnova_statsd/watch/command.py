"""The program that is watched: started with DD_AGENT_HOST and DD_DOGSTATSD_PORT, its output kept, ended with the view.

One daemon thread, `wsnova-watch-output`, reads what the program writes. It has no terminal: nothing it prints can
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
_LONGEST: Final = 2000  # characters of one of them
# What would send the metrics elsewhere than to DD_AGENT_HOST and DD_DOGSTATSD_PORT.
_ELSEWHERE: Final = ("DD_DOGSTATSD_URL", "DD_DOGSTATSD_SOCKET", "WSNOVA_STATSD_SOCKET_PATH")


class Command:
    """Starts `argv`. With `through`, its output is passed through to there and not kept. In the end it has `patience`
    seconds from SIGTERM to SIGKILL."""

    def __init__(self, argv: Sequence[str], through: IO[str] | None = None, patience: float = 5.0) -> None:
        self._argv = list(argv)
        self._through = through
        self._patience = patience
        self._process: subprocess.Popen[bytes] | None = None
        self._thread: threading.Thread | None = None
        self._lines: deque[str] = deque(maxlen=_KEPT)  # appended by the thread

    def start(self, host: str, port: int) -> None:
        """Start the program. Raises ConfigurationError if it cannot be."""
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
            told = error.strerror if isinstance(error, OSError) else error
            raise ConfigurationError(f"cannot start {self._argv[0]!r}: {told}") from error
        if kept:
            self._thread = threading.Thread(target=self._read, name="wsnova-watch-output", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End the program and all it has started, by SIGTERM and in the end by SIGKILL."""
        process = self._process
        if process is None:
            return
        if process.poll() is None:
            self._tell(signal.SIGTERM)
            try:
                process.wait(self._patience)
            except subprocess.TimeoutExpired:
                self._tell(signal.SIGKILL)
                process.wait()
        if self._thread is not None:
            self._thread.join(1.0)

    @property
    def status(self) -> int | None:
        """The exit status as a shell tells it, None while it runs."""
        code = None if self._process is None else self._process.poll()
        return code if code is None or code >= 0 else 128 - code

    @property
    def output(self) -> tuple[str, ...] | None:
        """The latest lines; None if they are passed through."""
        return tuple(self._lines.copy()) if self._through is None else None

    def _tell(self, number: signal.Signals) -> None:
        assert self._process is not None
        try:
            os.killpg(self._process.pid, number)
        except ProcessLookupError:
            pass

    def _read(self) -> None:
        """In the thread wsnova-watch-output; ends with the output."""
        assert self._process is not None
        stream = self._process.stdout
        assert stream is not None
        with stream:
            while line := stream.readline(_LONGEST):
                self._lines.append(printable(line.rstrip(b"\r\n").expandtabs(8)))


def environment(environ: Mapping[str, str], host: str, port: int) -> dict[str, str]:
    """What the program is given: these variables, without those that would send its metrics elsewhere."""
    kept = {key: value for key, value in environ.items() if key not in _ELSEWHERE}
    return {**kept, "DD_AGENT_HOST": host, "DD_DOGSTATSD_PORT": str(port), "PYTHONUNBUFFERED": "1"}
