"""A strict reader of DogStatsD datagrams: the independent oracle for everything this library sends.

Written from the protocol alone and sharing no code with the emitter, so that one misunderstanding cannot be in both.
It is stricter than the Agent: what the Agent silently drops, cuts or misreads is an error here. Weighted values
(`Metric.count`) are counted as the Agent counts them.

Pure functions and frozen values: no thread, no socket, no state; safe to call from any thread.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Final, TypeAlias

MAX_DATAGRAM: Final = 8192  # bytes the Agent reads at once; it cuts the rest silently
MAX_NAME: Final = 200
MAX_TAG: Final = 200
MAX_EVENT_TEXT: Final = 4000
MAX_EVENT_KEY: Final = 100

_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.]*")
_NUMBER: Final = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_DIGITS: Final = re.compile(r"[0-9]{1,15}")
_EVENT_HEAD: Final = re.compile(rb"_e\{([0-9]{1,9}),([0-9]{1,9})\}:")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_NOT_IN_TAG: Final = re.compile(r"[^\w:./-]")  # the official client writes `_` for each
_ENTITY: Final = "dd.internal.entity_id:"  # a pod's own identity

_SAMPLED: Final = frozenset({"c", "h", "ms", "d"})  # may be packed, may carry a rate
_TIMED: Final = frozenset({"c", "g"})
_TYPES: Final = frozenset({"c", "g", "h", "ms", "d", "s"})
_ALERTS: Final = frozenset({"error", "warning", "info", "success"})
_PRIORITIES: Final = frozenset({"normal", "low"})
_CARDINALITIES: Final = frozenset({"none", "low", "orchestrator", "high"})
_ORIGIN: Final = ("c:", "e:", "card:")


class DatagramError(ValueError):
    """A datagram breaks a rule of the protocol: `reason` says which, `line` is the offending line as received."""

    def __init__(self, reason: str, line: str = "") -> None:
        super().__init__(reason, line)
        self.reason: str = reason
        self.line: str = line

    def __str__(self) -> str:
        return f"{self.reason}: {self.line[:300]!r}" if self.line else self.reason


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric line; a set has its member in `raw_values` and no number in `values`."""

    name: str
    values: tuple[float, ...]
    type: str
    rate: float
    tags: tuple[str, ...]
    raw_values: tuple[str, ...]
    line: str
    timestamp: int | None = None  # seconds since the epoch
    origin: tuple[str, ...] = ()  # the c:, e: and card: sections as received

    @property
    def count(self) -> float:
        """What the Agent counts for the line: a counter's total; for other types the number of samples it stands for.

        The Agent divides a counter by its rate, but truncates the weight of other samples to an integer.
        """
        if self.type == "c":
            return math.fsum(value / self.rate for value in self.values)
        return float(len(self.raw_values) * int(1 / self.rate))


@dataclass(frozen=True, slots=True)
class Event:
    """One event, its title and text unescaped."""

    title: str
    text: str
    alert_type: str
    aggregation_key: str | None
    tags: tuple[str, ...]
    line: str
    priority: str = "normal"
    hostname: str | None = None
    source_type: str | None = None
    timestamp: int | None = None  # seconds since the epoch
    origin: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ServiceCheck:
    """One service check; `status` is 0 (OK), 1 (WARNING), 2 (CRITICAL) or 3 (UNKNOWN)."""

    name: str
    status: int
    message: str
    tags: tuple[str, ...]
    line: str
    hostname: str | None = None
    timestamp: int | None = None  # seconds since the epoch
    origin: tuple[str, ...] = ()


Message: TypeAlias = Metric | Event | ServiceCheck


def parse_datagram(data: bytes) -> list[Message]:
    """Read every line of one datagram, in order; one LF after the last line is allowed.

    Raises DatagramError for the first line that breaks a rule; then no line of the datagram is returned.
    """
    if len(data) > MAX_DATAGRAM:
        raise DatagramError(f"datagram of {len(data)} bytes, the Agent reads {MAX_DATAGRAM}")
    if not data:
        raise DatagramError("empty datagram")
    return [_parse_line(line) for line in data.removesuffix(b"\n").split(b"\n")]


def _parse_line(raw: bytes) -> Message:
    try:
        line = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DatagramError("not UTF-8", raw.decode("utf-8", "backslashreplace")) from error
    try:
        if not line:
            raise DatagramError("empty line")
        if "\r" in line:
            raise DatagramError("CR in a line")
        if line.startswith("_e{"):
            return _event(raw, line)
        if line.startswith("_sc|"):
            return _service_check(line)
        return _metric(line)
    except DatagramError as error:
        # The functions below know the broken rule; only here the line is known.
        raise DatagramError(error.reason, line) from error.__cause__


