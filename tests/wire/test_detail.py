"""Detail on demand with real clients and servers: what is emitted while it lasts, that nothing else changes, and that
no pair of events is torn by a switch during a message."""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import wsnova_statsd as ws
from tests.faults.forking import Child
from tests.support import until
from tests.wire.test_runs import MANY, N, _sent, _sum
from wsnova_statsd import events
from wsnova_statsd.client.detail import LONGEST, Detail, detailed
from wsnova_statsd.testing.capture import EventLog, capture_events
from wsnova_statsd.testing.server import WebSocketServer, echo
from wsnova_statsd.testing.tcp import PING, PONG, TEXT, Connection, TcpServer, server_frame

ECHOED = [
    "message.encode.started",
    "message.encode.completed",
    "message.sent",
    "message.decode.started",
    "message.decode.completed",
    "message.received",
    "message.process.started",
    "message.process.completed",
]
SINGLE = [events.PREFIX + name for name in ECHOED]
DEADLINE = 60.0  # of a detail that is ended by its test


@pytest.fixture
def log(bus: ws.Bus) -> Iterator[EventLog]:
    with capture_events(*events.CATALOGUE, "telemetry", bus=bus) as captured:
        yield captured


@pytest.fixture
def server() -> Iterator[WebSocketServer]:
    with WebSocketServer(echo) as made:
        yield made


class Echoing:
    """A client that gets an echo of what it sends."""

    def __init__(self, server: WebSocketServer | TcpServer, bus: ws.Bus, client_id: str, **options: Any) -> None:
        self.got = 0
        self.sent = 0
        profile = ws.STANDARD.replace(**options)
        self.client = ws.Client(server.url, client_id=client_id, profile=profile, on_message=self._count, bus=bus)

    def _count(self, message: Any) -> None:
        self.got += 1

    def exchange(self, messages: int = 5) -> None:
        """Send so many, and see them all back."""
        for _ in range(messages):
            self.client.send({"type": "t"})
            self.sent += 1
        assert until(lambda: self.got == self.sent)

    def __enter__(self) -> "Echoing":
        self.client.start(10)
        return self

    def __exit__(self, *exception: object) -> None:
        self.client.close(5)


def _of(log: EventLog, client_id: str, names: list[str] = SINGLE) -> list[str]:
    """The names of a client's events, of these."""
    return [one.event for one in log if one.event in names and one.metadata.get("client_id") == client_id]


def test_events_of_single_messages_are_emitted_while_it_lasts_and_of_one_client_if_it_is_named(
    server: WebSocketServer, bus: ws.Bus, log: EventLog
) -> None:
    """All eight of each message, none before and none after; the sums go on and are exact."""
    with Echoing(server, bus, "a") as first, Echoing(server, bus, "b") as second:
        for who in (first, second):
            who.exchange()
        with detailed(DEADLINE, "a", bus):
            for who in (first, second):
                who.exchange()
            assert until(lambda: len(_of(log, "a")) == 5 * len(ECHOED))
        with detailed(DEADLINE, None, bus):
            for who in (first, second):
                who.exchange()
            assert until(lambda: len(_of(log, "a")) == 10 * len(ECHOED) and len(_of(log, "b")) == 5 * len(ECHOED))
        for who in (first, second):
            who.exchange()
    assert Counter(_of(log, "a")) == dict.fromkeys(SINGLE, 10)
    assert Counter(_of(log, "b")) == dict.fromkeys(SINGLE, 5)
    sums = Counter[tuple[str, str]]()
    for one in log.of(events.MESSAGE_BATCH_PROCESSED):
        sums[one.metadata["client_id"], one.metadata["direction"]] += one.measurements["count"]
    assert sums == dict.fromkeys([(who, way) for who in "ab" for way in ("sent", "received")], 20)


def test_it_ends_in_time_and_is_emitted(server: WebSocketServer, bus: ws.Bus, log: EventLog) -> None:
    """Some tenths of a second of real time; a client that starts meanwhile is covered from its first message on."""
    with Echoing(server, bus, "a") as first:
        handle = detailed(0.4, None, bus)
        with Echoing(server, bus, "b") as second:
            while handle.running:
                first.exchange(1)
                second.exchange(1)
            assert until(lambda: events.DETAIL_ENDED in log.names())
            for who in (first, second):
                who.exchange(1)
            reported = len(_of(log, "a")), len(_of(log, "b"))
            assert min(reported) >= len(ECHOED)
            for who in (first, second):
                who.exchange()
            assert (len(_of(log, "a")), len(_of(log, "b"))) == reported
    (ended,) = log.of(events.DETAIL_ENDED)
    assert 0.4e9 <= ended.measurements["duration"] < 10e9
    assert ended.measurements["seconds"] == 0.4


