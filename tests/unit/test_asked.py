"""What a query asks for: in our own description, Datadog's text, PromQL and JSON documents."""

import pytest

from wsnova_statsd.dashboards.asked import Asked, Question, of_document, of_lines, of_text
from wsnova_statsd.dashboards.queries import Line, Query
from wsnova_statsd.errors import ConfigurationError

UP = "websocket.connection.up"


def _asked(text: str) -> tuple[Asked, ...]:
    return of_text("here", text).asked


def test_a_line_asks_for_what_its_queries_ask_for() -> None:
    """Variables filter without a value, and what is left out has none either."""
    first = Query(UP, "min", ("worker",), ("client:a", "!scope:all"), ("env", "client"))
    second = Query("websocket.connection.started", "sum", as_="count")
    assert of_lines("panel", [Line("x", (first, second), "a / b")]) == Question(
        "panel",
        (
            Asked(
                UP,
                "min",
                frozenset({"worker"}),
                (("client", "a"), ("scope", None), ("env", None), ("client", None)),
            ),
            Asked("websocket.connection.started", "sum"),
        ),
    )


@pytest.mark.parametrize(
    ("text", "space", "by", "where"),
    [
        ("avg:m{*}", "avg", "", ()),
        ("p99.9:m{*}", "p99.9", "", ()),
        ("sum:m{*} by {client,type}.as_count()", "sum", "client type", ()),
        ("max:m{client:a}by{worker}.rollup(max, 60)", "max", "worker", (("client", "a"),)),
        ("sum:m{$env,$client,direction:received}", "sum", "", (("direction", "received"),)),
        ("sum:m{client:md-*,type:$type.value}", "sum", "", (("client", None), ("type", None))),
        ("sum:m{!final:true}", "sum", "", (("final", None),)),
        (
            "sum:m{client:a AND NOT type:b}",
            "sum",
            "",
            (("client", "a"), ("type", None)),
        ),
        ("sum:m{(client:a OR client:b)}", "sum", "", (("client", "a"), ("client", "b"))),
        ("sum:m{client IN (a,b)}", "sum", "", (("client", None),)),
        (
            "sum(last_5m):default_zero(sum:m{rule:slow} by {client}.as_count()) >= 1",
            "sum",
            "client",
            (("rule", "slow"),),
        ),
    ],
)
def test_a_query_of_datadog_is_read_with_its_tags(
    text: str, space: str, by: str, where: tuple[tuple[str, str | None], ...]
) -> None:
    """Exact values are known; patterns, variables, lists and exclusions are not."""
    assert _asked(text) == (Asked("m", space, frozenset(by.split()), where),)


def test_a_formula_of_datadog_asks_for_each_of_its_metrics() -> None:
    """With any operators and functions around them."""
    text = "100 * default_zero(sum:a.b{*}.as_count()) / sum:a.c{*}.as_count()"
    assert [(one.metric, one.space) for one in _asked(text)] == [("a.b", "sum"), ("a.c", "sum")]


def test_any_other_text_is_promql() -> None:
    """With the means that it averages."""
    question = of_text("here", "avg(a_sum{type='x'} / a_count)")
    assert question.asked == (Asked("a_sum", where=(("type", "x"),)), Asked("a_count"))
    assert question.averages == ("a",)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("sum:m{*", "here is not a query: '*' is not expected in the PromQL 'sum:m{*'"),
        ("how many", "here is not a query: 'many' is not expected in the PromQL 'how many'"),
        ("1 + 1", "here asks for no metric: '1 + 1'"),
    ],
)
def test_what_can_be_read_as_neither_is_refused(text: str, sentence: str) -> None:
    """With its place."""
    with pytest.raises(ConfigurationError) as refused:
        of_text("here", text)
    assert str(refused.value) == sentence


@pytest.mark.parametrize("tags", [None, 5, "client", {"client": 1}, [None, 7]])
def test_a_widget_whose_tags_are_no_list_asks_by_none(tags: object) -> None:
    """Its check is still judged."""
    (question,) = of_document("here", {"type": "check_status", "check": "a.b", "group_by": tags, "tags": tags})
    assert question.checks == (Asked("a.b"),)


def test_a_document_asks_by_the_nearest_title() -> None:
    """Boards, old and new, monitors, SLOs and rules; a query of logs is no question."""
    metric = {"queries": [{"data_source": "metrics", "name": "query1", "query": "avg:a{*}"}]}
    board = {
        "title": "Board",
        "widgets": [
            {"definition": {"title": "New", "requests": [{"response_format": "timeseries", **metric}]}},
            {"definition": {"title": "Old", "requests": [{"q": "sum:b{*}"}, {"q": "sum:c{*} / sum:d{*}"}]}},
            {"definition": {"title": "Logs", "requests": [{"query": {"query_string": "client:*"}}]}},
            {"definition": {"requests": [{"q": "max:e{*}"}]}},
        ],
    }
    monitor = {"name": "Monitor", "query": "max(last_5m):max:f{*} > 1", "type": "query alert"}
    check = {"name": "Check", "query": '"websocket.health".over("*").last(2).count_by_status()'}
    rules = {
        "groups": [{"name": "Group", "rules": [{"alert": "Alert", "expr": "i > 1"}, {"record": "r", "expr": "j"}]}]
    }
    slo = {"name": "SLO", "query": {"numerator": "sum:g{*}.as_count()", "denominator": "sum:h{*}.as_count()"}}
    found = [
        (question.place, *(one.metric for one in (*question.asked, *question.checks)))
        for question in of_document("here", [board, monitor, check, slo, rules])
    ]
    assert found == [
        ("New", "a"),
        ("Old", "b"),
        ("Old", "c", "d"),
        ("Board", "e"),
        ("Monitor", "f"),
        ("Check", "websocket.health"),
        ("SLO", "g"),
        ("SLO", "h"),
        ("Alert", "i"),
        ("r", "j"),
    ]
