"""Secrets planted wherever a client has or receives them, and a search through everything that is sent or logged."""

import json
import threading
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import pytest

import wsnova_statsd as ws
from tests.stories.watching import COLLECTORS, OWN, PATIENCE, Watched, watched
from tests.support import stuck_after, until
from wsnova_statsd.testing.server import WebSocketServer, answers, closes, send_messages
from wsnova_statsd.testing.tcp import Connection, ConnectProxy, TcpServer

SECRET = "Pl4nt-ed"  # too short to look like a key by itself
QUICK = {"first_retry": 0.0, "retry_base": 0.01, "retry_cap": 0.05, "ping_interval": 60.0, "max_attempts": 1}


def _everything(metadata: Any) -> Any:
    """A metadata filter that keeps everything, and adds more."""
    return {**metadata, "api_key": SECRET, "note": f"token={SECRET}", "nested": {"password": SECRET}}


def _raises(metadata: Any) -> Any:
    raise ValueError(f"no filter for token={SECRET}")


PROFILES = {
    "financial": ws.FINANCIAL.replace(**QUICK),
    "standard": ws.STANDARD.replace(**QUICK),
    "lightweight": ws.LIGHTWEIGHT.replace(**QUICK),
    "a filter of one's own": ws.FINANCIAL.replace(metadata_filter=_everything, **QUICK),
    "a filter that raises": ws.STANDARD.replace(metadata_filter=_raises, **QUICK),
}


# Where they are planted; each checks that its secret could have been shown


def the_url(seen: Watched) -> None:
    """User-info, path parameters, query and fragment, of a server that is there and one that is not."""
    with WebSocketServer() as echo:
        where = echo.url.removeprefix("ws://").rstrip("/")
        url = f"ws://user:{SECRET}@{where}/ws;key={SECRET}?token={SECRET}&x={SECRET}#{SECRET}"
        with seen.client(url) as client:
            client.start(timeout=PATIENCE)
            client.send({"type": "trade"})
            assert client.receive(PATIENCE) == {"type": "trade"}
        assert SECRET in echo.requests[0].path
    seen.refused(url)
    seen.refused(lambda: url)


def a_url_that_is_not_usable(seen: Watched) -> None:
    """From a function, for the first time at the dial."""
    seen.refused(lambda: f"http://user:{SECRET}@feed.example/?token={SECRET}")
    seen.refused(lambda: f"ws://user:{SECRET}[@feed.example:port/?token={SECRET}")
    seen.refused(_function(f"no url for token={SECRET}"))
    seen.await_fault(SECRET)


def headers_and_cookies(seen: Watched) -> None:
    """Sent with the upgrade, answered by a refusal that repeats them."""

    def refuse(connection: Any, request: Any) -> Any:
        response = connection.respond(HTTPStatus(403), f"no {SECRET}\n")
        response.headers["Set-Cookie"] = f"sid={SECRET}"
        return response

    given = {"Authorization": f"Bearer {SECRET}", "Cookie": f"sid={SECRET}", "X-Feed": SECRET}
    with WebSocketServer(process_request=refuse) as server:
        seen.refused(server.url, headers=given)
        seen.refused(server.url, auth=ws.HeaderAuth(given))
        seen.refused(server.url, auth=ws.HeaderAuth(_function(f"no headers for token={SECRET}")))
        seen.refused(server.url, headers=lambda: {"X-Key": f"{SECRET}\r\nX-Admin: 1", f"{SECRET}\n": "x"})
        assert [request.headers["X-Feed"] for request in server.requests] == [SECRET, SECRET]
    seen.await_fault(SECRET)


def a_login_message(seen: Watched) -> None:
    """Refused with a reply that repeats it, read by a function that raises, by the user's own login."""
    message = {"type": "login", "token": SECRET}
    with WebSocketServer() as echo:
        seen.refused(echo.url, auth=ws.MessageAuth(message, lambda reply: False))
        seen.refused(echo.url, auth=ws.MessageAuth(message, _function(f"not read: {message}"), timeout=0.1))
        seen.refused(echo.url, auth=ws.MessageAuth(_function(f"password={SECRET}"), bool))
        assert SECRET in str(echo.received)
    seen.await_fault(SECRET)


