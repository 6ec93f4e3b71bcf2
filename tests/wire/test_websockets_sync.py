"""Connections of the websockets library, instrumented: what they live through, told as a client's own life is."""

import json
import subprocess
import sys
import threading
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
from websockets.exceptions import ConcurrencyError, ConnectionClosed, ConnectionClosedError, InvalidStatus
from websockets.sync import client as theirs
from websockets.sync.client import ClientConnection

import wsnova_statsd as ws
from tests.support import Contexts, until
from wsnova_statsd.contrib import websockets_sync
from wsnova_statsd.errors import ClientIdInUse, ConfigurationError
from wsnova_statsd.testing.capture import EventLog, capture_events
from wsnova_statsd.testing.server import ScriptedConnection, WebSocketServer, closes, echo, send_messages, silent
from wsnova_statsd.testing.tcp import LoopbackPort, TcpServer, refuses

events = ws.events
STARTED, COMPLETED, ENDED = (
    events.CONNECTION_STARTED,
    events.CONNECTION_COMPLETED,
    events.CONNECTION_DISCONNECTED,
)
SECOND = 1.0


@pytest.fixture
def log(bus: ws.Bus) -> Iterator[EventLog]:
    """All events of the bus."""
    with capture_events(bus=bus) as log:
        yield log


def connect(server: Any, bus: ws.Bus, **more: Any) -> Any:
    """An instrumented connection that is a context manager, as websockets wants it."""
    return websockets_sync.connect(server.url, **{"client_id": "md-1", "profile": "financial", "bus": bus, **more})


def received(log: EventLog) -> list[tuple[str, int]]:
    return [(one.metadata["type"], one.measurements["size"]) for one in log.of(events.MESSAGE_RECEIVED)]


def sent(log: EventLog) -> list[tuple[str, int]]:
    return [(one.metadata["type"], one.measurements["size"]) for one in log.of(events.MESSAGE_SENT)]


def ends(log: EventLog) -> list[tuple[str, str]]:
    return [(one.metadata["reason"], one.metadata["detail"]) for one in log.of(ENDED)]


# -- a connection's life ----------------------------------------------------------------------------------------------


def test_a_connection_is_told_as_a_clients_own_is(bus: ws.Bus, log: EventLog, tls: Contexts) -> None:
    """Dialled, upgraded, closed on purpose before close() returns; the client's id and address are on each event."""
    with WebSocketServer(echo, ssl=tls[0]) as server:
        with connect(server, bus, ssl=tls[1]) as connection:
            assert isinstance(connection, ClientConnection)
            connection.send("hello")
            assert connection.recv() == "hello"
        names = [name for name in log.names() if ".connection." in name]
        assert names == [STARTED, COMPLETED, ENDED]
        assert {one.metadata["client_id"] for one in log} == {"md-1"}
        assert {one.metadata["uri"].rstrip("/") for one in (*log.of(STARTED), *log.of(COMPLETED))} == {server.url}
        assert log.of(COMPLETED)[0].measurements["duration"] > 0
        assert ends(log) == [("local", "")]
        assert log.of(ENDED)[0].measurements["duration"] > 0
        assert log.count(events.ERROR_OCCURRED) == 0


@pytest.mark.parametrize("how", ["recv", "iterated"])
def test_messages_count_once_and_only_iteration_times_them(how: str, bus: ws.Bus, log: EventLog) -> None:
    """Sizes are those of the payloads in bytes, types those of the frames; a loop's body is the processing."""
    with WebSocketServer(send_messages(["hé", b"\x00\x01\x02", ""], then="close")) as server:
        with connect(server, bus) as connection:
            if how == "recv":
                got = [connection.recv() for _ in range(3)]
            else:
                got = []
                for message in connection:
                    got.append(message)
                    time.sleep(0.01)
        assert got == ["hé", b"\x00\x01\x02", ""]
        assert received(log) == [("text", 3), ("binary", 3), ("text", 0)]
        processed = log.of(events.MESSAGE_PROCESS_COMPLETED)
        assert len(processed) == log.count(events.MESSAGE_PROCESS_STARTED) == (0 if how == "recv" else 3)
        assert all(one.measurements["duration"] > 9_000_000 for one in processed)
        assert {one.metadata["result"] for one in processed} <= {"ok"}
        assert until(lambda: totals(log, "received")["count"] == 3)  # they leave once a second
        sums = totals(log, "received")
        assert (sums["total_size"], sums["errors"], sums["processed"]) == (6, 0, len(processed))
        assert not {events.MESSAGE_DECODE_STARTED, events.MESSAGE_DECODE_COMPLETED} & set(log.names())


