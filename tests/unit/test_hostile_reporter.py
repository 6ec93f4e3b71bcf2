"""Through the reporter: for any argument, what is sent is exactly the metric that was meant, and nothing raises."""

import contextlib
import itertools
import math
import operator
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import wsnova_statsd as ws
from tests import hostile
from wsnova_statsd import wire
from wsnova_statsd.errors import ConfigurationError
from wsnova_statsd.testing.dogstatsd import Event, Metric, ServiceCheck
from wsnova_statsd.testing.metrics import CapturedMetrics, capture_metrics

TYPES = {"increment": "c", "gauge": "g", "distribution": "d"}
# No two of them add up to a number with a rounding error.
numbers = st.integers(-(2**40), 2**40) | st.sampled_from([0.5, -0.25, 2.0**70, 1e22])
values = st.one_of(
    numbers.map(lambda number: (number, number)),
    st.integers(0, len(hostile.NUMBERS) - 1).map(lambda n: hostile.NUMBERS[n]),
)
calls = st.tuples(st.sampled_from(sorted(TYPES)), hostile.things, st.lists(hostile.things, max_size=4), values)


def _id(thing: Any) -> str:
    return wire.clean_tag(wire.text(thing, 20))


class _Model:
    """What the calls mean, by the rules alone: a name keeps its first kind, what is no number is counted."""

    def __init__(self, prefix: str, constant: tuple[str, ...]) -> None:
        self.prefix = prefix
        self.constant = constant
        self.kinds: dict[str, str] = {}
        self.values: dict[tuple[str, tuple[str, ...]], list[float]] = {}
        self.invalid = 0

    def call(self, kind: str, name: str, tags: list[str] | None, value: float | None) -> None:
        clean = hostile.name_of(name, self.prefix)
        if tags is None:  # a list in a list
            self.invalid += 1
            return
        if not clean or self.kinds.setdefault(clean, kind) != kind:
            self.invalid += 1
            return
        seen = self.values.setdefault((clean, hostile.tags_of(tags, own=True)), [])
        if value is None:
            self.invalid += 1
        else:
            seen.append(value)

    def lines(self) -> tuple[dict[tuple[str, str, tuple[str, ...]], tuple[float, ...]], float]:
        """Values by name, type and tags as they are read at the other end; and what is too long to be sent."""
        read: dict[tuple[str, str, tuple[str, ...]], tuple[float, ...]] = {}
        unsendable = 0.0
        for (name, tags), seen in self.values.items():
            kind = self.kinds[name]
            amounts = {"increment": [sum(seen)] if sum(seen) else [], "gauge": seen[-1:], "distribution": seen}[kind]
            name = (self.prefix + name)[: wire.MAX_NAME]
            tags = tuple(dict.fromkeys((*tags, *self.constant)))
            line = f"{name}:|{TYPES[kind]}" + (f"|#{','.join(tags)}" if tags else "") + "\n"
            room = wire.LINE_BYTES - len(line.encode())  # a line that is too long for a packet is alone in one
            fits = [len(_written(value, kind, amounts)) <= room for value in amounts]
            if any(fits):
                read[name, TYPES[kind], tags] = tuple(map(float, itertools.compress(amounts, fits)))
            if kind == "increment":
                unsendable += sum(itertools.compress(amounts, map(operator.not_, fits)))
            elif kind == "distribution":
                unsendable += fits.count(False)
        return read, unsendable


def _written(value: float, kind: str, beside: list[float]) -> str:
    if all(isinstance(one, int) for one in beside):
        return str(value)
    return f"{value:.13g}" if kind == "distribution" else repr(value)


def _read(metrics: CapturedMetrics) -> dict[tuple[str, str, tuple[str, ...]], tuple[float, ...]]:
    read: dict[tuple[str, str, tuple[str, ...]], tuple[float, ...]] = {}
    for one in metrics.flush():
        assert isinstance(one, Metric)
        assert (one.rate, one.timestamp, one.origin) == (1, None, ())
        key = one.name, one.type, one.tags
        assert one.type == "d" or key not in read
        read[key] = read.get(key, ()) + one.values
    return read


