"""Samples of real clients: what the kernel reports of their sockets, over TLS too, and what an Agent gets of it."""

import socket
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import wsnova_statsd as ws
from tests.support import socket_to, tls_contexts
from tests.unit.alerting import Timers
from wsnova_statsd.testing.capture import EventLog, capture_events
from wsnova_statsd.testing.clock import FakeClock
from wsnova_statsd.testing.receiver import DogStatsDReceiver
from wsnova_statsd.testing.server import WebSocketServer

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="TCP_INFO is Linux's")

PATIENCE = 20.0  # reached only by a failing test
SAMPLED = ws.events.SYSTEM_SAMPLED
TCP = {"tcp_rtt", "tcp_rttvar", "tcp_retransmits", "tcp_lost"}

Samples = Callable[[], dict[str, dict[str, Any]]]


@pytest.fixture
def samples(bus: ws.Bus) -> Iterator[Samples]:
    """Takes a sample; the figures by client."""
    timers = Timers(FakeClock())
    log: EventLog

    def sample() -> dict[str, dict[str, Any]]:
        log.clear()
        timers.advance(10)
        reported = {one.metadata["client_id"]: dict(one.measurements) for one in log.of(SAMPLED)}
        assert "rss_bytes" in reported.pop(None)
        return reported

    with capture_events(SAMPLED, bus=bus) as log, ws.SystemSampler(bus=bus, clock=timers):
        yield sample


def _ask(client: ws.Client) -> None:
    client.send({"type": "ping"})
    client.receive(timeout=PATIENCE)


def test_each_connected_client_of_the_bus_has_figures_of_its_own_socket(bus: ws.Bus, samples: Samples) -> None:
    """Neither one on another bus, nor one that was never started, nor one that is closed."""
    with WebSocketServer() as server:
        idle = ws.Client(server.url, client_id="idle", bus=bus)
        with (
            ws.Client(server.url, client_id="a", bus=bus) as a,
            ws.Client(server.url, client_id="b", on_message=print, bus=bus),
            ws.Client(server.url, client_id="elsewhere", bus=ws.Bus()),
        ):
            _ask(a)
            reported = samples()
            assert set(reported) == {"a", "b"}
            for figures in reported.values():
                assert set(figures) == TCP
                assert 0 < figures["tcp_rtt"] < 10_000_000_000
                assert figures["tcp_rttvar"] >= 0
                assert figures["tcp_retransmits"] == figures["tcp_lost"] == 0
        assert samples() == {}
        assert idle.state is ws.State.IDLE


def test_the_figures_are_those_that_the_kernel_reports_of_the_same_socket(bus: ws.Bus, samples: Samples) -> None:
    with WebSocketServer() as server, ws.Client(server.url, client_id="a", bus=bus) as client:
        _ask(client)
        with socket_to(server.port) as sock:
            raw = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
        assert samples()["a"]["tcp_rtt"] == int.from_bytes(raw[68:72], sys.byteorder) * 1000


def test_a_connection_over_tls_has_them_too(bus: ws.Bus, samples: Samples) -> None:
    served, trusted = tls_contexts()
    with WebSocketServer(ssl=served) as server, ws.Client(server.url, client_id="a", ssl=trusted, bus=bus) as client:
        _ask(client)
        assert set(samples()["a"]) == TCP


def test_a_lost_connection_has_no_figures_and_the_next_one_begins_anew(bus: ws.Bus, samples: Samples) -> None:
    profile = ws.STANDARD.replace(first_retry=0.0, retry_base=0.05, retry_cap=0.05)
    back = threading.Event()
    with (
        WebSocketServer() as server,
        capture_events("websockex_nova", bus=bus) as log,
        ws.Client(server.url, client_id="a", profile=profile, on_message=print, on_reconnect=back.set, bus=bus),
    ):
        assert set(samples()) == {"a"}
        server.stop(drop=True)
        assert log.wait_for(ws.events.CONNECTION_RECONNECT_FAILED, 1, PATIENCE)
        assert samples() == {}
        with WebSocketServer(port=server.port):
            assert back.wait(PATIENCE)
            assert samples()["a"]["tcp_retransmits"] == 0


def test_samples_taken_while_clients_come_and_go_disturb_nothing(bus: ws.Bus, samples: Samples) -> None:
    """A socket is read as an object: once closed it raises, and never returns another socket's figures."""
    faults: list[BaseException] = []

    def churn() -> None:
        try:
            for _ in range(15):
                with ws.Client(server.url, bus=bus) as client:
                    _ask(client)
        except BaseException as fault:
            faults.append(fault)

    with WebSocketServer() as server:
        threads = [threading.Thread(target=churn) for _ in range(3)]
        for thread in threads:
            thread.start()
        seen: set[str] = set()
        while any(thread.is_alive() for thread in threads):
            reported = samples()
            seen |= set(reported)
            assert all(set(figures) == TCP for figures in reported.values())
        assert faults == []
        assert seen


def test_an_agent_gets_the_gauges_from_the_clocks_thread(bus: ws.Bus) -> None:
    """A sample a second with the real clock; heartbeats if the profile emits them."""
    profile = ws.FINANCIAL.replace(ping_interval=0.2, pong_timeout=0.2 * 10)
    with DogStatsDReceiver() as agent, WebSocketServer() as server:
        reporter = ws.StatsdReporter(host=agent.host, port=agent.port, bus=bus, tags=())
        sampler = ws.SystemSampler(every=1, bus=bus, worker="w")
        with reporter, sampler, ws.Client(server.url, client_id="a", profile=profile, on_message=print, bus=bus):
            wanted = {one.name for one in ws.statsd_metrics() if one.event == SAMPLED}

            def gauges() -> set[str]:
                return {one.name for one in agent.metrics() if one.name.startswith("websocket.system.")}

            assert agent.wait_for(lambda _: gauges() == wanted, PATIENCE), wanted - gauges()
        tags = {one.name: one.tags for one in agent.metrics() if one.type == "g" and one.name in wanted}
        assert set(tags) == wanted
        assert {tags["websocket.system.rss_bytes"], tags["websocket.system.tcp.rtt_ms"]} == {
            ("worker:w",),
            ("client:a", "worker:w"),
        }
        assert agent.malformed == []
