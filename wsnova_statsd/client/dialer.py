"""One attempt to connect, from the URL to an upgraded link. Runs in the owner's thread, `cancel` in any."""

from __future__ import annotations

import threading
from collections.abc import Callable

from ..errors import ConfigurationError, ConnectionFailed
from .dial import Dial, choose, tunnel
from .handshake import upgrade
from .link import Link
from .options import Options, Target
from .session import Limits
from .transport import Transport


class Dialer:
    """Makes links. A cancelled dialer makes none any more."""

    def __init__(self, options: Options, tells_heartbeats: Callable[[], bool]) -> None:
        self._options = options
        self._tells_heartbeats = tells_heartbeats
        self._lock = threading.Lock()  # guards the fields below
        self._dial: Dial | None = None
        self._cancelled = False

    def target(self) -> Target:
        """Where this attempt goes. Raises ConnectionFailed: what a callable raises is a fault of the attempt."""
        try:
            return self._options.target()
        except Exception as error:
            raise ConnectionFailed(f"url: {type(error).__name__}: {error}", cause="url") from error

    def link(self, target: Target) -> Link:
        """A link to the target, within connect_timeout. Raises ConnectionFailed."""
        options = self._options
        try:
            headers = options.header_lines(target)
        except Exception as error:
            raise ConnectionFailed(f"headers: {type(error).__name__}: {error}", cause="headers") from error
        dial = Dial(options.connect_timeout)
        with self._lock:
            if self._cancelled:
                dial.cancel()
            self._dial = dial
        try:
            return self._through(dial, target, headers)
        except (OSError, ConfigurationError) as error:
            if isinstance(error, ConnectionFailed):
                raise
            raise ConnectionFailed(f"the dial failed: {type(error).__name__}: {error}", cause="error") from error
        finally:
            with self._lock:
                self._dial = None
            dial.close()

    def _through(self, dial: Dial, target: Target, headers: list[str]) -> Link:
        options, profile = self._options, self._options.profile
        proxy = choose(options.proxy, target.host, secure=target.secure)
        if proxy is None:
            sock = dial.connect(target.host, target.port)
        else:
            sock = tunnel(dial, proxy, target.host, target.port)
        if target.secure:
            sock = dial.secure(sock, options.context(), target.host)
        compression = options.compression is not None
        ahead, deflate, subprotocol = upgrade(dial, sock, target.url, headers, options.subprotocols, compression)
        limits = Limits(
            profile.ping_interval,
            profile.pong_timeout,
            options.idle_timeout,
            options.max_message_bytes,
            options.max_buffered_bytes,
        )
        return Link(Transport(sock, ahead), target.uri, limits, deflate, subprotocol, self._tells_heartbeats)

    def cancel(self) -> None:
        """End the attempt under way, and any later one, at once."""
        with self._lock:
            self._cancelled = True
            if self._dial is not None:
                self._dial.cancel()
