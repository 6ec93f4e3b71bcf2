"""The identity of a client: an id that is its own while it runs, the profile of its Monitor, a state for later
Monitors."""

import gc
import logging
import os
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

import wsnova_statsd as ws
from tests.support import until
from wsnova_statsd.profiles import ProfileName
from wsnova_statsd.testing import DogStatsDReceiver, capture_events
from wsnova_statsd.testing.server import WebSocketServer

UP = "websocket.connection.up"
STATE = ws.events.CLIENT_STATE
PATIENCE = 20.0  # reached only by a failing test


@pytest.fixture
def server() -> Iterator[WebSocketServer]:
    with WebSocketServer() as server:
        yield server


@pytest.fixture
def agent() -> Iterator[DogStatsDReceiver]:
    with DogStatsDReceiver() as receiver:
        yield receiver
    assert receiver.malformed == []


def _reporter(agent: DogStatsDReceiver, bus: ws.Bus, **options: Any) -> ws.StatsdReporter:
    return ws.StatsdReporter(host=agent.host, port=agent.port, bus=bus, **options)


# -- ids ---------------------------------------------------------------------------------------------------------------


def test_a_second_client_of_an_id_is_refused_while_the_first_runs(server: WebSocketServer, bus: ws.Bus) -> None:
    """It emits nothing, not even an end: the first one's state goes on. On another bus it is another client."""
    first = ws.Client(server.url, client_id="md-1", bus=bus).start(timeout=PATIENCE)
    second = ws.Client(server.url, client_id="md-1", bus=bus)  # making it is no fault
    with capture_events(bus=bus) as log:
        with pytest.raises(ws.errors.ClientIdInUse, match=r"^client_id 'md-1' belongs to another client on this bus, "):
            second.start(timeout=PATIENCE)
        second.close()
    assert log.names() == []
    assert (first.state, second.state) == (ws.State.CONNECTED, ws.State.CLOSED)
    with ws.Client(server.url, client_id="md-1", bus=ws.Bus()):
        pass
    first.close()
    assert second.start(timeout=PATIENCE).state is ws.State.CONNECTED
    second.close()


def test_the_refusal_names_the_state_of_the_other(bus: ws.Bus) -> None:
    """A client that waits for its next try holds its id like a connected one."""
    ws.Client("ws://127.0.0.1:9/", client_id="md-1", on_message=print, bus=bus).start(wait=False)
    with pytest.raises(ws.errors.ClientIdInUse, match=r"which is (waiting|connecting); close that client, or pass"):
        ws.Client("ws://127.0.0.1:9/", client_id="md-1", bus=bus).start()


def test_a_client_may_be_started_again_and_a_failed_start_releases_its_id(server: WebSocketServer, bus: ws.Bus) -> None:
    client = ws.Client(server.url, client_id="md-1", bus=bus)
    for _ in range(2):
        assert client.start(timeout=PATIENCE) is client.start()
        client.close()
    with pytest.raises(ws.errors.ConnectionFailed):
        ws.Client("ws://127.0.0.1:9/", client_id="md-1", profile=ws.STANDARD.replace(max_attempts=1), bus=bus).start()
    client.start(timeout=PATIENCE).close()


def test_a_client_that_was_collected_no_longer_holds_its_id(server: WebSocketServer, bus: ws.Bus) -> None:
    """Its last events come before the first ones of the client that takes the id."""
    with capture_events(STATE, ws.events.CLIENT_CLOSED, bus=bus) as log:
        for _ in range(3):
            client = ws.Client(server.url, client_id="md-1", bus=bus).start(timeout=PATIENCE)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                del client
                gc.collect()
        assert log.wait_for(ws.events.CLIENT_CLOSED, 3)
    assert log.names() == [STATE, ws.events.CLIENT_CLOSED] * 3


