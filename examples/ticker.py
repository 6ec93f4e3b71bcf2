"""A program without wsnova_statsd: it prints trades, and dials again when the connection is lost."""

import json
import sys
import time

from websocket import WebSocketApp

url, links = sys.argv[1], int(sys.argv[2])
trades = 0


def on_message(app, text):
    global trades
    trade = json.loads(text)
    trades += 1
    if trade["price"] > 199:
        print("high:", trade)


def on_error(app, error):
    print("lost:", error, file=sys.stderr)


for _link in range(links):
    WebSocketApp(url, on_message=on_message, on_error=on_error).run_forever()
    time.sleep(0.1)
print(trades, "trades")
sys.exit(3)
