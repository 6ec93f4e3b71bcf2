"""A bounded queue of events and service checks for the Agent, which are cleaned when they are queued.

Any thread appends, the flushing thread takes; the ends of a deque are atomic, so neither waits for a lock.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from .. import wire
from ..errors import ConfigurationError, one_of
from ..log_limit import LOG_EVERY, LogLimit
from ..metrics.direct import Names
from ..metrics.reading import number
from ..redaction import log_fault

CAPACITY: Final = 1000
_LATEST: Final = 1e11  # seconds since the epoch, in the year 5138: a higher number is milliseconds
_log = logging.getLogger(__name__)
MAX_AGE: Final = 3600.0  # seconds; an older event would mislead


@dataclass(frozen=True, slots=True)
class Message:
    """One event or service check: the DogStatsd method that sends it, and its clean arguments."""

    method: str
    arguments: dict[str, Any]
    born: float
    on_sent: Callable[[], object] | None = None


class Outbox:
    """A bounded queue of messages. With `strict` an invalid name, alert type or status raises; by default it is
    replaced."""

    def __init__(self, strict: bool, clock: Callable[[], float] = time.monotonic, *, closed: bool = False) -> None:
        self._strict = strict
        self._clock = clock
        self.closed = closed  # plain StatsD has neither events nor checks: they are counted as lost
        self._logged: set[str] = set()
        self._tags_logged = False
        self._names = Names(of="check")
        self._log_limit = LogLimit(clock)
        self.clear()

    def __len__(self) -> int:
        return len(self._queue)

    def event(
        self,
        title: object,
        text: object,
        alert_type: object,
        tags: tuple[str, ...],
        key: object,
        limit: int,
        on_sent: Callable[[], object] | None = None,
        **details: object,
    ) -> None:
        """Queue an event that takes at most `limit` bytes with these tags. `on_sent` is called after it was sent.
        `details`: priority, date_happened, hostname and source_type."""
        alert = self._one_of("alert_type", alert_type, wire.ALERT_TYPES, "info")
        clean_title = wire.clean_text(title, wire.MAX_TEXT).replace("\n", " ").strip() or "(no title)"
        clean_key = "" if key is None else wire.clean_key(key)
        more = self._details(**details)
        limit -= sum(len("|d:") + wire.size(str(value)) for value in more.values())
        tags = self._fitting(tags, limit // 2)
        fitted, text = wire.fit_event(clean_title, wire.clean_text(text, wire.MAX_TEXT), tags, clean_key, limit)
        arguments = {"title": fitted, "message": text, "alert_type": alert, "tags": list(tags)}
        self._put("event", {**arguments, "aggregation_key": clean_key or None, **more}, on_sent)

    def _fitting(self, tags: tuple[str, ...], limit: int) -> tuple[str, ...]:
        """As many of the first tags as fit into `limit` bytes. If some do not fit, that is logged once."""
        fitting = wire.fit_tags(tags, limit)
        if len(fitting) < len(tags) and not self._tags_logged:
            self._tags_logged = True
            _log.warning(
                "the %d tags of an event or check take %d bytes, and at most %d are sent: %r and those after it are "
                "left out; use fewer or shorter tags. Further cases are not logged",
                *(len(tags), wire.size(",".join(tags)), limit, tags[len(fitting)]),
            )
        return fitting

    def _one_of(self, what: str, given: object, allowed: tuple[str, ...], otherwise: str) -> str:
        text = wire.text(given)  # an enum of texts compares as its content but prints as its name
        if text in allowed:
            return text
        if self._strict:
            raise one_of(what, text, allowed)
        return otherwise

    def _details(
        self,
        priority: object = None,
        date_happened: object = None,
        hostname: object = None,
        source_type: object = None,
    ) -> dict[str, Any]:
        """The optional fields of an event that are set."""
        more: dict[str, Any] = {}
        if priority is not None:
            more["priority"] = self._one_of("priority", priority, wire.PRIORITIES, "normal")
        if date_happened is not None:
            moment = number(date_happened)
            with contextlib.suppress(Exception):  # an object that raises, or a date out of the platform's range
                moment = date_happened.timestamp() if isinstance(date_happened, datetime) else moment
            if moment is not None and 1 <= moment < _LATEST:
                more["date_happened"] = int(moment)
            elif self._strict:
                given = wire.text(date_happened)
                raise ConfigurationError(f"date_happened is {given!r}; pass a datetime, or seconds since the epoch")
        for field, value in (("hostname", hostname), ("source_type_name", source_type)):
            clean = "" if value is None else wire.clean_field(value)
            if clean:
                more[field] = clean
        return more

    def check(self, name: str, status: object, tags: tuple[str, ...], message: object, limit: int) -> None:
        """Queue a service check that takes at most `limit` bytes."""
        known, clean = number(status), self._names.clean(name, {}) or "unnamed"
        if self._strict and clean != name:
            raise ConfigurationError(
                f"check name {name[:80]!r} is invalid and would be sent as {clean!r}; use letters, digits, _ and ., "
                f"beginning with a letter, at most {wire.MAX_NAME} characters"
            )
        if known not in wire.STATUSES:
            if self._strict:
                raise one_of("status", wire.text(status), wire.STATUSES)
            known = 3
        tags = self._fitting(tags, limit // 2)
        free = limit - wire.size(",".join(tags)) - len(clean) - len("_sc||0|#|m:")
        text = wire.cut_bytes(wire.clean_message(message, wire.MAX_TEXT), free)
        status = wire.STATUSES.index(known)  # 1.0 equals 1 but prints differently
        arguments = {"check_name": clean, "status": status, "tags": list(tags), "message": text or None}
        self._put("service_check", arguments)

    def _put(self, method: str, arguments: dict[str, Any], on_sent: Callable[[], object] | None = None) -> None:
        if self.closed:
            with self._lock:
                self.left_out += 1
            self._log_once("dialect", f"plain StatsD has no {method.replace('_', ' ')}s")
            return
        if len(self._queue) >= CAPACITY:
            self._lose()  # drop the newest: the first event of an incident is the most useful
            return
        self._queue.append(Message(method, arguments, self._clock(), on_sent))

    def ship(self, send: Callable[[Message], bool]) -> bool:
        """Send the queued messages, oldest first, until one is refused. True if none is left. Under the flush lock."""
        while self._queue:
            message, on_sent = self._queue[0], None
            if self._clock() - message.born > MAX_AGE:
                self._lose()
            else:
                on_sent = message.on_sent
                try:
                    if not send(message):
                        return False
                except Exception:  # not a fault of the connection: kept, it would block the queue for ever
                    self._queue.popleft()
                    self._lose()
                    raise
            self._queue.popleft()
            if on_sent is not None:
                self._call(on_sent)
        return True

    def _call(self, on_sent: Callable[[], object]) -> None:
        """Call a user's `on_sent`; if it raises, that is logged, and the messages behind are still sent."""
        try:
            on_sent()
        except Exception as error:
            if self._log_limit.due(0, error):
                log_fault(
                    _log, error, "on_sent of an event raised; errors like it are not logged again for %d s", LOG_EVERY
                )

    def _lose(self) -> None:
        with self._lock:
            self.lost += 1
        self._log_once("queue", f"{CAPACITY} events and checks already wait for the Agent, or one is an hour old")

    def _log_once(self, cause: str, why: str) -> None:
        if cause not in self._logged:
            self._logged.add(cause)
            _log.warning("lost by cause %r: %s. Further losses are not logged: see stats.lost", cause, why)

    def lost_by_cause(self) -> dict[str, int]:
        """The number of events and checks that were lost."""
        with self._lock:
            return {"queue": self.lost, "dialect": self.left_out}

    def clear(self) -> None:
        """Empty the queue: at the start, and in a child, where the messages are the parent's."""
        self._queue: deque[Message] = deque()
        # Guards the two below, each in one statement; re-entrant, because a signal handler may queue a message.
        self._lock = threading.RLock()
        self.lost: int = 0  # too many, or too old
        self.left_out: int = 0  # what the dialect cannot express
