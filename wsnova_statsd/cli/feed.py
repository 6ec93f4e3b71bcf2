"""A feed on a command line: its URL, headers, channels and protocol, for the commands that connect to any server.

Pure, except that a user's own protocol is imported.
"""

from __future__ import annotations

import argparse
import json
from typing import Any, Final

from ..client.protocol import JsonProtocol, JsonRpcProtocol, Protocol
from ..contrib.loading import called, imported
from ..errors import ConfigurationError, nearest


class AnyProtocol(JsonProtocol[Any]):
    """JSON if a message is JSON, otherwise its text: every message of a feed of either kind can be decoded."""

    def decode(self, data: str | bytes) -> Any:
        try:
            return super().decode(data)
        except (ValueError, RecursionError):
            return data

    def message_type(self, message: Any) -> str:
        return "text" if isinstance(message, str) else super().message_type(message)


_PROTOCOLS: Final[dict[str, type[Protocol[Any]]]] = {"json": JsonProtocol, "jsonrpc": JsonRpcProtocol, "text": Protocol}


def add_feed_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that `connection` reads, except the URL."""
    parser.add_argument(
        "--subscribe",
        action="append",
        default=[],
        metavar="CH",
        help="subscribe to a channel on every link; repeatable",
    )
    parser.add_argument(
        "--protocol",
        metavar="P",
        help="json, jsonrpc, text, or MODULE:NAME, your own ws.Protocol; default: JSON if a message is JSON, otherwise "
        "text",
    )
    parser.add_argument(
        "--header",
        action="append",
        default=[],
        type=_header,
        metavar="K:V",
        help="a header of the upgrade; repeatable; other users of this machine can read a command line",
    )


def connection(args: argparse.Namespace) -> dict[str, Any]:
    """The arguments of a Client for these. Raises ConfigurationError if they are unusable."""
    protocol = _protocol(args.protocol)
    if args.subscribe and type(protocol).subscribe_message is Protocol.subscribe_message:
        raise ConfigurationError(
            f"--subscribe is given, but --protocol {args.protocol} has no message for it; use --protocol json or "
            "jsonrpc, or send the feed's own message as a line"
        )
    return {
        "url": args.url,
        "protocol": protocol,
        "subscriptions": args.subscribe,
        "headers": args.header,
        "proxy": "env",
        "compression": "deflate",
    }


def _protocol(given: str | None) -> Protocol[Any]:
    """The protocol of this name, or the one that MODULE:NAME names."""
    if given is None:
        return AnyProtocol()
    if given in _PROTOCOLS:
        return _PROTOCOLS[given]()
    module_name, colon, name = given.partition(":")
    if not colon or not module_name or not name:
        raise ConfigurationError(
            f"--protocol is {given!r}; pass {', '.join(_PROTOCOLS)}, or MODULE:NAME{nearest(given, _PROTOCOLS)}"
        )
    module = imported(module_name, from_here=True)
    if not hasattr(module, name):
        raise ConfigurationError(f"{module_name} has no {name!r}{nearest(name, vars(module))}")
    found = called(given, getattr(module, name))
    if not isinstance(found, Protocol):
        raise ConfigurationError(f"{given} is of type {type(found).__name__}; pass a ws.Protocol, or a subclass of it")
    return found


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise argparse.ArgumentTypeError(
            f"{json.dumps(name[:20])} is not a header; pass NAME:VALUE, such as 'Origin:https://x'"
        )
    return name.strip(), value.strip()
