"""Rules of your own from a function: incidents by further tags, what is shipped as well, what is refused."""

from typing import Any

import pytest

import wsnova_statsd as ws
from tests.unit.alerting import SLOW, Bench
from wsnova_statsd.errors import ConfigurationError
from wsnova_statsd.insight.alerts import Alerts
from wsnova_statsd.testing.metrics import capture_metrics

When, CALM = ws.alerts.When, ws.alerts.CALM
QUOTE = "desk.quote"
SPREAD = ws.gauge("desk.spread", QUOTE, "spread", tags={"client": "client_id", "instrument": "symbol"})


def _wide(value: float) -> object:
    return CALM if value == 0 else value > 5


def _quote(bench: Bench, symbol: str | None, spread: float, **metadata: Any) -> None:
    bench.emit(QUOTE, {"spread": spread}, symbol=symbol, type="", **metadata)


# -- incidents by further tags ----------------------------------------------------------------------------------------


def test_each_combination_of_the_metrics_tags_is_a_separate_incident() -> None:
    """With its own cool-down, recovery and key; the tags are in its text, in its tags and at the end of its title."""
    bench = Bench(When("Spread", SPREAD, _wide, cool_down=10))
    for symbol in ("AAA", "BBB", "AAA", None):
        _quote(bench, symbol, 7)
    assert [(one.by, one.tags, one.aggregation_key, one.text) for one in bench.reported] == [
        (
            (f"instrument:{symbol}",),
            {"client": "md-1", "instrument": symbol},
            f"spread:md-1:instrument:{symbol}",
            f"client md-1, instrument {symbol}: Spread at 7.",
        )
        for symbol in ("AAA", "BBB")
    ] + [((), {"client": "md-1"}, "spread:md-1", "client md-1: Spread at 7.")]
    bench.advance(10)
    (second,) = bench.reported[3:4]
    assert (second.by, second.count) == (("instrument:AAA",), 1)
    assert sorted(one.title for one in bench.reported[4:]) == ["Recovered: Spread", "Recovered: Spread for BBB"]


def test_what_ends_one_incident_leaves_the_others() -> None:
    """CALM applies to the event's own tags; to all if the rule has none."""
    bench = Bench(When("Spread", SPREAD, _wide))
    for symbol in ("AAA", "BBB"):
        _quote(bench, symbol, 7)
    _quote(bench, "BBB", 0)
    assert [(one.alert_type, one.by) for one in bench.reported[2:]] == [("success", ("instrument:BBB",))]
    assert bench.alerts.figures.open == 1


def test_incidents_are_by_what_is_named_tags_of_the_metric_or_metadata() -> None:
    """A rule on an event has no tags by default; an empty tuple of names leaves the metric's out."""

    def fires(measurements: Any, metadata: Any) -> bool:
        return bool(measurements["spread"] > 5)

    for by, source, function, wanted in (
        (("venue",), SPREAD, _wide, ("venue:xetr",)),
        (["instrument", "venue"], SPREAD, _wide, ("instrument:AAA", "venue:xetr")),
        (("symbol",), QUOTE, fires, ("symbol:AAA",)),
        (("hostname",), QUOTE, fires, ("hostname:db-1",)),
        (None, QUOTE, fires, ()),
        ((), SPREAD, _wide, ()),
    ):
        rule = When("Spread", source, function, by=by)
        assert hash(rule) == hash(When("Spread", source, function, by=by))
        bench = Bench(rule)
        _quote(bench, "AAA", 7, venue="xetr", hostname="db-1")
        assert [one.by for one in bench.reported] == [wanted]


def test_a_hostile_value_forges_no_tag_and_no_key() -> None:
    """It is cleaned and redacted as the metric's own tag is, and the number of incidents is bounded."""
    bench = Bench(When("Spread", SPREAD, _wide))
    _quote(bench, "A|#host:x,y\n_sc|z|0", 7)
    _quote(bench, "https://feed.example/?token=hunter2", 7)
    for number in range(2000):
        _quote(bench, str(number), 7)
    assert bench.reported[0].by == ("instrument:A__host:x_y__sc_z_0",)
    assert "hunter2" not in str(bench.reported)
    assert bench.alerts.figures.open == 1000


