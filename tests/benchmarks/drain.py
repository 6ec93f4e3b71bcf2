"""A process that reads StatsD datagrams from a UDP port and counts them: the Agent's part, at the least cost.

It writes its port, and for every line on its input the datagrams and bytes since the last one.
"""

from __future__ import annotations

import json
import socket
import sys
import threading


class Drain(threading.Thread):
    """Reads for as long as the process lives."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(daemon=True)
        self._socket = sock
        self.datagrams = 0
        self.bytes = 0

    def run(self) -> None:
        buffer = bytearray(65536)
        receive = self._socket.recv_into
        while True:
            size = receive(buffer)
            self.datagrams += 1
            self.bytes += size


def main() -> None:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 * 2**20)
    sock.bind(("127.0.0.1", 0))
    drain = Drain(sock)
    drain.start()
    print(sock.getsockname()[1], flush=True)
    datagrams = size = 0
    for _ in sys.stdin:
        answer = {"datagrams": drain.datagrams - datagrams, "bytes": drain.bytes - size}
        datagrams, size = drain.datagrams, drain.bytes
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
