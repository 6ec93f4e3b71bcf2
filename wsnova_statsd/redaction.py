"""The metadata filter: what counts as sensitive, and how it is removed from keys, texts and addresses.

Pure functions without state, safe from any thread. All input is hostile: texts are cut before they are searched, every
search is linear, structures are bounded in depth and number, and nothing here raises. When in doubt, more is removed
than needed. Bodies and headers are dropped by the name of their key, without a look at their content.
"""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Container, Mapping, Set
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from itertools import islice
from typing import Final, TypeAlias
from uuid import UUID

SENSITIVE: Final = (
    *("token", "secret", "password", "passwd", "authorization", "cookie"),
    *("signature", "api_key", "apikey", "listen_key", "credential", "session"),
)
REDACTED: Final = "***"
INVALID_URL: Final = "invalid"

_SEPARATORS: Final = re.compile(r"[\W_]+")  # "X-Api-Key", "api key" and "api\0key" are one word
_SECRET_WORDS: Final = frozenset(_SEPARATORS.sub("", word) for word in SENSITIVE)
_WHOLE_LINE: Final = frozenset({"authorization", "cookie"})  # their values hold blanks and semicolons
# "TokenError: reason" names a class, not a token.
_ERROR_NAMES: Final = ("Error", "Exception", "Rejected", "Failed", "Timeout")

_BODY_WORDS: Final = frozenset({"body", "bodies", "payload", "payloads", "header", "headers"})
_BODY_KEYS: Final = frozenset({"message", "messages", "data", "content", "frame", "frames", "raw"})
_CAMEL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[^A-Za-z0-9]+")

_MAX_KEY: Final = 200  # characters; longer keys are dropped
_MAX_DEPTH: Final = 6
_MAX_NODES: Final = 1000  # values visited in one call: shared references multiply faster than depth bounds them
_MAX_URL: Final = 2048
_MAX_CAUSES: Final = 10  # causes of an error that a stand-in shows: the chain may be endless
_OVERHANG: Final = 300  # more characters than user-info and host can have, see _clean

_URL: Final = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.\-]{0,19})://(?P<authority>[^/]*)(?P<path>.*)")
_HOST_PORT: Final = re.compile(r"(\[[0-9A-Fa-f:.]{2,45}\]|[\w.\-]{1,253})(?::([0-9]{0,5}))?")
_OPAQUE: Final = re.compile(r"(?=[^0-9]*[0-9])[\w.\-~=+%]{32,}")  # a listen key or a JWT as a path segment

# In a text without any of these the searches below find nothing.
_SUSPECT: Final = re.compile(r"[:=@?#]|bearer|basic", re.IGNORECASE)
_URL_IN_TEXT: Final = re.compile(r"(?<![A-Za-z0-9+.\-])[A-Za-z0-9+.\-]*+://[^\s\"'<>]*")
_TARGET: Final = re.compile(r"(?<![^\s\"'(=])(/[^\s?#\"']{0,512}+)[?#][^\s\"']*+")  # "GET /ws?key=1"
_SCHEME: Final = re.compile(
    r"(bearer|basic)(?:[\s:=+]|%20)++(?:tokens?\b[\s:=]++)?+(?!auth(?:entication|orization)?(?:[\s,;]|\.?\Z))[^\s,;\"'&]++",
    re.IGNORECASE,
)
_KEY: Final = re.compile(
    r"(?<![\w.\-])(?<!://)((?:(?:api|listen) )?+[\w.\-]++)\\*[\"']?\s*+[:=]++>?\s*+", re.IGNORECASE
)
_QUOTE: Final = re.compile(r"[bru]{0,2}(\\*[\"'])", re.IGNORECASE)
# A comma or semicolon ends a value only before another key.
_BARE_VALUE: Final = re.compile(r"[^\s&,;]*+(?:[,;](?!\s*+[\"']?[\w.\-]++\\*[\"']?\s*+[:=])[^\s&,;]*+)*+")
_USER_INFO: Final = re.compile(r"(?<![^\s\"'(\[=,<])[^\s:@/\"'(\[=,<]{1,256}+:[^\s@/]{1,256}+@(?=[\w\[])")


def is_sensitive(key: object) -> bool:
    """Return whether a key names a secret: it contains a word of SENSITIVE in any case, with `-`, `_` or neither."""
    text = _text(key)
    return text is None or _contains(text, _SECRET_WORDS)


