"""Programs that a strict checker has to refuse, each line by the code behind it; this file is never run."""

from __future__ import annotations

from typing import Any

import wsnova_statsd as ws
from wsnova_statsd import testing

URL = "wss://feed.example/ws"


class Numbers(ws.Protocol[int]):
    def decode(self, data: str | bytes) -> int:
        return len(data)


def handle_text(message: str) -> None: ...


class NoLogin:
    def log_in(self) -> None: ...


class TextMessages(ws.Protocol[int]):
    def decode(self, data: str | bytes) -> str:  # refused: override
        return ""


ws.Clinet  # refused: attr-defined
testing.WebsocketServer  # refused: attr-defined
ws.alerts.SlowProcesing  # refused: attr-defined
ws.errors.NotConected  # refused: attr-defined
ws.events.MESSAGE_RECIEVED  # refused: attr-defined

ws.Client(URL, "md-1")  # refused: call-arg
ws.Client(URL).health()["arrived"]  # refused: typeddict-item
ws.Monitor("standard", ws.StatsdReporter())  # refused: call-overload
ws.StatsdReporter(None, "localhost")  # refused: call-arg
ws.PrometheusReporter(None, ws.Bus())  # refused: call-arg
ws.Client(URL, on_mesage=handle_text)  # refused: call-arg
ws.Monitor(prometeus_port=9568)  # refused: call-overload
ws.counter("a.b", tag=["x"])  # refused: call-arg

ws.Client(URL, profile="finacial")  # refused: arg-type
ws.Client(URL, compression="gzip")  # refused: arg-type
ws.Client(URL, in_child="begin")  # refused: arg-type
ws.Client(URL, auth=NoLogin())  # refused: arg-type
ws.Client(URL, auth="token")  # refused: arg-type
ws.Client(URL, on_message=lambda: None)  # refused: arg-type, misc
ws.Client(URL, protocol=Numbers(), on_message=handle_text)  # refused: arg-type
ws.Client(URL, protocol=Numbers()).receive().upper()  # refused: attr-defined
ws.StatsdReporter("10.0.0.5:8125")  # refused: arg-type
ws.StatsdReporter(dialect="graphite")  # refused: arg-type
ws.StatsdReporter(cardinality="some")  # refused: arg-type
ws.StatsdReporter().event("title", "text", alert_type="fatal")  # refused: arg-type
ws.StatsdReporter().event("title", "text", priority="high")  # refused: arg-type
ws.alerts.When("title", "a.b", lambda *_: True, alert_type="loud")  # refused: arg-type
ws.Client(URL, source_address="192.0.2.7")  # refused: arg-type
ws.Client(URL, socket_options=[("TCP_NODELAY", 1)])  # refused: list-item
ws.Client(URL, unix_socket=b"/run/feed.sock")  # refused: arg-type
ws.Client(URL, headers={"X-Retries": 3})  # refused: arg-type
ws.Client(URL, rate_limit=5)  # refused: arg-type
ws.Client(URL, follow_redirects="yes")  # refused: arg-type
ws.Client(lambda: None)  # refused: arg-type, return-value
ws.Client(URL).start("5")  # refused: arg-type
ws.Client(URL).stat  # refused: attr-defined
ws.Client(URL).client_id = "md-2"  # refused: misc
ws.FINANCIAL.ping_interval = 5.0  # refused: misc
ws.StatsdReporter().stats.packets = 0  # refused: misc
ws.StatsdReporter().incremnt("orders")  # refused: attr-defined
ws.PrometheusReporter().start("9568")  # refused: arg-type
ws.Monitor("standrad")  # refused: call-overload
ws.Monitor(prometheus_adress="::1")  # refused: call-overload
ws.Monitor(bus=ws.Bus()).kpi  # refused: attr-defined
ws.init("standard", True)  # refused: call-overload
ws.init(kpis=False).kpis.report()  # refused: attr-defined
ws.alerts.SlowProcessing(treshold_ms=5)  # refused: call-arg
ws.alerts.SlowProcessing("5")  # refused: arg-type
ws.RateLimit("5", 1)  # refused: arg-type
ws.gauge("a.b", unit="ms", buckets=(1,))  # refused: call-arg
ws.Bus().attached("mine", "a.b", print)  # refused: attr-defined
for number in ws.Client(URL, protocol=Numbers()):
    number.upper()  # refused: attr-defined
ws.telemetry.attach("mine", "a.b", lambda event: None)  # refused: arg-type
ws.Monitor(kpis=False).kpis.report()  # refused: attr-defined
ws.Monitor.from_env().kpis.report()  # refused: union-attr
ws.Monitor(alert_sinks=[lambda: None])  # refused: list-item, misc


async def on_message(message: Any) -> None: ...


async def keep(measurements: Any, metadata: Any) -> bool:
    return True


ws.counter("a.b", keep=keep)  # refused: arg-type
