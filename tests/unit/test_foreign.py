"""A client of another library reports what happened: the core's rules apply, and only what it can emit is shown."""

from __future__ import annotations

import logging
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

import wsnova_statsd as ws
from tests.support import stuck_after, until
from wsnova_statsd import events
from wsnova_statsd.client.detail import detailed
from wsnova_statsd.client.living import announce, ask_clients, emit_sums
from wsnova_statsd.client.state import State
from wsnova_statsd.contrib.foreign import Foreign
from wsnova_statsd.contrib.foreign_link import LOCAL, closed_by, failure, uri_of
from wsnova_statsd.contrib.given import EMITS, Given
from wsnova_statsd.contrib.roster import Roster
from wsnova_statsd.errors import ConnectionFailed
from wsnova_statsd.link.frames import BINARY, TEXT
from wsnova_statsd.link.session import Loss, cut
from wsnova_statsd.testing.capture import EventLog, capture_events
from wsnova_statsd.testing.clock import FakeClock

URL = "wss://user:hunter2@feed.example/ws?key=hunter2"
REFUSED = ConnectionFailed("refused", cause="refused")


class _Seat:
    """The object that dials."""

    dials = True

    def busy(self) -> bool:
        return self.dials


class Bench:
    """A roster, a fake clock, and what is emitted on a bus."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.bus = ws.Bus()
        self.roster = Roster()
        self.seats: list[_Seat] = []  # held weakly by the clients
        self.log = EventLog()

    def client(self, seat: _Seat | None = None, url: str = URL, **options: Any) -> Foreign:
        self.seats.append(seat or _Seat())
        given = Given(**{"profile": "financial", "bus": self.bus, **options})
        foreign = self.roster.take(given, url, self.seats[-1])
        assert foreign is not None
        return foreign

    def names(self) -> list[str]:
        return [one.event.removeprefix(events.PREFIX).removeprefix("connection.") for one in self.log]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    clock = FakeClock()
    for module in ("foreign", "foreign_messages"):
        monkeypatch.setattr(f"wsnova_statsd.contrib.{module}._clock", clock.ns)
    fake = SimpleNamespace(monotonic_ns=clock.ns, monotonic=clock, time_ns=time.time_ns)
    for module in ("contrib.foreign_link", "client.connection_events", "client.batch"):
        monkeypatch.setattr(f"wsnova_statsd.{module}.time", fake)
    made = Bench(clock)
    with capture_events(bus=made.bus) as made.log:
        yield made
        for foreign in {id(one): one for one in made.roster.clients()}.values():
            foreign.close()


# -- connections -------------------------------------------------------------------------------------------------------


def test_a_link_that_is_lost_and_comes_back(bench: Bench) -> None:
    """Attempt with the wait since the loss, failed and success with the time since the loss; errors are handled."""
    foreign = bench.client()
    foreign.connecting(URL)
    bench.clock.advance(0.2)
    link = foreign.connected(int)
    bench.clock.advance(60)
    foreign.ended(link, cut())
    foreign.ended(link, LOCAL)  # a later client
    bench.clock.advance(3)
    foreign.connecting(URL)
    bench.clock.advance(0.5)
    foreign.failed(REFUSED)
    bench.clock.advance(4)
    foreign.connecting(URL)
    bench.clock.advance(0.5)
    foreign.connected(int)
    assert bench.names() == [
        *("started", "completed", "disconnected", "error.occurred"),
        *("reconnect.attempt", "started", "error.occurred", "reconnect.failed"),
        *("reconnect.attempt", "started", "completed", "reconnect.success", "error.handled", "error.handled"),
    ]
    assert _measured(bench, events.CONNECTION_COMPLETED, "duration") == [200_000_000, 500_000_000]
    assert _measured(bench, events.CONNECTION_DISCONNECTED, "duration") == [60_000_000_000]
    assert _measured(bench, events.CONNECTION_RECONNECT_ATTEMPT, "delay") == [3_000_000_000, 4_000_000_000]
    assert _measured(bench, events.CONNECTION_RECONNECT_FAILED, "duration") == [3_500_000_000]
    assert _measured(bench, events.CONNECTION_RECONNECT_SUCCESS, "duration") == [8_000_000_000]
    assert "hunter2" not in repr(list(bench.log))
    assert {one.metadata["client_id"] for one in bench.log} == {"feed.example-1"}


def _measured(bench: Bench, event: str, key: str) -> list[Any]:
    return [one.measurements[key] for one in bench.log.of(event)]


def test_the_alarm_is_raised_once_when_the_profile_says_so(bench: Bench) -> None:
    """reconnect.failed with final=true at max_attempts, as for a client of ours; short-lived links count too."""
    foreign = bench.client(profile=ws.FINANCIAL.replace(max_attempts=3))
    for _ in range(2):
        foreign.connecting(URL)
        foreign.ended(foreign.connected(int), cut())
    for _ in range(4):
        foreign.connecting(URL)
        foreign.failed(REFUSED)
    final = [one.metadata["final"] for one in bench.log.of(events.CONNECTION_RECONNECT_FAILED)]
    assert final.count(True) == 1
    assert [one.metadata["severity"] for one in bench.log.of(events.ERROR_OCCURRED)].count("critical") == 1


def test_a_link_that_was_closed_on_purpose_is_no_error(bench: Bench) -> None:
    """Neither is a good-bye of the server more than a warning."""
    foreign = bench.client()
    foreign.connecting(URL)
    foreign.ended(foreign.connected(int), LOCAL)
    assert bench.log.count(events.ERROR_OCCURRED) == 0
    foreign.connecting(URL)
    foreign.ended(foreign.connected(int), closed_by(b"\x03\xe8"))
    assert [one.metadata["severity"] for one in bench.log.of(events.ERROR_OCCURRED)] == ["warning"]


def test_an_interrupted_dial_emits_no_event_of_its_own(bench: Bench) -> None:
    """Ctrl-C in a dial is no failure."""
    foreign = bench.client()
    foreign.connecting(URL)
    foreign.cancelled()
    assert (bench.names(), foreign.state) == (["started"], State.WAITING)


@pytest.mark.parametrize(
    ("payload", "reason", "detail"),
    [
        (b"", "close_1005", ""),
        (b"\x03\xf5later", "close_1013", "later"),
        (b"\x0f\xa0\xc3\xa4", "close_4000", "ä"),
        (b"\x03", "protocol_error", "a close frame holds half a code"),
        (b"\x00\x01", "protocol_error", "close code 1 must not be sent"),
    ],
)
def test_a_close_frame_is_read_as_a_client_of_ours_reads_it(payload: bytes, reason: str, detail: str) -> None:
    """Bounded reasons, for anything that the server sends."""
    assert closed_by(payload) == Loss(reason, detail)


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (ConnectionRefusedError(111, "Connection refused"), "refused"),
        (OSError(113, "No route to host"), "unreachable"),
        (TimeoutError("timed out"), "timeout"),
        (socket.gaierror(-2, "Name or service not known"), "dns"),
        (ssl.SSLError("wrong version number"), "tls"),
        (KeyError("x"), "error"),
        (REFUSED, "refused"),
    ],
)
def test_what_a_dial_raised_has_a_bounded_cause(error: Exception, cause: str) -> None:
    """And what it says holds no secret of the URL."""
    failed = failure(error, URL)
    assert (failed.cause, "hunter2" in str(failed)) == (cause, False)


@pytest.mark.parametrize(
    ("url", "host", "uri"),
    [
        (URL, "feed.example", "wss://feed.example/ws"),
        ("ws://[::1]:80/", "::1", "ws://[::1]:80/"),
        ("http://user:hunter2@x/", "client", "http://x/"),
        (None, "client", "invalid"),
    ],
)
def test_a_url_names_a_host_and_shows_no_secret(url: object, host: str, uri: str) -> None:
    """Also a URL that leads nowhere."""
    assert uri_of(url) == (host, uri)


# -- messages ----------------------------------------------------------------------------------------------------------


def _handle(foreign: Foreign, payload: bytes = b"x", opcode: int = TEXT, took: int = 1_000, **how: Any) -> None:
    span = foreign.received(payload, opcode)
    foreign.begin(span)
    foreign.processed(span, took, **how)


def _linked(bench: Bench, waiting: Any = int, **options: Any) -> Foreign:
    foreign = bench.client(**options)
    foreign.connecting(URL)
    foreign.connected(waiting)
    bench.log.clear()
    return foreign


def test_a_message_that_took_longer_than_the_profile_allows_is_slow(bench: Bench) -> None:
    """Strictly longer than slow_after, with its result."""
    foreign = _linked(bench)
    for took in (100_000_000, 100_000_001):
        _handle(foreign, took=took)
    _handle(foreign, took=200_000_000, failed=True)
    assert [one.metadata["result"] for one in bench.log.of(events.MESSAGE_PROCESS_SLOW)] == ["ok", "error"]


def test_the_sums_of_a_second_are_exact(bench: Bench) -> None:
    """Both directions, with what was processed, what failed and what could not be sent."""
    foreign = _linked(bench)
    _handle(foreign, b"abc", took=300)
    _handle(foreign, b"de", BINARY, took=500, failed=True)
    foreign.ignored(foreign.received(b"f", TEXT))
    foreign.sending((1, 4, 0, 0, 0, 0, 0))
    foreign.sent(b"four", TEXT)
    foreign.unsent()
    bench.clock.advance(1)
    emit_sums(bench.bus)
    assert until(lambda: bench.log.count(events.MESSAGE_BATCH_PROCESSED) == 2)
    sums = {one.metadata["direction"]: one.measurements for one in bench.log.of(events.MESSAGE_BATCH_PROCESSED)}
    counted = ("count", "total_size", "errors", "processed", "process_time", "process_time_max")
    assert [sums["received"][key] for key in counted] == [3, 6, 1, 2, 800, 500]
    assert [sums["sent"][key] for key in counted] == [2, 4, 1, 0, 0, 0]
    assert "waiting" not in sums["received"]


def test_behind_is_computed_from_what_waits_and_what_was_handled_meanwhile(bench: Bench) -> None:
    """3,000 bytes wait, 1,000 were handled in half a busy second: that takes a second and a half."""
    waiting = [3_000]
    foreign = _linked(bench, lambda: waiting[0])
    for left in (3_000, 0):
        waiting[0] = left
        foreign.received(b"x" * 500, TEXT)
        bench.clock.advance(1)
        foreign.received(b"x" * 500, TEXT, waited=500_000_000)
        foreign.emit_sums(bench.clock.ns())
    sums = [one.measurements for one in bench.log.of(events.MESSAGE_BATCH_PROCESSED)]
    reported = [(one["waiting_bytes"], one["idle"], one["behind"]) for one in sums]
    assert reported == [(3_000, 500_000_000, 1_500_000_000), (0, 500_000_000, 0)]


def test_closing_a_client_waits_for_sums_that_the_clock_is_about_to_emit(bench: Bench) -> None:
    """They were taken, so the closing thread cannot find them."""
    taken = threading.Event()
    order: list[str] = []

    def waiting() -> int:  # called between the two
        taken.set()
        threading.Event().wait(0.05)  # longer than a close takes that does not wait
        return 0

    foreign = _linked(bench, waiting)
    for event in (events.MESSAGE_BATCH_PROCESSED, events.CLIENT_CLOSED):
        bench.bus.attach(event, event, lambda event, *given: order.append(event))
    _handle(foreign)
    clock = threading.Thread(target=foreign.emit_sums, args=(bench.clock.ns() + 10**10,))
    clock.start()
    assert taken.wait(5)
    foreign.close()
    clock.join(5)
    assert order == [events.MESSAGE_BATCH_PROCESSED, events.CLIENT_CLOSED]


def test_a_client_that_is_closed_while_the_end_of_a_message_is_emitted_counts_it(bench: Bench) -> None:
    """By another thread: the message is under way until all of it is emitted."""
    order: list[str] = []
    foreign = _linked(bench)

    def completed(*given: Any) -> None:
        closer = threading.Thread(target=foreign.close)
        closer.start()
        closer.join(5)
        order.append("completed")

    bench.bus.attach("completed", events.MESSAGE_PROCESS_COMPLETED, completed)
    bench.bus.attach("closed", events.CLIENT_CLOSED, lambda *given: order.append("closed"))
    _handle(foreign)
    assert order == ["completed", "closed"]
    assert [one.measurements["processed"] for one in bench.log.of(events.MESSAGE_BATCH_PROCESSED)] == [1]


def test_a_stuck_handler_is_emitted_with_its_stack(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the watchdog of the core, while it runs."""
    stuck_after(monkeypatch, 0.0)
    monkeypatch.setattr("wsnova_statsd.contrib.foreign_messages._clock", time.monotonic_ns)
    foreign = _linked(bench, message_type=lambda payload: payload.decode())
    bench.bus.attach("stuck", events.MESSAGE_PROCESS_STUCK, lambda *given: None)
    foreign.begin(span := foreign.received(b"slow", TEXT))
    assert until(lambda: bench.log.count(events.MESSAGE_PROCESS_STUCK) == 1)
    stuck = bench.log.of(events.MESSAGE_PROCESS_STUCK)[0]
    assert stuck.metadata["type"] == "slow"
    assert "test_foreign.py" in "".join(stuck.metadata["stack"])
    foreign.processed(span, 1_000)


