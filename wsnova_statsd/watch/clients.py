"""The state of each client of wsnova_statsd, as its metrics report it: link, delay, KPIs and last error.

Read from the series and service checks that arrived, so it works for clients in any process. Pure, any thread.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from ..insight.kpi_report import Kpi
from ..profiles import KpiTargets
from .snapshot import Row, Snapshot

OVERALL: Final = "all clients"
_OURS: Final = re.compile(r"(?:^|\.)websocket\.(.+)")  # a namespace may precede it
_MISSED: Final = re.compile(r"(\w+) [^,\s]+, target ([<>]) ([^,\s]+)")  # the format in the message of websocket.health
_KPI: Final = "kpi."
_HEALTH: Final = "health"


@dataclass(frozen=True, slots=True)
class Judged:
    """One KPI of a client in one process."""

    kpi: Kpi
    worker: str


@dataclass(frozen=True, slots=True)
class ClientView:
    """One client. None: no metric has reported the value. Times are in seconds, rates per second."""

    name: str
    up: bool | None
    for_s: float | None  # since the link was established, or lost
    workers: tuple[str, ...]
    rtt: float | None
    received: float | None
    sent: float | None
    waiting: float | None
    behind: float | None
    reconnects: float
    error: str  # the last one
    error_age: float | None
    kpis: tuple[Judged, ...]


def clients_of(snapshot: Snapshot, targets: KpiTargets) -> list[ClientView]:
    """The clients by name, preceded by the figures over all clients.

    The targets that a client has missed come from its service check, all others from `targets`.
    """
    rows: dict[str, list[tuple[str, Row]]] = defaultdict(list)
    for row in snapshot.rows:
        found = _OURS.search(row.name)
        client = tag_of(row.tags, "client") or (OVERALL if "scope:all" in row.tags else "")
        if found and client:
            rows[client].append((found[1], row))
    missed = _missed(snapshot)
    views = [_client(name, of, {**targets, **missed.get(name, {})}) for name, of in rows.items()]
    return sorted(views, key=lambda view: (view.name != OVERALL, view.name))


def tag_of(tags: Iterable[str], key: str) -> str:
    """The value of a tag; '' if there is no such tag."""
    return next((tag[len(key) + 1 :] for tag in tags if tag.startswith(f"{key}:")), "")


def _missed(snapshot: Snapshot) -> dict[str, dict[str, tuple[str, float]]]:
    """For each client, the missed targets that its check names; they are those of the client's own profile."""
    found: dict[str, dict[str, tuple[str, float]]] = defaultdict(dict)
    for check in snapshot.checks:
        name = _OURS.search(check.name)
        if name and name[1] == _HEALTH:
            client = tag_of(check.tags, "client") or OVERALL
            for key, sign, limit in _MISSED.findall(check.message):
                try:
                    found[client][key] = sign, float(limit)
                except ValueError:  # another program's check of the same name
                    continue
    return found


def _client(name: str, of: list[tuple[str, Row]], targets: Mapping[str, tuple[str, float] | None]) -> ClientView:
    up = _gauges(of, "connection.up", min)
    made, lost = _youngest(of, "connection.completed"), _youngest(of, "connection.disconnected")
    since = made if up else lost
    error = _youngest(of, "error.occurred")
    return ClientView(
        name=name,
        up=None if up is None else bool(up),
        for_s=None if since is None or up is None else since.age,
        workers=tuple(sorted({worker for _, row in of if (worker := tag_of(row.tags, "worker"))})),
        rtt=_scaled(_gauges(of, "heartbeat.rtt", max), 1e-3),
        received=_rates(of, "received"),
        sent=_rates(of, "sent"),
        waiting=_gauges(of, "message.waiting", sum),
        behind=_scaled(_gauges(of, "message.behind", max), 1e-3),
        reconnects=sum(row.total for key, row in of if key == "connection.reconnect.success"),
        error="" if error is None else f"{tag_of(error.tags, 'type')} ({tag_of(error.tags, 'severity')})",
        error_age=None if error is None else error.age,
        kpis=_kpis(of, targets),
    )


def _gauges(of: list[tuple[str, Row]], key: str, join: Callable[[list[float]], float]) -> float | None:
    """The value of a gauge, joined over the processes that report it."""
    values = [row.value for name, row in of if name == key and row.kind == "gauge" and row.value is not None]
    return join(values) if values else None


def _rates(of: list[tuple[str, Row]], direction: str) -> float | None:
    """Messages per second, from the sums, which are sent in every profile."""
    tag = f"direction:{direction}"
    rates = [row.rate for key, row in of if key == "message.batch.count" and tag in row.tags and row.rate is not None]
    return sum(rates) if rates else None


def _youngest(of: list[tuple[str, Row]], key: str) -> Row | None:
    """The series of this name that was counted most recently."""
    return min((row for name, row in of if name == key and row.total), key=lambda row: row.age, default=None)


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def _kpis(of: list[tuple[str, Row]], targets: Mapping[str, tuple[str, float] | None]) -> tuple[Judged, ...]:
    judged = []
    for name, row in of:
        if name.startswith(_KPI) and row.value is not None:
            key = name.removeprefix(_KPI)
            target, ok = targets.get(key), None
            if target is not None:
                ok = row.value > target[1] if target[0] == ">" else row.value < target[1]
            judged.append(Judged(Kpi(key, row.value, target, ok, 0), tag_of(row.tags, "worker")))
    order = list(targets)
    return tuple(sorted(judged, key=lambda one: (_rank(order, one.kpi.key), one.kpi.key, one.worker)))


def _rank(order: list[str], key: str) -> int:
    return order.index(key) if key in order else len(order)
