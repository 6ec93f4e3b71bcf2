"""lifespan: an ASGI application's end flushes, whether or not it has its own lifespan; nothing else changes."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

import wsnova_statsd as ws
from wsnova_statsd.contrib.asgi import lifespan
from wsnova_statsd.testing.receiver import DogStatsDReceiver
from wsnova_statsd.testing.server import WebSocketServer

STARTUP, SHUTDOWN = {"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}
STARTED, STOPPED = "lifespan.startup.complete", "lifespan.shutdown.complete"


class Counted:
    """A reporter whose own flush is too late for any test."""

    def __init__(self, agent: DogStatsDReceiver) -> None:
        self._agent = agent
        self.reporter = ws.StatsdReporter(host=agent.host, port=agent.port, flush_interval=10, bus=ws.Bus()).start()
        self.reporter.increment("orders", 7)

    @property
    def arrived(self) -> bool:
        return self._agent.wait_for(lambda r: r.count("orders") == 7, timeout=2)


@pytest.fixture
def counted() -> Iterator[Counted]:
    with DogStatsDReceiver() as agent:
        made = Counted(agent)
        yield made
        made.reporter.stop()


def _lives(app: Any) -> list[str]:
    """The messages that a server gets from an application's life, which it begins and ends."""
    said: list[str] = []
    reported = iter([STARTUP, SHUTDOWN])

    async def receive() -> Any:
        return next(reported)

    async def send(message: Any) -> None:
        said.append(message["type"])

    asyncio.run(app({"type": "lifespan"}, receive, send))
    return said


