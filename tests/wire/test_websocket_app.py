"""An instrumented WebSocketApp against real servers: its events, and that the program behaves as it did."""

from __future__ import annotations

import gc
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import websocket

import wsnova_statsd as ws
from tests.support import until
from tests.wire.instrumenting import App, an_app, instrumented, names, raw, sums
from wsnova_statsd import events
from wsnova_statsd.contrib import websocket_app
from wsnova_statsd.testing.capture import capture_events
from wsnova_statsd.testing.server import WebSocketServer, echo, send_messages
from wsnova_statsd.testing.tcp import BINARY, CONTINUATION, TEXT, server_frame

# The library leaves the socket of a link that the server has closed to be collected.
pytestmark = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning", "ignore:unclosed:ResourceWarning"
)


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    """What it leaves is collected within the test, whose filter knows of it."""
    yield
    gc.collect()


# -- processing --------------------------------------------------------------------------------------------------------


def test_an_app_emits_each_message_from_its_arrival_to_the_end_of_its_callbacks(bus: ws.Bus) -> None:
    """Received with the payload's bytes before process.started; completed after the last callback."""
    order: list[str] = []
    with WebSocketServer(send_messages(["ä", b"abc", "last"])) as server:
        app = an_app(server.url, on_data=lambda app, data, kind, whole: order.append("data"))
        with instrumented(app, bus) as (app, log):
            app.run_forever()
    received = log.of(events.MESSAGE_RECEIVED)
    assert [(one.measurements["size"], one.metadata["type"]) for one in received] == [
        (2, "text"),
        (3, "binary"),
        (4, "text"),
    ]
    assert names(log, "message")[:3] == ["message.received", "message.process.started", "message.process.completed"]
    assert log.count(events.MESSAGE_PROCESS_COMPLETED) == log.count(events.MESSAGE_PROCESS_STARTED) == 3
    assert order == ["data"] * 3
    assert {one.metadata["client_id"] for one in log} == {"md-1"}


def test_processing_runs_from_the_first_callback_to_the_end_of_the_last(bus: ws.Bus) -> None:
    """on_data and on_message of one message are one processing, and both count."""
    with WebSocketServer(send_messages(["last"])) as server:
        app = an_app(
            server.url,
            on_data=lambda *given: time.sleep(0.03),
            on_message=lambda *given: time.sleep(0.04),
        )
        with instrumented(app, bus) as (app, log):
            app.run_forever()
    (completed,) = log.of(events.MESSAGE_PROCESS_COMPLETED)
    assert completed.measurements["duration"] >= 70e6


def test_on_data_alone_is_the_whole_processing(bus: ws.Bus) -> None:
    """Nothing waits for an on_message that is not set."""
    with WebSocketServer(send_messages(["last"])) as server:
        app = App(server.url, on_data=lambda app, *given: app.close(timeout=0.5))
        with instrumented(app, bus) as (app, log):
            app.run_forever()
    assert [one.metadata["result"] for one in log.of(events.MESSAGE_PROCESS_COMPLETED)] == ["ok"]


def test_without_a_callback_for_messages_the_result_is_ignored(bus: ws.Bus) -> None:
    """on_open, on_ping and on_pong handle no messages."""
    with WebSocketServer(send_messages(["a", "b"], then="close")) as server:
        app = App(server.url, on_open=lambda app: None, on_ping=lambda *given: None, on_pong=lambda *given: None)
        with instrumented(app, bus) as (app, log):
            app.run_forever()
            assert until(lambda: log.count(events.MESSAGE_BATCH_PROCESSED) > 0)
    assert [one.metadata["result"] for one in log.of(events.MESSAGE_PROCESS_COMPLETED)] == ["ignored", "ignored"]
    counted = sums(log, "received")
    assert [sum(one[key] for one in counted) for key in ("count", "processed")] == [2, 0]


def test_fragments_for_on_cont_message_are_one_message_at_its_end(bus: ws.Bus) -> None:
    """One received with the size of all, one processing with the time of all callbacks."""
    pieces: list[bytes] = []
    frames = (
        server_frame(BINARY, b"ab", fin=False),
        server_frame(CONTINUATION, b"cde", fin=False),
        server_frame(CONTINUATION, b"f"),
    )

    def on_piece(app: App, data: bytes, whole: int) -> None:
        time.sleep(0.02)
        pieces.append(data)

    with raw(*frames) as server:
        app = an_app(server.url, on_cont_message=on_piece)
        with instrumented(app, bus, message_type=lambda payload: payload.decode()) as (app, log):
            app.run_forever()
    assert pieces == [b"cde", b"f"]  # the library passes the first one to on_message
    received = [(one.metadata["type"], one.measurements["size"]) for one in log.of(events.MESSAGE_RECEIVED)]
    assert received == [("abcdef", 6), ("last", 4)]
    first, _ = log.of(events.MESSAGE_PROCESS_COMPLETED)
    assert first.metadata["type"] == "abcdef"
    assert first.measurements["duration"] >= 40e6


