"""Grafana's board: read by Grafana's own library, which drops what it does not know, and made of the description."""

import copy
import importlib
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

import wsnova_statsd as ws
from wsnova_statsd import events
from wsnova_statsd.dashboards import promql
from wsnova_statsd.dashboards.exposed import Page
from wsnova_statsd.dashboards.grafana import board
from wsnova_statsd.dashboards.panels import sections
from wsnova_statsd.metrics import guide
from wsnova_statsd.profiles import PROFILES
from wsnova_statsd.reporters.families import NAMINGS, Naming, families, sample_names

BOARDS = [
    pytest.param(profile, naming, id=f"{name}-{naming}") for name, profile in PROFILES.items() for naming in NAMINGS
]
SCRAPED = {"job", "instance"}


def _panels(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    return (panel for panel in document["panels"] if panel["type"] != "row")


def _queries(document: dict[str, Any]) -> list[str]:
    return [target["expr"] for panel in _panels(document) for target in panel["targets"]]


def _filled(query: str) -> str:
    """With the windows that Grafana would put in."""
    return query.replace("$__rate_interval", "1m").replace("$__range", "1h")


# -- read by Grafana's library ----------------------------------------------------------------------------------------


def _read(document: dict[str, Any]) -> Any:
    """What Grafana's library makes of a dashboard, as JSON again."""
    sdk = importlib.import_module("grafana_foundation_sdk.models.dashboard")
    encoder = importlib.import_module("grafana_foundation_sdk.cog.encoder")
    importlib.import_module("grafana_foundation_sdk.cog.plugins").register_default_plugins()
    return json.loads(encoder.JSONEncoder().encode(sdk.Dashboard.from_json(copy.deepcopy(document))))


def _lost(sent: Any, read: Any, path: str = "") -> Iterator[str]:
    """The keys of a document that did not come back as they were, as paths."""
    if isinstance(sent, dict) and isinstance(read, dict):
        for key, value in sent.items():
            yield from _lost(value, read.get(key), f"{path}.{key}")
    elif isinstance(sent, list) and isinstance(read, list) and len(sent) == len(read):
        for number, (one, other) in enumerate(zip(sent, read, strict=True)):
            yield from _lost(one, other, f"{path}[{number}]")
    elif sent != read:
        yield path


@pytest.mark.parametrize(("profile", "naming"), BOARDS)
def test_grafanas_library_knows_every_key(profile: ws.Profile, naming: Naming) -> None:
    """It drops unknown ones in silence: what it read is written again, and nothing is missing."""
    document = board(profile, naming=naming)
    assert list(_lost(document, _read(document))) == []


@pytest.mark.parametrize(
    "plant",
    [
        lambda found: found.update(colour="red"),
        lambda found: found["panels"][1].update(heigt_=3),
        lambda found: found["panels"][1]["targets"][0].update(exprr="up"),
        lambda found: found["panels"][1]["gridPos"].update(width=3),
        lambda found: found["panels"][1]["fieldConfig"]["defaults"].update(units="s"),
        lambda found: found["panels"][1]["fieldConfig"]["defaults"]["custom"].update(drawstyle="bars"),
        lambda found: found["panels"][1]["options"]["legend"].update(show=True),
        lambda found: found["templating"]["list"][1].update(query_="x"),
    ],
)
def test_a_key_that_grafana_does_not_know_is_found(plant: Any) -> None:
    """One that is planted proves the check."""
    document = board(ws.FINANCIAL)
    plant(document)
    assert len(list(_lost(document, _read(document)))) == 1


# -- made of the description ------------------------------------------------------------------------------------------


def test_the_guides_four_queries_stand_first_character_for_character() -> None:
    """By the guide's names; ones without their bias beside them."""
    first = [panel["targets"][0]["expr"] for panel in _panels(board(ws.FINANCIAL))][:8:2]
    assert first == [query.strip("\n") for query in guide.QUERIES.values()]
    titles = [panel["title"] for panel in _panels(board(ws.FINANCIAL))][:8]
    assert titles[::2] == [*guide.QUERIES]
    assert titles[1::2] == [
        "Connection success rate, no dial is no rate",
        "Average connection time, every dial alike",
        "Messages received, by exact sums in every profile",
        "Share of messages with an error",
    ]


def test_a_second_set_asks_the_conventional_names() -> None:
    """The same queries of the same metrics."""
    first = [panel["targets"][0]["expr"] for panel in _panels(board(ws.FINANCIAL, naming="prometheus"))][:8:2]
    assert first == [
        "sum(rate(websockex_nova_connection_completed_total[5m])) /\n"
        "sum(rate(websockex_nova_connection_started_total[5m]))",
        "avg(websockex_nova_connection_completed_duration_seconds_sum /\n"
        "websockex_nova_connection_completed_duration_seconds_count)",
        "sum(rate(websockex_nova_message_received_total[1m])) by (client_id, type)",
        "sum(rate(websockex_nova_error_occurred_total[5m])) by (error_type)",
    ]


@pytest.mark.parametrize(("profile", "naming"), BOARDS)
def test_every_query_asks_what_is_on_the_page_by_labels_that_are_there(profile: ws.Profile, naming: Naming) -> None:
    """Read by the linter's parser."""
    known: dict[str, frozenset[str]] = {}
    for family in families(ws.prometheus_metrics(complete=True), naming).values():
        known |= dict.fromkeys(sample_names(family), family.labels | SCRAPED | {"le"})
    queries = _queries(board(profile, naming=naming))
    assert len(queries) > 60
    for query in queries:
        for one in promql.read(_filled(query)).selectors:
            assert one.metric in known, query
            assert one.by | {label for label, _ in one.where} <= known[one.metric], query


@pytest.mark.parametrize(("profile", "naming"), BOARDS)
def test_a_line_of_the_description_is_on_the_board_if_the_page_can_answer_it(
    profile: ws.Profile, naming: Naming
) -> None:
    """In its panel; nothing else is, but for the guide's and the checks."""
    page = Page(naming)
    wanted = {
        (panel.title, page.line(line, "$__range" if panel.shows == "value" else "$__rate_interval", variables=True))
        for section in sections(profile)
        for panel in section.panels
        for line in panel.lines
    }
    shown = [
        (panel["title"], target["expr"])
        for panel in [*_panels(board(profile, naming=naming))][8:]
        for target in panel["targets"]
        if panel["title"] not in ("Health", "Can connect")
    ]
    assert set(shown) == {one for one in wanted if one[1] is not None}
    assert len(shown) == len(set(shown))


def test_what_a_profile_never_fills_is_left_out() -> None:
    """Heartbeats in standard; KPI targets are its own."""
    titles = {panel["title"] for panel in _panels(board(ws.STANDARD))}
    assert "Heartbeats" not in titles
    assert "Dials" in titles
    limits = {
        profile.name: panel["fieldConfig"]["defaults"]["thresholds"]["steps"][1]["value"]
        for profile in (ws.FINANCIAL, ws.STANDARD)
        for panel in _panels(board(profile))
        if panel["title"] == "processing_time_ms"
    }
    assert limits == {"financial": 10, "standard": 50}


@pytest.mark.parametrize(("naming", "unit", "limit"), [("guide", "ms", 500), ("prometheus", "s", 0.5)])
def test_times_are_in_the_unit_of_the_names(naming: Naming, unit: str, limit: float) -> None:
    """Axes and targets alike."""
    document = board(ws.FINANCIAL, naming=naming)
    panels = {panel["title"]: panel["fieldConfig"]["defaults"] for panel in _panels(document)}
    assert panels["Average connection time"]["unit"] == panels["connection_time_ms"]["unit"] == unit
    assert panels["Connection time"]["unit"] == panels["Average Connection Time"]["unit"] == unit
    assert panels["Average connection time"]["thresholds"]["steps"][1]["value"] == limit
    assert panels["Size of received messages"]["unit"] == "bytes"
    assert panels["Bytes by client and direction"]["unit"] == "Bps"


def test_panels_lie_side_by_side_and_none_on_another() -> None:
    taken: set[tuple[int, int]] = set()
    ids = []
    for panel in board(ws.FINANCIAL)["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert max(x for x, _ in cells) < 24
        assert not cells & taken
        taken |= cells
        ids.append(panel["id"])
    assert len(set(ids)) == len(ids)


def test_the_data_source_is_a_variable_and_so_is_what_every_query_is_filtered_by() -> None:
    """No id of an installation stands in it."""
    document = board(ws.FINANCIAL)
    source, *others = document["templating"]["list"]
    assert (source["name"], source["type"], source["query"]) == ("datasource", "datasource", "prometheus")
    assert [one["name"] for one in others] == ["job", "instance", "client", "type"]
    sources = {json.dumps(panel["datasource"]) for panel in _panels(document)}
    assert sources == {'{"type": "prometheus", "uid": "${datasource}"}'}
    used = {name for query in _queries(document) for name in re.findall(r"\$(\w+)", query)}
    assert used == {"job", "instance", "client", "type", "__rate_interval", "__range"}


def test_a_metric_of_ones_own_has_a_panel() -> None:
    own = [ws.counter("shop.orders", events.MESSAGE_RECEIVED, ["type"]), ws.gauge("shop.depth", "e", "x", state=True)]
    document = board(ws.FINANCIAL, [*ws.prometheus_metrics(complete=True), *own], "prometheus")
    found = {panel["title"]: panel["targets"][0]["expr"] for panel in _panels(document)}
    assert "sum by (type) (increase(shop_orders_total{" in found["shop.orders"]
    assert "(max_over_time(shop_depth{" in found["shop.depth"]


def test_a_list_without_what_a_panel_asks_has_a_board_without_it() -> None:
    """The guide's list alone has no KPIs."""
    titles = {panel["title"] for panel in _panels(board(ws.FINANCIAL, ws.prometheus_metrics()))}
    assert {"Dials", "Error rate by type", "Average Connection Time"} <= titles
    assert not {"Alerts by rule", "processing_time_ms", "Health"} & titles
