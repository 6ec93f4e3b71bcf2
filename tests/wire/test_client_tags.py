"""A client's own tags: on each of its metrics, events and checks, and on nothing of another client."""

import urllib.request
from typing import Any

import pytest

import wsnova_statsd as ws
from tests.support import until
from wsnova_statsd.testing import DogStatsDReceiver, capture_events, capture_metrics
from wsnova_statsd.testing.server import WebSocketServer, send_messages

VENUE = {"venue": "xetr"}
TAG = "venue:xetr"
PATIENCE = 20.0  # reached only by a failing test
QUICK = ws.FINANCIAL.replace(ping_interval=0.2, pong_timeout=2.0)


def _fail(message: Any) -> None:
    raise ValueError("no")


def test_everything_of_a_client_carries_its_tags_and_nothing_of_another(bus: ws.Bus) -> None:
    """Messages, errors, heartbeats, sums, KPIs, checks, samples of the system, alerts and their counter."""
    failed = ws.alerts.When("Failed", ws.events.ERROR_OCCURRED, lambda _, metadata: metadata["error_type"] == "handler")
    with (
        DogStatsDReceiver() as agent,
        WebSocketServer(send_messages(['{"type": "a"}', "not json", '{"type": "b"}'])) as server,
        ws.StatsdReporter(host=agent.host, port=agent.port, bus=bus) as reporter,
        ws.Monitor(QUICK, reporter=reporter, alerts=[failed], system=1.0, prometheus_port=0, bus=bus) as monitor,
    ):
        tagged = ws.Client(server.url, client_id="mine", on_message=_fail, bus=bus, tags=VENUE).start(timeout=PATIENCE)
        plain = ws.Client(server.url, client_id="other", on_message=_fail, bus=bus).start(timeout=PATIENCE)
        for client in (tagged, plain):
            client.send({"type": "order"})
        wanted = {
            *("websocket.connection.up", "websocket.message.received", "websocket.message.process.duration"),
            *("websocket.message.batch.count", "websocket.error.occurred", "websocket.heartbeat.rtt"),
            *("websocket.kpi.processing_time_ms", "websocket.system.tcp.rtt_ms", "websocket.alert.fired"),
        }
        assert agent.wait_for(
            lambda agent: (
                wanted <= {one.name for one in agent.metrics(tags=["client:mine"])} and agent.events and agent.checks
            ),
            PATIENCE,
        ), wanted - {one.name for one in agent.metrics(tags=["client:mine"])}
        assert monitor.prometheus is not None
        url = f"http://127.0.0.1:{monitor.prometheus.port}/metrics"
        page = urllib.request.urlopen(url, timeout=5).read().decode()
        tagged.close()
        plain.close()
    mine = [one for one in agent.messages if "client:mine" in one.tags]
    assert {type(one).__name__ for one in mine} == {"Metric", "Event", "ServiceCheck"}
    assert [one for one in mine if TAG not in one.tags] == []
    assert [one for one in agent.messages if TAG in one.tags and "client:mine" not in one.tags] == []
    lines = [line for line in page.splitlines() if "client_id=" in line]
    assert len(lines) > 10
    assert [line for line in lines if 'client_id="mine"' in line and 'venue="xetr"' not in line] == []
    others = [line for line in lines if 'client_id="other"' in line]
    assert others
    names = {line.partition("{")[0] for line in lines if 'venue="xetr"' in line}
    assert [line for line in others if line.partition("{")[0] in names and 'venue=""' not in line] == []


def test_handlers_see_them_in_the_metadata(bus: ws.Bus) -> None:
    """As they were passed, numbers and booleans as text; without tags there is no such key."""
    with WebSocketServer() as server, capture_events(bus=bus) as log:
        given = {"venue": "xetr", "desk": 7, "live": True}
        with ws.Client(server.url, client_id="mine", profile="financial", bus=bus, tags=given) as client:
            client.send({"type": "order"})
            client.receive(timeout=PATIENCE)
        with ws.Client(server.url, client_id="other", profile="financial", bus=bus):
            pass
    tags = {one.metadata["client_id"]: one.metadata.get("tags") for one in log}
    assert tags == {"mine": {"venue": "xetr", "desk": "7", "live": "true"}, "other": None}
    assert {"tags" in one.metadata for one in log if one.metadata["client_id"] == "mine"} == {True}


