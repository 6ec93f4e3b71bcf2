"""The linter as a whole: the guide's report word for word, the shipped list without a fault, and your own lists."""

import json
from pathlib import Path

import pytest

import wsnova_statsd as ws
from wsnova_statsd.dashboards import datadog, monitors
from wsnova_statsd.dashboards.lint import lint, lint_guide, lint_shipped
from wsnova_statsd.dashboards.panels import Panel, Section, drawn, sections
from wsnova_statsd.dashboards.queries import Line, Query
from wsnova_statsd.metrics import guide
from wsnova_statsd.metrics.definitions import Definition

PAGE = (Path(__file__).resolve().parents[2] / "examples" / "prometheus.md").read_text(encoding="utf-8")
PROFILES = [ws.FINANCIAL, ws.STANDARD, ws.LIGHTWEIGHT]
PREFIX = "websockex_nova."
URI = "tag uri has no bound: each new uri adds a series; leave it out"
Found = tuple[str, str, str]  # rule, subject, text
GUIDE: list[Found] = [
    ("unbounded tag", f"{PREFIX}connection.started.count", URI),
    ("unbounded tag", f"{PREFIX}connection.completed.duration", URI),
    (
        "no buckets",
        f"{PREFIX}message.process.completed.duration",
        "it has no buckets, so Prometheus gets default ones; pass buckets= that hold your limits",
    ),
    (
        "unbounded tag",
        f"{PREFIX}subscription.subscribe.completed.count",
        "tag channel has no bound: each new channel adds a series; leave it out",
    ),
    (
        "unknown metric",
        "Connection Success Rate",
        "no metric is called websockex_nova_connection_completed_count; did you mean "
        "'websockex_nova_connection_started_count'?",
    ),
    (
        "average of averages",
        "Average Connection Time",
        "it averages the means of websockex_nova_connection_completed_duration_milliseconds: each counts once, however "
        "many values it has; divide sum by sum",
    ),
]


def _silent(name: str) -> Found:
    event = name.rpartition(".")[0]
    why = f"profile standard never emits {PREFIX}{event}: its message_events are off"
    return "never fires", PREFIX + name, f"{why}; leave the metric out, or choose another profile"


IN_STANDARD = [
    *GUIDE[:2],
    *map(_silent, ("message.received.count", "message.sent.count", "message.received.size", "message.sent.size")),
    _silent("message.process.completed.duration"),
    *GUIDE[2:],
]


def _found(given: object, profile: ws.Profile | None = None) -> list[Found]:
    report = lint(given, profile)
    assert report.faults == len(report.findings)
    return [(one.rule, one.subject, one.text) for one in report.findings]


# -- the guide


@pytest.mark.parametrize(("profile", "wanted"), [(None, GUIDE), (ws.FINANCIAL, GUIDE), (ws.STANDARD, IN_STANDARD)])
def test_the_report_on_the_guide_is_exactly_this(
    profile: ws.Profile | None, wanted: list[tuple[str, str, str]]
) -> None:
    """An unknown metric, an average of averages, three tags without a bound, one list of buckets missing; in a profile
    without message events also each message definition, once: its query says nothing new."""
    report = lint_guide(profile)
    assert [(one.rule, one.subject, one.text) for one in report.findings] == wanted
    assert report.lines[:-1] == [f"fault  {rule:<19}  {subject}: {text}" for rule, subject, text in wanted]
    assert str(report).endswith(f"\n{len(wanted)} faults and 0 notes in 9 metrics and 4 queries")
    document = json.loads(report.to_json())
    assert (document["metrics"], document["queries"], document["faults"]) == (9, 4, len(wanted))
    assert [tuple(one.values()) for one in document["findings"]] == [(*one, True) for one in wanted]


def test_what_is_judged_is_the_guides_own() -> None:
    """Its queries as the page quotes them, its nine definitions as the default list has them."""
    for title, query in guide.QUERIES.items():
        assert f"# {title}\n{query}" in PAGE
    default = [one for one in ws.prometheus_metrics() if not one.fixed]  # the others are of what only sums count
    ours = [one for one in default if one.name != f"{PREFIX}connection.completed.count"]
    assert ours == list(guide.DEFINITIONS)
    assert len(ours) == 9


def test_the_completed_list_answers_the_guides_queries_except_the_averages() -> None:
    """The counter that the first query reads is in our list."""
    rules = [one.rule for one in lint([*ws.prometheus_metrics(), guide.QUERIES]).findings]
    assert rules.count("unknown metric") == 0
    assert rules.count("average of averages") == 1


# -- what is shipped


def test_the_shipped_list_and_its_boards_have_no_fault() -> None:
    """Nor a note: of every profile's board, monitors and SLOs."""
    report = lint_shipped()
    assert report.findings == ()
    assert report.metrics == len({one.name for one in ws.statsd_metrics()})
    assert report.queries > 200


