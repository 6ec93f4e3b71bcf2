"""The live view's sockets: what is sent arrives or is reported as dropped, is passed on unchanged, and a taken port is
named with its holder."""

import os
import socket
import stat
import threading
from functools import partial
from pathlib import Path

import pytest

from tests.support import until
from wsnova_statsd.errors import ConfigurationError
from wsnova_statsd.testing.receiver import DogStatsDReceiver
from wsnova_statsd.watch.forward import Forwarder
from wsnova_statsd.watch.receiver import Receiver
from wsnova_statsd.watch.session import Given, Session


def _udp() -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)


def _are(received: list[bytes], number: int) -> bool:
    return len(received) == number


def _unix() -> socket.socket:
    return socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)


def test_datagrams_arrive_by_udp_and_are_counted() -> None:
    with Session(Given(port=0)) as session, _udp() as sender:
        sender.sendto(b"a:1|c\nb:2|g", session.address)
        sender.sendto(b"a:2|c", session.address)
        assert until(lambda: session.model.datagrams == 2)
        shown = session.snapshot()
    assert {row.name: row.value for row in shown.rows} == {"a": 3.0, "b": 2.0}
    assert (shown.traffic.lines, shown.traffic.bytes, shown.traffic.dropped) == (3, 16, 0)
    assert shown.source == f"udp 127.0.0.1:{session.address[1]}"


def test_datagrams_arrive_by_a_unix_socket_whose_file_is_removed_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "dsd.socket"
    with Session(Given(socket_path=str(path))) as session, _unix() as sender:
        assert stat.S_IMODE(path.stat().st_mode) == 0o722
        sender.sendto(b"a:1|c", str(path))
        assert until(lambda: session.model.datagrams == 1)
        assert session.snapshot().source == f"unix {path}"
    assert not path.exists()


@pytest.mark.skipif(not os.path.exists("/proc/net/udp"), reason="only Linux tells what it drops")
def test_what_was_sent_is_received_or_reported_as_dropped() -> None:
    """While the reading thread is blocked, the kernel's buffer overflows."""
    held, received = threading.Event(), list[bytes]()

    def sink(batch: list[bytes]) -> None:
        held.wait(20)
        received.extend(batch)

    receiver = Receiver(sink)
    receiver.start()
    sent = 0
    with _udp() as sender:
        while not receiver.dropped():
            for _ in range(100):
                sender.sendto(b"x" * 1400, (receiver.host, receiver.port))
            sent += 100
        held.set()
        assert until(lambda: len(received) + (receiver.dropped() or 0) == sent)
    receiver.stop()
    dropped = receiver.dropped()
    assert dropped
    assert len(received) + dropped == sent
    assert receiver.most_behind > 0


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_a_port_that_is_taken_is_refused_with_its_holder_and_what_to_do(host: str) -> None:
    """Also if it is taken at one address only and is wanted at all of them."""
    with _udp() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError) as refused, Session(Given(host=host, port=port)):
            pass
    reported = str(refused.value)
    assert reported.startswith(f"cannot listen at {host}:{port}: pid {os.getpid()} (")
    assert reported.endswith(f"use --port {port + 1}, and set DD_DOGSTATSD_PORT={port + 1} for the program to watch")


def test_a_unix_socket_that_is_taken_is_refused_and_one_that_was_left_over_is_replaced(tmp_path: Path) -> None:
    path = str(tmp_path / "dsd.socket")
    with _unix() as taken:
        taken.bind(path)
        with pytest.raises(ConfigurationError, match=rf"pid {os.getpid()} .* holds it; pass another path to --socket"):
            Session(Given(socket_path=path)).__enter__()
    with Session(Given(socket_path=path)) as session, _unix() as sender:
        sender.sendto(b"a:1|c", path)
        assert until(lambda: session.model.datagrams == 1)


