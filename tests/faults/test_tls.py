"""TLS from several threads: OpenSSL never sees a read and a write of one connection at once."""

import socket
import threading
import time

import wsnova_statsd as ws
from tests.faults.support import QUICK, run_script
from tests.support import socket_to, tls_contexts
from wsnova_statsd.testing.capture import capture_events
from wsnova_statsd.testing.tcp import Connection, TcpServer, server_frame

events = ws.events
TEXT, PING, PONG = 1, 9, 10
PATIENCE = 20.0  # seconds; reached only by a failing test


def test_full_duplex_messages_from_two_threads_over_many_tls_connections_drop_and_crash_nothing() -> None:
    """200 connections, 20 at a time, 300 messages each from two threads and 300 back; the process exits 0."""
    out = run_script(
        """
import threading, time
import wsnova_statsd as ws
from tests.faults.support import QUICK
from tests.support import tls_contexts
from wsnova_statsd.testing.capture import capture_events
from wsnova_statsd.testing.server import WebSocketServer, echo

CONNECTIONS, AT_ONCE, EACH = 200, 20, 150
server_side, client_side = tls_contexts()
faults, missing = [], []

def exercise(url):
    got, all_here = [], threading.Event()
    def handle(message):
        got.append(message)
        if len(got) == 2 * EACH:
            all_here.set()
    client = ws.Client(url, profile=QUICK, protocol=ws.Protocol(), on_message=handle, ssl=client_side, reconnect=False)
    client.start(20.0)
    def send(first):
        try:
            for number in range(first, first + EACH):
                client.send_text(f"{number} " + "x" * (number % 50) * 20)
        except Exception as error:
            faults.append(repr(error))
    senders = [threading.Thread(target=send, args=(first,)) for first in (0, EACH)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    all_here.wait(20.0)
    numbers = [int(message.split()[0]) for message in got]
    for first in (0, EACH):
        if [one for one in numbers if first <= one < first + EACH] != list(range(first, first + EACH)):
            missing.append(client.client_id)
    client.close()

began = time.monotonic()
with WebSocketServer(echo, ssl=server_side) as server, capture_events("websockex_nova.connection") as log:
    for _ in range(CONNECTIONS // AT_ONCE):
        threads = [threading.Thread(target=exercise, args=(server.url,)) for _ in range(AT_ONCE)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
    reasons = [one.metadata["reason"] for one in log.of(ws.events.CONNECTION_DISCONNECTED)]
assert not faults, faults[:5]
assert not missing, missing
assert reasons == ["local"] * CONNECTIONS, reasons
print(f"{time.monotonic() - began:.1f}")
""",
        58.0,
    )
    print(f"{out.strip()} s")


def test_what_openssl_buffers_is_read_by_the_keeper_at_once() -> None:
    """One record of 16 KiB, of which the first read takes a quarter: no selector reports the rest."""
    server_side, client_side = tls_contexts()
    messages = 150

    def script(connection: Connection) -> None:
        connection.accept_upgrade()
        assert left_alone.wait(PATIENCE)
        connection.send(server_frame(PING, b"first"))
        assert connection.read_frame() == (PONG, b"first")  # the keeper reads by now
        record = b"".join(server_frame(TEXT, b"x" * 100) for _ in range(messages))
        connection.send(record + server_frame(PING, b"last"))
        began = time.monotonic()
        assert connection.read_frame() == (PONG, b"last")
        took.append(time.monotonic() - began)
        answered.set()
        connection.wait_closed()

    took, left_alone, answered = list[float](), threading.Event(), threading.Event()
    with (
        TcpServer(script, ssl=server_side) as server,
        ws.Client(server.url, profile=QUICK, protocol=ws.Protocol(), ssl=client_side) as client,
    ):
        left_alone.set()
        assert answered.wait(PATIENCE)
        assert [client.receive(1.0) for _ in range(messages)] == ["x" * 100] * messages
        assert took[0] < PATIENCE / 2, f"the pong took {took[0]:.2f} s"
        client.close(0.3)


def test_pongs_and_messages_into_a_full_tls_pipe_keep_their_order() -> None:
    """A peer that reads late: what OpenSSL sealed is finished first, so every frame arrives whole."""
    server_side, client_side = tls_contexts()
    seen, done = list[tuple[int, int]](), threading.Event()

    def script(connection: Connection) -> None:
        connection.accept_upgrade()
        connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**16)
        for number in range(200):
            connection.send(server_frame(PING, b"%d" % number))
            connection.stopping.wait(0.005)  # between pieces of the messages
        while len([1 for opcode, _ in seen if opcode == 2]) < 20:  # only now does it read
            opcode, payload = connection.read_frame()
            seen.append((opcode, len(payload)))
        done.set()
        connection.wait_closed()

    faults = list[Exception]()

    def send(client: ws.Client) -> None:
        try:
            for _ in range(20):
                client.send_binary(bytes(300_000))
        except ws.errors.NotConnected as error:
            faults.append(error)

    with TcpServer(script, ssl=server_side) as server, capture_events("websockex_nova.connection") as log:
        client = ws.Client(server.url, profile=QUICK, ssl=client_side, on_message=lambda message: None).start()
        sender = threading.Thread(target=send, args=(client,), daemon=True)
        sender.start()
        assert done.wait(40.0)
        sender.join(5.0)
        assert not faults
        assert {size for opcode, size in seen if opcode == 2} == {300_000}
        assert all(size <= 3 for opcode, size in seen if opcode == PONG)
        assert log.count(events.CONNECTION_DISCONNECTED) == 0
        client.close(0.5)


def test_pongs_of_many_lengths_into_a_full_tls_pipe_arrive_whole() -> None:
    """The pipe is full of pongs alone: what OpenSSL sealed is finished with the same bytes, then the next is sent."""
    server_side, client_side = tls_contexts()
    seen, done = list[tuple[int, bytes]](), threading.Event()
    pings = [b"%d " % number + b"x" * (97 * number % 120) for number in range(4000)]

    def script(connection: Connection) -> None:
        connection.accept_upgrade()
        connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        ready.wait(5.0)
        for start in range(0, len(pings), 20):
            connection.send(b"".join(server_frame(PING, payload) for payload in pings[start : start + 20]))
            connection.stopping.wait(0.002)
        flooded.set()
        while (TEXT, b"done") not in seen:  # only now does it read
            seen.append(connection.read_frame())
        done.set()
        connection.wait_closed()

    ready, flooded = threading.Event(), threading.Event()
    with TcpServer(script, ssl=server_side) as server, capture_events("websockex_nova.connection") as log:
        client = ws.Client(server.url, profile=QUICK, ssl=client_side, on_message=lambda message: None).start()
        with socket_to(server.port) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        ready.set()
        assert flooded.wait(PATIENCE)
        client.send_text("done")
        assert done.wait(10.0)
        pongs = [payload for opcode, payload in seen if opcode == PONG]
        assert 10 < len(pongs) < len(pings), "the pipe was full, and older pings went without an answer"
        assert pongs == sorted(set(pongs) & set(pings), key=pings.index)
        assert log.count(events.CONNECTION_DISCONNECTED) == 0
        client.close(0.5)
