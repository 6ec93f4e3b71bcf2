"""Every query of Grafana's board and every alert rule, in a real Prometheus that scrapes a service of two processes:
the answer is what happened, by the guide's names and by the conventional ones.
"""

import math
import operator
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, Final, NamedTuple

import pytest

import wsnova_statsd as ws
from tests.prometheus import program_of
from tests.stories import datadog_queries
from tests.stories.datadog_queries import Group
from tests.stories.prometheus_service import JOBS, Scraped
from tests.stories.test_board_answers import ANY, of_events
from wsnova_statsd import events
from wsnova_statsd.dashboards.alert_rules import alert_rules
from wsnova_statsd.dashboards.datadog import text
from wsnova_statsd.dashboards.exposed import Page
from wsnova_statsd.dashboards.grafana import board
from wsnova_statsd.dashboards.panels import sections
from wsnova_statsd.dashboards.queries import PERCENTILES, Line, Query
from wsnova_statsd.dashboards.watches import watches
from wsnova_statsd.reporters.families import NAMINGS, Naming

# Real seconds between scrapes: a busy machine skips some.
pytestmark = [pytest.mark.needs_prometheus, pytest.mark.alone, pytest.mark.timeout(240)]

# A rise is stretched to the ends of its window, which lie up to a scrape beyond the first and last value in it.
CLOSE: Final = 0.12
_UNTYPED: Final = {"message.received": "received", "message.sent": "sent"}


class Asked(NamedTuple):
    """One line of the board."""

    panel: str
    line: Line
    text: str


@pytest.fixture(scope="module", params=[ws.FINANCIAL, ws.STANDARD], ids=lambda profile: str(profile.name))
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scraped]:
    """The service runs once in each profile, and all tests below query it."""
    service = Scraped(program_of("prometheus"), tmp_path_factory.mktemp("prometheus"), request.param)
    try:
        service.live()
        yield service
    finally:
        service.end()


def asked(profile: ws.Profile, naming: Naming) -> list[Asked]:
    """Every line that the board has of the description; test_grafana checks that these are its panels' queries."""
    page = Page(naming)
    found = []
    for section in sections(profile):
        for panel in section.panels:
            for line in panel.lines:
                shown = page.line(line, "$w", variables=True)
                if shown is not None:
                    found.append(Asked(panel.title, line, shown))
    assert len(found) > 60
    return found


def filled(query: str, naming: Naming, seconds: int) -> str:
    """A query with every variable at All, and its windows as long as the run."""
    for variable in ("instance", "client", "type"):
        query = query.replace(f"${variable}", ".*")
    for window in ("$__rate_interval", "$__range", "$w"):
        query = query.replace(window, f"{seconds}s")
    return query.replace("$job", JOBS[naming])


def answers(service: Scraped, query: str, line: Line, page: Page) -> dict[Group, float]:
    """By the values of the tags that the line is grouped by; a process by its name."""
    found = page.find(line.queries[0].metric)
    assert found is not None
    labels = [found.labels[tag] for tag in line.queries[0].by]
    reported = {}
    for one in service.prometheus.ask(query, service.ended):
        group = tuple(one["metric"].get(label, "") for label in labels)
        reported[tuple(service.instances.get(value, value) for value in group)] = float(one["value"][1])
    return {group: value for group, value in reported.items() if not math.isnan(value)}


# -- what happened ----------------------------------------------------------------------------------------------------


def truth(service: Scraped, line: Line, page: Page) -> dict[Group, float]:
    """What a line should answer, in the units of the description."""
    amounts = [_amount(service, query) for query in line.queries]
    if len(amounts) == 1:
        return amounts[0]
    part, whole = amounts
    factor = 100 if line.formula.startswith("100") else 1
    return {group: factor * part.get(group, 0.0) / value for group, value in whole.items() if value}


def _amount(service: Scraped, query: Query) -> dict[Group, float]:
    name = query.metric.removeprefix("websocket.")
    if name.startswith("kpi."):
        return _kpis(service, query, name.removeprefix("kpi."))
    if name == "connection.up":
        return {("a",): 0.0, ("b",): 1.0} if query.time == "min" else {}
    if name == "alert.fired":
        found: dict[Group, float] = {}
        for one in service.reported:
            if one.event == events.ALERT_FIRED:
                group = (one.metadata["rule"], one.metadata["client_id"])
                found[group] = found.get(group, 0.0) + one.measurements["count"]
        return found
    reported = of_events(service, datadog_queries.parse(text(query), ANY), name)  # type: ignore[arg-type]
    if name in _UNTYPED:
        for one in service.reported:
            untyped = one.measurements.get("untyped", 0)
            if one.metadata.get("direction") == _UNTYPED[name] and untyped:
                group = (one.metadata["client_id"], "all")
                reported[group] = reported.get(group, 0.0) + untyped
    if query.as_ == "rate":
        reported = {group: value / service.seconds for group, value in reported.items()}
    return reported


