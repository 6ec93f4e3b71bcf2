"""A program that reads its feed with the websockets library: one import changes, the rest stays as it is."""

from websockets.exceptions import ConnectionClosed

import wsnova_statsd as ws
from wsnova_statsd.contrib.websockets_sync import connect  # was: from websockets.sync.client import connect
from wsnova_statsd.testing.receiver import DogStatsDReceiver
from wsnova_statsd.testing.server import WebSocketServer, send_messages

stored = []


def read_to_the_end(url):
    with connect(url, client_id="md-1", message_type="json") as connection:
        for message in connection:
            stored.append(message)


trades = [f'{{"type": "trade", "n": {number}}}' for number in range(100)]
with DogStatsDReceiver() as agent, WebSocketServer(send_messages(trades, then="drop")) as feed:
    reporter = ws.StatsdReporter(host=agent.host, port=agent.port)
    with ws.Monitor(profile="financial", reporter=reporter):
        for _turn in range(3):
            try:
                read_to_the_end(feed.url)
            except ConnectionClosed as error:
                print("lost:", error)

print(f"stored {len(stored)}, Datadog counted {agent.count('websocket.message.received', ['type:trade']):g} trades")
for name in ("connection.completed", "connection.reconnect.success", "connection.disconnected"):
    print(name, f"{agent.count(f'websocket.{name}', ['client:md-1']):g}")
print(agent.metrics("websocket.connection.disconnected")[-1].tags)
