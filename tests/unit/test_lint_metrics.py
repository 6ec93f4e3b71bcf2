"""What the linter finds in definitions, rule by rule."""

from collections.abc import Iterable
from dataclasses import replace

import pytest

import wsnova_statsd as ws
from wsnova_statsd import events
from wsnova_statsd.dashboards.lint_metrics import for_prometheus, of_metrics
from wsnova_statsd.metrics.definitions import Definition
from wsnova_statsd.profiles import Profile

MS = ("native", "millisecond")
SHOP = "shop.order"
BUCKETS = [1, 10]
NANOSECONDS = "measured in nanoseconds; convert from 'native' or 'nanosecond'"


def _found(metrics: Iterable[Definition] | Definition, profile: Profile | None = None) -> list[tuple[str, str, str]]:
    """Rule, metric and text of each."""
    listed = [metrics] if isinstance(metrics, Definition) else metrics
    found = list(of_metrics(listed, profile, ()))
    assert all(one.fault for one in found)
    return [(one.rule, one.subject, one.text) for one in found]


def _rule(metrics: Iterable[Definition] | Definition) -> list[str]:
    return [rule for rule, *_ in _found(metrics)]


# -- what can never have data


def test_an_unknown_event_is_found_with_the_nearest_one() -> None:
    """Under our prefix; other events are the application's own."""
    assert _found(ws.counter("a.b", "websockex_nova.message.receives")) == [
        (
            "unknown event",
            "a.b",
            "no event is called websockex_nova.message.receives; did you mean 'websockex_nova.message.received'?",
        )
    ]
    assert _rule(ws.counter("a.b", SHOP)) == []
    assert _rule([ws.counter(f"a.{number}", event) for number, event in enumerate(events.UNLISTED)]) == []


def test_a_measurement_that_the_event_lacks_is_found() -> None:
    """With those it has; a constant and a counter read no measurement."""
    assert _found(ws.gauge("a.b", events.MESSAGE_SENT, "sizes")) == [
        (
            "unknown measurement",
            "a.b",
            "websockex_nova.message.sent has no measurement 'sizes'; it has size, system_time; did you mean 'size'?",
        )
    ]
    assert _rule(ws.gauge("a.b", events.MESSAGE_SENT, 1)) == []
    assert _rule(ws.gauge("a.b", SHOP, "sizes")) == []


def test_a_tag_that_the_event_lacks_is_found() -> None:
    """By the key of its metadata, whatever the tag is called; a secret never becomes a tag."""
    one = ws.counter("a.b", events.MESSAGE_SENT, {"client": "client_id", "kind": "typ"})
    assert _found(one) == [
        (
            "unknown tag",
            "a.b",
            "tag kind never has a value: websockex_nova.message.sent has no 'typ'; it has client_id, type; "
            "did you mean 'type'?",
        )
    ]
    assert _found(ws.counter("a.b", SHOP, ["venue", "api_key"])) == [
        ("unknown tag", "a.b", "tag api_key never has a value: 'api_key' names a secret, which is dropped")
    ]


@pytest.mark.parametrize(
    ("event", "profile", "why"),
    [
        (events.MESSAGE_SENT, ws.STANDARD, "profile standard never emits {}: its message_events are off"),
        (events.HEARTBEAT_SENT, ws.LIGHTWEIGHT, "profile lightweight never emits {}: its heartbeat_events are off"),
        (events.AUTH_STARTED, ws.LIGHTWEIGHT, "profile lightweight never emits {}: its level is minimal"),
        (
            events.CLIENT_STATE,
            ws.STANDARD.replace(connection_events=False),
            "profile standard never emits {}: its connection_events are off",
        ),
    ],
)
def test_an_event_that_the_profile_switches_off_is_found(event: str, profile: Profile, why: str) -> None:
    """With the switch, or the level; in the default list it is no fault."""
    one = ws.counter("a.b", event)
    text = why.format(event)
    assert _found(one, profile) == [("never fires", "a.b", f"{text}; leave the metric out, or choose another profile")]
    (note,) = of_metrics([one], profile, [one])
    assert (note.fault, note.rule, note.text) == (False, "never fires", text)
    assert _rule(one) == []


