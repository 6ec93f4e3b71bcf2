"""LogReporter: the guide's log handler. Logs events by standard logging, with their fields as `extra`.

Handlers run in the thread that emits. Below `level` no handler is attached; if the logger's own level is off, an event
costs one call of the logger. Records contain no secret in any profile, and nothing from the network begins a new line.
No lock, no thread, no state except what is attached to the bus; never configures logging.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Container
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final

from .. import checks, events, telemetry, wire
from ..errors import ConfigurationError, HandlerExists, HandlerNotFound
from ..metrics.reading import number
from ..redaction import filter_metadata
from ..telemetry import Bus, Measurements, Metadata, Recorder

# Names, so not redacted: the type "token:refresh" is not a secret. Cleaned like their tags.
_NAMES: Final = ("client_id", "type")
_NAME_LENGTH: Final = 200


@dataclass(frozen=True, slots=True)
class _Line:
    """How an event is logged, with which of its fields; with `only`, just events with this metadata key and value."""

    event: str
    level: int
    text: str
    fields: tuple[str, ...]
    only: tuple[str, object] | None = None


# The guide's three; then what no error.occurred reports: an outage's end, a raised alarm, a handler that hangs.
LINES: Final = (
    _Line(events.CONNECTION_COMPLETED, logging.INFO, "Connection established in %sms", ("duration",)),
    _Line(events.MESSAGE_RECEIVED, logging.DEBUG, "Received %s message of size %s bytes", ("type", "size")),
    _Line(events.ERROR_OCCURRED, logging.ERROR, "WebSocket error: %s", ("error",)),
    _Line(
        events.CONNECTION_RECONNECT_SUCCESS,
        logging.INFO,
        "Connection is back, %sms after its loss, attempt %s",
        ("duration", "attempt"),
    ),
    _Line(
        events.CONNECTION_RECONNECT_FAILED,
        logging.ERROR,
        "Connection is still not back, %sms after its loss, attempt %s: %s",
        ("duration", "attempt", "reason"),
        only=("final", True),
    ),
    _Line(
        events.MESSAGE_PROCESS_STUCK,
        logging.ERROR,
        "Handler still runs after %sms with a %s message",
        ("duration", "type"),
    ),
)


class _Writer:
    """The handler of one event."""

    def __init__(self, logger: logging.Logger, line: _Line, taken: Container[str]) -> None:
        self._logger = logger
        self._line = line
        self._taken = taken

    def __call__(self, event: str, measurements: Measurements, metadata: Metadata, config: Any) -> None:
        if self._logger.isEnabledFor(self._line.level):
            self._write(measurements, metadata)

    def bind(self, names: tuple[str, ...], metadata: Metadata) -> Recorder:
        """For events that are emitted for every message: builds no mapping if the logger's level is off."""
        enabled, level = self._logger.isEnabledFor, self._line.level

        def record(*values: Any) -> None:
            if enabled(level):
                self._write(dict(zip(names, values, strict=True)), metadata)

        return record

    def _write(self, measurements: Measurements, metadata: Metadata) -> None:
        line = self._line
        if line.only is not None and metadata.get(line.only[0]) is not line.only[1]:
            return
        fields = filter_metadata({**metadata, **measurements})
        fields |= {key: wire.clean_field(metadata[key], _NAME_LENGTH) for key in _NAMES if key in metadata}
        shown = [_shown(key, fields) for key in line.fields]
        extra = {f"{key}_" if key in self._taken else key: value for key, value in fields.items()}
        self._logger.log(line.level, line.text, *shown, extra={**extra, "event_name": line.event})


def _shown(key: str, fields: dict[str, object]) -> object:
    """A field as the text shows it, durations in ms; `?` if it is missing or not a number."""
    if key in ("duration", "size", "attempt"):
        value = number(fields.get(key))
        return "?" if value is None else value / 1_000_000 if key == "duration" else value
    return fields.get(key) or "?"


class LogReporter:
    """Logs events: the guide's three, and three more (LINES). A context manager.

    Each record has `event_name` and the event's measurements and metadata as attributes, not rounded, redacted in every
    profile. A name that LogRecord itself uses, such as `name`, gets an underscore: `name_`; so does `event`, which is
    the text's key in structured logging. Raises ConfigurationError at once for an invalid argument.

    Args:
        logger: A logging.Logger or its name. Default: `wsnova_statsd.events`.
        level: The lowest level that is logged, by name or number, from 0. Default: 10, DEBUG.
        bus: The ws.Bus whose events are logged. Default: that of ws.telemetry.
    """

    @checks.by_name
    def __init__(
        self, logger: logging.Logger | str | None = None, level: int | str = logging.DEBUG, bus: Bus | None = None
    ) -> None:
        if logger is None or isinstance(logger, str):
            logger = logging.getLogger(logger or "wsnova_statsd.events")
        elif not isinstance(logger, logging.Logger):
            raise ConfigurationError(f"logger is {logger!r}; pass a logging.Logger, the name of one, or None")
        self._logger = logger
        self._level = _level(level)
        self._bus = bus if bus is not None else telemetry.DEFAULT

    def start(self) -> LogReporter:
        """Attach to the bus. Does nothing if already started."""
        # Attributes that a record already has, also by a record factory of the application, cannot be passed as extra.
        taken = {*vars(logging.makeLogRecord({})), "message", "asctime", "event", "event_name"}
        for line in LINES:
            if line.level >= self._level:
                with contextlib.suppress(HandlerExists):
                    writer = _Writer(self._logger, line, taken)
                    self._bus.attach(self._id(line), line.event, writer, bind=writer.bind)
        return self

    def stop(self) -> None:
        """Detach from the bus. Does nothing if already stopped."""
        for line in LINES:
            with contextlib.suppress(HandlerNotFound):
                self._bus.detach(self._id(line))

    def _id(self, line: _Line) -> tuple[str, int, str]:
        return (__name__, id(self), line.event)

    def __enter__(self) -> LogReporter:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _level(given: int | str) -> int:
    known = logging.getLevelNamesMapping()
    if isinstance(given, str) and given.upper() in known:
        return known[given.upper()]
    if checks.is_number(given) and isinstance(given, int) and given >= 0:
        return given
    raise checks.refused("level", given, "a level of logging, such as 'INFO' or logging.INFO")