@given(
    st.lists(calls, max_size=12),
    st.sampled_from(["", "app", "n" * 100]),
    st.lists(hostile.things, max_size=3),
)
@settings(max_examples=200)
def test_what_is_sent_is_what_was_meant(made: list[Any], namespace: str, constant: list[hostile.Thing]) -> None:
    """Every name, tag and number of every line, and every value that could not be sent, by an independent count."""
    said = [f"all{n}:{thing.said}" for n, thing in enumerate(constant) if thing.given is not None and thing.said]
    model = _Model(namespace and namespace + ".", hostile.tags_of(said, own=True))
    tagged = {f"all{n}": thing.given for n, thing in enumerate(constant)}
    with capture_metrics((), bus=ws.Bus(), namespace=namespace or None, tags=tagged) as metrics:
        for kind, name, tags, (value, plain) in made:
            getattr(metrics.reporter, kind)(name.given, value, [tag.given for tag in tags])
            nested = any(hostile.is_collection(tag.given) for tag in tags)
            texts = None if nested else [tag.said for tag in tags if tag.given is not None]
            model.call(kind, name.said, texts, plain)
        read = _read(metrics)
        lost = dict(metrics.reporter.stats.lost)
    expected, unsendable = model.lines()
    assert read.keys() == expected.keys()
    for key, seen in read.items():
        assert seen == (pytest.approx(expected[key], rel=1e-12) if key[1] == "d" else expected[key])
    assert lost.pop("invalid", 0) == model.invalid
    assert lost.pop("unsendable", 0) == unsendable
    assert lost == {}
    for datagram in metrics.datagrams:
        assert len(datagram) <= (wire.UDP_BYTES if datagram.strip().count(b"\n") else wire.LINE_BYTES)


@given(*itertools.repeat(hostile.things, 4), st.lists(hostile.things, max_size=40))
@settings(max_examples=150)
def test_events_carry_what_was_meant_within_their_bytes(
    title: hostile.Thing, text: hostile.Thing, alert: hostile.Thing, key: hostile.Thing, tags: list[hostile.Thing]
) -> None:
    """Title on one line, text whole or cut with a mark, the first tags; a key and an alert type that are one."""
    with capture_metrics((), bus=ws.Bus()) as metrics:
        metrics.reporter.event(title.given, text.given, alert.given, [tag.given for tag in tags], key.given)
        (event,) = metrics.flush()
    assert isinstance(event, Event)
    assert len(metrics.datagrams[0]) <= wire.EVENT_BYTES
    _whole_or_cut(event.title, _flat(title.said).replace("\n", " ").strip() or "(no title)")
    _whole_or_cut(event.text, _flat(text.said))
    nested = any(hostile.is_collection(tag.given) for tag in tags)
    meant = hostile.tags_of([] if nested else [tag.said for tag in tags if tag.given is not None], own=True)
    assert event.tags == meant[: len(event.tags)]
    assert event.tags == meant or len(",".join(meant[: len(event.tags) + 1]).encode()) > 3900
    assert event.alert_type == (alert.said if alert.said in ("error", "warning", "info", "success") else "info")
    assert (event.aggregation_key or "") == ("" if key.given is None else wire.clean_key(key.given))
    assert (event.hostname, event.source_type, event.timestamp, event.origin) == (None, None, None, ())


def _flat(said: str) -> str:
    made = hostile.utf8(said).replace("\r\n", "\n").replace("\r", "\n")
    return "".join(" " if char < " " and char != "\n" else char for char in made)


def _whole_or_cut(found: str, meant: str) -> None:
    meant = meant.replace("\\n", "\n")  # there is no escape for a backslash and an n: the Agent reads a line feed
    if found != meant:
        assert found.endswith(wire.CUT_MARK)
        assert meant.startswith(found.removesuffix(wire.CUT_MARK).removesuffix("\\"))
        assert len(meant.encode()) > 1500


@given(hostile.things, values, hostile.things, st.lists(hostile.things, max_size=40))
@settings(max_examples=150)
def test_checks_carry_what_was_meant_within_their_bytes(
    name: hostile.Thing, status: tuple[Any, float | None], message: hostile.Thing, tags: list[hostile.Thing]
) -> None:
    """Never OK by accident; a message on one line, without what could end or begin a field."""
    given_status, number = status
    with capture_metrics((), bus=ws.Bus()) as metrics:
        metrics.reporter.service_check(name.given, given_status, [tag.given for tag in tags], message.given)
        (check,) = metrics.flush()
    assert isinstance(check, ServiceCheck)
    assert len(metrics.datagrams[0]) <= wire.EVENT_BYTES
    assert check.name == (hostile.name_of(name.said) or "unnamed")
    assert check.status == (number if number in (0, 1, 2, 3) else 3)
    meant = _flat(message.said).replace("\n", " ").replace("|", "_").strip()
    _whole_or_cut(check.message.replace("\\n", "\n"), meant)
    nested = any(hostile.is_collection(tag.given) for tag in tags)
    said = [] if nested else [tag.said for tag in tags if tag.given is not None]
    meant_tags = (*hostile.tags_of(said, own=True), "worker:0")
    assert check.tags == meant_tags[: len(check.tags)]
    assert (check.hostname, check.timestamp, check.origin) == (None, None, ())