def _kpis(service: Scraped, query: Query, key: str) -> dict[Group, float]:
    found: dict[Group, list[float]] = {}
    for one in service.reported:
        if one.event == events.KPI_SAMPLED and "client_id" in one.metadata and key in one.measurements:
            found.setdefault((one.metadata["client_id"], one.worker), []).append(one.measurements[key])
    return {group: (min if query.space == "min" else max)(values) for group, values in found.items()}


# -- what is answered -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("naming", NAMINGS)
def test_every_query_of_the_board_answers_what_happened(service: Scraped, naming: Naming) -> None:
    """Group by group, by both sets of names; a percentile within the buckets around the true one."""
    page = Page(naming)
    wrong = [row for row in rows(service, page) if not row.right]
    assert wrong == []


class Row(NamedTuple):
    """One group of one line: what happened, and what is answered."""

    panel: str
    label: str
    group: Group
    known: float | None
    reported: float | None
    right: bool
    text: str


def rows(service: Scraped, page: Page) -> Iterator[Row]:
    """Every group of every line."""
    for panel, line, query in asked(service.profile, page.naming):
        reported = answers(service, filled(query, page.naming, service.seconds), line, page)
        known = {group: value / page.divisor(line) for group, value in truth(service, line, page).items()}
        for group in sorted(reported.keys() | known.keys()):
            right = fits(service, line, known.get(group), reported.get(group), page)
            yield Row(panel, line.label, group, known.get(group), reported.get(group), right, query)


def fits(service: Scraped, line: Line, known: float | None, reported: float | None, page: Page) -> bool:
    """Whether an answer is what happened. A count of which nothing came may be answered as 0, or not at all."""
    query = line.queries[0]
    if known is None or reported is None:
        return not known and not reported
    if query.space in PERCENTILES:
        return _in_bucket(service, query, reported, page)
    if query.as_ is None and query.space in ("min", "max", "sum") and len(line.queries) == 1:  # a state, as scraped
        return reported <= known * 1.3 + 1 if query.space == "max" else abs(reported - known) <= 0.2 * abs(known) + 0.05
    return math.isclose(reported, known, rel_tol=CLOSE, abs_tol=1e-6)


def _in_bucket(service: Scraped, query: Query, reported: float, page: Page) -> bool:
    """Within the buckets of the values around it, in the time that is asked about or in all: a rise from 0 is stretched
    less than others, by which a quantile of few values is off."""
    found = page.find(query.metric)
    assert found is not None
    bounds = sorted(float(one["metric"]["le"]) for one in _asked_once(service, f"{found.family.name}_bucket"))
    at = int(query.space[1:])
    name, parsed = query.metric.removeprefix("websocket."), datadog_queries.parse(text(query), ANY)
    low, high = (
        [
            of_events(one, replace(parsed, space=f"p{near}"), name)[()] / found.family.divisor  # type: ignore[arg-type]
            for one in (service, SimpleNamespace(reported=service.all))
        ]
        for near in (max(1, at - 20), min(100, at + 20))
    )
    least = max((one for one in bounds if one < min(low)), default=0.0)
    most = min(min(one for one in bounds if one >= max(high)), bounds[-2])  # no value is given beyond the last bound
    return least <= reported <= most * (1 + 1e-9)


def _asked_once(service: Scraped, name: str) -> list[dict[str, Any]]:
    return service.prometheus.ask(f"count by (le) ({name})", service.ended)


@pytest.mark.parametrize("naming", NAMINGS)
def test_the_guides_four_queries_and_those_without_bias(service: Scraped, naming: Naming) -> None:
    """As they are on the board: over the whole run, as their series begin at 0; of types from a first value."""
    panels = {panel["title"]: panel.get("targets", []) for panel in board(service.profile, naming=naming)["panels"]}

    def number(title: str) -> float:
        return service.prometheus.number(panels[title][0]["expr"], service.ended)

    started, completed = (
        [one for one in service.all if one.event == event]
        for event in (events.CONNECTION_STARTED, events.CONNECTION_COMPLETED)
    )
    share = len(completed) / len(started)
    assert number("Connection Success Rate") == pytest.approx(share, rel=CLOSE)
    assert number("Connection success rate, no dial is no rate") == pytest.approx(share, rel=CLOSE)
    unit = 1e6 if naming == "guide" else 1e9
    times: dict[tuple[str, str], list[float]] = {}
    for one in completed:
        times.setdefault((one.worker, one.metadata["client_id"]), []).append(one.measurements["duration"] / unit)
    means = [math.fsum(values) / len(values) for values in times.values()]
    assert number("Average Connection Time") == pytest.approx(math.fsum(means) / len(means), rel=1e-6)
    every = [value for values in times.values() for value in values]
    mean = math.fsum(every) / len(every)
    assert number("Average connection time, every dial alike") == pytest.approx(mean, rel=CLOSE)
    typed = _by(service, panels["Message Throughput"][0]["expr"], "client_id", "type")
    expected = {("md-1", kind) for kind in (("trade", "quote") if service.profile.message_events else ("all",))}
    assert expected <= typed.keys()
    assert all((kind == "all") != service.profile.message_events for _, kind in typed)
    sums = _by(service, panels["Messages received, by exact sums in every profile"][0]["expr"], "client_id")
    received: Counter[Group] = Counter()
    for one in service.all:
        if one.metadata.get("direction") == "received" and "count" in one.measurements:
            received[(one.metadata["client_id"],)] += one.measurements["count"]
    assert {group: round(value * 300) for group, value in sums.items()}.keys() == received.keys()
    errors = _by(service, panels["Error Rate"][0]["expr"], "error_type")
    failed = Counter(one.metadata["error_type"] for one in service.all if one.event == events.ERROR_OCCURRED)
    for kind, count in failed.items():
        assert errors[(kind,)] * 300 == pytest.approx(count, rel=CLOSE)
    assert {kind for (kind,), value in errors.items() if value} == failed.keys()


