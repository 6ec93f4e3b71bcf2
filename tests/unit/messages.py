"""What the tests of received messages share: a client's events on their own bus, without a link."""

import dataclasses
from typing import Any

import wsnova_statsd as ws
from wsnova_statsd.client.emitter import Emitter
from wsnova_statsd.client.faults import Faults
from wsnova_statsd.client.message_events import MessageEvents
from wsnova_statsd.client.message_types import MessageTypes
from wsnova_statsd.link.frames import BINARY, TEXT, Received, Violation

ARRIVED = 1_700_000_000_000_000_000


@dataclasses.dataclass
class Made:
    """The events of one client's received messages, and what came of them."""

    bus: ws.Bus
    events: MessageEvents
    breaches: list[Violation]
    errors: list[Exception]


def made(
    protocol: ws.Protocol | None = None,
    profile: ws.Profile = ws.FINANCIAL,
    bus: ws.Bus | None = None,
) -> Made:
    """No handler is attached yet."""
    bus = bus or ws.Bus()
    breaches, errors = list[Violation](), list[Exception]()

    emitter = Emitter(bus, profile, "md-1")
    faults = Faults(emitter, "md-1", True, errors.append)
    slow = round(profile.slow_after * 1e9)
    events = MessageEvents(protocol or ws.JsonProtocol(), slow, emitter, faults, MessageTypes())
    events.breach = breaches.append
    return Made(bus, events, breaches, errors)


def received(data: str | bytes) -> Received:
    """A whole message."""
    return (TEXT, data.encode(), ARRIVED) if isinstance(data, str) else (BINARY, data, ARRIVED)


def read(made: Made, *data: str | bytes) -> list[Any]:
    """What these are decoded to, one by one."""
    made.events.attend()
    return [made.events.read(received(one))[0] for one in data]
