"""The page for users of websocket-client: before and after store the same, and its tables name what there is."""

import builtins
import inspect
import json
import re
import ssl
from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import Any

import pytest
import websocket

import wsnova_statsd as ws
from tests.faults.pages import EXAMPLES, files
from tests.markdown import tables
from wsnova_statsd.testing.receiver import DogStatsDReceiver
from wsnova_statsd.testing.server import ScriptedConnection, WebSocketServer, closes, send_messages

URL = "wss://feed.example/ws"
NAME = "migrating_from_websocket_client.md"
PROGRAMS = files(NAME)
PAGE = (EXAMPLES / NAME).read_text(encoding="utf-8")
TABLES = {heading: rows[2:] for heading, rows in tables(PAGE)}
SUBSCRIBE = {"type": "subscribe", "channel": "trades.BTC"}


class _Enough(Exception):
    """Ends a block that runs for ever."""


@pytest.fixture
def agent(monkeypatch: pytest.MonkeyPatch) -> Iterator[DogStatsDReceiver]:
    """The Agent of this machine, as the variables say; what the programs start is stopped."""
    with DogStatsDReceiver() as receiver:
        monkeypatch.setenv("DD_DOGSTATSD_URL", f"udp://{receiver.host}:{receiver.port}")
        yield receiver


def _subscribing(connection: ScriptedConnection) -> None:
    """Confirms one subscription, sends ten trades, and drops the first two connections."""
    connection.recv()
    connection.send('{"type": "subscribed", "channel": "trades.BTC"}')
    first = 10 * (connection.owner.connections - 1)
    for number in range(first, first + 10):
        connection.send(f'{{"type": "trade", "n": {number}}}')
    if first < 20:
        connection.drop()
    for _message in connection:
        pass


def _run(program: str, feed: WebSocketServer, until: int, close: Callable[[dict[str, Any]], object]) -> list[int]:
    """The numbers of the trades that a program of the page stores; it is closed once there are so many."""
    stored: list[int] = []

    def store(message: dict[str, Any]) -> None:
        stored.append(message["n"])
        if len(stored) == until:
            close(names)

    names: dict[str, Any] = {"store": store, "token": lambda: "t-1"}
    try:
        exec(compile(PROGRAMS[program].replace(URL, feed.url), "the page", "exec"), names)
    except _Enough:
        pass
    finally:
        if "connection" in names:
            names["connection"].shutdown()
    return stored


def _end(_names: dict[str, Any]) -> None:
    raise _Enough


def _received(agent: DogStatsDReceiver) -> float:
    return agent.count("websocket.message.batch.count", ["client:md-1", "direction:received"])


