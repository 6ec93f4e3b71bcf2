"""Incidents of one rule: which alert is sent at once, what is held back, and when an incident is over.

An incident is of one client, message type and, for some rules, further tags. An alert is sent at once or a cool-down
after the last one. When the incident is over, one recovery is sent, which includes what was held back. An incident that
begins and ends within the cool-down of an earlier alert is reported only by its recovery, at the end of the cool-down.
Plain objects that are given the time; one caller at a time.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable
from typing import Final

from ..redaction import one_line
from ..wire import AlertType
from .rules import Breach, Calm, Rule
from .sinks import Alert

_MAX_INCIDENTS: Final = 1000  # a client bounds its types, but an application's own events may not
_MAX_VALUES: Final = 16_384  # of 8 bytes; beyond that the p95 is that of every second value, every fourth, ...


class Tally:
    """The number of breaches, the highest value with its breach, and the values' p95."""

    __slots__ = ("_step", "_values", "count", "highest", "worst")

    def __init__(self) -> None:
        self.count: int = 0
        self.highest: float | None = None
        self.worst: Breach | None = None
        self._values = array("d")
        self._step = 1

    def add(self, breach: Breach) -> None:
        """Count one more breach."""
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


_Key = tuple[str, str, tuple[str, ...]]  # client, message type and further tags


class _Incident:
    """`alerted`: an alert was sent, and no recovery since. `over_at`: when the incident is over, unless the rule fires
    or returns another verdict before."""

    __slots__ = ("alerted", "alerted_at", "count", "held", "highest", "over_at")

    def __init__(self) -> None:
        self.alerted_at = -math.inf
        self.alerted = False
        self.over_at = math.inf
        self.held = Tally()
        self.count = 0  # since the last recovery
        self.highest: float | None = None

    def take(self) -> Tally:
        """Take what was held back, to be reported now."""
        held, self.held = self.held, Tally()
        self.count += held.count
        if held.highest is not None:
            self.highest = max(held.highest, self.highest if self.highest is not None else held.highest)
        return held


class Incidents:
    """The incidents of one rule. `put` is called with every alert."""

    def __init__(self, rule: Rule, put: Callable[[Alert], object]) -> None:
        self._rule = rule
        self._put = put
        self._open: dict[_Key, _Incident] = {}
        self.sent: int = 0
        self.recovered: int = 0

    @property
    def open(self) -> int:
        """Any thread: the number of incidents that have an alert and no recovery yet."""
        return sum(one.alerted for one in self._open.copy().values())

    def clear(self) -> None:
        """Drop all incidents."""
        self._open.clear()

    def fired(self, client: str, breach: Breach, now: float) -> float:
        """The rule fired: send an alert at once, or hold it back. Returns when to look at the incident again."""
        key = (client, breach.type, breach.by)
        incident = self._open.get(key)
        if incident is None:
            if len(self._open) >= _MAX_INCIDENTS:
                self._drop_oldest(now)
            incident = self._open[key] = _Incident()
        incident.over_at = math.inf
        incident.held.add(breach)
        if now - incident.alerted_at >= self._rule.cool_down:
            self._alert(key, incident, now, now)
        return incident.alerted_at + self._rule.cool_down

    def _drop_oldest(self, now: float) -> None:
        key, incident = next(iter(self._open.items()))
        if incident.held.count:
            self._alert(key, incident, now, None)
        del self._open[key]

    def calm(self, client: str, calm: Calm, now: float) -> float | None:
        """The rule returned Calm for this client. Returns when to look again, if ever."""
        dues = []
        for key, incident in list(self._open.items()):
            if key[0] == client and calm.type in (None, key[1]) and calm.by in (None, key[2]):
                incident.over_at = now + calm.after
                dues.append(self._step(key, incident, now))
        return _earliest(dues)

    def look(self, now: float) -> float | None:
        """Time has passed. Returns when to look again, if ever."""
        return _earliest([self._step(key, incident, now) for key, incident in list(self._open.items())])

    def _step(self, key: _Key, incident: _Incident, now: float) -> float:
        """Send what is due of an incident. Returns when to look at it again."""
        is_over = now >= incident.over_at
        if is_over and incident.alerted:
            self._recovery(key, incident)
        ends = incident.alerted_at + self._rule.cool_down
        if now >= ends:
            ends = math.inf
            if incident.held.count and not is_over:
                self._alert(key, incident, now, None)
                ends = now + self._rule.cool_down
            elif is_over or self._rule.passes:
                if incident.alerted or incident.held.count:
                    self._recovery(key, incident)
                del self._open[key]
                return math.inf
        return min(ends, math.inf if is_over else incident.over_at)

    def _alert(self, key: _Key, incident: _Incident, now: float, occurred_at: float | None) -> None:
        held = incident.take()
        incident.alerted, incident.alerted_at = True, now
        self.sent += 1
        worst, p95 = held.worst, held.p95
        assert worst is not None
        text = f"{_scope(*key)}: {worst.text}"
        if held.count > 1:
            figures = "" if p95 is None else f", the highest {self._shown(held.highest)}, p95 {self._shown(p95)}"
            per = ", ".join(["client", "type", *(tag.partition(":")[0] for tag in key[2])])
            text += (
                f" Stands for {held.count} {self._rule.noun} since the last alert{figures};"
                f" at most one alert per {' and '.join(per.rsplit(', ', 1))} in {self._rule.cool_down:g} s."
            )
        self._send(key, self._rule.alert_type, worst.title, text, held.count, held.highest, p95, occurred_at)

    def _recovery(self, key: _Key, incident: _Incident) -> None:
        held = incident.take()
        count, highest = incident.count, incident.highest
        incident.alerted, incident.count, incident.highest = False, 0, None
        self.recovered += 1
        figures = "" if highest is None else f", the highest {self._shown(highest)}"
        text = f"{_scope(*key)}: over; {self._rule.noun} in all: {count}{figures}."
        if held.worst is not None:
            text += f" Since the last alert: {held.count}, the worst: {held.worst.title}."
        about = ", ".join([*([key[1]] if key[1] else []), *(tag.partition(":")[2] for tag in key[2])])
        title = f"Recovered: {self._rule.subject}" + (f" for {about}" if about else "")
        self._send(key, "success", title, text, count, highest, None, None)

    def _send(
        self,
        key: _Key,
        alert_type: AlertType,
        title: str,
        text: str,
        count: int,
        highest: float | None,
        p95: float | None,
        occurred_at: float | None,
    ) -> None:
        rule, (client, kind, by) = self._rule, key
        self._put(
            Alert(rule.name, client, kind, alert_type, title, text, count, highest, p95, rule.unit, occurred_at, by)
        )

    def _shown(self, value: float | None) -> str:
        return "" if value is None else self._rule.shown(value)


def _earliest(dues: list[float]) -> float | None:
    return min((due for due in dues if due < math.inf), default=None)


def _scope(client: str, kind: str, by: tuple[str, ...]) -> str:
    """`client md-1, type trade`, without parts that are not known. Control characters are escaped, because the text is
    also logged."""
    known = [f"type {kind}"] if kind else []
    parts = [f"client {client}" if client else "no client", *known, *(tag.replace(":", " ", 1) for tag in by)]
    return one_line(", ".join(parts))
