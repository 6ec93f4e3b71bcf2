"""Detail on demand: which clients it covers, for how long, and what is emitted about it; under a fake clock."""

import gc
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import wsnova_statsd as ws
from tests.unit.alerting import Timers
from wsnova_statsd import events
from wsnova_statsd.checks import shown
from wsnova_statsd.client.detail import Details
from wsnova_statsd.client.emitter import Emitter
from wsnova_statsd.errors import ConfigurationError
from wsnova_statsd.telemetry import EventSlot
from wsnova_statsd.testing.capture import EventLog, capture_events
from wsnova_statsd.testing.clock import FakeClock

ONE = events.MESSAGE_DECODE_STARTED  # emitted in detail only


class Bench:
    """Clients' emitters on a bus, and the detail that is requested."""

    def __init__(self) -> None:
        self.bus = ws.Bus()
        self.timers = Timers(FakeClock())
        self.details = Details(self.timers.call_later)
        self.log = EventLog()
        self._made: list[Emitter] = []  # emitters are held weakly

    def client(self, client_id: str, profile: ws.Profile = ws.STANDARD, bus: ws.Bus | None = None) -> Emitter:
        emit = Emitter(bus or self.bus, profile, client_id)
        self.details.join(emit)
        self._made.append(emit)
        return emit

    def begin(self, seconds: Any = 60.0, client_id: Any = None, bus: ws.Bus | None = None) -> Any:
        return self.details.begin(seconds, client_id, bus or self.bus)

    def reported(self, emit: Emitter) -> bool:
        """Whether the client emits an event that only detail enables."""
        before = self.log.count(ONE)
        emit(ONE, {"system_time": 1, "size": 1})
        return self.log.count(ONE) > before


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    with capture_events(bus=made.bus) as made.log:
        yield made


def _leaving(bench: Bench, emit: Emitter) -> set[str]:
    bench.log.clear()
    for event in events.CATALOGUE:
        emit(event, {}, severity="warning", final=False)
    return set(bench.log.names())


@pytest.mark.parametrize(
    "profile",
    [
        ws.FINANCIAL,
        ws.STANDARD,
        ws.LIGHTWEIGHT,
        ws.LIGHTWEIGHT.replace(connection_events=False, error_events=False),
    ],
)
def test_every_event_is_emitted_while_it_lasts_and_the_profiles_own_before_and_after(
    bench: Bench, profile: ws.Profile
) -> None:
    """Level detailed and all four toggles, for any profile."""
    emit = bench.client("a", profile)
    usual = _leaving(bench, emit)
    bench.begin(60)
    assert _leaving(bench, emit) == set(events.CATALOGUE)
    bench.timers.advance(59.9)
    assert _leaving(bench, emit) == set(events.CATALOGUE)
    bench.timers.advance(0.2)
    assert _leaving(bench, emit) == usual
    assert (usual == set(events.CATALOGUE)) is (profile is ws.FINANCIAL)


def test_what_an_event_may_carry_stays_as_it_was(bench: Bench) -> None:
    """The metadata filter is the profile's."""
    filtered, open_ = bench.client("a"), bench.client("b", ws.STANDARD.replace(metadata_filter=False))
    own = bench.client("c", ws.STANDARD.replace(metadata_filter=lambda metadata: {"mine": metadata["client_id"]}))
    bench.begin()
    for emit in (filtered, open_, own):
        emit(events.MESSAGE_RECEIVED, {"size": 1}, token="hunter2")
    own.slot(events.MESSAGE_SENT).emit({"size": 1}, {"client_id": "c"})
    assert [one.metadata for one in bench.log] == [
        {"client_id": "a"},
        {"client_id": "b", "token": "hunter2"},
        {"mine": "c"},
        {"mine": "c"},
    ]


def test_a_switch_renews_the_bus_and_slots_are_found_anew(bench: Bench) -> None:
    """Hot paths compare only the bus's version."""
    emit = bench.client("a")
    silent, version = emit.slot(ONE), bench.bus.version
    detail = bench.begin()
    observed, later = emit.slot(ONE), bench.bus.version
    assert later > version
    assert (bool(silent.handlers), bool(observed.handlers)) == (False, True)
    detail.cancel()
    assert bench.bus.version > later
    assert not emit.slot(ONE).handlers


