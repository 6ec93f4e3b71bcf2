"""Every query of the board, of monitors and of SLOs, over the windows of a service with two workers: each is parsed,
none is empty, and its answer is what happened - with every variable at `*`, and with each at one value.
"""

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

import pytest

import wsnova_statsd as ws
from tests.stories import datadog_queries
from tests.stories.board_service import RULES, Happened, Service
from tests.stories.datadog_queries import Answer, Formula, Group, Monitor, Query, check, inline, parse, stream
from wsnova_statsd import events
from wsnova_statsd.dashboards.datadog import board
from wsnova_statsd.dashboards.monitors import monitors, slos
from wsnova_statsd.profiles import PROFILES

ANY: Final = dict.fromkeys(("env", "service", "client", "type", "worker"), "*")
ONE: Final = {"env": "test", "service": "feeds", "client": "md-1", "type": "trade", "worker": "a"}
CHOICES: Final = [ANY, *({**ANY, name: value} for name, value in ONE.items()), ONE]
IDS: Final = ["any", *ONE, "all"]
MS: Final = 1e6  # nanoseconds

# From a metric's name to its event and measurement, if the words differ.
_SPELLED: Final = {
    "connection.duration": (events.CONNECTION_COMPLETED, "duration"),
    "connection.lifetime": (events.CONNECTION_DISCONNECTED, "duration"),
    "connection.down_ms": (events.CONNECTION_DOWN, "duration"),
    "connection.reconnect.delay": (events.CONNECTION_RECONNECT_ATTEMPT, "delay"),
    "connection.reconnect.duration": (events.CONNECTION_RECONNECT_SUCCESS, "duration"),
    "message.received.size": (events.MESSAGE_RECEIVED, "size"),
    "message.sent.size": (events.MESSAGE_SENT, "size"),
    "message.process.duration": (events.MESSAGE_PROCESS_COMPLETED, "duration"),
    "message.decode.duration": (events.MESSAGE_DECODE_COMPLETED, "duration"),
    "message.encode.duration": (events.MESSAGE_ENCODE_COMPLETED, "duration"),
    "message.lag": (events.MESSAGE_LAG, "lag"),
    "message.batch.count": (events.MESSAGE_BATCH_PROCESSED, "count"),
    "message.batch.bytes": (events.MESSAGE_BATCH_PROCESSED, "total_size"),
    "message.batch.errors": (events.MESSAGE_BATCH_PROCESSED, "errors"),
    "message.waiting": (events.MESSAGE_BATCH_PROCESSED, "waiting"),
    "message.waiting.bytes": (events.MESSAGE_BATCH_PROCESSED, "waiting_bytes"),
    "message.behind": (events.MESSAGE_BATCH_PROCESSED, "behind"),
    "error.recovery.duration": (events.ERROR_HANDLED, "duration"),
    "subscription.subscribe.duration": (events.SUBSCRIPTION_SUBSCRIBE_COMPLETED, "duration"),
    "subscription.unsubscribe.duration": (events.SUBSCRIPTION_UNSUBSCRIBE_COMPLETED, "duration"),
    "auth.duration": (events.AUTH_COMPLETED, "duration"),
    "auth.refresh.duration": (events.AUTH_REFRESH_COMPLETED, "duration"),
    "heartbeat.rtt": (events.HEARTBEAT_RECEIVED, "rtt"),
}
_NANOSECONDS: Final = ("duration", "delay", "lag", "rtt", "behind")
_KEYS: Final = {"client": "client_id"}  # other tags have the name of their metadata


class Asked(NamedTuple):
    """One query as it is on the board, and the panel."""

    panel: str
    text: str


