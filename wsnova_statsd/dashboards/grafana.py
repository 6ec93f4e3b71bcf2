"""Renders the board for Grafana: a dashboard as JSON in the classic schema, for a Prometheus data source.

The data source is a variable, so the board needs no id of an installation. The guide's four queries come first, as the
guide writes them, each beside a query without its bias; then the sections of the description. Pure functions, no
thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from .. import events
from ..metrics.catalogue import statsd_metrics
from ..metrics.definitions import Definition
from ..profiles import Profile
from ..reporters.families import Naming
from .datadog import Json, title
from .exposed import INSTANCE, Page
from .panels import Panel, Target, sections
from .queries import Line, Query
from .shipped import CAN_CONNECT, OVERALL

SCHEMA: Final = 36  # Grafana 9.0 and later read it, and convert it to their own
_COLUMNS: Final = 24
_SIZES: Final[Mapping[str, tuple[int, int]]] = {"value": (6, 4), "check": (6, 4)}  # width, height
_SIZE: Final = (8, 8)
_STEP: Final = "$__rate_interval"  # four scrapes at least: fewer may show no increase
_SHOWN: Final = "$__range"
_SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
_UNITS: Final = {"%": "percent", "per second": "cps"}
_PER_SECOND: Final = {"bytes": "Bps"}
_ENDINGS: Final = {"_milliseconds": "ms", "_seconds": "s", "_bytes": "bytes"}  # of a name, which says its unit


def _counted(name: str, *by: str, where: tuple[str, ...] = (), per_second: bool = False) -> Query:
    return Query(f"websocket.{name}", "sum", by, where, as_="rate" if per_second else "count")


def _share(part: Query, whole: Query) -> Line:
    return Line("share", (part, whole), "a / b")


_TIMES: Final = "websocket.connection.duration.distribution"
# For each query of the guide: the title of the same without the bias, how it is asked, and its unit.
_UNBIASED: Final[Mapping[str, tuple[str, tuple[Line, ...], str]]] = {
    "Connection Success Rate": (
        "Connection success rate, no dial is no rate",
        (_share(_counted("connection.completed"), _counted("connection.started")),),
        "percentunit",
    ),
    "Average Connection Time": (
        "Average connection time, every dial alike",
        (
            Line("average", (Query(_TIMES, "sum"), Query(_TIMES, "count")), "a / b"),
            Line("p95", (Query(_TIMES, "p95"),)),
        ),
        "ms",
    ),
    "Message Throughput": (
        "Messages received, by exact sums in every profile",
        (
            Line(
                "received",
                (_counted("message.batch.count", "client", where=("direction:received",), per_second=True),),
            ),
        ),
        "per second",
    ),
    "Error Rate": (
        "Share of messages with an error",
        (_share(_counted("message.batch.errors"), _counted("message.batch.count")),),
        "percentunit",
    ),
}


def board(profile: Profile, metrics: Iterable[Definition] | None = None, naming: Naming = "guide") -> Json:
    """The dashboard for a PrometheusReporter with these definitions (None: what a Monitor shows) and naming, under a
    profile."""
    page = Page(naming, metrics)
    own = [one for one in page.metrics if not one.name.startswith(events.PREFIX)]
    panels: list[Json] = []
    y = _lay_out("The guide's queries, and ones without bias", _guides(page), panels, 0)
    for section in sections(profile, [*statsd_metrics(), *own]):
        shown = [one for one in (_panel(panel, page) for panel in section.panels) if one is not None]
        if shown:
            y = _lay_out(section.title, shown, panels, y)
    return {
        "uid": f"wsnova-{naming}-{profile.name}"[:40],
        "title": title(profile, None),
        "description": f"Made by wsnova-statsd from its metric definitions, for profile {profile.name}.",
        "tags": ["wsnova-statsd"],
        "timezone": "browser",
        "editable": True,
        "graphTooltip": 1,
        "schemaVersion": SCHEMA,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": list(_variables(page))},
        "panels": panels,
    }


def _lay_out(heading: str, shown: Iterable[Json], panels: list[Json], y: int) -> int:
    """Add a row, and below it its panels from left to right; returns where the next row begins."""
    panels.append({**_numbered(panels), "type": "row", "title": heading, "collapsed": False, "panels": []})
    panels[-1]["gridPos"] = {"x": 0, "y": y, "w": _COLUMNS, "h": 1}
    x, y, row = 0, y + 1, 0
    for panel in shown:
        width, height = panel["gridPos"]["w"], panel["gridPos"]["h"]
        if x + width > _COLUMNS or (row and height != row):
            x, y, row = 0, y + row, 0
        panels.append({**_numbered(panels), **panel, "gridPos": {"x": x, "y": y, "w": width, "h": height}})
        x, row = x + width, height
    return y + row


def _numbered(panels: list[Json]) -> Json:
    return {"id": len(panels) + 1}


# -- panels -----------------------------------------------------------------------------------------------------------


def _guides(page: Page) -> Iterator[Json]:
    """Each query of the guide, and the same without its bias."""
    for name, text in page.guides().items():
        beside, lines, unit = _UNBIASED[name]
        shown = _unit(unit, lines[0], page)
        yield _graph(name, [("", text)], "cps" if name == "Error Rate" else shown, width=12)
        asked = [(line.label, page.line(line, "5m")) for line in lines]
        known = [(label, text) for label, text in asked if text is not None]
        if known:
            yield _graph(beside, known, shown, width=12)


def _unit(unit: str, line: Line, page: Page) -> str:
    """The unit of an axis: the one in the metric's name, unless the line makes a share or a rate of its values."""
    found = page.find(line.queries[0].metric)
    name = "" if found is None else found.family.name
    named = next((known for ending, known in _ENDINGS.items() if name.endswith(ending)), "")
    if unit == "per second":
        return _PER_SECOND.get(named, _UNITS[unit])
    return _UNITS.get(unit, named or unit or "short")


