"""What the linter finds in queries, rule by rule."""

import pytest

import wsnova_statsd as ws
from wsnova_statsd.dashboards.asked import Asked, Question, of_text
from wsnova_statsd.dashboards.lint_queries import known, of_question
from wsnova_statsd.metrics.definitions import Definition

OWN = [
    ws.counter("shop.orders", "shop.order", tags={"client": "client_id", "venue": "venue"}),
    ws.summary("shop.time", "shop.order", "t", tags=["client_id"]),
    ws.gauge("shop.open", "shop.order", "open"),
]
DEFAULT = [*ws.statsd_metrics(), *ws.prometheus_metrics()]


def _found(text: str, metrics: list[Definition] | None = None) -> list[tuple[str, str]]:
    """Rule and text of each; the place is that of the query."""
    listed = DEFAULT if metrics is None else metrics
    found = list(of_question(of_text("here", text), known(listed), None))
    assert all(one.fault and one.subject == "here" for one in found)
    return [(one.rule, one.text) for one in found]


# -- names


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ('"websocket.health".over("*").exclude("scope:all").by("client","worker").last(4).count_by_status()', []),
        ('"feeds.websocket.can_connect".over("env:prod","client:md-1").by("*").last(2).count_by_status()', []),
        ('"ntp.in_sync".over("*").by("type").last(2).count_by_status()', []),
        (
            '"websocket.can_conect".over("*").last(2).count_by_status()',
            ["no service check is called websocket.can_conect; did you mean 'websocket.can_connect'?"],
        ),
        (
            '"websocket.can_connect".over("scope:all").by("type").last(2).count_by_status()',
            [f"websocket.can_connect has no tag {tag}; its tags: client, worker" for tag in ("scope", "type")],
        ),
    ],
)
def test_a_query_of_a_service_check_is_judged_by_its_name_and_tags(text: str, what: list[str]) -> None:
    """Other checks are unknown."""
    assert [found for _, found in _found(text)] == what


@pytest.mark.parametrize(
    "text",
    [
        "sum:shop.orders{*}",
        "avg:shop.open{*}",
        "max:shop.time.max{*}",
        "sum:shop.time.count{*}",
        "sum(rate(shop_orders[5m]))",
        "sum(rate(shop_time_sum[5m])) / sum(rate(shop_time_count[5m]))",
        "max:websocket.kpi.blind_s{*}",
        "sum:websocket.alert.fired{*}",
        "max:websocket.reporter.series{*}",
    ],
)
def test_a_metric_that_is_defined_or_sent_anyway_may_be_queried(text: str) -> None:
    """By its name in Datadog or in Prometheus, with the names that a histogram becomes."""
    assert _found(text, OWN) == []


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("sum:shop.order{*}", "no metric is called shop.order; did you mean 'shop.orders'?"),
        ("sum:shop.orders.count{*}", "no metric is called shop.orders.count; did you mean 'shop.orders'?"),
        ("shop_orders_total", "no metric is called shop_orders_total; did you mean 'shop_orders'?"),
        (
            "sum:websocket.heartbeat.missed{*}",
            "no metric is called websocket.heartbeat.missed; the default list has it",
        ),
    ],
)
def test_a_metric_without_a_definition_is_found(text: str, what: str) -> None:
    """With the nearest; also a default metric that is not in the list."""
    assert _found(text, OWN) == [("unknown metric", what)]


@pytest.mark.parametrize("text", ["avg:system.cpu.idle{*}", "up", "sum:aws.elb.request_count{*}"])
def test_metrics_of_other_programs_are_not_judged(text: str) -> None:
    """Nothing is known of them here."""
    assert _found(text, OWN) == []


def test_a_namespace_may_stand_before_a_name() -> None:
    """The name after it is judged as usual."""
    assert _found("sum:prod.eu.websocket.connection.started{*} by {client}") == []
    assert [rule for rule, _ in _found("sum:prod.websocket.connection.started{*} by {type}")] == ["unknown tag"]


# -- tags


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (
            "sum:websocket.connection.started{*} by {type}",
            "websocket.connection.started has no tag type; its tags: client",
        ),
        (
            "sum:websocket.connection.started{type:x,client:a}",
            "websocket.connection.started has no tag type; its tags: client",
        ),
        (
            "sum:websocket.message.received{*} by {client_id}",
            "websocket.message.received has no tag client_id; its tags: client, type",
        ),
        (
            "sum:websocket.message.received{*} by {worker}",
            "websocket.message.received has no tag worker; its tags: client, type",
        ),
        (
            "sum(websockex_nova_message_received_count) by (uri)",
            "websockex_nova_message_received_count has no tag uri; its tags: client_id, overflow, type",
        ),
        ("max:websocket.system.threads{*} by {client}", "websocket.system.threads has no tag client; its tags: worker"),
        (
            "sum:websocket.reporter.packets{*} by {worker}",
            "websocket.reporter.packets has no tag worker; its tags: none",
        ),
    ],
)
def test_a_tag_that_the_metric_lacks_is_found(text: str, what: str) -> None:
    """Grouping or filtering by it finds nothing."""
    assert _found(text) == [("unknown tag", what)]