def test_what_is_sent_as_it_is_is_emitted_as_well(server: WebSocketServer, bus: ws.Bus, log: EventLog) -> None:
    """Text and bytes of a client that never encodes."""
    with Echoing(server, bus, "a") as echoing:
        for expected in (0, 2, 2):
            handle = detailed(DEADLINE, "a", bus) if expected and not log.count(events.MESSAGE_SENT) else None
            echoing.client.send_text("{}")
            echoing.client.send_binary(b"{}")
            if handle is not None:
                handle.cancel()
            assert log.count(events.MESSAGE_SENT) == expected
    assert [one.metadata["type"] for one in log.of(events.MESSAGE_SENT)] == ["text", "binary"]


def test_heartbeats_of_an_existing_link_are_emitted_too(bus: ws.Bus, log: EventLog) -> None:
    """The pings themselves go on all the time, at the interval of the profile."""
    beats = [events.HEARTBEAT_SENT, events.HEARTBEAT_RECEIVED]
    pinged = list[bytes]()

    def echo_and_count(connection: Connection) -> None:
        connection.accept_upgrade()
        while (frame := connection.read_frame())[0] in (TEXT, PING):
            opcode, payload = frame
            if opcode == PING:
                pinged.append(payload)
            connection.send(server_frame(PONG if opcode == PING else TEXT, payload))

    def pings(number: int) -> None:
        due = len(pinged) + number
        assert until(lambda: len(pinged) >= due)

    with (
        TcpServer(echo_and_count) as server,
        Echoing(server, bus, "a", ping_interval=0.03, pong_timeout=20) as echoing,
    ):
        pings(3)
        assert _of(log, "a", beats) == []
        with detailed(DEADLINE, None, bus):
            assert until(lambda: set(_of(log, "a", beats)) == set(beats))
        echoing.exchange(1)  # the owner has emitted what it was about to
        reported = len(_of(log, "a", beats))
        pings(3)
        assert len(_of(log, "a", beats)) == reported
    assert not log.count(events.CONNECTION_RECONNECT_ATTEMPT)


class _Switching(ws.JsonProtocol):
    """Turns detail on or off at every seventh step of one kind, during a message."""

    def __init__(self, step: str, bus: ws.Bus | None = None) -> None:
        super().__init__()
        self.bus = bus
        self._step = step
        self._steps = 0
        self.handle: Detail | None = None
        self.switched = 0

    def at(self, step: str) -> None:
        if step != self._step or self.bus is None:
            return
        self._steps += 1
        if self._steps % 7 == 0:
            self.switched += 1
            if self.handle is None:
                self.handle = detailed(LONGEST, None, self.bus)
            else:
                self.handle.cancel()
                self.handle = None

    def encode(self, message: Any) -> str | bytes:
        self.at("encode")
        return super().encode(message)

    def decode(self, data: str | bytes) -> Any:
        self.at("decode")
        message, before = super().decode(data), self.switched
        self.at("broken")
        if self.switched != before:
            raise ValueError("broken")
        return {**message, "type": f"t{message['n'] // 3 % 50}"}  # a new type every third message

    def text_decoder(self) -> Callable[[bytes], Any]:
        return lambda payload: self.decode(payload.decode())

    def message_type(self, message: Any) -> str:
        self.at("type")
        return super().message_type(message)


