"""The board for Datadog: its models accept it, and its panels are those that the profile fills."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from datadog_api_client.v1.model.dashboard import Dashboard

import wsnova_statsd as ws
from tests.unit.datadog_models import faults
from wsnova_statsd.cli.main import main
from wsnova_statsd.dashboards.datadog import board, need_percentiles
from wsnova_statsd.dashboards.queries import VARIABLES
from wsnova_statsd.metrics.catalogue import statsd_metrics
from wsnova_statsd.profiles import PROFILES

EVERY = pytest.mark.parametrize("profile", PROFILES.values(), ids=list(PROFILES))
QUERY = re.compile(r"(\w+):([\w.]+)\{(.*?)\}(?: by \{(.*?)\})?(.*)\Z")


def widgets(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The definitions of all widgets that are no group."""
    for group in document["widgets"]:
        for one in group["definition"]["widgets"]:
            yield one["definition"]


def queries(document: dict[str, Any]) -> list[str]:
    """Every query of a metric."""
    requests = [request for one in widgets(document) for request in one.get("requests", []) if "queries" in request]
    return [query["query"] for request in requests for query in request["queries"]]


def metrics_of(document: dict[str, Any]) -> set[str]:
    return {found[2] for found in map(QUERY.match, queries(document)) if found}


def _titles(document: dict[str, Any]) -> set[str]:
    return {one["title"] for one in widgets(document)}


@EVERY
def test_datadogs_models_know_every_key_of_it(profile: ws.Profile) -> None:
    """Each widget is parsed, and no key is one that Datadog would ignore without an error."""
    assert faults(Dashboard, board(profile)) == []


@pytest.mark.parametrize(
    ("section", "kind"),
    [
        ("Overview", "query_value"),
        ("Overview", "check_status"),
        ("Reporter", "timeseries"),
        ("Errors and alerts", "list_stream"),
    ],
)
def test_a_key_that_datadog_does_not_know_is_found(section: str, kind: str) -> None:
    """The check itself: a key that is planted in a widget, one in its query, and an unknown word."""
    document = board(ws.LIGHTWEIGHT)
    document["widgets"] = [one for one in document["widgets"] if one["definition"]["title"] == section]
    place, shown = next((place, one) for place, one in enumerate(widgets(document)) if one["type"] == kind)
    (group,) = document["widgets"]
    group["definition"]["widgets"] = [group["definition"]["widgets"][place]]  # the others take long to parse
    assert faults(Dashboard, document) == []
    shown["colour"] = "red"
    found = "document.widgets[0].definition.widgets[0].definition"
    assert faults(Dashboard, document) == [f"{found} has no colour"]
    del shown["colour"]
    if kind == "timeseries":
        shown["requests"][0]["queries"][0]["aggregate"] = "sum"
        assert faults(Dashboard, document) == [f"{found}.requests[0].queries[0] has no aggregate"]
        del shown["requests"][0]["queries"][0]["aggregate"]
        shown["requests"][0]["display_type"] = "curve"
        assert faults(Dashboard, document) != []


@EVERY
def test_it_has_the_required_sections_and_variables(profile: ws.Profile) -> None:
    """In reading order; variables filter by the tag of their name and begin at all."""
    document = board(profile)
    assert [group["definition"]["title"] for group in document["widgets"]] == [
        "Overview",
        "Connections",
        "Messages",
        "Errors and alerts",
        "Subscriptions and login",
        "System",
        "Reporter",
    ]
    assert [(one["name"], one["prefix"], one["defaults"]) for one in document["template_variables"]] == [
        (name, name, ["*"]) for name in ("env", "service", "client", "type", "worker")
    ]


