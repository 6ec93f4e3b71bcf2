"""on_message runs in the client's own thread; the rest of the program goes on, and sends when it likes."""

import logging
import queue
import threading

import wsnova_statsd as ws
from wsnova_statsd.testing.server import WebSocketServer, echo

logging.basicConfig(filename="worker.log", level=logging.INFO)  # there a lost link is a warning, and being back a word
answers = queue.Queue()
back = threading.Event()

with WebSocketServer(echo) as server:
    client = ws.Client(server.url, client_id="worker-1", on_message=answers.put, on_reconnect=back.set)
    with client:  # connects, and closes in the end; client.start() and client.close() do the same
        client.send({"type": "ping", "n": 1})
        print("answer:", answers.get(timeout=5))

        server.drop_all()  # a cut cable: while the link is down, send() raises NotConnected
        back.wait(timeout=10)  # the client connects again by itself
        client.send({"type": "ping", "n": 2}, wait=5)  # and with wait= it waits for the link, 5 seconds at most
        print("answer after the cut:", answers.get(timeout=5))

print("state:", client.state.value)
