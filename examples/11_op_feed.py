"""Your own protocol for a feed of ops and events, with its acks, login and text heartbeats; scripted."""

import wsnova_statsd as ws
from wsnova_statsd.client.protocol import Ack
from wsnova_statsd.testing.exchanges import OpFeed


class Ops(ws.JsonProtocol):
    def decode(self, data):
        return data if data == "ping" else super().decode(data)

    def encode(self, message):
        return message if message == "pong" else super().encode(message)

    def heartbeat_answer(self, message):
        return "pong" if message == "ping" else None

    def subscribe_message(self, channel):
        return {"op": "subscribe", "args": [channel]}

    def unsubscribe_message(self, channel):
        return {"op": "unsubscribe", "args": [channel]}

    def ack(self, message):
        if message == "ping" or message.get("event") not in ("subscribe", "unsubscribe", "error"):
            return None
        return Ack(message.get("arg"), accepted=message["event"] != "error", detail=message.get("msg", ""))


def accepted(message):
    return message["code"] == "0" if message != "ping" and message.get("event") in ("login", "error") else None


with OpFeed(credentials={"key": "phrase"}, login_required=True, beat_every=5) as feed:
    auth = ws.MessageAuth({"op": "login", "args": [{"apiKey": "key", "passphrase": "phrase"}]}, accepted)
    with ws.Client(feed.url, client_id="feed-1", protocol=Ops(), auth=auth, subscriptions=["trades:BTC"]) as client:
        feed.publish("trades:BTC", [{"price": "64000.5"}, {"price": "64001.0"}])
        for message in client:
            print(message["arg"], [trade["price"] for trade in message["data"]])
            break
