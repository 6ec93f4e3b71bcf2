"""Which series of a client are known before anything has occurred: those whose tag values are in the metadata of
telemetry.client.opened or in the catalogue. Pure functions, any thread.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice, product
from typing import Any, Final

from ..events import BY_TYPE, CATALOGUE, EMITS, UNTYPED
from .definitions import Definition
from .reading import own_tags, tags_of

_MOST: Final = 100  # series of one definition and client


def tags_from_start(one: Definition, opened: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """The tags of each series of this metric that a client has; none if a tag's value is not known. `opened` is the
    metadata of telemetry.client.opened."""
    spec = CATALOGUE.get(one.event)
    limits = opened.get(EMITS, {one.event: {}}).get(one.event)
    if spec is None or "client_id" not in opened or limits is None:  # None: the client cannot emit the event
        return
    if one.measurement == UNTYPED and opened.get(BY_TYPE, True):  # each message is counted by its type
        return
    keys, own = [key for _, key in one.tags], own_tags(opened)
    choices = [(opened[key],) if key in opened else limits.get(key) or spec.values(key) for key in keys]
    if None not in choices:
        for values in islice(product(*filter(None, choices)), _MOST):
            yield tags_of(one.tags, {**opened, **dict(zip(keys, values, strict=True))}, own, one.fixed)