def totals(log: EventLog, direction: str) -> Counter[str]:
    """The sums of one direction, all windows added up."""
    found = Counter[str]()
    for one in log.of(events.MESSAGE_BATCH_PROCESSED):
        if one.metadata["direction"] == direction:
            found.update({key: one.measurements[key] for key in ("count", "total_size", "errors", "processed")})
    return found


def test_a_loop_that_is_left_ends_its_last_message(bus: ws.Bus, log: EventLog) -> None:
    """By break, and by an exception in its body."""
    with WebSocketServer(send_messages(["1", "2", "3"])) as server, connect(server, bus) as connection:
        for _ in connection:
            break
        assert log.count(events.MESSAGE_PROCESS_COMPLETED) == 1
        with pytest.raises(ValueError, match="mine"):
            _raise_in_loop(connection)
        assert until(lambda: log.count(events.MESSAGE_PROCESS_COMPLETED) == 2)
        assert connection.recv() == "3"


def _raise_in_loop(connection: ClientConnection) -> None:
    for _ in connection:
        raise ValueError("mine")


def test_a_slow_body_is_told(bus: ws.Bus, log: EventLog) -> None:
    """By the profile's slow_after, as everywhere."""
    profile = ws.FINANCIAL.replace(slow_after=0.05)
    with (
        WebSocketServer(send_messages(["1"], then="close")) as server,
        connect(server, bus, profile=profile) as connection,
    ):
        for _ in connection:
            time.sleep(0.06)
    assert log.count(events.MESSAGE_PROCESS_SLOW) == 1


def test_a_timeout_is_no_message_and_no_end(bus: ws.Bus, log: EventLog) -> None:
    """Nor are two threads that receive at once."""
    with WebSocketServer(silent) as server, connect(server, bus) as connection:
        with pytest.raises(TimeoutError):
            connection.recv(timeout=0.01)
        with pytest.raises(TimeoutError):
            connection.recv(0)
        other = threading.Thread(target=_recv, args=(connection,))
        other.start()
        assert until(lambda: _is_taken(connection))
        assert received(log) == []
        assert log.count(ENDED) == 0
        assert log.count(events.ERROR_OCCURRED) == 0
        connection.close()
        other.join(5.0)
    assert len(ends(log)) == 1


def _recv(connection: ClientConnection) -> None:
    with suppress(ConnectionClosed):
        connection.recv()


def _is_taken(connection: ClientConnection) -> bool:
    try:
        connection.recv(0)
    except ConcurrencyError:
        return True
    except TimeoutError:
        return False
    return False


def test_fragments_are_one_message_at_the_last_of_them(bus: ws.Bus, log: EventLog) -> None:
    """Read one by one, or as a whole."""

    def fragmented(connection: ScriptedConnection) -> None:
        for _ in range(2):
            connection.send(iter(["ab", "cdé", "f"]))
        connection.send(iter([b"12", b"345"]))
        silent(connection)

    with WebSocketServer(fragmented) as server, connect(server, bus) as connection:
        pieces = connection.recv_streaming()
        assert "".join(next(pieces) for _ in range(2)) == "abcdé"
        assert received(log) == []
        assert "".join(pieces) == "f"
        assert received(log) == [("text", 7)]
        assert connection.recv() == "abcdéf"
        assert b"".join(connection.recv_streaming()) == b"12345"
        assert received(log) == [("text", 7), ("text", 7), ("binary", 5)]


