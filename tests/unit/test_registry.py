"""One handler per event; detach removes exactly those; a name keeps its kind."""

import re
import threading

import pytest

import wsnova_statsd as ws
from wsnova_statsd.errors import ConfigurationError
from wsnova_statsd.metrics.store import Store

RECEIVED, SENT = ws.events.MESSAGE_RECEIVED, ws.events.MESSAGE_SENT
METRICS = [
    ws.counter("received", RECEIVED),
    ws.sum_("bytes", RECEIVED, "size"),
    ws.gauge("size", RECEIVED, "size"),
    ws.counter("sent", SENT),
]


def _ignore(*_: object) -> None:
    """A handler of another component."""


def _totals(registry: ws.HandlerRegistry) -> dict[str, float]:
    return {one.name: one.total for one in registry.store.fold() if one.kind != "gauge"}


def test_definitions_are_grouped_by_event() -> None:
    """In the order they were passed; the returned list is a copy."""
    registry = ws.HandlerRegistry(METRICS)
    assert registry.handlers == {RECEIVED: METRICS[:3], SENT: METRICS[3:]}
    registry.handlers[RECEIVED].clear()
    assert registry.handlers == {RECEIVED: METRICS[:3], SENT: METRICS[3:]}


def test_attach_puts_one_handler_per_event() -> None:
    """However many metrics an event has."""
    bus = ws.Bus()
    ws.HandlerRegistry(METRICS).attach(bus)
    assert sorted(one.event for one in bus.list_handlers()) == sorted([RECEIVED, SENT])


def test_before_attach_nothing_is_on_the_bus() -> None:
    """Making a registry attaches nothing and counts nothing."""
    bus = ws.Bus()
    registry = ws.HandlerRegistry(METRICS)
    assert bus.list_handlers() == []
    bus.execute(SENT, {}, {})
    registry.attach(bus)
    bus.execute(SENT, {}, {})
    assert _totals(registry) == {"sent": 1}


def test_detach_removes_exactly_its_own_handlers() -> None:
    """Another registry and the user's handlers stay; what was counted stays in the store."""
    bus = ws.Bus()
    mine, other = ws.HandlerRegistry(METRICS), ws.HandlerRegistry(METRICS)
    bus.attach("user", RECEIVED, _ignore)
    other.attach(bus)
    before = bus.list_handlers()
    mine.attach(bus)
    bus.execute(RECEIVED, {"size": 3}, {})
    mine.detach()
    assert bus.list_handlers() == before
    bus.execute(RECEIVED, {"size": 4}, {})
    assert _totals(mine) == {"received": 1, "bytes": 3}
    assert _totals(other) == {"received": 2, "bytes": 7}


def test_detach_twice_and_without_attach_does_nothing() -> None:
    """Nothing is left to remove."""
    bus, registry = ws.Bus(), ws.HandlerRegistry(METRICS)
    registry.detach()
    registry.attach(bus)
    registry.detach()
    registry.detach()
    assert bus.list_handlers() == []


def test_a_registry_attaches_again() -> None:
    """To the same or another bus; it goes on counting."""
    registry, first, second = ws.HandlerRegistry(METRICS), ws.Bus(), ws.Bus()
    for bus in (first, second):
        registry.attach(bus)
        bus.execute(SENT, {}, {})
        registry.detach()
    assert _totals(registry) == {"sent": 2}


def test_attach_twice_is_refused() -> None:
    """Otherwise everything would be counted twice without an error."""
    registry, bus = ws.HandlerRegistry(METRICS), ws.Bus()
    registry.attach(bus)
    with pytest.raises(ConfigurationError, match="detach it first"):
        registry.attach(ws.Bus())
    bus.execute(SENT, {}, {})
    assert _totals(registry) == {"sent": 1}


def test_add_while_attached_counts_at_once() -> None:
    """For a new event or one that has metrics, still with one handler each; the others go on."""
    bus, registry = ws.Bus(), ws.HandlerRegistry(METRICS[:1])
    registry.attach(bus)
    bus.execute(RECEIVED, {"size": 5}, {})
    registry.add(METRICS[1])
    registry.add(METRICS[3])
    bus.execute(RECEIVED, {"size": 7}, {})
    bus.execute(SENT, {}, {})
    assert _totals(registry) == {"received": 2, "bytes": 7, "sent": 1}
    assert len(bus.list_handlers()) == 2
    registry.detach()
    assert bus.list_handlers() == []