def _timed(reporter: ws.StatsdReporter, name: Any) -> None:
    with reporter.timed(name):
        pass


METHODS: dict[str, Callable[[ws.StatsdReporter, Any], None]] = {
    "counter name": lambda reporter, thing: reporter.increment(thing),
    "counter value": lambda reporter, thing: reporter.increment("a", thing),
    "gauge name": lambda reporter, thing: reporter.gauge(thing, 1),
    "gauge value": lambda reporter, thing: reporter.gauge("b", thing),
    "distribution name": lambda reporter, thing: reporter.distribution(thing, 1),
    "distribution value": lambda reporter, thing: reporter.distribution("c", thing),
    "histogram value": lambda reporter, thing: reporter.histogram("h", thing),
    "timing value": lambda reporter, thing: reporter.timing("i", thing),
    "decrement value": lambda reporter, thing: reporter.decrement("j", thing),
    "member": lambda reporter, thing: reporter.set("k", thing),
    "timed name": lambda reporter, thing: _timed(reporter, thing),
    "tags": lambda reporter, thing: reporter.increment("d", 1, thing),
    "a tag": lambda reporter, thing: reporter.increment("e", 1, (thing, thing)),
    "a tag's value": lambda reporter, thing: reporter.gauge("f", 1, {"t": thing}),
    "a tag's key": lambda reporter, thing: reporter.gauge("g", 1, {id(thing): thing}),
    "title": lambda reporter, thing: reporter.event(thing, "x"),
    "text": lambda reporter, thing: reporter.event("t", thing),
    "alert type": lambda reporter, thing: reporter.event("t", "x", thing),
    "an event's tags": lambda reporter, thing: reporter.event("t", "x", "info", thing),
    "key": lambda reporter, thing: reporter.event("t", "x", "info", (), thing),
    "priority": lambda reporter, thing: reporter.event("t", "x", priority=thing),
    "date": lambda reporter, thing: reporter.event("t", "x", date_happened=thing),
    "host": lambda reporter, thing: reporter.event("t", "x", hostname=thing),
    "source type": lambda reporter, thing: reporter.event("t", "x", source_type=thing),
    "check name": lambda reporter, thing: reporter.service_check(thing, 0),
    "status": lambda reporter, thing: reporter.service_check("c", thing),
    "a check's tags": lambda reporter, thing: reporter.service_check("c", 0, thing),
    "message": lambda reporter, thing: reporter.service_check("c", 0, (), thing),
}
ALL: list[Any] = [
    *(given_object for given_object, _ in (*hostile.OBJECTS, *hostile.NUMBERS)),
    *hostile.TEXTS,
    *hostile.endless().values(),
    frozenset({"a:1"}),
    {"a:1", "b|2"},
    {1: {2: 3}},
    range(20_000),
    ["x" * 200 + str(n) for n in range(50_000)],
    object,
    hostile.Nameless,
]


@pytest.mark.parametrize("method", METHODS)
def test_no_argument_raises_and_the_next_call_counts(method: str) -> None:
    """In the emitting thread or in the flush, for any argument in any place."""
    with capture_metrics((), bus=ws.Bus()) as metrics:
        for thing in ALL:
            METHODS[method](metrics.reporter, thing)
            metrics.reporter.increment("honest", 1, ("a:1",))
        metrics.flush()
        assert metrics.count("honest", ["a:1"]) == len(ALL)
        assert "forged" not in {one.name for one in metrics.metrics()}
        tags = {tag.lower() for message in metrics.messages for tag in message.tags}
        assert not any(tag.startswith("dd.internal") for tag in tags)
        assert all(message.origin == () for message in metrics.messages)