@pytest.fixture(scope="module", params=PROFILES.values(), ids=list(PROFILES))
def service(request: pytest.FixtureRequest) -> Service:
    """The service runs once in each profile, and all tests below query it."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        service = Service(monkeypatch, request.param)
        try:
            service.live()
        finally:
            service.end()
    return service


def _panels(profile: ws.Profile) -> Iterator[dict[str, Any]]:
    for group in board(profile)["widgets"]:
        for one in group["definition"]["widgets"]:
            yield one["definition"]


def asked(profile: ws.Profile) -> list[Asked]:
    """Every query of the board."""
    found = [
        Asked(panel["title"], query["query"])
        for panel in _panels(profile)
        for request in panel.get("requests", [])
        for query in request.get("queries", [])
    ]
    assert len(found) > 80
    return found


# -- what happened, without the package's own tables ------------------------------------------------------------------


def truth(service: Service, query: Query) -> dict[Group, float]:
    """The answer over the whole run."""
    name = query.name.removeprefix("websocket.")
    if name.startswith("kpi."):
        return _kpis(service, query, name.removeprefix("kpi."))
    if name == "connection.up":
        return _up(query)
    if name.startswith("reporter."):
        return _reporter(service, query, name.removeprefix("reporter."))
    if name == "alert.fired":
        return _alerts(service, query)
    return of_events(service, query, name)


def of_events(service: Service, query: Query, name: str) -> dict[Group, float]:
    """Of a state only the last one in each of the Agent's windows stays."""
    event, measurement = _source(name)
    state = name.startswith(("system.", "message.waiting", "message.behind"))
    groups: dict[Group, dict[object, float]] = {}
    for one in service.reported:
        if one.event == event and (measurement is None or measurement in one.measurements):
            tags = frozenset(_tags(one, query))
            group = query.group(tags)
            if query.takes(tags):
                value = 1.0 if measurement is None else float(one.measurements[measurement])
                values = groups.setdefault(group, {})
                values[(one.window, tags) if state else len(values)] = (
                    value / MS if measurement in _NANOSECONDS else value
                )
    return {group: datadog_queries.joined(query.space, [*values.values()]) for group, values in groups.items()}


def _source(name: str) -> tuple[str, str | None]:
    if name.startswith("system."):
        return events.SYSTEM_SAMPLED, name.removeprefix("system.").replace(".", "_")
    plain = name.removesuffix(".distribution")
    return _SPELLED.get(plain, (f"websockex_nova.{name}", None))


def _tags(one: Happened, query: Query) -> Iterator[str]:
    """Those that its metric may carry; booleans as words."""
    yield from _base(one.worker)
    for tag in ("client", "type", "reason", "final", "result", "severity", "phase", "direction"):
        key = "error_type" if tag == "type" and one.event.startswith("websockex_nova.error") else _KEYS.get(tag, tag)
        value = one.metadata.get(key)
        if value is not None and value != "":
            yield f"{tag}:{str(value).lower()}"


def _base(worker: str, *tags: str) -> tuple[str, ...]:
    return ("env:test", "service:feeds", f"worker:{worker}", *tags)


def _kpis(service: Service, query: Query, key: str) -> dict[Group, float]:
    found: dict[Group, float] = {}
    for (client, worker), reports in service.kpis.items():
        tags = frozenset(_base(worker, f"client:{client}"))
        values = [value for value in (report[key] for report in reports) if value is not None]
        if query.takes(tags) and values:
            found[client, worker] = (min if query.space == "min" else max)(values)
    return found


def _up(query: Query) -> dict[Group, float]:
    """At the end of windows: the outage of a is over before, that of b is not, and its other client stays up."""
    links = {("a", "md-1"): 1.0, ("b", "md-1"): 0.0, ("b", "md-2"): 1.0}
    found: dict[Group, float] = {}
    for (worker, client), value in links.items():
        if query.takes(frozenset(_base(worker, f"client:{client}"))):
            found[(worker,)] = found.get((worker,), 0.0) + value
    return found


def _reporter(service: Service, query: Query, name: str) -> dict[Group, float]:
    if name in ("series", "flush_ms"):  # no time passes on the fake clock while it flushes
        held = {one: float(number) if name == "series" else 0.0 for one, number in service.series.items()}
        return {(one,): number for one, number in held.items() if query.takes(frozenset(_base(one)))}
    if name == "lost":
        return {("invalid",): float(sum(one.lost["invalid"] for one in service.stats))}
    if name == "samples":
        return {(): sum(one.samples.delivered for one in service.stats)}
    return {(): float(sum(getattr(one, name) for one in service.stats))}


def _alerts(service: Service, query: Query) -> dict[Group, float]:
    found: dict[Group, float] = {}
    for alert in service.alerted:
        tags = frozenset({"env:test", "service:feeds", f"client:{alert.client}", f"rule:{alert.rule}"})
        group = query.group(tags)
        if alert.alert_type != "success" and query.takes(tags):
            found[group] = found.get(group, 0.0) + 1
    return found