def test_what_is_sent_counts_when_it_is_written(bus: ws.Bus, log: EventLog) -> None:
    """Text, bytes, `text=`, fragments; a mistake counts nothing and is raised as it was."""
    with WebSocketServer(silent) as server:
        with connect(server, bus) as connection:
            connection.send("hé")
            connection.send(b"123")
            connection.send(b"1234", text=True)
            connection.send("12345", text=False)
            connection.send(bytearray(b"123456"))
            connection.send(iter(["ab", "cé"]))
            connection.send(iter([b"ab", b"c"]))
            connection.send(iter([]))
            with pytest.raises(TypeError, match="dict-like"):
                connection.send({"a": 1})
            with pytest.raises(TypeError):
                connection.send(7)
            assert sent(log) == [
                *(("text", 3), ("binary", 3), ("text", 4), ("binary", 5), ("binary", 6), ("text", 5), ("binary", 3))
            ]
        assert server.wait_for(lambda: len(server.received) == 7)
        assert (totals(log, "sent")["count"], totals(log, "sent")["total_size"]) == (7, 29)
        with pytest.raises(ConnectionClosed):
            connection.send("late")
    assert len(sent(log)) == 7


# -- how it ends ------------------------------------------------------------------------------------------------------

ENDS: dict[str, tuple[Callable[[ScriptedConnection], object], str, str]] = {
    "close 1013": (closes(1013, "try again later"), "close_1013", "try again later"),
    "close 1000": (closes(1000, "bye"), "close_1000", "bye"),
    "cut": (lambda connection: connection.drop(), "close_1006", ""),
    "bad text": (lambda connection: _send_bad_text(connection), "protocol_error", ""),
}


def _send_bad_text(connection: ScriptedConnection) -> None:
    connection.send(b"\xff\xfe", text=True)
    silent(connection)


# A text that is none breaks the connection when it is read.
MET = [(end, by) for end in ENDS for by in ("recv", "iteration", "streaming", "send", "nobody")]
MET = [(end, by) for end, by in MET if end != "bad text" or by not in ("send", "nobody")]


@pytest.mark.parametrize(("end", "by"), MET)
def test_an_end_is_told_once_with_its_reason_whoever_meets_it(end: str, by: str, bus: ws.Bus, log: EventLog) -> None:
    """Within a second also where no call follows; close() on a connection that has ended adds nothing."""
    script, reason, detail = ENDS[end]
    with WebSocketServer(script) as server:
        connection = connect(server, bus, legacy=True)
        _meet_the_end(connection, by)
        if by in ("nobody", "send"):
            assert log.wait_for(ENDED, 1, SECOND + 0.5)
        assert [one for one, _ in ends(log)] == [reason]
        if detail:
            assert ends(log)[0][1] == detail
        connection.close()
        assert len(ends(log)) == 1
        assert log.of(ENDED)[0].measurements["duration"] > 0


def _meet_the_end(connection: Any, by: str) -> None:
    with suppress(ConnectionClosed):
        if by == "recv":
            connection.recv()
        elif by == "iteration":
            for _ in connection:
                pass
        elif by == "streaming":
            for _ in connection.recv_streaming():
                pass
        elif by == "send":
            until(lambda: connection.state.name == "CLOSED")
            connection.send("too late")


def test_a_close_of_ours_is_local_and_has_ended_when_it_returns(bus: ws.Bus, log: EventLog) -> None:
    """Also one that the server does not answer."""
    with WebSocketServer(silent) as server:
        connection = connect(server, bus, legacy=True)
        connection.close(4000, "enough")
        assert [one for one, _ in ends(log)] == ["local"]

    with TcpServer(_never_closes) as tcp:
        connection = connect(tcp, bus, client_id="md-2", legacy=True, close_timeout=0.1)
        connection.close()
        assert [one for one, _ in ends(log)] == ["local", "local"]


def _never_closes(connection: Any) -> None:
    connection.accept_upgrade()
    connection.wait_closed()


def test_a_lost_link_is_an_error_and_a_close_on_purpose_is_none(bus: ws.Bus, log: EventLog) -> None:
    """One error event of type connection for the loss; what follows changes nothing."""
    with WebSocketServer(closes(1013)) as server:
        connection = connect(server, bus, legacy=True)
        for _ in range(3):
            with pytest.raises(ConnectionClosedError):
                connection.recv()
        assert [one.metadata["error_type"] for one in log.of(events.ERROR_OCCURRED)] == ["connection"]


