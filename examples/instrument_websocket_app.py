"""A program around websocket-client's WebSocketApp: two lines are added, the rest stays as it is."""

import json

import websocket

import wsnova_statsd as ws
from wsnova_statsd.contrib import websocket_app  # added
from wsnova_statsd.testing.receiver import DogStatsDReceiver
from wsnova_statsd.testing.server import WebSocketServer, send_messages

stored = []


def on_message(app, message):
    stored.append(json.loads(message))


def on_error(app, error):
    print("the connection was lost")


trades = [f'{{"type": "trade", "n": {number}}}' for number in range(100)]
with DogStatsDReceiver() as agent, WebSocketServer(send_messages(trades, then="drop")) as feed:
    reporter = ws.StatsdReporter(host=agent.host, port=agent.port)
    with ws.Monitor(profile="financial", reporter=reporter):
        for _turn in range(3):
            app = websocket.WebSocketApp(feed.url, on_message=on_message, on_error=on_error)
            websocket_app.instrument(app, client_id="md-1", message_type="json")  # added
            app.run_forever()

print(f"stored {len(stored)}, Datadog counted {agent.count('websocket.message.received', ['type:trade']):g} trades")
for name in ("connection.completed", "connection.reconnect.success", "connection.disconnected"):
    print(name, f"{agent.count(f'websocket.{name}', ['client:md-1']):g}")
print(agent.metrics("websocket.connection.disconnected")[-1].tags)
