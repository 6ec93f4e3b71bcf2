"""Sending a message: its frame, its events, its sums, and what stops it. The other end of the link is a socket."""

import dis
import json
import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType, SimpleNamespace
from typing import Any

import pytest
import websocket
from hypothesis import given
from hypothesis import strategies as st

import wsnova_statsd as ws
from tests.faults.interrupting import out_of_reach
from tests.unit.peer import Peer, held_elsewhere
from tests.unit.test_retry import _Sleep
from wsnova_statsd import events
from wsnova_statsd.client import sender as sender_module
from wsnova_statsd.client.emitter import Emitter
from wsnova_statsd.client.faults import Faults
from wsnova_statsd.client.message_types import MessageTypes
from wsnova_statsd.client.options import Options
from wsnova_statsd.client.sender import Sender, data_frame
from wsnova_statsd.errors import EncodeError, NotConnected, RateLimited
from wsnova_statsd.link.flag import Flag
from wsnova_statsd.link.frames import BINARY, TEXT
from wsnova_statsd.link.link import Link
from wsnova_statsd.link.session import Limits, Loss
from wsnova_statsd.link.transport import Transport
from wsnova_statsd.testing.capture import EventLog, capture_events
from wsnova_statsd.testing.clock import FakeClock
from wsnova_statsd.testing.frames import masked_payload

SENT = (events.MESSAGE_ENCODE_STARTED, events.MESSAGE_ENCODE_COMPLETED, events.MESSAGE_SENT)
HEARD = (*SENT, events.MESSAGE_BATCH_PROCESSED, "websockex_nova.error")


@dataclass
class _Sending:
    """A sender, its link and the other end."""

    sender: Sender
    link: Link
    peer: Peer
    bus: ws.Bus
    closing: Flag
    errors: list[Exception]

    def frames(self) -> list[tuple[int, bytes]]:
        """What arrived."""
        return Peer.unmasked(self.peer.sock.recv(65536))


@contextmanager
def _sending(
    protocol: ws.Protocol | None = None,
    profile: ws.Profile = ws.FINANCIAL,
    rate_limit: ws.RateLimit | None = None,
    closing: Flag | None = None,
) -> Iterator[_Sending]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    transport, closing, errors, bus = Transport(ours), closing or Flag(), list[Exception](), ws.Bus()
    link = Link(transport, "ws://feed.example", Limits(None, 60.0))
    emitter = Emitter(bus, profile, "md-1")
    options = Options(
        *("ws://feed.example", "md-1", profile, protocol or ws.JsonProtocol(), None, None, None, (), None, None),
        *(10.0, 1024, 1024, True, None),
        rate_limit=rate_limit,
    )
    connection = SimpleNamespace(link=link, up=lambda _: link, closing=closing)
    sender = Sender(options, emitter, Faults(emitter, "md-1", True, errors.append), MessageTypes(), connection)
    try:
        yield _Sending(sender, link, Peer(theirs), bus, closing, errors)
    finally:
        transport.close()
        theirs.close()


def _names(log: EventLog) -> list[str]:
    return [one.event.removeprefix("websockex_nova.message.") for one in log]


def _sums(made: _Sending, log: EventLog) -> dict[str, int]:
    made.sender.flush()
    (one,) = log.of(events.MESSAGE_BATCH_PROCESSED)
    assert one.metadata["direction"] == "sent"
    return {key: one.measurements[key] for key in ("count", "total_size", "errors", "processed")}


# Frames


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 5, 124, 125, 126, 127, 65535, 65536, 100_001])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_a_frame_is_that_of_websocket_client(opcode: int, size: int) -> None:
    """Under the same key, byte for byte, for every form of a length."""
    payload = os.urandom(size)
    data = data_frame(opcode, payload)
    wide = {126: 2, 127: 8}.get(data[1] & 0x7F, 0)
    key = data[2 + wide : 6 + wide]
    theirs = websocket.ABNF(1, 0, 0, 0, opcode, 1, payload)
    theirs.get_mask_key = lambda _size: key
    assert data == theirs.format()
    assert masked_payload(data[6 + wide :], key) == payload


