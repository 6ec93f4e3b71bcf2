"""The one rule of how a value is read from a measurement and a tag from metadata. Pure functions, any thread.

A counter counts occurrences and never reads a value. For the other kinds: a missing measurement omits the sample; what
is there and is no finite number (NaN, infinity, bool, None, text, an integer beyond a float) is skipped and counted.
A missing or empty tag value omits the tag, never the sample.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

from .. import wire

HIGHEST: Final = int(sys.float_info.max)
LOWEST: Final = -HIGHEST
MISSING: Final = object()  # stands for a metadata key that is not there


def number(value: object) -> int | float | None:
    """The value if it is a number that a float can hold, None if it is none."""
    if isinstance(value, int | float) and not isinstance(value, bool) and LOWEST <= value <= HIGHEST:
        return value
    return None


def converted(value: float, divisor: float | None) -> float:
    """The value in the unit that is shipped. Conversion always gives a float: durations are never truncated."""
    return value if divisor is None else value / divisor


def tags_of(pairs: Sequence[tuple[str, str]], metadata: Mapping[str, Any]) -> tuple[str, ...]:
    """The clean tags of one sample, for pairs (tag name, metadata key)."""
    return wire.clean_tags({tag: metadata[key] for tag, key in pairs if metadata.get(key, MISSING) is not MISSING})
