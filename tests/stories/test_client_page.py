"""The page about the client: its programs run, and its tables are those of the code."""

import ast
import inspect
import json
import re
from collections.abc import Callable
from typing import Any

import pytest

import wsnova_statsd as ws
from tests.stories.page_blocks import Page, code, shown_and_closed
from tests.support import ROOT, until
from wsnova_statsd.client.health import Health
from wsnova_statsd.testing.capture import capture_events
from wsnova_statsd.testing.server import WebSocketServer, answers, echo, send_messages
from wsnova_statsd.testing.tcp import TcpServer, refuses

PAGE = Page("client")
TRADES = send_messages([f'{{"type": "trade", "n": {number}}}' for number in range(3)])
FIRST = {"type": "trade", "n": 0}
LOOP, CALLBACK = 'with ws.Client("wss://feed.example/ws", client_id="md-1", profile', 'client.send({"type": "hello"}'


def test_every_block_is_run_by_one_of_the_tests_below() -> None:
    assert PAGE.marked_once(
        *(LOOP, CALLBACK, "HandshakeRefused", "subprotocols=", "unsubscribe", "HeaderAuth", "MessageAuth"),
        *("get_time", "send_binary", "idle_timeout", "hand_over", "def consume"),
    )


@pytest.mark.parametrize("mark", [LOOP, "def consume"])
def test_a_loop_is_handed_each_message_until_the_client_is_closed(mark: str) -> None:
    """In the program itself, and in a thread of an asyncio loop."""
    shown: list[Any] = []
    with WebSocketServer(TRADES) as feed:
        PAGE.run(mark, feed.url, print=shown_and_closed(shown))
    assert shown[0] == FIRST


def test_a_client_with_a_function_sends_and_is_called() -> None:
    """With what the server echoes."""
    shown: list[Any] = []
    with WebSocketServer() as echoes, PAGE.run(CALLBACK, echoes.url, print=shown.append)["client"] as client:
        assert until(lambda: shown == [{"type": "hello"}])
        assert client.state is ws.State.CONNECTED
    assert echoes.received == ['{"type":"hello"}']


def test_a_refusal_is_known_by_its_status(capsys: pytest.CaptureFixture[str]) -> None:
    with TcpServer(refuses(404)) as server:
        PAGE.run("HandshakeRefused", server.url)
    assert capsys.readouterr().out == "refused with status 404\n"


def test_the_upgrade_has_what_the_options_say(capsys: pytest.CaptureFixture[str]) -> None:
    with WebSocketServer(subprotocols=["v1.feed"]) as server:
        PAGE.run("subprotocols=", server.url)
    headers = server.requests[0].headers
    assert (headers["Origin"], headers["X-Team"]) == ("https://app.example", "md")
    assert "User-Agent" not in headers
    assert capsys.readouterr().out == "the server chose v1.feed\n"


def _confirmed(text: Any) -> str:
    message = json.loads(text)
    return json.dumps({"type": f"{message['type']}d", "channel": message["channel"]})


def test_channels_are_wanted_and_confirmed(capsys: pytest.CaptureFixture[str]) -> None:
    with WebSocketServer(answers(_confirmed)) as server:
        PAGE.run("unsubscribe", server.url)
    assert capsys.readouterr().out == "['trades.BTC'] ['trades.BTC']\n"


def _login(text: Any) -> str:
    return json.dumps({"type": "login", "ok": json.loads(text)["token"] == "s3cret"})


@pytest.mark.parametrize(("mark", "script"), [("HeaderAuth", echo), ("MessageAuth", answers(_login))])
def test_a_login_sends_the_token(
    mark: str, script: Callable[..., object], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FEED_TOKEN", "s3cret")
    with WebSocketServer(script) as server, capture_events() as events:
        PAGE.run(mark, server.url)
    sent = server.requests[0].headers.get("Authorization", *server.received)
    assert sent in ("Bearer s3cret", '{"type":"login","token":"s3cret"}')
    events.assert_count(ws.events.AUTH_COMPLETED, 1)
    assert capsys.readouterr().out == "State.CONNECTED\n"


def _time(text: Any) -> str:
    assert json.loads(text)["method"] == "public/get_time"
    return json.dumps({"jsonrpc": "2.0", "id": json.loads(text)["id"], "result": 1_700_000_000})


def test_a_request_has_its_reply(capsys: pytest.CaptureFixture[str]) -> None:
    with WebSocketServer(answers(_time)) as server:
        PAGE.run("get_time", server.url)
    assert capsys.readouterr().out == "1700000000\n"


def test_what_is_sent_goes_out_as_its_kind() -> None:
    with WebSocketServer() as server:
        PAGE.run("send_binary", server.url)
        assert server.wait_for(lambda: len(server.received) == 3)
    assert server.received == ['{"type":"order","price":100}', "ping", b"\x00\x01"]


def test_a_profile_with_a_shorter_ping_is_one_value_away(capsys: pytest.CaptureFixture[str]) -> None:
    with WebSocketServer() as server:
        names = PAGE.run("idle_timeout", server.url)
    assert capsys.readouterr().out == "State.CONNECTED\n"
    assert names["profile"] == ws.STANDARD.replace(ping_interval=5, pong_timeout=2)


def test_asyncio_gets_the_messages_in_its_own_thread(capsys: pytest.CaptureFixture[str]) -> None:
    with WebSocketServer(TRADES) as feed:
        PAGE.run("hand_over", feed.url)
        assert feed.wait_for(lambda: feed.open_connections == 0)
    assert capsys.readouterr().out == f"{FIRST}\n"


def test_the_page_names_every_argument_of_a_client() -> None:
    """And the calls in its table are there, with these arguments."""
    arguments = set(inspect.signature(ws.Client).parameters)
    assert {name for name in arguments if not re.search(rf"[`(]{name}\b|\b{name}=", PAGE.text)} == set()
    for name, given in (re.findall(r"(\w+)\((\w*)", cell[0])[0] for cell in PAGE.table("call")):
        assert given in ("", *inspect.signature(getattr(ws.Client, name)).parameters)


def test_the_table_of_health_has_its_keys() -> None:
    assert sorted(word for row in PAGE.table("key") for word in code(row[:1])) == sorted(Health.__annotations__)


def test_the_states_are_all_named() -> None:
    sentence = PAGE.text.split("`client.state` is one of `ws.State`:")[1].split(". `client.waiting`")[0]
    assert re.findall(r"\b[A-Z]{2,}\b", sentence) == [state.name for state in ws.State]


def test_the_table_of_threads_has_each_thread_of_the_package() -> None:
    """By the role that `process.thread_name` is called with."""
    roles = set()
    for path in (ROOT / "wsnova_statsd").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("thread_name"):
                roles.add(ast.literal_eval(node.args[0]))
    named = [name for row in PAGE.table("thread") for name in re.findall(r"`wsnova-(\w+)", row[0])]
    assert sorted(named) == sorted(roles)
