"""on_message runs in the client's own thread; the rest of the program goes on, and can send at any time."""

import logging
import queue
import threading

import wsnova_statsd as ws
from wsnova_statsd.testing.server import WebSocketServer, echo

logging.basicConfig(filename="worker.log", level=logging.INFO)  # a lost connection is a warning, a new one is INFO
answers = queue.Queue()
back = threading.Event()

with WebSocketServer(echo) as server:
    client = ws.Client(server.url, client_id="worker-1", on_message=answers.put, on_reconnect=back.set)
    with client:  # connects, and closes at the end; or call client.start() and client.close()
        client.send({"type": "ping", "n": 1})
        print("answer:", answers.get(timeout=5))

        server.drop_all()  # as if the cable were cut: without a connection, send() raises NotConnected
        back.wait(timeout=10)  # the client reconnects by itself
        client.send({"type": "ping", "n": 2}, wait=5)  # waits for the connection, at most 5 seconds
        print("answer after the cut:", answers.get(timeout=5))

print("state:", client.state.value)