def test_a_panel_that_asks_for_a_metric_that_is_not_shipped_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """Although the generated board leaves its line out, as it does for what your own list lacks."""
    lines = tuple(
        Line(last, (Query(f"websocket.connection.{last}", "sum", ("client", by)),))
        for last, by in (("starts", "client"), ("completed", "result"))
    )
    drawn_wrong = (Section("Overview", (Panel("Dials", "bars", lines),)),)
    monkeypatch.setattr("wsnova_statsd.dashboards.lint.drawn", lambda profile: drawn_wrong)
    assert [(one.rule, one.subject) for one in lint_shipped().findings] == [
        ("unknown metric", "board, Dials"),
        ("unknown tag", "board, Dials"),
    ]


def test_the_profile_that_emits_all_has_every_panel_with_every_line() -> None:
    """Every line of the description is on its board."""
    drawn_all, made = (
        [(panel.title, [line.label for line in panel.lines]) for section in of for panel in section.panels]
        for of in (drawn(ws.FINANCIAL), sections(ws.FINANCIAL))
    )
    assert made == drawn_all
    assert len(made) > 60


@pytest.mark.parametrize("profile", PROFILES, ids=lambda one: one.name)
def test_a_default_metric_that_a_profile_switches_off_is_a_note(profile: ws.Profile) -> None:
    """The list is the same for all; one note for each name that the profile's own list lacks."""
    report = lint_shipped(profile)
    assert report.faults == 0
    names = {one.name for one in ws.statsd_metrics()} - {one.name for one in ws.statsd_metrics(profile)}
    assert {one.subject for one in report.findings} == names
    assert {one.rule for one in report.findings} <= {"never fires"}
    assert report.lines[-1].startswith(f"0 faults and {len(names)} notes in ")


@pytest.mark.parametrize("profile", PROFILES, ids=lambda one: one.name)
def test_the_documents_that_are_pushed_have_no_fault_under_their_profile(profile: ws.Profile) -> None:
    """As JSON, under a namespace too; and one board fits the lean list as well as the whole."""
    documents = [datadog.board(profile), *monitors.monitors(profile).values(), *monitors.slos(profile).values()]
    assert lint(documents, profile).findings == ()
    assert lint(documents, profile).queries > 50
    assert lint(datadog.board(profile, namespace="shop."), profile).findings == ()
    assert lint([*ws.statsd_metrics(lean=True), documents]).findings == ()


def test_a_board_of_another_profile_asks_for_what_is_never_emitted() -> None:
    """A fault for each panel, though the list is the default one."""
    report = lint(datadog.board(ws.FINANCIAL), ws.STANDARD)
    assert report.faults == len(report.findings) > 10
    assert {one.rule for one in report.findings} == {"never fires"}
    (heartbeats,) = {one.text for one in report.findings if "heartbeat.missed" in one.text}
    assert heartbeats == (
        "websocket.heartbeat.missed has no data: profile standard never emits websockex_nova.heartbeat.missed: its "
        "heartbeat_events are off"
    )


def test_checks_of_boards_and_monitors_are_judged() -> None:
    """Their names, the tags by which they are grouped and filtered, and whether the profile lets them be sent."""
    documents = json.dumps([datadog.board(ws.STANDARD), *monitors.monitors(ws.STANDARD).values()])
    wrong = json.loads(documents.replace("websocket.health", "websocket.helth").replace('by(\\"client', 'by(\\"type'))
    assert [(one.rule, one.subject, one.text) for one in lint(wrong, ws.STANDARD).findings] == [
        (
            "unknown check",
            "Health",
            "no service check is called websocket.helth; did you mean 'websocket.health'?",
        ),
        (
            "unknown tag",
            "WebSocket clients (standard): A client cannot connect",
            "websocket.can_connect has no tag type; its tags: client, worker",
        ),
        (
            "unknown check",
            "WebSocket clients (standard): A client misses its KPI targets",
            "no service check is called websocket.helth; did you mean 'websocket.health'?",
        ),
    ]
    silent = ws.STANDARD.replace(connection_events=False)
    board = {"title": "B", "widgets": [{"type": "check_status", "title": "C", "check": "websocket.can_connect"}]}
    assert [(one.rule, one.subject) for one in lint(board, silent).findings] == [("never fires", "C")]
    panels = [panel.check for section in sections(silent) for panel in section.panels if panel.check]
    assert panels == ["websocket.health"]


# -- lists of your own