def test_fragments_that_the_library_joins_are_one_message(bus: ws.Bus) -> None:
    """Without on_cont_message they come as one."""
    with (
        raw(server_frame(TEXT, b"ab", fin=False), server_frame(CONTINUATION, b"c")) as server,
        instrumented(an_app(server.url), bus) as (app, log),
    ):
        app.run_forever()
    assert [one.measurements["size"] for one in log.of(events.MESSAGE_RECEIVED)] == [3, 4]


# -- message_type ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message_type", "kinds"),
    [
        (None, ["text", "text", "binary", "text"]),
        ("json", ["trade", "invalid", "binary", "invalid"]),
        (lambda payload: f"n{len(payload)}", ["n16", "n4", "n1", "n4"]),
    ],
)
def test_the_type_of_a_message(bus: ws.Bus, message_type: Any, kinds: list[str]) -> None:
    """By opcode, by JsonProtocol's rule, or by a function of the payload."""
    with (
        WebSocketServer(send_messages(['{"type":"trade"}', "pong", b"x", "last"])) as server,
        instrumented(an_app(server.url), bus, message_type=message_type) as (app, log),
    ):
        app.run_forever()
    assert [one.metadata["type"] for one in log.of(events.MESSAGE_RECEIVED)] == kinds
    assert log.count(events.ERROR_OCCURRED) == 0


def test_a_message_type_that_raises_gives_unknown_and_the_message_goes_on(bus: ws.Bus) -> None:
    """One error of type protocol for each, and the callback gets the message."""
    seen: list[str] = []

    def message_type(payload: bytes) -> str:
        raise KeyError(payload)

    with WebSocketServer(send_messages(["a", "last"])) as server:
        app = an_app(server.url, on_message=lambda app, message: seen.append(message))
        with instrumented(app, bus, message_type=message_type) as (app, log):
            app.run_forever()
    assert seen == ["a", "last"]
    assert {one.metadata["type"] for one in log.of(events.MESSAGE_RECEIVED)} == {"unknown"}
    assert [one.metadata["error_type"] for one in log.of(events.ERROR_OCCURRED)] == ["protocol", "protocol"]


# -- what callbacks raise ----------------------------------------------------------------------------------------------


def test_what_on_message_raises_reaches_on_error_as_it_did_and_is_one_error(bus: ws.Bus) -> None:
    """Result error, one error of type handler; the same exception, without a frame of ours, and no connection error."""
    errors: list[Exception] = []
    boom = ValueError("boom")

    def on_message(app: App, message: str) -> None:
        if message == "bad":
            raise boom

    with WebSocketServer(send_messages(["bad", "last"])) as server:
        app = an_app(server.url, on_message=on_message, on_error=lambda app, error: errors.append(error))
        with instrumented(app, bus) as (app, log):
            app.run_forever()
    assert errors == [boom]
    files = [frame.filename for frame in traceback.extract_tb(boom.__traceback__)]
    assert not [file for file in files if "contrib" in file], files
    assert [one.metadata["result"] for one in log.of(events.MESSAGE_PROCESS_COMPLETED)] == ["error", "ok"]
    assert [one.metadata["error_type"] for one in log.of(events.ERROR_OCCURRED)] == ["handler"]
    assert [one.metadata["reason"] for one in log.of(events.CONNECTION_DISCONNECTED)] == ["local"]


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_what_ends_a_program_passes_through(bus: ws.Bus, kind: type[BaseException]) -> None:
    """run_forever raises it as that of the bare app does."""

    def on_message(app: App, message: str) -> None:
        raise kind

    raised = []
    for bare in (True, False):
        with WebSocketServer(send_messages(["a"], then="wait")) as server:
            app = App(server.url, on_message=on_message)
            if bare:
                raised.append(_raised(app.run_forever))
                continue
            with instrumented(app, bus) as (app, log):
                raised.append(_raised(app.run_forever))
    assert raised[0] is raised[1]
    assert log.count(events.ERROR_OCCURRED) == 0
    assert log.count(events.CONNECTION_DISCONNECTED) == 1


def _raised(call: Callable[[], object]) -> type[BaseException] | None:
    try:
        call()
    except BaseException as error:
        return type(error)
    return None


def test_a_link_that_is_lost_in_a_message_has_its_end_after_the_message(bus: ws.Bus) -> None:
    """app.close() in on_message: disconnected at once, the message's end, and then the client is closed."""
    with WebSocketServer(send_messages(["last"])) as server, instrumented(an_app(server.url), bus) as (app, log):
        bus.attach("closed", events.CLIENT_CLOSED, lambda *given: order.append("closed"))
        order: list[str] = []
        bus.attach("end", events.MESSAGE_PROCESS_COMPLETED, lambda *given: order.append("completed"))
        app.run_forever()
        assert order == ["completed", "closed"]
    assert names(log)[-2:] == ["connection.disconnected", "message.process.completed"]


# -- callbacks and classes ---------------------------------------------------------------------------------------------


