"""What metrics cost: the life of a client counted by hand, Datadog's factors, and how to drop the most expensive."""

import inspect
import json
import re
import sys

import pytest

import wsnova_statsd as ws
from wsnova_statsd import events
from wsnova_statsd.dashboards.cost import Bill, billed, cost
from wsnova_statsd.dashboards.life import Shape
from wsnova_statsd.dashboards.shipped import shipped
from wsnova_statsd.metrics.definitions import Definition, Kind

SOURCE = "https://docs.datadoghq.com/account_management/billing/custom_metrics/?tab=distribution"


def _series(bill: Bill) -> dict[str, int]:
    return {one.name: one.series for one in bill.costs}


@pytest.mark.parametrize(
    ("kind", "once", "with_percentiles"),
    [
        ("counter", 1, 1),
        ("sum", 1, 1),
        ("gauge", 1, 1),
        ("set", 1, 1),
        ("summary", 5, 5),
        ("timing", 5, 5),
        ("distribution", 5, 10),
    ],
)
def test_a_series_is_billed_by_its_type(kind: Kind, once: int, with_percentiles: int) -> None:
    """By Datadog's page, which is named beside the factors."""
    assert billed(kind, 1) == once
    assert (billed(kind, 7), billed(kind, 7, percentiles=True)) == (7 * once, 7 * with_percentiles)
    assert SOURCE in str(sys.modules[cost.__module__].__doc__)


def test_the_series_are_those_of_clients_types_and_workers() -> None:
    """Counts of a client are one series in all processes, states one in each; a KPI has the figures of all beside."""
    found = _series(cost(ws.FINANCIAL, Shape(clients=3, types=7, workers=2, sent_types=4)))
    wanted = {
        "websocket.connection.started": 3,
        "websocket.connection.up": 3 * 2,
        "websocket.connection.disconnected": 3 * 2,  # a link that is lost, and the end
        "websocket.connection.reconnect.failed": 3 * 2,  # 0 from the beginning: final or not
        "websocket.message.received": 3 * 7,
        "websocket.message.received.size.distribution": 3 * 7,
        "websocket.message.sent": 3 * 4,
        "websocket.message.decode.started": 3,
        "websocket.message.batch.errors": 3 * 2,
        "websocket.message.waiting": 3 * 2,  # of what is received
        "websocket.kpi.throughput_per_s": (3 + 1) * 2,
        "websocket.reporter.series": 2,
        "websocket.reporter.packets": 1,
    }
    assert {name: found[name] for name in wanted} == wanted


def test_what_is_billed_is_the_sum_of_all_with_the_most_expensive_first() -> None:
    """With percentiles each distribution costs twice as much."""
    bill = cost(ws.FINANCIAL, Shape(clients=2, types=3, workers=2))
    distributions = sum(one.series for one in bill.costs if one.kind == "distribution")
    series = sum(one.series for one in bill.costs)
    assert bill.total == (series, series + 4 * distributions, series + 9 * distributions)
    assert [one.billed for one in bill.costs] == sorted((one.billed for one in bill.costs), reverse=True)
    assert len({one.name for one in bill.costs}) == len(bill.costs)
    assert not {one.name for one in bill.costs} & set(bill.absent)
    assert {*_series(bill), *bill.absent} == set(shipped(ws.statsd_metrics()))


@pytest.mark.parametrize("profile", [ws.FINANCIAL, ws.STANDARD, ws.LIGHTWEIGHT], ids=lambda one: one.name)
def test_a_lean_list_costs_less_by_the_gauges_it_lacks(profile: ws.Profile) -> None:
    """And by nothing else."""
    shape = Shape(clients=5, types=20)
    whole, lean = cost(profile, shape), cost(profile, shape, ws.statsd_metrics(lean=True))
    gone = {one.name for one in ws.statsd_metrics()} - {one.name for one in ws.statsd_metrics(lean=True)}
    assert _series(lean) == {name: series for name, series in _series(whole).items() if name not in gone}
    assert lean.total < whole.total


def test_a_profile_that_emits_less_costs_less() -> None:
    """Without message events no series is of a type."""
    few, many = (cost(ws.STANDARD, Shape(types=types)).total for types in (1, 90))
    assert few == many
    totals = [cost(one, Shape(clients=3)).total for one in (ws.FINANCIAL, ws.STANDARD, ws.LIGHTWEIGHT)]
    assert totals == sorted(totals, reverse=True)
    silent = cost(ws.STANDARD.replace(connection_events=False, error_events=False), Shape())
    assert {name for name in _series(silent) if ".kpi." in name} == {
        f"websocket.kpi.{key}" for key in ("processing_time_ms", "throughput_per_s", "message_error_rate")
    }


def test_a_name_has_no_more_series_than_a_reporter_keeps() -> None:
    """As many as it does by default and the one for the rest, for each process; of a client 100 types and `other`."""
    most = inspect.signature(ws.StatsdReporter).parameters["max_series"].default + 1
    found = _series(cost(ws.FINANCIAL, Shape(clients=100_000, types=5, workers=3)))
    assert found["websocket.message.received"] == most
    assert found["websocket.connection.up"] == 3 * most
    assert found["websocket.kpi.blind_s"] == 3 * 1001
    bills = {many: cost(ws.FINANCIAL, Shape(types=many)) for many in (99, 100, 500)}
    types = {many: _series(bill)["websocket.message.received"] for many, bill in bills.items()}
    assert types == {99: 99, 100: 100, 500: 100}  # and the one that is sent


