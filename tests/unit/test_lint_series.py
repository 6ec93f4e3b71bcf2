"""What the linter finds in series as they arrive from any program, and what they cost."""

from collections.abc import Iterable

import pytest

import wsnova_statsd as ws
from wsnova_statsd.dashboards.cost import Cost
from wsnova_statsd.dashboards.lint_series import KINDS, Received, costs, of_series
from wsnova_statsd.reporters.packing import TYPES
from wsnova_statsd.testing.metrics import capture_metrics

NAMES = "a name begins with a letter, has letters, digits, _ and . only, at most 200; Datadog changes it, "
TAGS = "a tag has letters, digits and _ - : . / only, at most 200"


def _found(*series: Received) -> list[tuple[str, str, str]]:
    return [(one.rule, one.subject, one.text) for one in of_series(series)]


def _of(name: str, kind: str = "c", tags: Iterable[str] = ("a:b",)) -> Received:
    return Received(name, kind, tuple(tags))


def test_series_that_are_right_make_no_finding() -> None:
    """Of every type, with and without tags; of one name and many tags."""
    series = [_of(f"shop.orders_{kind}", kind, tags) for kind in KINDS for tags in ((), ("venue:xetr", "env:prod"))]
    assert _found(*series, *(_of("shop.all", tags=[f"number:{number}"]) for number in range(100))) == []


@pytest.mark.parametrize("name", ["1.orders", "_orders", "shop orders", "shop-orders", "größe", "a" * 201])
def test_an_invalid_name_is_found(name: str) -> None:
    """Once, however many series it has; a long one is cut."""
    shown = name if len(name) < 60 else f"{'a' * 57}..."
    assert _found(_of(name), _of(name, tags=())) == [("bad name", shown, f"{NAMES}or drops it")]


def test_an_invalid_tag_is_found() -> None:
    """The first, and the number of the others."""
    found = _found(
        _of("a.b", tags=("ok:1", "x:b c")), _of("a.b", tags=("a|b", "y:", "z" * 201)), _of("a.c", tags=("é",))
    )
    assert found == [("bad tag", "a.b", f"tag 'a|b', and 3 more: {TAGS}")]


def test_a_name_of_two_types_is_found() -> None:
    """With both, once."""
    found = _found(_of("a.b", "c"), _of("a.b", "g"), _of("a.b", "g", ()), _of("a.c", "g"))
    assert found == [("two types", "a.b", "it arrives as c, g; a name keeps its type: rename one of them")]


def test_a_tag_of_many_values_is_found() -> None:
    """More than a hundred of one name, with any other tags; the limit can be lower."""
    series = [_of("a.b", tags=(f"user:{number}", f"shard:{number % 7}")) for number in range(101)]
    text = "tag user has 101 values: each adds a series, which is billed; leave the tag out"
    assert _found(*series) == [("many tag values", "a.b", text)]
    assert [one.text.split()[1] for one in of_series(series, many=5)] == ["user", "shard"]
    apart = [_of(f"a.{number % 2}", tags=(f"user:{number}",)) for number in range(200)]
    assert _found(*apart) == []


def test_series_cost_by_their_type_the_most_expensive_name_first() -> None:
    """A distribution five, ten with percentiles; a name of two types is both."""
    series = [_of("a.count", "c", (f"n:{number}",)) for number in range(7)]
    series += [_of("a.time", "d", (f"n:{number}",)) for number in range(2)]
    series += [_of("a.both", "g"), _of("a.both", "h"), _of("a.set", "s"), _of("a.ms", "ms")]
    assert costs(series) == [
        Cost("a.time", "distribution", 2, 10, 20),
        Cost("a.count", "counter", 7, 7, 7),
        Cost("a.both", "summary", 1, 5, 5),
        Cost("a.ms", "timing", 1, 5, 5),
        Cost("a.both", "gauge", 1, 1, 1),
        Cost("a.set", "set", 1, 1, 1),
    ]


def test_every_type_that_is_sent_is_known() -> None:
    """The type on the wire gives the type of the series; only a sum becomes a count."""
    assert {kind: KINDS[letter] for kind, letter in TYPES.items()} == {kind: kind for kind in TYPES} | {
        "sum": "counter"
    }


def test_what_this_library_sends_makes_no_finding() -> None:
    """With hostile names and tags, too: they are cleaned before they are sent."""
    with capture_metrics(bus=ws.Bus()) as metrics:
        for number, text in enumerate(("a b|c", "aé,\n", "x" * 300)):
            metrics.reporter.increment(text, tags=[text, f"key:{text}"])
            metrics.reporter.gauge(f"ours.{number}", 1, tags={"k": text})
        metrics.flush()
    series = {Received(one.name, one.type, one.tags) for one in metrics.metrics()}
    assert len(series) == 6
    assert list(of_series(series)) == []