@given(st.binary(max_size=300))
def test_any_payload_comes_out_unmasked(payload: bytes) -> None:
    """Leading and trailing zeros too."""
    data = data_frame(BINARY, payload)
    start = 6 if len(payload) < 126 else 8
    assert masked_payload(data[start:], data[start - 4 : start]) == payload


def test_a_masking_key_is_used_once() -> None:
    """RFC 6455, section 5.3: drawn from the system, over many refills of the pool."""
    keys = [data_frame(TEXT, b"")[2:] for _ in range(20_000)]
    assert {len(key) for key in keys} == {4}
    assert len(set(keys)) > 19_990  # of 2**32: a pair among them is no repetition


def test_a_forked_child_has_its_own_keys() -> None:
    """Keys that the parent drew stay with the parent."""
    reader, writer = os.pipe()
    data_frame(TEXT, b"")
    child = os.fork()
    if not child:
        os.write(writer, b"".join(data_frame(TEXT, b"")[2:] for _ in range(100)))
        os._exit(0)
    os.waitpid(child, 0)
    mine = {data_frame(TEXT, b"")[2:] for _ in range(100)}
    theirs = os.read(reader, 400)
    os.close(reader)
    os.close(writer)
    assert not mine & {theirs[start : start + 4] for start in range(0, 400, 4)}


# What is emitted


def test_a_message_is_encoded_sent_and_emitted_in_order() -> None:
    """With its type, its size in bytes and its duration; the sums count it."""
    message = {"type": "größe", "n": 1}
    with _sending() as made, capture_events(*HEARD, bus=made.bus) as log:
        assert made.sender.send(message, 0.0) is made.link
        ((opcode, payload),) = made.frames()
        assert (opcode, json.loads(payload)) == (TEXT, message)
        assert _names(log) == ["encode.started", "encode.completed", "sent"]
        started, completed, sent = log
        assert {one.metadata["type"] for one in log} == {"gr__e"}
        assert completed.metadata["result"] == "ok"
        assert (completed.measurements["size"], sent.measurements["size"]) == (len(payload), len(payload))
        assert started.measurements["system_time"] <= sent.measurements["system_time"]
        assert _sums(made, log) == {"count": 1, "total_size": len(payload), "errors": 0, "processed": 0}


def test_ready_text_is_emitted_as_what_is_encoded_and_bytes_as_sent_only() -> None:
    """All three events of a text, with its size in bytes; of bytes nothing is encoded."""
    with _sending() as made, capture_events(*HEARD, bus=made.bus) as log:
        made.sender.send_text("größe", 0.0)
        made.sender.send_binary(b"\0\1", 0.0)
        assert made.frames() == [(TEXT, "größe".encode()), (BINARY, b"\0\1")]
        assert [(one.event, one.metadata["type"], one.measurements.get("size")) for one in log] == [
            (events.MESSAGE_ENCODE_STARTED, "text", None),
            (events.MESSAGE_ENCODE_COMPLETED, "text", 7),
            (events.MESSAGE_SENT, "text", 7),
            (events.MESSAGE_SENT, "binary", 2),
        ]


def test_an_invalid_text_is_emitted_as_a_message_that_cannot_be_encoded() -> None:
    """Refused, as by send: an error that is handled, one message in error each, and nothing is sent."""
    with _sending() as made, capture_events(*HEARD, events.ERROR_HANDLED, bus=made.bus) as log:
        for bad in ("\ud800", b"bytes", None):
            with pytest.raises(EncodeError, match="cannot be encoded"):
                made.sender.send_text(bad, 0.0)  # type: ignore[arg-type]
        assert [one.metadata["result"] for one in log.of(events.MESSAGE_ENCODE_COMPLETED)] == ["error"] * 3
        assert log.count(events.ERROR_OCCURRED) == log.count(events.ERROR_HANDLED) == 3
        assert log.count(events.MESSAGE_SENT) == 0
        assert _sums(made, log) == {"count": 3, "total_size": 0, "errors": 3, "processed": 0}