def test_of_many_that_start_at_once_one_holds_the_id(server: WebSocketServer, bus: ws.Bus) -> None:
    clients = [ws.Client(server.url, client_id="md-1", on_message=print, bus=bus) for _ in range(8)]
    refused: list[ws.errors.ClientIdInUse] = []

    def start(client: ws.Client) -> None:
        try:
            client.start(timeout=PATIENCE)
        except ws.errors.ClientIdInUse as error:
            refused.append(error)

    threads = [threading.Thread(target=start, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert [client.state for client in clients].count(ws.State.CONNECTED) == 1
    assert len(refused) == 7


def test_a_child_may_use_an_id_of_its_parents(server: WebSocketServer, bus: ws.Bus) -> None:
    """The parent's client is no client of the child's."""
    ws.Client(server.url, client_id="md-1", on_message=print, bus=bus).start(timeout=PATIENCE)
    pid = os.fork()
    if pid == 0:
        try:
            ws.Client(server.url, client_id="md-1", bus=bus).start(timeout=PATIENCE)
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


# -- profiles ----------------------------------------------------------------------------------------------------------


def test_without_a_profile_a_client_uses_that_of_the_monitor_that_runs_on_its_bus(
    server: WebSocketServer, agent: DogStatsDReceiver, bus: ws.Bus
) -> None:
    """Decided at each start and not in between; a profile that was passed stays; without a Monitor it is the standard
    one."""
    client = ws.Client(server.url, client_id="md-1", bus=bus)
    own = ws.Client(server.url, client_id="md-2", profile="lightweight", bus=bus)
    assert client.start(timeout=PATIENCE).profile == ws.STANDARD
    with ws.Monitor("financial", reporter=_reporter(agent, bus), bus=bus):
        assert client.profile == ws.STANDARD
        client.close()
        assert client.profile == ws.FINANCIAL
        assert client.start(timeout=PATIENCE).profile == ws.FINANCIAL
        assert own.start(timeout=PATIENCE).profile == ws.LIGHTWEIGHT
        with capture_events(ws.events.MESSAGE_SENT, bus=bus) as log:
            client.send({"type": "order"})
            own.send({"type": "order"})
        assert [one.metadata["client_id"] for one in log] == ["md-1"]
        assert ws.Client(server.url, bus=ws.Bus()).profile == ws.STANDARD
    assert client.profile == ws.FINANCIAL
    client.close()
    own.close()
    assert client.profile == ws.STANDARD


def test_a_later_monitor_logs_once_which_clients_keep_another_profile(
    server: WebSocketServer, agent: DogStatsDReceiver, bus: ws.Bus, caplog: pytest.LogCaptureFixture
) -> None:
    """Not those that were passed a profile."""
    profiles: dict[str, ProfileName | None] = {"b": None, "a": None, "own": "lightweight", "same": "financial"}
    for name, profile in profiles.items():
        ws.Client(server.url, client_id=name, profile=profile, on_message=print, bus=bus).start(timeout=PATIENCE)
    with caplog.at_level(logging.WARNING), ws.Monitor("financial", reporter=_reporter(agent, bus), bus=bus):
        assert [record.getMessage() for record in caplog.records] == [
            "clients a, b were started before this Monitor and keep the profile they have, not financial, until they "
            "are restarted; start the Monitor first, or pass profile= to the clients"
        ]
    caplog.clear()
    with ws.Monitor("standard", reporter=_reporter(agent, bus), bus=bus):
        assert caplog.records == []


# -- state -------------------------------------------------------------------------------------------------------------


def test_a_monitor_that_starts_after_its_clients_has_their_state_in_its_first_flush(
    server: WebSocketServer, agent: DogStatsDReceiver, bus: ws.Bus
) -> None:
    """`up`, KPIs and checks: of a connected client, of one that tries to connect, and of no closed one."""
    ws.Client(server.url, client_id="up", on_message=print, bus=bus).start(timeout=PATIENCE)
    ws.Client("ws://127.0.0.1:9/", client_id="down", on_message=print, bus=bus).start(wait=False)
    ws.Client(server.url, client_id="closed", bus=bus).start(timeout=PATIENCE).close()
    ws.Client(server.url, client_id="never", bus=bus)
    with ws.Monitor("standard", reporter=_reporter(agent, bus, flush_interval=10), bus=bus) as monitor:
        assert monitor.reporter.flush()
        assert agent.wait_for(lambda agent: agent.metrics(UP) and len(agent.checks) >= 2, PATIENCE)
    reported = {one.tags: one.values for one in agent.metrics(UP)}
    assert reported == {("client:up", "worker:0"): (1,), ("client:down", "worker:0"): (0,)}
    blind = {one.tags[0] for one in agent.metrics("websocket.kpi.blind_s")}
    assert blind == {"client:up", "client:down", "scope:all"}
    assert {(one.tags[0], one.status) for one in agent.checks if one.name == "websocket.can_connect"} == {
        ("client:up", 0),
        ("client:down", 2),
    }


def test_up_is_0_for_a_client_that_never_connected(agent: DogStatsDReceiver, bus: ws.Bus) -> None:
    with _reporter(agent, bus) as reporter:
        ws.Client("ws://127.0.0.1:9/", client_id="md-1", on_message=print, bus=bus).start(wait=False)
        assert reporter.flush()
        assert agent.wait_for(lambda agent: agent.metrics(UP))
        assert agent.last(UP) == 0


def test_a_profile_without_connection_events_has_no_state(server: WebSocketServer, bus: ws.Bus) -> None:
    """Otherwise it would be shown as down for good."""
    with capture_events(STATE, bus=bus) as log:
        ws.Client(server.url, client_id="md-1", profile=ws.STANDARD.replace(connection_events=False), bus=bus).start(
            PATIENCE
        ).close()
    assert [dict(one.measurements) for one in log] == [{}]


def test_the_last_state_that_is_emitted_is_the_true_one(server: WebSocketServer, bus: ws.Bus) -> None:
    """For any number of requests at any time, while a link is lost and re-established."""
    profile = ws.STANDARD.replace(first_retry=0.0, retry_base=0.001, retry_cap=0.001)
    states: list[int] = []
    said = {ws.events.CONNECTION_COMPLETED: 1, ws.events.CONNECTION_DISCONNECTED: 0}
    bus.attach_many(
        "watch", [STATE, *said], lambda event, measurements, *_: states.append(said.get(event, measurements.get("up")))
    )
    client = ws.Client(server.url, client_id="md-1", profile=profile, on_message=print, bus=bus).start(timeout=PATIENCE)
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            with ws.Monitor("standard", reporter=_reporter_to_nobody(bus), alerts=False, kpis=False, bus=bus):
                pass

    asking = threading.Thread(target=ask)
    asking.start()
    for number in range(2, 22):
        server.drop_all()
        assert until(lambda number=number: server.connections >= number)  # type: ignore[misc]
        assert until(lambda: client.state is ws.State.CONNECTED)
        assert until(lambda: states[-1] == 1)
    over.set()
    asking.join(PATIENCE)
    client.close()
    assert states[-1] == 0


def _reporter_to_nobody(bus: ws.Bus) -> ws.StatsdReporter:
    return ws.StatsdReporter([], host="127.0.0.1", port=9, bus=bus)


def test_a_state_requested_during_the_end_is_followed_by_the_end(server: WebSocketServer, bus: ws.Bus) -> None:
    """A gauge of a closed client would be sent for ever."""
    client = ws.Client(server.url, client_id="md-1", on_message=print, bus=bus).start(timeout=PATIENCE)
    bus.attach("closes", STATE, lambda *_: client.close())
    with (
        capture_events(STATE, ws.events.CLIENT_CLOSED, bus=bus) as log,
        ws.Monitor("standard", reporter=_reporter_to_nobody(bus), alerts=False, kpis=False, bus=bus),
    ):
        pass
    assert log.names()[-1] == ws.events.CLIENT_CLOSED


def test_the_reporters_own_gauges_carry_the_worker_and_its_counts_do_not(agent: DogStatsDReceiver, bus: ws.Bus) -> None:
    with _reporter(agent, bus):
        assert agent.wait_for(lambda agent: agent.metrics("websocket.reporter.packets"), PATIENCE)
    reported = {one.name.removeprefix("websocket.reporter."): one.tags for one in agent.metrics()}
    assert reported["series"] == reported["flush_ms"] == ("worker:0",)
    assert reported["packets"] == reported["bytes"] == ()
