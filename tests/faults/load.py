"""A number of requests over a Unix socket; each is answered, or missing from the sum."""

import socket
import threading

BODY = b"counted\n"  # of every answer
_REQUEST = b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n"


def answered(path: str, requests: int, turns: int = 25, threads: int = 4, timeout: float = 30.0) -> int:
    """How many of `requests` requests, by some threads at once, got their answer.

    A connection serves `turns` of them, unless the server closes it; another one may be another worker's.
    """
    numbers = iter(range(requests))
    taking = threading.Lock()  # guards numbers and good
    good = 0

    def next_one() -> bool:
        with taking:
            return next(numbers, None) is not None

    def run() -> None:
        nonlocal good
        more = next_one()
        while more:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(timeout)
                connection.connect(path)
                for _ in range(turns):
                    connection.sendall(_REQUEST)
                    answer = b""
                    while not answer.endswith(BODY) and (piece := connection.recv(65536)):
                        answer += piece
                    with taking:
                        good += answer.startswith(b"HTTP/1.1 200 ") and answer.endswith(BODY)
                    more = next_one()
                    if not more or b"onnection: close" in answer:
                        break

    running = [threading.Thread(target=run) for _ in range(threads)]
    for one in running:
        one.start()
    for one in running:
        one.join()
    return good
