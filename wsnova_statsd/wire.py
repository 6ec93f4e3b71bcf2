"""DogStatsD as pure functions: clean names, tags and texts, values, and the packing of values by bytes.

No thread, no I/O. Input may be any object of any size; the output can be written into a datagram without forging a
second metric (the Agent has no escape for LF, `|` and `,` except `\\n` in events). The rules are those of the Agent's
own parser. The limits: 200 characters for a name or tag, 4000 for an event's text, 100 for its key, 8192 bytes for a
datagram.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import islice
from typing import Final, Literal

UDP_BYTES: Final = 1432
UNIX_BYTES: Final = 8192
LINE_BYTES: Final = 8192  # what the Agent reads of a datagram: a line larger than a packet is sent alone, up to this
EVENT_BYTES: Final = 8192
MAX_NAME: Final = 200
MAX_TAG: Final = 200
MAX_TEXT: Final = 4000
MAX_KEY: Final = 100
CUT_MARK: Final = "...[cut]"
AlertType = Literal["error", "warning", "info", "success"]
ALERT_TYPES: Final = ("error", "warning", "info", "success")
Priority = Literal["normal", "low"]
PRIORITIES: Final = ("normal", "low")
STATUSES: Final = (0, 1, 2, 3)
_AT_ONCE: Final = 1000  # values that one `%` formats, in a tenth of a millisecond: it blocks all other threads

_MOST_TAGS: Final = UNIX_BYTES // 2  # no datagram holds more; an endless iterable is cut here

_NOT_NAME: Final = re.compile(r"[^A-Za-z0-9_.]")
_NOT_TAG: Final = re.compile(r"[^\w\-:./]")
_NOT_FIELD: Final = re.compile(r"[^\w\-:./ ]")
_NOT_MEMBER: Final = re.compile(r"[^\w\-./ ]")
_CONTROL: Final = re.compile(r"[\x00-\x09\x0b-\x1f]")
_OURS_ALONE: Final = "dd.internal."  # tags by which the Agent moves a metric to another pod
_WHOLE: Final = 1 << 63  # below this, a sum of floats without a fraction is written as an integer
_DIGEST: Final = 8  # hexadecimal digits appended to a text that was changed
_COLLECTIONS: Final = (list, tuple, set, frozenset, Mapping)
_class_name: Final = type.__dict__["__name__"].__get__  # a metaclass may return something else, or raise


def text(value: object, limit: int | None = None) -> str:
    """Any object as plain text that UTF-8 can encode, its first `limit` characters.

    If its `__str__` raises, the name of its class. Only an Exception is caught: KeyboardInterrupt, SystemExit and the
    like are meant for the thread they occur in.
    """
    try:
        whole = _as_text(value)
    except Exception:  # a user's __str__ may raise anything; telemetry never breaks the observed program
        whole = str.__str__(_class_name(type(value)))
    whole = whole[:limit]
    return whole if whole.isascii() else whole.encode("utf-8", "replace").decode()  # lone surrogates become `?`


def _as_text(value: object) -> str:
    if value is True or value is False:
        return "true" if value else "false"  # as in JSON and in every tracer
    # The builtin's own methods: a subclass may override each of them.
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, bytes):
        return bytes.decode(value, "utf-8", "replace")
    return str.__str__(str(value))


def clean_name(name: object, prefix: str = "") -> str:
    """The part of a metric or check name after `prefix`: letters, digits, `_` and `.`; '' if nothing is left.

    The whole name begins with a letter and has at most 200 characters; a prefix ends in a dot, and no dot follows it.
    """
    clean = _NOT_NAME.sub("_", text(name, MAX_NAME + 50))
    if prefix:
        clean = clean.lstrip(".")
    elif clean and not (clean[0].isascii() and clean[0].isalpha()):
        clean = clean.lstrip("_.0123456789")
    return clean[: MAX_NAME - len(prefix)]


def clean_tag(tag: object, *, host: bool = False) -> str:
    """One tag: any character but word characters, `-`, `:`, `.` and `/` becomes `_`; at most 200 characters, no `:` at
    its end.

    '' if nothing is left, or for `dd.internal.*`. `host:`, by which the Agent moves a metric to another host, stays
    only with `host` True, for tags that the program itself wrote as `host:value`, never for what came from a server.
    """
    given = text(tag, MAX_TAG)
    clean = _NOT_TAG.sub("_", given).strip(":")
    key, colon, _ = clean.partition(":")
    moves = key.lower() == "host" and not (host and colon and given.startswith("host:"))
    return "" if moves or key.lower().startswith(_OURS_ALONE) else clean


def clean_tags(tags: object, *, host: bool = False) -> tuple[str, ...]:
    """Tags from a list of `key:value` texts or a mapping, without None values, empty tags and duplicates."""
    cleaned = (clean_tag(tag, host=host) for tag in tag_texts(tags) or ())
    return tuple(dict.fromkeys(tag for tag in cleaned if tag))


def tag_texts(tags: object) -> list[str] | None:
    """Tags as texts that are not yet clean; if the iteration raises, those before.

    None if `tags` is neither a list of tags nor a mapping: a str, each of whose characters would be a tag, or a list in
    a list.
    """
    texts: list[str] = []
    with contextlib.suppress(Exception):
        if isinstance(tags, Mapping):
            for key, value in islice(tags.items(), _MOST_TAGS):
                shown = "" if value is None else text(value, MAX_TAG + 1)  # one more character shows that it is cut
                if shown:
                    texts.append(f"{text(key, MAX_TAG + 1)}:{shown}")
        elif isinstance(tags, Iterable) and not isinstance(tags, str | bytes):
            for tag in islice(tags, _MOST_TAGS):
                if issubclass(type(tag), _COLLECTIONS):  # not isinstance: an object's __class__ may raise or be wrong
                    return None
                texts += [] if tag is None else [text(tag, MAX_TAG + 1)]
        elif tags is not None:
            return None
    return texts


def fit_tags(tags: tuple[str, ...], limit: int) -> tuple[str, ...]:
    """As many of the first tags as fit into `limit` bytes with their commas."""
    used = -1
    for index, tag in enumerate(tags):
        used += 1 + size(tag)
        if used > limit:
            return tags[:index]
    return tags


def clean_text(value: object, limit: int) -> str:
    """An event's title or text before it is escaped: CR LF and CR become LF, other control characters a space.

    The Agent reads a literal backslash-n as a line feed; there is no escape for it.
    """
    flat = _CONTROL.sub(" ", text(value, 4 * limit).replace("\r\n", "\n").replace("\r", "\n"))
    return flat if len(flat) <= limit else flat[: limit - len(CUT_MARK)] + CUT_MARK


def clean_field(value: object, limit: int = MAX_KEY) -> str:
    """A field that has no escape, such as an aggregation key: a character that could end it becomes `_`."""
    return _NOT_FIELD.sub("_", text(value, limit)).strip()


def clean_key(value: object, limit: int = MAX_KEY) -> str:
    """A field that identifies something, such as an aggregation key: two different texts stay different.

    If cleaning or cutting changes the text, a digest of the whole text is appended.
    """
    return _distinct(text(value), _NOT_FIELD, limit)


def clean_member(value: object) -> str:
    """A member of a set, which ends at the next `:`; two different texts stay different."""
    return _distinct(text(value), _NOT_MEMBER, MAX_KEY)


def _distinct(whole: str, unusable: re.Pattern[str], limit: int) -> str:
    clean = unusable.sub("_", whole).strip()[:limit]
    if clean == whole:
        return clean
    digest = hashlib.blake2b(whole.encode(), digest_size=_DIGEST // 2).hexdigest()
    return f"{clean[: limit - _DIGEST - 1]}-{digest}"


def clean_message(value: object, limit: int) -> str:
    """A service check's message: one line without `|`."""
    return " ".join(clean_text(value, limit).split("\n")).replace("|", "_").strip()


