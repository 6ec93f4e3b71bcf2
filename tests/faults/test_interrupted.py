"""Signals: at any line of the client's life the handler of one may close, start, reconnect or raise."""

import gc
import itertools
import json
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import wsnova_statsd as ws
from tests.faults.interrupting import out_of_reach
from tests.faults.support import QUICK
from tests.support import logged, until
from wsnova_statsd import client as client_package
from wsnova_statsd import clock, telemetry
from wsnova_statsd.client import emitter
from wsnova_statsd.link.link import Link
from wsnova_statsd.testing.capture import EventLog, capture_events
from wsnova_statsd.testing.server import ScriptedConnection, WebSocketServer, echo
from wsnova_statsd.testing.tcp import TEXT, server_frame

events = ws.events
HERE = Path(client_package.__file__).parent
OURS = {str(path) for path in HERE.glob("*.py")} | {clock.__file__, telemetry.__file__}
STEP = 7  # every how many lines; trying each one takes minutes
EMITTING = {telemetry.__file__, emitter.__file__}

_KEPT: list[ws.Client] = []


class _Mine(BaseException):
    """Raised by a signal's handler."""


def _is_emitting(frame: FrameType | None) -> bool:
    """Whether it is within an emission: an exception there keeps the event from some of its handlers, so
    that its pair cannot be whole for all of them."""
    while frame is not None and frame.f_code.co_filename not in EMITTING and frame.f_code is not Link.announce.__code__:
        frame = frame.f_back
    return frame is not None


class _AtLine:
    """Does something at the n-th line of our files that the main thread runs, as a signal's handler would."""

    def __init__(self, number: int, work: Callable[[], object], *, raises: bool = False) -> None:
        self.left = number
        self.done = False
        self.emitting = False
        self._work = work
        self._raises = raises

    def __call__(self, frame: FrameType, event: str, _argument: object) -> Any:
        if frame.f_code.co_filename not in OURS:
            return None
        if event == "line" and not self.done:
            self.left -= 1
            if self.left < 0 and not (self._raises and out_of_reach(frame)):
                self.done = True
                self.emitting = _is_emitting(frame)
                sys.settrace(None)
                self._work()
        return self

    def run(self, work: Callable[[], object]) -> None:
        before = sys.gettrace()
        sys.settrace(self)
        try:
            work()
        finally:
            sys.settrace(before)


def _raise_mine() -> None:
    raise _Mine


def _every(step: int) -> Iterator[int]:
    return iter(range(0, 100_000, step))


@pytest.fixture
def server() -> Iterator[WebSocketServer]:
    with WebSocketServer(echo) as made:
        yield made
    _KEPT.clear()
    gc.collect()


def _in_time(work: Callable[[], object], seconds: float) -> None:
    began = time.monotonic()
    work()
    assert time.monotonic() - began < seconds


def _client(server: WebSocketServer, on_message: Callable[[Any], object] | None, bus: ws.Bus) -> ws.Client:
    made = ws.Client(server.url, profile=QUICK, on_message=on_message, bus=bus)
    _KEPT.append(made)  # none is collected while lines are counted
    return made


def _ended(client: ws.Client, log: EventLog, *, exactly: bool = True) -> None:
    """It is closed, in time, and the end of each link that was completed was emitted once."""
    _in_time(lambda: client.close(1.0), 1.5)
    assert client.wait(1.0)
    assert client.state in (ws.State.CLOSED, ws.State.IDLE)  # idle if it was interrupted before it began
    completed = log.count(events.CONNECTION_COMPLETED)
    assert not exactly or until(lambda: log.count(events.CONNECTION_DISCONNECTED) == completed)


@pytest.mark.parametrize("on_message", [None, lambda message: None], ids=["iterated", "callback"])
@pytest.mark.parametrize("what", ["close", "start", "raise"])
def test_close_may_be_interrupted_at_every_line(
    server: WebSocketServer, on_message: Callable[[Any], object] | None, what: str
) -> None:
    """By another close, a start, or an exception: none hangs, and the next close does the rest."""
    for number in _every(STEP):
        bus = ws.Bus()
        with capture_events("websockex_nova.connection", bus=bus) as log:
            client = _client(server, on_message, bus).start(5.0)

            def handler(client: ws.Client = client) -> None:
                if what == "raise":
                    raise _Mine
                _in_time(lambda: client.close(1.0) if what == "close" else client.start(5.0), 2.0)

            at = _AtLine(number, handler, raises=what == "raise")
            try:
                at.run(lambda client=client: _in_time(lambda: client.close(1.0), 3.0))  # type: ignore[misc]
            except _Mine:
                pass
            except ws.errors.ConnectionFailed:
                assert what == "start"  # which finds itself closed
            _ended(client, log, exactly=what != "raise" or not at.emitting)
        if not at.done:
            break
    assert number > 30


