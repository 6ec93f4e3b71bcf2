"""Nothing ends a client without a report: any exception of the platform or the user's code costs one try, or is
reported."""

import errno
import logging
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

import wsnova_statsd as ws
from tests.faults.support import QUICK, run_script
from tests.support import until
from wsnova_statsd.client import dialer as dialer_module
from wsnova_statsd.client.connection import Connection
from wsnova_statsd.dial.dial import Dial
from wsnova_statsd.link.keeper import KEEPER
from wsnova_statsd.link.transport import Transport
from wsnova_statsd.testing.capture import EventLog, capture_events
from wsnova_statsd.testing.server import ScriptedConnection, WebSocketServer, echo

events, errors = ws.events, ws.errors


def _ignore(message: Any) -> None:
    pass


@contextmanager
def _connected(reported: list[Exception], **options: Any) -> Iterator[tuple[ws.Client, WebSocketServer, EventLog]]:
    bus = ws.Bus()
    with WebSocketServer(options.pop("script", echo)) as server, capture_events("websockex_nova", bus=bus) as log:
        client = ws.Client(
            server.url,
            client_id="md-1",
            profile=QUICK,
            on_error=reported.append,
            bus=bus,
            **{"on_message": _ignore} | options,
        )
        try:
            yield client.start(5.0), server, log
        finally:
            client.close()


def _times(count: int, error: Exception, real: Callable[..., Any]) -> Callable[..., Any]:
    """A function that raises so many times, and then calls the real one."""
    left = [error] * count

    def flaky(*given: Any, **options: Any) -> Any:
        if left:
            raise left.pop()
        return real(*given, **options)

    return flaky


@pytest.mark.parametrize("on_message", [None, _ignore], ids=["iterated", "callback"])
@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EMFILE, "Too many open files"),
        RuntimeError("can't start new thread"),
        OverflowError("timestamp out of range"),
        UnicodeError("label too long"),
        AttributeError("'GreenSocket' object has no attribute 'recv_into'"),
        MemoryError(),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("place", ["Dial", "connect", "upgrade", "watch"])
def test_any_exception_of_a_dial_costs_one_try(
    monkeypatch: pytest.MonkeyPatch, place: str, error: Exception, on_message: Callable[[Any], object] | None
) -> None:
    """Emitted, and retried: in making the dial, in connecting, in the upgrade, and when the link is passed to the
    keeper."""
    reported = list[Exception]()
    with _connected(reported, on_message=on_message) as (client, server, log):
        with monkeypatch.context() as patched:
            target: Any = {"connect": Dial, "watch": KEEPER}.get(place, dialer_module)
            patched.setattr(target, place, _times(2, error, getattr(target, place)))
            server.drop_all()
            messages = None if on_message is not None else threading.Thread(target=lambda: list(client), daemon=True)
            if messages is not None:
                messages.start()
            assert log.wait_for(events.CONNECTION_RECONNECT_SUCCESS)
        assert client.state is ws.State.CONNECTED
        assert [type(error).__name__ in str(one) for one in reported] == [False, True, True]
        assert log.count(events.CONNECTION_RECONNECT_FAILED) == 2
        assert server.wait_for(lambda: server.open_connections == 1)
        client.close()
        if messages is not None:
            messages.join(5.0)


