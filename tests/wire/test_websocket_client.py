"""websocket-client does real work in the client: the control frames, the opcodes and the status codes."""

import pytest
import websocket

from tests.support import until
from wsnova_statsd import FINANCIAL, Bus, Client
from wsnova_statsd.link import frames
from wsnova_statsd.link.control import control_frame
from wsnova_statsd.testing.server import ScriptedConnection, WebSocketServer, echo


def test_the_opcodes_and_close_codes_are_those_of_websocket_client() -> None:
    """The frame reader has them as plain numbers, since one file imports the library."""
    theirs, ours = websocket.ABNF, frames
    assert [ours.CONTINUATION, ours.TEXT, ours.BINARY] == [theirs.OPCODE_CONT, theirs.OPCODE_TEXT, theirs.OPCODE_BINARY]
    assert [ours.CLOSE, ours.PING, ours.PONG] == [theirs.OPCODE_CLOSE, theirs.OPCODE_PING, theirs.OPCODE_PONG]
    assert {ours.CONTINUATION, ours.TEXT, ours.BINARY, ours.CLOSE, ours.PING, ours.PONG} == set(theirs.OPCODES)
    assert (ours.NORMAL, ours.PROTOCOL_ERROR) == (websocket.STATUS_NORMAL, websocket.STATUS_PROTOCOL_ERROR)
    assert (ours.INVALID_DATA, ours.TOO_BIG) == (websocket.STATUS_INVALID_PAYLOAD, websocket.STATUS_MESSAGE_TOO_BIG)
    assert ours.NO_STATUS == websocket.STATUS_STATUS_NOT_AVAILABLE
    assert ours.ABNORMAL == websocket.STATUS_ABNORMAL_CLOSED


@pytest.mark.parametrize("opcode", [frames.CLOSE, frames.PING, frames.PONG])
@pytest.mark.parametrize("payload", [b"", b"\x03\xe8", b"x" * 125])
def test_a_control_frame_is_a_masked_one_of_websocket_client(opcode: int, payload: bytes) -> None:
    """With the same key it is the library's own frame, byte for byte."""
    data = control_frame(opcode, payload)
    theirs = websocket.ABNF(1, 0, 0, 0, opcode, 1, payload)
    theirs.get_mask_key = lambda _length: data[2:6]
    assert data == theirs.format()


def test_a_client_needs_websocket_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pings, pongs and the close frame are its `create_frame`."""
    opcodes: list[int] = []
    create_frame = websocket.ABNF.create_frame

    def creating(data: bytes | str, opcode: int, fin: int = 1) -> websocket.ABNF:
        opcodes.append(opcode)
        return create_frame(data, opcode, fin)

    def pinging(connection: ScriptedConnection) -> None:
        connection.ping(b"there?").wait(5.0)
        echo(connection)

    monkeypatch.setattr(websocket.ABNF, "create_frame", creating)
    profile = FINANCIAL.replace(ping_interval=0.05)
    with WebSocketServer(pinging) as server:
        with Client(server.url, profile=profile, on_message=lambda _: None, bus=Bus()):
            assert until(lambda: {frames.PING, frames.PONG} <= set(opcodes))
        assert opcodes[-1] == frames.CLOSE
