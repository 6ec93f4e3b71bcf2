"""One connection without a socket: bytes and numbers for time in, what is owed and why it ends out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsnova_statsd.client.frames import BINARY, CLOSE, PING, PONG, TEXT, Violation
from wsnova_statsd.client.session import NEVER, Limits, Loss, Session, cut
from wsnova_statsd.testing.tcp import server_frame

BIG = server_frame(BINARY, bytes(100_000))  # a message that takes its time
GOODBYE = server_frame(CLOSE, b"\x03\xf5later")  # 1013
MESSAGE = server_frame(TEXT, b"message")


class _Feed(Session):
    """A session and its clock. What is due is done as the link does it, with a peer that takes all that is sent."""

    def __init__(
        self, interval: float | None = 5.0, timeout: float = 3.0, *, idle: float | None = None, **limits: int
    ) -> None:
        self.now = 100.0
        self.pings: list[bytes] = []
        super().__init__(Limits(interval, timeout, idle, **limits), self.now)

    def at(self, now: float, *frames: bytes, dry: bool = True) -> Loss | None:
        """What has arrived by then is taken in, and then the clock looked at; why the link is over, if it is."""
        self.now = now
        for data in frames:
            self.receive(data, now, round(now * 1e9))
        self.tick(now, dry=dry)
        if self.ping_due:
            self.pings.append(self.ping(now))
            self.pinged(self.pings[-1], now, written=True)
        return self.loss

    def through(self, now: float, *frames: bytes) -> Loss | None:
        """The same, and on the way there whatever is due is done at its moment."""
        while self.loss is None and self.due < now:
            self.at(self.due)
        return self.at(now, *frames)

    def pong(self, payload: bytes | None = None) -> bytes:
        """The answer to the latest ping, or to any."""
        return server_frame(PONG, self.pings[-1] if payload is None else payload)

    def noticed(self) -> list[str]:
        """What was noticed so far, without numbers."""
        return [name for name, _ in self.notices]


# When to ping


def test_the_first_ping_is_due_after_one_interval() -> None:
    """Not a moment before, and at the very moment; `due` says when to look."""
    session = _Feed(5.0, 3.0)
    assert session.due == 105.0
    session.at(104.999)
    assert session.pings == []
    session.at(105.0)
    assert len(session.pings) == 1
    assert session.noticed() == ["sent"]
    assert session.due == 108.0


def test_without_an_interval_there_are_no_pings() -> None:
    """Nothing is ever due, and no silence ends the link."""
    session = _Feed(None, 3.0)
    assert session.due == NEVER
    assert session.at(1e9) is None
    assert (session.pings, session.notices) == ([], [])


def test_an_answer_gives_the_round_trip_and_the_rhythm_goes_on() -> None:
    """The round trip is exact, in nanoseconds; the next ping is due an interval after the last."""
    session = _Feed(5.0, 3.0)
    session.at(105.0)
    assert session.at(105.25, session.pong()) is None
    assert session.notices == [("sent", 0), ("received", 250_000_000)]
    assert session.due == 110.0
    session.at(110.0)
    assert session.noticed() == ["sent", "received", "sent"]


def test_one_ping_at_a_time() -> None:
    """No second ping goes out while the first may still be answered in time, if the timeout is the longer one."""
    session = _Feed(1.0, 10.0)
    session.at(101.0)
    for now in (102.0, 105.0, 110.9):
        session.at(now)
        assert len(session.pings) == 1
        assert session.due == 111.0  # or its caller would spin
    session.at(110.95, session.pong())
    assert len(session.pings) == 2  # the interval had long passed
    assert session.noticed() == ["sent", "received", "sent"]


def test_payloads_cannot_be_guessed() -> None:
    """A thousand pings carry a thousand payloads of eight bytes."""
    session = _Feed(1.0, 1.0)
    for number in range(1_000):
        session.at(101.0 + number)
        session.at(101.0 + number, session.pong())
    assert len(set(session.pings)) == 1_000
    assert {len(payload) for payload in session.pings} == {8}


def test_a_ping_that_could_not_leave_is_the_next_one_and_counts_when_it_does() -> None:
    """Its deadline begins when it is written; what never left is not missed. A peer that takes nothing has as long to
    show life."""
    session = Session(Limits(5.0, 3.0), 100.0)
    session.tick(105.0, dry=True)
    assert session.ping_due
    session.pinged(session.ping(105.0), 105.0, written=False)
    assert session.ping_due
    assert session.due == 108.0
    session.tick(107.0, dry=True)
    payload = session.ping(107.0)
    session.pinged(payload, 107.0, written=True)
    assert not session.ping_due
    session.tick(109.9, dry=True)
    assert session.notices == [("sent", 0)]
    session.receive(server_frame(PONG, payload), 109.9, 0)
    assert session.notices == [("sent", 0), ("received", 2_900_000_000)]

    silent = Session(Limits(5.0, 3.0), 100.0)
    silent.tick(105.0, dry=True)
    silent.pinged(silent.ping(105.0), 105.0, written=False)
    silent.tick(107.9, dry=True)
    assert silent.loss is None
    silent.tick(108.0, dry=True)
    assert silent.loss is not None
    assert silent.loss.reason == "ping_timeout"
    assert silent.notices == []


# Life is what arrives


def test_silence_ends_the_link_at_the_deadline() -> None:
    """pong_timeout after the ping, no earlier; the missing pong is noticed once."""
    session = _Feed(5.0, 3.0)
    assert session.at(105.0) is None
    assert session.at(107.999) is None
    loss = session.at(108.0)
    assert loss is not None
    assert (loss.reason, loss.fault) == ("ping_timeout", True)
    session.at(120.0)
    assert session.noticed() == ["sent", "missed"]


def test_messages_without_pongs_are_a_sign_of_life() -> None:
    """A pong behind a busy feed costs no link; each missing one is noticed once, and the pings go on."""
    session = _Feed(5.0, 3.0)
    for tenths in range(1, 400):
        assert session.at(100.0 + tenths / 10, MESSAGE) is None
    assert session.noticed() == ["sent", "missed"] * 7
    assert len(session.inbox) == 399
    assert session.at(140.0) is None
    assert session.at(142.9) is None
    loss = session.at(143.0)
    assert loss is not None
    assert loss.reason == "ping_timeout"


@pytest.mark.parametrize(
    "frame", [server_frame(PING), server_frame(PONG), server_frame(TEXT), server_frame(PONG, b"?")]
)
def test_any_whole_frame_is_a_sign_of_life(frame: bytes) -> None:
    """Empty ones, control frames, a pong that nobody asked for: the silence begins anew, no round trip comes of it."""
    session = _Feed(5.0, 3.0)
    session.at(105.0)
    session.at(107.0, frame)
    assert session.at(109.9) is None
    loss = session.at(110.0)
    assert loss is not None
    assert loss.reason == "ping_timeout"
    assert session.noticed() == ["sent", "missed"]


def test_a_fragment_is_a_whole_frame() -> None:
    """The message is under way, piece by piece."""
    session = _Feed(5.0, 3.0)
    session.at(105.0)
    session.at(107.0, server_frame(TEXT, b"part", fin=False))
    assert session.at(109.9) is None
    assert session.at(110.0) is not None


@pytest.mark.parametrize(("piece", "lives"), [(1024, True), (1023, False), (1, False)])
def test_a_large_message_on_a_slow_link_needs_a_kilobyte_per_timeout(piece: int, lives: bool) -> None:
    """At least 1 KiB of an unfinished frame is life; less is a dribble, which ends the link."""
    session, rest = _Feed(5.0, 3.0), memoryview(BIG)
    rest = rest[2000:]
    session.at(100.0, bytes(BIG[:2000]))
    losses = []
    for number in range(1, 20):
        losses.append(session.through(100.0 + 2.9 * number, bytes(rest[:piece])))
        rest = rest[piece:]
    assert (losses[-1] is None) == lives
    assert lives or losses[3] is not None
    assert not session.inbox


def test_silence_is_not_judged_while_something_waits_to_be_read() -> None:
    """A pong may be behind it. A pong that does not come for as long again is noticed, and costs nothing yet."""
    session = _Feed(50.0, 3.0)
    session.at(150.0)
    assert session.at(153.5, dry=False) is None
    assert session.noticed() == ["sent"]
    assert session.at(156.0, dry=False) is None
    assert session.noticed() == ["sent", "missed"]
    assert session.at(156.1, dry=True) is not None
    assert session.noticed() == ["sent", "missed"]


def test_while_nothing_is_read_on_purpose_no_pong_is_missed() -> None:
    """The buffer is full: the ping that waits for its answer is forgotten, the next one goes in its time."""
    session = _Feed(5.0, 3.0)
    session.at(105.0)
    session.suspend()
    assert session.due == 110.0
    assert session.at(109.9) is None
    assert session.at(110.0) is None
    assert session.noticed() == ["sent", "sent"]


def test_a_late_pong_gives_its_round_trip() -> None:
    """And stands for the pings before it; that of the latest ping is still waited for."""
    session = _Feed(2.0, 1.0)
    session.at(102.0, MESSAGE)
    for now in (103.0, 104.0, 105.0):
        assert session.at(now, MESSAGE) is None
    assert session.noticed() == ["sent", "missed", "sent", "missed"]
    first, second = session.pings
    session.at(105.5, session.pong(first), MESSAGE)
    assert session.notices[-1] == ("received", 3_500_000_000)
    session.at(105.6, session.pong(second), session.pong(second), session.pong(first))
    assert session.notices[-1] == ("received", 1_600_000_000)
    assert session.noticed().count("received") == 2


def test_a_pong_nobody_asked_for_answers_nothing() -> None:
    """Unsolicited, forged and doubled pongs leave the ping unanswered."""
    session = _Feed(5.0, 3.0)
    session.at(101.0, server_frame(PONG, b""))
    session.at(105.0, server_frame(PONG, b"forged.."))
    session.at(105.1, server_frame(PONG, b"forged.."))
    assert session.noticed() == ["sent"]
    session.at(106.0, session.pong(), session.pong())
    assert session.noticed() == ["sent", "received"]


_STEPS = st.lists(st.tuples(st.floats(0.01, 50), st.sampled_from(["", "pong", "message", "late"])), max_size=30)


@given(st.floats(0.1, 100), st.floats(0.1, 100), _STEPS)
def test_a_peer_that_shows_life_is_never_given_up_and_one_that_does_not_always_is(
    interval: float, timeout: float, steps: list[tuple[float, str]]
) -> None:
    """Whatever the steps of time: lost means exactly that the latest ping has no pong in time and that nothing arrived
    for as long; missed is noticed once for each such ping, whether the link ends or not."""
    session = _Feed(interval, timeout)
    now = life = 100.0
    waiting: float | None = None  # when the ping left that has no pong
    missed = pings = 0
    judged = False
    for step, kind in steps:
        now += step
        frames = []
        if kind == "message":
            frames.append(MESSAGE)
        elif session.pings and kind == "pong":
            frames.append(session.pong())
            waiting = None
        elif kind == "late" and session.pings:
            frames.append(session.pong(session.pings[0]))
            waiting = None if len(session.pings) == 1 else waiting
        life = now if frames else life
        loss = session.at(now, *frames)
        overdue = waiting is not None and now >= waiting + timeout
        if overdue and not judged:
            judged, missed = True, missed + 1
        assert session.noticed().count("missed") == missed
        assert (loss is not None) == (overdue and now >= life + timeout)
        if loss is not None:
            assert loss.reason == "ping_timeout"
            return
        if len(session.pings) > pings:
            assert len(session.pings) == pings + 1
            pings, waiting, judged = pings + 1, now, False
        assert session.due > now


# Idle


def test_an_idle_feed_is_left() -> None:
    """At the very moment, also without pings; `due` says when."""
    session = _Feed(None, 3.0, idle=10.0)
    assert session.due == 110.0
    assert session.at(109.9) is None
    loss = session.at(110.0)
    assert loss is not None
    assert loss.reason == "idle"


@pytest.mark.parametrize("frame", [MESSAGE, server_frame(BINARY), server_frame(PONG, b"x")])
def test_whole_messages_and_pongs_are_no_idleness(frame: bytes) -> None:
    """What the limit counts begins anew with each."""
    session = _Feed(None, 3.0, idle=10.0)
    session.at(109.0, frame)
    assert session.at(118.9) is None
    assert session.at(119.0) is not None


@pytest.mark.parametrize("data", [server_frame(PING), server_frame(TEXT, b"x", fin=False), BIG[:50_000]])
def test_pings_and_pieces_of_messages_leave_a_feed_idle(data: bytes) -> None:
    """A server that only pings, or never ends its message, brings nothing."""
    session = _Feed(None, 3.0, idle=10.0)
    session.at(109.0, data)
    assert session.at(110.0) is not None


def test_idleness_is_not_judged_while_something_waits_to_be_read() -> None:
    """It may be a message."""
    session = _Feed(None, 3.0, idle=10.0)
    assert session.at(130.0, dry=False) is None
    session.at(130.0, MESSAGE)
    assert session.at(139.9) is None


# What is owed


def test_pings_are_owed_their_pongs_the_latest_thousand() -> None:
    """With the payload, in order (section 5.5.3 lets older ones go)."""
    session = _Feed()
    session.at(101.0, server_frame(PING, b"a"), MESSAGE, server_frame(PING, b"b"))
    assert [*session.pongs_owed] == [b"a", b"b"]
    session.at(102.0, b"".join(server_frame(PING, str(number).encode()) for number in range(2_000)))
    assert [*session.pongs_owed] == [str(number).encode() for number in range(1_000, 2_000)]


def test_messages_wait_in_order_with_the_stamp_of_their_read() -> None:
    """Fragments are joined and carry the stamp of the last one; control frames are no messages."""
    session = _Feed()
    session.receive(MESSAGE + server_frame(TEXT, b"in ", fin=False) + server_frame(PING), 101.0, 1)
    session.receive(server_frame(0, b"two") + server_frame(BINARY, b"last"), 102.0, 2)
    assert [*session.inbox] == [(TEXT, b"message", 1), (TEXT, b"in two", 2), (BINARY, b"last", 2)]
    assert (session.arrived, session.last_byte) == (3, 102.0)


def test_a_run_goes_past_the_inbox_up_to_what_is_of_another_kind() -> None:
    """What it would overtake stays behind it, in order; all of it is counted."""
    session = _Feed()
    bulk: list[bytes] = []
    data = MESSAGE + MESSAGE + server_frame(BINARY, b"other") + MESSAGE
    assert session.receive(data, 101.0, 7, bulk) == TEXT
    assert bulk == [b"message"] * 2
    assert [*session.inbox] == [(BINARY, b"other", 7), (TEXT, b"message", 7)]
    single: list[bytes] = []
    assert session.receive(MESSAGE, 102.0, 8, single) == TEXT
    assert single == [b"message"]
    assert (session.arrived, session.arrived_bytes) == (5, len(data) + len(MESSAGE))


# The close handshake


def test_a_close_frame_is_answered_with_its_code_and_ends_the_link() -> None:
    """RFC 6455, section 5.5.1; the reason is the server's, after the messages before it."""
    session = _Feed()
    loss = session.at(101.0, MESSAGE + GOODBYE + MESSAGE)
    assert loss == Loss("close_1013", "later")
    assert session.close_owed == b"\x03\xf5"
    assert len(session.inbox) == 1