def test_types_are_cleaned_and_bounded(bench: Bench) -> None:
    """A server cannot make more than a hundred of them."""
    foreign = _linked(bench, message_type=lambda payload: payload.decode())
    for number in range(150):
        foreign.received(f"T|{number}".encode(), TEXT)
    kinds = {one.metadata["type"] for one in bench.log.of(events.MESSAGE_RECEIVED)}
    assert len(kinds) == 101
    assert "other" in kinds
    assert "t_0" in kinds


def test_each_thread_counts_by_its_own_recorders(bench: Bench) -> None:
    """Eight threads that read and send at once: no event and no count is lost."""
    foreign = _linked(bench, profile="standard")
    foreign.emit_sums(2**63)
    bench.log.clear()

    def work() -> None:
        for _ in range(500):
            _handle(foreign)
            foreign.sending((1, 1, 0, 0, 0, 0, 0))
            foreign.sent(b"x", TEXT)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    foreign.close()
    sums = bench.log.of(events.MESSAGE_BATCH_PROCESSED)
    for direction in ("received", "sent"):
        assert sum(one.measurements["count"] for one in sums if one.metadata["direction"] == direction) == 4_000


def test_heartbeats(bench: Bench) -> None:
    """A round trip for the pong to our ping; missed once for a ping without a pong; an unsolicited pong is ignored."""
    foreign = _linked(bench)
    foreign.ponged()
    foreign.pinged()
    bench.clock.advance(0.25)
    foreign.ponged()
    foreign.ponged()
    foreign.pinged()
    foreign.pinged()
    foreign.missed()
    foreign.missed()
    assert [one.event.rpartition(".")[2] for one in bench.log] == [
        "sent",
        "received",
        "sent",
        "missed",
        "sent",
        "missed",
    ]
    assert _measured(bench, events.HEARTBEAT_RECEIVED, "rtt") == [250_000_000]


