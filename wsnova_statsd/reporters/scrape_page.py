"""The response to a request for the metrics: the format by content negotiation, and `/health`; as WSGI (PEP 3333) and
ASGI 3 applications to mount.

Pure except for two functions it is given: one makes the page in a format, the other says whether the reporter counts.
A WSGI application runs in its server's threads; an ASGI application makes the page in a thread of the event loop's
pool, so that the loop is not blocked. No library is imported.
"""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

HEALTH: Final = "/health"
PLAIN: Final = "text/plain"
OPENMETRICS: Final = "application/openmetrics-text"
TYPES: Final = {
    PLAIN: "text/plain; version=0.0.4; charset=utf-8",
    OPENMETRICS: "application/openmetrics-text; version=1.0.0; charset=utf-8",
}
_METHODS: Final = ("GET", "HEAD")
_FAST: Final = 1  # level of gzip: it shrinks a page to a tenth in a third of the time that the best level takes
_REASONS: Final = {200: "200 OK", 405: "405 Method Not Allowed", 503: "503 Service Unavailable"}

Page = Callable[[str], bytes]  # by the format, PLAIN or OPENMETRICS
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
ASGIApplication = Callable[[Scope, Receive, Send], Awaitable[None]]


class Answer(NamedTuple):
    """Status, headers and body of a response."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


def format_of(accept: str) -> str:
    """The format that a client prefers by its Accept header (RFC 9110, section 12.5.1); plain text by default."""
    weights = {PLAIN: 0.0, OPENMETRICS: 0.0}
    for one in accept.lower().split(","):
        kind, *parameters = (part.strip() for part in one.split(";"))
        if kind in weights:
            weights[kind] = max(weights[kind], _weight(parameters))
    return OPENMETRICS if weights[OPENMETRICS] > weights[PLAIN] else PLAIN


def _weight(parameters: Iterable[str]) -> float:
    for one in parameters:
        if one.startswith("q="):
            try:
                return float(one[2:])
            except ValueError:
                return 0.0
    return 1.0


class ScrapePage:
    """The responses of one reporter: the metrics under any path except one that ends in `/health`."""

    def __init__(self, page: Page, counts: Callable[[], bool]) -> None:
        self._page = page
        self._counts = counts

    def answer(self, method: str, path: str, accept: str, encodings: str) -> Answer:
        """The response to a request."""
        if method not in _METHODS:
            return Answer(405, [("Allow", ", ".join(_METHODS))], b"")
        if path.endswith(HEALTH):
            counts = self._counts()
            text = b"counting\n" if counts else b"stopped: nothing is counted\n"
            return Answer(200 if counts else 503, [("Content-Type", "text/plain; charset=utf-8")], text)
        form = format_of(accept)
        headers, body = [("Content-Type", TYPES[form]), ("Vary", "Accept, Accept-Encoding")], self._page(form)
        if "gzip" in encodings.lower():
            headers.append(("Content-Encoding", "gzip"))
            body = gzip.compress(body, _FAST)
        return Answer(200, headers, body)

    def wsgi(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """A WSGI application."""
        method = str(environ.get("REQUEST_METHOD", "GET"))
        accept, encodings = (str(environ.get(f"HTTP_{name}", "")) for name in ("ACCEPT", "ACCEPT_ENCODING"))
        status, headers, body = self.answer(method, str(environ.get("PATH_INFO", "")), accept, encodings)
        start_response(_REASONS[status], [*headers, ("Content-Length", str(len(body)))])
        return [] if method == "HEAD" else [body]

    async def asgi(self, scope: Scope, receive: Receive, send: Send) -> None:
        """An ASGI application. It also answers the lifespan messages of a server that runs it alone."""
        if scope["type"] == "lifespan":
            for phase in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{phase}.complete"})
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close"})
            return
        given = dict(scope.get("headers", ()))
        accept, encodings = (given.get(name, b"").decode("latin-1") for name in (b"accept", b"accept-encoding"))
        status, headers, body = await asyncio.to_thread(self.answer, scope["method"], scope["path"], accept, encodings)
        sized = [*headers, ("Content-Length", str(len(body)))]
        raw = [(name.lower().encode(), value.encode()) for name, value in sized]
        await send({"type": "http.response.start", "status": status, "headers": raw})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