def _metric(line: str) -> Metric:
    name, colon, rest = line.partition(":")
    _check(bool(colon), "no value")
    _name(name)
    packed, *sections = rest.split("|")
    _check(bool(sections), "no type")
    kind = sections.pop(0)
    _check(kind in _TYPES, f"unknown type {kind!r}")
    raw_values = tuple(packed.split(":"))
    _check(len(raw_values) == 1 or kind in _SAMPLED, f"packed values for type {kind}")
    _check("" not in raw_values, "empty value")
    values = () if kind == "s" else tuple(map(_number, raw_values))
    found = _sections(sections, ("@", "#", "T", *_ORIGIN))
    _check("@" not in found or kind in _SAMPLED, f"rate on type {kind}")
    _check("T" not in found or kind in _TIMED, f"timestamp on type {kind}")
    rate = _number(found.get("@", "1"))
    _check(0 < rate <= 1, "rate out of (0, 1]")
    return Metric(name, values, kind, rate, _tags(found), raw_values, line, _time(found, "T"), _origin(found))


def _event(raw: bytes, line: str) -> Event:
    head = _EVENT_HEAD.match(raw)
    if head is None:
        raise DatagramError("bad event header")
    middle = head.end() + int(head[1])
    end = middle + 1 + int(head[2])
    fits = len(raw) >= end and raw[middle : middle + 1] == b"|" and raw[end : end + 1] in (b"", b"|")
    _check(fits, "event lengths do not match its UTF-8 bytes")
    # Every cut is next to an ASCII bar, so it never falls inside a character of this valid UTF-8.
    title = raw[head.end() : middle].decode().replace("\\n", "\n")
    text = raw[middle + 1 : end].decode().replace("\\n", "\n")
    _check(bool(title), "empty event title")
    _check(len(text) <= MAX_EVENT_TEXT, f"event text over {MAX_EVENT_TEXT} characters")
    found = _sections(raw[end:].decode().split("|")[1:], ("d:", "h:", "k:", "p:", "s:", "t:", "#", *_ORIGIN))
    key, alert, priority = found.get("k:"), found.get("t:", "info"), found.get("p:", "normal")
    _check(key is None or len(key) <= MAX_EVENT_KEY, f"aggregation key over {MAX_EVENT_KEY} characters")
    _check(alert in _ALERTS, f"bad alert type {alert[:80]!r}")
    _check(priority in _PRIORITIES, f"bad priority {priority[:80]!r}")
    host, source, when = found.get("h:"), found.get("s:"), _time(found, "d:")
    return Event(title, text, alert, key, _tags(found), line, priority, host, source, when, _origin(found))


def _service_check(line: str) -> ServiceCheck:
    _, name, *sections = line.split("|")
    _name(name)
    _check(bool(sections) and sections[0] in ("0", "1", "2", "3"), "service check status not 0..3")
    found = _sections(sections[1:], ("d:", "h:", "#", "m:", *_ORIGIN))
    status, message, when = int(sections[0]), found.get("m:", ""), _time(found, "d:")
    return ServiceCheck(name, status, message, _tags(found), line, found.get("h:"), when, _origin(found))


def _check(holds: bool, reason: str) -> None:
    if not holds:
        raise DatagramError(reason)


def _name(name: str) -> None:
    _check(_NAME.fullmatch(name) is not None, f"bad name {name[:80]!r}")
    _check(len(name) <= MAX_NAME, f"name over {MAX_NAME} characters")


def _number(text: str) -> float:
    # Python's float() also accepts "1_0", " 1" and "nan", and the Agent silently drops NaN and Inf.
    _check(_NUMBER.fullmatch(text) is not None, f"bad number {text[:80]!r}")
    value = float(text)
    _check(math.isfinite(value), f"number {text[:80]!r} is beyond a float's range")
    return value


def _sections(sections: list[str], prefixes: tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for section in sections:
        prefix = next((known for known in prefixes if section.startswith(known)), None)
        if prefix is None:
            raise DatagramError(f"unknown section {section[:80]!r}")
        _check(prefix not in found, f"section {prefix!r} occurs twice")
        found[prefix] = section[len(prefix) :]
        _check(bool(found[prefix]) or prefix in ("#", "m:"), f"empty section {prefix!r}")
    return found


def _tags(found: dict[str, str]) -> tuple[str, ...]:
    if "#" not in found:
        return ()
    tags = tuple(found["#"].split(","))
    for tag in tags:
        _check(bool(tag), "empty tag")
        _check(len(tag) <= MAX_TAG, f"tag over {MAX_TAG} characters")
        _check(not tag.endswith(":"), "tag ends in ':'")
        _check(_CONTROL.search(tag) is None, "control character in a tag")
        _check(_NOT_IN_TAG.search(tag) is None, "a character that no tag may contain")
        moves = tag == "host" or (tag.startswith("dd.internal.") and not tag.startswith(_ENTITY))
        _check(not moves, "a tag that moves its metric to another pod")
    _check(len(set(tags)) == len(tags), "a tag occurs twice")
    return tags


def _time(found: dict[str, str], prefix: str) -> int | None:
    if prefix not in found:
        return None
    _check(
        _DIGITS.fullmatch(found[prefix]) is not None and int(found[prefix]) > 0, "timestamp is not a positive integer"
    )
    return int(found[prefix])


def _origin(found: dict[str, str]) -> tuple[str, ...]:
    _check(found.get("card:", "low") in _CARDINALITIES, "bad cardinality")
    return tuple(prefix + found[prefix] for prefix in _ORIGIN if prefix in found)
