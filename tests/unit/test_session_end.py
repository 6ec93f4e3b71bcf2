"""One connection without a socket: what is owed, the close handshake, breaches, the end, and how much may wait."""

import pytest

from tests.unit.feed import MESSAGE, Feed
from wsnova_statsd.link.frames import BINARY, CLOSE, PING, TEXT, Violation
from wsnova_statsd.link.session import Limits, Loss, Session, cut
from wsnova_statsd.testing.tcp import server_frame

GOODBYE = server_frame(CLOSE, b"\x03\xf5later")  # 1013


# What is owed


def test_pings_are_owed_their_pongs_the_latest_thousand() -> None:
    """With the payload, in order (section 5.5.3 lets older ones go)."""
    session = Feed()
    session.at(101.0, server_frame(PING, b"a"), MESSAGE, server_frame(PING, b"b"))
    assert [*session.pongs_owed] == [b"a", b"b"]
    session.at(102.0, b"".join(server_frame(PING, str(number).encode()) for number in range(2_000)))
    assert [*session.pongs_owed] == [str(number).encode() for number in range(1_000, 2_000)]


def test_messages_wait_in_order_with_the_stamp_of_their_read() -> None:
    """Fragments are joined and carry the stamp of the last one; control frames are no messages."""
    session = Feed()
    session.receive(MESSAGE + server_frame(TEXT, b"in ", fin=False) + server_frame(PING), 101.0, 1)
    session.receive(server_frame(0, b"two") + server_frame(BINARY, b"last"), 102.0, 2)
    assert [*session.inbox] == [(TEXT, b"message", 1), (TEXT, b"in two", 2), (BINARY, b"last", 2)]
    assert (session.arrived, session.last_byte) == (3, 102.0)


def test_a_run_bypasses_the_inbox_up_to_a_message_of_another_kind() -> None:
    """Messages that it would overtake stay after it, in order; all are counted."""
    session = Feed()
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
    session = Feed()
    loss = session.at(101.0, MESSAGE + GOODBYE + MESSAGE)
    assert loss == Loss("close_1013", "later")
    assert session.close_owed == b"\x03\xf5"
    assert len(session.inbox) == 1


def test_a_close_frame_without_a_code_is_answered_without_one() -> None:
    """Close code 1005 never goes over the wire."""
    session = Feed()
    assert session.at(101.0, server_frame(CLOSE)) == Loss("close_1005", "")
    assert session.close_owed == b""


def test_the_answer_to_our_close_frame_is_no_fault() -> None:
    """With any code; nothing more is owed."""
    session = Feed()
    session.close_sent = True
    assert session.at(101.0, MESSAGE, server_frame(CLOSE, b"\x03\xe8")) == Loss("local", "", fault=False)
    assert session.close_owed is None


@pytest.mark.parametrize(("payload", "code"), [(b"\x03", 1002), (b"\x03\xed", 1002), (b"\x03\xe8\xff", 1007)])
def test_an_invalid_close_frame_is_a_breach(payload: bytes, code: int) -> None:
    """Half a code, one that must not be sent, a reason that is no UTF-8."""
    session = Feed()
    session.at(101.0, server_frame(CLOSE, payload))
    session.judge()
    assert session.close_owed == code.to_bytes(2, "big")
    assert session.loss is not None
    assert session.loss.reason == "protocol_error"


# A breach, and the end


def test_a_breach_takes_effect_when_what_came_before_it_is_handled() -> None:
    """Until then the link may be written to: messages before it may be answered."""
    session = Feed()
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
    """A text that is no UTF-8, which only the decoder finds."""
    session = Feed()
    session.breach(Violation(1007, "a text message is not UTF-8"))
    assert session.close_owed == (1007).to_bytes(2, "big")
    assert session.loss == Loss("protocol_error", "a text message is not UTF-8")


def test_an_end_without_a_close_frame_is_1006() -> None:
    """Whichever side noticed; the first reason stays."""
    session = Feed()
    session.ended()
    assert session.loss == cut()
    assert cut().reason == "close_1006"
    session.ended(Loss("error", "later"))
    assert session.loss == cut()


def test_an_end_after_a_breach_is_the_breach() -> None:
    """A server that breaks the protocol and disconnects."""
    session = Feed()
    session.at(101.0, server_frame(0x3))
    session.ended()
    assert session.loss is not None
    assert session.loss.reason == "protocol_error"


def test_an_end_after_the_servers_close_frame_has_its_reason() -> None:
    """The reset that follows does not matter."""
    session = Feed()
    session.at(101.0, GOODBYE)
    session.ended(cut("reset"))
    assert session.loss == Loss("close_1013", "later")


def test_what_arrived_before_a_write_failed_is_read_first() -> None:
    """Then the reason is the server's, if it sent one; otherwise that of the write."""
    for goodbye, reason in ((GOODBYE, "close_1013"), (b"", "error")):
        session = Feed(None)
        session.write_failed(Loss("error", "the peer accepted no data"))
        session.write_failed(Loss("error", "another one"))
        assert session.due == 0.0, "the reader looks at once"
        assert session.at(101.0, MESSAGE, dry=False) is None
        loss = session.at(102.0, *([goodbye] if goodbye else []))
        assert loss is not None
        assert loss.reason == reason
        assert loss.detail in ("later", "the peer accepted no data")
        assert len(session.inbox) == 1


def test_an_end_after_a_failed_write_has_the_reason_of_the_write() -> None:
    """The stream is over because it was."""
    session = Feed()
    session.write_failed(cut("BrokenPipeError"))
    session.ended()
    assert session.loss == cut("BrokenPipeError")


# The buffer limit


def test_no_more_may_be_read_once_the_limit_waits() -> None:
    """A sixteenth below it at the latest; again when half of it is free."""
    session = Feed(max_buffered_bytes=100_000)
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


def test_empty_messages_count_too() -> None:
    """A flood of them is bounded: a waiting message needs memory beside its payload."""
    session = Feed(max_buffered_bytes=100_000)
    while session.buffer.allows(session.arrived, session.arrived_bytes):
        session.receive(server_frame(TEXT), 101.0, 1)
    assert len(session.inbox) <= 1_001


def test_what_is_delivered_does_not_count() -> None:
    """A million messages pass an inbox that never holds more than one."""
    session = Feed(max_buffered_bytes=10_000)
    for _ in range(10_000):
        assert session.buffer.allows(session.arrived, session.arrived_bytes)
        session.receive(MESSAGE, 101.0, 1)
        session.inbox.clear()


def test_a_full_buffer_is_noticed_once_per_absence() -> None:
    """Not again before the owner has caught up."""
    session = Feed(max_buffered_bytes=1_000)
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
    """One read of it may inflate a thousandfold: the rest is read later, and nothing is lost."""
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
