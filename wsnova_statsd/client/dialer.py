"""From a client's options to a link: one attempt, whichever way leads to the server.

Threads: `target`, `link` and `finish` run in the owner's thread, `cancel` in any; no lock.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from ..dial.dial import Dial, Stream
from ..dial.headers import Pair
from ..dial.proxy import reach
from ..dial.target import Target
from ..errors import ConnectionFailed
from ..link.handshake import Redirect, Upgraded, upgrade
from ..link.link import Link
from ..link.transport import Transport
from .options import Options

_MOST_REDIRECTS: Final = 5  # in one attempt; the next one is reported like any refusal


class Dialer:
    """Makes links. A cancelled dialer makes no more links."""

    def __init__(self, options: Options, emits_heartbeats: Callable[[], bool]) -> None:
        self._options = options
        self._emits_heartbeats = emits_heartbeats
        self._dial: Dial | None = None
        self._cancelled = False

    def target(self) -> Target:
        """The target of this attempt. Raises ConnectionFailed, also if the user's url function raises."""
        try:
            return self._options.target()
        except Exception as error:
            raise ConnectionFailed(f"url: {type(error).__name__}: {error}", cause="url") from error

    def link(self, target: Target, timeout: float, made: Callable[[Link], object]) -> Link:
        """A link to the target, within `timeout` seconds; `made` is called with it at once. Raises ConnectionFailed,
        whatever the platform raises."""
        try:
            headers = self._options.header_pairs(target)
        except Exception as error:
            raise ConnectionFailed(f"headers: {type(error).__name__}: {error}", cause="headers") from error
        try:
            self._dial = dial = Dial(timeout, self._options.sockets)
            dial.kept = False
            if self._cancelled:  # before there was a dial to cancel
                dial.cancel()
            link = self._through(dial, target, headers)
            made(link)
            dial.kept = True
            return link
        except ConnectionFailed:
            raise
        except Exception as error:  # no descriptor, no thread, or a foreign socket without one of our methods
            raise ConnectionFailed(f"the dial failed: {type(error).__name__}: {error}", cause="error") from error
        finally:
            self.finish()

    def finish(self) -> None:
        """The owner, at the end of an attempt, and again if that was interrupted: release an unfinished dial."""
        dial = self._dial
        if dial is not None:
            dial.close()
            self._dial = None

    def _through(self, dial: Dial, target: Target, headers: list[Pair]) -> Link:
        options = self._options
        sock, made = self._upgraded(dial, target, headers)
        transport = Transport(sock, made.ahead)
        return Link(transport, target.uri, options.limits, made.deflate, made.subprotocol, self._emits_heartbeats)

    def _upgraded(self, dial: Dial, target: Target, headers: list[Pair]) -> tuple[Stream, Upgraded]:
        """A socket after the upgrade, by way of redirects within the origin if the client follows them."""
        offer, place = self._options.offer, target
        for _ in range(_MOST_REDIRECTS if offer.follow_redirects else 0):
            sock = self._reach(dial, place)
            try:
                return sock, upgrade(dial, sock, place, headers, offer)
            except Redirect as redirect:
                place = redirect.target
        sock = self._reach(dial, place)
        return sock, upgrade(dial, sock, place, headers, replace(offer, follow_redirects=False))

    def _reach(self, dial: Dial, target: Target) -> Stream:
        """A socket to the target, under TLS if its URL says so."""
        options = self._options
        path = options.unix_socket
        sock = dial.connect_unix(path) if path is not None else reach(dial, options.proxy, target, options.context)
        if not target.secure:
            return sock
        return dial.secure(sock, options.context(), options.server_hostname or target.host)

    def cancel(self) -> None:
        """End the attempt under way, and any later one, at once. Any thread; no lock."""
        self._cancelled = True
        dial = self._dial
        if dial is not None:
            dial.cancel()
