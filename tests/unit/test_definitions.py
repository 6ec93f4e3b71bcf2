"""Definitions are frozen data, named by the guide's rule, and refused where they are written."""

import dataclasses
import http
import math
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

import wsnova_statsd as ws
from wsnova_statsd.errors import ConfigurationError
from wsnova_statsd.metrics.definitions import Definition
from wsnova_statsd.testing.metrics import capture_metrics

EVENT = ws.events.MESSAGE_RECEIVED
MS = ("native", "millisecond")
Maker = Callable[..., Definition]
MEASURED: list[Maker] = [ws.sum_, ws.gauge, ws.summary, ws.distribution]
ALL: list[Maker] = [ws.counter, *MEASURED]


def _refused(make: Maker, *args: Any, **kwargs: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        make(*args, **kwargs)
    return str(caught.value)


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (ws.counter, "counter"),
        (ws.sum_, "sum"),
        (ws.gauge, "gauge"),
        (ws.summary, "summary"),
        (ws.distribution, "distribution"),
    ],
)
def test_without_event_the_name_says_event_and_measurement(make: Maker, kind: str) -> None:
    """The guide's rule: the part before the last dot is the event, the part after it the measurement."""
    made = make("websockex_nova.message.received.size", tags=["client_id", "type"])
    assert (made.kind, made.event) == (kind, EVENT)
    assert made.measurement == (None if kind == "counter" else "size")
    assert made.name == "websockex_nova.message.received.size"
    assert made.tags == (("client_id", "client_id"), ("type", "type"))


def test_a_counter_of_an_event_has_no_measurement() -> None:
    """The guide's `.count` names no measurement of the event: a counter reads none."""
    made = ws.counter("websockex_nova.connection.started.count")
    assert (made.event, made.measurement) == (ws.events.CONNECTION_STARTED, None)


def test_a_measurement_alone_overrides_the_names_last_part() -> None:
    """The event still comes from the name."""
    made = ws.gauge("websockex_nova.message.received.last", measurement="size")
    assert (made.event, made.measurement) == (EVENT, "size")


@pytest.mark.parametrize("make", MEASURED)
def test_with_event_the_name_is_free(make: Maker) -> None:
    """event= and measurement= say what is read; the name only names the metric."""
    made = make("bytes", EVENT, "size", {"client": "client_id"})
    assert (made.name, made.event, made.measurement) == ("bytes", EVENT, "size")
    assert made.tags == (("client", "client_id"),)


def test_a_gauge_may_state_a_number_itself() -> None:
    """connection.up is 1 on one event and 0 on another."""
    made = ws.gauge("up", ws.events.CONNECTION_COMPLETED, 1, state=True)
    assert (made.measurement, made.state) == (1, True)


@pytest.mark.parametrize("make", ALL)
def test_definitions_are_frozen_values(make: Maker) -> None:
    """Two alike are equal, and none can be changed or be given more."""
    made = make("websockex_nova.message.received.size", tags=["type"])
    assert made == make("websockex_nova.message.received.size", tags=["type"])
    assert hash(made) == hash(make("websockex_nova.message.received.size", tags=["type"]))
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.name = "other"  # type: ignore[misc]
    assert not hasattr(made, "__dict__")


@pytest.mark.parametrize("make", ALL)
@pytest.mark.parametrize(
    "name", ["", "9a.b", "a..b", ".a.b", "a.b.", "a-b.c", "a b.c", "ä.b", "a|b.c", "a.b\n", "_sc.a"]
)
def test_a_name_off_the_alphabet_is_refused(make: Maker, name: str) -> None:
    """The sentence shows what was given and what is allowed."""
    said = _refused(make, name)
    assert repr(name) in said
    assert "letters, digits, _ and single dots" in said


@pytest.mark.parametrize("name", [None, 5, b"a.b"])
def test_a_name_is_text(name: object) -> None:
    """Anything else is shown and refused."""
    assert repr(name) in _refused(ws.counter, name)


def test_a_name_has_at_most_200_characters() -> None:
    """200 are fine, 201 are refused, and the sentence stays short."""
    assert len(ws.counter("a." + "b" * 198).name) == 200
    said = _refused(ws.counter, "a." + "b" * 199)
    assert "at most 200 characters" in said
    assert len(said) < 250


@pytest.mark.parametrize("make", ALL)
def test_a_name_without_a_dot_needs_an_event(make: Maker) -> None:
    """There is no event to derive, and the sentence names both remedies."""
    said = _refused(make, "orders")
    assert "'orders'" in said
    assert "<event>.<measurement>" in said
    assert "event=" in said


@pytest.mark.parametrize("make", MEASURED)
def test_an_event_needs_a_measurement(make: Maker) -> None:
    """Only a counter needs none."""
    assert "no measurement=" in _refused(make, "bytes", EVENT)
    assert "empty measurement" in _refused(make, "bytes", EVENT, "")