@EVERY
def test_a_query_carries_only_variables_whose_tag_its_metric_has(profile: ws.Profile) -> None:
    """Another one would empty its panel as soon as a user chooses a value."""
    known = {one.name: set(dict(one.tags)) | ({"worker"} if one.state else set()) for one in statsd_metrics()}
    for query in queries(board(profile)):
        found = QUERY.match(query)
        assert found, query
        used = {one[1:] for one in found[3].split(",") if one.startswith("$")}
        assert used <= VARIABLES.keys()
        assert {"env", "service"} <= used
        if found[2] in known:
            assert used - {"env", "service"} <= known[found[2]], query
        elif not found[2].startswith(("websocket.kpi.", "websocket.alert.")):
            assert "client" not in used, query
        assert found[2] not in ("websocket.error.occurred", "websocket.error.handled") or "type" not in used


@EVERY
def test_panels_ask_for_counts_distributions_and_states_only(profile: ws.Profile) -> None:
    """A gauge of a sample keeps one value per ten seconds, and the lean list has none."""
    kinds = {one.name: "state" if one.state else one.kind for one in statsd_metrics()}
    for query in queries(board(profile)):
        found = QUERY.match(query)
        assert found, query
        space, kind = found[1], kinds.get(found[2], "other")
        assert kind in ("counter", "sum", "distribution", "state", "other"), query
        if kind in ("counter", "sum"):
            assert space == "sum"
            assert found[5] in (".as_count()", ".as_rate()")
        if kind == "state":
            assert re.fullmatch(r"\.rollup\((min|max)\)", found[5]), query
        if space.startswith("p"):
            assert kind == "distribution"


@EVERY
def test_a_panel_that_asks_for_percentiles_shows_mean_and_highest_beside_them(profile: ws.Profile) -> None:
    """Each in a separate request, so that none is empty before percentiles are switched on."""
    for one in widgets(board(profile)):
        spaces = [
            request["queries"][0]["query"].split(":")[0] for request in one.get("requests", []) if "queries" in request
        ]
        if any(space.startswith("p") for space in spaces):
            assert spaces == ["avg", "max", "p50", "p95", "p99"]


def test_what_a_profile_never_fills_is_left_out() -> None:
    """No message events: no panel of them; no event of a login but its failure."""
    financial, standard, lightweight = (_titles(board(one)) for one in PROFILES.values())
    assert {"Throughput by client and type", "Round trip of heartbeats", "Decoding time"} <= financial - standard
    assert {"Logins", "Subscribed by result", "Wait before a retry"} <= standard - lightweight
    assert {"Failed logins by reason", "Dials", "Messages by client and direction"} <= lightweight
    for profile, names in ((ws.STANDARD, "message.received"), (ws.LIGHTWEIGHT, "subscription")):
        assert not [one for one in metrics_of(board(profile)) if one.startswith(f"websocket.{names}")]


def test_it_holds_nothing_of_an_account() -> None:
    """No id, no author, no address; an ordered board has no free widgets."""
    document = board(ws.FINANCIAL)
    assert not re.search(r'"(\w*_)?id"|author|url', json.dumps(document))
    assert {one["type"] for one in widgets(document)} == {"query_value", "check_status", "timeseries", "list_stream"}


def test_zero_is_shown_if_nothing_is_an_answer() -> None:
    """For counts, and for the part of a share; not for the whole, nor for a mean, which does not exist then."""
    shown = {
        one["title"]: [request["formulas"][0]["formula"] for request in one["requests"]]
        for one in widgets(board(ws.FINANCIAL))
        if one["type"] in ("query_value", "timeseries")
    }
    assert shown["Connection success rate"] == ["100 * default_zero(query1) / query2"]
    assert shown["Average connection time"] == ["query1 / query2"]
    assert shown["Throughput by client and type"] == ["default_zero(query1)"]
    assert shown["Error rate by type"] == ["default_zero(query1)"]
    assert shown["Processing time"] == [f"query{number}" for number in range(1, 6)]


