"""What separate programs send to and use: a receiver on a UDP port and a Unix socket, each in turn, and a Redis."""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.ending import PATIENCE
from tests.support import until
from wsnova_statsd.testing.receiver import DogStatsDReceiver


@pytest.fixture(params=["udp", "unix"])
def agent(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[DogStatsDReceiver]:
    """An Agent in this process; what is counted comes from other processes."""
    with DogStatsDReceiver(str(tmp_path / "dsd.socket") if request.param == "unix" else None) as receiver:
        yield receiver


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[str]:
    """The Unix socket of a Redis that keeps nothing."""
    program = os.environ.get("WSNOVA_REDIS") or shutil.which("redis-server")
    if program is None:
        pytest.skip("no Redis: WSNOVA_REDIS names its program, as in the Debian package redis-server")
    path = str(tmp_path / "redis.socket")
    command = [program, "--port", "0", "--unixsocket", path, "--save", "", "--dir", str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        assert until(lambda: _listens(path), PATIENCE), process.poll()
        yield path
    finally:
        process.kill()
        process.wait()


def _listens(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(path) == 0
