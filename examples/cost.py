"""An application's own metrics, judged and priced before they are shipped, and counted while they run."""

import wsnova_statsd as ws
from wsnova_statsd.dashboards.cost import cost
from wsnova_statsd.dashboards.life import Shape
from wsnova_statsd.dashboards.lint import lint
from wsnova_statsd.testing.receiver import DogStatsDReceiver

METRICS = [
    *ws.statsd_metrics(lean=True),  # without the gauges that have a distribution
    ws.counter("myapp.orders", "myapp.order.filled", tags={"client": "client_id", "venue": "venue"}),
    ws.counter("myapp.dials", ws.events.CONNECTION_STARTED, tags={"client": "client_id", "feed": "uri"}),
    ws.gauge("myapp.wait", ws.events.CONNECTION_RECONNECT_ATTEMPT, "delay", unit="millisecond"),
]
BOARD = {
    "Orders by venue": "sum:myapp.order{*} by {venue}.as_count()",
    "Processing time": "avg:websocket.kpi.processing_time_ms{*} by {client}",
}


def everything() -> list[object]:
    """For the command: wsnova-statsd lint cost:everything"""
    return [*METRICS, BOARD]


if __name__ == "__main__":
    print(lint(everything(), profile="financial"))
    shape = Shape(clients=20, types=12, workers=4)
    for name, metrics in (("all metrics", None), ("the lean list", ws.statsd_metrics(lean=True))):
        series, billed, with_percentiles = cost(ws.FINANCIAL, shape, metrics).total
        print(f"{name}: {series} series, billed as {billed}, with percentiles as {with_percentiles}")
    with DogStatsDReceiver() as agent, ws.StatsdReporter(METRICS, host=agent.host, port=agent.port) as reporter:
        for venue in ("XETR", "XPAR"):
            ws.telemetry.execute("myapp.order.filled", {}, {"client_id": "md-1", "venue": venue})
        print(dict(reporter.stats.series_by_metric))
