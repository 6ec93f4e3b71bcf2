"""For every test: Hypothesis without its deadline, as a busy machine is no fault of the code; no client left over."""

from collections.abc import Iterator

import pytest
from hypothesis import settings

from wsnova_statsd.client import client as client_module
from wsnova_statsd.client.state import State

settings.register_profile("wsnova", deadline=None)
settings.load_profile("wsnova")


@pytest.fixture(autouse=True)
def _no_client_lives_on() -> Iterator[None]:
    """A client that a test left open would go on retrying, and tell of it on the default bus, in the next one."""
    yield
    for client in list(client_module._living):
        if client.state not in (State.IDLE, State.CLOSED, State.FORKED):
            client.close(0.5)
