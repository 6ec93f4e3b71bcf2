"""Why a connection cannot be made, or ends: each cause is emitted, and retried after the right pause."""

import itertools
import socket
import ssl
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import trustme

import wsnova_statsd as ws
from tests.faults.support import QUICK
from tests.support import LATE
from wsnova_statsd.testing.capture import EventLog, capture_events
from wsnova_statsd.testing.server import ScriptedConnection, WebSocketServer, closes, echo
from wsnova_statsd.testing.tcp import (
    Connection,
    LoopbackPort,
    TcpServer,
    accept_then_close,
    never_answers,
    refuses,
    wrong_accept_key,
)

events, errors = ws.events, ws.errors
ATTEMPT, SUCCESS, FAILED = (
    events.CONNECTION_RECONNECT_ATTEMPT,
    events.CONNECTION_RECONNECT_SUCCESS,
    events.CONNECTION_RECONNECT_FAILED,
)

PATIENCE = 20.0  # seconds; reached only by a failing test


def _ignore(message: Any) -> None:
    pass


def _starts_in_vain(client: ws.Client, log: EventLog, until: str) -> None:
    """Start a client that cannot connect, and close it after the first event of this name."""
    with ThreadPoolExecutor(1) as pool:
        starting = pool.submit(client.start, PATIENCE)
        reported = log.wait_for(until, 1, PATIENCE)
        client.close()
        with pytest.raises(errors.ConnectionFailed):
            starting.result(PATIENCE)
    assert reported


def _first_fault(client: ws.Client, log: EventLog) -> str:
    """The cause of the first failed retry of a client that cannot connect."""
    _starts_in_vain(client, log, FAILED)
    return str(log.of(FAILED)[0].metadata["reason"])


@pytest.mark.parametrize(
    ("script", "cause", "kind"),
    [
        (never_answers, "timeout", "timeout"),
        (accept_then_close, "handshake", "handshake"),
        (wrong_accept_key, "handshake", "handshake"),
        (refuses(429), "http_429", "handshake"),
        (refuses(503), "http_503", "handshake"),
    ],
)
def test_each_way_of_not_answering_has_its_cause(script: Callable[[Connection], object], cause: str, kind: str) -> None:
    """Retried, with the cause in reconnect.failed and the kind in error.occurred."""
    profile = QUICK.replace(retry_cap=0.05)
    with TcpServer(script) as server, capture_events("websockex_nova") as log:
        client = ws.Client(server.url, profile=profile, connect_timeout=0.2, on_message=_ignore)
        assert _first_fault(client, log) == cause
        assert {one.metadata["error_type"] for one in log.of(events.ERROR_OCCURRED)} == {kind}
        assert server.wait_for(lambda: server.connections >= 2)


def test_a_port_without_a_listener_is_refused() -> None:
    """Cause refused, in every attempt after the first."""
    port = LoopbackPort()
    with capture_events("websockex_nova") as log:
        client = ws.Client(f"ws://127.0.0.1:{port.port}", profile=QUICK)
        assert _first_fault(client, log) == "refused"
        assert {one.metadata["cause"] for one in log.of(ATTEMPT)} == {"refused"}


def test_a_name_that_does_not_resolve_for_thirty_tries_and_then_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cause dns; the client goes on past the alarm, which is raised once, and recovers."""
    real, tries = socket.getaddrinfo, itertools.count(1)
    profile = QUICK.replace(retry_cap=0.02, max_attempts=10, stable_after=0.0)

    def flaky(host: Any, *arguments: Any, **options: Any) -> Any:
        if host == "feed.test":
            if next(tries) <= 30:
                raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
            host = "127.0.0.1"
        return real(host, *arguments, **options)

    def url() -> str:
        return server.url if started.is_set() is False else server.url.replace("127.0.0.1", "feed.test")

    started = threading.Event()
    with WebSocketServer(echo) as server, capture_events("websockex_nova") as log:
        monkeypatch.setattr(socket, "getaddrinfo", flaky)
        with ws.Client(url, profile=profile, on_message=_ignore):
            started.set()
            server.drop_all()
            assert log.wait_for(SUCCESS, 1, 10.0)
        failed = log.of(FAILED)
        assert [one.metadata["reason"] for one in failed] == ["dns"] * 30
        assert [one.metadata["final"] for one in failed].count(True) == 1
        assert failed[9].metadata["final"]
        assert log.of(SUCCESS)[0].measurements["attempt"] == 31


def test_a_certificate_of_an_unknown_authority_is_a_tls_failure() -> None:
    """Cause tls, raised by the first start at once; verification is on unless a context says otherwise."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("localhost").configure_cert(context)
    with WebSocketServer(echo, ssl=context) as server, capture_events("websockex_nova") as log:
        with pytest.raises(errors.ConnectionFailed) as caught:
            ws.Client(server.url, profile=QUICK).start(5.0)
        assert (caught.value.cause, log.count(events.CONNECTION_STARTED)) == ("tls", 1)
        assert [one.metadata["severity"] for one in log.of(events.ERROR_OCCURRED)] == ["critical"]
        assert server.connections == 0