def test_add_while_others_emit_loses_nothing_and_doubles_nothing() -> None:
    """200 metrics join an event, one by one, while four threads emit it, by execute and by recorder: what was there
    counts each occurrence once."""
    bus, registry = ws.Bus(), ws.HandlerRegistry(METRICS[:2])
    registry.attach(bus)
    slot = bus.slot(RECEIVED)
    over = threading.Event()
    emitted = [0] * 4

    def emit(number: int) -> None:
        version, record = -1, None
        while not over.is_set():
            bus.execute(RECEIVED, {"size": 2}, {})
            if bus.version != version:
                version, record = bus.version, slot.recorder(("size",), {})
            record(3)  # type: ignore[misc]
            emitted[number] += 1

    threads = [threading.Thread(target=emit, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for number in range(200):
        registry.add(ws.counter(f"more{number}", RECEIVED))
        assert len(slot.handlers) == 1
        registry.store.fold()
    over.set()
    for thread in threads:
        thread.join()
    registry.store.fold()
    bus.execute(RECEIVED, {"size": 1}, {})
    totals = _totals(registry)
    assert totals["received"] == 2 * sum(emitted) + 1 > 200
    assert totals["bytes"] == 5 * sum(emitted) + 1
    assert totals["more199"] >= 1


def test_two_registries_may_share_a_store() -> None:
    """The same name of the same kind is the same series."""
    store, bus = Store(), ws.Bus()
    ws.HandlerRegistry([METRICS[3]], store).attach(bus)
    ws.HandlerRegistry([ws.counter("sent", RECEIVED)], store).attach(bus)
    bus.execute(SENT, {}, {})
    bus.execute(RECEIVED, {}, {})
    assert [(one.name, one.total) for one in store.fold()] == [("sent", 2)]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (ws.counter("x", SENT), ws.gauge("x", SENT, "size")),
        (ws.counter("x", SENT), ws.sum_("x", RECEIVED, "size")),
        (ws.gauge("x", SENT, "size"), ws.gauge("x", RECEIVED, "size", unit=("native", "second"))),
        (ws.gauge("x", SENT, "size"), ws.gauge("x", RECEIVED, "size", state=True)),
    ],
)
def test_a_name_of_two_kinds_or_units_is_refused(one: object, other: object) -> None:
    """Together or later, on one event or two, attached or not; what was there goes on."""
    with pytest.raises(ConfigurationError, match=re.escape("'x'")):
        ws.HandlerRegistry([one, other])  # type: ignore[list-item]
    registry, bus = ws.HandlerRegistry([one]), ws.Bus()  # type: ignore[list-item]
    registry.attach(bus)
    before = registry.handlers
    with pytest.raises(ConfigurationError, match="use one kind and unit for a name"):
        registry.add(other)  # type: ignore[arg-type]
    assert registry.handlers == before
    assert len(bus.list_handlers()) == 1


def test_the_same_definition_twice_is_refused() -> None:
    """It would count twice."""
    with pytest.raises(ConfigurationError, match="twice"):
        ws.HandlerRegistry([METRICS[0], METRICS[0]])


def test_one_name_on_two_events_is_one_metric() -> None:
    """As connection.up is."""
    bus = ws.Bus()
    registry = ws.HandlerRegistry([ws.counter("all", SENT), ws.counter("all", RECEIVED)])
    registry.attach(bus)
    bus.execute(SENT, {}, {})
    bus.execute(RECEIVED, {}, {})
    assert _totals(registry) == {"all": 2}


@pytest.mark.parametrize("given", ["received", None, ("received", SENT)])
def test_what_is_no_definition_is_refused(given: object) -> None:
    """The sentence shows it and names the makers."""
    with pytest.raises(ConfigurationError, match=r"ws\.counter") as caught:
        ws.HandlerRegistry([given])  # type: ignore[list-item]
    assert repr(given) in str(caught.value)
