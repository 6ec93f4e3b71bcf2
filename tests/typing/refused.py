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
ws.telemetry.attach("mine", "a.b", lambda event: None)  # refused: arg-type
ws.Monitor(kpis=False).kpis.report()  # refused: attr-defined
ws.Monitor.from_env().kpis.report()  # refused: union-attr
ws.Monitor(alert_sinks=[lambda: None])  # refused: list-item, misc


async def on_message(message: Any) -> None: ...


async def keep(measurements: Any, metadata: Any) -> bool:
    return True


ws.counter("a.b", keep=keep)  # refused: arg-type