def test_a_client_that_starts_again_with_other_tags_has_separate_series(bus: ws.Bus) -> None:
    """In the same thread, under the same id, also without any: no count lands in the earlier client's series."""
    with WebSocketServer() as server, capture_metrics(bus=bus) as metrics:
        for tags in (None, {"venue": "xetr"}, {"venue": "xpar"}, None):
            with ws.Client(server.url, client_id="md-1", profile="financial", bus=bus, tags=tags) as client:
                client.send({"type": "order"})
                client.receive(timeout=PATIENCE)
        metrics.flush()
        for name in ("websocket.connection.started", "websocket.message.sent", "websocket.message.received"):
            counts = {
                next((tag for tag in one.tags if tag.startswith("venue:")), None): one.count
                for one in metrics.metrics(name)
            }
            assert counts == {None: 2, "venue:xetr": 1, "venue:xpar": 1}, name


def test_a_tag_of_the_metric_wins_over_one_of_the_client_with_its_name(bus: ws.Bus) -> None:
    with WebSocketServer() as server, capture_metrics(bus=bus) as metrics:
        with ws.Client(server.url, client_id="md-1", bus=bus, tags={"reason": "mine"}):
            pass
        metrics.flush()
    (gone,) = metrics.metrics("websocket.connection.disconnected")
    assert gone.tags == ("client:md-1", "reason:local")
    (began,) = metrics.metrics("websocket.connection.started")
    assert began.tags == ("client:md-1", "reason:mine")


def test_metrics_that_choose_by_metadata_have_them_too(bus: ws.Bus) -> None:
    """A definition with `keep` is called with mappings, and not bound."""
    sent = ws.counter("orders", ws.events.MESSAGE_SENT, tags=["client_id"], keep=lambda *_: True)
    with WebSocketServer() as server, capture_metrics([sent], bus=bus) as metrics:
        with ws.Client(server.url, client_id="md-1", profile="financial", bus=bus, tags=VENUE) as client:
            for _ in range(3):
                client.send({"type": "order"})
        metrics.flush()
    (orders,) = metrics.metrics("orders")
    assert (orders.count, orders.tags) == (3, ("client_id:md-1", TAG))


def test_the_recovery_after_a_clients_end_has_them(bus: ws.Bus) -> None:
    """Exactly those of the alert: both are in one incident."""
    alerts: list[ws.alerts.Alert] = []
    reporter = ws.StatsdReporter([], host="127.0.0.1", port=9, bus=bus)
    rules = [ws.alerts.AuthFailed()]
    who = {"client_id": "md-1", "tags": VENUE}
    with ws.Monitor("standard", reporter=reporter, alerts=rules, alert_sinks=[alerts.append], kpis=False, bus=bus):
        bus.execute(ws.events.AUTH_FAILED, {"duration": 1}, {**who, "reason": "rejected", "phase": "initial"})
        bus.execute(ws.events.AUTH_COMPLETED, {"duration": 1}, {"client_id": "md-1"})
        assert until(lambda: len(alerts) == 2)
    assert [alert.tags for alert in alerts] == [{"venue": "xetr", "client": "md-1"}] * 2


@pytest.mark.parametrize(
    ("tags", "reported"),
    [
        ("venue:xetr", "tags is 'venue:xetr'; pass a mapping, such as {'venue': 'xetr'}"),
        (["venue:xetr"], "tags is ['venue:xetr']; pass a mapping, such as {'venue': 'xetr'}"),
        ({f"t{n}": n for n in range(11)}, "tags has 11 keys; pass at most 10"),
        ({"a b": "c"}, "a key of tags must be a letter, then letters, digits and _ . / -, got 'a b'"),
        ({"dd.internal.card": "c"}, "a key of tags must be a letter, then letters, digits and _ . / -, got 'dd.inter"),
        ({7: "c"}, "a key of tags must be a letter, then letters, digits and _ . / -, got 7"),
        ({"a": "b|c"}, "tag 'a' must be a short text of letters, digits and _ - : . /, got 'b|c'"),
        ({"a": ""}, "tag 'a' must be a short text of letters, digits and _ - : . /, got ''"),
        ({"a": None}, "tag 'a' must be a short text of letters, digits and _ - : . /, got None"),
        ({"a": ["b"]}, "tag 'a' must be a short text of letters, digits and _ - : . /, got ['b']"),
        ({"a": "x" * 200}, "tag 'a' must be a short text of letters, digits and _ - : . /, got 'xxx"),
        *(
            ({key: "x"}, f"tags has the key {key!r}, which is reserved; use another name")
            for key in ("client", "type", "worker", "host", "env", "service", "version", "direction", "result", "Host")
        ),
    ],
)
def test_tags_that_would_not_be_sent_as_they_were_written_are_refused(tags: Any, reported: str) -> None:
    with pytest.raises(ws.errors.ConfigurationError) as raised:
        ws.Client("ws://feed.example/", tags=tags)
    assert str(raised.value).startswith(reported)
