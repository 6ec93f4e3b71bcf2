"""A link at its edges: which thread reads and which writes, what is owed while another frame is on its way, what a
signal's handler interrupts. A pair of connected sockets where bytes flow, a scripted transport where a moment is to be
met."""

import math
import socket
import time
from collections import deque
from collections.abc import Iterator
from typing import Any

import pytest

from tests.unit.peer import Peer, elsewhere, held_elsewhere
from tests.unit.scripted import Script
from wsnova_statsd.errors import NotConnected
from wsnova_statsd.link.frames import CLOSE, PING, PONG, TEXT, Received
from wsnova_statsd.link.link import Driver, Link
from wsnova_statsd.link.session import Limits, Loss, Session
from wsnova_statsd.link.transport import Transport
from wsnova_statsd.testing.clock import FakeClock
from wsnova_statsd.testing.tcp import server_frame

QUIET = Limits(None, 60.0)
GOODBYE = server_frame(CLOSE, b"\x03\xf5later")  # 1013
ONE, TWO = server_frame(TEXT, b"one"), server_frame(TEXT, b"two")


def _link(transport: Any, limits: Limits = QUIET, **options: Any) -> Link:
    return Link(transport, "ws://feed.example", limits, **options)


def _interrupt(*_: object) -> Any:
    raise KeyboardInterrupt


def _written(script: Script) -> list[tuple[int, bytes]]:
    """The frames that were sent, whole."""
    return Peer.unmasked(script.written)


def _taken(link: Link, until: float) -> list[bytes]:
    """What the next read brings, taken over: a run, or what is in the inbox."""
    run = link.next_run(until)
    link.unclaimed = []
    if not run:
        run = _payloads(link)
        link.inbox.clear()
    return run


def _payloads(link: Link) -> list[bytes]:
    return [payload for _, payload, _ in link.inbox]


@pytest.fixture
def pair() -> Iterator[tuple[Link, Peer]]:
    """A link, and the other end of its connection."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    transport = Transport(ours)
    peer = Peer(theirs)
    yield _link(transport), peer
    transport.close()
    theirs.close()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    fake = FakeClock()
    monkeypatch.setattr("wsnova_statsd.link.link._monotonic", fake)
    return fake


# Which thread reads


def test_the_owner_drives_while_it_reads_and_is_away_otherwise() -> None:
    """The keeper cannot read in its place then, and can afterwards."""
    script, seen = Script(), list[tuple[Driver, bool]]()
    link = _link(script)
    script.arriving, script.on_wait = ONE, lambda: seen.append((link.driver, elsewhere(link.adopt)))
    before = link.away_since
    assert link.driver is Driver.AWAY
    assert _taken(link, time.monotonic() + 60) == [b"one"]
    assert seen == [(Driver.OWNER, False)]
    assert (link.driver, link.away_since >= before) == (Driver.AWAY, True)
    assert link.adopt()
    assert link.driver.name == "KEEPER"


def test_the_keeper_reads_until_the_owner_does() -> None:
    """Not before it was asked to, and not after the owner took over."""
    script = Script(ONE)
    link = _link(script)
    assert not link.keep()
    assert script.reads == [ONE]
    assert link.adopt()
    assert link.keep()
    assert not link.keep(), "nothing was there"
    assert _payloads(link) == [b"one"]
    assert link.next_run(0.0) == []
    script.reads.append(TWO)
    assert not link.keep()
    link.inbox.clear()
    assert _taken(link, 0.0) == [b"two"]


def test_what_the_owner_reads_in_bulk_does_not_overtake_what_the_keeper_has_just_read() -> None:
    """What is in the inbox comes first; only then is read on."""
    script = Script(ONE)
    link = _link(script)
    assert link.adopt()
    assert link.keep()
    script.reads.append(TWO)
    assert link.next_run(time.monotonic() + 60) == []
    assert _payloads(link) == [b"one"]
    assert script.reads == [TWO]
    link.inbox.clear()
    assert _taken(link, time.monotonic() + 60) == [b"two"]


def test_a_run_that_was_not_taken_over_is_the_first_of_what_waits() -> None:
    """A signal's handler raised just as it was taken over. An empty message is not mistaken for another one."""
    empty = server_frame(TEXT, b"")
    link = _link(Script(ONE + empty + server_frame(PONG) + empty))
    assert link.next_run(time.monotonic() + 60) == [b"one", b""]
    assert _payloads(link) == [b""]
    for _ in range(2):
        assert link.next_run(time.monotonic() + 60) == []
        assert _payloads(link) == [b"one", b"", b""]
    assert not link.unclaimed


def test_while_an_answer_is_expected_everything_goes_into_the_inbox() -> None:
    """Other threads look for it there."""
    link = _link(Script(ONE + TWO))
    assert link.next_run(time.monotonic() + 60, direct=False) == []
    assert _payloads(link) == [b"one", b"two"]
    assert not link.unclaimed


