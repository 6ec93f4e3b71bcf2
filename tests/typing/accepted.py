"""Programs as users write them: a strict checker finds no fault in this file, which is never run."""

from __future__ import annotations

import json
import logging
import socket
import ssl as tls
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, assert_type

import wsnova_statsd as ws
from wsnova_statsd.insight.kpi import KpiTracker
from wsnova_statsd.insight.kpi_report import KpiReport
from wsnova_statsd.testing import FakeClock, WebSocketServer, capture_events

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
    assert_type(client.state, ws.State)
    assert_type(client.profile, ws.Profile)
    assert_type(client.subprotocol, str | None)
    assert_type(client.waiting, int)
    assert_type(client.wait(timeout=1.0), bool)
    if client.state is ws.State.CONNECTED:
        print(client.request({"op": "time"}, timeout=2.0)["time"])


def every_option_by_its_name() -> None:
    ws.Client(
        "WSS://b\xfccher.example/feed;v=2",
        client_id="md-1",
        on_error=logging.exception,
        subprotocols=["v2.feed", "v1.feed"],
        require_subprotocol=True,
        ssl=tls.create_default_context(),
        subscriptions={"trades.BTC", "trades.ETH"},
        proxy="socks5://me:pw@proxy.example:1080",
        connect_timeout=5,
        rate_limit=ws.RateLimit(5, burst=10),
        idle_timeout=60.0,
        on_reconnect=lambda: None,
        tags={"desk": "rates", "shard": 3},
        server_hostname="feed.example",
        source_address=("192.0.2.7", 0),
        socket_options=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1), (socket.SOL_SOCKET, 25, b"eth0")],
        unix_socket=Path("/run/feed.sock"),
        follow_redirects=True,
    )


def headers_in_each_form() -> None:
    own: dict[str, str | bytes | None] = {"Host": "virtual.example", "Origin": None, "X-Name": b"gr\xc3\xbc\xc3\x9f"}
    ws.Client(URL, headers=own)
    ws.Client(URL, headers={"X-Key": "k"})
    ws.Client(URL, headers={"Origin": None})
    ws.Client(URL, headers=["X-Key: a", "X-Key: b"])
    ws.Client(URL, headers=[("X-Key", "a"), ("X-Key", "b")])
    ws.Client(URL, headers=lambda: {"X-Key": "k"})
    ws.Client(lambda: URL, headers=lambda: own)


def what_a_failed_dial_says(client: ws.Client) -> None:
    try:
        client.start(timeout=10)
    except ws.errors.HandshakeRefused as refused:
        assert_type(refused.status, int)
        assert_type((refused.location, refused.origin), tuple[str | None, str | None])
        assert_type(refused.retry_after, float | None)
    except ws.errors.ConnectionFailed as failed:
        assert_type(failed.cause, str)
    except ws.errors.WsnovaError:
        pass


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


def parts_that_were_asked_for_need_no_check() -> None:
    monitor = ws.Monitor("standard")
    assert_type(monitor, ws.Monitor[KpiTracker])
    print(monitor.kpis.report("md-1").to_json())
    with ws.Monitor("standard", alerts=[ws.alerts.SlowProcessing()], kpis=True, log=True, console=True) as running:
        print(running.kpis.report())
    ws.init("financial", system=True, console=30.0).kpis.report()
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


def a_span_of_mine(bus: ws.Bus) -> None:
    with bus.span("app.order", {"side": "buy"}) as metadata:
        assert_type(metadata, dict[str, Any])
        metadata["size"] = 7


@dataclass(frozen=True)
class Wide(ws.alerts.Rule):
    """A spread above `limit`."""

    limit: float = 2.0

    hears = ("feed.quote",)
    alert_type = "error"

    def judge(self, seen: ws.alerts.Seen, memory: Any) -> ws.alerts.Breach | ws.alerts.Calm | None:
        spread = seen.number("spread")
        return ws.alerts.Breach("wide", "The spread is wide.", spread) if spread > self.limit else ws.alerts.CALM


def is_late(measurements: Mapping[str, Any], metadata: Mapping[str, Any]) -> bool:
    return bool(measurements["age"] > 5)


def rules_of_mine() -> None:
    far = ws.alerts.When("Far", ws.gauge("rtt", "feed.pong", "ms"), (200.0).__lt__, alert_type="error")
    assert_type(ws.alerts.When("late", "feed.quote", is_late, by=["venue"]), ws.alerts.When)
    assert_type(Wide(limit=3, cool_down=60), Wide)
    assert_type(ws.alerts.SlowProcessing(50.0), ws.alerts.SlowProcessing)
    ws.Monitor(alerts=[Wide(), far])


def figures(reporter: ws.StatsdReporter, report: KpiReport) -> None:
    assert_type(reporter.stats.lost.get("queue", 0), float)
    assert_type(reporter.flush(timeout=0.5), bool)
    for row in report:
        assert_type(row.value, float | None)
        assert_type(row.target, tuple[str, float] | None)


def a_page_for_prometheus() -> None:
    page = ws.PrometheusReporter(ws.prometheus_metrics()).start(9568, address="0.0.0.0")
    assert_type(page.render(), str)
    with ws.Monitor(prometheus_port=9568, prometheus_address="::1") as monitor:
        assert_type(monitor.running, bool)
    registry = ws.HandlerRegistry([ws.sum_("app.order.size", tags={"side": "side"})])
    registry.attach(ws.Bus())
    assert_type(len(registry.handlers["app.order"]), int)


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
    clock = FakeClock()
    clock.advance(0.5)
    assert_type(clock(), float)
    try:
        ws.Client("nonsense")
    except ws.errors.ConfigurationError as error:
        print(error)
