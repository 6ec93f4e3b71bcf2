"""Logins over a real socket: before the link is usable, on every new link, renewed, refused, unanswered, never
shown."""

import json
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

import pytest

import wsnova_statsd as ws
from tests.support import until
from wsnova_statsd.clock import CLOCK
from wsnova_statsd.testing.capture import EventLog, capture_events
from wsnova_statsd.testing.server import ScriptedConnection, WebSocketServer

errors, events = ws.errors, ws.events
AUTH = "websockex_nova.auth"
QUICK = ws.FINANCIAL.replace(retry_base=0.01, retry_cap=0.05)


class Gate:
    """A server that wants a login: `words` are its answers, one for each; `ok` after them. It echoes all else.

    With `header` it judges the upgrade's X-Key instead, by status codes in `words`.
    """

    def __init__(self, *words: Any, valid: float | None = None, header: bool = False) -> None:
        self.words, self.valid = list(words), valid
        self.tokens: list[str] = []
        self.server = WebSocketServer(self._script, process_request=self._judge if header else None)

    def _script(self, connection: ScriptedConnection) -> None:
        for text in connection:
            message = json.loads(text)
            if message.get("type") != "login":
                connection.send(text)
                continue
            self.tokens.append(message["token"])
            word = self.words.pop(0) if self.words else "ok"
            if word == "drop":
                connection.drop()
            elif word != "silent":
                connection.send(json.dumps({"type": "login", "ok": word == "ok", "id": message.get("id"), "result": 0}))

    def _judge(self, connection: Any, request: Any) -> Any:
        self.tokens.append(request.headers["X-Key"])
        status = self.words.pop(0) if self.words else 101
        return None if status == 101 else connection.respond(HTTPStatus(status), "no\n")

    def read(self, message: Any) -> bool | float | None:
        if message.get("type") != "login":
            return None
        return (self.valid or True) if message["ok"] else False

    def auth(self, timeout: float = 5.0) -> ws.MessageAuth:
        """A login with a fresh token each time."""
        return ws.MessageAuth(lambda: {"type": "login", "token": f"t{len(self.tokens)}"}, self.read, timeout)

    def header_auth(self) -> ws.HeaderAuth:
        return ws.HeaderAuth(lambda: {"X-Key": f"t{len(self.tokens)}"})


@contextmanager
def guarded(gate: Gate, **options: Any) -> Iterator[tuple[ws.Client, EventLog]]:
    """A client of the gate, not started yet, and its events."""
    bus = ws.Bus()
    options = {"profile": QUICK, "auth": gate.auth(), **options}
    with gate.server, capture_events(bus=bus) as log:
        client = ws.Client(options.pop("url", gate.server.url), bus=bus, **options)
        try:
            yield client, log
        finally:
            client.close()


def _names(log: EventLog) -> list[str]:
    """The events of connections and logins, in order."""
    mine = (events.PREFIX + "connection", AUTH, events.PREFIX + "error")
    return [one.event.removeprefix(events.PREFIX) for one in log if one.event.startswith(mine)]


def _failures(log: EventLog) -> list[tuple[str, str]]:
    return [(one.metadata["reason"], one.metadata["phase"]) for one in log.of(events.AUTH_FAILED)]


def _severities(log: EventLog, error_type: str = "auth") -> list[str]:
    occurred = [one.metadata for one in log.of(events.ERROR_OCCURRED)]
    return [one["severity"] for one in occurred if one["error_type"] == error_type]


@pytest.mark.parametrize("options", [{}, {"on_message": print}], ids=["dialled here", "its own thread"])
@pytest.mark.parametrize("word", ["no", 401, 403])
def test_refused_credentials_end_the_client_at_once(word: Any, options: dict[str, Any]) -> None:
    """One try, AuthRejected from start(), a critical error; the link that was made is emitted as ended."""
    header = isinstance(word, int)
    gate = Gate(word, header=header)
    with guarded(gate, auth=ws.HeaderAuth({"X-Key": "k"}) if header else gate.auth(), **options) as (client, log):
        with pytest.raises(errors.AuthRejected):
            client.start()
        assert (client.wait(5.0), client.state, len(gate.tokens)) == (True, ws.State.CLOSED, 1)
        assert (_failures(log), _severities(log)) == ([("rejected", "initial")], ["critical"])
        assert log.count(events.CONNECTION_COMPLETED) == log.count(events.CONNECTION_DISCONNECTED) == int(not header)