# -- what the queries answer ------------------------------------------------------------------------------------------


def overall(query: Query, text: str, answer: Answer, agent: Any) -> dict[Group, float]:
    """An answer over the whole run: of counts the sum, of distributions all values, of states the worst."""
    if agent.kind_of(query.name) == "d":
        return datadog_queries.whole(agent, query)
    found = {}
    for group, windows in answer.items():
        values = [one for one in windows if one is not None]
        if values and query.as_ is not None:
            found[group] = math.fsum(values) * (10 if query.as_ == ".as_rate()" else 1)
        elif values:
            found[group] = min(values) if text.endswith(".rollup(min)") else max(values)
    return found


# Faults that did not occur, so that 0 is the answer.
_NONE: Final = tuple(f"websocket.reporter.{fault}" for fault in ("flush_errors", "flusher_restarts", "handler_errors"))
# Counts that cannot include the packet that carries them.
_NEARLY: Final = ("websocket.reporter.packets", "websocket.reporter.bytes", "websocket.reporter.samples")


@pytest.mark.parametrize("variables", CHOICES, ids=IDS)
def test_every_query_of_the_board_answers_what_happened(service: Service, variables: Mapping[str, str]) -> None:
    """Group by group. A count of which nothing came is shown as 0 by its formula, below."""
    for panel, text in asked(service.profile):
        query = parse(text, variables)
        reported = overall(query, text, datadog_queries.answer(service.agent, query), service.agent)
        reported = {group: value for group, value in reported.items() if value or query.as_ is None}
        wanted = {group: value for group, value in truth(service, query).items() if value or query.as_ is None}
        assert reported.keys() == wanted.keys(), (panel, text)
        assert reported or query.name in _NONE, (panel, text)
        for group, value in wanted.items():
            if query.name in _NEARLY:
                assert 0.9 * value <= reported[group] <= value, (panel, text, reported[group], value)
            else:
                close = 0.02 if query.name.startswith("websocket.kpi.") else 1e-6
                assert reported[group] == pytest.approx(value, rel=close, abs=1e-6), (panel, text, group)


@pytest.mark.parametrize("variables", CHOICES, ids=IDS)
def test_no_line_of_the_board_is_empty(service: Service, variables: Mapping[str, str]) -> None:
    """Each formula has data for some group, in some window."""
    for panel in _panels(service.profile):
        for request in panel.get("requests", []):
            if panel["type"] == "list_stream":
                continue
            answers = {
                one["name"]: datadog_queries.answer(service.agent, parse(one["query"], variables))
                for one in request["queries"]
            }
            (formula,) = request["formulas"]
            shown = Formula(formula["formula"], answers, service.agent.window).value()
            assert any(value is not None for windows in shown.values() for value in windows), (panel["title"], formula)


def test_the_four_questions_of_the_guide(service: Service) -> None:
    """Success rate, average connection time, throughput and error rate, as in the overview and the sections."""
    happened = service.reported
    started, completed = (
        [one for one in happened if one.event == event]
        for event in (events.CONNECTION_STARTED, events.CONNECTION_COMPLETED)
    )
    values = {
        panel["title"]: panel["requests"][0] for panel in _panels(service.profile) if panel["type"] == "query_value"
    }
    assert _value(service, values["Connection success rate"]) == 100 * len(completed) / len(started)
    mean = math.fsum(one.measurements["duration"] for one in completed) / len(completed) / MS
    assert _value(service, values["Average connection time"]) == pytest.approx(mean, rel=1e-6)
    received = [one for one in happened if one.event == events.MESSAGE_RECEIVED]
    if service.profile.message_events:
        assert _per_second(service, "Throughput by client and type") == _counted(received, "client_id", "type")
    else:
        summed = _per_second(service, "Messages by client and direction")
        assert {group[1] for group in summed} == {"received", "sent"}
    errors = [one for one in happened if one.event == events.ERROR_OCCURRED]
    assert _per_second(service, "Error rate by type") == _counted(errors, "error_type")


