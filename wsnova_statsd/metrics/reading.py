"""The one rule of how a value is read from a measurement and a tag from metadata. Pure functions, any thread.

A counter counts occurrences and never reads a value. For the other kinds: a missing measurement omits the sample; what
is there and is no finite number (NaN, infinity, bool, None, text, beyond HIGHEST) is skipped and counted.
A missing or empty tag value omits the tag, never the sample.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from .. import wire

HIGHEST: Final = 1 << 960  # near a float's largest, with room: sums and conversions stay within it
LOWEST: Final = -HIGHEST
MISSING: Final = object()  # stands for a metadata key that is not there


def number(value: object) -> int | float | None:
    """The value if it is a number that a float can hold, None if it is none. An enum's number comes back plain."""
    if isinstance(value, int | float) and not isinstance(value, bool) and LOWEST <= value <= HIGHEST:
        return int.__int__(value) if isinstance(value, int) else float.__float__(value)
    return None


def converted(value: float, divisor: float | None) -> float:
    """The value in the unit that is shipped. Conversion always gives a float: durations are never truncated."""
    return value if divisor is None else value / divisor


def tags_of(pairs: Sequence[tuple[str, str]], metadata: Mapping[str, Any]) -> tuple[str, ...]:
    """The clean tags of one sample, for pairs (tag name, metadata key)."""
    return wire.clean_tags({tag: metadata[key] for tag, key in pairs if metadata.get(key, MISSING) is not MISSING})