@pytest.mark.parametrize("word", [401, 403])
@pytest.mark.parametrize("given", ["auth", "headers", "url"])
def test_a_function_is_called_again_until_its_credentials_are_accepted(word: int, given: str) -> None:
    """At once, then at the cap: by start(), and when the link is lost later; each refusal is emitted."""
    gate = Gate(word, word, 101, word, word, word, header=True)
    functions: dict[str, dict[str, Any]] = {
        "auth": {"auth": gate.header_auth()},
        "headers": {"auth": None, "headers": lambda: {"X-Key": f"t{len(gate.tokens)}"}},
        "url": {"auth": None, "headers": {"X-Key": "k"}, "url": lambda: gate.server.url},
    }
    with guarded(gate, on_message=print, **functions[given]) as (client, log):
        client.start(5.0)
        gate.server.drop_all()
        assert log.wait_for(events.CONNECTION_RECONNECT_SUCCESS, 2)
        client.close()
        delays = [one.measurements["delay"] for one in log.of(events.CONNECTION_RECONNECT_ATTEMPT)]
        at_once, at_cap = [delays[0], delays[3]], [delays[1], delays[4], delays[5]]
        assert max(at_once) < 0.04e9 <= min(at_cap)
        assert gate.tokens == (["k"] * 7 if given == "url" else [f"t{number}" for number in range(7)])
        assert len(_severities(log, "auth" if given == "auth" else "handshake")) == 5


def test_refused_credentials_of_a_function_raise_the_alarm_and_the_client_goes_on() -> None:
    """At max_attempts, once; what comes after it is accepted."""
    profile = QUICK.replace(max_attempts=3, stable_after=0.0)
    gate = Gate(101, *[403] * 5, header=True)
    with guarded(gate, auth=gate.header_auth(), on_message=print, profile=profile) as (client, log):
        client.start()
        gate.server.drop_all()
        assert log.wait_for(events.CONNECTION_RECONNECT_SUCCESS)
        final = [one.metadata["final"] for one in log.of(events.CONNECTION_RECONNECT_FAILED)]
        assert (final, client.state) == ([False, False, True, False, False], ws.State.CONNECTED)