def _panel(panel: Panel, page: Page) -> Json | None:
    """A panel, None if the page answers none of its lines. Only Datadog has the stream of events."""
    if panel.shows == "check":
        return _check(panel, page)
    if panel.shows == "events":
        return None
    instant = panel.shows == "value"
    window = _SHOWN if instant else _STEP
    texts = [(line, page.line(line, window, variables=True)) for line in panel.lines]
    known = [(line, text) for line, text in texts if text is not None]
    if not known:
        return None
    divisor = page.divisor(known[0][0])
    unit, target = _unit(panel.unit, known[0][0], page), _target(panel.target, divisor)
    targets = [(_legend(line, page), text) for line, text in known]
    if instant:
        return _stat(panel.title, targets, unit, target)
    return _graph(panel.title, targets, unit, target, bars=panel.shows == "bars")


def _target(target: Target | None, divisor: float) -> Target | None:
    return None if target is None else (target[0], target[1] / divisor)


def _legend(line: Line, page: Page) -> str:
    found = page.find(line.queries[0].metric)
    by = [] if found is None else [found.labels[tag] for tag in line.queries[0].by]
    return " ".join([*([line.label] if line.label else []), *(f"{{{{{label}}}}}" for label in by)])


def _check(panel: Panel, page: Page) -> Json | None:
    """A service check: the state that says the same, of each client in each process."""
    if panel.check == CAN_CONNECT:
        text, words = page.check(panel.check, "min", variables=True), {"0": ("no link", "red"), "1": ("up", "green")}
    else:
        scope, _, overall = OVERALL.partition(":")
        text = page.check(panel.check, "max", f'{scope}!="{overall}"', variables=True)
        words = {"0": ("ok", "green"), "1": ("warning", "orange"), "2": ("critical", "red")}
    if text is None:
        return None
    shown = {value: {"text": word, "color": colour, "index": int(value)} for value, (word, colour) in words.items()}
    stat = _stat(panel.title, [(f"{{{{client_id}}}} {{{{{INSTANCE}}}}}", text)], "short", None)
    stat["fieldConfig"]["defaults"]["mappings"] = [{"type": "value", "options": shown}]
    return stat


def _stat(title: str, targets: Iterable[tuple[str, str]], unit: str, target: Target | None) -> Json:
    """One number over the whole time that is shown."""
    panel = _drawn("stat", title, targets, unit, target, _SIZES["value"], instant=True)
    reduce = {"calcs": ["lastNotNull"], "fields": "", "values": False}
    return {**panel, "options": {"reduceOptions": reduce, "colorMode": "value", "graphMode": "none"}}


def _graph(
    title: str,
    targets: Iterable[tuple[str, str]],
    unit: str,
    target: Target | None = None,
    *,
    bars: bool = False,
    width: int = _SIZE[0],
) -> Json:
    panel = _drawn("timeseries", title, targets, unit, target, (width, _SIZE[1]), instant=False)
    custom: Json = {"drawStyle": "bars", "fillOpacity": 60} if bars else {"drawStyle": "line", "fillOpacity": 10}
    if target is not None:
        custom["thresholdsStyle"] = {"mode": "line"}
    panel["fieldConfig"]["defaults"]["custom"] = custom
    legend = {"showLegend": True, "displayMode": "list", "placement": "bottom", "calcs": []}
    return {**panel, "options": {"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}}}


def _drawn(
    kind: str,
    title: str,
    targets: Iterable[tuple[str, str]],
    unit: str,
    target: Target | None,
    size: tuple[int, int],
    *,
    instant: bool,
) -> Json:
    asked = [
        {
            "refId": chr(ord("A") + number),
            "datasource": _SOURCE,
            "expr": text,
            "legendFormat": legend,
            "instant": instant,
            "range": not instant,
        }
        for number, (legend, text) in enumerate(targets)
    ]
    defaults: Json = {"unit": unit}
    if target is not None:
        sign, limit = target
        colours = ("red", "green") if sign == ">" else ("green", "red")
        steps = [{"value": None, "color": colours[0]}, {"value": limit, "color": colours[1]}]
        defaults["thresholds"] = {"mode": "absolute", "steps": steps}
    return {
        "type": kind,
        "title": title,
        "datasource": _SOURCE,
        "gridPos": {"x": 0, "y": 0, "w": size[0], "h": size[1]},
        "targets": asked,
        "fieldConfig": {"defaults": defaults, "overrides": []},
    }


# -- variables --------------------------------------------------------------------------------------------------------


def _variables(page: Page) -> Iterator[Json]:
    yield {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "refresh": 1}
    found = page.find("websocket.connection.started") or page.find("websocket.message.received")
    if found is None:
        return
    name = found.family.name + ("_total" if found.family.type == "counter" else "")
    scraped = f'{name}{{job=~"$job"}}'
    yield _variable("job", f"label_values({name}, job)")
    yield _variable(INSTANCE, f"label_values({scraped}, {INSTANCE})")
    yield _variable("client", f"label_values({scraped}, {found.labels['client']})")
    typed = page.find("websocket.message.received")
    if typed is not None:
        last = "_total" if typed.family.type == "counter" else ""
        yield _variable("type", f"label_values({typed.family.name}{last}, {typed.labels['type']})")


def _variable(name: str, query: str) -> Json:
    return {
        "name": name,
        "label": name,
        "type": "query",
        "datasource": _SOURCE,
        "query": {"query": query, "refId": f"variable-{name}"},
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"selected": True, "text": "All", "value": "$__all"},
    }
