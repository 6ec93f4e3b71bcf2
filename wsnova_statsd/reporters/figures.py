"""A reporter's figures about itself, as a snapshot and as metrics. No thread."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from ..metrics.definitions import Kind
from ..metrics.store import Series
from .delivery_stats import Account

PREFIX: Final = "websocket.reporter."
REPORT_EVERY: Final = 10.0  # seconds: the Agent's window


_NOTHING: Final = Account()


@dataclass(frozen=True, slots=True)
class Stats:
    """A snapshot. `pending` and `delivered` are occurrences of counters; sums and samples have their own accounts.
    `series_by_metric` is the number of `series` of each metric, without those that never had a value; the reporter's
    own figures are in neither.

    `lost` counts by cause, in all accounts and outside them: `unsendable`, lines that fit no packet; `refused`, samples
    of refused packets; `queue`, events and checks that were too many or too old; `invalid`, values that are not numbers
    and so were never counted.
    """

    series: int
    pending: float
    delivered: float
    packets: int
    bytes: int
    lost: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    flusher_restarts: int = 0
    last_error: str | None = None
    counters: Account = _NOTHING
    sums: Account = _NOTHING
    samples: Account = _NOTHING
    flush_ms: float = 0  # duration of the last flush
    flush_errors: int = 0  # exceptions in the flush thread, which continues
    handler_errors: int = 0  # exceptions of handlers on the bus
    series_by_metric: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))

    def __str__(self) -> str:
        """For a person: the accounts, what was lost by cause, and the last error, each on a line."""
        lines = [f"{self.series} series, {self.packets} packets, {self.bytes} bytes, last flush {self.flush_ms:.1f} ms"]
        for name, account in (("counts", self.counters), ("sums", self.sums), ("samples", self.samples)):
            lines.append(f"{name}: {account.pending} pending, {account.delivered} delivered")
        lines.append("lost: " + (", ".join(f"{amount} {cause}" for cause, amount in self.lost.items()) or "nothing"))
        for name in ("flusher_restarts", "flush_errors", "handler_errors"):
            if number := getattr(self, name):
                lines.append(f"{name}: {number}")
        return "\n".join([*lines, f"last error: {self.last_error or 'none'}"])


NOTHING_COUNTED: Final = Stats(series=0, pending=0, delivered=0, packets=0, bytes=0)


class SelfReport:
    """The figures as series that are in no store and no account, but packed like others. Under the flush lock."""

    def __init__(self) -> None:
        self._series: dict[tuple[str, tuple[str, ...]], Series] = {}

    def update(self, stats: Stats) -> list[Series]:
        """The series, updated to these figures: gauges, and totals whose increase is sent."""
        self._at("series", "gauge").value = stats.series
        self._at("flush_ms", "gauge").value = round(stats.flush_ms, 3)
        self._at("samples").total = stats.samples.delivered
        for name in ("packets", "bytes", "flusher_restarts", "flush_errors", "handler_errors"):
            self._at(name).total = getattr(stats, name)
        for cause, amount in stats.lost.items():
            self._at("lost", tags=(f"cause:{cause}",)).total = amount
        for series in self._series.values():
            series.fresh = series.kind == "gauge"
        return list(self._series.values())

    def _at(self, name: str, kind: Kind = "counter", tags: tuple[str, ...] = ()) -> Series:
        series = self._series.get((name, tags))
        if series is None:
            series = self._series[name, tags] = Series(PREFIX + name, kind, tags, None, kind == "gauge")
        return series
