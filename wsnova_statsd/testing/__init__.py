"""The public test kit: captured events and metrics, receiver, servers, a fake clock.

    from wsnova_statsd.testing import assert_count, capture_metrics

The WebSocket server needs the extra `testing`; it is imported at first use of one of its names. Scripted exchanges are
in `testing.exchanges`, misbehaving peers in `testing.tcp`, the pytest fixtures in `wsnova_statsd_pytest`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .capture import CapturedEvent, EventLog, capture_events
from .clock import FakeClock
from .dogstatsd import DatagramError, Event, Message, Metric, ServiceCheck, parse_datagram
from .metrics import CapturedMetrics, capture_metrics
from .questions import assert_count
from .receiver import DogStatsDReceiver

if TYPE_CHECKING:
    from .server import ScriptedConnection, WebSocketServer, answers, closes, echo, send_messages, silent

__all__ = [
    "CapturedEvent",
    "CapturedMetrics",
    "DatagramError",
    "DogStatsDReceiver",
    "Event",
    "EventLog",
    "FakeClock",
    "Message",
    "Metric",
    "ScriptedConnection",
    "ServiceCheck",
    "WebSocketServer",
    "answers",
    "assert_count",
    "capture_events",
    "capture_metrics",
    "closes",
    "echo",
    "parse_datagram",
    "send_messages",
    "silent",
]


if not TYPE_CHECKING:  # a type checker that saw it would accept any name

    def __getattr__(name):
        """The names of the server. Raises MissingExtra if `websockets` is not installed."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from . import server

        return getattr(server, name)