def a_subprotocol(seen: Watched) -> None:
    """Some servers accept a token there; this one chooses none, or another."""
    with WebSocketServer() as server:
        seen.refused(server.url, subprotocols=[f"bearer.{SECRET}", "v1.feed"], require_subprotocol=True)
        assert SECRET in server.requests[0].headers["Sec-WebSocket-Protocol"]
    with TcpServer(lambda one: one.accept_upgrade({"Sec-WebSocket-Protocol": f"token.{SECRET}"})) as strange:
        seen.refused(strange.url, subprotocols=[f"bearer.{SECRET}"])


def a_close_reason(seen: Watched) -> None:
    """The server's own text at the end."""
    reasons = [f"token={SECRET} expired", f'{{"api_key": "{SECRET}"}}', f"see wss://u:{SECRET}@x.example/?k={SECRET}"]
    for number, reason in enumerate(reasons):
        with (
            WebSocketServer(closes(4001, reason)) as server,
            seen.client(server.url, on_message=print, reconnect=False) as client,
        ):
            client.start(timeout=PATIENCE)
            assert client.wait(PATIENCE)
        assert SECRET in str(seen.faults[number])


def an_upgrade_that_is_no_upgrade(seen: Watched) -> None:
    """Status line, headers and body of an answer, or no HTTP at all."""
    where = f"Location: https://u:{SECRET}@x.example/login?key={SECRET}"
    lines = [f"X-Token: {SECRET}", where, f"token={SECRET}", f"Set-Cookie: sid={SECRET}", "", SECRET]
    answer = "\r\n".join([f"HTTP/1.1 {{}} token={SECRET}", *lines])
    for text in (
        answer.format(401),
        answer.format(101),
        answer.format(302),
        f"{SECRET} token={SECRET}\r\n\r\n",
        "\r\n",
    ):

        def script(connection: Connection, data: bytes = text.encode()) -> None:
            connection.read_request()
            connection.send(data)

        with TcpServer(script) as server:
            seen.refused(server.url)


class _Careless(ws.JsonProtocol):
    """Errors that quote the message."""

    def decode(self, data: str | bytes) -> object:
        raise ValueError(f"cannot read {data!r}")


def a_message_that_cannot_be_read(seen: Watched) -> None:
    """Quoted by the protocol's error."""
    messages = [json.dumps({"token": SECRET}), f'{{"password": "{SECRET}"', f"authorization: {SECRET}"]
    for protocol in (_Careless(), ws.JsonProtocol()):
        known = len(seen.faults)
        with (
            WebSocketServer(send_messages(messages)) as server,
            seen.client(server.url, on_message=print, protocol=protocol) as client,
        ):
            client.start(timeout=PATIENCE)
            assert until(lambda known=known: len(seen.faults) >= known + 2, PATIENCE)  # type: ignore[misc]
    seen.await_fault(SECRET)


def the_users_functions(seen: Watched) -> None:
    """What on_message, on_error and on_reconnect raise, with causes and notes, is logged with its traceback."""

    def handle(message: Any) -> None:
        try:
            raise KeyError(f"Bearer {SECRET}")
        except KeyError as cause:
            error = ValueError(f"no order for\npassword={SECRET}")
            error.add_note(f"session: {SECRET}")
            raise error from cause

    def on_error(error: Exception) -> None:
        seen.faults.append(error)
        raise RuntimeError(f"not told: {error}")

    back = threading.Event()

    def on_reconnect() -> None:
        back.set()
        raise RuntimeError(f"not back: token={SECRET}")

    with (
        WebSocketServer(send_messages(['{"type": "trade"}'])) as server,
        seen.client(server.url, on_message=handle, on_error=on_error, on_reconnect=on_reconnect) as client,
    ):
        client.start(timeout=PATIENCE)
        seen.await_fault(SECRET)
        server.drop_all()
        assert back.wait(PATIENCE)
        texts = seen.records.texts
        assert until(
            lambda: all(any(name in text for text in texts) for name in ("on_message", "on_reconnect")), PATIENCE
        )


def refused_channels_and_requests(seen: Watched) -> None:
    """The server's replies say why."""
    why = f"token={SECRET} is not valid"

    def reply(text: Any) -> str:
        asked = json.loads(text)
        if "id" in asked:
            return json.dumps({"id": asked["id"], "error": {"code": 1, "message": why, "data": {"token": SECRET}}})
        return json.dumps({"type": "error", "channel": asked["channel"], "message": why})

    with WebSocketServer(answers(reply)) as server:
        with seen.client(server.url, on_message=print) as client:
            client.start(timeout=PATIENCE)
            with pytest.raises(ws.errors.SubscriptionRejected):
                client.subscribe("trades", PATIENCE)
        with seen.client(server.url, protocol=ws.JsonRpcProtocol(), on_message=print) as client:
            client.start(timeout=PATIENCE)
            with pytest.raises(ws.errors.RequestRejected):
                client.request({"method": "private/buy", "params": {"api_key": SECRET}}, PATIENCE)
            with pytest.raises(ws.errors.SubscriptionRejected) as caught:
                client.subscribe("trades", PATIENCE)
    seen.faults.append(caught.value)
    seen.await_fault(SECRET)