@pytest.mark.parametrize("on_message", [None, lambda message: None], ids=["iterated", "callback"])
@pytest.mark.parametrize("what", ["close", "reconnect", "raise"])
def test_start_may_be_interrupted_at_every_line(
    server: WebSocketServer, on_message: Callable[[Any], object] | None, what: str
) -> None:
    """By a close, a reconnect or an exception: start() returns or raises, and the client can be closed, or started."""
    for number in _every(STEP):
        bus = ws.Bus()
        with capture_events("websockex_nova.connection", bus=bus) as log:
            client = _client(server, on_message, bus)

            def handler(client: ws.Client = client) -> None:
                if what == "raise":
                    raise _Mine
                try:
                    _in_time(lambda: client.close(1.0) if what == "close" else client.reconnect(), 1.5)
                except ws.errors.NotConnected:
                    pass  # not started yet

            at = _AtLine(number, handler, raises=what == "raise")
            try:
                at.run(lambda client=client: client.start(5.0))  # type: ignore[misc]
            except (_Mine, ws.errors.ConnectionFailed):
                pass
            _ended(client, log, exactly=not at.emitting)
            client.start(5.0)
            assert client.state is ws.State.CONNECTED
            _ended(client, log, exactly=not at.emitting)
        if not at.done:
            break
    assert number > 30


@pytest.mark.parametrize("what", ["close", "send", "raise"])
def test_a_loop_may_be_interrupted_at_every_line(server: WebSocketServer, what: str) -> None:
    """Its reading, sending and requests, by a close, which ends it without an error, by a send of the handler's, which
    is refused at once or is sent whole, and by an exception: the client goes on, or can be closed."""
    for number in _every(STEP):
        bus = ws.Bus()
        with capture_events("websockex_nova.connection", bus=bus) as log:
            client = _client(server, None, bus).start(5.0)
            messages = iter(client)  # a loop that begins after the close would start the client again

            def loop(client: ws.Client = client, messages: Iterator[Any] = messages) -> None:
                client.send({"n": 1})
                for _ in messages:
                    client.expect("mine", lambda message: True if message == "mine" else None, 5.0)
                    return

            def handler(client: ws.Client = client) -> None:
                if what == "raise":
                    raise _Mine
                try:
                    _in_time(lambda: client.close(1.0) if what == "close" else client.send("of the handler"), 1.5)
                except ws.errors.NotConnected:
                    assert what == "send"

            at = _AtLine(number, handler, raises=what == "raise")
            try:
                at.run(loop)
            except _Mine:
                pass
            except (ws.errors.NotConnected, ws.errors.RequestInterrupted):
                assert what == "close"
            if what == "send":
                assert client.state is ws.State.CONNECTED
            del messages, loop
            _ended(client, log, exactly=not at.emitting)
        if not at.done:
            break
    assert number > 20


def test_what_comes_with_an_answer_is_delivered_whichever_line_is_interrupted() -> None:
    """Each note that the server sends beside an answer comes once, unless the link ended because of half a frame."""
    asked: list[Any] = []

    def answer(connection: ScriptedConnection) -> None:
        for message in connection:
            key = json.loads(message)["id"]
            asked.append(key)
            note = server_frame(TEXT, json.dumps({"note": key}).encode())
            connection.socket.sendall(note + server_frame(TEXT, json.dumps({"id": key, "result": 1}).encode()) + note)

    kept = 0
    with WebSocketServer(answer) as server, logged(server.url, profile=QUICK) as (client, log):
        client.start(5.0)
        for number in _every(STEP):
            asked.clear()
            links = log.count(events.CONNECTION_COMPLETED)
            at = _AtLine(number, _raise_mine, raises=True)
            with suppress(_Mine):
                at.run(lambda number=number: client.request({"id": number}, 5.0))  # type: ignore[misc]
            got: list[dict[str, Any]] = []
            try:
                client.send({"id": "last"})
            except ws.errors.NotConnected:  # the link ended
                with suppress(TimeoutError):
                    got.append(client.receive(0.1))  # which dials
                client.send({"id": "last"}, wait=5.0)
            while got.count({"note": "last"}) < 2:
                got.append(client.receive(5.0))
            notes = [message["note"] for message in got if "note" in message]
            if log.count(events.CONNECTION_COMPLETED) == links:
                kept += 1
                assert notes == [key for key in asked for _ in range(2)], number
            if not at.done:
                break
    assert kept > 30