def test_a_slot_that_is_opened_during_a_switch_is_not_kept() -> None:
    """Another thread switches after the profile was read and before the slot is kept."""

    class Interrupted(ws.Bus):
        switching = False

        def slot(self, event: str) -> EventSlot:
            if self.switching:
                emit.in_detail(False)
            return super().slot(event)

    bus = Interrupted()
    bus.attach("ear", ONE, print)
    emit = Emitter(bus, ws.STANDARD, "a")
    emit.in_detail(True)
    bus.switching = True
    assert emit.slot(ONE).handlers
    assert not emit.slot(ONE).handlers


def test_begin_and_end_are_emitted_before_its_first_event_and_after_its_last(bench: Bench) -> None:
    """With the seconds requested, at the end its duration, and the client if it is for one client."""
    order: list[tuple[str, dict[str, Any], dict[str, Any]]] = []
    emit = bench.client("a")

    def note(event: str, measurements: Any, metadata: Any, config: Any) -> None:
        order.append((event, dict(measurements), dict(metadata)))
        if event in (events.DETAIL_STARTED, events.DETAIL_ENDED):
            emit(ONE, {})

    bench.bus.attach_many("note", (ONE, events.DETAIL_STARTED, events.DETAIL_ENDED), note)
    bench.begin(60, "a")
    emit(ONE, {})
    bench.timers.advance(60)
    emit(ONE, {})
    assert [event for event, _, _ in order] == [events.DETAIL_STARTED, ONE, events.DETAIL_ENDED]
    (_, began, whose), _, (_, ended, still) = order
    assert whose == still == {"client_id": "a"}
    assert began["seconds"] == ended["seconds"] == 60
    assert set(began) == {"system_time", "seconds"}
    assert set(ended) == {"system_time", "seconds", "duration"}
    assert 0 <= ended["duration"] < 60e9  # of the real clock
    bench.begin(5).cancel()
    assert [metadata for _, _, metadata in order[3:]] == [{}, {}]


def test_one_client_only_when_it_is_named(bench: Bench) -> None:
    first, second = bench.client("a"), bench.client("b")
    with bench.begin(60, "a") as detail:
        assert (bench.reported(first), bench.reported(second), detail.running) == (True, False, True)
    assert (bench.reported(first), bench.reported(second), detail.running) == (False, False, False)


def test_another_bus_is_not_touched(bench: Bench) -> None:
    """Its clients, its version and the ids of its clients are separate."""
    other = ws.Bus()
    stranger = bench.client("a", bus=other)
    bench.client("b")
    with capture_events(bus=other) as log:
        version = other.version
        bench.begin()
        stranger(ONE, {})
        assert (other.version, len(log)) == (version, 0)
    with pytest.raises(ConfigurationError, match=r"not closed: b$"):
        bench.begin(60, "a")


def test_clients_that_begin_meanwhile_are_covered_too(bench: Bench) -> None:
    """All of them, or those of the id: a client that was closed and is started again."""
    bench.client("a")
    bench.begin(10)
    assert bench.reported(bench.client("b"))
    bench.begin(20, "a")
    bench.timers.advance(10)
    assert [bench.reported(bench.client(name)) for name in "abc"] == [True, False, False]
    bench.timers.advance(10)
    assert not bench.reported(bench.client("a"))


@pytest.mark.parametrize(("first", "second"), [(10, 30), (30, 10)])
@pytest.mark.parametrize("whose", [None, "a"])
def test_of_two_details_the_later_end_wins(bench: Bench, first: int, second: int, whose: str | None) -> None:
    """In either order of the requests; each end is emitted separately."""
    emit = bench.client("a")
    with capture_events("telemetry.detail", bus=bench.bus) as log:
        bench.begin(first, whose)
        bench.begin(second)
        for seconds, lasts in ((9, True), (2, True), (18, True), (2, False)):
            bench.timers.advance(seconds)
            assert bench.reported(emit) is lasts
    assert [(one.event, one.measurements["seconds"]) for one in log] == [
        (events.DETAIL_STARTED, first),
        (events.DETAIL_STARTED, second),
        (events.DETAIL_ENDED, 10),
        (events.DETAIL_ENDED, 30),
    ]


def test_a_cancelled_detail_leaves_those_of_others(bench: Bench) -> None:
    """One client's within that of all: the others go back at the end of the wider one, the client at the end of
    both."""
    first, second = bench.client("a"), bench.client("b")
    everybody, one = bench.begin(60), bench.begin(60, "a")
    everybody.cancel()
    assert (bench.reported(first), bench.reported(second)) == (True, False)
    one.cancel()
    assert not bench.reported(first)


