"""Incidents of one rule: which alert is sent at once, what is held back, and when an incident is over.

An incident is of one client and message type. Every occurrence stands in exactly one alert; an alert leaves at once or
a cool-down after the last one; when an incident is over, one recovery follows. Fed with time by one caller at a time.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable
from typing import Final

from .rules import Breach, Rule
from .sinks import Alert

_MAX_INCIDENTS: Final = 1000  # the client bounds types, an application's own events may not
_MAX_VALUES: Final = 16_384  # of 8 bytes; with more the p95 is that of every second one, every fourth, ...


class Tally:
    """A number of values, the highest with its breach, and their p95."""

    __slots__ = ("_step", "_values", "count", "highest", "worst")

    def __init__(self) -> None:
        self.count = 0
        self.highest: float | None = None
        self.worst: Breach | None = None
        self._values = array("d")
        self._step = 1

    def add(self, breach: Breach) -> None:
        """Count one more."""
        value = breach.value
        if self.worst is None or (value is not None and (self.highest is None or value > self.highest)):
            self.worst, self.highest = breach, value
        if value is not None and self.count % self._step == 0:
            self._values.append(value)
            if len(self._values) >= _MAX_VALUES:
                del self._values[1::2]
                self._step *= 2
        self.count += 1

    @property
    def p95(self) -> float | None:
        """The value that 95 % do not exceed (nearest rank)."""
        values = sorted(self._values)
        return values[-(-95 * len(values) // 100) - 1] if values else None


class _Incident:
    """`active`: the last verdict was a breach. `told`: an alert was sent, and no recovery since."""

    __slots__ = ("active", "count", "held", "highest", "told", "told_at")

    def __init__(self) -> None:
        self.told_at = -math.inf
        self.told = self.active = False
        self.held = Tally()
        self.count = 0  # since the last recovery
        self.highest: float | None = None


class Incidents:
    """`tell` is called with every alert."""

    def __init__(self, rule: Rule, tell: Callable[[Alert], object]) -> None:
        self._rule = rule
        self._tell = tell
        self._open: dict[tuple[str, str], _Incident] = {}
        self.told = self.recovered = 0

    @property
    def open(self) -> int:
        """Any thread: how many incidents have an alert and no recovery yet."""
        return sum(one.told for one in self._open.copy().values())

    def clear(self) -> None:
        """Forget them all."""
        self._open.clear()

    def fired(self, client: str, breach: Breach, now: float) -> float:
        """The rule fired: send an alert at once, or hold it back. Returns when to look at the incident again."""
        key = (client, breach.type)
        incident = self._open.get(key)
        if incident is None:
            if len(self._open) >= _MAX_INCIDENTS:
                del self._open[next(iter(self._open))]
            incident = self._open[key] = _Incident()
        incident.active = True
        incident.held.add(breach)
        if now - incident.told_at >= self._rule.cool_down:
            self._alert(key, incident, now, now)
        return incident.told_at + self._rule.cool_down

    def over(self, client: str, kind: str | None, now: float) -> float | None:
        """The rule answered CALM for this client, and type unless that is None. Returns when to look again, if ever."""
        keys = [(client, kind)] if kind is not None else [key for key in self._open if key[0] == client]
        dues = []
        for key in keys:
            incident = self._open.get(key)
            if incident is not None:
                incident.active = False
                if incident.told:
                    self._recovery(key, incident)
                dues.append(incident.told_at + self._rule.cool_down)
        return min(dues, default=None)

    def look(self, now: float) -> float | None:
        """Ends of cool-downs: send what was held back; an incident without any is over. Returns when to look again."""
        cool_down, dues = self._rule.cool_down, []
        for key, incident in list(self._open.items()):
            if now - incident.told_at >= cool_down:
                if incident.held.count:
                    self._alert(key, incident, now, None)
                    if not incident.active:
                        self._recovery(key, incident)
                elif self._rule.passes or not incident.active:
                    if incident.told:
                        self._recovery(key, incident)
                    del self._open[key]
                    continue
                else:  # it lasts until the rule fires again or answers CALM
                    continue
            dues.append(incident.told_at + cool_down)
        return min(dues, default=None)

    def _alert(self, key: tuple[str, str], incident: _Incident, now: float, occurred_at: float | None) -> None:
        held, incident.held = incident.held, Tally()
        incident.told, incident.told_at = True, now
        incident.count += held.count
        if held.highest is not None:
            incident.highest = max(held.highest, incident.highest if incident.highest is not None else held.highest)
        self.told += 1
        worst, p95 = held.worst, held.p95
        assert worst is not None
        text = f"{_whose(*key)}: {worst.text}"
        if held.count > 1:
            figures = "" if p95 is None else f", the highest {self._shown(held.highest)}, p95 {self._shown(p95)}"
            text += (
                f" Stands for {held.count} {self._rule.noun} since the last alert{figures};"
                f" at most one alert per client and type in {self._rule.cool_down:g} s."
            )
        self._send(key, self._rule.alert_type, worst.title, text, held.count, held.highest, p95, occurred_at)

    def _recovery(self, key: tuple[str, str], incident: _Incident) -> None:
        count, highest = incident.count, incident.highest
        incident.told, incident.count, incident.highest = False, 0, None
        self.recovered += 1
        figures = "" if highest is None else f", the highest {self._shown(highest)}"
        text = f"{_whose(*key)}: over; {self._rule.noun} in all: {count}{figures}."
        title = f"Recovered: {self._rule.subject}" + (f" for {key[1]}" if key[1] else "")
        self._send(key, "success", title, text, count, highest, None, None)

    def _send(
        self,
        key: tuple[str, str],
        alert_type: str,
        title: str,
        text: str,
        count: int,
        highest: float | None,
        p95: float | None,
        occurred_at: float | None,
    ) -> None:
        rule = self._rule
        self._tell(Alert(rule.name, *key, alert_type, title, text, count, highest, p95, rule.unit, occurred_at))

    def _shown(self, value: float | None) -> str:
        return "" if value is None else self._rule.shown(value)


def _whose(client: str, kind: str) -> str:
    """`client md-1, type trade`, without what is not known."""
    return ", ".join([f"client {client}" if client else "no client", *([f"type {kind}"] if kind else [])])