@pytest.mark.parametrize("method", METHODS)
def test_an_interrupt_is_raised_and_leaves_no_lock_held(method: str) -> None:
    """A Ctrl-C that lands in a user's own code reaches the user: no lock is held, no half of a count is left."""

    class Interrupted:
        def _raise(self, *_: object) -> Any:
            raise KeyboardInterrupt

        __str__ = __iter__ = __hash__ = __eq__ = __len__ = __bool__ = _raise

        @property  # type: ignore[misc]
        def __class__(self) -> Any:
            raise KeyboardInterrupt

    with capture_metrics((), bus=ws.Bus()) as metrics:
        with contextlib.suppress(KeyboardInterrupt):
            METHODS[method](metrics.reporter, Interrupted())
            pytest.fail("swallowed")
        metrics.reporter.increment("honest")
        metrics.flush()
        assert [(one.name, one.values) for one in metrics.metrics()] == [("honest", (1,))]
        assert metrics.events == []
        assert metrics.checks == []


BAD: list[Callable[[ws.StatsdReporter], None]] = [
    *(lambda reporter, bad=bad: reporter.increment(bad) for bad in ("a b", "9a", "", "a\n", "é", hostile.Raises())),
    *(lambda reporter, bad=bad: reporter.increment("a", 1, [bad]) for bad in ("a|b", "a:", "host", "x" * 201, "\n")),
    *(lambda reporter, bad=bad: reporter.increment("a", 1, bad) for bad in ("a:1", 5, [["a:1"]])),
    *(lambda reporter, bad=bad: reporter.event("t", "x", tags=bad) for bad in ("a:1", 5, [["a:1"]])),
    *(lambda reporter, bad=bad: reporter.event("t", "x", priority=bad) for bad in ("high", 5)),
    *(lambda reporter, bad=bad: reporter.event("t", "x", date_happened=bad) for bad in ("now", -1, math.nan, 2e12)),
    *(lambda reporter, bad=bad: reporter.timing("a", bad) for bad in ("5", None)),
    *(lambda reporter, bad=bad: reporter.decrement("a", bad) for bad in ("5", None)),
    *(lambda reporter, bad=bad: reporter.set("a", bad) for bad in (None, "")),
    *(lambda reporter, bad=bad: reporter.gauge("a", 1, {"t": bad}) for bad in ("a,b", hostile.Says("|"), "x" * 201)),
    *(lambda reporter, bad=bad: reporter.distribution("a", bad) for bad in ("5", math.nan, None, hostile.Raises())),
    *(lambda reporter, bad=bad: reporter.event("t", "x", bad) for bad in ("fatal", None, hostile.Says("|t:error"))),
    *(lambda reporter, bad=bad: reporter.service_check("a", bad) for bad in (4, "0", True, hostile.Raises())),
    *(lambda reporter, bad=bad: reporter.service_check(bad, 0) for bad in ("a b", "", "a|0|#x")),
]


@pytest.mark.parametrize("call", BAD)
def test_strict_raises_for_everything_that_would_be_changed(call: Callable[[ws.StatsdReporter], None]) -> None:
    """One sentence of ours, even about what cannot be shown; without strict the same call raises nothing."""
    with capture_metrics((), bus=ws.Bus(), strict=True) as metrics, pytest.raises(ConfigurationError):
        call(metrics.reporter)
    assert metrics.messages == []
    with capture_metrics((), bus=ws.Bus()) as metrics:
        call(metrics.reporter)


def test_strict_accepts_what_is_clean() -> None:
    """Tags of any script, None and nothing as a value, numbers of other classes."""
    with capture_metrics((), bus=ws.Bus(), strict=True) as metrics:
        metrics.reporter.increment(
            "a.b_1", hostile.LyingFloat(2.0), {"kanal": "größe", "none": None, "empty": "", "n": 1}
        )
        metrics.reporter.gauge("g", hostile.LyingInt(3), ["a:1", None, "", "a:1"])
        metrics.flush()
        assert [(one.name, one.values, one.tags) for one in metrics.metrics()] == [
            ("a.b_1", (2,), ("kanal:größe", "n:1")),
            ("g", (3,), ("a:1",)),
        ]


# -- events of the bus -------------------------------------------------------------------------------------------------


class _Raiser:
    """As a value of metadata: raises when asked for its text, and may be a key of a dict."""

    def __str__(self) -> str:
        raise RuntimeError("no")


