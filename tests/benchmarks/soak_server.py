"""A WebSocket server for the soak, in a process that can be killed: numbered messages, acknowledgements, farewells.

Its argument is its port; it reads `drop` (cut every connection) and `leave` (close every one) on its input. Each
message it sends on a connection, except for acknowledgements, has that connection's `link` and the next `n`, from 0.
The answer to `bye` says how many of them were sent, and how many messages were received, on this connection.
"""

from __future__ import annotations

import json
import sys
from itertools import count
from random import Random

from wsnova_statsd.testing.server import ScriptedConnection, WebSocketServer

_PAUSE = 0.02  # seconds between two bursts


def talk(connection: ScriptedConnection) -> None:
    """The script of one connection."""
    numbers, received, random = count(), 0, Random()
    link = str(connection.id)

    def say(kind: str, n: int, **more: object) -> None:
        connection.send(json.dumps({"type": kind, "link": link, "n": n, **more}))

    while True:
        try:
            message = json.loads(connection.recv(_PAUSE))
        except TimeoutError:
            for _ in range(random.randrange(6)):
                say("tick", next(numbers), text="x" * random.randrange(200))
            continue
        received += 1
        if message["type"] == "subscribe":
            connection.send(json.dumps({"type": "subscribed", "channel": message["channel"]}))
        elif message["type"] == "bye":
            last = next(numbers)
            say("bye", last, sent=last + 1, received=received)
            for _ in connection:  # until the client disconnects
                pass
        else:
            say("echo", next(numbers))


def main(port: int) -> None:
    with WebSocketServer(talk, port=port) as server:
        print(server.port, flush=True)
        for line in sys.stdin:
            if line.strip() == "drop":
                server.drop_all()
            else:
                server.close_all(1012)


if __name__ == "__main__":
    main(int(sys.argv[1]))