@pytest.mark.parametrize("event", [events.ERROR_OCCURRED, events.CONNECTION_RECONNECT_FAILED, events.MESSAGE_LAG, SHOP])
def test_an_event_that_is_emitted_in_part_is_no_fault(event: str) -> None:
    """A profile of the minimal level emits major ones only: those are data."""
    assert _found(ws.counter("a.b", event), ws.LIGHTWEIGHT) == []


# -- units


@pytest.mark.parametrize(
    ("measurement", "unit", "text"),
    [
        ("size", MS, "size is measured in bytes; convert from 'byte'"),
        ("duration", "millisecond", "duration is measured in nanoseconds; convert from 'native' or 'nanosecond'"),
        (
            "duration",
            ("second", "millisecond"),
            "duration is measured in nanoseconds; convert from 'native' or 'nanosecond'",
        ),
        (
            "duration",
            ("byte", "kilobyte"),
            "duration is measured in nanoseconds; convert from 'native' or 'nanosecond'",
        ),
    ],
)
def test_a_unit_that_is_not_the_measurements_is_found(measurement: str, unit: str | tuple[str, str], text: str) -> None:
    """The values would be sent too small by a factor of thousands, or unchanged under a unit that they are not in."""
    one = ws.gauge("a.b", events.MESSAGE_DECODE_COMPLETED, measurement, unit=unit)
    assert _found(one) == [("unit not applied", "a.b", f"unit {one.unit!r}: {text}")]


def test_a_measurement_without_a_unit_gets_none() -> None:
    """Numbers of tries, messages, shares."""
    one = ws.gauge("a.b", events.CONNECTION_RECONNECT_ATTEMPT, "attempt", unit=MS)
    text = "unit ('native', 'millisecond'): attempt is measured in attempts; leave unit= out"
    assert _found(one) == [("unit not applied", "a.b", text)]


def test_a_unit_without_a_measurement_is_found() -> None:
    """Of a constant, and of a counter that was not made by ws.counter."""
    constant = ws.gauge("a.b", events.CONNECTION_COMPLETED, 1, unit=MS)
    counter = replace(ws.counter("a.b", events.CONNECTION_COMPLETED), unit=MS)
    text = "unit ('native', 'millisecond'): it reads no measurement; leave unit= out"
    assert _found(constant) == _found(counter) == [("unit not applied", "a.b", text)]


@pytest.mark.parametrize(
    ("measurement", "unit"),
    [
        ("duration", MS),
        ("duration", ("nanosecond", "second")),
        ("duration", "native"),
        ("size", "byte"),
        ("size", ("byte", "megabyte")),
        ("size", None),
    ],
)
def test_a_unit_that_is_right_is_no_fault(measurement: str, unit: str | tuple[str, str] | None) -> None:
    """A unit that converts nothing names it in Prometheus."""
    assert _rule(ws.gauge("a.b", events.MESSAGE_DECODE_COMPLETED, measurement, unit=unit)) == []


def test_units_of_an_applications_own_events_are_not_known() -> None:
    """The application chooses its units."""
    assert _rule(ws.gauge("a.b", SHOP, "duration", unit=("second", "millisecond"))) == []


# -- types


def test_one_name_with_two_types_is_found() -> None:
    """At the place of the second one; also two units of one type."""
    first, other = ws.counter("a.b", SHOP), ws.gauge("a.b", "shop.refund", "sum")
    text = "of shop.refund it is a gauge, and of shop.order it is a counter; a name keeps its type and unit: "
    assert _found([first, other]) == [("two types", "a.b", f"{text}rename one of them")]
    first, other = ws.gauge("a.b", SHOP, "t", unit=MS), ws.gauge("a.b", SHOP, "t", unit=("native", "second"))
    text = "of shop.order it is a gauge in seconds, and of shop.order it is a gauge in milliseconds; a name keeps its "
    assert _found([first, other]) == [("two types", "a.b", f"{text}type and unit: rename one of them")]