def _pairs(log: EventLog, first: str, last: str) -> list[str]:
    """The events of a pair in order; returns what is not paired."""
    reported = [one.event for one in log if one.event in (first, last)]
    assert reported[::2] == [first] * (len(reported) // 2)
    assert reported[1::2] == [last] * (len(reported) // 2)
    return reported


@pytest.mark.parametrize("mode", ["callback", "iteration", "raising"])
@pytest.mark.parametrize("step", ["decode", "broken", "handler", "type"])
def test_no_pair_is_torn_by_a_switch_during_a_message(step: str, mode: str) -> None:
    """On and off all the time, from within the user's code; each message is delivered once, the sums are
    exact. `broken` ones cannot be decoded; the `type` is determined in detail only, and ends it."""
    protocol, got = _Switching(step), list[int]()

    def handle(message: Any) -> None:
        got.append(message["n"])
        protocol.at("handler")
        if mode == "raising":
            raise ValueError("mine")

    on_message = None if mode == "iteration" else handle
    observed = (*SINGLE, events.MESSAGE_BATCH_PROCESSED)
    with _sent(MANY, observed=observed, protocol=protocol, on_message=on_message) as (client, log, bus):
        protocol.bus = bus
        if step == "type":
            protocol.handle = detailed(LONGEST, None, bus)
        client.start()
        for message in client if on_message is None else ():
            handle(message)
        assert client.wait(20)
        if protocol.handle is not None:
            protocol.handle.cancel()
    broken = N - len(got)
    assert (got == [*range(N)]) is (step != "broken")
    assert got == sorted(set(got))
    assert _sum(log, "count") == N
    assert _sum(log, "errors") == (N if mode == "raising" else broken)
    assert protocol.switched >= (1 if step == "type" else 10)
    for pair in ("decode", "process"):
        assert _pairs(log, f"{events.PREFIX}message.{pair}.started", f"{events.PREFIX}message.{pair}.completed")
    assert 0 < log.count(events.MESSAGE_DECODE_STARTED) < N


def test_no_pair_is_torn_by_a_switch_during_a_send(server: WebSocketServer, bus: ws.Bus) -> None:
    """An encoder that turns detail on and off; what is emitted as sent has a type."""
    protocol = _Switching("encode", bus)
    with capture_events(*SINGLE, events.MESSAGE_BATCH_PROCESSED, bus=bus) as log:
        with ws.Client(
            server.url, client_id="a", protocol=protocol, on_message=lambda message: None, bus=bus
        ) as client:
            for number in range(50):
                client.send({"n": number, "type": "t"})
        if protocol.handle is not None:
            protocol.handle.cancel()
    assert len(_pairs(log, events.MESSAGE_ENCODE_STARTED, events.MESSAGE_ENCODE_COMPLETED)) == 2 * 22
    assert {one.metadata["type"] for one in log.of(events.MESSAGE_SENT)} == {"t"}
    sent = [one for one in log.of(events.MESSAGE_BATCH_PROCESSED) if one.metadata["direction"] == "sent"]
    assert sum(one.measurements["count"] for one in sent) == 50


def test_a_forked_child_goes_back_to_its_profile_and_the_parent_stays_in_detail(
    server: WebSocketServer, bus: ws.Bus, log: EventLog
) -> None:
    """The child's client, started again, emits no single messages; cancelling there ends nothing in the parent."""
    with Echoing(server, bus, "a") as echoing, detailed(DEADLINE, None, bus) as handle:
        echoing.exchange(1)
        child = Child(os.fork)
        if child.pid == 0:
            log.clear()
            handle.cancel()
            echoing.client.start(10)
            echoing.exchange(3)
            echoing.client.close()
            child.tell("reported", len(_of(log, "a")), log.count(events.CLIENT_CLOSED), handle.running)
            child.end()
        assert child.said(20) == [["reported", 0, 1, False]]
        assert handle.running
        before = len(_of(log, "a"))
        echoing.exchange(1)
        assert until(lambda: len(_of(log, "a")) >= before + len(ECHOED))


@pytest.mark.parametrize("profile", [ws.FINANCIAL, ws.STANDARD, ws.LIGHTWEIGHT], ids=lambda profile: str(profile.name))
def test_a_page_counts_each_message_once_by_its_type_or_as_one_of_all(
    server: WebSocketServer, bus: ws.Bus, profile: ws.Profile
) -> None:
    """In every profile, and through detail on demand: by type while it lasts, also what was under way."""
    reporter = ws.PrometheusReporter(bus=bus).start(port=None)

    def counted() -> dict[str, dict[str, float]]:
        found: dict[str, dict[str, float]] = {"received": {}, "sent": {}}
        for line in reporter.render().splitlines():
            for way in found:
                if line.startswith(f"websockex_nova_message_{way}_count{{"):
                    found[way][line.split('type="')[1].split('"')[0]] = float(line.rsplit(" ", 1)[1])
        return found

    with Echoing(server, bus, "a", **{key: getattr(profile, key) for key in ("level", "message_events")}) as echoing:
        before = {"all": 0.0} if not profile.message_events else {}
        assert counted() == {"received": before, "sent": before}
        echoing.exchange(5)
        kind = "t" if profile.message_events else "all"
        assert until(lambda: counted() == {"received": {kind: 5}, "sent": {kind: 5}}), counted()
        with detailed(DEADLINE, "a", bus):
            echoing.exchange(7)
        echoing.exchange(3)
        after = {"t": 15.0} if profile.message_events else {"all": 8.0, "t": 7.0}
        assert until(lambda: counted() == {"received": after, "sent": after}), counted()
        for _ in range(20):  # switched during messages
            with detailed(DEADLINE, None, bus):
                echoing.exchange(1)
            for _ in range(5):
                echoing.client.send({"type": "t"})
                echoing.sent += 1
            with detailed(DEADLINE, "a", bus):
                echoing.client.send({"type": "t"})
                echoing.sent += 1
        assert until(lambda: echoing.got == echoing.sent)
    for way, by_type in counted().items():
        assert sum(by_type.values()) == echoing.sent, (way, by_type)
        assert ("all" in by_type) is not profile.message_events
    reporter.stop()
