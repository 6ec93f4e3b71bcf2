"""The arguments of an instrumentation, checked when they are passed; message types; what a foreign client can emit.

Plain data, any thread.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, Literal

from .. import checks, events, process, profiles, telemetry
from ..client.message_types import INVALID
from ..client.options import check_client_id, own_tags
from ..client.protocol import JsonProtocol
from ..errors import ConfigurationError, one_of
from ..link.frames import TEXT
from ..profiles import Profile, ProfileName
from ..telemetry import Bus

MessageType = Literal["json"] | Callable[[bytes], object] | None
# What a foreign client can emit, and the values of a key if it has a list: no events of decoding, encoding,
# subscriptions and logins, which belong to the program. Zeros are shown for nothing else.
Emits = Mapping[str, Mapping[str, tuple[object, ...]]]
_NO_LIMIT: Final[Mapping[str, tuple[object, ...]]] = MappingProxyType({})
_FAULTS: Final = MappingProxyType({"error_type": ("connection", "handshake", "timeout", "handler", "protocol")})
EMITS: Final[Emits] = MappingProxyType(
    {
        **dict.fromkeys(
            (
                events.CONNECTION_STARTED,
                events.CONNECTION_COMPLETED,
                events.CONNECTION_DISCONNECTED,
                events.CONNECTION_RECONNECT_ATTEMPT,
                events.CONNECTION_RECONNECT_SUCCESS,
                events.CONNECTION_RECONNECT_FAILED,
                events.MESSAGE_RECEIVED,
                events.MESSAGE_SENT,
                events.MESSAGE_PROCESS_STARTED,
                events.MESSAGE_PROCESS_COMPLETED,
                events.MESSAGE_PROCESS_SLOW,
                events.MESSAGE_PROCESS_STUCK,
                events.MESSAGE_BATCH_PROCESSED,
                events.HEARTBEAT_SENT,
                events.HEARTBEAT_RECEIVED,
                events.HEARTBEAT_MISSED,
            ),
            _NO_LIMIT,
        ),
        events.ERROR_OCCURRED: _FAULTS,
        events.ERROR_HANDLED: _FAULTS,
    }
)


@dataclass(frozen=True, slots=True)
class Given:
    """The checked arguments of an instrumentation. Raises ConfigurationError."""

    client_id: str | None = None
    profile: ProfileName | Profile | None = None
    message_type: MessageType = None
    tags: Mapping[str, Any] | None = None
    bus: Bus | None = None
    emits: Emits = field(default_factory=lambda: EMITS)

    def __post_init__(self) -> None:
        process.refuse_late_patch()
        if self.client_id is not None:
            check_client_id(self.client_id)
        if self.profile is not None:
            profiles.resolve(self.profile)
        if callable(self.message_type):
            checks.function("message_type", self.message_type, "payload")
        elif self.message_type not in (None, "json"):
            raise one_of("message_type", self.message_type, (None, "'json'", "a function of the payload"))
        object.__setattr__(self, "tags", own_tags({} if self.tags is None else self.tags))
        if self.bus is not None and not isinstance(self.bus, Bus):
            raise ConfigurationError(f"bus is {self.bus!r}; pass a ws.Bus")
        object.__setattr__(self, "bus", self.bus if self.bus is not None else telemetry.DEFAULT)

    @property
    def on(self) -> Bus:
        """The bus."""
        return self.bus if self.bus is not None else telemetry.DEFAULT

    def in_force(self) -> Profile:
        """The profile for a client that begins now."""
        return self.on.followed() if self.profile is None else profiles.resolve(self.profile)

    def type_of(self) -> Callable[[tuple[int, bytes]], Any]:
        """A function that returns the type of a message, by its opcode and payload."""
        if self.message_type is None:
            return _by_opcode
        if self.message_type == "json":
            return _json_rule()
        own: Callable[[bytes], object] = self.message_type
        return lambda message: own(message[1])


def _by_opcode(message: tuple[int, bytes]) -> str:
    return "text" if message[0] == TEXT else "binary"


@functools.cache
def _json_rule() -> Callable[[tuple[int, bytes]], str]:
    protocol: JsonProtocol[Any] = JsonProtocol()
    text, type_of = protocol.text_decoder(), protocol.message_type

    def rule(message: tuple[int, bytes]) -> str:
        opcode, payload = message
        if opcode != TEXT:
            return "binary"
        try:
            decoded = text(payload)
        except Exception:  # the program may still be able to read it
            return INVALID
        return type_of(decoded)

    return rule
