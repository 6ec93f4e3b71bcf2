"""Attach your own handler to the bus: the custom handler of the guide, which sends a gauge and raises an alert."""

import time

import wsnova_statsd as ws
from wsnova_statsd.testing.receiver import DogStatsDReceiver
from wsnova_statsd.testing.server import WebSocketServer, send_messages

operations = []


def message_duration_handler(event, measurements, metadata, reporter):
    """Runs in the thread that emits the event, for every message: keep it short."""
    duration = measurements["duration"]  # nanoseconds
    tags = {"client": metadata["client_id"], "type": metadata["type"]}
    reporter.gauge("app.message.process.duration", duration / 1_000_000, tags=tags)
    if duration > 100_000_000:  # 100 ms
        operations.append(f"Slow message processing: {duration / 1_000_000:.0f}ms for {metadata['type']}")


def handle(message):
    time.sleep(message["work"])
    if message["type"] == "last":
        client.close()


messages = ['{"type": "trade", "work": 0}', '{"type": "book", "work": 0.12}', '{"type": "last", "work": 0}']
with DogStatsDReceiver() as agent, WebSocketServer(send_messages(messages)) as feed:
    client = ws.Client(feed.url, client_id="md-1", profile="financial", on_message=handle)
    with ws.StatsdReporter(host=agent.host, port=agent.port) as reporter:
        ws.telemetry.attach("app.duration", ws.events.MESSAGE_PROCESS_COMPLETED, message_duration_handler, reporter)
        client.start()
        client.wait(timeout=10)
        ws.telemetry.detach("app.duration")

print(sorted(metric.tags for metric in agent.metrics("app.message.process.duration")))
print(operations)