@pytest.mark.parametrize("make", [ws.sum_, ws.summary, ws.distribution])
def test_only_a_gauge_states_a_number(make: Maker) -> None:
    """The others need something to read."""
    assert "measurement 1" in _refused(make, "bytes", EVENT, 1)


@pytest.mark.parametrize("value", [True, math.nan, math.inf, [1]])
def test_what_a_gauge_states_is_a_finite_number(value: object) -> None:
    """Not a bool, NaN, an infinity or a list."""
    assert repr(value) in _refused(ws.gauge, "up", EVENT, value)


@pytest.mark.parametrize("event", ["", 5])
def test_an_event_is_a_name(event: object) -> None:
    """The sentence shows an example."""
    assert "ws.events.MESSAGE_RECEIVED" in _refused(ws.counter, "a.b", event)


@pytest.mark.parametrize(
    ("unit", "divisor"),
    [
        (None, None),
        ("millisecond", None),
        (("native", "nanosecond"), 1),
        (("native", "native"), None),
        (MS, 1e6),
        (("nanosecond", "microsecond"), 1e3),
        (("native", "second"), 1e9),
        (("second", "millisecond"), 1e-3),
        (("byte", "kilobyte"), 1e3),
        (("byte", "megabyte"), 1e6),
    ],
)
def test_a_unit_says_what_a_value_is_divided_by(unit: str | tuple[str, str] | None, divisor: float | None) -> None:
    """The guide's native unit is the nanosecond; one unit alone converts nothing."""
    assert ws.gauge("a.b", unit=unit).divisor == divisor


@pytest.mark.parametrize(
    "unit", ["hour", ("native", "hour"), ("native",), ("native", "second", "second"), ("", "second")]
)
def test_an_unknown_unit_is_refused_with_the_known_ones(unit: Any) -> None:
    """The sentence names what was given and every unit."""
    said = _refused(ws.gauge, "a.b", unit=unit)
    assert repr(unit) in said
    assert all(known in said for known in ("native", "microsecond", "millisecond", "second", "kilobyte"))


def test_a_time_does_not_convert_to_a_size() -> None:
    """Both units are known, but one is a time and the other a size."""
    assert "convert a time to a time" in _refused(ws.gauge, "a.b", unit=("native", "byte"))


@pytest.mark.parametrize("make", ALL)
@pytest.mark.parametrize(
    "tags", [[""], ["a b"], ["9a"], ["a,b"], ["a|b"], ["a:b"], [5], {"a": ""}, {"a": 5}, {5: "a"}, ["a" * 201]]
)
def test_a_tag_off_the_alphabet_is_refused(make: Maker, tags: Any) -> None:
    """A tag name begins with a letter and holds no separator; its metadata key is a text."""
    said = _refused(make, "a.b", tags=tags)
    assert "a tag name must begin with a letter" in said
    assert len(said) < 400


@pytest.mark.parametrize("tag", ["host", "HOST", "dd.internal.entity_id"])
def test_a_tag_that_moves_the_metric_to_another_host_is_refused(tag: str) -> None:
    """The Agent takes these keys for itself."""
    assert "another host" in _refused(ws.counter, "a.b", tags=[tag])
    assert ws.counter("a.b", tags=["hostname"]).tags == (("hostname", "hostname"),)


def test_tags_are_a_list_or_a_mapping_and_none_appears_twice() -> None:
    """A text would be read letter by letter."""
    assert "not a string" in _refused(ws.counter, "a.b", tags="client_id")
    assert "twice" in _refused(ws.counter, "a.b", tags=["a", "a"])


@pytest.mark.parametrize("value", [http.HTTPStatus.GONE, Fraction(410), Decimal("410.0")])
def test_a_gauges_own_number_may_be_of_another_class(value: Any) -> None:
    """It is part of the handler's source, in which an enum's text would be no number."""
    bus = ws.Bus()
    with capture_metrics([ws.gauge("g", EVENT, value)], bus=bus) as metrics:
        bus.execute(EVENT, {}, {})
    assert metrics.last("g") == 410


@pytest.mark.parametrize("buckets", [[], [1, 1], [2, 1], [1, math.inf], [math.nan], [True, 2], ["1"], [10**400]])
def test_buckets_are_finite_and_rising(buckets: list[Any]) -> None:
    """The sentence shows what was given."""
    said = _refused(ws.distribution, "a.b", buckets=buckets)
    assert repr(buckets) in said
    assert "strictly rising" in said


def test_the_guides_buckets_are_kept() -> None:
    """As floats, in their order; None leaves the choice to the reporter."""
    assert ws.distribution("a.b", buckets=[10, 100, 500]).buckets == (10.0, 100.0, 500.0)
    assert ws.distribution("a.b").buckets is None


@pytest.mark.parametrize("make", ALL)
def test_keep_is_a_function(make: Maker) -> None:
    """Anything else is refused when it is written, not when the first event comes."""
    assert "(measurements, metadata) -> bool" in _refused(make, "a.b", keep="yes")

    def keep(measurements: object, metadata: object) -> bool:
        return True

    assert make("a.b", keep=keep).keep is keep