def test_a_process_without_descriptors_dials_again_when_some_are_free() -> None:
    """Its limit is reached in a separate process."""
    out = run_script(
        """
import resource, time
import wsnova_statsd as ws
from tests.faults.support import QUICK
from tests.support import until
from wsnova_statsd.testing.server import WebSocketServer, echo

told = []
with WebSocketServer(echo) as server:
    client = ws.Client(server.url, profile=QUICK, on_message=print, on_error=told.append).start(5.0)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
    server.drop_all()
    assert until(lambda: len(told) > 5)
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert until(lambda: client.state is ws.State.CONNECTED)
    assert any("Too many open files" in str(error) for error in told)
    client.close()
print("back")
"""
    )
    assert out.strip() == "back"


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_a_handler_that_exits_ends_the_client_with_a_record(
    kind: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    """A record with its traceback, on_error, a critical error, a close frame, and reason handler_exit; wait() ends."""

    def leave(message: Any) -> None:
        raise kind("configuration broken")

    codes = list[int]()

    def script(connection: ScriptedConnection) -> None:
        connection.send("1")
        with suppress(ConnectionClosed):
            connection.recv()
        codes.append(connection.close_code or 0)

    reported = list[Exception]()
    with _connected(reported, on_message=leave, script=script) as (client, _, log):
        assert client.wait(5.0)
        assert client.state is ws.State.CLOSED
        assert [one.metadata["reason"] for one in log.of(events.CONNECTION_DISCONNECTED)] == ["handler_exit"]
        critical = [(one.metadata["error_type"], one.metadata["severity"]) for one in log.of(events.ERROR_OCCURRED)]
        assert critical == [("handler", "critical")]
        assert [(kind.__name__ in str(one), type(one.__cause__)) for one in reported] == [(True, kind)]
        assert until(lambda: codes == [1000])
    (record,) = [one for one in caplog.records if one.levelno >= logging.ERROR]
    assert kind.__name__ in record.getMessage()
    assert record.exc_info is not None
    assert "configuration broken" in str(record.exc_info[1])


@pytest.mark.parametrize("place", ["on_error", "on_reconnect", "login"])
def test_other_user_code_that_exits_ends_it_with_a_record_too(place: str, caplog: pytest.LogCaptureFixture) -> None:
    """Not only on_message is the user's code."""
    armed = threading.Event()

    def leave(*_: Any) -> None:
        if armed.is_set():
            sys.exit("enough")

    class Auth:
        def login(self, client: Any) -> None:
            if place == "login":
                leave()

    reported = list[Exception]()
    options: dict[str, Any] = {"auth": Auth()}
    if place != "login":
        options[place] = leave
    bus = ws.Bus()
    with WebSocketServer(echo) as server, capture_events("websockex_nova", bus=bus) as log:
        options.setdefault("on_error", reported.append)
        client = ws.Client(server.url, profile=QUICK, bus=bus, on_message=_ignore, **options).start(5.0)
        armed.set()
        server.drop_all()
        assert client.wait(5.0)
        assert client.state is ws.State.CLOSED
        assert log.of(events.ERROR_OCCURRED)[-1].metadata["severity"] == "critical"
        assert log.count(events.CONNECTION_DISCONNECTED) == log.count(events.CONNECTION_COMPLETED)
    assert any("SystemExit" in one.getMessage() for one in caplog.records)


def test_a_renewal_that_exits_ends_it_with_a_record(caplog: pytest.LogCaptureFixture) -> None:
    """Its thread is ours."""
    calls = list[int]()

    class Auth:
        def login(self, client: Any) -> float:
            calls.append(1)
            if len(calls) > 1:
                sys.exit("enough")
            return 0.01

    reported = list[Exception]()
    with _connected(reported, auth=Auth()) as (client, _, log):
        assert client.wait(5.0)
        assert (client.state, len(calls)) == (ws.State.CLOSED, 2)
        assert [one.metadata["severity"] for one in log.of(events.ERROR_OCCURRED)] == ["critical"]
    assert any("login() raised" in one.getMessage() for one in caplog.records)


@pytest.mark.parametrize(("of", "method"), [(Transport, "recv"), (Connection, "live_link")], ids=["socket", "turn"])
@pytest.mark.parametrize("on_message", [None, _ignore], ids=["iterated", "callback"])
def test_a_fault_while_reading_costs_the_link_only(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    on_message: Callable[[Any], object] | None,
    of: type,
    method: str,
) -> None:
    """A socket of another library without such a method: logged, emitted as a lost connection, and re-established."""
    reported = list[Exception]()
    with _connected(reported, on_message=on_message) as (client, _, log):
        error = AttributeError("'GreenSocket' object has no attribute 'recv_into'")
        monkeypatch.setattr(of, method, _times(1, error, getattr(of, method)))
        client.send({"n": 1})
        if on_message is None:
            threading.Thread(target=lambda: list(client), daemon=True).start()
        assert log.wait_for(events.CONNECTION_RECONNECT_SUCCESS, timeout=20.0)
        assert ["recv_into" in str(one) for one in reported] == [True]
        assert sum("the client reconnects" in one.getMessage() for one in caplog.records) == 1
        client.close()


def test_a_thread_that_ends_unexpectedly_is_reported(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A fault that a new link does not fix: a record, on_error, a critical error; state and wait() report the end."""
    reported = list[Exception]()
    with _connected(reported) as (client, server, log):
        error = ValueError("a fault of ours")
        monkeypatch.setattr(Connection, "live_link", _times(2, error, Connection.live_link))
        client.send({"n": 1})
        assert client.wait(5.0)
        assert (client.state, reported) == (ws.State.CLOSED, [error])
        assert [one.metadata["severity"] for one in log.of(events.ERROR_OCCURRED)] == ["critical"]
        assert [one.metadata["error_type"] for one in log.of(events.ERROR_OCCURRED)] == ["connection"]
        assert log.count(events.CONNECTION_DISCONNECTED) == 1
        assert sum("its thread failed" in one.getMessage() for one in caplog.records) == 1
        assert server.wait_for(lambda: server.open_connections == 0)
        assert until(lambda: "wsnova-client-md-1" not in {thread.name for thread in threading.enumerate()})


@pytest.mark.parametrize("on_message", [None, _ignore], ids=["iterated", "callback"])
def test_a_fault_while_a_link_is_dropped_is_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, on_message: Callable[[Any], object] | None
) -> None:
    """The next link is made, and the client can be closed."""
    with _connected([], on_message=on_message) as (client, server, log):
        monkeypatch.setattr(KEEPER, "forget", _times(1, OSError(errno.EMFILE, "Too many open files"), KEEPER.forget))
        server.drop_all()
        if on_message is None:
            threading.Thread(target=lambda: list(client), daemon=True).start()
        assert log.wait_for(events.CONNECTION_RECONNECT_SUCCESS, timeout=20.0)
        assert sum("dropping a connection raised" in one.getMessage() for one in caplog.records) == 1
        client.close()
        assert client.state is ws.State.CLOSED


@pytest.mark.parametrize("on_message", [None, _ignore], ids=["iterated", "callback"])
def test_a_client_without_a_thread_reports_it_and_may_be_started_again(
    monkeypatch: pytest.MonkeyPatch, on_message: Callable[[Any], object] | None
) -> None:
    """start() raises if it needs one; in the background it is logged and tried again by the next call."""

    def refuse(thread: threading.Thread) -> None:
        if thread.name.startswith("wsnova-client"):
            raise RuntimeError("can't start new thread")
        real(thread)

    real = threading.Thread.start
    with WebSocketServer(echo) as server:
        client = ws.Client(server.url, profile=QUICK, on_message=on_message)
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", refuse)
            if on_message is not None:
                with pytest.raises(errors.ConnectionFailed, match="thread"):
                    client.start(wait=False)
                assert client.state is ws.State.CLOSED
            else:
                client.start(wait=False)
        client.start(5.0)
        assert client.state is ws.State.CONNECTED
        client.close()


def test_a_renewal_without_a_free_thread_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Logged, and done a little later."""

    class Auth:
        def login(self, client: Any) -> float:
            return 0.1

    refused = list[str]()

    def refuse(thread: threading.Thread) -> None:
        if thread.name.startswith("wsnova-login") and len(refused) < 2:
            refused.append(thread.name)
            raise RuntimeError("can't start new thread")
        real(thread)

    real = threading.Thread.start
    monkeypatch.setattr(threading.Thread, "start", refuse)
    monkeypatch.setattr("wsnova_statsd.client.login._AGAIN", 0.05)
    with _connected([], auth=Auth()) as (_, _, log):
        assert log.wait_for(events.AUTH_REFRESH_COMPLETED)
    assert len(refused) == 2
    assert sum("cannot start and is retried" in one.getMessage() for one in caplog.records) == 1


def test_a_link_that_ends_during_its_login_has_the_reason_of_the_link() -> None:
    """The link ended without a close frame, whichever side noticed: close_1006, not the login's error."""
    drops = [True]

    def script(connection: Any) -> None:
        if drops:
            drops.pop()
            connection.recv()
            connection.drop()
        else:
            echo(connection)

    class Auth:
        def login(self, client: Any) -> None:
            client.expect({"n": 1}, lambda message: True, 5.0)

    bus = ws.Bus()
    with WebSocketServer(script) as server, capture_events("websockex_nova", bus=bus) as log:
        client = ws.Client(server.url, profile=QUICK, bus=bus, auth=Auth()).start(5.0)
        assert log.of(events.CONNECTION_DISCONNECTED)[0].metadata["reason"] == "close_1006"
        client.close()