def a_proxy(seen: Watched) -> None:
    """Its user-info; refused, and no longer running."""
    with WebSocketServer() as echo, ConnectProxy(credentials=("user", "other")) as proxy:
        url = proxy.url.replace("//", f"//user:{SECRET}@")
        seen.refused(echo.url, proxy=url)
        proxy.credentials = ("user", SECRET)
        with seen.client(echo.url, proxy=url) as client:
            client.start(timeout=PATIENCE)
    seen.refused(echo.url, proxy=url)


def a_stuck_handler(seen: Watched) -> None:
    """Its stack shows lines of source, and one of them a literal."""
    held = threading.Event()

    def handle(message: Any) -> None:
        assert held.wait(PATIENCE), "password=Pl4nt-ed"

    with (
        WebSocketServer(send_messages(['{"type": "trade"}'])) as server,
        seen.client(server.url, on_message=handle) as client,
    ):
        client.start(timeout=PATIENCE)
        try:
            assert seen.events.wait_for(ws.events.MESSAGE_PROCESS_STUCK, timeout=PATIENCE)
            if seen.profile.metadata_filter is not _raises:
                assert until(lambda: any("Stuck" in event.title for event in seen.agent.events), PATIENCE)
        finally:
            held.set()


def others_on_the_bus(seen: Watched) -> None:
    """A handler and a sink that raise; an application's own event, its keys and texts as tags."""

    def handler(*_: Any) -> None:
        raise ValueError(f"token={SECRET}")

    seen.bus.attach("raises", OWN, handler)
    seen.sink_error = error = ValueError(f"password={SECRET}")
    seen.bus.execute(OWN, {}, {"note": f"Bearer {SECRET}", "api_key": SECRET, "error": error, "reply": error})
    failed = {"client_id": "md-1", "reason": f"token={SECRET}", "uri": f"ws://h/?token={SECRET}", "final": True}
    seen.bus.execute(ws.events.CONNECTION_RECONNECT_FAILED, {"attempt": 1, "duration": 1}, failed)
    assert until(lambda: any("alert sink" in text for text in seen.records.texts), PATIENCE)
    seen.bus.execute(ws.events.ERROR_OCCURRED, {}, {"client_id": "md-1", "error": "plain", "note": f"token={SECRET}"})
    assert seen.bus.handler_errors == 1
    if seen.profile.metadata_filter is True:
        seen.events.clear()  # emitted by the application itself, not by a client under a profile


def _function(text: str) -> Callable[..., Any]:
    """One that raises with this text."""

    def function(*_: Any) -> Any:
        raise ValueError(text)

    return function


PLACES = [
    the_url,
    a_url_that_is_not_usable,
    headers_and_cookies,
    a_login_message,
    a_subprotocol,
    a_close_reason,
    an_upgrade_that_is_no_upgrade,
    a_message_that_cannot_be_read,
    the_users_functions,
    refused_channels_and_requests,
    a_proxy,
    a_stuck_handler,
    others_on_the_bus,
]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten seconds of a stuck handler become a third of one."""
    stuck_after(monkeypatch, 0.3)


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
@pytest.mark.parametrize("plant", PLACES, ids=lambda one: str(one.__name__))
def test_no_secret_is_shown(plant: Callable[[Watched], None], profile: ws.Profile) -> None:
    """Not in an event that the filter has seen, a datagram, a log record, an alert, a report or a repr."""
    with watched(profile) as seen:
        plant(seen)
    assert seen.leaks(SECRET) == {}


def test_the_search_finds_what_is_shown() -> None:
    """In every output of the table: a client's id is no secret and is in all of them."""
    with watched(PROFILES["standard"]) as seen, WebSocketServer() as echo:
        with seen.client(echo.url) as client:
            client.start(timeout=PATIENCE)
        failed = {"client_id": "md-1", "reason": "refused", "uri": "ws://h/", "final": True}
        seen.bus.execute(ws.events.CONNECTION_RECONNECT_FAILED, {"attempt": 1, "duration": 1}, failed)
    assert seen.leaks("md-1").keys() == COLLECTORS.keys()