def test_what_is_put_back_is_the_first_of_what_waits() -> None:
    """In its order, before what was read since."""
    link = _link(Script(ONE + TWO))
    link.next_run(0.0, direct=False)
    link.put_back([(TEXT, b"a", 1), (TEXT, b"b", 1)])
    assert _payloads(link) == [b"a", b"b", b"one", b"two"]
    link.put_back([])
    assert link.waiting() == (4, 1_008)


def test_a_signals_handler_during_a_read_cannot_read(pair: tuple[Link, Peer]) -> None:
    """It is refused at once, for it would wait for itself; the reading goes on."""
    link, peer = pair
    refused = list[bool]()

    def handle(*_: object) -> bool:
        for again in (lambda: link.next_run(0.0), lambda: link.pump(0.0)):
            with pytest.raises(NotConnected):
                again()
            refused.append(True)
        return False

    link.notes_heartbeats = handle
    peer.send(server_frame(PONG) + server_frame(PING, b"a") + ONE)
    link.session.notices.append(("sent", 0))
    assert link.next_run(0.0) == []
    assert link.session.notices
    link.session.notices.clear()
    script = Script()
    link = _link(script)
    script.arriving, script.on_wait = ONE, handle
    assert _taken(link, time.monotonic() + 60) == [b"one"]
    assert refused == [True, True]


def test_a_link_whose_read_was_interrupted_halfway_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """What follows would be taken for the beginning of a frame."""
    script = Script(ONE + ONE, b"two")
    link = _link(script)
    monkeypatch.setattr(Session, "receive", _interrupt)
    with pytest.raises(KeyboardInterrupt):
        link.next_run(time.monotonic() + 60)
    assert link.loss == Loss("error", "KeyboardInterrupt")
    assert script.over
    assert link.adopt(), "no thread reads any more"


def test_an_owner_that_is_interrupted_over_a_breach_reads_no_more_and_the_keeper_sees_it() -> None:
    """A signal interrupts the sending of the close frame; without the keeper the peer would never be answered."""
    script = Script(server_frame(0x3))
    script.on_send = _interrupt
    link = _link(script)
    with pytest.raises(KeyboardInterrupt):
        link.next_run(time.monotonic() + 60)
    assert link.driver is Driver.AWAY
    assert link.adopt()
    with held_elsewhere(link.sending):  # it can be
        pass


def test_what_a_callback_left_half_read_is_read_without_waiting() -> None:
    """Its bytes are in OpenSSL, and no poll sees them."""
    whole = server_frame(TEXT, b"message")
    script = Script()
    link = _link(script)
    assert link.next_run(0.0) == []
    script.reads = [whole[:4], whole[4:]]
    link.pump(time.monotonic())
    assert not link.inbox
    assert _taken(link, time.monotonic()) == [b"message"]
    assert script.waits == []


def test_a_wait_ends_when_something_else_is_due(clock: FakeClock) -> None:
    """The caller's time, the session's, at most an hour: whichever comes first. The time waited is counted."""
    script = Script()
    link = _link(script, Limits(5.0, 3.0))
    script.arriving, script.on_wait, script.lively = ONE, lambda: clock.advance(0.5), False
    assert _taken(link, clock() + 2.0) == [b"one"]
    assert _taken(link, clock() + 60.0) == [b"one"]
    link.session.due = float("inf")
    assert _taken(link, float("inf")) == [b"one"]
    assert script.waits == pytest.approx([2.0, 4.5, math.inf])
    assert link.idle == 1.5


# Life and the keeper


def test_an_inbox_that_is_full_stops_the_keeper_and_is_noticed_once() -> None:
    """It reads on when the owner has made room."""
    message = server_frame(TEXT, bytes(3_000))
    script = Script(*[message] * 9)
    link = _link(script, Limits(None, 60.0, None, 2**20, 10_000))
    assert link.adopt()
    assert link.keep()
    waiting = len(link.inbox)
    assert 3 <= waiting <= 4
    assert not link.keep()
    assert link.full
    assert [name for name, _ in link.session.notices] == ["full"]
    link.inbox.clear()
    assert link.keep()
    assert len(script.reads) < 9 - waiting
    assert [name for name, _ in link.session.notices] == ["full"]


def test_heartbeats_without_a_handler_do_not_end_the_owners_wait() -> None:
    """It goes on waiting for a message; if a handler is attached, it returns to emit them."""
    for observed, runs in ((False, [b"one"]), (True, [])):
        link = _link(
            Script(server_frame(PONG), ONE), Limits(0.0, 60.0), notes_heartbeats=lambda observed=observed: observed
        )
        assert _taken(link, time.monotonic() + 60) == runs
        assert link.session.notices == ([("sent", 0)] if observed else [])


