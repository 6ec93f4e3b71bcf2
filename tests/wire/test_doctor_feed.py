"""`wsnova-statsd doctor URL`: a client's way to a feed, against real servers and their faults."""

import datetime
import json
import os
import re
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
import trustme
from websockets.http11 import Response

import wsnova_statsd as ws
from tests.support import ROOT, tls_contexts, until
from wsnova_statsd.cli import doctor_feed
from wsnova_statsd.cli.doctor_feed import feed_hops, feed_options
from wsnova_statsd.cli.doctor_hops import FAILED, OK, UNSURE, Hop
from wsnova_statsd.cli.feed import AnyProtocol
from wsnova_statsd.testing.proxy import ConnectProxy
from wsnova_statsd.testing.server import ScriptedConnection, WebSocketServer, closes, send_messages, silent

TRADE = json.dumps({"type": "trade", "ts": 0})
WAY = ["name", "TCP", "upgrade", "message", "ping"]


class _Dated(ws.JsonProtocol[Any]):
    """A feed whose messages carry the time at which they were sent."""

    def sent_at(self, message: Any) -> float | None:
        return float(message["ts"])


def _hops(url: str, **more: Any) -> list[Hop]:
    given = {
        "protocol": AnyProtocol(),
        "subscriptions": (),
        "headers": None,
        "proxy": None,
        "compression": None,
        **more,
    }
    return list(feed_hops(feed_options({"url": url, **given})))


def _results(hops: list[Hop]) -> list[tuple[str, str]]:
    return [(hop.name, hop.result) for hop in hops]


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """The wait for what does not come is as long as a busy machine needs for what does."""
    monkeypatch.setattr(doctor_feed, "_LISTEN_SECONDS", 1.0)


@pytest.fixture
def no_server() -> str:
    with WebSocketServer() as server:
        return server.url


def test_every_hop_is_timed_on_one_connection_that_is_closed_in_order() -> None:
    """The first message's type is printed, and nothing else of it."""
    codes: list[int | None] = []

    def script(connection: ScriptedConnection) -> None:
        connection.send(TRADE)
        for _ in connection:
            pass
        codes.append(connection.close_code)

    with WebSocketServer(script) as server:
        hops = _hops(server.url)
        assert until(lambda: codes == [1000])
        assert server.connections == 1
    assert _results(hops) == [(name, OK) for name in WAY]
    assert all(hop.seconds is not None and 0 < hop.seconds < 5 for hop in hops)
    assert re.fullmatch(r"the first is of type trade, 26 bytes, after [\d.]+ [µm]?s", hops[3].message)
    assert re.fullmatch(r"round trip in [\d.]+ [µm]?s", hops[4].message)


def test_for_a_feed_under_tls_the_certificate_is_described() -> None:
    """Its owner, its issuer, and how many days are left."""
    serving, trusting = tls_contexts()
    with WebSocketServer(send_messages([TRADE]), ssl=serving) as server:
        hops = _hops(f"wss://localhost:{server.port}/x", ssl=trusting)
    assert _results(hops) == [(name, OK) for name in (*WAY[:2], "TLS", *WAY[2:])]
    assert re.match(
        r"TLSv1\.3; certificate of .+, signed by .+, a trusted chain.*, \d+ days left, after", hops[2].message
    )


def test_a_certificate_that_expires_soon_is_reported_before_it_does() -> None:
    """It is no failure yet."""
    ca, serving, trusting = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    soon = datetime.datetime.now(tz=datetime.UTC) + datetime.timedelta(days=5, hours=1)
    ca.issue_cert("localhost", not_after=soon).configure_cert(serving)
    ca.configure_trust(trusting)
    with WebSocketServer(send_messages([TRADE]), ssl=serving) as server:
        hop = _hops(f"wss://localhost:{server.port}/", ssl=trusting)[2]
    assert (hop.name, hop.result, hop.advice) == ("TLS", UNSURE, "renew the certificate")
    assert ", 5 days left" in hop.message


def test_an_untrusted_certificate_is_a_failure_with_what_to_do() -> None:
    with WebSocketServer(ssl=tls_contexts()[0]) as server:
        hop = _hops(f"wss://localhost:{server.port}/")[-1]
    assert (hop.name, hop.result) == ("TLS", FAILED)
    assert "certificate verify failed" in hop.message
    assert "set SSL_CERT_FILE to its file" in hop.advice


def test_each_hop_may_fail_and_is_the_last_then(no_server: str) -> None:
    """With a sentence that says what to do."""

    def refuse(connection: Any, request: Any) -> Response:
        response: Response = connection.respond(403, "not you\n")
        return response

    with (
        WebSocketServer(process_request=refuse) as refusing,
        WebSocketServer() as plain,
        WebSocketServer(closes(1008, "log in first")) as going_away,
    ):
        failures = {
            "name": _hops("ws://nowhere.invalid/"),
            "TCP": _hops(no_server),
            "TLS": _hops(f"wss://localhost:{plain.port}/"),
            "upgrade": _hops(refusing.url),
            "message": _hops(going_away.url),
        }
    for name, hops in failures.items():
        assert (hops[-1].name, hops[-1].result) == (name, FAILED)
        assert hops[-1].message
        assert hops[-1].advice
        assert all(hop.result == OK for hop in hops[:-1])
    assert "403" in failures["upgrade"][-1].message