def test_a_list_may_hold_definitions_texts_documents_and_lists() -> None:
    """Titles are those of a mapping, or of a document; otherwise queries are numbered."""
    orders = ws.counter("shop.orders", "shop.order", tags=["client_id"])
    given = [
        [orders],
        "sum:shop.order{*}",
        {"Orders of today": "shop_order", "Orders": "sum(rate(shop_orders[5m]))"},
        {"title": "Board", "widgets": [{"definition": {"title": "Panel", "requests": [{"q": "sum:shop.orderz{*}"}]}}]},
    ]
    report = lint(given)
    assert [(one.rule, one.subject) for one in report.findings] == [
        ("unknown metric", "query 2"),
        ("unknown metric", "Orders of today"),
        ("unknown metric", "Panel"),
    ]
    assert (report.metrics, report.queries) == (1, 4)
    assert lint(orders).findings == ()


def test_queries_alone_are_judged_by_the_default_lists() -> None:
    """Of Datadog's and of Prometheus's."""
    good = ["sum:websocket.connection.started{*}", *guide.QUERIES.values()]
    assert [rule for rule, *_ in _found(good)] == ["average of averages"]
    assert _found("sum:websocket.connection.starts{*}") == [
        (
            "unknown metric",
            "the query",
            "no metric is called websocket.connection.starts; did you mean 'websocket.connection.started'?",
        )
    ]


def test_a_misspelled_name_is_found_after_a_namespace_too() -> None:
    """Other queries reveal the namespace; other programs' metrics with such a word in their names are not judged."""
    others = ["sum:nginx.websocket.konnections{*}", '"nginx.websocket.helth".over("*").last(2).count_by_status()']
    assert _found(["sum:feeds.websocket.connection.started{*}", *others]) == []
    wrong = ["sum:feeds.websocket.connection.starts{*}", '"feeds.websocket.helth".over("*").last(2).count_by_status()']
    assert _found(["sum:feeds.websocket.connection.completed{*}", *others, *wrong]) == [
        (
            "unknown metric",
            "query 4",
            "no metric is called feeds.websocket.connection.starts; did you mean 'websocket.connection.started'?",
        ),
        (
            "unknown check",
            "query 5",
            "no service check is called feeds.websocket.helth; did you mean 'websocket.health'?",
        ),
    ]


@pytest.mark.parametrize("given", [7, None, b"sum:a{*}", object(), [ws.counter("a.b"), 7]])
def test_what_is_neither_a_definition_nor_a_query_is_refused(given: object) -> None:
    """In a sentence that says what may be passed."""
    with pytest.raises(
        ws.errors.ConfigurationError, match=r"^what lint checks must be metric definitions and queries: "
    ):
        lint(given)


@pytest.mark.parametrize("given", [[], {}, {"title": "Empty board", "widgets": []}, [[], ()]])
def test_nothing_to_judge_is_refused(given: object) -> None:
    """A list that is empty by mistake does not pass."""
    with pytest.raises(ws.errors.ConfigurationError, match=r"^there is nothing to check; pass "):
        lint(given)


def test_a_default_metric_in_a_list_of_your_own_is_a_note_until_a_query_asks_for_it() -> None:
    """Your own metric that the profile switches off is a fault at once, and its query adds no finding."""
    own = ws.counter("shop.received", ws.events.MESSAGE_RECEIVED)
    report = lint([*ws.statsd_metrics(), own], ws.STANDARD)
    notes = len(ws.statsd_metrics()) - len(ws.statsd_metrics("standard"))
    assert [one.subject for one in report.findings if one.fault] == ["shop.received"]
    assert len(report.findings) == notes + 1
    queries = ["sum:shop.received{*}", "sum:websocket.message.received{*}"]
    asked = lint([*ws.statsd_metrics(), own, queries], ws.STANDARD)
    assert [one.subject for one in asked.findings if one.fault] == ["shop.received", "query 2"]
    assert lint(ws.prometheus_metrics(), ws.STANDARD).faults == lint(ws.prometheus_metrics()).faults


def test_a_profile_is_passed_by_name_or_as_an_object() -> None:
    """An unknown name is refused with the known ones."""
    received = ws.counter("shop.received", ws.events.MESSAGE_RECEIVED)
    assert lint(received, "standard") == lint(received, ws.STANDARD)
    assert [one.rule for one in lint(received, "standard").findings] == ["never fires"]
    with pytest.raises(ws.errors.ConfigurationError, match="financial, standard, lightweight"):
        lint(received, "finacial")  # type: ignore[arg-type]


def test_the_example_of_the_readme_has_no_fault() -> None:
    """The default list with metrics of an application's own events, of which the catalogue knows nothing."""
    tags = {"client": "client_id", "venue": "venue"}
    filled = "myapp.order.filled"
    own: list[Definition] = [
        ws.counter("myapp.orders", filled, tags=tags),
        ws.sum_("myapp.orders.value", filled, "value", tags=tags),
        ws.distribution("myapp.order.duration", filled, "duration", tags=tags, unit=("native", "millisecond")),
    ]
    assert _found([*ws.statsd_metrics(), *own, "sum:myapp.orders{venue:xetr} by {client}"]) == []
