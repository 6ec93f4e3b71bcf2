"""Three lines: a client that survives a lost connection, and sends its telemetry to Datadog."""

import os

import wsnova_statsd as ws
from wsnova_statsd.testing.receiver import DogStatsDReceiver
from wsnova_statsd.testing.server import WebSocketServer, send_messages

stored = []


def store(message):
    stored.append(message)
    if len(stored) == 100:
        client.close()  # ends the loop; a real feed has no end


with DogStatsDReceiver() as agent, WebSocketServer(send_messages(['{"type": "trade"}'] * 100)) as feed:
    os.environ["DD_DOGSTATSD_URL"] = f"udp://127.0.0.1:{agent.port}"  # a local Datadog Agent needs no setting

    with ws.Monitor(profile="financial"), ws.Client(feed.url, client_id="md-1", profile="financial") as client:
        for message in client:
            store(message)

received = agent.count("websocket.message.received", tags=["client:md-1", "type:trade"])
print(f"stored {len(stored)} messages, Datadog counted {received:g}")
