"""The one rule of how a value is read from a measurement and a tag from metadata. Pure functions, any thread.

A counter counts occurrences and never reads a value. For the other kinds: a missing measurement omits the sample; what
is there and is no finite number (NaN, infinity, bool, None, text, beyond HIGHEST) is skipped and counted.
A missing or empty tag value omits the tag, never the sample.
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

HIGHEST: Final = 1 << 960  # near a float's largest, with room: sums and conversions stay within it
LOWEST: Final = -HIGHEST
# The catalogue's keys with bounded values leave as they are; its free texts and all other keys redacted, whatever the
# profile: with the metadata filter off, or another in its place, anything may be in there.
_BOUNDED: Final = frozenset(key for spec in CATALOGUE.values() for key in spec.metadata) - FREE_TEXTS - {"uri"}
_CONSTANT: Final = "="  # begins, in place of a metadata key, the one value that a tag has: `=all`
MISSING: Final = object()  # stands for a metadata key that is not there


def number(value: object) -> int | float | None:
    """The value, plain, if it is a number that a float can hold; None if it is none."""
    plain = value if type(value) is int or type(value) is float else _plain(value)
    return plain if plain is not None and LOWEST <= plain <= HIGHEST else None


def _plain(value: object) -> int | float | None:
    """A number of another class: an enum's, a Decimal, a Fraction, a scalar of numpy."""
    try:
        if isinstance(value, bool):
            return None
        if isinstance(value, int):
            return int.__int__(value)  # not by its own methods, which may say something else
        if isinstance(value, float):
            return float.__float__(value)
        if isinstance(value, Integral):
            return int(value)
        if isinstance(value, Real | Decimal):
            return float(value)
    except Exception:  # not one that a float can hold, or an object that raises whatever it is asked
        pass
    return None


_FINEST: Final = 1074  # every float is a whole multiple of 2 ** -1074


def fixed(value: float) -> int:
    """A float as a multiple of 2 ** -1074: such integers add up without rounding, in one step of C."""
    numerator, denominator = value.as_integer_ratio()
    return numerator << (_FINEST + 1 - denominator.bit_length())


def unfixed(value: int) -> Fraction:
    """The sum that `fixed` values came to."""
    return Fraction(value, 1 << _FINEST)


def plain(value: float | Fraction) -> float:
    """A sum as users read it."""
    return float(value) if isinstance(value, Fraction) else value


def converted(value: float, divisor: float | None) -> float:
    """The value in the unit that is shipped. Conversion always gives a float: durations are never truncated."""
    return value if divisor is None else value / divisor


def constant(key: str) -> str | None:
    """The value of a tag that is the same on all samples, None for the key of a tag that has its value from metadata."""
    return key.removeprefix(_CONSTANT) if key.startswith(_CONSTANT) else None


def tags_of(
    pairs: Sequence[tuple[str, str]], metadata: Mapping[str, Any], own: tuple[str, ...] = ()
) -> tuple[str, ...]:
    """The clean tags of one sample, for pairs (tag name, metadata key), then a client's `own`; where both have a name,
    the sample's stands."""
    found: dict[str, object] = {}
    for tag, key in pairs:
        same = constant(key)
        if same is not None:
            found[tag] = same
        elif metadata.get(key, MISSING) is not MISSING:
            found[tag] = _leaving(key, metadata[key])
    tags = wire.clean_tags(found)
    if own:
        taken = {tag for tag, _ in pairs}
        tags += tuple(tag for tag in own if tag.partition(":")[0] not in taken)
    return tags


def own_tags(metadata: Mapping[str, Any]) -> tuple[str, ...]:
    """The clean tags that a client was given, and that stand on everything it emits."""
    given = metadata.get(TAGS)
    return wire.clean_tags(given) if isinstance(given, Mapping) else ()


def _leaving(key: str, value: object) -> object:
    """A tag's value as it may leave the process; None, no tag, for a key that names a secret."""
    if key in _BOUNDED or value is None:
        return value
    return None if is_sensitive(key) else redact_text(wire.text(value))
