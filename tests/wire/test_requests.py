"""Requests over a real socket: from any thread and place, answered, refused, late, cut off, in a flood of messages."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

import wsnova_statsd as ws
from wsnova_statsd.testing.capture import capture_events
from wsnova_statsd.testing.server import ScriptedConnection, WebSocketServer

errors, events = ws.errors, ws.events
HOSTILE: list[Any] = [[1], {"id": 1}, None, True, 1.5, "1", -1, 10**300, [[[]]]]


def desk(connection: ScriptedConnection) -> None:
    """Answers by method; held answers are sent on `release`."""
    held: list[Any] = []
    for text in connection:
        call = json.loads(text)
        method, key, params = call["method"], call["id"], call.get("params")
        if method == "hold":
            held.append(key)
            continue
        if method == "drop":
            connection.drop()
            return
        if method == "fail":
            connection.send(json.dumps({"id": key, "error": {"code": 7, "message": "no such thing"}}))
            continue
        notes = [{"method": "note", "params": number} for number in range(params if method == "flood" else 0)]
        replies = [{"id": one, "result": "late"} for one in held if method == "release"]
        replies += [{"id": one, "result": "hostile"} for one in HOSTILE if method == "hostile"]
        for message in [*notes, *replies, {"id": key, "result": params}]:
            connection.send(json.dumps(message))


@contextmanager
def talking(**options: Any) -> Iterator[ws.Client]:
    """A started client, by default one that is not iterated."""
    with WebSocketServer(desk) as server, ws.Client(server.url, protocol=ws.JsonRpcProtocol(), **options) as client:
        yield client


def _echo(client: ws.Client, params: Any, **options: Any) -> Any:
    return client.request({"method": "echo", "params": params}, **options)["result"]


@contextmanager
def handling(job: Callable[[ws.Client, Any], object], **options: Any) -> Iterator[ws.Client]:
    """A client whose on_message does this job."""
    made: list[ws.Client] = []
    with talking(on_message=lambda message: job(made[0], message), **options) as client:
        made.append(client)
        yield client


@pytest.mark.parametrize("options", [{}, {"on_message": lambda message: None}], ids=["no reader", "its own thread"])
def test_many_threads_get_their_own_replies(options: dict[str, Any]) -> None:
    """Eight threads with 50 requests each, at once, on one link."""
    with talking(**options) as client, ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda number: _echo(client, number), range(400))) == list(range(400))


def test_a_reply_is_found_in_a_flood_of_messages_which_stay_in_order() -> None:
    """The notifications that came before it are iterated afterwards, the reply is not among them."""
    with talking() as client:
        assert client.request({"method": "flood", "params": 500})["result"] == 500
        notes = [client.receive(5.0)["params"] for _ in range(500)]
        assert notes == list(range(500))
        with pytest.raises(TimeoutError):
            client.receive(0.05)


def test_a_client_that_only_sends_requests_is_never_full() -> None:
    """Replies that will not be iterated over make room for others, and are emitted as received."""
    bus = ws.Bus()
    with capture_events(events.MESSAGE_RECEIVED, bus=bus) as log:
        with talking(bus=bus, profile="financial", max_buffered_bytes=20_000) as client:
            for number in range(60):
                assert _echo(client, [number, "x" * 1_000], timeout=20.0)[0] == number
            with pytest.raises(TimeoutError):
                client.receive(0.0)
        assert log.count(events.MESSAGE_RECEIVED) == 60


def test_a_handler_may_send_a_request() -> None:
    """From inside on_message; the messages that come meanwhile are handled after it, in order."""
    handled: list[Any] = []
    done = threading.Event()

    def job(client: ws.Client, message: Any) -> None:
        handled.append((message["params"], _echo(client, -message["params"])))
        if len(handled) == 20:
            done.set()

    with handling(job) as client:
        client.request({"method": "flood", "params": 20})
        assert done.wait(5.0)
    assert handled == [(number, -number) for number in range(20)]


def test_a_loop_body_may_send_a_request() -> None:
    """The iterating thread reads on while it waits."""
    with talking() as client:
        client.send({"method": "flood", "params": 20, "id": "mine"})
        asked: list[Any] = []
        for message in client:
            if message.get("id") == "mine":  # no request of ours: a message like any other
                break
            asked.append((message["params"], _echo(client, -message["params"])))
        assert asked == [(number, -number) for number in range(20)]


def test_other_threads_get_replies_while_a_handler_sleeps() -> None:
    """Also one that arrived together with the message which is being handled."""
    leave, entered = threading.Event(), threading.Event()
    handled: list[Any] = []

    def job(_client: ws.Client, message: Any) -> None:
        handled.append(message["params"])
        entered.set()
        leave.wait(20.0)

    with handling(job) as client:
        began = time.monotonic()
        assert client.request({"method": "flood", "params": 3}, timeout=20.0)["result"] == 3
        assert entered.wait(5.0)
        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(lambda number: _echo(client, number, timeout=20.0), range(40))) == list(range(40))
        assert time.monotonic() - began < 5.0
        assert handled == [0]
        leave.set()
    assert handled[0] == 0


@pytest.mark.parametrize("options", [{}, {"on_message": lambda message: None}], ids=["no reader", "its own thread"])
@pytest.mark.parametrize("end", ["drop", "close"])
def test_the_end_of_the_link_interrupts_at_once(options: dict[str, Any], end: str) -> None:
    """A cut, or a close() in another thread: no request waits for its timeout."""
    with (
        WebSocketServer(desk) as server,
        ws.Client(server.url, protocol=ws.JsonRpcProtocol(), **options) as client,
        ThreadPoolExecutor(1) as pool,
    ):
        waiting = pool.submit(client.request, {"method": "hold"}, 30.0)
        assert server.wait_for(lambda: len(server.received) == 1)
        _echo(client, 0)  # sent after it
        began = time.monotonic()
        if end == "close":
            client.close()
        else:
            with pytest.raises(errors.RequestInterrupted):
                client.request({"method": "drop"}, timeout=30.0)
        with pytest.raises(errors.RequestInterrupted, match="may have taken effect"):
            waiting.result(10.0)
        assert time.monotonic() - began < 3.0


def test_a_cut_inside_a_handler_interrupts_its_request_and_the_next_link_answers() -> None:
    """The handler gets the error, returns, and its thread makes the next link."""
    raised: list[Exception] = []

    def job(client: ws.Client, _message: Any) -> None:
        try:
            client.request({"method": "drop"}, timeout=30.0)
        except errors.RequestInterrupted as error:
            raised.append(error)

    back = threading.Event()
    with handling(job, profile="financial", on_reconnect=back.set) as client:
        client.request({"method": "flood", "params": 1})
        assert back.wait(5.0)
        assert _echo(client, "again") == "again"
    assert len(raised) == 1


def test_a_server_error_is_raised_with_its_reply() -> None:
    """The link lives on."""
    with talking() as client:
        with pytest.raises(errors.RequestRejected, match="no such thing") as caught:
            client.request({"method": "fail"})
        assert caught.value.reply == {"id": 1, "error": {"code": 7, "message": "no such thing"}}
        assert _echo(client, 5) == 5


def test_a_late_reply_is_counted_and_not_delivered() -> None:
    """The timeout is a warning that is handled; the reply counts as received, and goes no further."""
    delivered: list[Any] = []
    bus = ws.Bus()
    with capture_events(bus=bus) as log, talking(on_message=delivered.append, profile="financial", bus=bus) as client:
        with pytest.raises(errors.RequestTimeout, match=r"timeout=0\.05"):
            client.request({"method": "hold"}, timeout=0.05)
        client.request({"method": "release"})
        assert _echo(client, 1) == 1
        assert (client.late_replies, delivered) == (1, [])
        (occurred,), (handled,) = log.of(events.ERROR_OCCURRED), log.of(events.ERROR_HANDLED)
        assert [occurred.metadata[key] for key in ("error_type", "severity")] == ["timeout", "warning"]
        assert (handled.metadata["action"], handled.metadata["error_id"]) == ("raised", occurred.metadata["error_id"])
        assert log.wait_for(events.MESSAGE_PROCESS_COMPLETED, 3)
        assert {one.metadata["result"] for one in log.of(events.MESSAGE_PROCESS_COMPLETED)} == {"ok"}
        assert [one.metadata["type"] for one in log.of(events.MESSAGE_RECEIVED)] == ["response"] * 3


def test_replies_with_hostile_ids_are_messages_like_any_other() -> None:
    """Lists, mappings, huge numbers and booleans answer nothing and raise nothing."""
    bus = ws.Bus()
    with capture_events("websockex_nova.error", bus=bus) as log, talking(bus=bus) as client:
        assert client.request({"method": "hostile", "params": "fine"})["result"] == "fine"
        assert [client.receive(5.0)["id"] for _ in HOSTILE] == HOSTILE
        assert log.names() == []


def test_an_id_that_is_awaited_already_is_refused() -> None:
    """Two requests with one id could not be distinguished; numbers avoid used ids."""
    with talking() as client, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(client.request, {"method": "hold", "id": 3}, 20.0)
        assert [_echo(client, number) for number in range(5)] == list(range(5))
        with pytest.raises(errors.ConfigurationError, match="already awaited"):
            client.request({"method": "echo", "id": 3})
        client.request({"method": "release"})
        assert waiting.result(5.0)["result"] == "late"


@pytest.mark.parametrize("timeout", [-1, None, "5", True, float("nan")])
def test_an_unusable_timeout_is_refused_before_anything_is_sent(timeout: Any) -> None:
    """For every call that waits for an answer."""
    with talking() as client:
        for call in (client.request, client.subscribe, client.unsubscribe):
            with pytest.raises(errors.ConfigurationError, match="timeout"):
                call({"method": "drop"} if call == client.request else "a", timeout=timeout)
        assert _echo(client, 1, timeout=float("inf")) == 1


def test_without_a_link_no_request_is_sent() -> None:
    """A client that was not started, and one that is closed, raise NotConnected."""
    client = ws.Client("ws://127.0.0.1:1", protocol=ws.JsonRpcProtocol())
    with pytest.raises(errors.NotConnected, match="start"):
        client.request({"method": "echo"})
    with talking() as closed:
        closed.close()
        with pytest.raises(errors.NotConnected, match="closed"):
            closed.request({"method": "echo"})


def test_a_ping_during_a_request_does_not_delay_its_reply() -> None:
    """Heartbeats are emitted while a thread waits: it goes on reading, and does not spin."""

    def slowly(connection: ScriptedConnection) -> None:
        for text in connection:
            time.sleep(0.5)
            connection.send(json.dumps({"id": json.loads(text)["id"], "result": 1}))

    bus = ws.Bus()
    profile = ws.FINANCIAL.replace(ping_interval=0.1, pong_timeout=5.0)
    with (
        WebSocketServer(slowly) as server,
        capture_events("websockex_nova.heartbeat", bus=bus) as log,
        ws.Client(server.url, protocol=ws.JsonRpcProtocol(), profile=profile, bus=bus) as client,
    ):
        began = time.thread_time()
        assert _echo(client, None, timeout=5.0) == 1
        assert time.thread_time() - began < 0.25
        assert log.count(events.HEARTBEAT_SENT) >= 2
