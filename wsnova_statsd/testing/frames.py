"""WebSocket frames as a server writes them, valid or deliberately invalid (RFC 6455 section 5.2). Pure, no socket."""

from __future__ import annotations

import os
import struct
from typing import Final

CONTINUATION: Final = 0
TEXT: Final = 1
BINARY: Final = 2
CLOSE: Final = 8
PING: Final = 9
PONG: Final = 10


def server_frame(
    opcode: int,
    payload: bytes = b"",
    fin: bool = True,
    masked: bool = False,
    rsv: int = 0,
    declared_length: int | None = None,
) -> bytes:
    """One frame, valid or deliberately invalid (RFC 6455 section 5.2).

    `rsv` is the three reserved bits as a number from 0 to 7 (4 is RSV1). `masked` masks the payload, which a server
    must not do. `declared_length` is the length to announce instead of the payload's.
    """
    length = len(payload) if declared_length is None else declared_length
    head = bytearray([fin << 7 | rsv << 4 | opcode])
    mask_bit = masked << 7
    if length < 126:
        head.append(mask_bit | length)
    elif length < 1 << 16:
        head += struct.pack("!BH", mask_bit | 126, length)
    else:
        head += struct.pack("!BQ", mask_bit | 127, length)
    if masked:
        mask = os.urandom(4)
        return bytes(head) + mask + masked_payload(payload, mask)
    return bytes(head) + payload


def masked_payload(payload: bytes, mask: bytes) -> bytes:
    """The payload masked, or a masked payload unmasked (section 5.3)."""
    return bytes(byte ^ mask[index & 3] for index, byte in enumerate(payload))
