"""For every test: Hypothesis without its deadline, as a busy machine is no fault of the code; no client is left.

Settings of the machine's own Agent are ignored.
"""

import functools
import os
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import settings

import wsnova_statsd as ws
from tests.support import Contexts, tls_contexts
from wsnova_statsd.testing.capture import EventLog, capture_events

for _name in [one for one in os.environ if one.startswith(("DD_", "DATADOG_", "WSNOVA_STATSD_"))]:
    del os.environ[_name]
os.environ["WSNOVA_STATSD_WORKER"] = "0"  # for any other load on this machine

settings.register_profile("wsnova", deadline=None)
settings.load_profile("wsnova")

_clients: weakref.WeakSet[ws.Client] = weakref.WeakSet()
_make = ws.Client.__init__


@functools.wraps(_make)
def _make_and_remember(client: ws.Client, *arguments: Any, **options: Any) -> None:
    _make(client, *arguments, **options)
    _clients.add(client)


ws.Client.__init__ = _make_and_remember  # type: ignore[method-assign,assignment]


@pytest.fixture(autouse=True)
def _no_client_lives_on() -> Iterator[None]:
    """Close what a test left open: its client would retry, and emit on the default bus, in the next test."""
    yield
    for client in list(_clients):
        if client.state not in (ws.State.IDLE, ws.State.CLOSED, ws.State.FORKED):
            client.close(0.5)


@pytest.fixture
def bus() -> ws.Bus:
    """An isolated bus."""
    return ws.Bus()


@pytest.fixture
def log(bus: ws.Bus) -> Iterator[EventLog]:
    """All events of that bus."""
    with capture_events(bus=bus) as log:
        yield log


@pytest.fixture(params=["plain", "tls"])
def tls(request: pytest.FixtureRequest) -> Contexts:
    """The server's and the client's context, once without TLS and once with it."""
    return (None, None) if request.param == "plain" else tls_contexts()


def pytest_addoption(parser: pytest.Parser) -> None:
    """`python -m tests` runs the tests marked `alone` after the others, in one process."""
    parser.addoption("--alone", choices=["only", "without"], help="only, or all but, the tests marked `alone`")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect what `--alone` leaves out."""
    choice = config.getoption("--alone")
    if choice is None:
        return
    kept, left_out = list[pytest.Item](), list[pytest.Item]()
    for item in items:
        alone = item.get_closest_marker("alone") is not None
        (kept if alone == (choice == "only") else left_out).append(item)
    items[:] = kept
    config.hook.pytest_deselected(items=left_out)