def redact_url(url: str) -> str:
    """Return `scheme://host[:port]/path` of a URL, scheme and host in lower case, or "invalid".

    User-info, query, fragment and path parameters are removed; a path segment that looks like a key or token becomes
    `***`.
    """
    found = _URL.fullmatch(re.split(r"[?#]", str(url), maxsplit=1)[0][: _MAX_URL + 1].strip())
    if found is None or len(found[0]) > _MAX_URL or " " in found[0] or not found[0].isprintable():
        return INVALID_URL
    host = _HOST_PORT.fullmatch(found["authority"].rpartition("@")[2])
    if host is None or int(host[2] or 0) > 65535:
        return INVALID_URL
    port = f":{host[2]}" if host[2] else ""
    # A second URL inside the path may have its own user-info.
    path = "/".join(map(_segment, found["path"].partition("://")[0].split("/")))
    return f"{found['scheme'].lower()}://{host[1].lower()}{port}{path}"


def redact_text(text: str, limit: int = 500) -> str:
    """Return an error text on one line, without anything that looks secret, at most `limit` bytes of UTF-8.

    Removed are user-info, query and fragment of URLs, the values of sensitive keys (`key=value`, `key: value`, JSON),
    `Bearer` and `Basic` credentials, header lines of sensitive headers, and control characters.
    """
    text = _clean(text, 4 * max(limit, 0) + 2 * _OVERHANG)
    if _SUSPECT.search(text):
        text = _URL_IN_TEXT.sub(_url, text)
        text = _TARGET.sub(rf"\1?{REDACTED}", text)
        text = _SCHEME.sub(rf"\1 {REDACTED}", text)
        text = _USER_INFO.sub(f"{REDACTED}@", _pairs(text))
    return text.replace("\n", " ").strip().encode()[: max(limit, 0)].decode("utf-8", "ignore")


def filter_metadata(metadata: Mapping[str, object], keep: Container[str] = ()) -> dict[str, object]:
    """Return a copy of an event's metadata without secrets, bodies and headers; the values of the keys in `keep` stay.

    Nested mappings, lists and tuples are filtered too, six deep and a thousand values at most. An exception becomes
    "ClassName: redacted message"; bytes and foreign objects become their size or class in angle brackets.
    """
    walk = _Walk()
    kept: dict[str, object] = {}
    for key, value in metadata.items():
        if isinstance(key, str) and key in keep:
            kept[key] = value
        else:
            walk.add(kept, key, value, 1)
    return kept


def describe_error(error: BaseException) -> str:
    """Return "ClassName: redacted message" for an exception, whatever its `__str__` does."""
    name = redact_text(type(error).__name__, 100)
    message = redact_text(_text(error) or "")
    return f"{name}: {message}" if message else name


def one_line(text: str) -> str:
    """The text with its control characters escaped: a log record that shows it is one line, and safe on a terminal."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def log_fault(log: logging.Logger, error: BaseException, text: str, *args: object) -> None:
    """Log an error with its traceback, its texts redacted. Raises nothing that a logging handler raises."""
    with contextlib.suppress(Exception):
        log.error(text, *args, exc_info=_stand_in(error, _MAX_CAUSES), stacklevel=2)


def _stand_in(error: BaseException, causes: int) -> BaseException:
    """A copy of an error that is safe to log: its traceback, a class of the same name, and redacted one-line texts,
    including those of its notes and causes. The members of an exception group are left out."""
    kind = type(error)
    named = type(kind.__name__, (Exception,), {"__module__": kind.__module__, "__qualname__": kind.__qualname__})
    made: BaseException = named(redact_text(_text(error) or ""))
    with contextlib.suppress(Exception):  # an error whose own attributes raise
        made.__traceback__ = error.__traceback__
        for note in getattr(error, "__notes__", ())[:_MAX_CAUSES]:
            made.add_note(redact_text(_text(note) or ""))
        cause, context = error.__cause__, None if error.__suppress_context__ else error.__context__
        if cause is not None:
            made.__cause__ = _stand_in(cause, causes - 1) if causes else None
        elif context is not None:
            made.__context__ = _stand_in(context, causes - 1) if causes else None
    return made


_Items: TypeAlias = list[object] | tuple[object, ...] | Set[object]


class _Walk:
    """One pass over one structure, with a budget of values for the whole of it."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = _MAX_NODES

    def spend(self) -> bool:
        self.left = max(self.left - 1, 0)
        return self.left > 0

    def add(self, into: dict[str, object], key: object, value: object, depth: int) -> None:
        text = _text(key) if self.spend() else None
        name = redact_text(text, _MAX_KEY) if text is not None and len(text) <= _MAX_KEY else None
        if name is not None and name not in into and not _is_dropped(name):  # b"type" must not replace "type"
            into[name] = self.value(value, depth)

    def value(self, value: object, depth: int) -> object:
        match value:
            case None | bool() | int() | float() | Enum() | Decimal() | UUID() | date() | time() | timedelta():
                return value
            case str():
                return redact_text(value)
            case BaseException():
                return describe_error(value)
            case bytes() | bytearray():
                return f"<{len(value)} bytes>"
            case Mapping() | list() | tuple() | Set() if depth < _MAX_DEPTH:
                return self.container(value, depth + 1)
        return f"<{redact_text(type(value).__name__, 100)}>"

    def container(self, value: Mapping[object, object] | _Items, depth: int) -> object:
        try:
            if isinstance(value, Mapping):
                into: dict[str, object] = {}
                for key, item in islice(value.items(), self.left):
                    self.add(into, key, item, depth)
                return into
            if not isinstance(value, Set) and len(value) == 2 and isinstance(value[0], str) and is_sensitive(value[0]):
                return REDACTED  # ("Authorization", "..."): a header as a pair
            items = [self.value(item, depth) for item in islice(value, self.left) if self.spend()]
            return tuple(items) if isinstance(value, tuple) else items
        except Exception:  # raised by the container's own code: keep the key, drop the content
            return REDACTED


