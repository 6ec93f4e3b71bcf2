"""lifespan: what an ASGI application counted is shipped when its server shuts down.

ASGI servers raise SIGTERM again after their shutdown, so that no exit hook of Python runs; the end of the application's
lifespan comes before that. Runs in the thread of the server's event loop, which it holds up for at most `timeout`
seconds, once everything else has ended. No library is imported.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from .. import checks, process

__all__ = ["Application", "Message", "Receive", "Send", "lifespan"]

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]
_STARTED: Final = {"type": "lifespan.startup.complete"}
_STOPPED: Final = {"type": "lifespan.shutdown.complete"}


class lifespan:  # noqa: N801  # written like a function, and an async context manager as frameworks want one
    """An ASGI application around `app` that closes clients and flushes at the end of its lifespan, within `timeout`
    seconds: `application = lifespan(application)`. Frameworks that take a lifespan take it as it is:
    `FastAPI(lifespan=lifespan)`. An `app` that knows no lifespan gets one.
    """

    def __init__(self, app: Application, timeout: float = process.EXIT_SECONDS) -> None:
        self._app = app
        self._timeout = checks.seconds("timeout", timeout, zero=True)

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await self._app(scope, receive, send)
            return
        asked = False

        async def receive_noting() -> Message:
            nonlocal asked
            message = await receive()
            asked = True
            return message

        async def send_after_the_flush(message: Message) -> None:
            if message["type"].startswith("lifespan.shutdown."):
                self._finish()
            await send(message)

        try:
            await self._app(scope, receive_noting, send_after_the_flush)
        except Exception:
            if asked:
                self._finish()
                raise
        if not asked:  # it knows no lifespan
            await receive()
            await send(dict(_STARTED))
            await receive()
            self._finish()
            await send(dict(_STOPPED))

    async def __aenter__(self) -> None:
        """For a framework: its application begins."""

    async def __aexit__(self, *exception: object) -> None:
        self._finish()

    def _finish(self) -> None:
        process.finish(self._timeout, interrupting=True)  # a signal's handler may come, as in any main thread