def test_a_close_frame_without_a_code_is_answered_without_one() -> None:
    """Close code 1005 never goes over the wire."""
    session = _Feed()
    assert session.at(101.0, server_frame(CLOSE)) == Loss("close_1005", "")
    assert session.close_owed == b""


def test_the_answer_to_our_close_frame_is_no_fault() -> None:
    """Whatever code it has; nothing more is owed."""
    session = _Feed()
    session.close_sent = True
    assert session.at(101.0, MESSAGE, server_frame(CLOSE, b"\x03\xe8")) == Loss("local", "", fault=False)
    assert session.close_owed is None


@pytest.mark.parametrize(("payload", "code"), [(b"\x03", 1002), (b"\x03\xed", 1002), (b"\x03\xe8\xff", 1007)])
def test_a_close_frame_that_is_none_is_a_breach(payload: bytes, code: int) -> None:
    """Half a code, one that must not be sent, a reason that is no UTF-8."""
    session = _Feed()
    session.at(101.0, server_frame(CLOSE, payload))
    session.judge()
    assert session.close_owed == code.to_bytes(2, "big")
    assert session.loss is not None
    assert session.loss.reason == "protocol_error"


# A breach, and the end


def test_a_breach_is_acted_upon_when_what_came_before_it_is_dealt_with() -> None:
    """Until then the link may be written to: messages before it may be answered."""
    session = _Feed()
    assert session.at(101.0, MESSAGE + server_frame(0x3) + MESSAGE) is None
    assert (len(session.inbox), session.close_owed) == (1, None)
    session.at(102.0, MESSAGE)
    assert len(session.inbox) == 1, "nothing behind it is read"
    session.caught_up()
    assert session.loss is None
    session.inbox.clear()
    session.caught_up()
    assert session.close_owed == (1002).to_bytes(2, "big")
    assert session.loss == Loss("protocol_error", "opcode 3 is reserved")


