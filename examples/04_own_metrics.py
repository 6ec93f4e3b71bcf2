"""Metrics of your own: from an event of your own by definitions, or straight through the reporter."""

import time

import wsnova_statsd as ws
from wsnova_statsd.testing.receiver import DogStatsDReceiver

FILLED = "shop.order.filled"
VENUE = {"venue": "venue"}  # tag name: metadata key

metrics = [
    *ws.statsd_metrics(),  # the default list
    ws.counter("shop.orders", FILLED, tags=VENUE),
    ws.sum_("shop.orders.value", FILLED, "value", tags=VENUE),
    ws.gauge("shop.order.open", FILLED, "open"),
    ws.distribution("shop.order.duration", FILLED, "duration", tags=VENUE, unit=("native", "millisecond")),
]

agent = DogStatsDReceiver().start()
with ws.StatsdReporter(metrics, host=agent.host, port=agent.port, tags=["team:md"]) as reporter:
    for number in range(10):
        began = time.monotonic_ns()
        measurements = {"value": 2.5, "open": 10 - number, "duration": time.monotonic_ns() - began}
        ws.telemetry.execute(FILLED, measurements, {"venue": "XETR", "order_id": number})

    reporter.increment("shop.logins", tags={"country": "de"})  # no event, no definition
    reporter.distribution("shop.basket", 19.9)
agent.stop()

for name in ("shop.orders", "shop.orders.value", "shop.order.duration", "shop.logins", "shop.basket"):
    print(name, agent.metrics(name)[0].type, agent.count(name), agent.metrics(name)[0].tags)
print("shop.order.open", agent.last("shop.order.open"))