@pytest.mark.parametrize(
    "text",
    [
        "max:websocket.connection.up{*} by {client,worker}",
        "sum:websocket.connection.started{env:prod,service:x,host:y,pod_name:z} by {host,venue}",
        "sum by (le) (rate(websockex_nova_connection_completed_duration_milliseconds_bucket[5m]))",
        "sum(rate(websockex_nova_message_sent_count{job='x',instance='y'}[5m])) by (client_id, pod)",
    ],
)
def test_tags_of_states_of_the_agent_and_of_clients_may_be_queried(text: str) -> None:
    """States have `worker`; a tag of no event may come from elsewhere."""
    assert _found(text) == []


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (
            "sum:websocket.message.batch.count{direction:receives}",
            "direction of websocket.message.batch.count is never 'receives'; it is one of received, sent",
        ),
        (
            "sum:websocket.connection.reconnect.failed{final:True}",
            "final of websocket.connection.reconnect.failed is never 'True'; it is one of false, true",
        ),
        (
            "sum:websocket.message.process.completed{result:ignored}",
            "result of websocket.message.process.completed is never 'ignored'; it is one of error, ok",
        ),
        (
            "websockex_nova_error_occurred_count{error_type='network'}",
            "error_type of websockex_nova_error_occurred_count is never 'network'; it is one of auth, connection, "
            "decode, encode, handler, handshake, protocol, rate_limit, subscription, timeout",
        ),
    ],
)
def test_a_value_that_a_tag_never_has_is_found(text: str, what: str) -> None:
    """If the catalogue lists its values, as they are spelled."""
    assert _found(text) == [("unknown tag", what)]


def test_a_value_that_is_open_or_left_out_is_no_fault() -> None:
    """Patterns, exclusions, and what the server decides."""
    for where in ("direction:rec*", "!direction:receives", "NOT direction:receives"):
        assert _found(f"sum:websocket.message.batch.count{{{where}}}") == []
    assert _found("sum:websocket.connection.disconnected{reason:close_4321}") == []


# -- averages


def test_the_average_of_a_mean_is_found_in_promql() -> None:
    """The guide's second query; a sum over a sum is fine."""
    name = "websockex_nova_connection_completed_duration_milliseconds"
    ((rule, text),) = _found(f"avg({name}_sum / {name}_count)")
    assert rule == "average of averages"
    assert text.startswith(f"it averages the means of {name}: ")
    assert _found(f"sum(rate({name}_sum[5m])) / sum(rate({name}_count[5m]))") == []


@pytest.mark.parametrize(
    ("text", "together"),
    [
        ("avg:websocket.kpi.processing_time_ms{*}", "client, scope, worker"),
        ("avg:websocket.kpi.processing_time_ms{!scope:all} by {client}", "worker"),
        ("avg:websocket.kpi.connection_success_rate{scope:all}", "worker"),
        ("avg:shop.time.avg{*}", "client_id"),
        ("avg:shop.time.95percentile{*}", "client_id"),
    ],
)
def test_the_average_of_a_mean_is_found_in_datadog(text: str, together: str) -> None:
    """A KPI is a mean of one client in one process, a histogram's statistics are means of one host."""
    metric = text.partition(":")[2].partition("{")[0]
    assert _found(text, OWN) == [
        (
            "average of averages",
            f"{metric} is a mean already, averaged over each {together}; query its worst, or sums of counts",
        )
    ]


@pytest.mark.parametrize(
    "text",
    [
        "max:websocket.kpi.processing_time_ms{*} by {client}",
        "avg:websocket.kpi.processing_time_ms{scope:all} by {worker}",
        "avg:websocket.kpi.processing_time_ms{client:a,worker:0}",
        "avg:websocket.kpi.throughput_per_s{*}",
        "avg:websocket.connection.up{*}",
        "avg:websocket.message.process.duration.distribution{*}",
    ],
)
def test_an_average_of_single_series_or_of_values_is_no_fault(text: str) -> None:
    """No means are combined; Datadog weighs a distribution by its values."""
    assert _found(text) == []


def test_a_gauge_of_samples_that_has_a_distribution_is_found() -> None:
    """It keeps the last value of 10 s. A gauge without a distribution is no fault."""
    text = (
        "websocket.heartbeat.rtt keeps the last value of 10 s; query websocket.heartbeat.rtt.distribution, "
        "which has all "
    )
    assert _found("max:websocket.heartbeat.rtt{*}") == [("last values", f"{text}of them")]
    assert _found("max:websocket.system.heartbeat.rtt_ms{*}") == []
    bare = [one for one in ws.statsd_metrics() if one.kind != "distribution"]
    assert _found("max:websocket.heartbeat.rtt{*}", bare) == []


# -- profiles


def test_a_query_of_what_the_profile_never_emits_is_found() -> None:
    """By the name in the query."""
    question = Question("here", (Asked("websockex_nova_message_received_count"),))
    (found,) = of_question(question, known(DEFAULT), ws.STANDARD)
    assert (found.rule, found.subject) == ("never fires", "here")
    assert found.text == (
        "websockex_nova_message_received_count has no data: profile standard never emits "
        "websockex_nova.message.received: its message_events are off"
    )
    assert list(of_question(question, known(DEFAULT), ws.FINANCIAL)) == []
    assert list(of_question(question, known(DEFAULT), ws.STANDARD, {"websockex_nova.message.received.count"})) == []
