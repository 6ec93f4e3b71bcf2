"""TCP_INFO: what the Linux kernel measures of one TCP connection. Pure, any thread.

The layout is that of struct tcp_info in linux/tcp.h, whose fields keep their places; new ones are only added at the
end. Other systems have the option with another layout or under another name.
"""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Callable
from typing import Final

_OPTION: Final = getattr(socket, "TCP_INFO", None) if sys.platform == "linux" else None
# From byte 32 tcpi_lost, from 68 tcpi_rtt and tcpi_rttvar, from 100 tcpi_total_retrans.
_FIELDS: Final = struct.Struct("=32xI32xII24xI")


def tcp_info(option: Callable[[int, int, int], bytes]) -> dict[str, int]:
    """The figures of the connection whose getsockopt is `option`: times in nanoseconds, segments retransmitted since it
    began, segments currently considered lost. Empty if the platform has none or the socket is closed."""
    if _OPTION is None:
        return {}
    try:
        lost, rtt_us, rttvar_us, retransmits = _FIELDS.unpack(option(socket.IPPROTO_TCP, _OPTION, _FIELDS.size))
    except (OSError, struct.error):  # closed, not TCP, or an older kernel with fewer fields
        return {}
    return {
        "tcp_rtt": rtt_us * 1000,
        "tcp_rttvar": rttvar_us * 1000,
        "tcp_retransmits": retransmits,
        "tcp_lost": lost,
    }