def test_a_default_metrics_name_keeps_its_type() -> None:
    """Datadog already knows it, from this program or from another service."""
    one = ws.gauge("websocket.message.received", events.MESSAGE_RECEIVED, "size")
    ((rule, name, text),) = _found(one)
    assert (rule, name) == ("two types", "websocket.message.received")
    assert text.startswith(
        "of websockex_nova.message.received it is a gauge, and of websockex_nova.message.received it"
    )
    assert _rule(ws.statsd_metrics()) == []


# -- buckets, for Prometheus


def test_a_distribution_without_buckets_is_found_if_prometheus_reads_the_list() -> None:
    """That is so if one has buckets, or a name has the guide's form: only Prometheus reads them."""
    bare = ws.distribution("a.b", SHOP, "t")
    assert _rule(bare) == _rule([bare, ws.counter("a.c", SHOP)]) == []
    with_buckets = ws.distribution("a.d", SHOP, "t", buckets=BUCKETS)
    assert _found([bare, with_buckets]) == [
        ("no buckets", "a.b", "it has no buckets, so Prometheus gets default ones; pass buckets= that hold your limits")
    ]
    assert _rule([bare, ws.counter("websockex_nova.message.sent.count")]) == ["no buckets"]
    assert _rule(with_buckets) == []
    assert _rule([*ws.statsd_metrics(), with_buckets]) == []
    assert not for_prometheus(ws.statsd_metrics())
    assert for_prometheus(ws.prometheus_metrics())


def test_what_prometheus_would_refuse_is_found() -> None:
    """Two names that become one there, and a reserved label."""
    one, other = (ws.distribution(name, SHOP, "t", buckets=BUCKETS) for name in ("a.b_c", "a_b.c"))
    assert _found([one, other]) == [
        (
            "not for Prometheus",
            "the list",
            "metrics 'a.b_c' and 'a_b.c' are both 'a_b_c' in Prometheus; rename one of them",
        )
    ]
    assert _rule(ws.distribution("a.b", SHOP, "t", ["le"], buckets=BUCKETS)) == ["not for Prometheus"]


# -- bounds


@pytest.mark.parametrize(
    ("event", "key"),
    [
        (events.CONNECTION_STARTED, "uri"),
        (events.SUBSCRIPTION_SUBSCRIBE_STARTED, "channel"),
        (events.ERROR_OCCURRED, "error"),
        (events.ERROR_OCCURRED, "error_id"),
        (events.CONNECTION_DISCONNECTED, "detail"),
        (events.MESSAGE_PROCESS_STUCK, "stack"),
        (events.AUTH_COMPLETED, "expires_in"),
        (SHOP, "channel"),
    ],
)
def test_a_tag_without_a_bound_is_found(event: str, key: str) -> None:
    """With any name of the tag, and also if an application's own event carries it."""
    text = f"tag what has no bound: each new {key} adds a series; leave it out"
    assert _found(ws.counter("a.b", event, {"what": key})) == [("unbounded tag", "a.b", text)]


def test_every_other_key_of_the_catalogue_has_a_bound() -> None:
    """Codes, types, names of clients and processes: each of them makes no fault."""
    every = {key for spec in events.CATALOGUE.values() for key in spec.metadata} - events.UNBOUNDED
    assert every == {
        *("client_id", "worker", "type", "error_type", "severity", "result", "direction", "reason", "cause"),
        *("final", "reconnect", "restored", "confirmed", "phase", "action"),
    }
    for spec in events.CATALOGUE.values():
        assert _rule(ws.counter("a.b", spec.name, [key for key in spec.metadata if key in every])) == []
