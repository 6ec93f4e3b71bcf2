"""The rule by which values are read from measurements and tags from metadata. Pure functions, any thread.

A counter counts occurrences and never reads a value. For the other kinds, a missing measurement omits the sample; a
measurement that is not a finite number (NaN, infinity, bool, None, text, beyond HIGHEST) is skipped and counted as
invalid. A missing or empty tag value omits the tag, never the sample.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from numbers import Integral, Real
from typing import Any, Final

from .. import wire
from ..events import CATALOGUE, FREE_TEXTS, TAGS
from ..redaction import is_sensitive, redact_text

HIGHEST: Final = 1 << 960  # below the largest float, with room for sums and conversions
LOWEST: Final = -HIGHEST
# The catalogue's keys with bounded values are sent unchanged; its free texts and all other keys are redacted, whatever
# the profile: with the metadata filter off or replaced they may contain anything.
_BOUNDED: Final = frozenset(key for spec in CATALOGUE.values() for key in spec.metadata) - FREE_TEXTS - {"uri"}
MISSING: Final = object()  # stands for a missing metadata key


def number(value: object) -> int | float | None:
    """The value as a plain int or float, if it is a number that a float can hold; None otherwise."""
    plain = value if type(value) is int or type(value) is float else _plain(value)
    return plain if plain is not None and LOWEST <= plain <= HIGHEST else None


def _plain(value: object) -> int | float | None:
    """A number of another class: an enum's, a Decimal, a Fraction, a scalar of numpy."""
    try:
        if isinstance(value, bool):
            return None
        if isinstance(value, int):
            return int.__int__(value)  # not by its own methods, which may be overridden
        if isinstance(value, float):
            return float.__float__(value)
        if isinstance(value, Integral):
            return int(value)
        if isinstance(value, Real | Decimal):
            return float(value)
    except Exception:  # a number that no float can hold, or an object whose methods raise
        pass
    return None


_FINEST: Final = 1074  # every float is a whole multiple of 2 ** -1074


def fixed(value: float) -> int:
    """A float as a multiple of 2 ** -1074: such integers add up without rounding, in one C operation."""
    numerator, denominator = value.as_integer_ratio()
    return numerator << (_FINEST + 1 - denominator.bit_length())


def unfixed(value: int) -> Fraction:
    """The number for a sum of `fixed` values."""
    return Fraction(value, 1 << _FINEST)


def plain(value: float | Fraction) -> float:
    """A sum as a plain number, for users."""
    return float(value) if isinstance(value, Fraction) else value


def converted(value: float, divisor: float | None) -> float:
    """The value in the unit that is sent. A conversion always returns a float: durations are never truncated."""
    return value if divisor is None else value / divisor


def tags_of(
    pairs: Sequence[tuple[str, str]],
    metadata: Mapping[str, Any],
    own: tuple[str, ...] = (),
    fixed: Sequence[tuple[str, str]] = (),
) -> tuple[str, ...]:
    """The clean tags of one sample, from pairs (tag name, metadata key) and `fixed` pairs (tag name, value), then a
    client's `own` tags; if both have a tag name, the sample's tag is used."""
    found = {tag: _safe(key, metadata[key]) for tag, key in pairs if metadata.get(key, MISSING) is not MISSING}
    tags = wire.clean_tags(found | dict(fixed))
    if own:
        taken = {tag for tag, _ in (*pairs, *fixed)}
        tags += tuple(tag for tag in own if tag.partition(":")[0] not in taken)
    return tags


def own_tags(metadata: Mapping[str, Any]) -> tuple[str, ...]:
    """The clean form of a client's own tags, which everything it emits carries."""
    given = metadata.get(TAGS)
    return wire.clean_tags(given) if isinstance(given, Mapping) else ()


def _safe(key: str, value: object) -> object:
    """A tag's value as it may be sent; None, which makes no tag, for a key that names a secret."""
    if key in _BOUNDED or value is None:
        return value
    return None if is_sensitive(key) else redact_text(wire.text(value))
