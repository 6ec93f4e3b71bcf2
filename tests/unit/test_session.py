"""One connection without a socket: bytes and numbers for time in; when it pings, what counts as life, when it is
idle."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.feed import BIG, MESSAGE, Feed
from wsnova_statsd.link.frames import BINARY, PING, PONG, TEXT
from wsnova_statsd.link.session import NEVER, Limits, Session
from wsnova_statsd.testing.tcp import server_frame

# When to ping


def test_the_first_ping_is_due_after_one_interval() -> None:
    """Not a moment before, and at the very moment; `due` says when to look."""
    session = Feed(5.0, 3.0)
    assert session.due == 105.0
    session.at(104.999)
    assert session.pings == []
    session.at(105.0)
    assert len(session.pings) == 1
    assert session.noticed() == ["sent"]
    assert session.due == 108.0


def test_without_an_interval_there_are_no_pings() -> None:
    """Nothing is ever due, and no silence ends the link."""
    session = Feed(None, 3.0)
    assert session.due == NEVER
    assert session.at(1e9) is None
    assert (session.pings, session.notices) == ([], [])


def test_an_answer_gives_the_round_trip_and_the_rhythm_goes_on() -> None:
    """The round trip is exact, in nanoseconds; the next ping is due an interval after the last."""
    session = Feed(5.0, 3.0)
    session.at(105.0)
    assert session.at(105.25, session.pong()) is None
    assert session.notices == [("sent", 0), ("received", 250_000_000)]
    assert session.due == 110.0
    session.at(110.0)
    assert session.noticed() == ["sent", "received", "sent"]


def test_one_ping_at_a_time() -> None:
    """No second ping is sent while the first may still be answered in time, if the timeout is the longer one."""
    session = Feed(1.0, 10.0)
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
    session = Feed(1.0, 1.0)
    for number in range(1_000):
        session.at(101.0 + number)
        session.at(101.0 + number, session.pong())
    assert len(set(session.pings)) == 1_000
    assert {len(payload) for payload in session.pings} == {8}


def test_a_ping_that_could_not_be_sent_is_the_next_one_and_counts_once_it_is_sent() -> None:
    """Its deadline begins when it is written; an unsent ping is not missed. A peer that reads nothing has as long to
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
    session = Feed(5.0, 3.0)
    assert session.at(105.0) is None
    assert session.at(107.999) is None
    loss = session.at(108.0)
    assert loss is not None
    assert (loss.reason, loss.fault) == ("ping_timeout", True)
    session.at(120.0)
    assert session.noticed() == ["sent", "missed"]


def test_messages_without_pongs_are_a_sign_of_life() -> None:
    """A pong after many messages costs no link; each missing one is noticed once, and the pings go on."""
    session = Feed(5.0, 3.0)
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
    """Empty ones, control frames, an unsolicited pong: the silence begins anew, without a round trip."""
    session = Feed(5.0, 3.0)
    session.at(105.0)
    session.at(107.0, frame)
    assert session.at(109.9) is None
    loss = session.at(110.0)
    assert loss is not None
    assert loss.reason == "ping_timeout"
    assert session.noticed() == ["sent", "missed"]


def test_progress_of_a_large_message_that_we_send_is_a_sign_of_life() -> None:
    """The ping is still waiting after it; the missing pong is noticed."""
    session = Feed(5.0, 3.0)
    session.at(105.0)
    session.moved(107.0)
    assert session.at(109.9) is None
    assert session.noticed() == ["sent", "missed"]
    assert session.at(110.0) is not None


def test_a_fragment_is_a_whole_frame() -> None:
    """The message is under way, piece by piece."""
    session = Feed(5.0, 3.0)
    session.at(105.0)
    session.at(107.0, server_frame(TEXT, b"part", fin=False))
    assert session.at(109.9) is None
    assert session.at(110.0) is not None


@pytest.mark.parametrize(("piece", "lives"), [(1024, True), (1023, False), (1, False)])
def test_a_large_message_on_a_slow_link_needs_a_kilobyte_per_timeout(piece: int, lives: bool) -> None:
    """At least 1 KiB of an unfinished frame is life; less is a dribble, which ends the link."""
    session, rest = Feed(5.0, 3.0), memoryview(BIG)
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
    """A pong may come after it. A pong that does not come for as long again is noticed, and costs nothing yet."""
    session = Feed(50.0, 3.0)
    session.at(150.0)
    assert session.at(153.5, dry=False) is None
    assert session.noticed() == ["sent"]
    assert session.at(156.0, dry=False) is None
    assert session.noticed() == ["sent", "missed"]
    assert session.at(156.1, dry=True) is not None
    assert session.noticed() == ["sent", "missed"]


def test_while_reading_is_paused_no_pong_is_missed() -> None:
    """The buffer is full: the ping that waits for its answer is forgotten, the next one is sent in time."""
    session = Feed(5.0, 3.0)
    session.at(105.0)
    session.suspend()
    assert session.due == 110.0
    assert session.at(109.9) is None
    assert session.at(110.0) is None
    assert session.noticed() == ["sent", "sent"]


def test_a_late_pong_gives_its_round_trip() -> None:
    """And answers the pings before it; the pong of the latest ping is still awaited."""
    session = Feed(2.0, 1.0)
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


def test_an_unsolicited_pong_answers_nothing() -> None:
    """Unsolicited, forged and duplicate pongs leave the ping unanswered."""
    session = Feed(5.0, 3.0)
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
    """For any steps of time: lost means exactly that the latest ping has no pong in time and that nothing arrived
    for as long; missed is noticed once for each such ping, whether the link ends or not."""
    session = Feed(interval, timeout)
    now = life = 100.0
    waiting: float | None = None  # when the ping without a pong was sent
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


def test_an_idle_feed_is_disconnected() -> None:
    """At the very moment, also without pings; `due` says when."""
    session = Feed(None, 3.0, idle=10.0)
    assert session.due == 110.0
    assert session.at(109.9) is None
    loss = session.at(110.0)
    assert loss is not None
    assert loss.reason == "idle"


@pytest.mark.parametrize("frame", [MESSAGE, server_frame(BINARY), server_frame(PONG, b"x")])
def test_whole_messages_and_pongs_end_idleness(frame: bytes) -> None:
    """The time to the limit begins anew with each."""
    session = Feed(None, 3.0, idle=10.0)
    session.at(109.0, frame)
    assert session.at(118.9) is None
    assert session.at(119.0) is not None


@pytest.mark.parametrize("data", [server_frame(PING), server_frame(TEXT, b"x", fin=False), BIG[:50_000]])
def test_pings_and_pieces_of_messages_leave_a_feed_idle(data: bytes) -> None:
    """A server that only pings, or never ends its message, brings nothing."""
    session = Feed(None, 3.0, idle=10.0)
    session.at(109.0, data)
    assert session.at(110.0) is not None


def test_idleness_is_not_judged_while_something_waits_to_be_read() -> None:
    """It may be a message."""
    session = Feed(None, 3.0, idle=10.0)
    assert session.at(130.0, dry=False) is None
    session.at(130.0, MESSAGE)
    assert session.at(139.9) is None
