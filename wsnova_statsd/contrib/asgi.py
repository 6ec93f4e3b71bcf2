"""lifespan: clients run as long as an ASGI application serves, and pending counts are sent when its server ends.

ASGI servers raise SIGTERM again after their shutdown, so that no exit hook of Python runs; the end of the application's
lifespan comes before that. Runs in the thread of the server's event loop, which it blocks for at most `timeout`
seconds. No library is imported.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, overload

from .. import checks, process
from ..client.client import Client
from ..errors import ConfigurationError
from . import serving

__all__ = ["Application", "Message", "Receive", "Send", "lifespan"]

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]
Lifespan = Callable[[Any], AbstractAsyncContextManager[Any]]  # the type of a framework's lifespan
_AROUND: Final = "lifespan(client)(application)"
_DECORATOR: Final = "contextlib.asynccontextmanager"
_STARTED: Final = {"type": "lifespan.startup.complete"}
_STOPPED: Final = {"type": "lifespan.shutdown.complete"}


@overload
def lifespan(*clients: Client[Any], inner: Lifespan | None = ..., timeout: float = ...) -> Callable[[Any], Serving]: ...


@overload
def lifespan(app: Callable[..., Any], /, *, inner: Lifespan | None = ..., timeout: float = ...) -> Serving: ...


def lifespan(*clients: Any, inner: Lifespan | None = None, timeout: float = process.EXIT_SECONDS) -> Any:
    """Start clients, without waiting, when an application serves; at its end, within `timeout` seconds, close them
    before it ends and flush after it. In each process that serves, that is in each worker.

    `FastAPI(lifespan=lifespan(client, inner=mine))`, where `mine` is your own lifespan, and the same for Starlette; for
    any ASGI application: `application = lifespan(client)(application)`. Without clients it only flushes, and may be
    passed as it is: `FastAPI(lifespan=lifespan)`, `application = lifespan(application)`. An application without a
    lifespan gets one. Raises ConfigurationError.
    """
    checks.seconds("timeout", timeout, zero=True)
    if inspect.isasyncgenfunction(inner):
        raise ConfigurationError(f"inner is {inner.__name__}, an asynchronous generator; decorate it with {_DECORATOR}")
    if inner is not None:
        checks.function("inner", inner, "app")
    if len(clients) == 1 and callable(clients[0]):
        return Serving(clients[0], (), inner, timeout)
    for client in clients:
        if not isinstance(client, Client):
            raise ConfigurationError(
                f"lifespan was passed {checks.shown(client)}; pass clients: {_AROUND}, or one application: "
                "lifespan(application)"
            )

    def serving_them(app: Any) -> Serving:
        if not callable(app):  # the scope of a server
            raise ConfigurationError(f"this lifespan has no application yet; use {_AROUND}")
        return Serving(app, clients, inner, timeout)

    return serving_them


class Serving(AbstractAsyncContextManager[Any]):
    """An ASGI application around another, and its asynchronous context manager, as frameworks expect one."""

    def __init__(self, app: Any, clients: Iterable[Client[Any]], inner: Lifespan | None, timeout: float) -> None:
        self._app = app
        self._clients = clients
        self._inner = inner
        self._timeout = timeout
        self._entered: AbstractAsyncContextManager[Any] | None = None

    # -- around an application ----------------------------------------------------------------------------------------

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await self._app(scope, receive, send)
            return
        asked = False

        async def receive_noting() -> Message:
            nonlocal asked
            message = await receive()
            asked = True
            if message["type"] == "lifespan.shutdown":
                self._close()
            return message

        async def send_in_turn(message: Message) -> None:
            if message["type"] == "lifespan.startup.complete":
                await self.__aenter__()
            elif message["type"].startswith("lifespan.shutdown."):
                await self.__aexit__(None, None, None)
            await send(message)

        try:
            await self._app(scope, receive_noting, send_in_turn)
        except Exception:
            if asked:
                await self.__aexit__(None, None, None)
                raise
        if not asked:  # it does not support lifespan
            await receive()
            await self.__aenter__()
            await send(dict(_STARTED))
            await receive()
            await self.__aexit__(None, None, None)
            await send(dict(_STOPPED))

    # -- as the lifespan of a framework -------------------------------------------------------------------------------

    async def __aenter__(self) -> Any:
        """The application begins: first the inner lifespan, whose state this returns, then the clients."""
        state = None
        if self._inner is not None:
            self._entered = self._inner(self._app)
            state = await self._entered.__aenter__()
        self._start()
        return state

    async def __aexit__(self, *exception: Any) -> bool | None:
        self._close()
        entered, self._entered = self._entered, None
        try:
            return None if entered is None else await entered.__aexit__(*exception)
        finally:
            self._finish()

    def _start(self) -> None:
        if self._clients:
            serving.start(*self._clients)

    def _close(self) -> None:
        """Called while the resources that handlers use still exist."""
        deadline = time.monotonic() + self._timeout / 2
        for client in self._clients:
            client.at_exit(deadline)

    def _finish(self) -> None:
        process.finish(self._timeout, interrupting=True)  # a signal's handler may run, as in any main thread