# -- what is known of it -----------------------------------------------------------------------------------------------


def test_its_beginning_says_what_it_can_emit(bench: Bench) -> None:
    """Its zeros follow from that: nothing of decoding, encoding, subscriptions and logins."""
    opened: list[Any] = []
    bench.bus.attach("opened", events.CLIENT_OPENED, lambda event, measured, metadata, config: opened.append(metadata))
    foreign = bench.client(tags={"venue": "xetr"})
    announce(bench.bus)
    assert not opened  # nothing was dialled
    foreign.connecting(URL)
    announce(bench.bus)
    (metadata, again) = opened
    assert again == metadata
    assert metadata == {
        "client_id": "feed.example-1",
        "tags": {"venue": "xetr"},
        "started": True,
        "uri": "wss://feed.example/ws",
        "emits": EMITS,
        "by_type": True,
    }
    words = " ".join(EMITS)
    assert not [one for one in ("decode", "encode", "subscription", "auth") if one in words]
    assert set(EMITS) < set(events.CATALOGUE)


def test_a_monitor_that_begins_later_learns_its_state(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """And which clients keep another profile than that of the Monitor."""
    states: list[int] = []
    bench.bus.attach("state", events.CLIENT_STATE, lambda event, measured, *more: states.append(measured["up"]))
    foreign = bench.client(profile=None)
    assert foreign.profile is ws.STANDARD
    foreign.connecting(URL)
    foreign.connected(int)
    assert ask_clients(bench.bus, ws.FINANCIAL) == ["feed.example-1"]
    assert ask_clients(bench.bus, ws.STANDARD) == []
    assert states == [0, 1, 1]


def test_detail_on_demand_covers_it(bench: Bench) -> None:
    """Every event of it is emitted for a while."""
    foreign = _linked(bench, profile="lightweight")
    foreign.received(b"x", TEXT)
    assert bench.log.count(events.MESSAGE_RECEIVED) == 0
    with detailed(60, "feed.example-1", bench.bus):
        foreign.received(b"x", TEXT)
    foreign.received(b"x", TEXT)
    assert bench.log.count(events.MESSAGE_RECEIVED) == 1


def test_a_client_that_is_closed_during_a_message_ends_after_it(bench: Bench) -> None:
    """Closed by the handler of the message: the message's events and sums come before the end."""
    order: list[str] = []
    for event in (events.MESSAGE_PROCESS_COMPLETED, events.MESSAGE_BATCH_PROCESSED, events.CLIENT_CLOSED):
        bench.bus.attach(event, event, lambda event, *more: order.append(event.rpartition(".")[2]))
    foreign = _linked(bench)
    span = foreign.received(b"x", TEXT)
    foreign.begin(span)
    foreign.close()
    assert order == []
    foreign.processed(span, 1_000)
    foreign.close()
    assert order == ["completed", "batch_processed", "closed"]
    assert (foreign.over, foreign.state) == (True, State.CLOSED)
    _handle(foreign)
    assert order == ["completed", "batch_processed", "closed"]


# -- which client goes on ----------------------------------------------------------------------------------------------


def test_a_seat_that_dials_again_has_the_same_client(bench: Bench) -> None:
    """Even if others are free."""
    first, second = bench.client(), bench.client()
    assert (first.client_id, second.client_id) == ("feed.example-1", "feed.example-2")
    bench.seats[0].dials = False
    assert bench.client(bench.seats[1]) is second
    assert bench.client() is first


def test_other_tags_or_another_profile_are_another_client_of_the_same_id(bench: Bench) -> None:
    """The old one is closed; what names messages may change."""
    first = bench.client(tags={"venue": "a"})
    bench.seats[0].dials = False
    assert bench.client(bench.seats[0], tags={"venue": "a"}, message_type="json") is first
    other = bench.client(bench.seats[0], tags={"venue": "b"})
    assert other is not first
    assert (first.over, other.client_id) == (True, "feed.example-1")
    named = bench.client(bench.seats[0], client_id="md-1", profile="standard")
    again = bench.client(bench.seats[0], client_id="md-1", profile="financial")
    assert (named.over, again.client_id) == (True, "md-1")


def test_an_id_that_is_taken_is_logged_and_left_to_its_client(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """A dial is never refused: it goes on without telemetry."""
    bench.client(client_id="md-1")
    seat = _Seat()
    given = Given(client_id="md-1", profile="financial", bus=bench.bus)
    with caplog.at_level(logging.ERROR):
        assert bench.roster.take(given, URL, seat) is None
    assert "a connection is not instrumented: client_id 'md-1' belongs to another client" in caplog.text
    bench.seats[0].dials = False
    assert bench.roster.take(given, URL, seat) is not None


def test_ids_differ_by_host_and_bus(bench: Bench) -> None:
    """The lowest free number of each host; a bus does not use another one's client."""
    one = bench.client()
    bench.seats[0].dials = False
    assert bench.client(url="ws://other.example/").client_id == "other.example-1"
    elsewhere = bench.client(bus=ws.Bus())
    assert elsewhere is not one
    assert bench.client(url="nonsense").client_id == "client-1"
    elsewhere.close()


def test_a_program_that_calls_very_many_hosts_once_keeps_a_thousand_clients(bench: Bench) -> None:
    """The one whose link ended first is closed for a new one; those that live are not."""
    living = bench.client(url="ws://living.example/")
    for number in range(1_100):
        foreign = bench.client(url=f"ws://host-{number}.example/")
        foreign.connecting(URL)
        bench.clock.advance(0.001)
        foreign.failed(REFUSED)
        bench.seats[-1].dials = False
        bench.log.clear()
    hosts = [one.host for one in bench.roster.clients()]
    assert len(hosts) <= 1_000
    assert (hosts[0], hosts[-1], "host-0.example" in hosts) == ("living.example", "host-1099.example", False)
    assert not living.over
