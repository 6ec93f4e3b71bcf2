"""Delivering messages: order, turns and sums, with and without a handler of single messages. The link is a
script, which defines what a run is."""

import itertools
import json
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import wsnova_statsd as ws
from tests.unit.receiving import EACH, NEVER_NS, SUMS, Receiving, Run, RunLink, read_all, run_of
from wsnova_statsd import events
from wsnova_statsd.client import receiver as receiver_module
from wsnova_statsd.client.message_events import NOTHING
from wsnova_statsd.clock import CLOCK
from wsnova_statsd.link.frames import BINARY, TEXT
from wsnova_statsd.testing.capture import capture_events
from wsnova_statsd.testing.clock import FakeClock


def _clock_at_a_beat() -> FakeClock:
    """A clock that stands still, a second before sums are due."""
    clock = FakeClock()
    clock.advance((CLOCK.beat(clock.ns()) - clock.ns()) / 1e9)
    return clock


def _use(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the receiver read this clock."""
    monkeypatch.setattr(receiver_module, "_clock", clock.ns)
    monkeypatch.setattr(receiver_module, "_seconds", clock)


@pytest.fixture(params=[SUMS, EACH], ids=["in bulk", "one by one"])
def observed(request: pytest.FixtureRequest) -> Sequence[str]:
    """Without, or with, a handler of single messages."""
    return request.param  # type: ignore[no-any-return]


# Order


def test_messages_come_in_the_order_of_the_wire(observed: Sequence[str]) -> None:
    """Inbox first, then each run, short and long, text and binary."""
    link = RunLink([run_of(*range(2, 5)), run_of(*range(5, 50)), run_of(50, kind=BINARY), run_of(*range(51, 100))])
    link.inbox.extend([(TEXT, b"0", 1), (TEXT, b"1", 1)])
    got: list[Any] = []
    client = Receiving(link, got.append, observed=observed)
    with capture_events(*observed, bus=client.bus) as log:
        read_all(client)
        assert [int(one) for one in got] == [*range(100)]
        assert client.sums(log) == {"count": 100, "total_size": 190, "errors": 0, "processed": 100}
    assert not link.unclaimed


def test_what_the_keeper_read_comes_before_what_the_owner_reads(observed: Sequence[str]) -> None:
    """It is in the inbox, followed by the rest of that read."""
    link = RunLink([run_of(1, 2), run_of(4, 5)], kept=[run_of(0), run_of(3)])
    client = Receiving(link, observed=observed)
    with capture_events(*observed, bus=client.bus):
        assert client.turn() == [0, 1, 2, 3, 4, 5]


def test_a_turn_ends_when_something_else_is_due(observed: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages that it did not reach come first in the next turn, in order, and are delivered once."""
    clock = _clock_at_a_beat()
    _use(clock, monkeypatch)
    link = RunLink([run_of(*range(50)), run_of(*range(50, 60))])
    got: list[int] = []

    def handle(message: int) -> None:
        got.append(message)
        clock.advance(0.1)

    client = Receiving(link, handle, observed=observed, profile=ws.FINANCIAL.replace(slow_after=100))
    with capture_events(*observed, bus=client.bus) as log:
        client.turn(due=clock.ns() + 700_000_000)
        assert got == [*range(7)]
        assert [int(payload) for _, payload, _ in link.inbox] == [*range(7, 50)]
        client.turn(due=clock.ns())
        assert len(got) == 7, "a turn that is over hands out nothing"
        client.turn()
        assert client.sums(log)["count"] == 60
    assert got == [*range(60)]


def test_a_loop_that_is_left_leaves_the_rest_in_order(observed: Sequence[str]) -> None:
    """`break` at any message; the message whose body was left counts."""
    link = RunLink([run_of(*range(40))])
    client = Receiving(link, observed=observed)
    got: list[int] = []
    with capture_events(*observed, bus=client.bus) as log:
        for size in itertools.cycle([1, 2, 9]):
            client.receiver.due = NEVER_NS
            loop: Any = client.receiver.messages(link)  # type: ignore[arg-type]
            got += itertools.islice(loop, size)
            loop.close()
            assert not link.unclaimed
            assert [int(payload) for _, payload, _ in link.inbox] == [*range(len(got), 40)]
            if len(got) == 40:
                break
        assert client.sums(log)["count"] == 40
    assert got == [*range(40)]


def test_a_newly_attached_handler_gets_the_next_message() -> None:
    """The run ends there: what follows is emitted one by one, and nothing is lost."""
    link, observed = RunLink([run_of(*range(30))]), list[int]()
    got: list[int] = []

    def handle(message: int) -> None:
        got.append(message)
        if message == 9:
            client.bus.attach("late", events.MESSAGE_RECEIVED, lambda *event: observed.append(len(got)))

    client = Receiving(link, handle)
    with capture_events(*SUMS, bus=client.bus) as log:
        read_all(client)
        assert client.sums(log)["count"] == 30
    assert got == [*range(30)]
    assert observed == [*range(10, 30)]


def test_a_link_that_is_gone_delivers_nothing(observed: Sequence[str]) -> None:
    """A handler that closes the client gets no more messages."""
    link = RunLink([run_of(*range(30))])
    got: list[int] = []

    def handle(message: int) -> None:
        got.append(message)
        if message == 4:
            client.link = None

    client = Receiving(link, handle, observed=observed)
    with capture_events(*observed, bus=client.bus) as log:
        client.turn()
        assert client.sums(log)["count"] == 5
    assert got == [*range(5)]


@pytest.mark.parametrize("what", ["closes", "attaches"])
def test_a_run_ends_even_without_a_handler(what: str) -> None:
    """Without any handler of an event it ends with the message whose callback closes the client, or attaches a
    handler."""
    link = RunLink([run_of(*range(100))])
    got: list[int] = []

    def handle(message: int) -> None:
        got.append(message)
        if len(got) == 40:
            if what == "closes":
                client.link = None
            else:
                client.bus.attach("late", events.MESSAGE_RECEIVED, lambda *event: None)

    client = Receiving(link, handle)
    client.turn()
    assert got == [*range(40)]
    assert [int(payload) for _, payload, _ in link.inbox] == [*range(40, 100)]


def test_one_message_is_delivered_without_being_timed() -> None:
    """For `receive`; a message that cannot be decoded is skipped."""
    link = RunLink([])
    link.inbox.extend([(TEXT, b"{", 1), (TEXT, b"1", 1), (TEXT, b"2", 1)])
    client = Receiving(link)
    client.receiver.due = NEVER_NS
    with capture_events(*EACH, bus=client.bus) as log:
        given: Any = link
        assert [client.receiver.one(given, 0.0) for _ in range(4)] == [NOTHING, 1, 2, NOTHING]
        assert client.sums(log) == {"count": 3, "total_size": 3, "errors": 1, "processed": 0}


# What handlers and decoders raise


def test_what_a_handler_raises_costs_its_message_only(observed: Sequence[str]) -> None:
    """One error of type handler; an exception that ends the client is raised, and the rest is kept."""
    link = RunLink([run_of(*range(40))])
    got: list[int] = []

    def handle(message: int) -> None:
        got.append(message)
        if message in (3, 20):
            raise ValueError(message)
        if message == 30:
            raise SystemExit

    client = Receiving(link, handle, observed=observed)
    with capture_events(*observed, bus=client.bus) as log:
        with pytest.raises(SystemExit):
            client.turn()
        assert client.sums(log) == {"count": 31, "total_size": 52, "errors": 3, "processed": 31}
        assert [fault.metadata["error_type"] for fault in log.of(events.ERROR_OCCURRED)] == ["handler"] * 2
    assert got == [*range(31)]
    assert [int(payload) for _, payload, _ in link.inbox] == [*range(31, 40)]


def test_nothing_after_a_text_that_is_no_utf_8_is_delivered(observed: Sequence[str]) -> None:
    """In one run, or in the inbox with it: the link is ended, and with it what followed."""
    run = run_of(*range(20))
    run[1].insert(12, b"\xff")
    link = RunLink([run])
    client = Receiving(link, observed=observed)
    with capture_events(*observed, bus=client.bus):
        assert client.turn() + client.turn() == [*range(12)]
    assert [breach.code for breach in link.breaches] == [1007]


def test_an_interrupt_while_a_message_is_decoded_loses_none(observed: Sequence[str]) -> None:
    """A KeyboardInterrupt out of a decoder: its message and all after it are still there."""

    class Interrupted(ws.JsonProtocol):
        interrupted = False

        def text_decoder(self) -> Any:
            def decode(payload: bytes) -> Any:
                if payload == b"25" and not self.interrupted:
                    self.interrupted = True
                    raise KeyboardInterrupt
                return json.loads(payload)

            return decode

    link = RunLink([run_of(*range(60))])
    got: list[int] = []
    client = Receiving(link, got.append, observed=observed, protocol=Interrupted())
    with capture_events(*observed, bus=client.bus) as log:
        with pytest.raises(KeyboardInterrupt):
            client.turn()
        read_all(client)
        assert client.sums(log)["count"] == 60
    assert got == [*range(60)]


# Answers


def test_an_answer_that_came_with_a_run_is_not_delivered_as_a_message() -> None:
    """Another thread sends a request, and its answer is read, between the owner's check and its read: it is in the
    inbox, where that thread finds it, by the time the message before it is delivered."""
    link = RunLink([run_of(1, 2, 3)])
    client = Receiving(link)
    client.answers.wanted = [2]
    link.on_read = lambda: setattr(client.answers, "active", True)
    client.receiver.due = NEVER_NS
    with capture_events(*SUMS, bus=client.bus) as log:
        messages = client.receiver.messages(link)  # type: ignore[arg-type]
        assert next(messages) == 1
        assert [payload for _, payload, _ in link.inbox] == [b"2", b"3"]
        assert not link.unclaimed
        assert list(messages) == [3]
        assert client.sums(log) == {"count": 3, "total_size": 3, "errors": 0, "processed": 3}


def test_answers_and_application_heartbeats_are_not_delivered() -> None:
    """They count as received and processed; what the protocol cannot read is delivered, with one error."""

    class Beating(ws.JsonProtocol):
        def heartbeat_answer(self, message: Any) -> Any:
            if message == 3:
                raise ValueError("hostile")
            return "pong" if message == 2 else None

    link = RunLink([run_of(*range(30))])
    got: list[int] = []
    client = Receiving(link, got.append, protocol=Beating())
    client.answers.active, client.answers.wanted = True, [1]
    with capture_events(*EACH, bus=client.bus) as log:
        read_all(client)
        assert client.sums(log) == {"count": 30, "total_size": 50, "errors": 0, "processed": 30}
        assert [fault.metadata["error_type"] for fault in log.of(events.ERROR_OCCURRED)] == ["decode"]
    assert got == [0, *range(3, 30)]
    assert client.answered == ["pong"]


def test_answers_that_their_threads_already_have_are_removed() -> None:
    """At any place in the inbox; the messages between them stay."""
    link = RunLink([])
    link.inbox.extend([(TEXT, b"%d" % number, 1) for number in range(6)])
    client = Receiving(link)
    client.answers.active, client.answers.wanted = True, [1, 4]
    client.answers.found = [link.inbox[1], link.inbox[4]]
    client.receiver.due = NEVER_NS
    client.made.events.attend()
    client.receiver.clear_answers(link)  # type: ignore[arg-type]
    assert [payload for _, payload, _ in link.inbox] == [b"0", b"2", b"3", b"5"]


# Sums


_SCRIPT = st.lists(
    st.one_of(
        st.tuples(st.just(TEXT), st.lists(st.sampled_from([b"1", b"22", b"{", b'{"a":3}', b'"raise"']), max_size=60)),
        st.tuples(st.just(BINARY), st.lists(st.binary(max_size=3), max_size=20)),
    ),
    max_size=8,
)


@given(_SCRIPT, _SCRIPT, st.integers(1, 50))
def test_in_bulk_and_one_by_one_have_the_same_result(runs: list[Run], kept: list[Run], every: int) -> None:
    """The same messages in the same order and the same sums, for any reads, exceptions and undecodable messages,
    however often the turn is over."""
    found = []
    for observed in (SUMS, EACH):
        link = RunLink([(kind, [*run]) for kind, run in runs], kept)
        got: list[Any] = []

        def handle(message: Any) -> None:
            got.append(message)  # noqa: B023
            if len(got) % every == 0:  # noqa: B023
                client.receiver.due = 0  # noqa: B023
            if message == "raise":
                raise ValueError(message)

        client = Receiving(link, handle, observed=observed)
        with capture_events(*observed, bus=client.bus) as log:
            read_all(client)
            faults = [fault.metadata["error_type"] for fault in log.of(events.ERROR_OCCURRED)]
            found.append((got, client.sums(log), faults))
        assert not link.unclaimed
    bulk, single = found
    assert bulk == single
    assert bulk[1]["count"] == sum(len(run) for _, run in runs) + sum(len(run) for _, run in kept[: len(runs)])


def test_the_sums_are_due_a_second_after_the_first_message(observed: Sequence[str]) -> None:
    """Also while its handler runs, and the turn ends then."""
    dues: list[int] = []
    client = Receiving(RunLink([run_of(*range(20))]), lambda _: dues.append(client.receiver.due), observed=observed)
    with capture_events(*observed, bus=client.bus):
        client.turn()
    assert len(set(dues)) == 1
    assert dues[0] == client.receiver.batch.due < NEVER_NS


def test_what_waits_and_how_long_the_owner_waited_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Inbox and kernel, the time without input, and how far behind the feed the owner is: the bytes that wait, at the
    pace of the busy part of the window."""
    clock = _clock_at_a_beat()
    _use(clock, monkeypatch)
    monkeypatch.setattr("wsnova_statsd.client.batch.time", SimpleNamespace(monotonic_ns=clock.ns))
    link = RunLink([])
    link.inbox.extend([(TEXT, b"1111", 1)] * 3)
    client = Receiving(link)
    client.receiver.due = NEVER_NS
    with capture_events(*SUMS, bus=client.bus) as log:
        client.receiver.one(link, 0.0)  # type: ignore[arg-type]
        link.idle, link.in_kernel = 0.25, 92
        clock.advance(1.0)
        client.receiver.flush()
        client.receiver.batch.open(clock.ns())
        link.idle = 0.5
        clock.advance(1.0)
        client.receiver.flush()
        client.receiver.batch.open(clock.ns())
        link.inbox.clear()
        link.in_kernel = 0
        clock.advance(1.0)
        client.receiver.flush()
        names = ("count", "waiting", "waiting_bytes", "idle", "behind")
        found = [tuple(one.measurements[name] for name in names) for one in log]
    assert found == [
        (1, 2, 100, 250_000_000, 100 * 750_000_000 // 4),
        (0, 2, 100, 250_000_000, 100 * 750_000_000 // 4 + 10**9),
        (0, 0, 0, 0, 0),
    ]


def test_what_waits_in_the_current_run_counts_as_waiting() -> None:
    """A handler of a run of twenty, at its fifth message."""
    seen: list[int] = []
    client = Receiving(RunLink([run_of(*range(20))]), lambda _: seen.append(client.receiver.waiting))
    with capture_events(*SUMS, bus=client.bus):
        client.turn()
    assert seen == [*range(19, -1, -1)]
    assert client.receiver.waiting == 0


def test_a_slow_message_is_emitted_once(observed: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """With its own time, strictly longer than slow_after; one that took exactly so long is not slow."""
    clock = _clock_at_a_beat()
    _use(clock, monkeypatch)
    times = {3: 0.1, 4: 0.101, 5: 0.3}
    client = Receiving(
        RunLink([run_of(*range(20))]), lambda number: clock.advance(times.get(number, 0.0)), observed=observed
    )
    with capture_events(*observed, bus=client.bus) as log:
        client.turn()
    slow = [one.measurements["duration"] for one in log.of(events.MESSAGE_PROCESS_SLOW)]
    assert slow == [101_000_000, 300_000_000]