def _counted(happened: list[Happened], *keys: str) -> dict[Group, int]:
    return dict(Counter(tuple(str(one.metadata[key]) for key in keys) for one in happened))


def _per_second(service: Service, title: str) -> dict[Group, int]:
    """What a panel of a rate shows, added up over the seconds of the run."""
    (request,) = next(panel for panel in _panels(service.profile) if panel["title"] == title)["requests"]
    (query,) = request["queries"]
    answers = {query["name"]: datadog_queries.answer(service.agent, parse(query["query"], ANY))}
    shown = Formula(request["formulas"][0]["formula"], answers, service.agent.window).value()
    return {group: round(10 * math.fsum(one or 0 for one in windows)) for group, windows in shown.items()}


def _value(service: Service, request: Mapping[str, Any]) -> float | None:
    """A value widget: its queries reduced over the whole time by their aggregator, then the formula."""
    answers: dict[str, Answer] = {}
    for one in request["queries"]:
        assert one["aggregator"] == "sum"
        (windows,) = datadog_queries.answer(service.agent, parse(one["query"], ANY)).values()
        answers[one["name"]] = {(): [math.fsum(value for value in windows if value is not None)]}
    return Formula(request["formulas"][0]["formula"], answers, 1).value()[()][0]


def test_each_alert_monitor_fires_for_the_clients_of_its_rule_and_recovers(service: Service) -> None:
    """Within the five minutes after; then the count of the window is 0, below the recovery threshold."""
    fired = {(alert.rule, alert.client) for alert in service.alerted if alert.alert_type != "success"}
    assert {rule for rule, _ in fired} == {rule.name for rule in RULES}
    for name, document in monitors(service.profile, RULES).items():
        if name.startswith("alert-"):
            monitor = Monitor.of(document["query"])
            ever, last = set(), service.agent.window - 1
            for window in range(service.agent.window):
                ever |= {
                    group for group, value in monitor.values(service.agent, window).items() if monitor.alerts(value)
                }
            assert ever == {(client,) for rule, client in fired if f"alert-{rule}" == name}, name
            recovery = document["options"]["thresholds"]["critical_recovery"]
            assert all(value < recovery for value in monitor.values(service.agent, last).values())


def test_each_kpi_monitor_judges_the_figures_of_each_client_and_worker(service: Service) -> None:
    """At the end of a window it has the best value of the last five minutes, of those that have any."""
    for name, document in monitors(service.profile).items():
        if not name.startswith("kpi-"):
            continue
        monitor, key, last = Monitor.of(document["query"]), name.removeprefix("kpi-"), 20
        reported = monitor.values(service.agent, last)
        assert reported, name
        best = max if monitor.sign == "<=" else min
        for (client, worker), reports in service.kpis.items():
            known = [value for value in (report[key] for report in reports[: last + 1]) if value is not None]
            assert ((client, worker) in reported) is bool(known), name
            if known:
                assert reported[client, worker] == pytest.approx(best(known), rel=0.02, abs=1e-6), name


def test_each_check_monitor_has_the_statuses_of_each_client_and_worker(service: Service) -> None:
    """Worker b cannot connect for three checks in a row, which is what its monitor alerts after, and recovers with the
    last ones; a never alerts."""
    made = monitors(service.profile)
    connects = check(service.agent, made["check-can_connect"]["query"])
    limits = made["check-can_connect"]["options"]["thresholds"]
    alerts = {group for group, statuses in connects.items() if _in_a_row(statuses) >= limits["critical"]}
    assert alerts == {("md-1", "b")}
    assert [0.0] * limits["ok"] == [status for status in connects["md-1", "b"] if status is not None][-limits["ok"] :]
    health = check(service.agent, made["check-health"]["query"])
    assert health.keys() == connects.keys()
    assert 2 in health["md-1", "b"]
    titles = [panel for panel in _panels(service.profile) if panel["type"] == "check_status"]
    assert {one["check"] for one in titles} == {"websocket.health", "websocket.can_connect"}


