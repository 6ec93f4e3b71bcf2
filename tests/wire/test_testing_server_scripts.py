"""The ready scripts of the test kit's WebSocket server."""

import pytest
from websockets.exceptions import ConnectionClosed, ConnectionClosedError
from websockets.sync.client import connect

from wsnova_statsd.testing.server import (
    ScriptedConnection,
    WebSocketServer,
    answers,
    closes,
    echo,
    send_messages,
    silent,
)

from .peers import dial_websocket


@pytest.mark.parametrize(("then", "close_code"), [("wait", None), ("close", 1000), ("drop", 1006)])
def test_prepared_messages_then_an_ending(then: str, close_code: int | None) -> None:
    """`send_messages` sends to every client, then waits, closes or drops."""
    script = send_messages(iter(["a", b"b"]), then=then)  # type: ignore[arg-type]  # one of the three literals
    with WebSocketServer(script) as server:
        for _ in range(2):
            with dial_websocket(server) as client:
                assert [client.recv(5), client.recv(5)] == ["a", b"b"]
                with pytest.raises(TimeoutError if then == "wait" else ConnectionClosed):
                    client.recv(0.05 if then == "wait" else 5)
                assert client.close_code == close_code


def test_a_script_of_answers() -> None:
    """`answers` replies to each message, and not to None."""
    with (
        WebSocketServer(answers(lambda message: "pong" if message == "ping" else None)) as server,
        dial_websocket(server) as client,
    ):
        client.send("nothing to say to this")
        client.send("ping")
        assert client.recv(5) == "pong"


def test_a_silent_script() -> None:
    """`silent` reads and never answers."""
    with WebSocketServer(silent) as server, dial_websocket(server) as client:
        client.send("anybody there?")
        assert server.wait_for(lambda: server.received == ["anybody there?"])
        with pytest.raises(TimeoutError):
            client.recv(0.02)


def test_a_script_that_closes_at_once() -> None:
    """`closes` ends each connection with its code and reason."""
    with WebSocketServer(closes(1013, "try again later")) as server, dial_websocket(server) as client:
        with pytest.raises(ConnectionClosedError, match="try again later"):
            client.recv(5)
        assert client.close_code == 1013


def test_a_script_that_fails_closes_with_1011(caplog: pytest.LogCaptureFixture) -> None:
    """Its error is logged with the traceback, and the server goes on."""

    def script(connection: ScriptedConnection) -> None:
        if connection.request is not None and connection.request.path == "/fault":
            raise LookupError("a mistake in the script")
        echo(connection)

    with WebSocketServer(script) as server:
        with connect(f"{server.url}/fault") as client, pytest.raises(ConnectionClosedError):
            client.recv(5)
        assert client.close_code == 1011
        with dial_websocket(server) as client:
            client.send("x")
            assert client.recv(5) == "x"
    assert "a mistake in the script" in caplog.text
