"""The same program twice, bare and under `wsnova-statsd run`: its output is the same, and the second run is counted."""

import os
import subprocess
import sys
from pathlib import Path

from wsnova_statsd.testing.receiver import DogStatsDReceiver
from wsnova_statsd.testing.server import WebSocketServer, send_messages

ticker = str(Path(__file__).with_name("ticker.py"))
run = [sys.executable, "-m", "wsnova_statsd", "run"]  # the same as the command wsnova-statsd run
trades = [f'{{"type": "trade", "price": {price}}}' for price in range(100, 201)]

with DogStatsDReceiver() as agent, WebSocketServer(send_messages(trades, then="drop")) as feed:
    settings = {"DD_DOGSTATSD_URL": f"udp://{agent.host}:{agent.port}", "WSNOVA_STATSD_PROFILE": "financial"}
    environment = {**os.environ, **settings}
    program = [ticker, feed.url, "3"]
    bare, watched = (
        subprocess.run([*command, *program], env=environment, capture_output=True, text=True, check=False)
        for command in ([sys.executable], run)
    )
    agent.wait_for(lambda seen: seen.count("websocket.message.received") == 303)

print(watched.stdout, end="")
print("same output:", bare.stdout == watched.stdout and bare.stderr == watched.stderr)
print("exit status:", bare.returncode, watched.returncode)
for name in ("message.received", "connection.completed", "connection.reconnect.success", "connection.disconnected"):
    print(name, f"{agent.count(f'websocket.{name}'):g}")