# -- heartbeats -------------------------------------------------------------------------------------------------------


def test_a_ping_and_its_pong_are_a_heartbeat(bus: ws.Bus, log: EventLog) -> None:
    """The user's ping, its Event, and `latency` for the round trip."""
    with WebSocketServer(silent) as server, connect(server, bus, ping_interval=None) as connection:
        assert connection.ping("there?").wait(5.0)
        assert log.wait_for(events.HEARTBEAT_RECEIVED, 1, SECOND)
        assert log.count(events.HEARTBEAT_SENT) == 1
        assert log.of(events.HEARTBEAT_RECEIVED)[0].measurements["rtt"] == round(connection.latency * 1e9) > 0
        assert log.count(events.HEARTBEAT_MISSED) == 0


def test_the_librarys_own_keepalive_counts_and_ends_as_a_ping_timeout(bus: ws.Bus, log: EventLog) -> None:
    """A server that answers no ping: missed once, then the end with a reason of its own."""
    with TcpServer(_never_closes) as server:
        profile = ws.FINANCIAL.replace(pong_timeout=0.05, ping_interval=0.1)
        options = {"ping_interval": 0.1, "ping_timeout": 0.1, "close_timeout": 0.1, "legacy": True}
        connection = connect(server, bus, profile=profile, **options)
        assert log.wait_for(ENDED, 1, 5.0)
        assert [one for one, _ in ends(log)] == ["ping_timeout"]
        assert log.count(events.HEARTBEAT_SENT) == log.count(events.HEARTBEAT_MISSED) == 1
        assert log.count(events.HEARTBEAT_RECEIVED) == 0
        connection.close()


# -- dials ------------------------------------------------------------------------------------------------------------


def test_a_dial_that_fails_is_told_and_raised_as_it_was(bus: ws.Bus, log: EventLog) -> None:
    """Refused, and answered with another status: an error each, and no end of what never was."""
    nobody = LoopbackPort()
    with pytest.raises(ConnectionRefusedError):
        websockets_sync.connect(f"ws://127.0.0.1:{nobody.port}", client_id="md-1", profile="financial", bus=bus)
    with TcpServer(refuses(404)) as server, pytest.raises(InvalidStatus):
        connect(server, bus, client_id="md-2")
    assert log.count(STARTED) == 2
    assert log.count(COMPLETED) == log.count(ENDED) == 0
    assert len(log.of(events.ERROR_OCCURRED)) == 2


def test_connections_one_after_the_other_are_one_client(bus: ws.Bus, log: EventLog) -> None:
    """`while True: connect(); read to the end`: one id of the host, told to reconnect, with the time since the loss."""
    with WebSocketServer(closes(1013)) as server:
        for _ in range(100):
            with websockets_sync.connect(server.url, profile="financial", bus=bus) as connection:
                _recv(connection)
        assert len({one.metadata["client_id"] for one in log}) == 1
        assert [one.metadata["reconnect"] for one in log.of(STARTED)] == [False, *[True] * 99]
        assert log.count(events.CONNECTION_RECONNECT_ATTEMPT) == 99
        successes = log.of(events.CONNECTION_RECONNECT_SUCCESS)
        assert len(successes) == 99
        assert all(one.measurements["duration"] > 0 for one in successes)


@pytest.mark.skipif(not hasattr(theirs, "reconnect"), reason="this release of websockets has no reconnect")
def test_a_loop_over_reconnect_is_one_client_with_its_retries(bus: ws.Bus, log: EventLog) -> None:
    """Lost, refused, and connected again; the loop's end is the client's."""
    turns = 0
    profile = ws.FINANCIAL.replace(max_attempts=1000)
    options: dict[str, Any] = {"client_id": "md-1", "profile": profile, "bus": bus}
    with WebSocketServer(closes(1013)) as server:
        for connection in websockets_sync.reconnect(server.url, **options, reconnect_delays=lambda: iter([0.01] * 99)):
            turns += 1
            _recv(connection)
            if turns == 3:
                server.stop()
                threading.Timer(0.2, server.start).start()
            if turns == 5:
                break
        assert turns == 5
        assert log.count(COMPLETED) == log.count(ENDED) == 5
        assert log.count(events.CONNECTION_RECONNECT_FAILED) > 0
        assert log.count(events.CONNECTION_RECONNECT_SUCCESS) == 4
        attempts = log.count(events.CONNECTION_RECONNECT_ATTEMPT)
        assert attempts == log.count(events.CONNECTION_RECONNECT_FAILED) + 4
        assert {one.metadata["client_id"] for one in log} == {"md-1"}


