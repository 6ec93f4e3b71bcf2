"""The bytes of one connection over a pair of sockets: how much a read takes, what `ready` returns, what was sent."""

import select
import socket
import ssl
from collections.abc import Iterator

import pytest

from tests.support import take
from wsnova_statsd.errors import NotConnected
from wsnova_statsd.link.read_buffers import BUFFERS, FLOOD
from wsnova_statsd.link.transport import READ, SMALL, Transport, WriteFailed, loss_of


@pytest.fixture
def pair() -> Iterator[tuple[Transport, socket.socket]]:
    """A transport, and the other end of its connection."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * 2**20)
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * 2**20)
    theirs.settimeout(5.0)
    transport = Transport(ours)
    yield transport, theirs
    transport.close()
    theirs.close()


def _fill(theirs: socket.socket) -> None:
    """So many bytes wait that any read is full."""
    theirs.setblocking(False)
    try:
        while True:
            theirs.send(bytes(65536))
    except BlockingIOError:
        theirs.settimeout(5.0)


def _sizes(transport: Transport, most: int) -> list[int]:
    """What each read brings until nothing is there."""
    sizes = []
    while (data := take(transport, most)) is not None:
        sizes.append(len(data))
    return sizes


# Reading


def test_reads_are_long_while_they_are_full_and_short_when_it_is_quiet(pair: tuple[Transport, socket.socket]) -> None:
    """4 KiB at first; after a full read as much as the reader allows, until one brings less than 4 KiB."""
    transport, theirs = pair
    _fill(theirs)
    assert [len(take(transport, FLOOD) or b"") for _ in range(3)] == [SMALL, FLOOD, FLOOD]
    while take(transport, READ) is not None:
        pass
    _fill(theirs)
    (full, *_) = _sizes(transport, READ)
    assert full == READ, "the size is kept while nothing is there"
    theirs.send(b"tick")
    assert take(transport, READ) == b"tick"
    _fill(theirs)
    assert len(take(transport, READ) or b"") == SMALL


def test_a_long_read_is_a_view_whose_buffer_is_returned(pair: tuple[Transport, socket.socket]) -> None:
    """Once the view is released, and at once if the read found nothing, or so little that it is copied."""
    transport, theirs = pair
    _fill(theirs)
    take(transport)
    for _ in range(3):
        view = transport.recv()
        assert isinstance(view, memoryview)
        assert bytes(view) == bytes(FLOOD)
        del view, transport.got[:]
    while take(transport) is not None:
        pass
    theirs.send(b"tick")
    assert take(transport) == b"tick"
    assert len([one for one in (BUFFERS.take(), BUFFERS.take()) if one is not None]) == 2
    assert BUFFERS.take() is not None, "the two are gone, so that others may be made"


def test_a_reader_without_a_buffer_reads_less(pair: tuple[Transport, socket.socket]) -> None:
    """16 KiB into its own bytes; and again at once, as the read was full."""
    transport, theirs = pair
    _fill(theirs)
    take(transport)
    held = [BUFFERS.take(), BUFFERS.take()]
    data = transport.recv()
    assert type(data) is bytes
    assert len(data) == 16384
    assert transport.ready
    assert None not in held


def test_a_reader_that_allows_less_gets_less(pair: tuple[Transport, socket.socket]) -> None:
    """However large its reads have become."""
    transport, theirs = pair
    for _ in range(4):
        _fill(theirs)
        _sizes(transport, FLOOD)
    _fill(theirs)
    assert len(take(transport, 1000) or b"") == 1000
    assert max(_sizes(transport, READ)) <= READ


def test_ready_says_whether_to_read_before_waiting(pair: tuple[Transport, socket.socket]) -> None:
    """At first, since bytes may have come with the handshake; after a full read; after a wait that found some. Not
    after a short read, nor one that found nothing."""
    transport, theirs = pair
    assert transport.ready
    assert take(transport) is None
    assert not transport.ready
    assert not transport.wait(0.0)
    theirs.send(b"short")
    assert transport.wait(5.0)
    assert transport.ready
    assert take(transport) == b"short"
    assert not transport.ready
    theirs.send(bytes(SMALL))
    transport.wait(5.0)
    assert len(take(transport) or b"") == SMALL
    assert transport.ready
    assert take(transport) is None
    assert not transport.ready


def test_what_came_with_the_handshake_is_read_first() -> None:
    """And is found without a poll: `pending`, `wait` and `ready` report it."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        transport = Transport(ours, b"ahead")
        assert transport.pending()
        assert transport.wait(0.0)
        theirs.send(b" and behind")
        assert take(transport, 1) == b"ahead"
        assert not transport.pending()
        assert take(transport) == b" and behind"


