"""A gateway of binary frames: fixed fields, a login, heartbeats, and numbered data that shows what was missed."""

import struct

import wsnova_statsd as ws
from wsnova_statsd.client.protocol import Ack
from wsnova_statsd.testing.exchanges import BinaryGateway
from wsnova_statsd.testing.receiver import DogStatsDReceiver

TRADE = struct.Struct(">cQQ8sqI")  # kind, number, ns since the epoch, instrument, price in 1e-8, quantity


class Gateway(ws.Protocol):
    def decode(self, data):  # an exception here is one decode error, and never ends the connection
        return TRADE.unpack(data) if data[:1] == b"D" else data

    def message_type(self, message):
        return "trade" if isinstance(message, tuple) else "control"

    def heartbeat_answer(self, message):
        return message if message == b"H" else None

    def subscribe_message(self, instrument):
        return b"S" + instrument.encode().ljust(8)

    def ack(self, message):
        return Ack(message[1:].decode().rstrip(), message[:1] == b"+") if message[:1] in (b"+", b"-") else None


auth, price = ws.MessageAuth(b"Ldemo    secret          ", {b"A": True, b"J": False}.get), struct.pack(">qI", 9125, 3)
with BinaryGateway(credentials={"demo": "secret"}, login_required=True) as gateway, DogStatsDReceiver() as agent:
    gateway.publish("BTCUSD", price)  # number 1, before the client is subscribed
    monitor = ws.Monitor("financial", reporter=ws.StatsdReporter(host=agent.host, port=agent.port))
    options = {"client_id": "gate-1", "protocol": Gateway(), "auth": auth, "subscriptions": ["BTCUSD"]}
    with monitor, ws.Client(gateway.url, **options) as client:
        gateway.publish("BTCUSD", price)
        _, number, _, instrument, units, quantity = client.receive(5)
        monitor.increment("feed.missed", number - 1, tags={"client": "gate-1"})
print(instrument.decode(), units, quantity, "missed:", agent.count("feed.missed", tags=["client:gate-1"]))
