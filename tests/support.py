"""What tests of every folder share: waiting for a state, this process's sockets, the two sides of a TLS connection."""

import functools
import os
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import trustme

import wsnova_statsd as ws
from wsnova_statsd.client import stuck
from wsnova_statsd.link.transport import Transport
from wsnova_statsd.testing.capture import EventLog, capture_events

ROOT = Path(__file__).resolve().parents[1]

LATE = 2.0  # seconds by which a busy machine may be late; what a test looks for takes longer

Contexts = tuple[ssl.SSLContext | None, ssl.SSLContext | None]  # the server's and the client's


def until(condition: Callable[[], bool], timeout: float = 10.0) -> bool:
    """Whether the condition comes true within `timeout` seconds; a test that passes does not wait for the timeout."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def stands_still(read: Callable[[], int], seconds: float = 0.2, timeout: float = 20.0) -> bool:
    """Whether a number that grows has stopped growing for so many seconds, within `timeout`."""
    last = read()
    changed = time.monotonic()

    def still() -> bool:
        nonlocal last, changed
        now, seen = time.monotonic(), read()
        if seen != last:
            last, changed = seen, now
        return now - changed >= seconds

    return until(still, timeout)


def descriptors_to(port: int) -> list[int]:
    """The descriptors of this process that are connected, or connecting, to a TCP port."""
    found = psutil.Process().net_connections("tcp")
    return [one.fd for one in found if one.raddr and one.raddr.port == port]


def what_is(descriptor: int) -> str:
    """The kernel's name for what a descriptor of this process stands for; empty if it is closed."""
    with suppress(OSError):
        return os.readlink(f"/proc/self/fd/{descriptor}")
    return ""


@contextmanager
def socket_to(port: int) -> Iterator[socket.socket]:
    """The one socket of this process that is connected to a TCP port, by the test's own descriptor."""
    (descriptor,) = descriptors_to(port)
    with socket.socket(fileno=os.dup(descriptor)) as same:
        yield same


@contextmanager
def logged(url: str | Callable[[], str], **options: Any) -> Iterator[tuple[ws.Client, EventLog]]:
    """A client that is not started yet, on its own bus, and all its events; it is closed at the end."""
    bus = ws.Bus()
    with capture_events(bus=bus) as log:
        client = ws.Client(url, **{"client_id": "md-1", "bus": bus, **options})
        try:
            yield client, log
        finally:
            client.close(1.0)


def stuck_after(monkeypatch: pytest.MonkeyPatch, seconds: float, every: float = 0.02) -> None:
    """A handler counts as stuck after so many seconds, in place of ten."""
    monkeypatch.setattr(stuck, "STUCK_AFTER", seconds)
    monkeypatch.setattr(stuck, "EVERY", every)


@functools.cache
def authority() -> trustme.CA:
    """The one that signs for every server of this process."""
    return trustme.CA()


def tls_contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's context for localhost, and the one of a client that trusts it."""
    serving, trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority().issue_cert("localhost").configure_cert(serving)
    authority().configure_trust(trusting)
    return serving, trusting


def take(transport: Transport, *most: int) -> bytes | None:
    """Read what has arrived, and take it over."""
    data = transport.recv(*most)
    data = None if data is None else bytes(data)
    del transport.got[:]
    return data