def test_what_waits_in_the_kernel_can_be_asked_for(pair: tuple[Transport, socket.socket]) -> None:
    """Without reading it; a closed socket holds nothing."""
    transport, theirs = pair
    assert transport.unread() == 0
    theirs.send(bytes(123))
    assert transport.unread() == 123
    transport.close()
    assert transport.unread() == 0


def test_the_end_of_the_stream_is_empty_after_what_came_before_it(pair: tuple[Transport, socket.socket]) -> None:
    """Also if our own side was shut down: what has arrived can still be read."""
    transport, theirs = pair
    theirs.send(b"last")
    theirs.shutdown(socket.SHUT_WR)
    transport.shutdown()
    assert take(transport) == b"last"
    assert take(transport) == b""
    assert take(transport) == b""


def test_a_selector_waits_if_poll_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows."""
    monkeypatch.delattr(select, "poll")
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        transport = Transport(ours)
        assert not transport.wait(0.0)
        theirs.send(b"x")
        assert transport.wait(5.0)


# Writing


def test_send_now_writes_what_fits_and_returns_how_much(pair: tuple[Transport, socket.socket]) -> None:
    """None if nothing was begun: something else may be sent instead."""
    transport, theirs = pair
    left: list[int] = []
    assert transport.send_now(b"four", left) == 4
    assert left == [4]
    assert theirs.recv(10) == b"four"
    while (sent := transport.send_now(bytes(2**20))) is not None:
        assert sent > 0
    assert transport.send_now(b"x") is None


def test_a_send_that_makes_no_progress_fails_in_time(pair: tuple[Transport, socket.socket]) -> None:
    """The loss reports it; half a frame may have been sent, and is known not to be whole."""
    transport, _theirs = pair
    left: list[int] = []
    with pytest.raises(WriteFailed, match=r"accepted no data for 0\.01 s") as caught:
        transport.send(bytes(2**26), 0.01, left)
    assert isinstance(caught.value, NotConnected)
    assert caught.value.loss.reason == "error"
    assert 0 < sum(left) < 2**26


def test_what_was_sent_whole_is_known_to_be(pair: tuple[Transport, socket.socket]) -> None:
    """By its size."""
    transport, _theirs = pair
    left: list[int] = []
    transport.send(b"sixsix", 1.0, left)
    assert sum(left) == 6


def test_a_write_to_a_peer_that_is_gone_is_a_cut_connection(pair: tuple[Transport, socket.socket]) -> None:
    """close_1006, as if a read had noticed."""
    transport, theirs = pair
    theirs.close()
    with pytest.raises(WriteFailed) as caught:
        transport.send(b"late", 1.0)
    assert caught.value.loss.reason == "close_1006"


def test_what_a_fault_makes_of_the_link() -> None:
    """A cut is 1006; broken TLS and a closed descriptor are errors."""
    cuts = [ConnectionResetError(), BrokenPipeError(), TimeoutError(), ssl.SSLEOFError(), ssl.SSLZeroReturnError()]
    assert {loss_of(error).reason for error in cuts} == {"close_1006"}
    assert {
        loss_of(error).reason for error in (ssl.SSLError(1, "bad record"), ValueError("closed"), AttributeError("recv"))
    } == {"error"}
    assert "bad record" in loss_of(ssl.SSLError(1, "bad record")).detail
