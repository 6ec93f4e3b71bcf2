"""`--web`: the board in a browser, by textual-serve on loopback. The only file that imports textual-serve and aiohttp.

One process receives and shares its snapshots; textual-serve starts one more for each tab, which reads them. A request
needs the token of the printed address; another Host or Origin is refused, so that a foreign page in the same browser
has no access. The page loads nothing from another machine. Everything here runs in the main thread.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import secrets
import shlex
import socket
import sys
from pathlib import Path
from typing import Any, Final, NoReturn

from ..errors import ConfigurationError, MissingExtra
from .session import Source
from .share import MOST_TABS, Share

try:
    from aiohttp import web
    from textual_serve.server import Server
except ImportError as _missing:
    raise MissingExtra("textual-serve", "watch") from _missing

LOOPBACK: Final = "127.0.0.1"
_NAMES: Final = (LOOPBACK, "localhost")
_HTTP: Final = 80
_TOKEN_BYTES: Final = 32
_SOON: Final = 0.02  # seconds
_TEMPLATES: Final = Path(__file__).parent / "templates"
_HEADERS: Final = {
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; font-src 'self'; "
        "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
}


class BoardServer(Server):
    """textual-serve's server, protected by a token."""

    def __init__(self, share: Share, port: int, profile: str) -> None:
        command = shlex.join([sys.executable, "-m", "wsnova_statsd.watch.tab", share.path, profile])
        super().__init__(command, LOOPBACK, port, "wsnova-statsd watch", templates_path=_TEMPLATES)
        self._token = secrets.token_urlsafe(_TOKEN_BYTES)
        # A browser omits the port if it is the scheme's default.
        self._hosts = frozenset(_NAMES if port == _HTTP else (f"{name}:{port}" for name in _NAMES))
        self._share = share
        self._tabs = 0
        self._announcing: asyncio.Task[None] | None = None  # kept, so that it is not collected while it runs

    @property
    def url(self) -> str:
        """The address to open; the token in it is a secret."""
        return f"{self.public_url}/?token={self._token}"

    def initialize_logging(self) -> None:
        """Configure no log, and disable that of requests: their addresses contain the token."""
        logging.getLogger("aiohttp.access").disabled = True

    async def on_startup(self, app: web.Application) -> None:
        """Print the address as soon as the page can be opened: aiohttp listens after this."""
        self._announcing = asyncio.create_task(self._announce())

    async def _announce(self) -> None:
        """Print the address on stdout and nowhere else."""
        while True:
            try:
                _, writer = await asyncio.open_connection(LOOPBACK, self.port)
            except OSError:
                await asyncio.sleep(_SOON)
                continue
            writer.close()
            print(f"open {self.url} - Ctrl-C ends it", flush=True)
            return

    async def on_shutdown(self, app: web.Application) -> None:
        """End the tabs with their source; their requests end with them."""
        self._share.stop()

    async def handle_index(self, request: web.Request) -> Any:
        """The page, if the request has the token."""
        self._check(request)
        response = await super().handle_index(request)
        response.headers.update(_HEADERS)
        return response

    async def handle_websocket(self, request: web.Request) -> web.WebSocketResponse:
        """One tab, up to four at a time; only for our own page."""
        self._check(request, "Origin")
        if self._tabs >= MOST_TABS:
            raise web.HTTPServiceUnavailable(text=f"{MOST_TABS} tabs are open already; close one", headers=_HEADERS)
        # The script adds ?width=..&height=.. to an address that already has a query: see the template.
        width = request.query.get("page", "").removeprefix("?width=")
        self._tabs += 1
        try:
            return await super().handle_websocket(request.clone(rel_url=request.rel_url.update_query(width=width)))
        finally:
            self._tabs -= 1

    async def handle_download(self, request: web.Request) -> web.StreamResponse:
        """There is nothing to download."""
        raise web.HTTPNotFound(headers=_HEADERS)

    def _check(self, request: web.Request, *needed: str) -> None:
        """Refuse a request that does not come from our own page, or has no token."""
        host = request.headers.get("Host", "")
        if host not in self._hosts:
            _refuse(f"this is not a host of this page; open the printed address, at {LOOPBACK}")
        origin = request.headers.get("Origin")
        if origin is None and "Origin" in needed:
            _refuse("the header Origin is missing; a browser sends it")
        if origin is not None and origin != f"http://{host}":
            _refuse("another page may not connect to this one")
        given = request.query.get("token", "")
        if not hmac.compare_digest(given.encode("utf-8", "replace"), self._token.encode()):
            _refuse("the token is missing or belongs to another run; open the printed address")


def _refuse(why: str) -> NoReturn:
    raise web.HTTPForbidden(text=why, headers=_HEADERS)


def serve(source: Source, port: int, profile: str) -> None:
    """Serve until Ctrl-C or SIGTERM. Raises ConfigurationError if the port is not available."""
    free = _free(port)
    with Share(source) as share:
        BoardServer(share, free, profile).serve()


def _free(port: int) -> int:
    """The port itself, or a free one for 0."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            raise ConfigurationError(
                f"cannot listen at {LOOPBACK} port {port}: {error.strerror}; use --web 0 for a free one"
            ) from error
        return int(probe.getsockname()[1])