@EVERY
def test_kpis_are_shown_with_their_targets(profile: ws.Profile) -> None:
    """As a marker, in the unit of the KPI; one without a target has none."""
    known = {one["title"]: [mark["value"] for mark in one.get("markers", [])] for one in widgets(board(profile))}
    for key, target in profile.kpi_targets.items():
        assert known[key] == ([] if target is None else [f"y = {target[1]:g}"])
    assert known["blind_s"] == []


def test_a_metric_of_your_own_has_a_panel_and_one_that_is_left_out_has_none() -> None:
    """The board is made from the definitions that are given."""
    own = [ws.counter("shop.orders", "shop.order", ["venue"]), ws.distribution("shop.size", "shop.order", "size")]
    given = [one for one in statsd_metrics() if not one.name.startswith("websocket.heartbeat")]
    document = board(ws.FINANCIAL, [*given, *own])
    assert faults(Dashboard, document) == []
    assert {"shop.orders", "shop.size"} <= _titles(document)
    assert "sum:shop.orders{$env,$service} by {venue}.as_count()" in queries(document)
    assert "Heartbeats" not in _titles(document)


def test_a_state_of_your_own_has_a_panel_at_its_worst_and_a_gauge_of_samples_has_none() -> None:
    """By its tags, and by the process that sends it; a summary becomes metrics of other names."""
    own = [
        ws.gauge("shop.open", "shop.order", "open", ["venue"], state=True),
        ws.gauge("shop.last", "shop.order", "last", ["venue"]),
        ws.summary("shop.time", "shop.order", "time", ["venue"]),
    ]
    document = board(ws.FINANCIAL, own)
    assert faults(Dashboard, document) == []
    assert {one for one in metrics_of(document) if one.startswith("shop.")} == {"shop.open"}
    assert "max:shop.open{$env,$service,$worker} by {venue,worker}.rollup(max)" in queries(document)


@EVERY
def test_one_board_fits_the_lean_and_the_whole_list(profile: ws.Profile) -> None:
    """To the letter."""
    assert board(profile, statsd_metrics(lean=True)) == board(profile)


def test_a_namespace_stands_before_every_name() -> None:
    """Of metrics and of checks."""
    document = board(ws.FINANCIAL, namespace="feeds.")
    assert all(name.startswith("feeds.websocket.") for name in metrics_of(document))
    assert [one["check"] for one in widgets(document) if one["type"] == "check_status"] == [
        "feeds.websocket.health",
        "feeds.websocket.can_connect",
    ]
    assert all(name.startswith("feeds.") for name in need_percentiles(ws.FINANCIAL, namespace="feeds."))


def test_the_board_of_one_env_shows_that_one_first() -> None:
    """By its variable, which a user may set to another; its title is its own."""
    one, every = board(ws.FINANCIAL, env="prod"), board(ws.FINANCIAL)
    assert one["title"] == "WebSocket clients (financial, prod)"
    assert [variable["defaults"] for variable in one["template_variables"]] == [["prod"], ["*"], ["*"], ["*"], ["*"]]
    assert one["widgets"] == every["widgets"]


@EVERY
def test_widgets_do_not_overlap(profile: ws.Profile) -> None:
    """On twelve columns, none over another."""
    for group in board(profile)["widgets"]:
        taken: set[tuple[int, int]] = set()
        for one in group["definition"]["widgets"]:
            place = one["layout"]
            assert place["x"] + place["width"] <= 12
            cells = {(place["x"] + x, place["y"] + y) for x in range(place["width"]) for y in range(place["height"])}
            assert not cells & taken
            taken |= cells
        assert max(y for _, y in taken) < group["layout"]["height"]


def test_the_command_prints_it(capsys: pytest.CaptureFixture[str]) -> None:
    """One JSON document; without a name of a board it is refused."""
    assert main(["dashboards", "datadog", "--profile", "standard"]) == 0
    assert json.loads(capsys.readouterr().out) == board(ws.STANDARD)
    with pytest.raises(SystemExit) as ended:
        main(["dashboards"])
    assert ended.value.code == 2
    assert "no board is named; pass one of: datadog" in capsys.readouterr().err
