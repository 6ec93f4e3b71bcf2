"""A protocol for a feed's own dialect: define how a message is encoded, decoded and named."""

import wsnova_statsd as ws
from wsnova_statsd.testing.receiver import DogStatsDReceiver
from wsnova_statsd.testing.server import WebSocketServer, send_messages

NAMES = {"T": "trade", "Q": "quote"}


class Bars(ws.Protocol):
    """`T|BTC|50000` is a trade of BTC at 50000."""

    def encode(self, message):
        return "|".join(message)

    def decode(self, data):
        kind, symbol, price = data.split("|")  # an exception here is one decode error, and never ends the connection
        return NAMES[kind], symbol, float(price)

    def message_type(self, message):
        return message[0]  # becomes the tag type:trade


messages = ["T|BTC|50000", "Q|BTC|50001", "gibberish", "T|BTC|50002"]
with DogStatsDReceiver() as agent, WebSocketServer(send_messages(messages)) as feed:
    reporter = ws.StatsdReporter(host=agent.host, port=agent.port)
    with (
        ws.Monitor(profile="financial", reporter=reporter),
        ws.Client(feed.url, client_id="md-1", profile="financial", protocol=Bars()) as client,
    ):
        print([client.receive(timeout=5) for _ in range(3)])

for kind in ("trade", "quote", "invalid"):
    print(kind, agent.count("websocket.message.received", tags=[f"type:{kind}"]))
print("decode errors", agent.count("websocket.error.occurred", tags=["type:decode"]))