@pytest.mark.usefixtures("short")
def test_a_silent_feed_is_no_failure_but_a_question() -> None:
    """With what to try next, which depends on whether a channel was requested."""
    with WebSocketServer(silent) as server:
        hops = _hops(server.url)
        asked = _hops(server.url, protocol=ws.JsonProtocol(), subscriptions=("btc",))
        assert server.received == ['{"type":"subscribe","channel":"btc"}']
    assert _results(hops)[3:] == [("message", UNSURE), ("ping", OK)]
    assert "--subscribe" in hops[3].advice
    assert "check the channel's name" in asked[3].advice


def test_the_difference_of_the_clocks_is_read_from_messages() -> None:
    """If the protocol knows when a message was sent; within a second it passes."""

    def script(apart: float) -> Any:
        def send(connection: ScriptedConnection) -> None:
            connection.send(json.dumps({"ts": time.time() - apart}))
            silent(connection)

        return send

    for apart, result, words in (
        (0.0, OK, "old when they arrive"),
        (60, UNSURE, "after it"),
        (-60, UNSURE, "before it"),
    ):
        with WebSocketServer(script(apart)) as server:
            hop = _hops(server.url, protocol=_Dated())[-1]
        assert (hop.name, hop.result) == ("clock", result)
        assert words in hop.message
        assert hop.seconds == pytest.approx(apart, abs=2)


def test_json_rpc_gets_a_request_with_an_id() -> None:
    """A subscription is a request with an id; its reply is the first message."""

    def script(connection: ScriptedConnection) -> None:
        asked = json.loads(connection.recv())
        connection.send(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": asked["params"]["channels"]}))
        silent(connection)

    with WebSocketServer(script) as server:
        hops = _hops(server.url, protocol=ws.JsonRpcProtocol(), subscriptions=("btc",))
    assert "of type response" in hops[3].message


def test_what_the_protocol_cannot_read_is_reported_without_its_text() -> None:
    """A hostile type does not move the cursor either."""
    hostile = json.dumps({"type": "\x1b[2J" + "x" * 5000})
    with (
        WebSocketServer(send_messages(["secret: hunter2"])) as rubbish,
        WebSocketServer(send_messages([hostile])) as odd,
    ):
        unread = _hops(rubbish.url, protocol=ws.JsonProtocol())[3]
        typed = _hops(odd.url)[3]
    assert unread.message.startswith("the first is one that the protocol cannot read (JSONDecodeError")
    assert "hunter2" not in unread.message
    assert typed.message.isprintable()
    assert len(typed.message) < 150


def test_a_proxy_replaces_the_hops_of_name_and_tcp(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the variables; one that does not answer is named."""
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with WebSocketServer(send_messages([TRADE])) as server, ConnectProxy() as proxy:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
        hops = _hops(server.url, proxy="env")
    assert _results(hops) == [(name, OK) for name in ("proxy", *WAY[2:])]
    assert "(from http_proxy) opened a tunnel" in hops[0].message
    failed = _hops(server.url, proxy="env")[-1]
    assert (failed.name, failed.result) == ("proxy", FAILED)
    assert "nothing listens" in failed.message


@pytest.fixture
def listening() -> Iterator[int]:
    """A port whose listener never answers."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        port: int = sock.getsockname()[1]
        yield port


def test_a_server_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch, listening: int) -> None:
    monkeypatch.setattr(doctor_feed, "_DIAL_SECONDS", 0.3)
    hop = _hops(f"ws://127.0.0.1:{listening}/")[-1]
    assert (hop.name, hop.result) == ("upgrade", FAILED)
    assert "0.3 s" in hop.message


def _doctor(*arguments: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "error", "-m", "wsnova_statsd", "doctor", *arguments]
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=50, check=False)


def test_the_command_prints_a_line_for_each_hop_and_a_verdict(no_server: str) -> None:
    """Status 0 if nothing failed, otherwise 1; the Agent is not tried."""
    with WebSocketServer(send_messages([TRADE])) as server:
        well, document = _doctor(server.url), _doctor(f"{server.url}/?token=hunter2", "--json")
    assert well.returncode == 0
    *lines, verdict = well.stdout.splitlines()
    assert [line.split()[:2] for line in lines] == [["ok", name] for name in WAY]
    assert verdict == "All right; a client can listen to it."
    found = json.loads(document.stdout)
    assert (found["ok"], found["url"]) == (True, f"{server.url}/")
    assert [(hop["hop"], hop["result"]) for hop in found["hops"]] == [(name, "ok") for name in WAY]
    assert all(hop["seconds"] > 0 for hop in found["hops"])
    assert "hunter2" not in document.stdout
    failed = _doctor(no_server)
    assert (failed.returncode, failed.stdout.splitlines()[-1]) == (1, "Not all right: the hop 'TCP' failed.")


@pytest.mark.parametrize(
    ("arguments", "reported"),
    [
        (["http://feed.example/"], "url is 'http://feed.example/'; allowed: ws://"),
        (["ws://h/", "--port", "8125"], "--host, --port and --socket name the Agent"),
        (["--subscribe", "btc"], "--subscribe, --header and --protocol are for a feed; pass its URL too"),
        (["ws://h/", "--protocol", "text", "--subscribe", "btc"], "--protocol text has no message for it"),
    ],
)
def test_bad_input_is_one_sentence(arguments: list[str], reported: str) -> None:
    """Status 2, before anything is tried."""
    done = _doctor(*arguments)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert reported in done.stderr
