"""Scripted TCP servers that act as misbehaving peers, with no library between the script and the bytes.

    with TcpServer(refuses(503, {"Retry-After": "1"})) as server:
        ...  # dial server.url

Threads, all daemons named `wsnova-test-tcp...`: one accepts, and one for each connection runs the script. Call public
methods of the servers from any thread, those of a `Connection` from its script's thread. Scripts wait on `stopping` and
never sleep, so `stop()` ends them. Never listens on anything but the given host.
"""

from __future__ import annotations

from ._connection import Connection, Ending, Headers, Script
from ._loopback import LoopbackPort, black_hole, cut, server_url
from ._tcp_server import TcpServer
from .frames import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, server_frame
from .proxy import ConnectProxy
from .scripts import (
    accept_then_close,
    accept_then_drop,
    cuts_mid_frame,
    half_open,
    never_answers,
    redirects,
    refuses,
    sends_raw,
    trickles,
    wrong_accept_key,
)

http_connect_proxy = ConnectProxy

__all__ = [
    "BINARY",
    "CLOSE",
    "CONTINUATION",
    "PING",
    "PONG",
    "TEXT",
    "ConnectProxy",
    "Connection",
    "Ending",
    "Headers",
    "LoopbackPort",
    "Script",
    "TcpServer",
    "accept_then_close",
    "accept_then_drop",
    "black_hole",
    "cut",
    "cuts_mid_frame",
    "half_open",
    "http_connect_proxy",
    "never_answers",
    "redirects",
    "refuses",
    "sends_raw",
    "server_frame",
    "server_url",
    "trickles",
    "wrong_accept_key",
]