def test_after_a_pong_the_read_does_not_wait_in_the_kernel() -> None:
    """An idle connection would be woken once more for each ping; after a message another one may come at once."""
    for came, lively in ((server_frame(PONG), False), (server_frame(PONG) + ONE, True)):
        script = Script(came)
        _link(script).next_run(0.0)
        assert (script.reads, script.lively) == ([], lively)


# Which thread writes


def test_control_frames_wait_for_no_lock() -> None:
    """Another thread's frame is on its way: the reader goes on, and that thread sends what is owed after its own."""
    script = Script(server_frame(PING, b"a"), ONE)
    link = _link(script)
    with held_elsewhere(link.sending):
        assert _taken(link, time.monotonic() + 60) == [b"one"]
    assert script.written == b""
    with link.sending:
        link.writer.send(Peer.masked(TEXT, b"ours"), 1.0)
    assert _written(script) == [(TEXT, b"ours"), (PONG, b"a")]


def test_a_pong_that_does_not_go_out_is_tried_again(clock: FakeClock) -> None:
    """Soon, without new data: the reader waits no longer than until then, and the keeper is asked for a step."""
    script = Script(server_frame(PING, b"a"), takes=[None])
    link = _link(script)
    script.on_wait = lambda: clock.advance(script.waits[-1])
    assert link.next_run(clock()) == []
    assert (link.attention(clock()), link.attention(clock() + 0.1)) == (False, True)
    assert link.next_run(clock() + 5.0) == []
    assert script.waits == pytest.approx([0.1, 4.9], abs=0.0011)
    assert _written(script) == [(PONG, b"a")]


def test_the_rest_of_a_control_frame_goes_before_anything_else() -> None:
    """Half a pong is out: a data frame would begin inside it."""
    script = Script(server_frame(PING, b"payload") + server_frame(PING, b"more"), takes=[3, 0, 0])
    link = _link(script)
    link.next_run(0.0)
    assert len(script.written) == 3
    with link.sending:
        link.writer.send(Peer.masked(TEXT, b"ours"), 1.0)
    assert _written(script) == [(PONG, b"payload"), (TEXT, b"ours"), (PONG, b"more")]


def test_nothing_is_sent_after_a_close_frame() -> None:
    """RFC 6455, section 5.5.1: no message, no pong, no second close frame."""
    script = Script(server_frame(PING))
    link = _link(script)
    link.send_close(1000)
    link.send_close(1001)
    with link.sending, pytest.raises(NotConnected):
        link.writer.send(Peer.masked(TEXT, b"late"), 1.0)
    link.next_run(0.0)
    assert _written(script) == [(CLOSE, b"\x03\xe8")]


def test_a_close_frame_waits_for_the_frame_that_is_on_its_way() -> None:
    """Its thread sends it then."""
    script = Script()
    link = _link(script)
    with held_elsewhere(link.sending):
        link.send_close(1000, timeout=0.0)
    assert script.written == b""
    with link.sending:
        link.writer.send(Peer.masked(TEXT, b"ours"), 1.0)
    assert _written(script) == [(TEXT, b"ours"), (CLOSE, b"\x03\xe8")]


def test_pings_are_sent_in_time_and_a_stuck_frame_blocks_no_reader() -> None:
    """While another frame is partly sent no ping is due; it is sent after it."""
    script = Script(ONE)
    link = _link(script, Limits(0.0, 60.0), notes_heartbeats=lambda: False)
    with held_elsewhere(link.sending):
        assert _taken(link, time.monotonic() + 60) == [b"one"]
    assert link.loss is None
    with link.sending:
        link.writer.send(Peer.masked(TEXT, b"ours"), 1.0)
    (_, first), (opcode, payload) = _written(script)
    assert (first, opcode, len(payload)) == (b"ours", PING, 8)


def test_a_write_that_fails_lets_what_arrived_be_read_first(pair: tuple[Link, Peer]) -> None:
    """The messages, and the close frame: the reason is the server's."""
    link, peer = pair
    peer.send(ONE + TWO + GOODBYE)
    peer.close()
    with link.sending, pytest.raises(NotConnected):
        link.writer.send(Peer.masked(TEXT, b"late"), 1.0)
    with link.sending, pytest.raises(NotConnected):
        link.writer.send(Peer.masked(TEXT, b"later"), 1.0)
    assert link.loss is None
    assert link.next_run(time.monotonic() + 60) == [b"one", b"two"]
    assert link.loss == Loss("close_1013", "later")


