"""The unit of a metric, and sparklines. Pure, any thread."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import Final

from ..dashboards.shipped import Shipped, shipped
from ..insight.numbers import figure as figure
from ..insight.numbers import number as number
from ..insight.numbers import time_of as time_of
from ..insight.numbers import unit_by_name
from ..metrics.catalogue import statsd_metrics

_BARS: Final = "▁▂▃▄▅▆▇█"
_OURS: Final = re.compile(r"(?:^|\.)(websocket\..*)")  # a namespace may precede it


@functools.cache
def _ours() -> dict[str, Shipped]:
    return shipped(statsd_metrics())


@functools.lru_cache(maxsize=20_000)
def unit_of(name: str, kind: str) -> str:
    """The unit of a metric's values: from the catalogue for our metrics, from the name for others; '' if unknown."""
    found = _OURS.search(name)
    ours = _ours().get(found[1]) if found else None
    if ours is not None:
        return ours.unit
    return unit_by_name(name) or ("millisecond" if kind == "timer" else "")


def sparkline(history: Sequence[float | None], width: int) -> str:
    """The latest figures as bars, scaled between the lowest and the highest; a blank where there is no figure."""
    shown = history[-width:]
    known = [value for value in shown if value is not None]
    if not known:
        return " " * width
    low, high = min(0.0, *known), max(known)
    span = high - low
    bars = [
        " " if value is None else _BARS[round((value - low) / span * (len(_BARS) - 1)) if span else 0]
        for value in shown
    ]
    return "".join(bars).rjust(width)