@pytest.mark.parametrize("given", ["auth", "headers"])
def test_refused_constants_end_the_client_once_refusals_persist(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three times, over a minute: a gateway that is being replaced refuses them too."""
    monkeypatch.setattr("wsnova_statsd.client.retry._LASTING", (3, 0.2))
    key, gate = {"X-Key": "k"}, Gate(101, 403, 403, 101, *[403] * 100, header=True)
    options = {"auth": ws.HeaderAuth(key)} if given == "auth" else {"auth": None, "headers": key}
    with guarded(gate, on_message=print, **options) as (client, log):
        client.start()
        gate.server.drop_all()
        assert log.wait_for(events.CONNECTION_RECONNECT_SUCCESS)
        gate.server.drop_all()
        assert (client.wait(5.0), client.state) == (True, ws.State.CLOSED)
        assert 4 + 3 <= len(gate.tokens) < 20
        severities = _severities(log, "auth" if given == "auth" else "handshake")
        assert severities[-1] == "critical"


def test_refusals_before_a_link_do_not_count_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even if the link is dropped on purpose, which is no outage."""
    monkeypatch.setattr("wsnova_statsd.client.retry._LASTING", (3, 0.01))
    gate = Gate(101, 403, 403, 101, 403, header=True)
    with guarded(gate, auth=ws.HeaderAuth({"X-Key": "k"}), on_message=print) as (client, log):
        client.start()
        gate.server.drop_all()
        assert log.wait_for(events.CONNECTION_RECONNECT_SUCCESS)
        client.reconnect()
        assert log.wait_for(events.CONNECTION_RECONNECT_SUCCESS, 2)
        assert (client.state, len(gate.tokens)) == (ws.State.CONNECTED, 6)


def test_credentials_that_are_refused_later_end_the_retries() -> None:
    """On the second link; the loop raises AuthRejected, and the client is closed."""
    gate = Gate("ok", "no")
    with guarded(gate) as (client, log):
        messages = iter(client)
        client.send({"n": 1})
        assert next(messages) == {"n": 1}
        gate.server.drop_all()
        with pytest.raises(errors.AuthRejected):
            next(messages)
    assert (client.state, gate.tokens, _severities(log)) == (ws.State.CLOSED, ["t0", "t1"], ["critical"])


def test_without_header_credentials_a_401_is_retried_once_there_was_a_link() -> None:
    """An error that raises an alert, not the end: gateways send it during deploys."""
    gate = Gate(101, 401, 403, header=True)
    with guarded(gate, auth=None, headers={"X-Key": "k"}, on_message=print) as (client, log):
        client.start()
        gate.server.drop_all()
        assert log.wait_for(events.CONNECTION_RECONNECT_SUCCESS)
        assert (gate.tokens, _severities(log, "handshake")) == (["k"] * 4, ["error"] * 2)
        assert log.count(events.AUTH_STARTED) == 0


@pytest.mark.parametrize(("word", "reason"), [("silent", "timeout"), ("drop", "interrupted")])
def test_a_login_without_an_answer_is_tried_again_on_the_next_link(word: str, reason: str) -> None:
    """The client goes on, and the error is over once it is connected."""
    gate = Gate(word)
    with guarded(gate, auth=gate.auth(timeout=0.2)) as (client, log):
        client.start()
        assert (_failures(log), gate.tokens) == ([(reason, "initial")], ["t0", "t1"])
        assert log.count(events.ERROR_HANDLED) == 1


def test_a_login_is_renewed_in_its_own_thread_before_it_ends() -> None:
    """While a handler is busy, too; the link lives on."""
    gate, leave = Gate(valid=0.25), threading.Event()
    with guarded(gate, on_message=lambda message: leave.wait(10.0)) as (client, log):
        client.start()
        client.send({"n": 1})
        assert log.wait_for(events.AUTH_REFRESH_COMPLETED, 2)
        leave.set()
        renewed = {one.thread for one in log if one.event.startswith(f"{AUTH}.refresh")}
        assert renewed == {f"wsnova-login-{client.client_id}"}
        assert [one.metadata["expires_in"] for one in log.of(events.AUTH_REFRESH_COMPLETED)][:2] == [0.25] * 2
        assert (log.count(events.AUTH_COMPLETED), gate.server.connections) == (1, 1)


def test_a_slow_renewal_delays_nothing_else() -> None:
    """Neither another client's renewal nor a job of the clock; and no thread is left after it."""
    slow, leave, ticked = threading.Event(), threading.Event(), threading.Event()

    class Slow:
        def login(self, client: Any) -> float:
            if slow.is_set():
                leave.wait(10.0)
            slow.set()
            return 0.05

    gate = Gate(valid=0.1)
    with guarded(Gate(), auth=Slow(), client_id="slow") as (first, reported), guarded(gate) as (second, log):
        first.start()
        assert reported.wait_for(events.AUTH_REFRESH_STARTED)
        second.start()
        assert log.wait_for(events.AUTH_REFRESH_COMPLETED, 2)
        CLOCK.call_later(0.0, ticked.set)
        assert ticked.wait(5.0)
        assert reported.count(events.AUTH_REFRESH_COMPLETED) == 0
        leave.set()
        assert reported.wait_for(events.AUTH_REFRESH_COMPLETED)
        first.close()
        assert until(lambda: "wsnova-login-slow" not in {thread.name for thread in threading.enumerate()})


@pytest.mark.parametrize("options", [{}, {"on_message": print}], ids=["no reader", "its own thread"])
def test_a_refused_refresh_closes_the_client(options: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    """With a critical error, a record, and no further link; on_error is called with it unless a loop is to raise it."""
    gate, seen = Gate("ok", "no", valid=0.1), list[Exception]()
    with guarded(gate, on_error=seen.append, **options) as (client, log):
        client.start()
        assert (client.wait(5.0), client.state, gate.server.connections) == (True, ws.State.CLOSED, 1)
        assert (_failures(log), _severities(log)) == ([("rejected", "refresh")], ["critical"])
    assert [type(error) for error in seen] == ([ws.errors.AuthRejected] if options else [])
    assert any("a login was rejected" in record.getMessage() for record in caplog.records)


def test_a_refresh_without_an_answer_keeps_the_link_and_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next one handles the error; a late answer is not delivered as a message."""
    monkeypatch.setattr("wsnova_statsd.client.login._AGAIN", 0.1)
    gate = Gate("ok", "silent", valid=0.1)
    with guarded(gate, auth=gate.auth(timeout=0.2)) as (client, log):
        client.start()
        assert log.wait_for(events.AUTH_REFRESH_COMPLETED)
        assert (_failures(log), gate.server.connections) == ([("timeout", "refresh")], 1)
        assert log.wait_for(events.ERROR_HANDLED)


class _Own:
    """A user's login: two steps, by request and by message."""

    def __init__(self) -> None:
        self.replies: list[Any] = []

    def login(self, client: Any) -> float | None:
        if not self.replies:
            self.replies.append(None)
            raise KeyError("no credentials yet")
        self.replies.append(client.request({"type": "login", "token": "mine", "id": 1}))
        client.send({"type": "hello"})
        return 60.0


def test_a_users_own_login_may_request_and_send() -> None:
    """An exception is a failed login that is retried; the return value is its validity."""
    gate, auth = Gate(), _Own()
    with guarded(gate, auth=auth) as (client, log):
        client.start()
        assert client.receive(5.0) == {"type": "hello"}
        assert (gate.tokens, auth.replies[1]["ok"], _failures(log)) == (["mine"], True, [("error", "initial")])
        assert log.of(events.AUTH_COMPLETED)[0].metadata["expires_in"] == 60.0


@pytest.mark.parametrize("options", [{}, {"on_message": print}], ids=["dialled here", "its own thread"])
def test_closing_ends_a_login_that_waits(options: dict[str, Any]) -> None:
    """No answer is waited for any longer; start() raises that the client was closed."""
    gate = Gate("silent")
    with guarded(gate, auth=gate.auth(timeout=30.0), **options) as (client, log):
        threading.Timer(0.2, client.close).start()
        began = time.monotonic()
        with pytest.raises(errors.ConnectionFailed, match="closed"):
            client.start()
        assert time.monotonic() - began < 3.0
        assert (client.wait(5.0), log.count(events.CONNECTION_DISCONNECTED)) == (True, 1)


@pytest.mark.parametrize("profile", [QUICK, ws.LIGHTWEIGHT], ids=["unfiltered", "filtered"])
def test_no_event_no_record_and_no_error_shows_a_credential(profile: ws.Profile, caplog: Any) -> None:
    """Refused headers, a refused message, and a header that would inject another."""
    secret = "hunter2"
    caplog.set_level(logging.DEBUG)
    wrong = ws.HeaderAuth(lambda: {"X-Key": f"{secret}\r\nX-Admin: 1"})
    message = ws.MessageAuth({"type": "login", "token": secret}, Gate().read)
    refused = ws.HeaderAuth({"X-Key": secret})
    for gate, auth in ((Gate("no"), message), (Gate(401, header=True), refused), (Gate(), wrong)):
        with guarded(gate, auth=auth, profile=profile, reconnect=False) as (client, log):
            with pytest.raises(errors.ConnectionFailed) as caught:
                client.start()
            assert log.count(events.ERROR_OCCURRED) == 1
            records = [one.getMessage() for one in caplog.records if not one.name.startswith("websockets")]
            assert secret not in repr([*log, caught.value, *records])  # the server's own log is another matter
