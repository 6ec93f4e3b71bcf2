"""What is read of PromQL: selectors with their labels, and means that are averaged."""

import pytest

from wsnova_statsd.dashboards.promql import Expression, Selector, read
from wsnova_statsd.errors import ConfigurationError
from wsnova_statsd.metrics import guide

MEAN = "sum(rate(a_sum[5m])) / sum(rate(a_count[5m]))"


def _metrics(text: str) -> list[str]:
    return [one.metric for one in read(text).selectors]


@pytest.mark.parametrize(
    ("text", "metrics"),
    [
        ("up", ["up"]),
        ('up{job="x", instance=~"a.*",}', ["up"]),
        ('{__name__="up", job="x"}', ["up"]),
        ("job:up:sum", ["job:up:sum"]),
        ("-up ^ 2", ["up"]),
        ("a + b - c * d / e % f", ["a", "b", "c", "d", "e", "f"]),
        ("a and b or c unless d", ["a", "b", "c", "d"]),
        ("a > bool 0.5", ["a"]),
        ("a * on(x, y) group_left(z) b", ["a", "b"]),
        ("a * ignoring(x) group_right b", ["a", "b"]),
        ("rate(a[1h30m:1m] offset 5m)", ["a"]),
        ("a offset -1w + b @ 1609746000 + c @ end()", ["a", "b", "c"]),
        ("histogram_quantile(0.95, sum by (le) (rate(a_bucket[5m])))", ["a_bucket"]),
        ("topk(3, a) by (x)", ["a"]),
        ('count_values("v", a)', ["a"]),
        ("time() - a", ["a"]),
        ("vector(1e-3) or .5 or 0x1F or 'text' or a", ["a"]),
        ("sum(a) # of all\n/ b", ["a", "b"]),
        ("rate(a[$__rate_interval]) * $factor * ${other}", ["a"]),
        ("absent(a)", ["a"]),
        ("1", []),
    ],
)
def test_the_metrics_are_those_that_are_selected(text: str, metrics: list[str]) -> None:
    """Neither functions, nor labels, nor quoted text, nor a variable of Grafana."""
    assert _metrics(text) == metrics


def test_labels_are_those_of_the_grouping_around_and_of_the_matchers() -> None:
    """`by` before or after its arguments, and `on`; not `without`. A value is known if it is matched exactly."""
    text = 'sum by (a) (sum(x{b="1", c!="2", d=~"3"}) by (e)) / on (f) sum without (g) (y)'
    assert read(text).selectors == (
        Selector("x", frozenset("aef"), (("b", "1"), ("c", None), ("d", None))),
        Selector("y", frozenset("f"), ()),
    )


@pytest.mark.parametrize(
    ("text", "averaged"),
    [
        ("avg(a_sum / a_count)", ("a",)),
        ("avg by (client) (rate(a_sum[5m]) / rate(a_count[5m])) * 1000", ("a",)),
        (f"avg(sum by (client) (a_sum) / sum by (client) (a_count)) + {MEAN}", ("a",)),
        ("avg_over_time((a_sum / a_count)[5m:1m])", ("a",)),
        ("avg(1000 * a_sum / a_count)", ("a",)),
        ("max(avg(a_sum / a_count)) + avg(b_sum / b_count)", ("a", "b")),
        (MEAN, ()),
        ("avg(up)", ()),
        ("avg(a_sum / b_count)", ()),
        ("avg(a_count / a_sum)", ()),
        ("avg(a_sum) / avg(a_count)", ()),
        ("max(a_sum / a_count)", ()),
    ],
)
def test_a_mean_that_is_averaged_is_named_by_its_metric(text: str, averaged: tuple[str, ...]) -> None:
    """A sum over its own count, within an average; a sum over a sum is the mean of all."""
    assert read(text).averages == averaged


def test_the_guides_queries_are_read() -> None:
    """All four; the second averages."""
    prefix = "websockex_nova"
    connection = f"{prefix}_connection"
    read_of = {title: read(text) for title, text in guide.QUERIES.items()}
    assert {title: tuple(one.metric for one in found.selectors) for title, found in read_of.items()} == {
        "Connection Success Rate": (f"{connection}_completed_count", f"{connection}_started_count"),
        "Average Connection Time": tuple(
            f"{connection}_completed_duration_milliseconds_{last}" for last in ("sum", "count")
        ),
        "Message Throughput": (f"{prefix}_message_received_count",),
        "Error Rate": (f"{prefix}_error_occurred_count",),
    }
    assert read_of["Message Throughput"].selectors[0].by == {"client_id", "type"}
    assert [title for title, found in read_of.items() if found.averages] == ["Average Connection Time"]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "the end"),
        ("sum(", "the end"),
        ("sum(a", "the end"),
        ("a[5m", "the end"),
        ("a{", "the end"),
        ("a{b}", "'}'"),
        ("a{b=}", "'}'"),
        ("a b", "'b'"),
        ("a +", "the end"),
        (")", "')'"),
        ("a ~ b", "'~'"),
        ("'open", '"\'"'),
        ("a\0b", r"'\x00'"),
        ("(" * 60 + "a" + ")" * 60, "a bracket within 50 others"),
        ("+".join(["a"] * 501), "a text of more than 1000 words and signs"),
    ],
)
def test_what_is_no_promql_is_refused_in_one_sentence(text: str, what: str) -> None:
    """It names what is wrong and quotes the beginning; depth and length are limited."""
    with pytest.raises(ConfigurationError) as refused:
        read(text)
    sentence = str(refused.value)
    assert sentence.startswith(f"{what} is not expected in the PromQL ")
    assert len(sentence) < 200
    assert "\n" not in sentence


def test_the_longest_text_that_is_read_raises_nothing_else() -> None:
    """Operators in a row and brackets within brackets, as many as there may be."""
    assert len(read("+".join(["a"] * 500)).selectors) == 500
    assert read("(" * 50 + "a" + ")" * 50) == Expression((Selector("a", frozenset(), ()),), ())
