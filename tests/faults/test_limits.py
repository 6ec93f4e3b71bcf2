"""Limits: what a server announces, sends or drops costs a bounded amount of memory, threads and descriptors."""

import struct
from collections.abc import Iterable
from typing import Any

import pytest

import wsnova_statsd as ws
from tests.faults.support import QUICK, run_script
from wsnova_statsd.testing.capture import capture_events
from wsnova_statsd.testing.tcp import BINARY, CONTINUATION, TEXT, Connection, TcpServer, server_frame

events = ws.events
LIMIT = 1000


class Recorder:
    """A server's script: sends these frames, and keeps the code of the close frame of the answer."""

    def __init__(self, frames: Iterable[bytes]) -> None:
        self._frames = list(frames)
        self.code = 0

    def __call__(self, connection: Connection) -> None:
        connection.accept_upgrade()
        for frame in self._frames:
            connection.send(frame)
        while self.code == 0:
            opcode, payload = connection.read_frame()
            if opcode == 8:
                (self.code,) = struct.unpack("!H", payload[:2])


def _received(frames: Iterable[bytes]) -> tuple[list[Any], str, int]:
    """What a client with LIMIT gets of these frames, why its connection ends, and the code of its close frame."""
    recorder = Recorder(frames)
    with TcpServer(recorder) as server, capture_events("websockex_nova.connection") as log:
        client = ws.Client(server.url, profile=QUICK, protocol=ws.Protocol(), max_message_bytes=LIMIT, reconnect=False)
        messages = []
        for message in client:
            messages.append(message)
            if message == b"end":
                client.close()
        server.wait_for(lambda: recorder.code != 0)
        return messages, log.of(events.CONNECTION_DISCONNECTED)[0].metadata["reason"], recorder.code


def test_a_message_as_long_as_the_limit_passes() -> None:
    """LIMIT bytes in one frame, and in fragments, are messages."""
    whole, half = b"x" * LIMIT, b"x" * (LIMIT // 2)
    frames = [
        server_frame(BINARY, whole),
        server_frame(BINARY, half, fin=False) + server_frame(CONTINUATION, half),
        server_frame(BINARY, b"end"),
    ]
    assert _received(frames)[0] == [whole, whole, b"end"]


@pytest.mark.parametrize(
    "frames",
    [
        [server_frame(BINARY, b"x" * (LIMIT + 1))],
        [server_frame(BINARY, b"x" * LIMIT, fin=False), server_frame(CONTINUATION, b"x")],
        [server_frame(TEXT, b"x" * 400, fin=False)] + [server_frame(CONTINUATION, b"x" * 400, fin=False)] * 2,
        [server_frame(BINARY, b"", declared_length=2**40)],
        [server_frame(TEXT, b"x", fin=False), server_frame(CONTINUATION, b"", declared_length=2**62)],
    ],
    ids=["one frame", "two fragments", "endless fragments", "2^40 announced", "2^62 announced in a fragment"],
)
def test_a_longer_message_ends_the_connection_with_1009(frames: list[bytes]) -> None:
    """Messages before it are delivered; the reason is protocol_error, the close code 1009."""
    first = server_frame(TEXT, b"first")
    assert _received([first, *frames]) == (["first"], "protocol_error", 1009)


def test_announced_sizes_cost_no_memory() -> None:
    """2^40 bytes announced within the limit, and beyond it: RSS does not grow by what was announced."""
    out = run_script(
        """
import resource
import wsnova_statsd as ws
from tests.faults.support import QUICK
from wsnova_statsd.testing.tcp import BINARY, TcpServer, sends_raw, server_frame

def rss():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()

with TcpServer(sends_raw([server_frame(BINARY, b"x" * 100, declared_length=2**40)])) as server:
    def once(limit):
        client = ws.Client(server.url, profile=QUICK, max_message_bytes=limit).start()
        try:
            client.receive(0.3)
        except (TimeoutError, ws.errors.WsnovaError):
            pass
        client.close(0.2)
    once(2**20)
    before = rss()
    for limit in (2**20, 2**41, 2**41):
        once(limit)
    print(rss() - before)
"""
    )
    assert int(out) < 2 * 2**20


def test_many_reconnects_leak_no_thread_no_descriptor_and_no_memory() -> None:
    """1,000 drops: as many threads and descriptors as before, RSS grows by less than 5 MB."""
    out = run_script(
        """
import gc, os, resource, threading
import wsnova_statsd as ws
from tests.faults.support import QUICK
from tests.support import until
from wsnova_statsd.testing.tcp import TcpServer, sends_raw, server_frame

def rss():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()

def descriptors():
    return len(os.listdir("/proc/self/fd"))

def ours():
    return sorted(each.name for each in threading.enumerate() if "test-tcp" not in each.name)

done = [0]
bus = ws.Bus()
bus.attach("count", ws.events.CONNECTION_COMPLETED, lambda *event: done.__setitem__(0, done[0] + 1))
profile = QUICK.replace(retry_base=0.001, retry_cap=0.001)
with TcpServer(sends_raw([server_frame(1, b"1")] * 3, then="close")) as server:
    client = ws.Client(server.url, profile=profile, on_message=lambda message: None, bus=bus).start()
    assert until(lambda: done[0] >= 200, 20.0)
    gc.collect()
    memory, threads, opened = rss(), ours(), descriptors()
    assert until(lambda: done[0] >= 1200, 40.0), done
    gc.collect()
    grown = rss() - memory
    assert ours() == threads, (threads, ours())
    # a link and a dial come and go
    assert until(lambda: abs(descriptors() - opened) <= 6, 2.0), (opened, descriptors())
    client.close()
    assert until(lambda: "wsnova-client-" + client.client_id not in ours())
print(grown)
""",
        55.0,
    )
    assert int(out) < 5 * 2**20