def test_a_handler_attached_later_gets_the_next_message() -> None:
    """Recorders are made again when the bus has changed; without a handler no type is determined."""
    asked = list[Any]()

    class Typed(ws.JsonProtocol):
        def message_type(self, message: Any) -> str:
            asked.append(message)
            return "t"

    with _sending(Typed()) as made:
        made.sender.send(1, 0.0)
        assert asked == []
        with capture_events(*SENT, bus=made.bus) as log:
            made.sender.send(2, 0.0)
        made.sender.send(3, 0.0)
    assert asked == [2]
    assert _names(log) == ["encode.started", "encode.completed", "sent"]


class _Loud(str):
    """A text whose methods raise."""

    __slots__ = ()

    def __hash__(self) -> int:
        raise RuntimeError("no hash")


class _Sly(str):
    """A text of a known hash that cannot be compared or cut."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no comparison")

    def __hash__(self) -> int:
        return hash("t")

    def __getitem__(self, key: Any) -> Any:
        raise RuntimeError("no part")


def _raises(*_: object) -> Any:
    raise KeyError("type")


@pytest.mark.parametrize(
    "given",
    [_raises, lambda _: None, lambda _: [], lambda _: _Loud("t"), lambda _: _Sly("t")],
    ids=["raises", "none", "list", "no hash", "no comparison"],
)
def test_a_type_that_cannot_be_determined_costs_no_message(given: Callable[[Any], Any]) -> None:
    """It is sent as `unknown`; a type that can be determined is emitted as usual."""

    class Typed(ws.JsonProtocol):
        def message_type(self, message: Any) -> Any:
            return "t" if message == 1 else given(message)

    with _sending(Typed()) as made, capture_events(*SENT, bus=made.bus) as log:
        for number in (1, 2, 2, 1):
            made.sender.send(number, 0.0)
        assert [payload for _, payload in made.frames()] == [b"1", b"2", b"2", b"1"]
    assert [one.metadata["type"] for one in log.of(events.MESSAGE_SENT)] == ["t", "unknown", "unknown", "t"]


# What cannot be sent


def test_what_cannot_be_encoded_is_emitted_in_error_and_raised() -> None:
    """EncodeError with its cause, to the caller alone; nothing is sent, the sums count one in error."""
    with _sending() as made, capture_events(*HEARD, events.ERROR_HANDLED, bus=made.bus) as log:
        with pytest.raises(EncodeError, match="a dict cannot be encoded: TypeError") as caught:
            made.sender.send({"type": "t", "x": object()}, 0.0)
        assert isinstance(caught.value.__cause__, TypeError)
        completed = log.of(events.MESSAGE_ENCODE_COMPLETED)
        assert [(one.metadata["type"], one.metadata["result"]) for one in completed] == [("t", "error")]
        (fault,) = log.of(events.ERROR_OCCURRED)
        assert (fault.metadata["error_type"], fault.metadata["severity"]) == ("encode", "error")
        (handled,) = log.of(events.ERROR_HANDLED)
        assert (handled.metadata["error_id"], handled.metadata["action"]) == (fault.metadata["error_id"], "raised")
        assert made.errors == []
        assert log.count(events.MESSAGE_SENT) == 0
        assert _sums(made, log) == {"count": 1, "total_size": 0, "errors": 1, "processed": 0}


@pytest.mark.parametrize("gives", [7, None, ["x"], {}], ids=["number", "none", "list", "dict"])
def test_what_a_protocol_encodes_to_is_text_or_bytes(gives: Any) -> None:
    """Anything else is an EncodeError: bytes(10**9) would be a gigabyte."""

    class Odd(ws.Protocol):
        def encode(self, message: Any) -> Any:
            return gives

    with _sending(Odd()) as made, pytest.raises(EncodeError, match="not str or bytes"):
        made.sender.send("x", 0.0)


def test_a_send_on_a_link_that_broke_is_an_error_and_not_sent() -> None:
    """NotConnected; the link reports why it broke."""
    with _sending() as made, capture_events(*HEARD, bus=made.bus) as log:
        made.link.lose(Loss("local", "", fault=False))
        with pytest.raises(NotConnected):
            made.sender.send({"type": "t"}, 0.0)
        assert log.count(events.MESSAGE_SENT) == 0
        assert _sums(made, log) == {"count": 1, "total_size": 0, "errors": 1, "processed": 0}


class _Steps:
    """The steps of a frame: its lines, except those that no signal can precede; or what follows each call, where the
    interpreter looks for signals."""

    def __init__(self, event: str) -> None:
        self.event = event
        self._before: dict[FrameType, str] = {}  # the instruction

    def is_one(self, frame: FrameType, event: str) -> bool:
        frame.f_trace_opcodes = self.event == "opcode"
        if event != self.event:
            return False
        if event == "line":
            return not out_of_reach(frame)
        before = self._before.get(frame, "")
        self._before[frame] = dis.opname[frame.f_code.co_code[frame.f_lasti]]
        return before == "RESUME" or before.startswith("CALL")


@pytest.mark.parametrize("event", ["line", "opcode"])
def test_a_frame_that_was_interrupted_after_it_was_sent_counts_as_sent(event: str) -> None:
    """Ctrl-C at every line that writes or counts, and after every call: what the peer got was counted, once, and no
    lock is held."""
    before = sys.gettrace()
    for turn in range(400):
        number, steps = 0, _Steps(event)

        def trace(frame: FrameType, event: str, _arg: object) -> Any:
            nonlocal number
            file = frame.f_code.co_filename.rpartition("/")[2]
            if file in ("transport.py", "link.py", "batch.py", "sender.py") and steps.is_one(frame, event):  # noqa: B023
                number += 1
                if number > turn:  # noqa: B023
                    raise KeyboardInterrupt
            return trace

        with _sending(profile=ws.STANDARD) as made, capture_events(*HEARD, bus=made.bus) as log:
            interrupted = False
            # Python 3.12 checks at settrace whether opcodes are wanted, and not again.
            sys._getframe().f_trace_opcodes = event == "opcode"
            sys.settrace(trace)
            try:
                made.sender.send(1, 0.0)
            except KeyboardInterrupt:
                interrupted = True
            finally:
                sys.settrace(before)
            if not interrupted:
                assert turn > 20
                return
            with held_elsewhere(made.link.sending):  # it can be
                pass
            made.peer.sock.setblocking(False)
            try:
                arrived = len(made.frames())
            except BlockingIOError:
                arrived = 0
            made.sender.flush()
            counted = sum(one.measurements["count"] for one in log.of(events.MESSAGE_BATCH_PROCESSED))
            assert counted == arrived, (turn, interrupted)
    raise AssertionError("the way never ended")


# The rate limit


def test_a_send_over_the_rate_waits_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second per message, after the first; urgent messages do not wait."""
    clock = FakeClock()
    monkeypatch.setattr(sender_module, "time", SimpleNamespace(monotonic=clock))
    sleep = _Sleep(clock)
    with _sending(rate_limit=ws.RateLimit(1.0), closing=sleep) as made:
        for number in range(3):
            made.sender.send(number, 10.0)
        made.sender.send("urgent", 0.0, urgent=True)
        assert len(made.frames()) == 4
    assert clock.sleeps == [1.0, 1.0]


def test_a_send_over_the_rate_that_may_not_wait_is_refused() -> None:
    """RateLimited, one warning, handled as raised; nothing is sent, and nothing is counted as a message."""
    with (
        _sending(rate_limit=ws.RateLimit(0.001, wait=False)) as made,
        capture_events(*HEARD, bus=made.bus) as log,
    ):
        made.sender.send(1, 0.0)
        with pytest.raises(RateLimited):
            made.sender.send(2, 0.0)
        assert len(made.frames()) == 1
        (fault,) = log.of(events.ERROR_OCCURRED)
        assert (fault.metadata["error_type"], fault.metadata["severity"]) == ("rate_limit", "warning")
        assert log.of(events.ERROR_HANDLED)[0].metadata["action"] == "raised"
        assert _sums(made, log)["count"] == 1


def test_a_closed_client_ends_the_wait_for_the_rate() -> None:
    """Nothing is sent; the token is returned."""
    closing = Flag()
    closing.set()
    with _sending(rate_limit=ws.RateLimit(0.001), closing=closing) as made:
        made.sender.send(1, 0.0)
        with pytest.raises(NotConnected, match="closed while a send waited"):
            made.sender.send(2, 0.0)
        assert len(made.frames()) == 1
