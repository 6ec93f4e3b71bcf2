"""Combined streams in the shape of Binance's market data: streams in the URL and subscribed, the daily close."""

import wsnova_statsd as ws
from wsnova_statsd.testing.exchanges import CombinedStreams
from wsnova_statsd.testing.receiver import DogStatsDReceiver


class Streams(ws.JsonProtocol):
    channels_per_message = 200

    def subscribe_message(self, streams):  # the answer names no stream: it is matched by its id
        return {"method": "SUBSCRIBE", "params": streams}

    def unsubscribe_message(self, stream):
        return {"method": "UNSUBSCRIBE", "params": [stream]}

    def request(self, message, number):
        return {**message, "id": number}, number

    def acknowledges(self):
        return "reply"

    def message_type(self, message):  # the `type` tag: trade, kline_1m; with the symbol there would be far too many
        return message["stream"].split("@")[1] if "stream" in message else super().message_type(message)

    def sent_at(self, message):  # E is in milliseconds; gives websocket.message.lag
        return message["data"]["E"] / 1000 if "stream" in message else None


options = {"protocol": Streams(), "rate_limit": ws.RateLimit(4, burst=1)}  # the exchange allows 5 requests a second
options["subscriptions"] = [f"coin{n}usdt@kline_1m" for n in range(300)]
with CombinedStreams() as exchange, DogStatsDReceiver() as agent:
    monitor = ws.Monitor("financial", reporter=ws.StatsdReporter(host=agent.host, port=agent.port))
    with monitor, ws.Client(f"{exchange.url}/stream?streams=btcusdt@trade", client_id="binance", **options) as client:
        exchange.end_day()  # serverShutdown, then the end; the client reconnects and resubscribes all streams
        exchange.wait_for(lambda: exchange.subscribers("coin299usdt@kline_1m") == 1 and exchange.connections == 2)
        exchange.publish("btcusdt@trade", {"e": "trade", "p": "91250.01"})
        print([message.get("e") or message["data"]["p"] for message in (client.receive(5), client.receive(5))])
print([agent.count(f"websocket.{name}") for name in ("connection.completed", "connection.reconnect.success")])
