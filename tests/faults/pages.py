"""The pages on platforms: the files that a page shows, written into a folder, and run by the commands of the page."""

import http.client
import json
import os
import re
import socket
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.faults.ending import Program
from tests.support import ROOT
from wsnova_statsd.testing.receiver import DogStatsDReceiver
from wsnova_statsd.testing.server import WebSocketServer, send_messages

EXAMPLES = ROOT / "examples"
_BLOCK = re.compile(r"```\w+\n# (\S+)\n(.*?)```", re.DOTALL)
MESSAGES = [f'{{"type": "trade", "symbol": "BTC", "price": {number}}}' for number in range(100)]
IN_TIME = 5.0  # seconds: two, and a busy machine


def files(page: str) -> dict[str, str]:
    """The files that a page of examples/ shows: blocks whose first line is a comment with a name."""
    return dict(_BLOCK.findall((EXAMPLES / page).read_text(encoding="utf-8")))


def write(page: str, folder: Path) -> None:
    """Write the files that a page shows into a folder."""
    for name, text in files(page).items():
        (folder / name).write_text(text, encoding="utf-8")


def feed() -> WebSocketServer:
    """A server that sends 100 trades on each connection, and then waits."""
    return WebSocketServer(send_messages(MESSAGES))


class Run(Program):
    """A program of a page, with this interpreter's arguments; the files are those in the folder."""

    def __init__(self, agent: DogStatsDReceiver, url: str, folder: Path, *arguments: str, **more: str) -> None:
        path = os.pathsep.join(filter(None, (str(folder), str(ROOT), os.environ.get("PYTHONPATH"))))
        settings = {"FEED_URL": url, "PYTHONPATH": path, "WSNOVA_STATSD_WORKER": ""}  # a number for each process
        super().__init__(agent, *arguments, measured=False, **{**settings, **more})


def get(path: str, target: str = "/") -> Any:
    """What the server on this Unix socket answers to a request: the decoded JSON. Raises OSError and HTTPException."""
    with closing(http.client.HTTPConnection("shop")) as asked:
        asked.sock = socket.socket(socket.AF_UNIX)
        asked.sock.settimeout(30)
        asked.sock.connect(path)
        asked.request("GET", target)
        answer = asked.getresponse()
        assert answer.status == 200
        return json.load(answer)


def answers(path: str) -> bool:
    """Whether there is an answer yet."""
    try:
        get(path)
    except (OSError, http.client.HTTPException):
        return False
    return True
