"""A client that falls behind its feed emits it: what waits, how far behind that is, and how old each message is."""

import threading
import time
from typing import Any

import pytest

import wsnova_statsd as ws
from tests.support import until
from wsnova_statsd.testing import DogStatsDReceiver, Metric
from wsnova_statsd.testing.capture import capture_events
from wsnova_statsd.testing.server import WebSocketServer, send_messages

BATCH = ws.events.MESSAGE_BATCH_PROCESSED


class _Dated(ws.JsonProtocol):
    """A feed whose messages carry their time."""

    def sent_at(self, message: Any) -> float | None:
        sent = message.get("t")
        return sent if isinstance(sent, float) else None


@pytest.mark.parametrize("profile", [ws.FINANCIAL, ws.STANDARD, ws.LIGHTWEIGHT], ids=lambda one: str(one.name))
def test_sums_are_emitted_each_second_while_a_handler_runs(profile: ws.Profile) -> None:
    """With what waits meanwhile; together they count every message once."""
    release, handled = threading.Event(), list[Any]()

    def handle(message: Any) -> None:
        handled.append(message)
        if len(handled) == 1:
            release.wait(20.0)

    messages = [f'{{"type": "trade", "n": {number}}}' for number in range(50)]
    bus = ws.Bus()
    with WebSocketServer(send_messages(messages)) as server, capture_events(BATCH, bus=bus) as log:
        client = ws.Client(server.url, profile=profile, on_message=handle, bus=bus).start()
        assert until(lambda: client.waiting == 49)
        before = len(log.of(BATCH))  # by when not all had arrived, perhaps
        assert log.wait_for(BATCH, before + 3, 10.0)
        meanwhile = [one.measurements for one in log.of(BATCH)[before:]]
        release.set()
        assert until(lambda: len(handled) == 50)
        client.close()
        assert client.waiting == 0
    assert all(one["count"] == one["processed"] == one["idle"] == 0 for one in meanwhile[1:])
    assert [one["waiting"] for one in meanwhile] == [49] * len(meanwhile)
    assert meanwhile[0]["waiting_bytes"] == sum(map(len, messages[1:]))
    behind = [one["behind"] for one in meanwhile]
    assert behind == sorted(behind)
    assert behind[-1] - behind[0] == sum(one["window"] for one in meanwhile[1:])
    assert sum(one.measurements["count"] for one in log.of(BATCH)) == 50
    assert sum(one.measurements["processed"] for one in log.of(BATCH)) == 50


def test_an_owner_that_waits_for_input_is_idle_and_not_behind() -> None:
    """A message now and then: the owner waits for nearly all of the second."""
    bus = ws.Bus()
    with WebSocketServer(send_messages(["1"])) as server, capture_events(BATCH, bus=bus) as log:
        client = ws.Client(server.url, on_message=lambda message: None, bus=bus).start()
        assert log.wait_for(BATCH, 1, 10.0)
        client.close()
    sums = log.of(BATCH)[0].measurements
    assert (sums["waiting"], sums["waiting_bytes"], sums["behind"]) == (0, 0, 0)
    assert sums["idle"] > 0.8 * sums["window"]


@pytest.mark.parametrize("profile", [ws.FINANCIAL, ws.STANDARD], ids=lambda one: str(one.name))
def test_the_age_of_each_message_is_a_distribution(profile: ws.Profile) -> None:
    """In every profile; messages without a time have none, and are delivered like the others."""
    sent = time.time() - 2.0
    messages = [f'{{"type": "trade", "t": {sent}}}'] * 3 + ['{"type": "trade"}', '{"type": "trade", "t": "soon"}']
    bus, handled = ws.Bus(), list[Any]()
    with DogStatsDReceiver() as agent, WebSocketServer(send_messages(messages)) as server:
        with (
            ws.StatsdReporter(host=agent.host, port=agent.port, bus=bus),
            ws.Client(
                server.url, client_id="md-1", profile=profile, protocol=_Dated(), on_message=handled.append, bus=bus
            ),
        ):
            assert agent.wait_for(lambda _: _values(agent, "websocket.message.waiting"), 10.0)
        ages = _values(agent, "websocket.message.lag")
        waiting = _values(agent, "websocket.message.waiting")
    assert len(handled) == 5
    assert set(waiting) == {0.0}
    assert len(ages) == 3
    assert all(2_000 <= age < 60_000 for age in ages)


def _values(agent: DogStatsDReceiver, name: str) -> list[float]:
    return [value for one in agent.messages if isinstance(one, Metric) and one.name == name for value in one.values]
