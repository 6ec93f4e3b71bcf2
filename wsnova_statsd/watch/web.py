"""`--web`: the board in the browser, by textual-serve on loopback; the only importer of textual-serve and aiohttp.

One process listens and shares its snapshots; textual-serve starts one more for each tab, which reads those. Whoever
opens the page needs the token of its address; another Host or Origin is refused, so that no foreign page gets in by the
browser. Nothing of the page comes from another machine. Everything here runs in the main thread.
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
    """textual-serve's server, for whoever has the token."""

    def __init__(self, share: Share, port: int, profile: str) -> None:
        command = shlex.join([sys.executable, "-m", "wsnova_statsd.watch.tab", share.path, profile])
        super().__init__(command, LOOPBACK, port, "wsnova-statsd watch", templates_path=_TEMPLATES)
        self._token = secrets.token_urlsafe(_TOKEN_BYTES)
        # A browser leaves the port out if it is the scheme's own.
        self._hosts = frozenset(_NAMES if port == _HTTP else (f"{name}:{port}" for name in _NAMES))
        self._share = share
        self._tabs = 0
        self._telling: asyncio.Task[None] | None = None  # held, so that it is not collected while it runs

    @property
    def url(self) -> str:
        """Where to open it; the token in it is a secret."""
        return f"{self.public_url}/?token={self._token}"

    def initialize_logging(self) -> None:
        """None of its own, and none of requests: their addresses hold the token."""
        logging.getLogger("aiohttp.access").disabled = True

    async def on_startup(self, app: web.Application) -> None:
        """Say where to open it, as soon as it can be opened: aiohttp listens after this."""
        self._telling = asyncio.create_task(self._tell())

    async def _tell(self) -> None:
        """On stdout and nowhere else."""
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
        """The tabs end as their source does; the requests they hang on end with them."""
        self._share.stop()

    async def handle_index(self, request: web.Request) -> Any:
        """The page, for whoever has the token."""
        self._check(request)
        response = await super().handle_index(request)
        response.headers.update(_HEADERS)
        return response

    async def handle_websocket(self, request: web.Request) -> web.WebSocketResponse:
        """One tab, up to four at a time; only for a page of ours."""
        self._check(request, "Origin")
        if self._tabs >= MOST_TABS:
            raise web.HTTPServiceUnavailable(text=f"{MOST_TABS} tabs are open already; close one", headers=_HEADERS)
        # The script adds ?width=..&height=.. to an address that has its query already: see the template.
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
        """Refuse what does not come from a page of ours, or comes without the token."""
        host = request.headers.get("Host", "")
        if host not in self._hosts:
            _refuse(f"this is no host of this page; open the address that was printed, at {LOOPBACK}")
        origin = request.headers.get("Origin")
        if origin is None and "Origin" in needed:
            _refuse("a browser names the page that it comes from")
        if origin is not None and origin != f"http://{host}":
            _refuse("another page may not open this one")
        given = request.query.get("token", "")
        if not hmac.compare_digest(given.encode("utf-8", "replace"), self._token.encode()):
            _refuse("the token is missing or not that of this run; open the address that was printed")


def _refuse(why: str) -> NoReturn:
    raise web.HTTPForbidden(text=why, headers=_HEADERS)


def serve(source: Source, port: int, profile: str) -> None:
    """Serve until Ctrl-C or SIGTERM. Raises ConfigurationError if the port cannot be had."""
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
                f"cannot listen at {LOOPBACK} port {port}: {error.strerror}; --web 0 takes a free one"
            ) from error
        return int(probe.getsockname()[1])
