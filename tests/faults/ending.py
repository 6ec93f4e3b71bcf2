"""Programs that end, in different ways, and what they printed by then."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from tests.support import ROOT, until
from wsnova_statsd.testing.receiver import DogStatsDReceiver

# A start imports everything, on a machine that may be busy; no test waits that long if all is well.
PATIENCE = 30.0


class Ended(NamedTuple):
    """How a program ended: how many seconds after the request, with which code, and what it printed."""

    took: float
    code: int
    said: str
    errors: str


def url_of(agent: DogStatsDReceiver | str) -> str:
    """The value of DD_DOGSTATSD_URL for a receiver, or for the path of a socket."""
    if isinstance(agent, str) or agent.path is not None:
        return f"unix://{agent if isinstance(agent, str) else agent.path}"
    return f"udp://{agent.host}:{agent.port}"


class Program:
    """A program in its own session that sends to `agent`; processes that are left at the end are killed.

    `arguments` are those of the interpreter. `measured=False` runs it without coverage, at full speed.
    """

    def __init__(self, agent: DogStatsDReceiver | str, *arguments: str, measured: bool = True, **more: str) -> None:
        unwanted = ("DD_", "DATADOG_") if measured else ("DD_", "DATADOG_", "COVERAGE_")
        environment = {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}
        environment |= {"PYTHONPATH": str(ROOT), "DD_DOGSTATSD_URL": url_of(agent), **more}
        # Files, as nothing reads along: a full pipe would block the program.
        self._folder = tempfile.TemporaryDirectory(prefix="ending-")
        self._said = Path(self._folder.name, "said")
        self._errors = Path(self._folder.name, "errors")
        with self._said.open("wb") as said, self._errors.open("wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=self._folder.name,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=errors,
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self._process.wait(PATIENCE)
        self._folder.cleanup()

    @property
    def pid(self) -> int:
        """Its process id, which is that of its session as well."""
        return self._process.pid

    @property
    def said(self) -> str:
        """Its standard output so far."""
        return self._said.read_text(encoding="utf-8", errors="replace")

    @property
    def errors(self) -> str:
        """Its standard error so far."""
        return self._errors.read_text(encoding="utf-8", errors="replace")

    def wait_for(self, text: str, times: int = 1) -> None:
        """Until it has printed this so many times, on either stream."""
        there = until(lambda: (self.said + self.errors).count(text) >= times or not self.running, PATIENCE)
        assert there, self.reported()
        assert (self.said + self.errors).count(text) >= times, self.reported()

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.poll() is None

    def reported(self) -> str:
        """Both streams, for a failure's message."""
        return f"it said:\n{self.said[-3000:]}\nand on standard error:\n{self.errors[-6000:]}"

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def end(self, number: int | None = None) -> Ended:
        """Wait for its end, which has to come, after sending it a signal if one is passed."""
        began = time.monotonic()
        if number is not None:
            self._process.send_signal(number)
        try:
            code = self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired as error:
            raise AssertionError(f"it did not end; {self.reported()}") from error
        return Ended(time.monotonic() - began, code, self.said, self.errors)