def fit_event(title: str, message: str, tags: Sequence[str], key: str, limit: int) -> tuple[str, str]:
    """Title and text, cut with a mark if necessary, so that the whole escaped event stays within `limit` bytes."""
    fixed = len(f"_e{{{MAX_TEXT},{EVENT_BYTES}}}:|") + len("|t:warning") + size(",".join(tags)) + 2
    fixed += size(key) + 3 if key else 0
    title = cut_bytes(title, min(limit // 4, limit - fixed))
    return title, cut_bytes(message, limit - fixed - _escaped_size(title))


def cut_bytes(value: str, limit: int) -> str:
    """The text cut to `limit` bytes as an event's escaped field, with a mark at the end if it was cut."""
    if _escaped_size(value) <= limit:
        return value
    limit -= len(CUT_MARK)
    low, high = 0, min(len(value), MAX_TEXT - len(CUT_MARK))  # the Agent counts characters, too
    while low < high:  # bisect: the size grows with every character
        middle = (low + high + 1) // 2
        low, high = (middle, high) if _escaped_size(value[:middle]) <= limit else (low, middle - 1)
    return value[:low] + CUT_MARK


def size(value: str) -> int:
    """Length in bytes, the length that matters on the wire."""
    return len(value) if value.isascii() else len(value.encode("utf-8"))


def _escaped_size(value: str) -> int:
    return size(value) + value.count("\n")


def format_value(value: float | Fraction) -> str | None:
    """A number as exact text: integers in full, floats by repr. None for a number that the Agent would drop."""
    if isinstance(value, Fraction):
        value = value.numerator if value.denominator == 1 and abs(value) < _WHOLE else float(value)
    if isinstance(value, int):
        return str(value) if abs(value) < 1 << 1023 else None
    return repr(float(value)) if math.isfinite(value) else None


def rate_of(weight: int) -> float:
    """The sample rate that makes the Agent count a value `weight` times.

    The Agent truncates 1/rate to an integer; the next float below 1/n never truncates to n-1.
    """
    return math.nextafter(1 / weight, 0)


def join_values(values: Sequence[float], divisor: float | None = None) -> str:
    """Samples divided by `divisor`, as text joined by `:`, at C speed.

    Integers are exact: a divisor that is a power of ten becomes an exponent (1234567 ns are `1234567e-6` ms). Floats
    have 13 significant digits, which C writes without big-number arithmetic; the Agent's sketch keeps two or three.
    """
    whole = _whole_format(divisor) if type(sum(values)) is int else None  # the sum is an int if all values are
    if whole is None and divisor is not None:
        values = [value / divisor for value in values]
    one = "%.13g:" if whole is None else whole
    pieces = (values[start : start + _AT_ONCE] for start in range(0, len(values), _AT_ONCE))
    return "".join([one * len(piece) % tuple(piece) for piece in pieces])[:-1]


@functools.cache
def _whole_format(divisor: float | None) -> str | None:
    """The format of an integer divided by `divisor`; None if no exponent expresses it."""
    if divisor is None:
        return "%d:"
    exponent = round(math.log10(divisor))
    return f"%de{-exponent}:" if float(f"1e{exponent}") == divisor else None


def cut_values(joined: str, limit: int) -> Iterator[tuple[str, int]]:
    """Joined values in pieces of at most `limit` bytes, each as full as possible, with the number of its values.

    A single value longer than the limit is a piece by itself; the caller drops what does not fit into a datagram.
    """
    start, end = 0, len(joined)
    while start < end:
        cut = end
        if end - start > limit:
            cut = joined.rfind(":", start, start + limit + 1)
            cut = cut if cut >= 0 else joined.find(":", start)
            cut = cut if cut >= 0 else end
        piece = joined[start:cut]
        yield piece, piece.count(":") + 1
        start = cut + 1
