"""A host name is looked up within a deadline, even if the resolver hangs."""

import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from wsnova_statsd.reporters.resolver import Resolver

HOST = "agent.example"


class _Names:
    """A resolver that answers, fails, or hangs until it is released."""

    def __init__(self) -> None:
        self.asked = 0
        self.answer: list[str] | Exception = ["192.0.2.7"]
        self.go_on = threading.Event()
        self.go_on.set()

    def __call__(self, host: str, port: int, *_: Any) -> list[Any]:
        self.asked += 1
        self.go_on.wait(30)
        if isinstance(self.answer, Exception):
            raise self.answer
        family = {True: socket.AF_INET6, False: socket.AF_INET}
        return [(family[":" in one], socket.SOCK_DGRAM, 17, "", (one, port)) for one in self.answer]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Iterator[_Names]:
    made = _Names()
    monkeypatch.setattr(socket, "getaddrinfo", made)
    yield made
    made.go_on.set()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "fe80::1%lo"])
def test_an_address_is_never_looked_up(names: _Names, host: str) -> None:
    """It is its own answer, and needs no thread."""
    resolver = Resolver(host, 8125)
    assert resolver.begin() is None
    assert resolver.addresses(0) == (host,)
    assert names.asked == 0


def test_a_name_is_looked_up_each_time(names: _Names) -> None:
    """IPv4 first, as in the official client; none twice."""
    resolver = Resolver(HOST, 8125)
    names.answer = ["2001:db8::1", "192.0.2.7", "192.0.2.7"]
    assert resolver.addresses(10) == ("192.0.2.7", "2001:db8::1")
    names.answer = ["192.0.2.8"]
    assert resolver.addresses(10) == ("192.0.2.8",)
    assert names.asked == 2


def test_a_name_without_an_address_raises_even_if_it_had_one(names: _Names) -> None:
    """The resolver's answer counts; the error keeps its text."""
    resolver = Resolver(HOST, 8125)
    assert resolver.addresses(10)
    names.answer = socket.gaierror(-2, "Name or service not known")
    with pytest.raises(socket.gaierror, match="Name or service not known"):
        resolver.addresses(10)
    names.answer = UnicodeError("label too long")
    with pytest.raises(OSError, match=r"not a host name: label too long"):
        resolver.addresses(10)


def test_a_resolver_that_hangs_is_waited_for_until_the_deadline(names: _Names) -> None:
    """Once: later calls wait for the same lookup, in one thread, and the answer is used when it comes."""
    resolver = Resolver(HOST, 8125)
    names.go_on.clear()
    began = time.monotonic()
    for _ in range(3):
        with pytest.raises(OSError, match=r"'agent.example' is still being looked up"):
            resolver.addresses(0.02)
    assert time.monotonic() - began < 10
    assert [thread.name for thread in threading.enumerate()].count("wsnova-resolve") == 1
    names.go_on.set()
    assert resolver.addresses(10) == ("192.0.2.7",)
    assert names.asked <= 2


def test_while_it_hangs_the_last_answer_is_used(names: _Names) -> None:
    """The lookup is tried again at the next fault."""
    resolver = Resolver(HOST, 8125)
    resolver.addresses(10)
    names.go_on.clear()
    assert resolver.addresses(0.01) == ("192.0.2.7",)


def test_if_no_thread_can_start_the_last_answer_is_used_too(names: _Names, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python 3.12 and later, in an exit hook. Without an answer the error says so."""

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    early, late = Resolver(HOST, 8125), Resolver(HOST, 8125)
    early.addresses(10)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert early.addresses(10) == ("192.0.2.7",)
    with pytest.raises(OSError, match="cannot be looked up while the interpreter exits"):
        late.addresses(10)


def test_a_child_does_its_own_lookup(names: _Names) -> None:
    """Without the parent's lock and thread; known answers stay."""
    resolver = Resolver(HOST, 8125)
    resolver.addresses(10)
    names.go_on.clear()
    resolver.begin()
    with resolver._lock:
        resolver.reset()
        names.go_on.set()
        assert resolver.known == ("192.0.2.7",)
        assert resolver.addresses(10) == ("192.0.2.7",)