def test_monitors_and_slos_of_an_env_are_of_what_has_its_tag(service: Service) -> None:
    """That of the service has the same numbers as without a filter; another one has none but the 0 of no alerts."""
    every, of_one, of_other = (
        {**monitors(service.profile, RULES, env=env), **slos(service.profile, env=env)}
        for env in (None, "test", "staging")
    )
    for name, document in every.items():
        values = _numbers(service, document)
        assert values, name
        assert _numbers(service, of_one[name]) == values, name
        assert not any(group or value for group, value in _numbers(service, of_other[name])), name


def _numbers(service: Service, document: dict[str, Any]) -> list[tuple[Group, object]]:
    """The value that a monitor or an SLO has for each of its groups."""
    if document["type"] == "service check":
        return [*check(service.agent, document["query"]).items()]
    if document["type"] == "query alert":
        monitor, windows = Monitor.of(document["query"]), range(service.agent.window)
        return [value for window in windows for value in monitor.values(service.agent, window).items()]
    queries = document.get("query") or document["sli_specification"]["time_slice"]["query"]["queries"][0]
    texts = [text for text in queries.values() if "{" in text]
    return [found for text in texts for found in inline(service.agent, text).items()]


def _in_a_row(statuses: list[float | None]) -> int:
    """The most CRITICALs without another status between them."""
    reported = [status for status in statuses if status is not None]
    return max((len(list(same)) for status, same in itertools.groupby(reported) if status == 2), default=0)


def test_slos_are_of_what_happened(service: Service) -> None:
    """Good over all dials; the slice with the outage of b is bad only if its reconnect took too long."""
    success, back = slos(service.profile).values()
    good, total = (
        math.fsum(filter(None, inline(service.agent, success["query"][part])[()]))
        for part in ("numerator", "denominator")
    )
    assert good == len([one for one in service.reported if one.event == events.CONNECTION_COMPLETED])
    assert total == len([one for one in service.reported if one.event == events.CONNECTION_STARTED])
    slices = back["sli_specification"]["time_slice"]
    longest = max(filter(None, inline(service.agent, slices["query"]["queries"][0]["query"])[()]))
    durations = [
        one.measurements["duration"] for one in service.reported if one.event == events.CONNECTION_RECONNECT_SUCCESS
    ]
    assert longest == pytest.approx(max(durations) / MS)
    assert longest < slices["threshold"]


@pytest.mark.parametrize("client", ["*", "md-1"])
def test_the_stream_shows_the_alerts(service: Service, client: str) -> None:
    """Of a client, or of all."""
    (panel,) = [panel for panel in _panels(service.profile) if panel["type"] == "list_stream"]
    shown = stream(service.agent, panel["requests"][0]["query"]["query_string"], {**ANY, "client": client})
    alerts = service.alerted
    assert sorted(shown) == sorted(one.title for one in alerts if client in ("*", one.client))


@pytest.mark.parametrize(
    "text",
    [
        "sum:websocket.message.received",
        "sum:websocket.message.received{*",
        "median:websocket.message.received{*}",
        "sum:websocket.message.received{client=md-1}",
        "sum:websocket.message.received{*}.as_counts()",
        "sum:websocket.message.received{*} by {client}.rollup(avg, 60)",
        "sum:websocket.message.received{*}.as_count() + 1",
    ],
)
def test_a_query_that_is_not_known_fails(text: str) -> None:
    """The evaluator itself: it never guesses."""
    with pytest.raises(ValueError, match="known here"):
        parse(text, ANY)


@pytest.mark.parametrize("text", ["query1 ^ 2", "top(query1)", "query1 +", "(query1", "query1 query1", ""])
def test_a_formula_that_is_not_known_fails(text: str) -> None:
    """The evaluator itself: it never guesses."""
    with pytest.raises(ValueError, match="known here"):
        Formula(text, {"query1": {(): [1.0]}}, 1).value()


def test_a_count_without_as_count_and_a_percentile_of_a_gauge_fail(service: Service) -> None:
    """Datadog would show a rate, and nothing."""
    for text in ("sum:websocket.connection.started{*}", "p95:websocket.connection.up{*}"):
        with pytest.raises(ValueError, match=r"as_count|no distribution"):
            datadog_queries.answer(service.agent, parse(text, ANY))


def test_ws_has_what_the_story_uses() -> None:
    """The rules of the story are those of the profile, tuned."""
    assert {type(rule) for rule in RULES} == {type(rule) for rule in ws.Monitor("financial").alerts.rules}