def test_cancelling_twice_is_harmless_and_leaves_no_job(bench: Bench) -> None:
    """Also after the regular end."""
    bench.client("a")
    with capture_events("telemetry.detail", bus=bench.bus) as log:
        detail = bench.begin(60)
        detail.cancel()
        detail.cancel()
        assert bench.timers.waiting == 0
        with bench.begin(60) as other:
            bench.timers.advance(60)
        other.cancel()
    assert log.names() == [events.DETAIL_STARTED, events.DETAIL_ENDED] * 2


def test_a_client_that_is_closed_meanwhile_does_no_harm(bench: Bench) -> None:
    """Its detail ends at the planned time; no further one can be requested."""
    emit = bench.client("a")
    bench.client("b")
    with capture_events("telemetry", bus=bench.bus) as log:
        bench.begin(60, "a")
        emit.closed()
        with pytest.raises(ConfigurationError, match=r"^client_id is 'a'; started clients .* not closed: b$"):
            bench.begin(60, "a")
        bench.timers.advance(60)
    assert log.names() == [events.DETAIL_STARTED, events.CLIENT_CLOSED, events.DETAIL_ENDED]
    assert not bench.reported(emit)


def test_clients_that_are_gone_are_forgotten(bench: Bench) -> None:
    """A client that is no longer referenced and was not closed."""
    bench.client("a")
    bench.client("b")
    bench._made.pop()
    gc.collect()
    with pytest.raises(ConfigurationError, match=r"not closed: a$"):
        bench.begin(60, "b")


def test_a_forked_child_begins_without_detail(bench: Bench) -> None:
    """What it inherits emits nothing, its own clients follow their profile, and the parent's handle does nothing."""
    inherited = bench.client("a")
    detail = bench.begin(60)
    inherited.mute()  # what a client's own hook does
    bench.details.after_fork()
    with capture_events("telemetry.detail", bus=bench.bus) as log:
        assert not detail.running
        detail.cancel()
        assert (bench.reported(bench.client("b")), bench.reported(inherited)) == (False, False)
        bench.begin(5)
        assert (bench.reported(bench.client("c")), bench.reported(inherited)) == (True, False)
    assert log.names() == [events.DETAIL_STARTED]


def test_a_muted_client_stays_mute(bench: Bench) -> None:
    """Also for events that are first emitted after that."""
    emit = bench.client("a", ws.FINANCIAL)
    emit.mute()
    bench.begin(60)
    assert _leaving(bench, emit) == set()
    assert not emit.slot(ONE).handlers


@pytest.mark.parametrize("seconds", [0, -1, None, "5", True, float("nan"), float("inf"), 86_401, 10**400, [5]])
def test_unusable_seconds_are_refused_at_once(bench: Bench, seconds: Any) -> None:
    """One sentence: what was given, what is allowed; nothing begins."""
    bench.client("a")
    with capture_events("telemetry.detail", bus=bench.bus) as log, pytest.raises(ConfigurationError) as caught:
        bench.begin(seconds)
    reported = f"seconds must be a positive number, at most 86400, got {shown(seconds)}; the limit is one day"
    assert str(caught.value) == reported
    assert (len(log), bench.timers.waiting) == (0, 0)


@pytest.mark.parametrize("client_id", ["c", "", 5, ["a"]])
def test_an_unknown_client_is_refused_with_the_live_ones(bench: Bench, client_id: Any) -> None:
    """In order, each once; or with the sentence that there is none."""
    reported = f"client_id is {client_id!r}; started clients that are not closed: "
    for live in ("none; start the client first", "b", "a, b", "a, b"):
        with pytest.raises(ConfigurationError) as caught:
            bench.begin(60, client_id)
        assert str(caught.value) == reported + live
        bench.client("b" if live.startswith("none") else "a")


def test_many_threads_may_request_detail_at_once(bench: Bench) -> None:
    """Each begin has its end, and when all is over the profile is back."""
    emits = [bench.client(str(number)) for number in range(8)]
    barrier = threading.Barrier(8)

    def work(name: str) -> None:
        barrier.wait(10)
        for _ in range(50):
            with bench.begin(60, name), bench.begin(60):
                bench.details.join(Emitter(bench.bus, ws.STANDARD, name))

    threads = [threading.Thread(target=work, args=(str(number),)) for number in range(8)]
    with capture_events("telemetry.detail", bus=bench.bus) as log:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    assert log.count(events.DETAIL_STARTED) == log.count(events.DETAIL_ENDED) == 800
    assert not any(bench.reported(emit) for emit in emits)
    assert bench.timers.waiting == 0