def test_what_the_session_cannot_see_is_a_breach_at_once() -> None:
    """A text that is no UTF-8, which the one who decodes it finds."""
    session = _Feed()
    session.breach(Violation(1007, "a text message is not UTF-8"))
    assert session.close_owed == (1007).to_bytes(2, "big")
    assert session.loss == Loss("protocol_error", "a text message is not UTF-8")


def test_an_end_without_a_close_frame_is_1006() -> None:
    """Whoever noticed; the first reason stays."""
    session = _Feed()
    session.ended()
    assert session.loss == cut()
    assert cut().reason == "close_1006"
    session.ended(Loss("error", "later"))
    assert session.loss == cut()


def test_an_end_behind_a_breach_is_the_breach() -> None:
    """A server that breaks the protocol and goes."""
    session = _Feed()
    session.at(101.0, server_frame(0x3))
    session.ended()
    assert session.loss is not None
    assert session.loss.reason == "protocol_error"


def test_an_end_after_the_servers_goodbye_is_the_goodbye() -> None:
    """The reset that follows tells nothing."""
    session = _Feed()
    session.at(101.0, GOODBYE)
    session.ended(cut("reset"))
    assert session.loss == Loss("close_1013", "later")


def test_what_arrived_before_a_write_failed_is_read_first() -> None:
    """Then the reason is the server's, if it gave one; else that of the write."""
    for goodbye, reason in ((GOODBYE, "close_1013"), (b"", "error")):
        session = _Feed(None)
        session.write_failed(Loss("error", "the peer took no byte"))
        session.write_failed(Loss("error", "another one"))
        assert session.due == 0.0, "the reader looks at once"
        assert session.at(101.0, MESSAGE, dry=False) is None
        loss = session.at(102.0, *([goodbye] if goodbye else []))
        assert loss is not None
        assert loss.reason == reason
        assert loss.detail in ("later", "the peer took no byte")
        assert len(session.inbox) == 1


