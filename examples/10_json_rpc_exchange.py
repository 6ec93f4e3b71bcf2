"""A JSON-RPC exchange in the shape of Deribit's public API: login, heartbeats, subscriptions in batches; scripted."""

import os

import wsnova_statsd as ws
from wsnova_statsd.testing.exchanges import JsonRpcExchange
from wsnova_statsd.testing.receiver import DogStatsDReceiver

TICKERS = [f"ticker.BTC-{strike}-C.100ms" for strike in range(60_000, 72_000, 100)]  # 120 options


class Exchange(ws.JsonRpcProtocol):
    def greeting(self):  # sent on every new connection, after the login
        return [{"jsonrpc": "2.0", "id": "beat", "method": "public/set_heartbeat", "params": {"interval": 30}}]

    def message_type(self, message):  # the `type` tag: ticker, trades, book rather than subscription
        data = message.get("method") == "subscription"
        return message["params"]["channel"].split(".")[0] if data else super().message_type(message)


def login():  # called for every login, so a rotated secret is picked up
    secret = os.environ.get("EXCHANGE_SECRET", "demo")
    params = {"grant_type": "client_credentials", "client_id": "demo", "client_secret": secret}
    return {"jsonrpc": "2.0", "id": "login", "method": "public/auth", "params": params}


def accepted(message):  # returns how many seconds the login is valid; the client renews it before
    if message.get("id") != "login":
        return None
    return message["result"]["expires_in"] if "result" in message else False


with JsonRpcExchange(credentials={"demo": "demo"}) as exchange, DogStatsDReceiver() as agent:
    reporter = ws.StatsdReporter(host=agent.host, port=agent.port)
    options = {"protocol": Exchange(), "auth": ws.MessageAuth(login, accepted), "subscriptions": TICKERS}
    with ws.Monitor("financial", reporter=reporter), ws.Client(exchange.url, client_id="options", **options) as client:
        exchange.publish(TICKERS[0], {"mark_price": 0.0415})
        print("price:", client.receive(timeout=5)["params"]["data"]["mark_price"])
print("subscribed:", agent.count("websocket.subscription.subscribe.completed", tags=["result:ok"]))
print("by requests:", len(exchange.calls("public/subscribe")))
