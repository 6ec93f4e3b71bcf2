"""Plain StatsD, for servers other than a Datadog Agent: series as lines without tags, and how they are sent.

Such servers have in common: `c`, `g`, `ms` and `s`, one value per line, numbers without an exponent. A sign before a
gauge's value means a difference, so a zero is sent before a negative value. Tags may be part of the name, as Graphite
or InfluxDB write them. Without tags, counts and timers of one name add up, and only one series of a gauge can be sent.
Runs under the flush lock, like the classes it replaces.
"""

from __future__ import annotations

import contextlib
import logging
import re
import socket
from collections.abc import Generator, Iterable, Iterator, Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final, Literal

from .. import wire
from ..metrics.reading import converted
from ..metrics.store import Series
from .agent import Agent
from .delivery_stats import Line
from .packing import Packer

TagFormat = Literal["graphite", "influx"]
SEPARATORS: Final[dict[str, str]] = {"graphite": ";", "influx": ","}
# A distribution is also sent as a timer, whatever it measures.
TYPES: Final = {
    "counter": "c",
    "sum": "c",
    "gauge": "g",
    "set": "s",
    **dict.fromkeys(("summary", "distribution", "timing"), "ms"),
}
_log = logging.getLogger(__name__)
_NOT_IN_NAME: Final = re.compile(r"[^A-Za-z0-9_.-]")


def tagged_name(name: str, tags: Iterable[str], tag_format: TagFormat | None) -> str:
    """The name with its tags, `key=value`; a tag without a value becomes `key=true`. Without a format, the name."""
    if tag_format is None:
        return name
    pairs = (tag.partition(":") for tag in tags)
    texts = [f"{_NOT_IN_NAME.sub('_', key)}={_NOT_IN_NAME.sub('_', value) or 'true'}" for key, _, value in pairs]
    return SEPARATORS[tag_format].join((name, *texts))


def plain_number(value: float | Fraction) -> str | None:
    """A number as exact text without an exponent; None if no float holds it."""
    text = wire.format_value(value + 0)  # -0.0 becomes 0.0, without a sign
    return format(Decimal(text), "f") if text is not None and "e" in text else text


def _number(value: float, divisor: float | None) -> str | None:
    try:
        return plain_number(converted(value, divisor))
    except OverflowError:  # many huge integers add up to more than a float holds
        return None


def plain_rate(weight: int) -> str:
    """The sample rate of a value that stands for `weight`."""
    return str(plain_number(1 / weight))


def exact_weights(weight: int) -> list[int]:
    """Weights that add up to this one and that a server computes exactly, as 1 divided by their rate."""
    largest = weight
    while 1 / (1 / largest) != largest:
        largest -= 1
    return [largest] + [1] * (weight - largest)


class PlainPacker(Packer):
    """Turns series into lines that any StatsD server reads."""

    types: Mapping[str, str] = TYPES

    def __init__(self, tag_format: TagFormat | None, *args: Any) -> None:
        super().__init__(*args)
        self._tag_format = tag_format
        self._gauges: dict[str, Series] = {}  # by the name on the wire: the only series that is sent
        self._tags_of: dict[str, tuple[str, ...]] = {}  # by the name on the wire: the first tags written like this
        self._alike_logged = False

    def _written(self, name: str, tags: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
        written = tagged_name(name, tags, self._tag_format)
        first = self._tags_of.setdefault(written, tags) if self._tag_format is not None else tags
        if first != tags and not self._alike_logged:
            self._alike_logged = True
            _log.warning(
                "the tags %r and %r are both written as %r, and counted together; use only letters, digits, _, . and - "
                "in tags. Further cases are not logged",
                *(",".join(first), ",".join(tags), written),
            )
        return written, ()

    def tidy(self, series: int) -> None:
        """Also drop the names of expired series."""
        super().tidy(series)
        if len(self._tags_of) > 2 * series + 1000:
            self._tags_of = {}

    def packets(self, all_series: Iterable[Series]) -> Generator[list[Line], None, None]:
        """Lines in packets, as in Packer. A gauge's name becomes free when its series has expired."""
        known = list(all_series)
        alive = set(map(id, known))
        self._gauges = {name: series for name, series in self._gauges.items() if id(series) in alive}
        return super().packets(known)

    def _line(self, series: Series, value: float, amount: float, upto: float) -> Iterator[Line]:
        head, text = self._head(series), _number(value, series.divisor)
        if series.kind == "gauge" and self._gauges.setdefault(head.name, series) is not series:
            why = f"gauges {series.name!r} differ in tags, which plain StatsD does not have; only the first is sent"
            hint = "Set tag_format='graphite' or 'influx' to write tags into the name"
            if self._tag_format is not None:
                hint = f"Both are written as {head.name!r}"
            self.lose(series, 1, "untagged", f"{why}. {hint}")
            return
        if text is not None and series.kind == "gauge" and text.startswith("-"):
            text = f"0|g\n{head.name}:{text}"
        if text is not None and head.size + len(text) < wire.LINE_BYTES:
            yield Line(series, head.name, text, (), 1, head.size + len(text), amount, upto)
        else:
            self.unsendable(series, amount, head.size)

    def _samples(self, series: Series, batches: list[tuple[list[float], int]]) -> Iterator[Line]:
        """One line for each value of the first batch, with the weights that Packer uses."""
        head = self._head(series)
        kept, left = batches.pop(0)
        weight, more = divmod(left, len(kept))
        used = 0
        try:
            for value in kept:
                factor = weight + 1 if used < more else weight
                text = _number(value, series.divisor)
                parts = exact_weights(factor)
                for number, part in enumerate(parts, 1):
                    used, left = used + (number == len(parts)), left - part
                    size = head.size + len(text or "") + (len("|@") + len(plain_rate(part)) if part > 1 else 0)
                    if text is not None and text.startswith("-"):
                        self.lose(series, part, "unsendable", f"{series.name!r}: plain StatsD has no negative timers")
                    elif text is not None and size < wire.LINE_BYTES:
                        yield Line(series, head.name, text, (), part, size, part, batch=[value])
                    else:
                        self.unsendable(series, part, size)
        finally:
            if left:
                batches.insert(0, (kept[used:], left))


class PlainAgent(Agent):
    """Sends lines unchanged: the official client, which would add DogStatsD fields to each, only opens the socket."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.suffix = 0

    def is_complete(self, taken: list[int | None]) -> bool:
        return len(taken) == 1

    def _write(self, lines: Iterable[Line]) -> None:
        sock = self._client.socket
        data = "\n".join(map(_text, lines)).encode()
        with contextlib.suppress(OSError):  # the socket keeps the error
            if sock.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE) == socket.SOCK_STREAM:
                sock.sendall(data + b"\n")
            else:
                sock.send(data)


def _text(line: Line) -> str:
    rate = f"|@{plain_rate(line.weight)}" if line.weight > 1 else ""
    return f"{line.name}:{line.value}|{TYPES[line.series.kind]}{rate}"