def test_real_signals_during_start_and_close_hang_nothing(server: WebSocketServer) -> None:
    """A storm of them, each of which closes the client that is being started or closed, anywhere in our lines
    or in what they wait for."""
    current = list[ws.Client]()
    handled = 0

    def handler(_number: int, frame: FrameType | None) -> None:
        nonlocal handled
        if current and frame is not None:
            handled += 1
            _in_time(lambda: current[-1].close(0.5), 1.0)

    before = signal.signal(signal.SIGALRM, handler)
    try:
        end = time.monotonic() + 15.0
        while handled < 50 and time.monotonic() < end:
            current.append(_client(server, None, ws.Bus()))
            signal.setitimer(signal.ITIMER_REAL, 0.0005 + (len(current) % 17) * 0.0004)
            try:
                current[-1].start(5.0)
            except ws.errors.ConnectionFailed:
                pass
            _in_time(lambda: current[-1].close(1.0), 2.0)
            assert current[-1].state is ws.State.CLOSED
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert handled > 20


def _next_signal() -> None:
    signal.setitimer(signal.ITIMER_REAL, 0.0005)


@contextmanager
def _storm(handler: Callable[[], object]) -> Iterator[list[int]]:
    """Signals, each half a millisecond after the last was handled or the test asked for one, handled wherever they hit
    our lines; returns how many were. One that comes while the last one's exception propagates would be two faults."""
    handled: list[int] = []
    rest = itertools.count()

    def arrived(_number: int, frame: FrameType | None) -> None:
        if frame is not None and frame.f_code.co_filename in OURS:
            handled.append(next(rest))
            handler()
        _next_signal()

    before = signal.signal(signal.SIGALRM, arrived)
    _next_signal()
    try:
        yield handled
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _counted(log: EventLog, direction: str) -> int:
    sums = [one for one in log.of(events.MESSAGE_BATCH_PROCESSED) if one.metadata["direction"] == direction]
    return sum(one.measurements["count"] - one.measurements["errors"] for one in sums)


@pytest.mark.parametrize("what", ["increment", "send", "raise"])
def test_what_is_sent_in_a_storm_of_signals_is_counted_exactly(what: str) -> None:
    """Whether the handler counts, sends too, or raises: what arrives at the server is what was counted as sent."""
    arrived: list[str | bytes] = []
    entered = 0

    def take(connection: ScriptedConnection) -> None:
        for message in connection:
            arrived.append(message)

    def handler() -> None:
        nonlocal entered
        entered += 1
        if what == "raise":
            raise _Mine
        if what == "send":
            with suppress(ws.errors.NotConnected):  # within another frame
                client.send({"of": "the handler"})

    with WebSocketServer(take) as server, logged(server.url, profile=QUICK) as (client, log):
        client.start(5.0)
        end = time.monotonic() + 20.0
        with _storm(handler) as handled:
            while len(handled) < 300 and time.monotonic() < end:
                try:
                    client.send({"n": len(handled)})
                except _Mine:
                    _next_signal()
        client.send("last")
        assert until(lambda: arrived[-1:] == ['"last"'])
        assert client.state is ws.State.CONNECTED
        client.close(2.0)
        assert entered == len(handled) >= 100
        assert log.count(events.CONNECTION_COMPLETED) == 1
        assert until(lambda: _counted(log, "sent") == len(arrived)), (_counted(log, "sent"), len(arrived))


@pytest.mark.parametrize("what", ["increment", "send"])
def test_what_is_received_in_a_storm_of_signals_is_counted_exactly(what: str) -> None:
    """Whether the handler counts or sends: each message comes once, in order, and is counted."""
    number, entered = 30_000, 0

    def flood(connection: ScriptedConnection) -> None:
        for start in range(0, number, 100):
            for n in range(start, start + 100):
                connection.send(str(n))
        connection.send('"end"')
        for _ in connection:
            pass

    def handler() -> None:
        nonlocal entered
        entered += 1
        if what == "send":
            with suppress(ws.errors.NotConnected):
                client.send({"of": "the handler"})

    with WebSocketServer(flood) as server, logged(server.url, profile=QUICK) as (client, log):
        got: list[Any] = []
        with _storm(handler) as handled:
            for message in client:
                if message == "end":
                    break
                got.append(message)
        client.close(2.0)
        assert got == list(range(number))
        assert entered == len(handled) >= 20
        assert until(lambda: _counted(log, "received") == number + 1)