@pytest.mark.parametrize(("program", "of", "errors"), [("before.py", "app", 1), ("after.py", "client", 2)])
def test_before_and_after_store_the_same_over_lost_connections(
    program: str, of: str, errors: int, agent: DogStatsDReceiver, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both subscribe and send the header on each link; on_error of the first is silent once it has reconnected."""
    ours = of == "client"
    with WebSocketServer(_subscribing) as feed:
        assert _run(program, feed, 30, lambda names: names[of].close()) == list(range(30))
        assert [json.loads(one) for one in feed.received] == [SUBSCRIBE] * 3
        assert [one.headers["Authorization"] for one in feed.requests] == ["Bearer t-1"] * 3
    assert capsys.readouterr().out.count("error: ") == errors
    if ours:
        ws.init("standard").stop()
    agent.stop()
    assert agent.count("websocket.connection.reconnect.success", ["client:md-1"]) == (2 if ours else 0)
    assert _received(agent) == (33 if ours else 0)


def test_a_bare_connection_ends_with_its_link_before_and_goes_on_after(agent: DogStatsDReceiver) -> None:
    with WebSocketServer(_subscribing) as feed, pytest.raises(websocket.WebSocketConnectionClosedException):
        _run("bare_before.py", feed, 11, _end)
    with WebSocketServer(_subscribing) as feed:
        assert _run("bare_before.py", feed, 10, _end) == list(range(10))
    with WebSocketServer(_subscribing) as feed:
        assert _run("bare_after.py", feed, 30, _end) == list(range(30))
    agent.stop()
    assert _received(agent) == 33


def test_the_two_lines_leave_the_program_as_it_is_and_count_it(agent: DogStatsDReceiver) -> None:
    with WebSocketServer(send_messages([f'{{"type": "trade", "n": {n}}}' for n in range(5)], then="drop")) as feed:
        assert _run("two_lines.py", feed, 10, lambda names: names["app"].close()) == [*range(5), *range(5)]
    ws.init("financial").stop()
    agent.stop()
    assert agent.count("websocket.message.received", ["client:md-1", "type:trade"]) == 10


def test_the_handler_in_place_of_on_close_gets_the_servers_code_and_text(capsys: pytest.CaptureFixture[str]) -> None:
    """With `reconnect=False` on_error has the same as its cause, and the loop ends."""
    faults: list[Exception] = []
    try:
        exec(compile(PROGRAMS["closed.py"], "the page", "exec"), {})
        with WebSocketServer(closes(1001, "restart")) as feed:
            client = ws.Client(feed.url, client_id="md-1", reconnect=False, on_error=faults.append)
            assert list(client) == []
    finally:
        ws.telemetry.detach("on-close")
    assert capsys.readouterr().out == "md-1 close_1001 restart\n"
    [fault] = faults
    assert isinstance(fault, ws.errors.ConnectionFailed)
    assert fault.cause == "close_1001"


def test_every_program_of_the_page_is_run() -> None:
    blocks = re.findall(r"^```python\n# (\S+)$", PAGE, re.MULTILINE)
    assert blocks == ["two_lines.py", "before.py", "after.py", "bare_before.py", "bare_after.py", "closed.py"]
    assert PAGE.count("```python") == len(blocks)


def _words(heading: str, column: int, pattern: str = r"\b([a-z_]\w*)") -> set[str]:
    """The words in the code of a table's column."""
    code = [span for row in TABLES[heading] for span in re.findall(r"`([^`]+)`", row[column])]
    return {word for span in code for word in re.findall(pattern, span)}


@pytest.mark.parametrize(
    ("heading", "function"),
    [
        ("Arguments of WebSocketApp", websocket.WebSocketApp),
        ("Options of run_forever", websocket.WebSocketApp.run_forever),
    ],
)
def test_each_argument_of_websocket_client_has_a_row(heading: str, function: Any) -> None:
    """And each argument of ours that stands beside it is one."""
    assert {*inspect.signature(function).parameters} - {"self"} <= _words(heading, 0)
    known = {*inspect.signature(ws.Client).parameters, *(one.name for one in fields(ws.Profile)), "text_errors"}
    given = _words(heading, 1, r"(?<![\"\w])(\w+)=")
    assert given
    assert given <= known
    words = {span for row in TABLES[heading] for span in re.findall(r"`([a-z_]+)`", row[1])}
    assert words <= known | {"greeting", "socks", "financial"}  # a method of a protocol, an extra, a profile


def test_the_methods_and_errors_of_both_sides_exist() -> None:
    owners: dict[str, Any] = {"app": websocket.WebSocketApp, "connection": websocket.WebSocket, "client": ws.Client}
    for heading in ("Methods", "Arguments of WebSocketApp", "Options of run_forever"):
        for row in TABLES[heading]:
            for owner, name in re.findall(r"`(?:[^`]*[ =(])?(app|connection|client)\.(?!md)(\w+)", " ".join(row)):
                assert (owner, name) == ("app", "sock") or hasattr(owners[owner], name), name
            for name in re.findall(r"\bwebsocket\.(\w+)", row[0]):
                assert hasattr(websocket, name), name
    for theirs, ours in TABLES["Errors"]:
        for name in re.findall(r"`(\w+)`", theirs):
            assert hasattr(websocket, name) or hasattr(builtins, name), name
        for name in re.findall(r"`([A-Z]\w+)`", ours):
            assert hasattr(ws.errors, name) or hasattr(builtins, name), name


@pytest.mark.parametrize(
    ("url", "options", "cause"),
    [
        ("ws://nowhere.invalid/", {}, "dns"),
        ("ws://feed.example/", {"proxy": "http://127.0.0.1:1"}, "proxy"),
        ("ws://127.0.0.1:1/", {}, "refused"),
    ],
)
def test_the_causes_of_the_errors_table_are_so(url: str, options: dict[str, Any], cause: str) -> None:
    once = ws.STANDARD.replace(max_attempts=1, first_retry=0.0, retry_base=0.01, retry_cap=0.01)
    with pytest.raises(ws.errors.ConnectionFailed) as raised:
        ws.Client(url, client_id="md-1", profile=once, bus=ws.Bus(), **options).start()
    assert raised.value.cause == cause
    assert f'.cause == "{cause}"' in PAGE


def test_the_calls_for_sslopt_are_those_of_a_context() -> None:
    context = ssl.create_default_context()
    for row in TABLES["sslopt"]:
        for name in re.findall(r"context\.(\w+)", row[1]):
            assert hasattr(context, name), name
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # in this order; the other one raises
    assert ws.Client("wss://feed.example/", ssl=context, server_hostname="feed.example", bus=ws.Bus())


def test_a_host_and_an_origin_may_be_left_out() -> None:
    with WebSocketServer() as feed, ws.Client(feed.url, headers={"Host": None, "Origin": None}, bus=ws.Bus()):
        assert not {"host", "origin"} & {name.lower() for name, _ in feed.requests[0].headers.raw_items()}
