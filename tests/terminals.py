"""A program in a pseudo-terminal of a given size: what it writes is read all the time, keys can be typed."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import termios
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path


class Terminal:
    """Runs a command; a context manager that kills what is left of it at the end."""

    def __init__(
        self, command: Sequence[str], environ: Mapping[str, str], columns: int, rows: int, cwd: Path | None = None
    ) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        sized = {name: value for name, value in environ.items() if name not in ("COLUMNS", "LINES")}
        sized["TERM"] = "xterm-256color"
        self.process = subprocess.Popen(
            command, cwd=cwd, env=sized, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
        )
        os.close(theirs)
        self._written = bytearray()  # appended by the thread
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        while True:
            try:
                chunk = os.read(self._ours, 65_536)
            except OSError:  # how Linux reports that the other end is closed
                return
            self._written += chunk

    @property
    def text(self) -> str:
        """All that it has written."""
        return bytes(self._written).decode("utf-8", "replace")

    def type(self, keys: str) -> None:
        """Type these characters."""
        os.write(self._ours, keys.encode())

    def wait_for(self, text: str, timeout: float = 20.0) -> bool:
        """Whether it writes this within `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while text not in self.text and time.monotonic() < deadline and self.process.poll() is None:
            time.sleep(0.02)
        return text in self.text

    def end(self, timeout: float = 20.0) -> tuple[int, str]:
        """Its status and all that it has written, once it has ended by itself."""
        status = self.process.wait(timeout)
        self._thread.join(5)
        return status, self.text

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        self._thread.join(5)
        os.close(self._ours)
