"""Events and service checks on their way to the Agent: cleaned where they are given, queued, bounded.

Any thread puts, the thread that flushes takes; a deque's ends are atomic, so neither waits for a lock.
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
_LATEST: Final = 1e11  # seconds since the epoch, in the year 5138: beyond, it is milliseconds
_log = logging.getLogger(__name__)
MAX_AGE: Final = 3600.0  # seconds; an older event would tell of another day


@dataclass(frozen=True, slots=True)
class Message:
    """One event or service check: the DogStatsd method that sends it, and its clean arguments."""

    method: str
    arguments: dict[str, Any]
    born: float
    on_sent: Callable[[], object] | None = None


class Outbox:
    """A bounded queue of messages. With `strict` a bad name, alert type or status raises, else one stands in."""

    def __init__(self, strict: bool, clock: Callable[[], float] = time.monotonic, *, closed: bool = False) -> None:
        self._strict = strict
        self._clock = clock
        self.closed = closed  # plain StatsD has neither events nor checks: they are counted and not queued
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
        """Queue an event that takes at most `limit` bytes with these tags. `on_sent` is called once it was sent.
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
        """The first tags, as many as leave room for the rest; that some do not is logged once."""
        fitting = wire.fit_tags(tags, limit)
        if len(fitting) < len(tags) and not self._tags_logged:
            self._tags_logged = True
            _log.warning(
                "the %d tags of an event or check take %d bytes, and at most %d leave: %r and those behind it are left "
                "out. Further ones are not logged",
                *(len(tags), wire.size(",".join(tags)), limit, tags[len(fitting)]),
            )
        return fitting

    def _one_of(self, what: str, given: object, allowed: tuple[str, ...], otherwise: str) -> str:
        said = wire.text(given)  # an enum of texts compares as its content and prints as its name
        if said in allowed:
            return said
        if self._strict:
            raise one_of(what, said, allowed)
        return otherwise

    def _details(
        self,
        priority: object = None,
        date_happened: object = None,
        hostname: object = None,
        source_type: object = None,
    ) -> dict[str, Any]:
        """An event's optional fields, those that were given."""
        more: dict[str, Any] = {}
        if priority is not None:
            more["priority"] = self._one_of("priority", priority, wire.PRIORITIES, "normal")
        if date_happened is not None:
            moment = number(date_happened)
            with contextlib.suppress(Exception):  # an object that raises, or a date beyond what the platform knows
                moment = date_happened.timestamp() if isinstance(date_happened, datetime) else moment
            if moment is not None and 1 <= moment < _LATEST:
                more["date_happened"] = int(moment)
            elif self._strict:
                given = wire.text(date_happened)
                raise ConfigurationError(f"date_happened is {given!r}; give a datetime, or seconds since the epoch")
        for field, told in (("hostname", hostname), ("source_type_name", source_type)):
            clean = "" if told is None else wire.clean_field(told)
            if clean:
                more[field] = clean
        return more

    def check(self, name: str, status: object, tags: tuple[str, ...], message: object, limit: int) -> None:
        """Queue a service check that takes at most `limit` bytes."""
        known, clean = number(status), self._names.clean(name, {}) or "unnamed"
        if self._strict and clean != name:
            raise ConfigurationError(f"check name {name[:80]!r} is not usable; {clean!r} would be")
        if known not in wire.STATUSES:
            if self._strict:
                raise one_of("status", wire.text(status), wire.STATUSES)
            known = 3
        tags = self._fitting(tags, limit // 2)
        free = limit - wire.size(",".join(tags)) - len(clean) - len("_sc||0|#|m:")
        text = wire.cut_bytes(wire.clean_message(message, wire.MAX_TEXT), free)
        status = wire.STATUSES.index(known)  # 1.0 equals 1, and prints otherwise
        arguments = {"check_name": clean, "status": status, "tags": list(tags), "message": text or None}
        self._put("service_check", arguments)

    def _put(self, method: str, arguments: dict[str, Any], on_sent: Callable[[], object] | None = None) -> None:
        if self.closed:
            with self._lock:
                self.left_out += 1
            self._log_once("dialect", f"plain StatsD has no {method.replace('_', ' ')}s")
            return
        if len(self._queue) >= CAPACITY:
            self._lose()  # the newest is dropped: the first event of an incident says most
            return
        self._queue.append(Message(method, arguments, self._clock(), on_sent))

    def ship(self, send: Callable[[Message], bool]) -> bool:
        """Send what waits, oldest first, until one is refused. True if nothing is left. Under the flush lock."""
        while self._queue:
            message, on_sent = self._queue[0], None
            if self._clock() - message.born > MAX_AGE:
                self._lose()
            else:
                on_sent = message.on_sent
                try:
                    if not send(message):
                        return False
                except Exception:  # no fault of the way; it would be the first for ever, and all would wait behind it
                    self._queue.popleft()
                    self._lose()
                    raise
            self._queue.popleft()
            if on_sent is not None:
                self._call(on_sent)
        return True

    def _call(self, on_sent: Callable[[], object]) -> None:
        """What follows an event waits for no fault of the user's."""
        try:
            on_sent()
        except Exception as error:
            if self._log_limit.due(0, error):
                log_fault(
                    _log, error, "on_sent of an event raised; further ones like it are not logged for %d s", LOG_EVERY
                )

    def _lose(self) -> None:
        with self._lock:
            self.lost += 1
        self._log_once("queue", f"{CAPACITY} events and checks wait for the Agent already, or one is an hour old")

    def _log_once(self, cause: str, why: str) -> None:
        if cause not in self._logged:
            self._logged.add(cause)
            _log.warning("lost by cause %r: %s. Further losses are not logged: see stats.lost", cause, why)

    def lost_by_cause(self) -> dict[str, int]:
        """How many events and checks were lost."""
        with self._lock:
            return {"queue": self.lost, "dialect": self.left_out}

    def clear(self) -> None:
        """At the start, and in a child, where what waits is the parent's."""
        self._queue: deque[Message] = deque()
        # Guards the two below, each in one statement; taken again for what a signal's handler puts.
        self._lock = threading.RLock()
        self.lost: int = 0  # too many, or too old
        self.left_out: int = 0  # what the dialect has no word for