async def _unaware(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        raise ValueError(f"no {scope['type']} here")


async def _quiet(scope: Any, receive: Any, send: Any) -> None:
    """It returns at once for a scope that it does not know."""


async def _aware(scope: Any, receive: Any, send: Any) -> None:
    for answer in (STARTED, STOPPED):
        await receive()
        await send({"type": answer})


@pytest.mark.parametrize("app", [_unaware, _quiet, _aware])
def test_the_end_of_an_applications_life_flushes(app: Any, counted: Counted) -> None:
    """The server gets a start and an end, whether or not the application has a lifespan."""
    assert _lives(lifespan(app)) == [STARTED, STOPPED]
    assert counted.arrived


def test_a_failure_is_the_applications_own(counted: Counted) -> None:
    """What it raises once it has begun reaches the server, after the flush; nothing replaces it."""

    async def failing(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        raise KeyError("boom")

    with pytest.raises(KeyError, match="boom"):
        _lives(lifespan(failing))
    assert counted.arrived


def test_the_flush_comes_before_the_server_gets_the_end(counted: Counted) -> None:
    """It may end the process as soon as it does."""

    async def life() -> None:
        reported = iter([STARTUP, SHUTDOWN])

        async def receive() -> Any:
            return next(reported)

        async def send(message: Any) -> None:
            if message["type"] == STOPPED:
                assert counted.reporter.stats.counters.pending == 0

        await lifespan(_aware)({"type": "lifespan"}, receive, send)

    asyncio.run(life())


def test_a_framework_accepts_it_as_its_lifespan(counted: Counted) -> None:
    """`FastAPI(lifespan=lifespan)` calls it with the application, for an asynchronous context manager."""

    async def life() -> None:
        async with lifespan(_quiet) as state:
            assert state is None
            assert counted.reporter.stats.counters.pending == 7

    asyncio.run(life())
    assert counted.arrived


def test_requests_pass_as_they_are() -> None:
    """Scope, receive and send are the server's own."""
    passed: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        passed.append((scope, receive, send))

    given: Any = ({"type": "http"}, object(), object())
    asyncio.run(lifespan(app)(*given))
    assert passed == [given]


# -- with clients -----------------------------------------------------------------------------------------------------


@pytest.fixture
def server() -> Iterator[WebSocketServer]:
    with WebSocketServer() as running:
        yield running


def _client(server: WebSocketServer) -> ws.Client[Any]:
    return ws.Client(server.url, client_id="md-1", on_message=lambda message: None, bus=ws.Bus())


@pytest.fixture(autouse=True)
def monitored() -> Iterator[None]:
    """The program has set up telemetry itself: no Monitor is made here."""
    ws.telemetry.attach("mine", ws.events.MESSAGE_SENT, lambda *_: None)
    yield
    ws.telemetry.detach("mine")


@pytest.mark.parametrize("app", [_unaware, _quiet, _aware])
def test_a_client_runs_while_the_application_does_again_and_again(app: Any, server: WebSocketServer) -> None:
    """As often as a server, or a test client, begins its life; whether or not the application has a lifespan."""
    client = _client(server)
    wrapped = lifespan(client)(app)
    for number in (1, 2):
        states: list[ws.State] = []

        async def life(states: list[ws.State] = states, number: int = number) -> None:
            reported = iter([STARTUP, SHUTDOWN])

            async def receive() -> Any:
                return next(reported)

            async def send(message: Any) -> None:
                if message["type"] == STARTED:
                    assert server.wait_for(lambda: server.connections == number)
                states.append(client.state)

            await wrapped({"type": "lifespan"}, receive, send)

        asyncio.run(life())
        assert states[0] in (ws.State.CONNECTING, ws.State.CONNECTED)
        assert states[1] is ws.State.CLOSED


def test_the_order_of_a_life(server: WebSocketServer) -> None:
    """The inner lifespan begins first and ends after the client is closed, since handlers may use it; its state is
    handed on."""
    client = _client(server)
    seen: list[tuple[str, ws.State]] = []

    @contextlib.asynccontextmanager
    async def mine(app: Any) -> AsyncIterator[dict[str, int]]:
        assert app is _quiet
        seen.append(("begin", client.state))
        yield {"pool": 3}
        seen.append(("end", client.state))

    async def life() -> None:
        async with lifespan(client, inner=mine)(_quiet) as state:
            assert state == {"pool": 3}
            assert client.state is not ws.State.IDLE

    asyncio.run(life())
    assert seen == [("begin", ws.State.IDLE), ("end", ws.State.CLOSED)]


def test_if_the_inner_lifespan_cannot_begin_nothing_starts(server: WebSocketServer) -> None:
    """The server reports its error."""
    client = _client(server)

    @contextlib.asynccontextmanager
    async def broken(app: Any) -> AsyncIterator[None]:
        raise KeyError("boom")
        yield

    with pytest.raises(KeyError, match="boom"):
        _lives(lifespan(client, inner=broken)(_quiet))
    assert client.state is ws.State.IDLE


def test_a_client_that_cannot_start_is_logged_and_holds_nothing_up(
    server: WebSocketServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Here a client whose id is taken; the application's life goes on."""
    bus = ws.Bus()
    with ws.Client(server.url, client_id="md-1", on_message=print, bus=bus):
        second = ws.Client(server.url, client_id="md-1", on_message=print, bus=bus)
        assert _lives(lifespan(second)(_aware)) == [STARTED, STOPPED]
    assert "client md-1 is not started: ClientIdInUse" in caplog.text


async def _asynchronous(app: Any) -> AsyncIterator[None]:
    yield


_generator: Any = _asynchronous
_untyped: Any = lifespan
_without_app: Any = lambda: None  # noqa: E731


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: _untyped("wss://feed.example"), "lifespan was passed 'wss://feed.example'; pass clients"),
        (lambda: _untyped(_quiet, _quiet), "or one application"),
        (lambda: lifespan(inner=_generator), "decorate it with contextlib.asynccontextmanager"),
        (lambda: lifespan(inner=_without_app), "inner takes"),
        (lambda: lifespan()({"type": "http"}), "has no application yet; use lifespan(client)(application)"),
    ],
)
def test_an_unusable_argument_is_refused_at_once(call: Any, said: str) -> None:
    """With a sentence that says what to pass."""
    with pytest.raises(ws.errors.ConfigurationError, match=re.escape(said)):
        call()


def test_an_unusable_timeout_is_refused() -> None:
    with pytest.raises(ws.errors.ConfigurationError, match="timeout must be"):
        lifespan(_quiet, timeout=-1)