@pytest.mark.parametrize("on_message", [None, _ignore], ids=["iterated", "callback"])
@pytest.mark.parametrize("status", [302, 400, 401, 403, 404, 405, 410, 426])
def test_a_first_start_raises_at_once_for_what_no_other_try_fixes(
    status: int, on_message: Callable[[Any], object] | None
) -> None:
    """The URL and the headers are constants: one dial, a critical error, and the client is closed."""
    with TcpServer(refuses(status)) as server, capture_events("websockex_nova") as log:
        client = ws.Client(server.url, profile=ws.STANDARD, on_message=on_message)
        began = time.monotonic()
        with pytest.raises(errors.HandshakeRefused) as caught:
            client.start()
        assert time.monotonic() - began < 2.0
        assert (caught.value.status, server.connections, client.state) == (status, 1, ws.State.CLOSED)
        assert [one.metadata["severity"] for one in log.of(events.ERROR_OCCURRED)] == ["critical"]


@pytest.mark.parametrize("given", ["url", "headers"])
def test_a_function_is_called_once_more_before_a_first_start_raises(given: str) -> None:
    """Its next return value may differ; a second refusal is final."""
    asked: list[int] = []
    with TcpServer(refuses(404)) as server:

        def url() -> str:
            asked.append(1)
            return server.url

        def headers() -> dict[str, str]:
            asked.append(1)
            return {}

        where: Any = url if given == "url" else server.url
        client = ws.Client(where, headers=headers if given == "headers" else None, profile=QUICK, client_id="a")
        with pytest.raises(errors.HandshakeRefused):
            client.start(5.0)
        assert (len(asked), server.connections) == (2, 2)


@pytest.mark.parametrize("script", [refuses(500), refuses(502), accept_then_close])
def test_a_first_start_that_goes_on_trying_is_logged(
    script: Callable[[Connection], object], caplog: pytest.LogCaptureFixture
) -> None:
    """One warning at its first failed try, and none for each of the next."""
    with TcpServer(script) as server:
        client = ws.Client(server.url, client_id="md-1", profile=QUICK, on_message=_ignore)
        with pytest.raises(errors.ConnectionFailed):
            client.start(0.5)
        assert server.connections > 1
    texts = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(texts) == 1
    assert texts[0].startswith("client md-1: not connected yet, retrying: ")


def test_a_refused_upgrade_waits_at_the_cap_and_alerts_at_once() -> None:
    """An HTTP answer is no outage: the cap from the first retry on, severity error."""
    profile = QUICK.replace(retry_base=0.01, retry_cap=0.4)
    with TcpServer(refuses(500)) as server, capture_events("websockex_nova") as log:
        _starts_in_vain(ws.Client(server.url, profile=profile, on_message=_ignore), log, ATTEMPT)
        assert server.connections <= 2
        assert 0.36 <= log.of(ATTEMPT)[0].measurements["delay"] / 1e9 < 0.4 + LATE
        assert log.of(events.ERROR_OCCURRED)[0].metadata["severity"] == "error"


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_honoured(status: int) -> None:
    """One second, from the server, although the profile would be quicker."""
    with TcpServer(refuses(status, {"Retry-After": "1"})) as server, capture_events("websockex_nova") as log:
        _starts_in_vain(ws.Client(server.url, profile=QUICK, on_message=_ignore), log, ATTEMPT)
        assert server.connections <= 2
        assert 1.0 <= log.of(ATTEMPT)[0].measurements["delay"] / 1e9 < 1.0 + LATE


@pytest.mark.parametrize("code", [1000, 1001, 1008, 1011, 1012, 1013, 4000])
def test_every_close_code_is_followed_by_a_new_connection(code: int) -> None:
    """Reason close_<code> in disconnected and as the cause of the attempt."""

    def script(connection: ScriptedConnection) -> None:
        if server.connections == 1:
            closes(code, "bye")(connection)
        else:
            echo(connection)

    with WebSocketServer(script) as server, capture_events("websockex_nova") as log:
        with ws.Client(server.url, profile=QUICK, on_message=_ignore):
            assert log.wait_for(SUCCESS)
        first = log.of(events.CONNECTION_DISCONNECTED)[0].metadata
        assert (first["reason"], first["detail"]) == (f"close_{code}", "bye")
        assert log.of(ATTEMPT)[0].metadata["cause"] == f"close_{code}"


@pytest.mark.parametrize(("code", "severity"), [(1000, "warning"), (1011, "critical")])
def test_for_a_client_that_does_not_reconnect_a_normal_close_is_a_warning(code: int, severity: str) -> None:
    """Any close code but 1000 is a critical error: it is the client's end."""
    with WebSocketServer(closes(code, "bye")) as server, capture_events("websockex_nova") as log:
        client = ws.Client(server.url, profile=QUICK, on_message=_ignore, reconnect=False).start(5.0)
        assert client.wait(5.0)
        assert [one.metadata["severity"] for one in log.of(events.ERROR_OCCURRED)] == [severity]
