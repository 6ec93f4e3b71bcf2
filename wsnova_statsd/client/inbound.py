"""What is done with a received message: decode, count, hand over, time. It emits the events of receiving.

Runs in the owner's thread only. Nothing is built for an event that nobody hears; one reading of the clock serves the
end of one step and the beginning of the next.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from .. import events
from ..errors import DecodeError
from .batch import Batch
from .emitter import Emitter
from .faults import Faults
from .frames import INVALID_DATA, TEXT, Violation
from .link import Received
from .options import Options
from .protocol import Protocol
from .requests import Requests
from .types import INVALID, MessageTypes

NOTHING: Final = object()  # a message that could not be read
_SOME: Final = 1000
_OK: Final = "ok"
_ERROR: Final = "error"
_clock = time.monotonic_ns


class Inbound:
    """The receiving half of one client."""

    def __init__(
        self,
        options: Options,
        emit: Emitter,
        faults: Faults,
        types: MessageTypes,
        requests: Requests,
        answer: Callable[[Any], bool],
        breach: Callable[[Violation], None],
    ) -> None:
        self._client_id = options.client_id
        self._handler = options.on_message
        self._decode = options.protocol.decode
        self._type_of = options.protocol.message_type
        self._types = types
        self._faults = faults
        self._requests = requests
        self._answer = answer
        self._has_heartbeats = type(options.protocol).heartbeat_answer is not Protocol.heartbeat_answer
        self._breach = breach
        self._slow_ns = round(options.profile.slow_after * 1e9)
        self._emit = emit
        self._decode_started = emit.slot(events.MESSAGE_DECODE_STARTED)
        self._decode_completed = emit.slot(events.MESSAGE_DECODE_COMPLETED)
        self._received = emit.slot(events.MESSAGE_RECEIVED)
        self._process_started = emit.slot(events.MESSAGE_PROCESS_STARTED)
        self._process_completed = emit.slot(events.MESSAGE_PROCESS_COMPLETED)
        self._process_slow = emit.slot(events.MESSAGE_PROCESS_SLOW)
        self.batch = Batch()
        self._message: Any = None  # being processed in a loop body, with its type and the moment it began
        self._kind: str | None = None
        self._began_ns = 0
        self._size = 0

    def decode(self, received: Received) -> Any:
        """The message, told as received; NOTHING if the protocol cannot read it (told as an error, and counted)."""
        opcode, payload, arrived = received
        size = len(payload)
        client_id = self._client_id
        began = _clock()
        if self._decode_started.handlers:
            self._decode_started.emit({"system_time": time.time_ns(), "size": size}, {"client_id": client_id})
            began = _clock()
        kind: str | None = None
        result = _OK
        try:
            message = self._decode(payload.decode() if opcode == TEXT else payload)
            if self._decode_completed.handlers or self._received.handlers or self._process_completed.handlers:
                kind = self._types(self._type_of(message))
        except Exception as error:  # the protocol may be the user's, and the data is the server's
            kind, result, message = INVALID, _ERROR, NOTHING
            fault = error
        ended = _clock()
        if self._decode_completed.handlers:
            self._decode_completed.emit(
                {"duration": ended - began, "size": size}, {"client_id": client_id, "type": kind, "result": result}
            )
        if self._received.handlers:
            self._received.emit({"size": size, "system_time": arrived}, {"client_id": client_id, "type": kind})
        if message is NOTHING:
            self._undecodable(fault, opcode, size, ended)
            return NOTHING
        self._message, self._kind, self._size = message, kind, size
        return message

    def _undecodable(self, error: Exception, opcode: int, size: int, now_ns: int) -> None:
        self.batch.errors += 1
        self._count(size, now_ns)
        wrapped = DecodeError(f"a message of {size} bytes cannot be decoded: {type(error).__name__}: {error}")
        wrapped.__cause__ = error
        not_text = opcode == TEXT and isinstance(error, UnicodeDecodeError)
        fault = self._faults.occurred(wrapped, "decode", "warning")
        if not_text:
            self._breach(Violation(INVALID_DATA, "a text message is not UTF-8"))  # RFC 6455, section 8.1
        self._faults.handled(fault, "closed" if not_text else "skipped")

    def consumed(self, message: Any, received: Received) -> bool:
        """True if the message is a reply, an ack or an application heartbeat: dealt with here, delivered to nobody."""
        if not self._requests.active and not self._has_heartbeats:
            return False
        try:
            mine = self._requests.active and self._requests.offer(message, received, owner=True)
            if not mine and not (self._has_heartbeats and self._answer(message)):
                return False
        except Exception as error:  # the protocol's reading of a hostile message
            self._faults.handled(self._faults.occurred(error, "decode", "warning"), "delivered")
            return False
        self.begin()
        self.finish(_OK)
        return True

    def clear_answers(self, inbox: deque[Received]) -> None:
        """Deal with answers that stand before any other message, some at a time; their threads have them already."""
        for _ in range(_SOME):
            if not inbox or not self._requests.met(inbox[0]):
                return
            received = inbox.popleft()
            message = self.decode(received)
            if message is not NOTHING:
                self.consumed(message, received)

    def begin(self) -> None:
        """The decoded message is about to be handed out."""
        if self._process_started.handlers:
            metadata = {"client_id": self._client_id, "type": self._kind_of()}
            self._process_started.emit({"system_time": time.time_ns()}, metadata)
        self._began_ns = _clock()

    def finish(self, result: str) -> None:
        """The message that was handed out is dealt with."""
        ended = _clock()
        duration = ended - self._began_ns
        if self._process_completed.handlers:
            metadata = {"client_id": self._client_id, "type": self._kind_of(), "result": result}
            self._process_completed.emit({"duration": duration}, metadata)
        if duration > self._slow_ns and self._process_slow.handlers:
            metadata = {"client_id": self._client_id, "type": self._kind_of(), "result": result}
            self._process_slow.emit({"duration": duration}, metadata)
        batch = self.batch
        batch.process_time += duration
        if duration > batch.process_time_max:
            batch.process_time_max = duration
        if result is _ERROR:
            batch.errors += 1
        self._message = None
        self._count(self._size, ended)

    def skip_timing(self) -> None:
        """The message was handed out by receive(): counted, not timed as processing."""
        self._message = None
        self._count(self._size, _clock())

    def handle(self, received: Received) -> None:
        """Decode one message and give it to on_message; what that raises is logged, told, and costs nothing else."""
        message = self.decode(received)
        if message is NOTHING or self.consumed(message, received):
            return
        handler = self._handler
        self.begin()
        if handler is None:
            self.finish("ignored")
            return
        try:
            handler(message)
        except Exception as error:
            self.finish(_ERROR)
            self._faults.log("on_message raised", exc_info=error)
            self._faults.handled(self._faults.occurred(error, "handler", "error"), "continued")
        else:
            self.finish(_OK)

    def _kind_of(self) -> str:
        if self._kind is None:
            try:
                self._kind = self._types(self._type_of(self._message))
            except Exception:  # seen by decode in every profile that tells of types; here only a slow message asks
                self._kind = INVALID
        return self._kind

    def _count(self, size: int, now_ns: int) -> None:
        batch = self.batch
        batch.add(size, now_ns)
        if now_ns >= batch.due:
            self.flush()

    def flush(self) -> None:
        """Tell the sums of the last second."""
        sums = self.batch.take()
        if sums is not None:
            self._emit(events.MESSAGE_BATCH_PROCESSED, sums, direction="received")

    def mute(self) -> None:
        """In a forked child: nothing is told of the parent's connection any more."""
        silent = self._emit.silent
        self._decode_started = self._decode_completed = self._received = silent
        self._process_started = self._process_completed = self._process_slow = silent
