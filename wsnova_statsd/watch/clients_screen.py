"""The clients screen: a few lines for each client, and the KPIs of the selected client. Pure, any thread."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from .clients import ClientView, Judged
from .figures import figure, number, time_of
from .text import STATUSES, Item, Line, Page, Span, item, matches, paragraph, wrap

_KEY = len("reconnection_success_rate")
_NARROW = 60  # columns
_INDENT = 4


def page(clients: list[ClientView], needle: str, width: int) -> Page:
    """The clients that match the filter."""
    shown = [one for one in clients if not needle or matches(needle, one.name, one.error, *one.workers)]
    empty = "no client of wsnova_statsd has sent a metric" + (f" that contains {needle!r}" if needle else " yet")
    return Page([], [_item(one, width) for one in shown], empty)


def _item(client: ClientView, width: int) -> Item:
    state, style = {True: ("connected", "good"), False: ("DOWN", "bad"), None: ("", "dim")}[client.up]
    head: Line = [("● " if client.up is not None else "  ", style), (client.name, "bold"), (f"  {state}", style)]
    if client.for_s is not None:
        head.append((f" {time_of(client.for_s) if client.for_s >= 1 else '0 s'}", style))
    lines = [head]
    if facts := _facts(client):
        lines += [
            [(one, "")] for one in wrap([f"    {facts[0]}", *(f"  {fact}" for fact in facts[1:])], width, width, 4)
        ]
    if client.error:
        age = "" if client.error_age is None else f", {time_of(max(1.0, client.error_age))} ago"
        lines += paragraph(f"last error: {client.error}{age}", width, "warn", _INDENT)
    missed = [one for one in client.kpis if one.kpi.ok is False]
    if missed:
        lines.append([(f"    {len(missed)} of its targets missed", _style(missed))])
    return item(client.name, lines, partial(_kpis, client))


def _facts(client: ClientView) -> list[str]:
    figures: list[tuple[str, float | None, Callable[[float], str]]] = [
        ("rtt", client.rtt, time_of),
        ("received/s", client.received, number),
        ("sent/s", client.sent, number),
        ("waiting", client.waiting, number),
        ("behind", client.behind, time_of),
        ("reconnects", client.reconnects or None, number),
    ]
    facts = [f"{name} {shown(value)}" for name, value, shown in figures if value is not None]
    return [*facts, f"worker {', '.join(client.workers)}"] if client.workers else facts


def _style(judged: list[Judged]) -> str:
    return STATUSES[max((one.kpi.status or 0) for one in judged)][1]


def _kpis(client: ClientView, width: int) -> list[Line]:
    """Each KPI with its value, target and verdict; missed KPIs come first."""
    lines: list[Line] = [[(f"KPIs of {client.name}", "bold")]]
    for one in sorted(client.kpis, key=lambda one: one.kpi.ok is not False):
        kpi = one.kpi
        target = "" if kpi.target is None else f"{kpi.target[0]} {kpi.target[1]:g}"
        verdict: Span = ("", "") if kpi.status is None else STATUSES[kpi.status]
        worker = one.worker if len(client.workers) > 1 else ""
        style = verdict[1] if kpi.ok is False else ""
        if width < _NARROW:
            words = [kpi.key, f" {_value(kpi.value)}", target and f" {target}", verdict[0] and f" {verdict[0]}"]
            lines += [[(line, style)] for line in wrap(words, width, width, 4)]
        else:
            lines.append([(f"{kpi.key:<{_KEY}}  {_value(kpi.value):>9}  ", style), (f"{target:<9} ", "dim"), verdict])
            lines[-1].append((f"  {worker}" if worker else "", "key"))
    return lines if client.kpis else [[("no KPI of this client has arrived", "dim")]]


def _value(value: float | None) -> str:
    return figure(value) if value is None or value >= 1 or not value else f"{value:.4g}"
