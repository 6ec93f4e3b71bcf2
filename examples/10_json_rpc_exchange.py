"""A JSON-RPC exchange in the shape of Deribit's public API: login, heartbeats, requests, subscriptions; scripted."""

import os

import wsnova_statsd as ws
from wsnova_statsd.testing.exchanges import JsonRpcExchange

TICKER = "ticker.BTC-PERPETUAL.100ms"


class Exchange(ws.JsonRpcProtocol):
    def greeting(self):  # sent on every new link, once it is logged in
        return [{"jsonrpc": "2.0", "id": "beat", "method": "public/set_heartbeat", "params": {"interval": 30}}]

    def message_type(self, message):  # the `type` tag: ticker, trades, book rather than subscription
        data = message.get("method") == "subscription"
        return message["params"]["channel"].split(".")[0] if data else super().message_type(message)


def login():  # asked for every login, so that a rotated secret is picked up
    params = {"client_id": "demo", "client_secret": os.environ.get("EXCHANGE_SECRET", "demo")}
    params["grant_type"] = "client_credentials"
    return {"jsonrpc": "2.0", "id": "login", "method": "public/auth", "params": params}


def accepted(message):  # how many seconds the login holds; it is renewed before
    if message.get("id") != "login":
        return None
    return message["result"]["expires_in"] if "result" in message else False


with JsonRpcExchange(credentials={"demo": "demo"}) as exchange:
    auth = ws.MessageAuth(login, accepted)
    with ws.Client(exchange.url, client_id="md-1", protocol=Exchange(), auth=auth, subscriptions=[TICKER]) as client:
        print("clock:", client.request({"method": "public/get_time"})["result"] > 0)
        exchange.publish(TICKER, {"last_price": 64000.5})
        for message in client:
            if message.get("method") == "subscription":
                print("price:", message["params"]["data"]["last_price"])
                break
