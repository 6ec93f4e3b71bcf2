"""Addresses on a command line: HOST:PORT, and the path of a Unix socket. An error names the value and what is allowed.

Pure, except that a path is looked up; no thread.
"""

from __future__ import annotations

import argparse
import os
import stat
from typing import Final
from urllib.parse import urlsplit

from ..reporters import settings

_SCHEMES: Final = ("unix://", "unixgram://", "unixstream://")


def host_and_port(text: str) -> tuple[str, int]:
    """A host and a port from 1 to 65535."""
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or not port or parts.path or "@" in text:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not an address; allowed: HOST:PORT with a port from 1 to 65535, such as localhost:8125"
        )
    return host, port


def agents_socket(text: str) -> str:
    """The path of an existing Unix socket, in the form that a reporter takes."""
    path = text.partition("://")[2] if text.startswith(_SCHEMES) else text
    try:
        found = stat.S_ISSOCK(os.stat(path).st_mode)
    except (OSError, ValueError):
        found = False
    if not found:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a socket; allowed: the path of the Agent's Unix socket, such as {settings.DEFAULT_SOCKET}"
        )
    return text.removeprefix("unix://")


def agent(text: str) -> tuple[str, int] | str:
    """Either of the two, for datagrams: a text with a slash is a path."""
    if text.startswith("unixstream://"):
        raise argparse.ArgumentTypeError(f"{text!r} is a stream socket; allowed: HOST:PORT, or a datagram socket")
    return agents_socket(text).removeprefix("unixgram://") if "/" in text else host_and_port(text)
