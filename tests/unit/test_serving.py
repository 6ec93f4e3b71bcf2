"""When the clients of a site start: at once if the process serves, after the fork if it only forks workers."""

import logging
import os
import sys
import types
from collections.abc import Iterator
from typing import Any

import pytest

import wsnova_statsd as ws
from wsnova_statsd.contrib import serving
from wsnova_statsd.testing.server import WebSocketServer


@pytest.fixture(autouse=True)
def _serves_again() -> Iterator[None]:
    """This process is one that serves, before and after."""
    serving.release()
    yield
    serving.release()


@pytest.fixture
def monitored() -> Iterator[None]:
    """The program has set up telemetry itself."""
    ws.telemetry.attach("mine", ws.events.MESSAGE_SENT, lambda *_: None)
    yield
    ws.telemetry.detach("mine")


class Uwsgi(types.ModuleType):
    """The module that uWSGI's processes have: the worker's number is 0 in the master."""

    def __init__(self, worker: int, master: int = 1) -> None:
        super().__init__("uwsgi")
        self.worker_id = lambda: worker
        self.masterpid = lambda: master
        self.post_fork_hook: Any = None


@pytest.fixture
def no_decorators(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if uwsgidecorators were in a separate package."""
    monkeypatch.setitem(sys.modules, "uwsgidecorators", None)


def test_in_a_process_that_serves_a_requested_start_happens_at_once() -> None:
    began: list[int] = []
    serving.when_serving(lambda: began.append(os.getpid()))
    assert began == [os.getpid()]


def test_in_a_process_that_only_forks_requested_starts_are_kept_for_its_workers_in_order() -> None:
    """Each happens once."""
    began: list[str] = []
    serving.hold()
    for name in ("a", "b"):
        serving.when_serving(lambda name=name: began.append(name))  # type: ignore[misc]
    assert began == []
    serving.release()
    serving.release()
    assert began == ["a", "b"]


@pytest.mark.usefixtures("no_decorators")
def test_in_uwsgis_master_a_start_is_kept_for_the_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The application's own functions for after the fork run before it."""
    master, called = Uwsgi(worker=0), list[str]()
    master.post_fork_hook = lambda: called.append("the application's")
    monkeypatch.setitem(sys.modules, "uwsgi", master)
    for name in ("a", "b"):
        serving.when_serving(lambda name=name: called.append(name))  # type: ignore[misc]
    assert called == []
    master.post_fork_hook()
    assert called == ["the application's", "a", "b"]


@pytest.mark.parametrize("uwsgi", [Uwsgi(worker=2), Uwsgi(worker=0, master=0)], ids=["a worker", "no master"])
def test_if_uwsgi_serves_in_this_process_it_begins_at_once(uwsgi: Uwsgi, monkeypatch: pytest.MonkeyPatch) -> None:
    """With lazy-apps, and without a master. Nothing is registered for after a fork."""
    monkeypatch.setitem(sys.modules, "uwsgi", uwsgi)
    began: list[int] = []
    serving.when_serving(lambda: began.append(1))
    assert (began, uwsgi.post_fork_hook) == ([1], None)
    assert serving.loaded_by_server()


@pytest.mark.usefixtures("monitored")
def test_clients_start_without_waiting_and_a_fault_of_one_is_a_line(caplog: pytest.LogCaptureFixture) -> None:
    """One whose id is taken is named in the log; the others start."""
    with WebSocketServer() as server:
        bus = ws.Bus()
        first, second, third = (
            ws.Client(server.url, client_id=name, on_message=print, bus=bus) for name in ("a", "a", "b")
        )
        with caplog.at_level(logging.ERROR):
            serving.start_when_serving(first, second, third)
        assert server.wait_for(lambda: server.open_connections == 2)
        for client in (first, third):
            client.close()
    assert second.state is ws.State.CLOSED
    assert "client a is not started: ClientIdInUse" in caplog.text
    assert "Traceback" not in caplog.text


@pytest.mark.usefixtures("monitored")
def test_a_client_that_was_closed_starts_again_and_one_that_runs_goes_on() -> None:
    """An application's lifespan may begin again in its process."""
    with WebSocketServer() as server, ws.Client(server.url, on_message=print, bus=ws.Bus()) as client:
        serving.start(client)
        assert server.connections == 1
        client.close()
        serving.start(client)
        assert server.wait_for(lambda: server.connections == 2)
