"""Control frames: close, ping and pong. The only importer of websocket-client; any thread."""

from __future__ import annotations

from typing import Final

import websocket

from .frames import CLOSE, PING, PONG

_OPCODES: Final = {
    CLOSE: websocket.ABNF.OPCODE_CLOSE,
    PING: websocket.ABNF.OPCODE_PING,
    PONG: websocket.ABNF.OPCODE_PONG,
}


def control_frame(opcode: int, payload: bytes) -> bytes:
    """A masked control frame."""
    data: bytes = websocket.ABNF.create_frame(payload, _OPCODES[opcode]).format()
    return data
