"""Send your own metrics with the same tags as the built-in ones: defined on events, or directly by name."""

import time

import wsnova_statsd as ws
from wsnova_statsd.testing.receiver import DogStatsDReceiver

FILLED = "myapp.order.filled"
TAGS = {"client": "client_id", "venue": "venue"}  # tag name: metadata key

metrics = [
    *ws.statsd_metrics(),  # the default list
    ws.counter("myapp.orders", FILLED, tags=TAGS),
    ws.sum_("myapp.orders.value", FILLED, "value", tags=TAGS),
    ws.gauge("myapp.orders.open", FILLED, "open", tags={"client": "client_id"}),
    ws.distribution("myapp.order.duration", FILLED, "duration", tags=TAGS, unit=("native", "millisecond")),
]

agent = DogStatsDReceiver().start()
with ws.StatsdReporter(metrics, host=agent.host, port=agent.port, tags=["team:md"]) as reporter:
    for number in range(10):
        began = time.monotonic_ns()
        measurements = {"value": 2.5, "open": 10 - number, "duration": time.monotonic_ns() - began}
        ws.telemetry.execute(FILLED, measurements, {"client_id": "md-1", "venue": "XETR", "order_id": number})

    reporter.increment("myapp.logins", tags={"client": "md-1"})  # without an event or a definition
    reporter.gauge("myapp.queue", 12, tags={"client": "md-1"})
    reporter.distribution("myapp.basket", 19.9)
agent.stop()

for name in sorted({metric.name for metric in agent.metrics() if metric.name.startswith("myapp.")}):
    metric = agent.metrics(name)[0]
    print(name, metric.type, agent.last(name) if metric.type == "g" else agent.count(name), metric.tags)
