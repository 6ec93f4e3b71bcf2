"""The demo's summary: figures from both ends, and whether they agree. Pure, no thread."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Final

from ..reporters.figures import Stats

SLOW_TITLE: Final = "Slow message processing: "  # the guide's words for the slow alert


@dataclass(frozen=True, slots=True)
class Staged:
    """What the feed sent and did to the client, and what the client received."""

    sent: int
    received: int
    drops: int
    slow_sent: int


@dataclass(frozen=True, slots=True)
class Counted:
    """What telemetry counted: the metrics at the receiver, or the events on the bus (`source` says which)."""

    source: str
    messages: int
    reconnects: int
    slow: int
    slow_types: frozenset[str]


@dataclass(frozen=True, slots=True)
class Arrived:
    """What the local receiver received."""

    datagrams: int
    malformed: int
    alerts: tuple[str, ...]  # titles of the slow alerts
    alert_types: frozenset[str]


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the summary: figures that have to agree."""

    label: str
    text: str
    holds: bool


@dataclass(frozen=True, slots=True)
class Summary:
    """What the demo found: checks for people, figures for programs."""

    checks: tuple[Check, ...]
    figures: dict[str, Any]

    @property
    def adds_up(self) -> bool:
        """True if every check holds."""
        return all(check.holds for check in self.checks)

    def lines(self) -> list[str]:
        """For the terminal."""
        verdict = "The numbers add up:" if self.adds_up else "The numbers do NOT add up, see the lines marked with !!:"
        width = max(len(check.label) for check in self.checks)
        marks = ["  " if check.holds else "!!" for check in self.checks]
        lines = zip(marks, self.checks, strict=True)
        return [verdict, *(f"{mark} {check.label:<{width}}  {check.text}" for mark, check in lines)]


def summarize(staged: Staged, counted: Counted, stats: Stats, flushed: bool, arrived: Arrived | None) -> Summary:
    """Compare the figures. `arrived` is None if a real Agent received them; then the reporter's own figures count."""
    checks = [
        _messages(staged, counted),
        Check(
            "reconnects",
            f"{_many(staged.drops, 'drop')}, {_many(counted.reconnects, 'reconnect')}",
            staged.drops == counted.reconnects,
        ),
        _alerts(staged, counted, arrived),
        *([_datagrams(stats, arrived)] if arrived is not None else []),
        _reporter(stats, flushed),
    ]
    figures = {
        **{key: value for key, value in asdict(staged).items() if key != "slow_sent"},
        "counted": counted.messages,
        "counted_as": counted.source,
        "reconnects": counted.reconnects,
        "slow_messages": counted.slow,
        "alerts": len(arrived.alerts) if arrived is not None else None,
        "datagrams": stats.packets,
        "datagrams_received": arrived.datagrams if arrived is not None else None,
        "malformed": arrived.malformed if arrived is not None else None,
        "delivered": stats.delivered,
        "pending": stats.pending,
        "lost": dict(stats.lost),
        "last_error": stats.last_error,
        "adds_up": all(check.holds for check in checks),
    }
    return Summary(tuple(checks), figures)


def _messages(staged: Staged, counted: Counted) -> Check:
    ends = f"{staged.sent:,} sent by the feed = {staged.received:,} received by the client"
    text = f"{ends} = {counted.messages:,} counted by {counted.source}"
    return Check("messages", text, 0 < staged.sent == staged.received == counted.messages)


def _alerts(staged: Staged, counted: Counted, arrived: Arrived | None) -> Check:
    """At least one alert for every type with a slow message, and none for another type."""
    slow = _many(counted.slow, "slow message")
    enough = counted.slow >= staged.slow_sent
    if arrived is None:
        return Check("alerts", f"{slow}; the alert is an event in Datadog", enough)
    first = f": {arrived.alerts[0]}" if arrived.alerts else ""
    return Check(
        "alerts",
        f"{slow}, {_many(len(arrived.alerts), 'alert')}{first}",
        enough and arrived.alert_types == counted.slow_types and len(arrived.alerts) <= counted.slow,
    )


def _datagrams(stats: Stats, arrived: Arrived) -> Check:
    return Check(
        "datagrams",
        f"{stats.packets:,} sent = {arrived.datagrams:,} received, {arrived.malformed:,} malformed",
        stats.packets == arrived.datagrams and not arrived.malformed,
    )


def _reporter(stats: Stats, flushed: bool) -> Check:
    lost = ", ".join(f"{amount:,.0f} lost ({cause})" for cause, amount in stats.lost.items()) or "0 lost"
    error = f"; last error: {stats.last_error}" if stats.last_error and (stats.lost or stats.pending) else ""
    text = (
        f"{stats.delivered:,.0f} counts delivered in {stats.packets:,} datagrams, {lost}, {stats.pending:,.0f} pending"
    )
    return Check("reporter", text + error, flushed and not stats.lost and not stats.pending and stats.packets > 0)


def _many(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def slow_alerts(events: Iterable[Any]) -> tuple[tuple[str, ...], frozenset[str]]:
    """Titles and type tags of the slow alerts among Datadog events."""
    slow = [event for event in events if event.title.startswith(SLOW_TITLE)]
    types = frozenset(tag for event in slow for tag in event.tags if tag.startswith("type:"))
    return tuple(event.title for event in slow), types
