"""The page about protocols: its programs run, and its tables are those of the code."""

import inspect
import json
import re
from typing import Any

import pytest

import wsnova_statsd as ws
from tests.stories.page_blocks import Page, code
from wsnova_statsd.testing.capture import capture_events
from wsnova_statsd.testing.metrics import capture_metrics
from wsnova_statsd.testing.server import WebSocketServer, answers, send_messages

PAGE = Page("protocols")


def test_every_block_is_run_by_one_of_the_tests_below() -> None:
    assert PAGE.marked_once("class Ticker", "import orjson", "get_time", "class Ticks")


def test_the_complete_program_subscribes_and_receives(capsys: pytest.CaptureFixture[str]) -> None:
    """Each of its methods has a say: the heartbeat is answered, types are kinds, the lag is measured."""
    with capture_metrics() as metrics, ws.Monitor("financial", reporter=metrics.reporter):
        names = PAGE.run("class Ticker")
    assert capsys.readouterr().out == "64000.5 ['trades.BTC']\n"
    assert {"op": "beat", "n": 1} in map(json.loads, names["server"].received)
    for kind, count in (("trades", 1), ("control", 2)):
        metrics.assert_count("websocket.message.received", count, tags={"type": kind})
    metrics.assert_count("websocket.message.lag", 1)


def test_orjson_reads_what_comes(capsys: pytest.CaptureFixture[str]) -> None:
    with WebSocketServer(send_messages(['{"price": 1.5}'])) as feed:
        PAGE.run("import orjson", feed.url)
    assert capsys.readouterr().out == "{'price': 1.5}\n"


def test_json_rpc_subscribes_in_one_request_and_asks(capsys: pytest.CaptureFixture[str]) -> None:
    def answer(text: Any) -> str:
        asked = json.loads(text)
        result = asked["params"]["channels"] if asked["method"] == "public/subscribe" else 1_700_000_000
        return json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": result})

    with WebSocketServer(answers(answer)) as server:
        PAGE.run("get_time", server.url)
    assert [json.loads(text)["method"] for text in server.received] == ["public/subscribe", "public/get_time"]
    assert capsys.readouterr().out == "1700000000\n"


def test_a_typed_client_gives_what_decode_made(capsys: pytest.CaptureFixture[str]) -> None:
    """What checkers say of it is tested in tests/typing."""
    with WebSocketServer(send_messages(['{"price": 1.5}'])) as feed:
        names = PAGE.run("class Ticks", feed.url)
    assert names["tick"] == names["Tick"](1.5)
    assert capsys.readouterr().out == "1.5\n"


def test_the_table_of_methods_has_each_method_with_its_arguments() -> None:
    listed = dict(re.findall(r"(\w+)\((.*?)\)", " ".join(code([row[0] for row in PAGE.table("method")]))))
    methods = {name: one for name, one in vars(ws.Protocol).items() if name[0] != "_" and inspect.isfunction(one)}
    assert listed == {name: ", ".join([*inspect.signature(one).parameters][1:]) for name, one in methods.items()}
    for attribute in ("text_errors", "channels_per_message"):
        assert f"`{attribute}`" in PAGE.text.split("There are two attributes:")[1]


@pytest.mark.parametrize("heading", ["reading | json | orjson", "writing | json | orjson"])
def test_the_differences_of_json_and_orjson_are_those_of_the_docstring(heading: str) -> None:
    """Which are run with both, each by each."""
    rows = [" ".join(line.split()) for line in (ws.JsonProtocol.__doc__ or "").splitlines()]
    start = rows.index(f"| {heading} |") + 2
    shown = PAGE.table(heading)
    assert [f"| {' | '.join(row)} |" for row in shown] == rows[start : start + len(shown)]
    assert not rows[start + len(shown)].startswith("|")


@pytest.mark.parametrize("type_", ["method", "action", "event", "e", "op", "channel"])
def test_a_field_that_names_the_type_is_on_the_page(type_: str) -> None:
    assert ws.JsonProtocol[Any]().message_type({type_: "trade", "x": "y"}) == "trade"
    sentence = PAGE.text.split("uses the first string among the fields")[1].split(". A reply")[0]
    assert f"`{type_}`" in sentence


def test_a_plain_protocol_neither_subscribes_nor_asks() -> None:
    with WebSocketServer() as echoes, ws.Client(echoes.url, protocol=ws.Protocol()) as client:
        for call in (client.subscribe, client.request):
            with pytest.raises(ws.errors.ConfigurationError, match="cannot"):
                call("trades.BTC")


class _Faulty(ws.JsonProtocol[Any]):
    def message_type(self, message: Any) -> str:
        raise ValueError("no type")


def test_what_raises_costs_what_the_table_says() -> None:
    """Decode, message_type and encode, on one connection that goes on."""
    script = send_messages(["no JSON", '{"price": 1.5}'])
    with WebSocketServer(script) as feed, capture_events() as events:
        with ws.Client(feed.url, profile="financial", protocol=_Faulty()) as client:
            assert client.receive(timeout=5) == {"price": 1.5}
            with pytest.raises(ws.errors.EncodeError):
                client.send(object())
        assert feed.connections == 1
    faults = [one.metadata["error_type"] for one in events.of(ws.events.ERROR_OCCURRED)]
    assert faults == [*code([row[1].partition(";")[0] for row in PAGE.table("what raises")][:2]), "encode"]
    assert [one.metadata["type"] for one in events.of(ws.events.MESSAGE_RECEIVED)] == ["invalid", "unknown"]
