"""Parses a line of a DogStatsD datagram as the Agent does: a metric, an event, a service check, or a rejected line.

Where the Agent is lenient, so is this parser (it skips an unknown section; the last tags count). A line that the Agent
drops in silence becomes a `Rejected` with the reason. Nothing raises, whatever the bytes, and the parsed texts hold no
control character. Pure functions and frozen values, any thread.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

KINDS: Final = {
    "c": "count",
    "g": "gauge",
    "d": "distribution",
    "h": "histogram",
    "ms": "timer",
    "s": "set",
}
SAMPLES: Final = frozenset({"distribution", "histogram", "timer"})
NOT_A_NUMBER: Final = "a value that is not a number: the Agent drops the line without a word"
NOT_FINITE: Final = "a value that is NaN or infinite: the Agent drops the line without a word"
AGENT_READS: Final = 8192  # bytes of a datagram, at most
LARGEST: Final = 1e100  # of a value, and of the number of values it stands for: their sums stay within a float's range

_NUMBER: Final = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_NO_NUMBER: Final = re.compile(r"[+-]?(?:nan|inf|infinity)", re.IGNORECASE)
_EVENT: Final = re.compile(rb"_e\{([0-9]{1,9}),([0-9]{1,9})\}:")
_ALERTS: Final = frozenset({"error", "warning", "info", "success"})


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric line. `weight` is how many values each value stands for, from the sample rate."""

    name: str
    kind: str
    tags: tuple[str, ...]
    values: tuple[str, ...]
    weight: float


@dataclass(frozen=True, slots=True)
class Event:
    """One event, unescaped."""

    title: str
    text: str
    alert_type: str
    tags: tuple[str, ...]
    aggregation_key: str


@dataclass(frozen=True, slots=True)
class Check:
    """One service check; `status` is 0 (OK), 1 (WARNING), 2 (CRITICAL) or 3 (UNKNOWN)."""

    name: str
    status: int
    message: str
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rejected:
    """A line that is not counted; `reason` is one of a few fixed sentences, `line` the beginning of the line."""

    reason: str
    line: str


def read_line(raw: bytes) -> Metric | Event | Check | Rejected:
    """Read one line, without its LF."""
    raw = raw.removesuffix(b"\r")
    if raw.startswith(b"_e{"):
        found: Metric | Event | Check | str = _event(raw)
    elif raw.startswith(b"_sc|"):
        found = _check(printable(raw))
    else:
        found = _metric(printable(raw))
    return Rejected(found, printable(raw[:300])) if isinstance(found, str) else found


def printable(raw: bytes, keep: str = "") -> str:
    """Bytes as text that cannot move a terminal's cursor; the characters of `keep` stay."""
    text = raw.decode("utf-8", "replace")
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() or one in keep else " " for one in text)


def _metric(line: str) -> Metric | str:
    name, colon, rest = line.partition(":")
    packed, *sections = rest.split("|")
    if not name or not colon:
        return "no metric: name:value|type is missing a name or a value"
    kind = KINDS.get(sections[0]) if sections else None
    if kind is None:
        return "no type that there is: c, g, d, h, ms or s"
    values = (packed,) if kind == "set" else tuple(packed.split(":"))
    for value in values:
        if kind != "set" and _NUMBER.fullmatch(value) is None:
            return NOT_FINITE if _NO_NUMBER.fullmatch(value) else NOT_A_NUMBER
    weight, tags = 1.0, ""
    for section in sections[1:]:
        if section.startswith("@"):
            rate = float(section[1:]) if _NUMBER.fullmatch(section[1:]) else 0.0
            if not 1 / LARGEST <= rate <= LARGEST:
                return f"a sample rate that is not above 0, or beyond {LARGEST:g} either way"
            weight = 1 / rate
        elif section.startswith("#"):
            tags = section[1:]
        elif section.startswith("T") and not section[1:].isdecimal():
            return "a timestamp that is no whole number"
    return Metric(name, kind, _tags(tags), values, weight)


def _tags(text: str) -> tuple[str, ...]:
    """Sorted, as the order of tags does not distinguish series; without duplicates."""
    return tuple(sorted({tag for tag in text.split(",") if tag}))


def _event(raw: bytes) -> Event | str:
    head = _EVENT.match(raw)
    if head is None:
        return "an event without its two lengths"
    title, middle = head.end() + int(head[1]), head.end() + int(head[1]) + 1
    end = middle + int(head[2])
    if raw[title:middle] != b"|" or end > len(raw) or raw[end : end + 1] not in (b"", b"|") or title == head.end():
        return "an event whose lengths, in bytes, are not those of its title and text"
    alert, tags, key = "info", "", ""
    for section in printable(raw[end + 1 :]).split("|"):
        if section.startswith("t:") and section[2:] in _ALERTS:
            alert = section[2:]
        elif section.startswith("k:"):
            key = section[2:]
        elif section.startswith("#"):
            tags = section[1:]
    shown = (printable(one.replace(b"\\n", b"\n"), "\n") for one in (raw[head.end() : title], raw[middle:end]))
    return Event(next(shown).replace("\n", " "), next(shown), alert, _tags(tags), key)


def _check(line: str) -> Check | str:
    _, name, status, *sections = [*line.split("|"), "", ""]
    if not name or status not in ("0", "1", "2", "3"):
        return "a service check without a name, or with a status that is not 0 to 3"
    message, tags = "", ""
    for section in sections:
        if section.startswith("m:"):
            message = section[2:]
        elif section.startswith("#"):
            tags = section[1:]
    return Check(name, int(status), message, _tags(tags))
