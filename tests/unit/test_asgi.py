"""lifespan: an ASGI application's end flushes, whether it has a lifespan of its own or not; nothing else changes."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

import wsnova_statsd as ws
from wsnova_statsd.contrib.asgi import lifespan
from wsnova_statsd.testing.receiver import DogStatsDReceiver

STARTUP, SHUTDOWN = {"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}
STARTED, STOPPED = "lifespan.startup.complete", "lifespan.shutdown.complete"


class Counted:
    """A reporter that flushes by itself too late for any test."""

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
    """What a server is told of an application's life, which it begins and ends."""
    said: list[str] = []
    told = iter([STARTUP, SHUTDOWN])

    async def receive() -> Any:
        return next(told)

    async def send(message: Any) -> None:
        said.append(message["type"])

    asyncio.run(app({"type": "lifespan"}, receive, send))
    return said


async def _unaware(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        raise ValueError(f"no {scope['type']} here")


async def _quiet(scope: Any, receive: Any, send: Any) -> None:
    """It returns at once from what it does not know."""


async def _aware(scope: Any, receive: Any, send: Any) -> None:
    for answer in (STARTED, STOPPED):
        await receive()
        await send({"type": answer})


@pytest.mark.parametrize("app", [_unaware, _quiet, _aware])
def test_the_end_of_an_applications_life_flushes(app: Any, counted: Counted) -> None:
    """The server hears of a start and an end, whatever the application knows of lifespans."""
    assert _lives(lifespan(app)) == [STARTED, STOPPED]
    assert counted.arrived


def test_a_failure_is_the_applications_own(counted: Counted) -> None:
    """What it raises once it has begun reaches the server, after the flush; nothing is said in its place."""

    async def failing(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        raise KeyError("boom")

    with pytest.raises(KeyError, match="boom"):
        _lives(lifespan(failing))
    assert counted.arrived


def test_the_flush_comes_before_the_server_hears_of_the_end(counted: Counted) -> None:
    """It may end the process as soon as it does."""

    async def life() -> None:
        told = iter([STARTUP, SHUTDOWN])

        async def receive() -> Any:
            return next(told)

        async def send(message: Any) -> None:
            if message["type"] == STOPPED:
                assert counted.reporter.stats.counters.pending == 0

        await lifespan(_aware)({"type": "lifespan"}, receive, send)

    asyncio.run(life())


def test_a_framework_takes_it_as_its_lifespan(counted: Counted) -> None:
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


def test_a_timeout_that_is_none_is_refused() -> None:
    with pytest.raises(ws.errors.ConfigurationError, match="timeout must be"):
        lifespan(_quiet, timeout=-1)