# -- programs as they are ---------------------------------------------------------------------------------------------


class Counting(ClientConnection):
    """A program's own subclass."""

    def recv(self, *arguments: Any, **options: Any) -> Any:
        while (message := super().recv(*arguments, **options)) == "heartbeat":
            pass
        return json.loads(message)


@pytest.mark.parametrize("given", ["class", "factory"])
def test_a_subclass_keeps_its_overrides(given: str, bus: ws.Bus, log: EventLog) -> None:
    """Through `create_connection=`, a class or a function: what is counted is what came, not what it made of it."""
    make: Any = Counting if given == "class" else lambda *arguments, **options: Counting(*arguments, **options)
    with (
        WebSocketServer(send_messages(["heartbeat", '{"n": 1}', "heartbeat", "7"], then="close")) as server,
        connect(server, bus, create_connection=make) as connection,
    ):
        assert isinstance(connection, Counting)
        assert type(connection).__name__ == "Counting"
        assert connection.recv() == {"n": 1}
        assert [*connection] == [7]
    assert received(log) == [("text", 9), ("text", 8), ("text", 9), ("text", 1)]


def test_one_that_is_open_is_only_up_and_leaves_no_trace_when_it_is_given_back(bus: ws.Bus) -> None:
    """No dial of its own is told; afterwards it is what it was, and nothing more is counted."""
    with (
        WebSocketServer(echo) as server,
        capture_events(bus=bus) as log,
        capture_events(events.CLIENT_STATE, bus=bus) as states,
        theirs.connect(server.url) as connection,
    ):
        before = dict(vars(connection))
        assert websockets_sync.instrument(connection, client_id="md-1", profile="financial", bus=bus) is connection
        connection.send("1")
        assert connection.recv() == "1"
        assert (received(log), sent(log)) == ([("text", 1)], [("text", 1)])
        assert {STARTED, COMPLETED} & set(log.names()) == set()
        assert [one.measurements.get("up") for one in states] == [1]
        assert websockets_sync.uninstrument(connection) is connection
        assert type(connection) is ClientConnection
        assert {name for name in vars(connection) if name not in before} == set()
        connection.send("2")
        assert connection.recv() == "2"
        assert len(received(log)) == 1


def test_the_end_of_one_that_was_open_is_told(bus: ws.Bus, log: EventLog) -> None:
    """It has lasted since it was instrumented."""
    with WebSocketServer(silent) as server, theirs.connect(server.url) as connection:
        websockets_sync.instrument(connection, client_id="md-1", profile="financial", bus=bus)
        server.drop_all()
        assert log.wait_for(ENDED, 1, SECOND + 0.5)
        assert [one for one, _ in ends(log)] == ["close_1006"]


def test_what_cannot_be_instrumented_is_refused_in_a_sentence(bus: ws.Bus) -> None:
    """Another object, one that is instrumented, one that is closed; an id that another live connection has."""
    with pytest.raises(ConfigurationError, match="ClientConnection"):
        websockets_sync.instrument(object(), bus=bus)  # type: ignore[arg-type]
    with WebSocketServer(silent) as server, connect(server, bus) as connection:
        with pytest.raises(ConfigurationError, match="md-1"):
            websockets_sync.instrument(connection, bus=bus)
        with pytest.raises(ClientIdInUse):
            connect(server, bus)
        with theirs.connect(server.url) as bare:
            with pytest.raises(ConfigurationError, match="not instrumented"):
                websockets_sync.uninstrument(bare)
            bare.close()
            with pytest.raises(ConfigurationError, match="closed"):
                websockets_sync.instrument(bare, bus=bus)


def _iterate(connection: ClientConnection) -> None:
    for _ in connection:
        pass