def test_a_callback_reads_back_as_the_same_object_and_may_be_set_at_any_time(bus: ws.Bus) -> None:
    """The library compares them by identity; one that is set while the app runs is timed as well."""
    seen: list[str] = []

    def second(app: App, message: str) -> None:
        seen.append(message)
        app.close(timeout=0.5)

    def first(app: App, message: str) -> None:
        app.on_message = second

    with (
        WebSocketServer(send_messages(["a", "b"])) as server,
        instrumented(App(server.url, on_message=first), bus) as (app, log),
    ):
        assert app.on_message is app.on_message
        before = app.on_message
        app.on_message = before
        assert app.on_message is before
        assert app.on_error is None
        app.run_forever()
    assert seen == ["b"]
    assert log.count(events.MESSAGE_PROCESS_COMPLETED) == 2


class _Own(App):
    """A program's own class."""

    sent: list[str]

    def __init__(self, url: str) -> None:
        super().__init__(url, on_message=self.handle)
        self.sent = []
        self.closed = self.ran = 0

    def handle(self, app: App, message: str) -> None:
        self.send("answer")
        self.close(timeout=0.5)

    def send(self, data: Any, *more: Any) -> None:
        self.sent.append(data)
        super().send(data, *more)

    def close(self, **given: Any) -> None:
        self.closed += 1
        super().close(**given)

    def run_forever(self, **given: Any) -> bool:  # type: ignore[override]
        self.ran += 1
        return super().run_forever(**given)


def test_a_subclass_keeps_its_kind_and_its_methods(bus: ws.Bus) -> None:
    """isinstance, name and overrides of send, close and run_forever are unchanged."""
    with WebSocketServer(send_messages(["a"], then="wait")) as server:
        own = _Own(server.url)
        with instrumented(own, bus) as (app, log):
            assert isinstance(app, _Own)
            assert (type(app).__name__, type(app).__module__) == ("_Own", __name__)
            app.run_forever()
            assert (own.sent, own.closed, own.ran) == (["answer"], 1, 1)
    assert log.count(events.MESSAGE_SENT) == 1


def test_uninstrument_leaves_no_trace(bus: ws.Bus) -> None:
    """The class, every attribute and the methods of its socket are as before; nothing more is emitted."""
    with WebSocketServer(echo) as server:
        app = App(server.url, on_message=print, on_close=print)
        before = dict(vars(app))
        with capture_events(bus=bus) as log:
            websocket_app.instrument(app, bus=bus)
            assert app.on_message is not print
            websocket_app.uninstrument(app)
            assert (vars(app), type(app)) == (before, App)
            connection: Any = websocket.WebSocket()
            untouched = set(vars(connection))
            websocket_app.instrument_connection(connection, bus=bus)
            assert set(vars(connection)) > untouched
            websocket_app.uninstrument(connection)
            connection.connect(server.url)
            connection.send("x")
            assert (connection.recv(), set(vars(connection))) == ("x", untouched)
            connection.close()
        assert not log


def test_a_callback_that_the_class_has_is_timed_and_left_to_the_class(bus: ws.Bus) -> None:
    """A method, unless the program has set another one meanwhile, and a property."""

    class Own(App):
        def __init__(self, url: str) -> None:
            super().__init__(url)
            del self.on_message, self.on_data

        def on_message(self, app: App, message: str) -> None:
            self.close(timeout=0.5)

        on_error = property(lambda self: self.kept, lambda self, given: setattr(self, "kept", given))

    with WebSocketServer(send_messages(["a"])) as server:
        own = Own(server.url)
        own.on_error = print
        before = set(vars(own))
        with capture_events(bus=bus) as log:
            websocket_app.instrument(own, bus=bus, profile="financial")
            own.run_forever()
        assert [one.metadata["result"] for one in log.of(events.MESSAGE_PROCESS_COMPLETED)] == ["ok"]
        own.on_data = print
        websocket_app.uninstrument(own)
        assert set(vars(own)) == before | {"on_data"}
        assert own.on_data is own.on_error is print


def test_an_app_that_runs_is_uninstrumented_and_goes_on(bus: ws.Bus) -> None:
    """Its client is closed, its link stays open."""
    seen: list[str] = []
    with WebSocketServer(echo) as server:
        app = App(server.url, on_message=lambda app, message: seen.append(message))
        with capture_events(bus=bus) as log:
            websocket_app.instrument(app, bus=bus, profile="financial")
            thread = threading.Thread(target=app.run_forever, daemon=True)
            thread.start()
            assert until(lambda: log.count(events.CONNECTION_COMPLETED) == 1)
            closed: list[Any] = []
            bus.attach("closed", events.CLIENT_CLOSED, lambda *given: closed.append(given))
            websocket_app.uninstrument(app)
            count = len(log)
            app.send("x")
            assert until(lambda: seen == ["x"])
            assert (len(log), len(closed)) == (count, 1)
            app.close()
            thread.join(0.2)  # the library checks every ten seconds