def test_metrics_of_your_own_are_counted_by_what_their_event_carries() -> None:
    """Those of the application's events are unknown: it emits them."""
    own: list[Definition] = [
        ws.counter("shop.by_type", events.MESSAGE_RECEIVED, tags=["type"]),
        ws.counter("shop.all", events.MESSAGE_RECEIVED),
        ws.summary("shop.size", events.MESSAGE_RECEIVED, "size", tags=["client_id", "type"]),
        ws.counter("shop.orders", "shop.order"),
    ]
    bill = cost(ws.FINANCIAL, Shape(clients=3, types=7), own)
    found = {name: series for name, series in _series(bill).items() if name.startswith("shop.")}
    assert found == {"shop.by_type": 7, "shop.all": 1, "shop.size": 21}
    assert "shop.orders" in bill.absent
    assert bill.costs[0].name == "shop.size"
    assert bill.costs[0].billed == 105


@pytest.mark.parametrize("profile", [ws.FINANCIAL, ws.STANDARD], ids=lambda one: one.name)
@pytest.mark.parametrize("shape", [Shape(clients=40), Shape(workers=200)], ids=["clients", "workers"])
@pytest.mark.parametrize("lean", [False, True], ids=["whole", "lean"])
def test_each_of_the_five_most_expensive_is_gone_if_it_is_dropped_as_advised(
    profile: ws.Profile, shape: Shape, lean: bool
) -> None:
    """The advice is Python: the list that it passes to the reporter lacks the metric, and is no longer than before; or
    the KPIs are left out."""
    bill = cost(profile, shape, ws.statsd_metrics(lean=lean))
    assert list(bill.drops) == [one.name for one in bill.costs[:5]]
    for name, reported in bill.drops.items():
        if reported == "ws.Monitor(kpis=False)":
            assert name.startswith("websocket.kpi.")
            continue
        code = re.match(r"ws\.StatsdReporter\((.*)\)(?:, or distributions=False for all of them)?\Z", reported)
        assert code, reported
        kept = {one.name for one in eval(code[1], {"ws": ws})}
        assert name not in kept
        assert kept < {one.name for one in ws.statsd_metrics(lean=lean)}


def test_a_gauge_with_a_distribution_is_dropped_by_the_lean_list() -> None:
    """Except for the guide's own line, which is dropped by its name."""
    name = "websocket.message.process.duration"
    metrics = [one for one in ws.statsd_metrics() if one.name.startswith(name)]
    assert cost(ws.FINANCIAL, Shape(types=50), metrics).drops[name] == (
        f"ws.StatsdReporter([one for one in ws.statsd_metrics() if one.name != {name!r}])"
    )
    sizes = [one for one in ws.statsd_metrics() if one.name.startswith("websocket.message.sent.size")]
    drops = cost(ws.FINANCIAL, Shape(sent_types=50), sizes).drops
    assert drops["websocket.message.sent.size"] == "ws.StatsdReporter(ws.statsd_metrics(lean=True))"


def test_the_figures_of_the_reporter_cannot_be_dropped() -> None:
    """The advice says so, if nothing else is more expensive."""
    silent = ws.LIGHTWEIGHT.replace(connection_events=False, error_events=False)
    drops = cost(silent, Shape(workers=3), [ws.counter("shop.orders", "shop.order")]).drops
    assert drops["websocket.reporter.series"] == "it cannot be dropped: the reporter's own figures report losses"


def test_a_metric_of_your_own_is_dropped_where_it_is_listed() -> None:
    """Though there is one with its name and `.distribution`: the default lists have neither."""
    own = [
        kind(name, events.MESSAGE_RECEIVED, "size", tags=["type"])
        for kind, name in ((ws.gauge, "shop.size"), (ws.distribution, "shop.size.distribution"))
    ]
    drops = cost(ws.FINANCIAL, Shape(types=50), own).drops
    reported = "leave it out of the list that you pass to ws.StatsdReporter"
    assert (drops["shop.size"], drops["shop.size.distribution"]) == (reported, reported)


def test_the_bill_is_printed_as_lines_and_as_a_document() -> None:
    """Both with every metric, the sum, the most expensive and what is absent."""
    bill = cost(ws.FINANCIAL, Shape(clients=2, types=3))
    lines = bill.lines
    assert lines[0] == "profile financial, clients 2, types 3, workers 1, sent_types 1; for each host"
    assert lines[1].split() == ["metric", "type", "series", "billed", "with_percentiles"]
    first = bill.costs[0]
    assert lines[2].split() == [first.name, first.kind, *map(str, (first.series, first.billed, first.with_percentiles))]
    assert lines[2 + len(bill.costs)].split() == ["all", *map(str, bill.total)]
    assert lines[-1] == f"no series in this shape: {', '.join(bill.absent)}"
    document = json.loads(bill.to_json())
    assert (document["profile"], document["clients"], document["types"], document["workers"]) == ("financial", 2, 3, 1)
    assert tuple(document["total"].values()) == bill.total
    assert document["metrics"][0] == {
        "name": first.name,
        "kind": first.kind,
        "series": first.series,
        "billed": first.billed,
        "with_percentiles": first.with_percentiles,
    }
    assert document["dearest"] == dict(bill.drops)
    assert document["absent"] == list(bill.absent)


@pytest.mark.parametrize("name", ["clients", "types", "workers", "sent_types"])
@pytest.mark.parametrize("value", [0, -1, 1.5, "3", True, 10**6 + 1])
def test_an_unusable_number_is_refused(name: str, value: object) -> None:
    """By its name."""
    with pytest.raises(ws.errors.ConfigurationError, match=rf"^{name} must be a whole number from 1 to 1000000, got "):
        Shape(**{name: value})  # type: ignore[arg-type]