# What raises or lies when asked for its class is a fault of that one event, which the bus reports.
MEASUREMENTS = [given for given, _ in hostile.NUMBERS if type(given) not in (hostile.Raises, hostile.Pretends)]
METADATA: list[Any] = [
    *(text if text.isascii() else text[:60] for text in hostile.TEXTS),  # three tags of 600 bytes fit no packet
    *(thing for thing, said in hostile.OBJECTS if said not in ("Raises", "Says", "a|b\nforged:1|c")),
    _Raiser(),
    ValueError("a|b\nforged:1|c"),
]


@pytest.mark.parametrize("event", ws.events.CATALOGUE)
def test_hostile_metadata_and_measurements_of_every_event_are_counted_and_forge_nothing(event: str) -> None:
    """Every occurrence counts, with any tags; what is not a number is counted as invalid; all names are those of the
    list."""
    bus = ws.Bus()
    spec = ws.events.CATALOGUE[event]
    defined = [one for one in ws.statsd_metrics() if one.event == event]
    with capture_metrics(bus=bus) as metrics:
        for thing, number in zip(METADATA, itertools.cycle(MEASUREMENTS), strict=False):
            bus.execute(event, dict.fromkeys(spec.measurements, number), dict.fromkeys(spec.metadata, thing))
        bus.execute(event, {}, {})
        metrics.flush()
        for one in defined:
            if one.kind == "counter":
                assert metrics.count(one.name) == len(METADATA) + 1
        assert {one.name for one in metrics.metrics()} <= {one.name for one in defined}
        tags = {tag for message in metrics.messages for tag in message.tags}
        named = {tag for one in defined for tag, _ in (*one.tags, *((("worker", ""),) if one.state else ()))}
        assert {tag.partition(":")[0] for tag in tags} <= named
    assert bus.handler_errors == 0


def test_an_error_that_becomes_a_tag_is_sent_without_its_secrets() -> None:
    """Under any profile: what handlers see is not what is sent."""
    bus = ws.Bus()
    definition = ws.counter("errors", ws.events.ERROR_OCCURRED, tags=["error", "error_type"])
    text = "ConnectionFailed: wss://user:hunter2@feed.example/ws?token=hunter2\nforged:1|c password=hunter2"
    with capture_metrics([definition], bus=bus) as metrics:
        for error in (text, ValueError(text), None):
            bus.execute(ws.events.ERROR_OCCURRED, {}, {"client_id": "a", "error": error, "error_type": "token:x"})
        metrics.flush()
        assert metrics.count("errors", ["error_type:token:x"]) == 3
        assert not any(b"hunter2" in datagram for datagram in metrics.datagrams)
        tagged = metrics.metrics("errors")
        assert [one.tags for one in tagged if len(one.tags) == 1] == [("error_type:token:x",)]
        assert any(
            tag.startswith("error:ConnectionFailed:_wss://feed.example/ws") for one in tagged for tag in one.tags
        )


def test_a_tag_of_any_key_is_sent_without_secrets() -> None:
    """An event of the application, or of a client whose filter is its user's: a key that names a secret makes no tag,
    another's text is redacted; what the catalogue bounds stays as it is."""
    bus = ws.Bus()
    definition = ws.counter("orders", "shop.order", tags=["api_key", "X-Session", "note", "venue", "uri", "type", "ok"])
    said = {"api_key": "hunter2", "X-Session": "hunter2", "note": "token=hunter2", "uri": "ws://h/x?token=hunter2"}
    with capture_metrics([definition], bus=bus) as metrics:
        bus.execute("shop.order", {}, {**said, "venue": "XETR", "type": "token:x", "ok": True})
        metrics.flush()
        (one,) = metrics.metrics("orders")
    assert one.tags == ("note:token____", "venue:XETR", "uri:ws://h/x", "type:token:x", "ok:true")


# -- what is set for all lines ----------------------------------------------------------------------------------------


@given(hostile.texts)
def test_a_namespace_is_used_as_it_is_or_refused(namespace: str) -> None:
    """Never changed, never half of it."""
    if namespace and (hostile.name_of(namespace) != namespace or len(namespace) > 100):
        with pytest.raises(ConfigurationError, match="namespace is"), capture_metrics((), namespace=namespace):
            pytest.fail("taken")
        return
    with capture_metrics((), bus=ws.Bus(), namespace=namespace) as metrics:
        metrics.reporter.increment("a")
    assert [one.name for one in metrics.metrics()] == [f"{namespace.rstrip('.')}.a" if namespace else "a"]
