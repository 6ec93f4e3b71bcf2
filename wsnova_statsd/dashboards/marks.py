"""Which objects in Datadog are ours: the mark that they carry, and what was changed in them since.

The mark `wsnova-statsd:<name>:<hash>` is the last line of the description of a dashboard or an SLO, or a tag of a
monitor; the hash is of the document that was sent. Datadog adds keys to a document, and those are ignored. Pure
functions, no thread.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from .datadog import Json

_PREFIX: Final = "wsnova-statsd"
_MARK: Final = re.compile(rf"{_PREFIX}:([a-z0-9_.-]+):([0-9a-f]{{16}})\Z")
_NOT_NAME: Final = re.compile(r"[^a-z0-9_.-]")
_LONGEST: Final = 120  # characters of a name: a tag has 200 in all
_SAME: Final = {"metric alert": "query alert"}  # two words of Datadog's for one thing


@dataclass(frozen=True, slots=True)
class Mark:
    """The name that distinguishes an object from all others of its kind, and the hash of what was sent."""

    name: str
    digest: str

    def __str__(self) -> str:
        return f"{_PREFIX}:{self.name}:{self.digest}"


def mark_name(*parts: str) -> str:
    """The name of a mark made of these parts: a character that no tag may hold is replaced, and a name that is too long
    for a tag is cut. A hash then keeps the name distinct: metrics of `Feeds` and `feeds` are not the same."""
    name = "-".join(parts)
    clean = _NOT_NAME.sub("-", name.lower())
    return clean if clean == name and len(clean) <= _LONGEST else f"{clean[: _LONGEST - 17]}-{digest(name)}"


def digest(document: Any) -> str:
    """The hash of a document, whatever the order of its keys and of its tags, and whether a number is 1 or 1.0."""
    text = json.dumps(_plain(document), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def marked(name: str, document: Json, *, by_tag: bool) -> Json:
    """The document with its mark, as a tag or as the last line of its description."""
    mark = str(Mark(name, digest(document)))
    if by_tag:
        return {**document, "tags": [*document["tags"], mark]}
    return {**document, "description": f"{document['description']}\n\n{mark}"}


def mark_of(found: Mapping[str, Any], *, by_tag: bool) -> Mark | None:
    """The mark of an object in Datadog, None if it has none."""
    tags = found.get("tags") or []
    lines = str(found.get("description") or "").rstrip().splitlines()[-1:]
    for text in tags if by_tag else lines:
        mark = _MARK.match(str(text).strip())
        if mark:
            return Mark(mark[1], mark[2])
    return None


def unmarked(found: Mapping[str, Any], *, by_tag: bool) -> Json:
    """An object of Datadog's without its mark."""
    plain = dict(found)
    if by_tag:
        plain["tags"] = [tag for tag in found.get("tags") or [] if not _MARK.match(str(tag))]
    else:
        lines = str(found.get("description") or "").rstrip().splitlines()
        plain["description"] = "\n".join(line for line in lines if not _MARK.match(line.strip())).rstrip()
    return plain


def edits(sent: Any, found: Any, path: str = "") -> Iterator[str]:
    """The keys that were sent and have another value in what was found, as paths."""
    if isinstance(sent, dict) and isinstance(found, Mapping):
        for key, value in sent.items():
            yield from edits(value, found.get(key), f"{path}.{key}" if path else key)
    elif _is_list_of_objects(sent) and isinstance(found, list) and len(found) == len(sent):
        for index, (one, other) in enumerate(zip(sent, found, strict=True)):
            yield from edits(one, other, f"{path}[{index}]")
    elif _plain(sent) != _plain(found):
        yield path


def unchanged_since(digested: str, found: Json, like: Json) -> bool:
    """Whether this is what was sent with that hash, even if another document would be sent now. Keys that no such
    document has at that place are Datadog's."""
    return digest(_only(found, _places(like))) == digested


_Places = dict[str, Any]  # for each key, what may be below it; below a list, for all of its objects together


def _places(document: Any) -> _Places:
    """The keys of a document, by what contains them. Objects of a list with different types have different keys."""
    found: _Places = {}
    if isinstance(document, dict):
        for key, value in document.items():
            found[key] = _places(value)
    elif _is_list_of_objects(document):
        for one in document:
            _join(found.setdefault(_type(one), {}), _places(one))
    return found


def _join(known: _Places, more: _Places) -> None:
    for key, below in more.items():
        _join(known.setdefault(key, {}), below)


def _only(found: Any, places: _Places) -> Any:
    if isinstance(found, Mapping):
        return {key: _only(value, places[key]) for key, value in found.items() if key in places}
    if _is_list_of_objects(found):
        return [_only(one, places.get(_type(one), {})) for one in found]
    return found


def _type(one: Mapping[str, Any]) -> str:
    """What distinguishes an object of a list: its type, or that of its definition."""
    inner = one.get("definition")
    return f"type {(inner if isinstance(inner, Mapping) else one).get('type', '')}"


def _is_list_of_objects(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, Mapping) for one in value)


def _plain(value: Any) -> Any:
    """A value to compare: a list of texts (tags) without its order, a whole number without its point."""
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list):
        plain = [_plain(one) for one in value]
        return sorted(plain) if all(isinstance(one, str) for one in plain) else plain
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str):
        return _SAME.get(value, value.strip())
    return value
