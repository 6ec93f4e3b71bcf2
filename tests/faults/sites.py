"""Web sites for the tests: a project of Django and an application of Flask, served by separate programs."""

import importlib.util
import json
import os
import signal
import socket
import time
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import pytest

from tests.faults.ending import PATIENCE, Ended, Program
from tests.support import ROOT
from wsnova_statsd.testing.receiver import DogStatsDReceiver

TICKS = [json.dumps({"type": "tick", "n": number}) for number in range(1, 101)]
ALL = "stored 100"  # what a handler says of the last one
HELD = 3.0  # seconds: two that an end may take, and a busy machine
# A shell that runs the tests in the background has Ctrl-C ignored, which children inherit.
_HEARS_CTRL_C = (
    "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); "
    "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
)


def versions(library: str) -> list[Any]:
    """The places of a library, as parameters of a test: where this interpreter finds it, and in the
    virtual environments <library>-<version> of the folder that WSNOVA_VERSIONS names."""
    spec = importlib.util.find_spec(library)
    assert spec is not None
    assert spec.origin is not None
    installed = pytest.param(str(Path(spec.origin).parents[1]), id="installed")
    folder = Path(os.environ.get("WSNOVA_VERSIONS") or "/nowhere")
    found = sorted(folder.glob(f"{library}-*/lib/python*/site-packages"))
    others = [pytest.param(str(one), id=one.parts[-4]) for one in found]
    if not others:
        reported = f"WSNOVA_VERSIONS names no folder with virtual environments such as {library}-4.2"
        others = [pytest.param("", id="other versions", marks=pytest.mark.skip(reason=reported))]
    return [installed, *others]


class Site(Program):
    """A program that serves, or runs a command, in a folder with the application. `where` is one of versions()."""

    def __init__(self, agent: DogStatsDReceiver, folder: Path, where: str, *arguments: str, **variables: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        path = os.pathsep.join(filter(None, (str(ROOT), str(folder), where)))
        given = [one.replace("PORT", str(self.port)) for one in arguments]
        super().__init__(
            agent, "-c", _HEARS_CTRL_C, *given, PYTHONPATH=path, SITE_PORT=str(self.port), measured=False, **variables
        )

    def get(self, path: str, expected: int = 200) -> dict[str, Any]:
        """The JSON of a page, once the server listens and answers with this status."""
        deadline, reported = time.monotonic() + PATIENCE, ""
        while time.monotonic() < deadline and self.running:
            try:
                with urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=PATIENCE) as answer:
                    status, text = answer.status, answer.read()
            except HTTPError as error:
                status, text = error.code, error.read()
            except URLError:
                time.sleep(0.05)
                continue
            if status == expected:
                made: dict[str, Any] = json.loads(text)
                return made
            reported = f"{status}: {text!r}"
            time.sleep(0.05)
        raise AssertionError(f"{path} answered {reported or 'nothing'}; {self.reported()}")

    def ctrl_c(self) -> Ended:
        """As a terminal does it: to all processes of the session."""
        began = time.monotonic()
        os.killpg(self.pid, signal.SIGINT)
        return self.end()._replace(took=time.monotonic() - began)


def received(agent: DogStatsDReceiver, number: int) -> bool:
    """Whether so many messages have been counted at the Agent."""
    counted = "websocket.message.batch.count"
    return agent.wait_for(lambda seen: seen.count(counted, {"direction": "received"}) == number, PATIENCE)