CALLS: dict[str, Callable[[ClientConnection], object]] = {
    "recv": lambda connection: connection.recv(),
    "recv in time": lambda connection: connection.recv(timeout=0),
    "iteration": _iterate,
    "streaming": lambda connection: [*connection.recv_streaming()],
    "send": lambda connection: connection.send("late"),
    "send of fragments": lambda connection: connection.send(iter(["la", "te"])),
    "a mistake": lambda connection: connection.send({"a": 1}),
    "ping": lambda connection: connection.ping(),
}


@pytest.mark.parametrize("call", CALLS)
def test_what_is_raised_has_the_traceback_that_it_has_without_us(call: str, bus: ws.Bus) -> None:
    """Line for line; so what a program prints when it ends by it is the same."""
    script = silent if call in ("recv in time", "a mistake") else closes(1013, "try again later")
    with WebSocketServer(script) as server:
        traces = []
        for connecting in (theirs.connect, partial(websockets_sync.connect, bus=bus)):
            with connecting(server.url) as connection:
                if script is not silent:
                    assert until(lambda it=connection: it.state.name == "CLOSED")  # type: ignore[misc]
                traces.append(_trace_of(CALLS[call], connection))
    assert traces[0] == traces[1] != ""


def _trace_of(call: Callable[[Any], object], given: Any) -> str:
    try:
        call(given)
    except Exception:
        return traceback.format_exc()
    return ""


def test_a_dial_that_fails_has_the_traceback_that_it_has_without_us(bus: ws.Bus) -> None:
    """Under instrument_all: of connect, and of reconnect where there is one."""
    loop = getattr(theirs, "reconnect", None)
    calls: list[Callable[[str], object]] = (
        [theirs.connect] if loop is None else [theirs.connect, lambda url: [*loop(url)]]
    )
    with TcpServer(refuses(404)) as server:
        nobody = f"ws://127.0.0.1:{LoopbackPort().port}"
        for call, url in ((call, url) for call in calls for url in (server.url, nobody)):
            if url == nobody and call is not theirs.connect:
                continue  # it would try for ever
            bare = _trace_of(call, url)
            websockets_sync.instrument_all(bus=bus)
            try:
                assert _trace_of(call, url) == bare != ""
            finally:
                websockets_sync.uninstrument_all()


@pytest.mark.skipif(not hasattr(theirs, "reconnect"), reason="this release of websockets warns of nothing")
def test_the_librarys_warning_names_the_programs_line(bus: ws.Bus) -> None:
    """connect() without `with`: as without us, the warning points at the call that the program makes."""
    with WebSocketServer(echo) as server:
        connection = connect(server, bus)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            connection.send("1")
        assert [(one.category, one.filename) for one in caught] == [(DeprecationWarning, __file__)]
        connection.close()


def test_all_that_a_program_makes_is_instrumented_in_place(bus: ws.Bus, log: EventLog) -> None:
    """Whatever name it imported before, subclasses too; afterwards the library is what it was."""
    connecting, before = theirs.connect, {**vars(ClientConnection)}
    websockets_sync.instrument_all(profile="financial", bus=bus)
    try:
        with pytest.raises(ConfigurationError, match="already"):
            websockets_sync.instrument_all(bus=bus)
        with WebSocketServer(echo) as server:
            for make in (None, Counting):
                with connecting(server.url, create_connection=make) as connection:
                    connection.send("1")
                    connection.recv()
            assert log.count(STARTED) == log.count(COMPLETED) == log.count(ENDED) == 2
            assert (received(log), sent(log)) == ([("text", 1)] * 2, [("text", 1)] * 2)
            with connect(server, bus, client_id="mine") as connection:  # ours is not told twice
                connection.send("1")
            assert log.count(STARTED) == 3
    finally:
        websockets_sync.uninstrument_all()
    assert vars(ClientConnection) == before
    with WebSocketServer(echo) as server, theirs.connect(server.url) as connection:
        connection.send("1")
        assert connection.recv() == "1"
        assert log.count(STARTED) == 3


class Final(ClientConnection):
    """A program's class that lets no other be made of it."""

    def __init_subclass__(cls) -> None:
        raise TypeError("nothing is made of Final")