def test_a_write_that_fails_and_no_close_frame_is_1006(pair: tuple[Link, Peer]) -> None:
    """Whichever side noticed the cut."""
    link, peer = pair
    peer.send(ONE)
    peer.close()
    with link.sending, pytest.raises(NotConnected):
        link.writer.send(Peer.masked(TEXT, b"late"), 1.0)
    assert _taken(link, time.monotonic() + 60) == [b"one"]
    link.put_back([])
    assert _taken(link, time.monotonic() + 60) == []
    assert link.loss is not None
    assert link.loss.reason == "close_1006"


def test_a_frame_that_was_interrupted_ends_the_writing() -> None:
    """Half of it may have been sent."""
    script = Script()
    script.on_send = _interrupt
    link = _link(script)
    with link.sending, pytest.raises(KeyboardInterrupt):
        link.writer.send(Peer.masked(TEXT, b"ours"), 1.0)
    assert script.over
    link.next_run(0.0)
    assert link.loss == Loss("error", "KeyboardInterrupt")


def test_a_signals_handler_sends_nothing_during_a_frame() -> None:
    """It is refused at once, and what is owed is sent after the frame, whole."""
    script = Script()
    link = _link(script)
    refused: list[bool] = []

    def handler() -> None:
        script.on_send = lambda: None
        refused.append(link.in_midst)
        link.send_close(1000, timeout=60.0)
        with link.sending, pytest.raises(NotConnected, match="is sending"):
            link.writer.send(Peer.masked(TEXT, b"of the handler"), 60.0)

    script.on_send = handler
    with link.sending:
        link.writer.send(Peer.masked(TEXT, b"ours"), 1.0)
    assert refused == [True]
    assert not link.in_midst
    assert _written(script) == [(TEXT, b"ours"), (CLOSE, b"\x03\xe8")]


@pytest.mark.parametrize("begins", ["next_run", "pump"])
@pytest.mark.parametrize("handles", ["next_run", "pump"])
def test_a_signals_handler_reads_nothing_during_a_read(begins: str, handles: str) -> None:
    """It is refused at once, and reading goes on when it has returned."""
    script = Script()
    link = _link(script)
    refused: list[bool] = []

    def handler() -> None:
        script.on_wait = lambda: None
        refused.append(link.in_midst)
        with pytest.raises(NotConnected, match="is reading"):
            getattr(link, handles)(time.monotonic() + 60)
        script.arriving = ONE

    script.on_wait = handler
    run = getattr(link, begins)(time.monotonic() + 60)
    assert refused == [True]
    assert not link.in_midst
    assert (run or _payloads(link)) == [b"one"]


# The end


def test_one_caller_emits_the_end() -> None:
    """Nothing is sent after it."""
    script = Script()
    link = _link(script)
    link.announce()
    assert [link.end(who) for who in ("first", "second", "third")] == [True, False, False]
    with link.sending, pytest.raises(NotConnected):
        link.writer.send(Peer.masked(TEXT, b"late"), 1.0)


def test_the_first_reason_stays(pair: tuple[Link, Peer]) -> None:
    """And a thread that waits for input is woken."""
    link, _peer = pair
    link.lose(Loss("local", "reconnect()", fault=False))
    link.lose(Loss("error", "later"))
    assert link.next_run(time.monotonic() + 60) == []
    assert link.loss == Loss("local", "reconnect()", fault=False)


def test_what_the_last_link_received_comes_first() -> None:
    """And belongs to the new link alone."""
    unread: deque[Received] = deque()
    last = _link(Script())
    last.put_back([(TEXT, b"old", 1)])
    last.bequeath(unread)
    link = _link(Script(ONE))
    link.inherit(unread)
    assert (last.inbox, unread) == (deque(), deque())
    assert link.next_run(time.monotonic() + 60) == []
    assert _payloads(link) == [b"old"]


def test_a_link_is_disposed_of_although_another_thread_uses_it(pair: tuple[Link, Peer]) -> None:
    """The descriptor is closed by the next thread that looks; nothing hangs."""
    link, _peer = pair
    with held_elsewhere(link.reading):
        link.dispose()
        assert link.fileno() >= 0
    assert link.next_run(time.monotonic() + 60) == []
    assert link.fileno() == -1
    assert link.waiting() == (0, 0)


@pytest.mark.parametrize("reads", ["next_run", "pump"])
def test_a_link_that_a_signals_handler_disposed_of_is_closed_by_the_interrupted_code(reads: str) -> None:
    """Not before: the number of its descriptor could be another connection's by then."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    held: list[int] = []
    with theirs:
        link = _link(Transport(ours), Limits(0.0, 60.0))  # a ping is due at once

        def observed() -> bool:
            link.dispose()
            held.append(link.fileno())
            return True

        link.notes_heartbeats = observed
        getattr(link, reads)(time.monotonic() + 60)
        assert held[0] >= 0
        assert link.fileno() == -1
