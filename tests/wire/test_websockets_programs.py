"""Programs that use the websockets library, instrumented: they do, return and raise what they did before."""

import json
import subprocess
import sys
import traceback
import warnings
from collections.abc import Callable
from functools import partial
from inspect import signature
from typing import Any

import pytest
from websockets.sync import client as theirs
from websockets.sync.client import ClientConnection

import wsnova_statsd as ws
from tests.support import until
from tests.wire.websocketing import (
    COMPLETED,
    ENDED,
    SECOND,
    STARTED,
    connect,
    ends,
    received,
    sent,
)
from wsnova_statsd.contrib import websockets_sync
from wsnova_statsd.errors import ClientIdInUse, ConfigurationError
from wsnova_statsd.testing.capture import EventLog, capture_events
from wsnova_statsd.testing.server import WebSocketServer, closes, echo, send_messages, silent
from wsnova_statsd.testing.tcp import LoopbackPort, TcpServer, refuses

events = ws.events


class Counting(ClientConnection):
    """A program's own subclass."""

    def recv(self, *arguments: Any, **options: Any) -> Any:
        while (message := super().recv(*arguments, **options)) == "heartbeat":
            pass
        return json.loads(message)


@pytest.mark.parametrize("given", ["class", "factory"])
def test_a_subclass_keeps_its_overrides(given: str, bus: ws.Bus, log: EventLog) -> None:
    """Through `create_connection=`, a class or a function: what is counted is what came, not what the subclass
    returned."""
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


def test_an_open_connection_is_only_up_and_uninstrument_leaves_no_trace(bus: ws.Bus) -> None:
    """No dial is emitted; afterwards it is what it was, and nothing more is counted."""
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


def test_the_end_of_a_connection_that_was_open_is_emitted(bus: ws.Bus, log: EventLog) -> None:
    """Its duration begins when it was instrumented."""
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
    """Line for line; so a program that ends by it prints the same."""
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
    """Under instrument_all: of connect, and of reconnect if it exists."""
    loop = getattr(theirs, "reconnect", None)
    calls: list[Callable[[str], object]] = (
        [theirs.connect] if loop is None else [theirs.connect, lambda url: [*loop(url)]]
    )
    with TcpServer(refuses(404)) as server:
        no_server = f"ws://127.0.0.1:{LoopbackPort().port}"
        for call, url in ((call, url) for call in calls for url in (server.url, no_server)):
            if url == no_server and call is not theirs.connect:
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
    """For any name that it imported before, subclasses too; afterwards the library is what it was."""
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
            with connect(server, bus, client_id="mine") as connection:  # ours is not reported twice
                connection.send("1")
            assert log.count(STARTED) == 3
    finally:
        websockets_sync.uninstrument_all()
    assert vars(ClientConnection) == before
    with WebSocketServer(echo) as server, theirs.connect(server.url) as connection:
        connection.send("1")
        assert connection.recv() == "1"
        assert log.count(STARTED) == 3


def test_what_a_program_can_see_of_a_connection_is_what_it_was(bus: ws.Bus) -> None:
    """Its class's name, its methods' names and signatures."""
    with WebSocketServer(silent) as server, theirs.connect(server.url) as connection:

        def seen() -> list[str]:
            methods = [getattr(connection, name) for name in ("recv", "recv_streaming", "send", "ping", "close")]
            return [repr(connection), repr(type(connection)), *map(repr, methods), *map(repr, map(signature, methods))]

        before = seen()
        websockets_sync.instrument(connection, bus=bus)
        assert seen() == before


class Final(ClientConnection):
    """A program's class that allows no subclass."""

    def __init_subclass__(cls) -> None:
        raise TypeError("nothing is made of Final")


def test_a_class_that_cannot_be_extended_is_refused_or_left_alone(
    bus: ws.Bus, log: EventLog, caplog: pytest.LogCaptureFixture
) -> None:
    """Refused if the program requests it; a program that does not know of us goes on, with a record."""
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
