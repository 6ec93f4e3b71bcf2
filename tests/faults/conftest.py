"""The receiver that programs of their own send to: a UDP port and a Unix socket, each in turn."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from wsnova_statsd.testing.receiver import DogStatsDReceiver


@pytest.fixture(params=["udp", "unix"])
def agent(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[DogStatsDReceiver]:
    """An Agent in this process; what is counted comes from others."""
    with DogStatsDReceiver(str(tmp_path / "dsd.socket") if request.param == "unix" else None) as receiver:
        yield receiver