@pytest.mark.parametrize(
    ("given", "reported"),
    [
        (Given(host="nowhere.invalid"), "not an address of this machine"),
        (Given(host="192.0.2.1", port=0), "cannot listen at 192.0.2.1:0"),
        (Given(socket_path="/nowhere/dsd.socket"), "No such file or directory"),
        (Given(socket_path="a\0b"), "null"),
        (Given(socket_path=__file__), "is not a socket"),
        (Given(port=0, forward=("nowhere.invalid", 8125)), "cannot forward to nowhere.invalid:8125"),
        (Given(port=0, forward="/nowhere/dsd.socket"), "cannot forward to /nowhere/dsd.socket"),
        (Given(port=0, record="/nowhere/feed.txt"), "cannot write the recording /nowhere/feed.txt"),
        (Given(replay="/nowhere/feed.txt"), "cannot read the recording /nowhere/feed.txt"),
    ],
)
def test_an_unusable_address_is_one_sentence(given: Given, reported: str) -> None:
    with pytest.raises(ConfigurationError) as refused, Session(given):
        pass
    assert reported in str(refused.value)
    assert "\n" not in str(refused.value)


def test_datagrams_are_passed_on_unchanged_by_udp() -> None:
    """Unreadable ones too; a stand-in for the Agent compares."""
    datagrams = [b"a:1|c\nb:2|g|#x:1", b"rubbish\xff", b"a:1:2:3|d|@0.5"]
    with (
        DogStatsDReceiver() as agent,
        Session(Given(port=0, forward=("127.0.0.1", agent.port))) as session,
        _udp() as sender,
    ):
        for data in datagrams:
            sender.sendto(data, session.address)
        assert agent.wait_for(lambda agent: len(agent.datagrams) == 3)
        assert agent.datagrams == datagrams
        traffic = session.snapshot().traffic
        assert (traffic.forwarded, traffic.not_forwarded) == (3, 0)


def test_datagrams_are_passed_on_to_a_unix_socket_also_after_the_agent_was_restarted(tmp_path: Path) -> None:
    path = str(tmp_path / "agent.socket")
    with DogStatsDReceiver(path) as agent:
        session = Session(Given(port=0, forward=path)).__enter__()
        with _udp() as sender:
            sender.sendto(b"a:1|c", session.address)
            assert agent.wait_for(lambda agent: agent.datagrams == [b"a:1|c"])
            agent.stop()
            sender.sendto(b"lost:1|c", session.address)
            assert until(lambda: session.snapshot().traffic.not_forwarded == 1)
            agent.start()

            def arrives() -> bool:
                sender.sendto(b"b:1|c", session.address)
                return b"b:1|c" in agent.datagrams

            assert until(arrives)
        session.__exit__()


def test_what_the_agent_does_not_accept_is_counted() -> None:
    """A port without a listener: the kernel reports one datagram when the next is sent."""
    with _udp() as gone:
        gone.bind(("127.0.0.1", 0))
        forwarder = Forwarder(("127.0.0.1", gone.getsockname()[1]))
    forwarder.open()
    for _ in range(10):
        forwarder.forward([b"a:1|c"])
    forwarder.close()
    assert forwarder.sent + forwarder.lost == 10
    assert forwarder.lost >= 8


def test_what_would_be_passed_on_to_itself_is_refused(tmp_path: Path) -> None:
    """It would circulate for ever."""
    with _udp() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    for host in ("127.0.0.1", "0.0.0.0"):
        session = Session(Given(host=host, port=port, forward=("localhost", port)))
        with pytest.raises(ConfigurationError, match="where watch listens itself"), session:
            pass


def test_an_error_in_a_batch_ends_no_thread_and_is_reported() -> None:
    def sink(batch: list[bytes]) -> None:
        received.extend(batch)
        if len(received) == 1:
            raise ValueError("no")

    received: list[bytes] = []
    receiver = Receiver(sink)
    receiver.start()
    with _udp() as sender:
        for number in (1, 2):
            sender.sendto(b"x", (receiver.host, receiver.port))
            assert until(partial(_are, received, number))
    receiver.stop()
    assert str(receiver.error) == "no"
