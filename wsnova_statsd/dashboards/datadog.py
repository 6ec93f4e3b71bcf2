"""Renders queries for Datadog: the text of a query, and the board as the JSON document that its API accepts.

The keys are those of Datadog's API for dashboards (v1). The board needs no id of an account: every widget queries by
metric, check or tag. Pure functions, no thread.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from ..metrics.definitions import Definition
from ..profiles import Profile
from .panels import Panel, Section, Target, sections
from .queries import CHECKED_BY, CONSTANT, VARIABLES, Line, Query, percentiles

Json = dict[str, Any]
_TITLE: Final = "WebSocket clients"
_COLUMNS: Final = 12  # of a board whose widgets have places
_SIZES: Final[Mapping[str, tuple[int, int]]] = {"value": (3, 2), "check": (3, 2), "events": (12, 4)}  # width, height
_SIZE: Final = (4, 3)
_NAMES: Final = "abcdefgh"  # what a formula calls its queries
_NAME: Final = re.compile(r"[a-h]")


def text(query: Query, namespace: str = "") -> str:
    """A query as Datadog writes it, such as `sum:websocket.error.occurred{$env} by {type}.as_count()`."""
    filters = ",".join([*(f"${name}" for name in query.variables), *query.where]) or "*"
    grouped = f" by {{{','.join(query.by)}}}" if query.by else ""
    counted = f".as_{query.as_}()" if query.as_ else ""
    rolled = f".rollup({query.time})" if query.time else ""
    return f"{query.space}:{namespace}{query.metric}{{{filters}}}{grouped}{counted}{rolled}"


def formula(line: Line, names: Mapping[str, str]) -> str:
    """A line's formula over queries of these names, with 0 for missing data if the query says so."""
    zero = {name for name, query in zip(_NAMES, line.queries, strict=False) if query.zero}

    def named(found: re.Match[str]) -> str:
        name = names[found[0]]
        return f"default_zero({name})" if found[0] in zero else name

    return _NAME.sub(named, line.formula)


def title(profile: Profile, env: str | None = None) -> str:
    """The beginning of each title of a board, monitor or SLO; those of one `env` differ from those of all."""
    return f"{_TITLE} ({', '.join(filter(None, (profile.name, env)))})"


def board(
    profile: Profile, metrics: Iterable[Definition] | None = None, namespace: str = "", env: str | None = None
) -> Json:
    """The dashboard for these definitions (None: the default list) under a profile. `namespace` is what the reporter
    puts before every name, with its dot; with `env` the board shows that one until another is selected."""
    groups = []
    y = 0
    for section in sections(profile, metrics):
        widgets, height = _places(section, namespace)
        layout = {"x": 0, "y": y, "width": _COLUMNS, "height": height + 1}
        definition = {"type": "group", "layout_type": "ordered", "title": section.title, "widgets": widgets}
        groups.append({"definition": definition, "layout": layout})
        y += height + 1
    return {
        "title": title(profile, env),
        "description": f"Made by wsnova-statsd from its metric definitions, for profile {profile.name}.",
        "layout_type": "ordered",
        "reflow_type": "fixed",
        "template_variables": [
            {"name": name, "prefix": name, "defaults": [(name == "env" and env) or "*"]} for name in VARIABLES
        ],
        "widgets": groups,
    }


def need_percentiles(profile: Profile, metrics: Iterable[Definition] | None = None, namespace: str = "") -> list[str]:
    """The metrics whose panels also ask for percentiles, which have to be switched on in Datadog for each."""
    lines = [line for section in sections(profile, metrics) for panel in section.panels for line in panel.lines]
    return [f"{namespace}{name}" for name in percentiles(lines)]


def _places(section: Section, namespace: str) -> tuple[list[Json], int]:
    """The widgets of a section, side by side from left to right, and their height in all."""
    widgets, x, y, row = [], 0, 0, 0
    for panel in section.panels:
        width, height = _SIZES.get(panel.shows, _SIZE)
        if x + width > _COLUMNS or (row and height != row):
            x, y, row = 0, y + row, 0
        layout = {"x": x, "y": y, "width": width, "height": height}
        widgets.append({"definition": _widget(panel, namespace), "layout": layout})
        x, row = x + width, height
    return widgets, y + row


def _widget(panel: Panel, namespace: str) -> Json:
    match panel.shows:
        case "check":
            return _check(panel, namespace)
        case "events":
            return _events(panel)
        case "value":
            return _value(panel, namespace)
    return _timeseries(panel, namespace)


def _check(panel: Panel, namespace: str) -> Json:
    return {
        "type": "check_status",
        "title": panel.title,
        "check": f"{namespace}{panel.check}",
        "grouping": "cluster",
        "group_by": list(CHECKED_BY),
        "tags": [f"${name}" for name in (*CONSTANT, *CHECKED_BY)],
    }


def _events(panel: Panel) -> Json:
    """The stream of events that name a client, as those of alerts do. Other widgets of events need another layout."""
    query = {"data_source": "event_stream", "query_string": "client:* $client", "event_size": "l"}
    request = {
        "response_format": "event_list",
        "columns": [{"field": "timestamp", "width": "auto"}, {"field": "title", "width": "auto"}],
        "query": query,
    }
    return {"type": "list_stream", "title": panel.title, "requests": [request]}


def _value(panel: Panel, namespace: str) -> Json:
    """One number over the whole time that is shown. All of its queries are counts, which are added up, so a share and
    a mean cover everything that happened."""
    (line,) = panel.lines
    queries, shown = _request(line, iter(range(1, 9)), namespace)
    summed = [{**query, "aggregator": "sum"} for query in queries]
    request: Json = {"response_format": "scalar", "queries": summed, "formulas": [shown]}
    if panel.target is not None:
        request["conditional_formats"] = list(_colours(panel.target))
    widget = {"type": "query_value", "title": panel.title, "autoscale": True, "precision": 2, "requests": [request]}
    return {**widget, "custom_unit": panel.unit} if panel.unit else widget


def _colours(target: Target) -> Iterator[Json]:
    sign, limit = target
    yield {"comparator": sign, "value": limit, "palette": "white_on_green"}
    yield {"comparator": "<=" if sign == ">" else ">=", "value": limit, "palette": "white_on_red"}


def _timeseries(panel: Panel, namespace: str) -> Json:
    """A request for each line, so that mean and maximum are shown even if percentiles are not switched on."""
    numbers = iter(range(1, 99))
    requests = []
    for line in panel.lines:
        queries, shown = _request(line, numbers, namespace)
        request = {"response_format": "timeseries", "display_type": panel.shows, "queries": queries}
        requests.append({**request, "formulas": [{**shown, "alias": line.label}]})
    widget: Json = {"type": "timeseries", "title": panel.title, "show_legend": True, "requests": requests}
    if panel.unit:
        widget["yaxis"] = {"label": panel.unit, "include_zero": True}
    if panel.target is not None:
        sign, limit = panel.target
        label = f"target {sign} {limit:g}"
        widget["markers"] = [{"value": f"y = {limit:g}", "display_type": "ok dashed", "label": label}]
    return widget


def _request(line: Line, numbers: Iterator[int], namespace: str) -> tuple[list[Json], Json]:
    """The queries of a line, named by the numbers that come next, and its formula over them."""
    names = {name: f"query{next(numbers)}" for name, _ in zip(_NAMES, line.queries, strict=False)}
    queries = [
        {"data_source": "metrics", "name": name, "query": text(query, namespace)}
        for name, query in zip(names.values(), line.queries, strict=True)
    ]
    return queries, {"formula": formula(line, names)}
