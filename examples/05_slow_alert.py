"""A handler that takes longer than 100 ms becomes an event in Datadog, in every profile."""

import time

import wsnova_statsd as ws
from wsnova_statsd.testing.receiver import DogStatsDReceiver
from wsnova_statsd.testing.server import WebSocketServer, send_messages

messages = ['{"type": "trade"}', '{"type": "book"}', '{"type": "book"}', '{"type": "last"}']


def handle(message):
    if message["type"] == "book":
        time.sleep(0.12)
    if message["type"] == "last":
        client.close()


with DogStatsDReceiver() as agent, WebSocketServer(send_messages(messages)) as feed:
    reporter = ws.StatsdReporter(host=agent.host, port=agent.port)
    with ws.Monitor(profile="lightweight", reporter=reporter, alerts=[ws.alerts.SlowProcessing(threshold_ms=100)]):
        client = ws.Client(feed.url, client_id="md-1", profile="lightweight", on_message=handle)
        client.start()
        client.wait(timeout=10)

slow = agent.count("websocket.message.process.slow", tags=["type:book"])
print(f"{slow:g} slow messages, {len(agent.events)} event: for a minute, further ones are counted and send no event")
for event in agent.events:
    print(event.alert_type, event.title, event.tags)