def test_keys_of_different_incidents_are_different() -> None:
    """Also if a colon in the client's id, removed characters, or a long name makes them look alike."""
    bench = Bench(When("Spread", SPREAD, _wide), ws.alerts.SlowProcessing())
    for client in ("a", "a:b", "a|b", "a_b", "x" * 150 + "1", "x" * 150 + "2"):
        for kind in ("", "b", "b:c", "c"):
            bench.slow(200, client_id=client, type=kind or None)
        _quote(bench, "AAA", 7, client_id=client)
    keys = [one.aggregation_key for one in bench.reported]
    assert len(set(keys)) == len(keys) == 30
    assert max(map(len, keys)) <= 100
    assert "slow_processing:a:b" in keys


def test_keys_of_incidents_differ_if_the_value_of_a_tag_holds_a_colon() -> None:
    """It may look like two tags of another incident."""
    bench = Bench(When("Wide", "quote", lambda measurements, metadata: True, by=("a", "b")))
    for tags in ({"a": "1", "b": "2"}, {"a": "1:b:2"}):
        bench.emit("quote", {}, type="", **tags)
    assert bench.reported[0].aggregation_key == "wide:md-1:a:1:b:2"
    assert bench.reported[1].aggregation_key != bench.reported[0].aggregation_key


# -- the metric -------------------------------------------------------------------------------------------------------


def test_the_metric_of_a_rule_is_shipped_as_well() -> None:
    """Once, also if the reporter ships it already, or two rules have it."""
    bus = ws.Bus()
    rules = [When("Spread", SPREAD, _wide), When("Far too wide", SPREAD, lambda value: value > 50)]
    for listed in ((), (SPREAD,)):
        with capture_metrics(list(listed), bus=bus) as metrics:
            Alerts(rules, metrics.reporter, bus=bus)
            bus.execute(QUOTE, {"spread": 7}, {"client_id": "md-1", "symbol": "AAA"})
            metrics.flush()
            (line,) = [one for one in metrics.metrics() if one.name == "desk.spread"]
            assert (line.values, set(line.tags)) == ((7.0,), {"client:md-1", "instrument:AAA"})


def test_a_reporter_without_distributions_ships_none_for_a_rule_either() -> None:
    bus = ws.Bus()
    rule = When("Spread", ws.distribution("desk.spreads", QUOTE, "spread"), _wide)
    reporter = ws.StatsdReporter([], distributions=False, bus=bus)
    Alerts([rule], reporter, bus=bus)
    reporter.start()
    assert bus.list_handlers(QUOTE) == []
    reporter.stop(0)


# -- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("", SLOW, print), "When's title is ''"),
        (("x", "", print), "When's source is ''"),
        (("x", 5, print), "When's source is 5; pass an event's name or a metric definition"),
        (("x", ws.counter("a.b"), print), "measures nothing"),
        (("x", SLOW, None), "When's fires is None; pass a function"),
        (("x", SLOW, lambda value: True), r"takes \(value\), but is called with \(measurements, metadata\): too many"),
        (
            ("x", SPREAD, lambda measured, about: True),
            r"takes \(measured, about\), but is called with \(value\): missing",
        ),
        (("x", SPREAD, lambda *, value: True), r"is called with \(value\)"),
    ],
)
def test_an_unusable_function_rule_is_refused(arguments: Any, sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=sentence):
        When(*arguments)
    with pytest.raises(ConfigurationError, match="alert_type is 'loud'; allowed: error, warning, info"):
        When("x", SLOW, print, alert_type="loud")  # type: ignore[arg-type]


def test_a_function_with_further_optional_arguments_is_accepted() -> None:
    """So are built-in functions, of which Python does not know the arguments."""
    for function in (lambda value, limit=5: value > limit, lambda *values: True, print, dict, bool):
        assert When("x", SPREAD, function).fires is function


@pytest.mark.parametrize(
    "by", ["instrument", [""], ["a", "a"], [5], 5, ["Host"], ["dd.internal.entity_id"], ["a:b"], ["a,b"], [None]]
)
def test_impossible_tags_are_refused(by: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"When's by is .*; pass different names of tags or metadata keys"):
        When("x", SPREAD, _wide, by=by)