def test_an_end_after_a_failed_write_is_the_write_s() -> None:
    """The stream is over because it was."""
    session = _Feed()
    session.write_failed(cut("BrokenPipeError"))
    session.ended()
    assert session.loss == cut("BrokenPipeError")


# The buffer limit


def test_no_more_may_be_read_once_the_limit_waits() -> None:
    """A sixteenth below it at the latest; again when half of it is free."""
    session = _Feed(max_buffered_bytes=100_000)
    allowed = 0
    while session.buffer.allows(session.arrived, session.arrived_bytes):
        session.receive(server_frame(BINARY, bytes(900)), 101.0, 1)
        allowed += 1
    assert 90 <= allowed <= 101
    assert session.buffer.full
    for _ in range(allowed // 2 + 10):
        assert session.buffer.full
        session.inbox.popleft()
        session.buffer.allows(session.arrived, session.arrived_bytes)
        if not session.buffer.full:
            break
    assert not session.buffer.full
    assert len(session.inbox) <= 50_000 // 1000 + 1


def test_empty_messages_weigh_too() -> None:
    """A flood of them is bounded: a waiting message takes memory beside its payload."""
    session = _Feed(max_buffered_bytes=100_000)
    while session.buffer.allows(session.arrived, session.arrived_bytes):
        session.receive(server_frame(TEXT), 101.0, 1)
    assert len(session.inbox) <= 1_001


def test_what_is_handed_out_does_not_count() -> None:
    """A million messages pass an inbox that never holds more than one."""
    session = _Feed(max_buffered_bytes=10_000)
    for _ in range(10_000):
        assert session.buffer.allows(session.arrived, session.arrived_bytes)
        session.receive(MESSAGE, 101.0, 1)
        session.inbox.clear()


def test_a_full_buffer_is_noticed_once_per_absence() -> None:
    """Not again before the owner has caught up."""
    session = _Feed(max_buffered_bytes=1_000)
    session.receive(server_frame(BINARY, bytes(2_000)), 101.0, 1)
    assert not session.buffer.allows(session.arrived, session.arrived_bytes)
    assert session.buffer.newly_full()
    assert not session.buffer.newly_full()
    session.inbox.clear()
    session.caught_up()
    assert not session.buffer.full
    assert not session.buffer.newly_full()
    session.receive(server_frame(BINARY, bytes(2_000)), 102.0, 1)
    assert not session.buffer.allows(session.arrived, session.arrived_bytes)
    assert session.buffer.newly_full()


def test_deflated_data_stops_at_the_limit_plus_one_message() -> None:
    """One read of it may inflate a thousandfold: the rest is gone on with later, and lost nowhere."""
    frames = [server_frame(BINARY, b"%d" % number, rsv=4) for number in range(50)]
    session = Session(Limits(None, 3.0, None, 10_000, 30_000), 100.0, lambda data: data.ljust(10_000, b"-"))
    session.receive(b"".join(frames), 101.0, 1)
    assert session.unfinished
    assert 3 <= len(session.inbox) <= 4
    assert session.inflated_bytes <= 30_000 + 10_000
    reads = 0
    while session.unfinished:
        session.receive(b"", 102.0, 2)
        reads += 1
    assert [payload.rstrip(b"-") for _, payload, _ in session.inbox] == [b"%d" % number for number in range(50)]
    assert reads >= 10
    assert session.arrived == 50
