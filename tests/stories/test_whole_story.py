"""The whole way: a real server, the client, the bus, the reporter, and the Datadog side; what arrives is exact."""

import re
from collections.abc import Iterator

import pytest

import wsnova_statsd as ws
from wsnova_statsd.profiles import ProfileName
from wsnova_statsd.testing import DogStatsDReceiver, Event
from wsnova_statsd.testing.server import WebSocketServer, send_messages

N = 5_000
TAGS = {"client_id": "a", "type": "b"}
LIMIT = 100_000_000  # nanoseconds; the guide's 100 ms


@pytest.fixture
def agent() -> Iterator[DogStatsDReceiver]:
    with DogStatsDReceiver() as receiver:
        yield receiver
    assert receiver.malformed == []


@pytest.fixture
def reporter(agent: DogStatsDReceiver, bus: ws.Bus) -> Iterator[ws.StatsdReporter]:
    with ws.StatsdReporter(host=agent.host, port=agent.port, bus=bus) as reporter:
        yield reporter


def _slow(bus: ws.Bus, duration: int) -> None:
    bus.execute(ws.events.MESSAGE_PROCESS_SLOW, {"duration": duration}, TAGS)


def _alerts(agent: DogStatsDReceiver, count: int) -> list[Event]:
    """The events, once there are this many."""
    assert agent.wait_for(lambda agent: len(agent.events) >= count)
    return agent.events


@pytest.mark.parametrize("profile", ["financial", "standard", "lightweight"])
def test_every_message_a_server_sends_is_counted_once_in_datadog(
    agent: DogStatsDReceiver, profile: ProfileName
) -> None:
    """Single messages if the profile emits them, and the sums in every profile."""
    bus = ws.Bus()
    messages = [f'{{"type": "trade", "n": {number}}}' for number in range(N)]
    reporter = ws.StatsdReporter(host=agent.host, port=agent.port, bus=bus)
    numbers: list[int] = []
    with (
        WebSocketServer(send_messages(messages)) as feed,
        ws.Monitor(profile, reporter=reporter, bus=bus),
        ws.Client(feed.url, client_id="md-1", profile=profile, bus=bus) as client,
    ):
        for message in client:
            numbers.append(message["n"])
            if len(numbers) == N:
                client.close()
    agent.stop()
    assert numbers == list(range(N))
    single = N if profile == "financial" else 0
    tags = ["client:md-1", "type:trade"]
    assert agent.count("websocket.message.received", tags) == single
    assert agent.count("websocket.message.process.completed", tags) == single
    assert agent.count("websocket.message.process.duration.distribution", tags) == single
    assert agent.count("websocket.message.batch.count", ["client:md-1", "direction:received"]) == N
    assert agent.count("websocket.message.batch.bytes", ["direction:received"]) == sum(map(len, messages))
    assert agent.count("websocket.message.batch.errors") == 0
    assert agent.count("websocket.connection.completed") == agent.count("websocket.connection.disconnected") == 1
    assert agent.last("websocket.connection.up", ["client:md-1"]) == 0
    assert len(agent.datagrams) == reporter.stats.packets
    assert (reporter.stats.pending, dict(reporter.stats.lost)) == (0, {})


def test_the_guides_gauge_line_arrives_byte_for_byte(
    agent: DogStatsDReceiver, bus: ws.Bus, reporter: ws.StatsdReporter
) -> None:
    """Its custom handler's line for 12.5 ms; the official client may add the container's id."""
    bus.execute(ws.events.MESSAGE_PROCESS_COMPLETED, {"duration": 12_500_000}, {**TAGS, "result": "ok"})
    assert reporter.flush()
    assert agent.wait_for(lambda agent: agent.metrics("websocket.message.process.duration"))
    lines = [line for datagram in agent.datagrams for line in datagram.split(b"\n")]
    (line,) = [line for line in lines if line.startswith(b"websocket.message.process.duration:")]
    assert re.fullmatch(rb"websocket\.message\.process\.duration:12\.5\|g\|#client:a,type:b(\|c:[^|]+)?", line)


def test_the_slow_alert_fires_strictly_above_100_ms(
    agent: DogStatsDReceiver, bus: ws.Bus, reporter: ws.StatsdReporter
) -> None:
    """100 ms exactly is not slow, one nanosecond more is; the text is the guide's."""
    with ws.Monitor("financial", reporter=reporter, bus=bus):
        _slow(bus, LIMIT)
        _slow(bus, LIMIT + 1)
        (alert,) = _alerts(agent, 1)
        reporter.flush()
    agent.stop()
    assert agent.events == [alert]
    assert alert.title == "Slow message processing: 100.000001ms for b"
    assert (set(alert.tags), alert.alert_type) == ({"client:a", "type:b"}, "warning")
    assert agent.count("websocket.message.process.slow", ["client:a", "type:b"]) == 2


def test_an_outage_is_counted_from_its_loss_to_the_new_link(agent: DogStatsDReceiver, bus: ws.Bus) -> None:
    """One disconnect, one attempt, one reconnect; what both links brought is counted once."""
    reporter = ws.StatsdReporter(host=agent.host, port=agent.port, bus=bus)
    messages = ['{"type": "trade"}'] * 10
    with (
        WebSocketServer(send_messages(messages)) as feed,
        ws.Monitor("financial", reporter=reporter, bus=bus),
        ws.Client(feed.url, client_id="md-1", profile="financial", bus=bus) as client,
    ):
        for received in range(20):
            if received == 10:
                feed.drop_all()
            client.receive(timeout=10)
    agent.stop()
    assert agent.count("websocket.message.received") == 20
    assert agent.count("websocket.connection.completed") == 2
    assert agent.count("websocket.connection.disconnected") == 2
    assert agent.count("websocket.connection.reconnect.attempt") == 1
    assert agent.count("websocket.connection.reconnect.success") == 1
    assert agent.count("websocket.error.occurred", ["type:connection"]) == 1
    assert agent.count("websocket.error.handled", ["type:connection"]) == 1