def test_a_class_that_cannot_be_extended_is_refused_or_left_alone(
    bus: ws.Bus, log: EventLog, caplog: pytest.LogCaptureFixture
) -> None:
    """Refused to a program that asks for it; one that does not know of us goes on, and a record says so."""
    with WebSocketServer(echo) as server:
        with pytest.raises(ConfigurationError, match="nothing is made of Final"):
            connect(server, bus, create_connection=Final)
        websockets_sync.instrument_all(bus=bus)
        try:
            with theirs.connect(server.url, create_connection=Final) as connection:
                connection.send("1")
                assert connection.recv() == "1"
        finally:
            websockets_sync.uninstrument_all()
    assert log.count(COMPLETED) == 0
    assert "a connection is not instrumented" in caplog.text


def test_without_the_library_the_extra_is_named() -> None:
    """At the import."""
    code = "import sys; sys.modules['websockets'] = None\nimport wsnova_statsd.contrib.websockets_sync"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert done.stderr.splitlines()[-1].endswith("pip install 'wsnova-statsd[websockets]'")


# -- types and what waits ---------------------------------------------------------------------------------------------


def _first_letters(payload: bytes) -> str:
    return payload[2:6].decode()


def _raises(payload: bytes) -> str:
    raise ValueError(payload)


@pytest.mark.parametrize(
    ("rule", "kinds"),
    [
        (None, ["text", "text", "binary"]),
        ("json", ["trade", "invalid", "binary"]),
        (_first_letters, ["type", "ain", "_"]),
        (_raises, ["unknown"] * 3),
    ],
)
def test_types_are_told_as_asked_for(rule: Any, kinds: list[str], bus: ws.Bus, log: EventLog) -> None:
    """By the frame, by JsonProtocol's rule, by a function of the payload's bytes; one that raises costs nothing."""
    with (
        WebSocketServer(send_messages(['{"type": "trade"}', "plain", b"xx~"])) as server,
        connect(server, bus, message_type=rule) as connection,
    ):
        got = [connection.recv() for _ in range(3)]
        connection.send(got[0])
    assert got == ['{"type": "trade"}', "plain", b"xx~"]
    assert [kind for kind, _ in received(log)] == kinds
    assert sent(log) == [(kinds[0], 17)]
    assert {one.metadata["error_type"] for one in log.of(events.ERROR_OCCURRED)} <= {"protocol"}


def test_what_waits_in_the_kernel_is_told(bus: ws.Bus, log: EventLog, tls: Contexts) -> None:
    """waiting_bytes of a reader that stands still, and how far it is behind; no number of messages."""
    big = "x" * 50_000
    with (
        WebSocketServer(send_messages([big] * 100), ssl=tls[0]) as server,
        connect(server, bus, ssl=tls[1], max_size=None, close_timeout=0.1) as connection,
    ):
        for number, _ in enumerate(connection):
            if number == 5:
                break
            time.sleep(0.25)
        windows = [one.measurements for one in log.of(events.MESSAGE_BATCH_PROCESSED)]
        assert any(one.get("waiting_bytes", 0) > 10_000 and one["behind"] > 0 for one in windows), windows
        assert all("waiting" not in one for one in windows)


@pytest.mark.parametrize("timeout", [None, 0.0002])
def test_a_reader_that_keeps_up_with_a_fast_feed_is_idle_in_between(
    timeout: float | None, bus: ws.Bus, log: EventLog
) -> None:
    """However short its waits: else an alert would say that it never is."""

    def fast(connection: ScriptedConnection) -> None:
        while not connection.owner.stopping.wait(0.0005):
            connection.send("x" * 100)

    with WebSocketServer(fast) as server, connect(server, bus) as connection:
        end = time.monotonic() + 2.2
        while time.monotonic() < end:
            with suppress(TimeoutError):
                connection.recv(timeout)
        windows = [one.measurements for one in log.of(events.MESSAGE_BATCH_PROCESSED) if "idle" in one.measurements]
        assert len(windows) >= 2
        assert all(one["count"] > 50 and one["idle"] > 0 for one in windows[1:]), windows
