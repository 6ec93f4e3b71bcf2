"""Many messages in one read: each is delivered once, in order, as if it came alone, and the sums are exact,
with and without a handler of single messages. A server sends all its frames in one piece, then a close frame."""

import json
import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

import wsnova_statsd as ws
from tests.support import until
from wsnova_statsd.testing import capture_metrics
from wsnova_statsd.testing.capture import EventLog, capture_events
from wsnova_statsd.testing.tcp import BINARY, CLOSE, TEXT, Connection, TcpServer, server_frame

N = 500
MANY = [f'{{"type":"t","n":{number}}}' for number in range(N)]
GROWING = [json.dumps({"type": "t", "n": number, "x": "x" * (number % 200)}) for number in range(N)]
GOODBYE = server_frame(CLOSE, (1000).to_bytes(2, "big"))
SUMS = (ws.events.MESSAGE_BATCH_PROCESSED, ws.events.MESSAGE_PROCESS_SLOW, ws.events.ERROR_OCCURRED)


@pytest.fixture(params=[False, True], ids=["in bulk", "each emitted"])
def reported(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The options without, or with, events of single messages."""
    return {"observed": (*SUMS, ws.events.MESSAGE_RECEIVED), "profile": ws.FINANCIAL} if request.param else {}


def _frames(messages: Sequence[str | bytes]) -> bytes:
    return b"".join(
        server_frame(TEXT, one.encode()) if isinstance(one, str) else server_frame(BINARY, one) for one in messages
    )


@contextmanager
def _sent(
    messages: Sequence[str | bytes], then: bytes = GOODBYE, observed: Sequence[str] = SUMS, **options: Any
) -> Iterator[tuple[ws.Client, EventLog, ws.Bus]]:
    """A client, not yet started, of a server that sends all this at once."""

    def script(connection: Connection) -> None:
        connection.accept_upgrade()
        connection.send(_frames(messages) + then)
        connection.wait_closed()

    bus = ws.Bus()
    with TcpServer(script) as server, capture_events(*observed, bus=bus) as log:
        options = {"protocol": ws.JsonProtocol(), "reconnect": False, **options}
        client = ws.Client(server.url, bus=bus, **options)
        try:
            yield client, log, bus
        finally:
            client.close(2.0)


def _sum(log: EventLog, measurement: str) -> int:
    reported = log.of(ws.events.MESSAGE_BATCH_PROCESSED)
    return sum(one.measurements[measurement] for one in reported if one.metadata["direction"] == "received")


@pytest.mark.parametrize("observed", [SUMS, (ws.events.ERROR_OCCURRED,)], ids=["timed", "unheard"])
def test_each_message_is_delivered_once_and_in_order(observed: Sequence[str]) -> None:
    got: list[int] = []
    with _sent(MANY, observed=observed, on_message=lambda message: got.append(message["n"])) as (client, log, _bus):
        client.start()
        assert client.wait(10)
    assert got == [*range(N)]
    assert _sum(log, "count") == (N if observed is SUMS else 0)
    assert _sum(log, "total_size") == (sum(map(len, MANY)) if observed is SUMS else 0)


@pytest.mark.parametrize("how", ["on_message", "loop"])
def test_all_five_events_of_a_message_are_emitted_before_those_of_the_next(how: str) -> None:
    """In their order, and each with its own size; the metrics made of them count every message."""
    five = ("decode.started", "decode.completed", "received", "process.started", "process.completed")
    names = [f"websockex_nova.message.{one}" for one in five]
    sizes = [*map(len, GROWING)]
    options: dict[str, Any] = {"on_message": lambda message: None} if how == "on_message" else {}
    with (
        _sent(GROWING, observed=names, profile=ws.FINANCIAL, **options) as (client, log, bus),
        capture_metrics(bus=bus) as metrics,
    ):
        client.start()
        if not options:
            assert [message["n"] for message in client] == [*range(N)]
        assert client.wait(10)
        for name in five:
            metrics.assert_count(f"websocket.message.{name}", N)
        metrics.assert_count("websocket.message.received.bytes", sum(sizes))
    assert log.names() == names * N
    assert [one.measurements["size"] for one in log.of(names[2])] == sizes


def test_a_loop_gets_each_message_once_and_in_order(reported: dict[str, Any]) -> None:
    with _sent(MANY, **reported) as (client, log, _bus):
        client.start()
        assert [message["n"] for message in client] == [*range(N)]
    assert (_sum(log, "count"), _sum(log, "total_size")) == (N, sum(map(len, MANY)))


def test_text_and_binary_may_alternate(reported: dict[str, Any]) -> None:
    mixed = [MANY[index] if index % 7 else bytes([index % 256]) for index in range(N)]
    got: list[Any] = []
    with _sent(mixed, **reported, on_message=got.append) as (client, log, _bus):
        client.start()
        assert client.wait(10)
    assert got == [json.loads(one) if isinstance(one, str) else one for one in mixed]
    assert (_sum(log, "count"), _sum(log, "total_size")) == (N, sum(map(len, mixed)))


def test_a_loop_that_is_left_leaves_the_rest_for_the_next_one(reported: dict[str, Any]) -> None:
    with _sent(MANY, **reported) as (client, log, _bus):
        client.start()
        got = []
        for message in client:
            got.append(message["n"])
            if len(got) % 40 == 0:
                break
        got.append(client.receive(5)["n"])
        got += [message["n"] for message in client]
        assert got == [*range(N)]
    assert _sum(log, "count") == N


def test_a_handler_that_closes_the_client_gets_no_more_messages(reported: dict[str, Any]) -> None:
    got: list[int] = []

    def on_message(message: Any) -> None:
        got.append(message["n"])
        if message["n"] == 40:
            client.close(0.5)

    with _sent(MANY, **reported, on_message=on_message) as (client, log, _bus):
        client.start()
        assert client.wait(10)
        assert until(lambda: _sum(log, "count") == 41)
    assert got == [*range(41)]
    assert _sum(log, "count") == 41


def test_what_cannot_be_decoded_costs_itself_only(reported: dict[str, Any]) -> None:
    bad = {0, 1, 77, N - 1}
    broken = ["{" if index in bad else one for index, one in enumerate(MANY)]
    got: list[int] = []
    with _sent(broken, **reported, on_message=lambda message: got.append(message["n"])) as (client, log, _bus):
        client.start()
        assert client.wait(10)
    assert got == [number for number in range(N) if number not in bad]
    assert [one.metadata["error_type"] for one in log.of(ws.events.ERROR_OCCURRED)].count("decode") == len(bad)
    assert (_sum(log, "count"), _sum(log, "errors")) == (N, len(bad))
    assert _sum(log, "total_size") == sum(map(len, broken))


def test_nothing_after_a_text_that_is_no_utf_8_is_delivered(reported: dict[str, Any]) -> None:
    """RFC 6455, sections 7.1.7 and 8.1."""
    frames = _frames(MANY[:50]) + server_frame(TEXT, b'"\xff"') + _frames(MANY[50:])
    got: list[int] = []
    with _sent([], **reported, then=frames, on_message=lambda message: got.append(message["n"])) as (
        client,
        _log,
        _bus,
    ):
        client.start()
        assert client.wait(10)
    assert got == [*range(50)]


def test_a_handler_that_raises_is_an_error_event_and_the_next_message_comes(reported: dict[str, Any]) -> None:
    got: list[int] = []

    def on_message(message: Any) -> None:
        got.append(message["n"])
        if message["n"] % 50 == 49:
            raise IndexError("from the handler")

    with _sent(MANY, **reported, on_message=on_message) as (client, log, _bus):
        client.start()
        assert client.wait(10)
    assert got == [*range(N)]
    assert [one.metadata["error_type"] for one in log.of(ws.events.ERROR_OCCURRED)].count("handler") == N // 50
    assert (_sum(log, "count"), _sum(log, "errors")) == (N, N // 50)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_handler_that_ends_its_thread_is_counted_with_its_message(reported: dict[str, Any]) -> None:
    """SystemExit ends the client, and its message was processed with an error, like any that raises."""
    got: list[int] = []
    owners = list[threading.Thread]()

    def on_message(message: Any) -> None:
        got.append(message["n"])
        if message["n"] == 400:
            owners.append(threading.current_thread())
            sys.exit("enough")

    with _sent(MANY, **reported, on_message=on_message) as (client, log, _bus):
        client.start()
        assert client.wait(10)
        owners[0].join(10)  # the end of a thread by an exception is reported to the test that runs then
    assert got == [*range(401)]
    assert (_sum(log, "count"), _sum(log, "errors")) == (401, 1)


def test_slow_messages_are_emitted_each_with_its_own_time(reported: dict[str, Any]) -> None:
    """slow_after is 20 ms; three messages of 500 take longer, one of them raises."""
    reported["profile"] = reported.get("profile", ws.STANDARD).replace(slow_after=0.02)

    def on_message(message: Any) -> None:
        if message["n"] in (10, 11, 300):
            time.sleep(0.03)
        if message["n"] == 300:
            raise ValueError("slow, and raises")

    with _sent(MANY, **reported, on_message=on_message) as (client, log, _bus):
        client.start()
        assert client.wait(10)
    slow = log.of(ws.events.MESSAGE_PROCESS_SLOW)
    # A busy machine may make others slow; these three are.
    assert len(slow) >= 3
    assert all(one.measurements["duration"] > 20_000_000 and one.metadata["type"] == "t" for one in slow)
    assert [one.metadata["result"] for one in slow].count("error") == 1
    longest = max(one.measurements["process_time_max"] for one in log.of(ws.events.MESSAGE_BATCH_PROCESSED))
    assert longest == max(one.measurements["duration"] for one in slow)
    assert _sum(log, "process_time") >= sum(one.measurements["duration"] for one in slow)


def test_a_loop_that_is_left_from_a_slow_body_emits_it(reported: dict[str, Any]) -> None:
    reported["profile"] = reported.get("profile", ws.STANDARD).replace(slow_after=0.02)
    with _sent(MANY, **reported) as (client, log, _bus):
        client.start()
        for message in client:
            if message["n"] == 400:
                time.sleep(0.03)
                break
    *_, slow = log.of(ws.events.MESSAGE_PROCESS_SLOW)  # a busy machine may make others slow
    assert slow.metadata["type"] == "t"
    assert slow.measurements["duration"] > 29_000_000
    assert _sum(log, "count") == 401


def test_a_handler_attached_in_a_callback_gets_the_next_message() -> None:
    observed: list[Any] = []
    got: list[int] = []

    def on_message(message: Any) -> None:
        got.append(message["n"])
        if message["n"] == 99:
            bus.attach("late", ws.events.MESSAGE_RECEIVED, lambda *event: observed.append(event))
        elif message["n"] == 199:
            bus.detach("late")

    with _sent(MANY, profile="financial", on_message=on_message) as (client, log, bus):
        client.start()
        assert client.wait(10)
    assert got == [*range(N)]
    assert len(observed) == 100
    assert _sum(log, "count") == N


def test_an_answer_after_many_messages_is_found_from_a_handler() -> None:
    """A handler sends a request while other messages wait; its answer comes after them, and no message twice."""
    rpc = [f'{{"jsonrpc":"2.0","method":"tick","params":{number}}}' for number in range(N)]
    got: list[Any] = []

    def script(connection: Connection) -> None:
        connection.accept_upgrade()
        connection.send(_frames(rpc[:250]))
        question = json.loads(connection.read_frame()[1])
        answer = json.dumps({"jsonrpc": "2.0", "id": question["id"], "result": 42})
        connection.send(_frames([*rpc[250:400], answer, *rpc[400:]]) + GOODBYE)
        connection.wait_closed()

    def on_message(message: Any) -> None:
        got.append(message["params"])
        if message["params"] == 30:
            got.append(client.request({"method": "ask"}, timeout=5))

    with TcpServer(script) as server:
        client = ws.Client(
            server.url, protocol=ws.JsonRpcProtocol(), reconnect=False, bus=ws.Bus(), on_message=on_message
        )
        with client:
            assert client.wait(10)
    assert [one for one in got if isinstance(one, int)] == [*range(N)]
    assert len(got) == N + 1


def test_a_child_that_is_forked_in_a_handler_gets_none_of_the_rest(reported: dict[str, Any]) -> None:
    reader, writer = os.pipe()
    got: list[int] = []
    children: list[int] = []

    def on_message(message: Any) -> None:
        got.append(message["n"])
        if message["n"] == 40:
            child = os.fork()
            children.append(child)
            if not child:  # long enough for it to go on, if it would
                threading.Timer(0.3, lambda: (os.write(writer, bytes([len(got) - 41])), os._exit(0))).start()

    with _sent(MANY, **reported, on_message=on_message) as (client, log, _bus):
        client.start()
        assert client.wait(10)
    assert got == [*range(N)]
    assert os.read(reader, 1) == b"\0"
    os.waitpid(children[0], 0)
    assert _sum(log, "count") == N


def test_the_sums_of_a_long_run_are_emitted_every_second(reported: dict[str, Any]) -> None:
    """The last 5,000 of 12,000 messages come in one read or two, and take two seconds: none of them is slow."""
    messages = [f"{10_000_000 + number}" for number in range(12_000)]

    def work(number: int) -> None:
        if number >= 10_007_000:
            until = time.perf_counter() + 0.0004
            while time.perf_counter() < until:
                pass

    with _sent(messages, **reported, on_message=work) as (client, log, _bus):
        client.start()
        assert client.wait(30)
    windows = [one.measurements["window"] for one in log.of(ws.events.MESSAGE_BATCH_PROCESSED)]
    assert _sum(log, "count") == 12_000
    assert len(windows) >= 2
    assert max(windows) < 0.8 * sum(windows)


def test_what_is_due_gets_its_turn_while_many_messages_wait(reported: dict[str, Any]) -> None:
    """A channel that is refused on the second link is requested again a second later, between messages that
    came in one read and take two."""
    asked_again = threading.Event()
    links = iter(["ok", "refuse"])

    def script(connection: Connection) -> None:
        connection.accept_upgrade()
        channel = json.loads(connection.read_frame()[1])["channel"]
        if next(links) == "ok":
            connection.send(_frames([json.dumps({"type": "subscribed", "channel": channel})]))
            return
        connection.send(_frames([json.dumps({"type": "error", "channel": channel}), *MANY]))
        connection.read_frame()
        asked_again.set()
        connection.wait_closed()

    before: list[bool] = []

    def on_message(message: Any) -> None:
        time.sleep(0.004)
        before.append(not asked_again.is_set())

    bus = ws.Bus()
    with TcpServer(script) as server, capture_events(*reported.pop("observed", SUMS), bus=bus):
        profile = reported.pop("profile", ws.STANDARD).replace(first_retry=0.01)
        with ws.Client(server.url, profile=profile, on_message=on_message, subscriptions=["a"], bus=bus) as client:
            assert asked_again.wait(10)
            client.close(0.5)
    assert 0 < before.count(True) < N