def _by(service: Scraped, query: str, *labels: str) -> dict[Group, float]:
    found = service.prometheus.ask(query, service.ended)
    return {tuple(one["metric"].get(label, "") for label in labels): float(one["value"][1]) for one in found}


def test_alerts_fire_for_the_clients_of_their_rules_and_no_others(service: Scraped) -> None:
    """By the rule files of both namings, evaluated every second by Prometheus itself."""
    firing = {
        (one["metric"]["alertname"], one["metric"]["client_id"])
        for one in service.prometheus.ask('ALERTS{alertstate="firing",alertname=~"WebSocketAlert.*"}', service.ended)
    }
    wanted = {("WebSocketAlert" + "".join(map(str.capitalize, rule.split("_"))), who) for rule, who in service.fired()}
    assert {rule for rule, _ in service.fired()} >= {"slow_processing", "stuck_handler", "retries_exhausted"}
    assert firing == wanted


@pytest.mark.parametrize("naming", NAMINGS)
def test_a_kpis_rule_holds_for_clients_that_miss_its_target(service: Scraped, naming: Naming) -> None:
    """Only the condition, as its `for` takes minutes, by the last figures of each process."""
    last: dict[tuple[str, str], dict[str, float]] = {}
    for one in service.all:
        if one.event == events.KPI_SAMPLED and "client_id" in one.metadata:
            last[one.metadata["client_id"], one.worker] = one.measurements
    rules = {one["alert"]: one["expr"] for one in alert_rules(service.profile, naming=naming)["groups"][0]["rules"]}
    seen = 0
    for watch in watches(service.profile):
        if watch.name.startswith("kpi-"):
            key = watch.name.removeprefix("kpi-")
            beyond = operator.ge if watch.sign == ">=" else operator.le
            missed = {who for who, reported in last.items() if key in reported and beyond(reported[key], watch.limit)}
            query = rules["WebSocket" + "".join(map(str.capitalize, watch.name.replace("-", "_").split("_")))]
            assert _holding(service, query, naming, service.ended) == missed, watch.name
            seen += len(missed)
    assert seen


@pytest.mark.parametrize("naming", NAMINGS)
def test_the_rules_for_links_and_health_hold_while_they_should(service: Scraped, naming: Naming) -> None:
    """The condition for links during each outage, and not at the end; that for health by the last verdicts."""
    rules = {one["alert"]: one["expr"] for one in alert_rules(service.profile, naming=naming)["groups"][0]["rules"]}
    outages = {
        one.worker: one.window
        for one in service.all
        if one.event == events.CONNECTION_RECONNECT_FAILED and one.metadata["final"]
    }
    assert outages.keys() == {"a", "b"}
    for worker, second in outages.items():
        assert ("md-1", worker) in _holding(service, rules["WebSocketCheckCanConnect"], naming, second + 2.3)
    assert _holding(service, rules["WebSocketCheckCanConnect"], naming, service.ended) == set()
    verdicts = {
        (one.metadata["client_id"], one.worker): one.measurements.get("status")
        for one in service.all
        if one.event == events.KPI_SAMPLED and "client_id" in one.metadata
    }
    critical = {who for who, status in verdicts.items() if status == 2}
    assert critical
    assert _holding(service, rules["WebSocketCheckHealth"], naming, service.ended) == critical


def _holding(service: Scraped, rule: str, naming: Naming, at: float) -> set[tuple[str, str]]:
    """The clients of one page for which a rule's condition holds."""
    found = service.prometheus.ask(f"({rule}) and on (instance) up{{job='{JOBS[naming]}'}}", at)
    return {(one["metric"]["client_id"], service.instances[one["metric"]["instance"]]) for one in found}