def _is_dropped(key: str) -> bool:
    words = _CAMEL.sub("_", key).strip("_").lower().split("_")
    return is_sensitive(key) or not _BODY_WORDS.isdisjoint(words) or (len(words) == 1 and words[0] in _BODY_KEYS)


def _contains(key: str, words: frozenset[str]) -> bool:
    squashed = _SEPARATORS.sub("", key.casefold())
    return any(word in squashed for word in words)


def _text(value: object) -> str | None:
    try:
        return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    except Exception:  # a foreign __str__
        return None


def _clean(text: str, window: int) -> str:
    """Cut to the window and drop control and invisible characters; LF stays, any other whitespace becomes a space."""
    cut = text[:window]
    if not cut.isprintable():
        cut = cut.replace("\r", "\n")  # before any search: "pass\0word=x" must not slip through
        cut = "".join(c if c.isprintable() or c == "\n" else " " if c.isspace() else "" for c in cut)
    if len(text) <= window:
        return cut
    # A word that the cut divides, such as "user:pass" before its "@", may no longer look like a secret: drop it.
    tail = cut[-_OVERHANG:]
    return cut[:-_OVERHANG] + tail[: max(tail.rfind(" "), tail.rfind("\n")) + 1]


def _url(found: re.Match[str]) -> str:
    url = found[0].rstrip(".,;:!?)}\\|`" if "[" in found[0] else ".,;:!?)}\\|`]")
    redacted = redact_url(url)
    return (REDACTED if redacted == INVALID_URL else redacted) + found[0][len(url) :]


def _segment(segment: str) -> str:
    """One segment of a path, without parameters and without what looks like a key."""
    segment = segment.partition(";")[0]
    user, at, host = segment.rpartition("@")
    if at and ":" in user:
        segment = f"{REDACTED}@{host}"
    key, equals, _ = segment.partition("=")
    hidden = f"{key}={REDACTED}" if equals and is_sensitive(key) else segment
    return REDACTED if _OPAQUE.fullmatch(segment) else hidden


def _pairs(text: str) -> str:
    """Replace the value of every `key=value`, `key: value` and `"key": "value"` whose key is sensitive."""
    parts: list[str] = []
    done = at = 0
    while found := _KEY.search(text, at):
        at = found.end()
        if is_sensitive(found[1]) and not found[1].endswith(_ERROR_NAMES):
            end = _value_end(text, found)
            if end > at:
                parts += text[done:at], REDACTED
                done = at = end
    return "".join(parts) + text[done:]


def _value_end(text: str, found: re.Match[str]) -> int:
    """Where the value of a sensitive key ends. If unsure, too late rather than too early."""
    start = found.end()
    line_end = text.find("\n", start) % (len(text) + 1)  # without an LF, the end of the text
    if ":" in found[0] and not text[text.rfind("\n", 0, found.start()) + 1 : found.start()].strip():
        return line_end  # a header line
    if opening := _QUOTE.match(text, start):
        end = text.find(opening[1], opening.end())
        while end > 0 and text[end - 1] == "\\":
            end = text.find(opening[1], end + 1)
        return len(text) if end < 0 else end + len(opening[1])
    if text[start : start + 1] in tuple("{[(") or _contains(found[1], _WHOLE_LINE):
        return line_end
    bare = _BARE_VALUE.match(text, start)
    return bare.end() if bare else start
