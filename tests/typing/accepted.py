"""Programs as users write them: a strict checker has nothing to say about this file, which is never run."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, assert_type

import wsnova_statsd as ws
from wsnova_statsd.insight.kpi import KpiTracker
from wsnova_statsd.testing import WebSocketServer, capture_events

URL = "wss://feed.example/ws"


def three_lines() -> None:
    with ws.Monitor(profile="financial"), ws.Client(URL, client_id="md-1", profile="financial") as client:
        client.subscribe("trades.BTC")
        for message in client:
            print(message["price"])


@dataclass
class Tick:
    price: float


class Ticks(ws.Protocol[Tick]):
    def encode(self, message: object) -> str:
        return json.dumps(message)

    def decode(self, data: str | bytes) -> Tick:
        return Tick(**json.loads(data))

    def message_type(self, message: object) -> str:
        return "tick"


class TicksOfJson(ws.JsonProtocol[Tick]):
    def decode(self, data: str | bytes) -> Tick:
        return Tick(**json.loads(data))


def what_a_protocol_decodes_is_what_a_client_gives() -> None:
    client = ws.Client(URL, protocol=Ticks())
    assert_type(client, ws.Client[Tick])
    assert_type(client.start(timeout=5), ws.Client[Tick])
    assert_type(client.receive(timeout=1.0), Tick)
    with ws.Client(URL, protocol=TicksOfJson()) as started:
        for tick in started:
            assert_type(tick, Tick)


def handle_tick(tick: Tick) -> None: ...


def the_keys_of_health_are_known() -> None:
    health = ws.Client(URL, client_id="md-1").health()
    assert_type(health["received"], int)
    assert_type(health["connected_since"], float | None)
    if health["status"] == "degraded":
        print(health["error"])


def without_a_protocol_messages_are_what_json_holds() -> None:
    assert_type(ws.Client(URL), ws.Client[Any])
    assert_type(ws.Client(URL, protocol=ws.JsonRpcProtocol()), ws.Client[Any])
    assert_type(ws.Client(URL, protocol=Ticks(), on_message=handle_tick), ws.Client[Tick])
    ws.Client(lambda: URL, on_message=lambda message: print(message["price"]), on_error=logging.exception)


def of_any_client(client: ws.Client) -> Iterator[str]:
    yield client.client_id


class Token:
    def login(self, client: ws.Client) -> float | None:
        client.send({"token": "secret"})
        return 3600.0


class ByMessage:
    def login(self, client: object) -> None: ...


def credentials() -> None:
    ready: list[ws.Auth] = [ws.HeaderAuth({"X-Key": lambda: "k"}), ws.MessageAuth({"op": "login"}, lambda _: True)]
    for auth in (*ready, Token(), ByMessage(), None):
        ws.Client(URL, auth=auth)


def words_of_a_closed_set() -> None:
    ws.Client(URL, profile=ws.FINANCIAL.replace(ping_interval=None), compression="deflate", in_child="start")
    reporter = ws.StatsdReporter(dialect="statsd", tag_format="influx", cardinality="low")
    reporter.event("title", "text", alert_type="success", priority="low", tags={"a": 1})
    reporter.increment("orders", tags=["side:buy"])
    ws.alerts.When("Far", ws.gauge("rtt", "feed.pong", "ms"), lambda ms: ms > 200, alert_type="error")


def parts_that_were_asked_for_need_no_check() -> None:
    monitor = ws.Monitor("standard")
    assert_type(monitor, ws.Monitor[KpiTracker])
    print(monitor.kpis.report("md-1").to_json())
    with ws.Monitor("standard", alerts=[ws.alerts.SlowProcessing()], kpis=True, log=True) as running:
        print(running.kpis.report())
    ws.init("financial", system=True).kpis.report()
    assert_type(ws.Monitor(kpis=False).kpis, None)
    if (kpis := ws.Monitor.from_env().kpis) is not None:
        kpis.report()


def handler(event: str, measurements: Mapping[str, Any], metadata: Mapping[str, Any], config: Any) -> None: ...


def an_event_of_mine() -> None:
    bus = ws.Bus()
    bus.attach("mine", ws.events.MESSAGE_RECEIVED, handler)
    ws.telemetry.attach_many("two", [ws.events.ERROR_OCCURRED], lambda event, measured, about, config: None)
    ws.telemetry.execute("app.order", {"duration": 1}, {"side": "buy"})
    bus.detach("mine")


def sink(alert: ws.alerts.Alert) -> None:
    print(alert.title, alert.alert_type)


def definitions() -> None:
    keep = ws.counter("app.order.count", tags=["side"], keep=lambda measured, about: about["side"] == "buy")
    spread = ws.distribution("app.order.duration", unit=("native", "millisecond"), buckets=(1, 10))
    ws.StatsdReporter([*ws.statsd_metrics(), keep, spread])
    ws.Monitor(alert_sinks=[sink, ws.alerts.ToLog(), ws.StatsdReporter()])


def tests_of_mine() -> None:
    with WebSocketServer() as server, capture_events() as log, ws.Client(server.url) as client:
        client.send({"type": "trade"})
        log.assert_count(ws.events.MESSAGE_SENT, 1)
    try:
        ws.Client("nonsense")
    except ws.errors.ConfigurationError as error:
        print(error)
