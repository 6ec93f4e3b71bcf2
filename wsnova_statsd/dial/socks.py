"""The way through a SOCKS5 proxy (RFC 1928), with the extra `socks`; the only importer of python_socks.

Runs in the thread that dials: the library builds and parses the messages, and its bytes go through the dial, under the
one deadline that another thread can cancel. The proxy resolves the server's name; it is not resolved here.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from ..errors import MissingExtra
from .dial import Dial, Stream


def check_installed() -> None:
    """Raises MissingExtra, which names the extra, unless python-socks is installed."""
    if find_spec("python_socks") is None:
        raise MissingExtra("python-socks", "socks")


class _Stream:
    """A socket of the dial, with the interface that the library expects."""

    def __init__(self, dial: Dial, sock: Stream) -> None:
        self._dial = dial
        self._sock = sock

    def sendall(self, data: bytes) -> None:
        self._dial.send(self._sock, data)

    def recv(self, size: int) -> bytes:
        return self._dial.recv(self._sock, size)

    def close(self) -> None:
        self._sock.close()

    def connect(self, **_where: Any) -> _Stream:
        """The library's step to the proxy: this socket is already connected to it."""
        return self


def traverse(
    dial: Dial, sock: Stream, host: str, port: int, credentials: tuple[str, str] | None
) -> tuple[str, int | None] | None:
    """Ask the proxy at this socket for host and port. Returns None, or the refusal: the library's message, and the code
    of the reply if there was one. Raises whatever the dial raises."""
    from python_socks import ProxyType
    from python_socks.sync import Proxy

    before: Any = _Stream(dial, sock)
    user, password = credentials or (None, None)
    proxy = Proxy(ProxyType.SOCKS5, "", 0, user, password, rdns=True, forward=before)
    try:
        proxy.connect(host, port)
    except OSError:  # ConnectionFailed too
        raise
    except Exception as error:  # the library's own errors, and those of an invalid reply
        return str(error) or type(error).__name__, getattr(error, "error_code", None)
    return None
