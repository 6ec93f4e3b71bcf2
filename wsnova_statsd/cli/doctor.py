"""`wsnova-statsd doctor`: checks the path to the Agent hop by hop, and says which hop fails and what to do.

With a URL it checks a client's path to that feed. This file is the command: its arguments, where the address comes
from, and what is printed, each hop as soon as it is known. Threads: the main thread, and a daemon thread for each wait
that has no deadline itself. It mentions tags only if they take too much of every line.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Mapping
from typing import Any, Final

from .. import __version__, checks, environment, wire
from ..errors import ConfigurationError
from ..reporters import settings
from ..reporters.settings import Address
from .doctor_feed import feed_hops, feed_options
from .doctor_hops import FAILED, OK, UNSURE, Hop, deliver, udp_hops, unix_hops
from .feed import add_feed_arguments, connection
from .parser import add_command, checked_by

_ROOM: Final = 500  # bytes that a line's name, value and own tags may take
_LOOK: Final = "look for websocket.doctor in Datadog to be sure"
_SEEN: Final = "websocket.doctor should be in Datadog within a minute."
_LOOK_THERE: Final = "look for websocket.doctor at the StatsD server to be sure"
_COUNTED: Final = "websocket.doctor should be counted by the StatsD server."
_MARKS: Final = {OK: "ok", UNSURE: "?", FAILED: "FAIL"}
# A variable affects the address if one of these values in its place would change the address.
_OTHERS: Final = {
    "DD_DOGSTATSD_URL": ("udp://other.invalid:1",),
    "DD_DOGSTATSD_SOCKET": ("/other.invalid",),
    "DD_AGENT_HOST": ("other.invalid",),
    "DD_DOGSTATSD_PORT": ("1", "2"),
}


def register(subparsers: Any) -> None:
    """Add the command's parser."""
    parser = add_command(
        subparsers,
        "doctor",
        "find the hop to the Datadog Agent, or to a feed, that fails",
        "Checks the reporter's path to the Agent hop by hop - address, resolve, connect, send, listen - and sends one "
        "test metric, one event and one service check, all named websocket.doctor. Without arguments the address comes "
        "from the environment. With a URL it checks a client's path to that feed instead, on one connection: "
        "name, TCP, TLS, upgrade, first message, ping, clock.",
        examples={
            "wsnova-statsd doctor": "the Agent that the environment names, by DD_AGENT_HOST and the like",
            "wsnova-statsd doctor --host 10.0.0.5 --port 8125": "an Agent on another host",
            "wsnova-statsd doctor --socket /var/run/datadog/dsd.socket": "the Agent's Unix socket",
            "wsnova-statsd doctor wss://feed.example/ws --subscribe trades.BTC": "a feed, and what it sends",
        },
        statuses={0: "no hop failed", 1: "a hop failed"},
    )
    parser.add_argument("url", nargs="?", metavar="URL", help="a feed, ws:// or wss://, instead of the Agent")
    add_feed_arguments(parser)
    parser.add_argument("--host", type=_host, metavar="H", help="the Agent's name or address, instead of DD_AGENT_HOST")
    port = checked_by(_port)
    parser.add_argument("--port", type=port, metavar="N", help="its UDP port, instead of DD_DOGSTATSD_PORT")
    parser.add_argument("--socket", type=_path, metavar="PATH", help="its Unix socket, instead of host and port")
    parser.add_argument("--json", action="store_true", help="print one JSON document and nothing else")


def run(args: argparse.Namespace) -> int:
    """Check the path; 0 if nothing failed, otherwise 1. Raises ConfigurationError for an invalid address."""
    if args.socket is not None and (args.host is not None or args.port is not None):
        raise ConfigurationError("--socket is given together with --host or --port; pass the socket, or host and port")
    if args.url is not None:
        return _feed(args)
    if args.subscribe or args.header or args.protocol is not None:
        raise ConfigurationError("--subscribe, --header and --protocol are for a feed; pass its URL too")
    where = {"host": args.host, "port": args.port, "socket_path": args.socket}
    address = settings.address(**where)
    unsure, well = (_LOOK_THERE, _COUNTED) if _is_plain() else (_LOOK, _SEEN)
    return _report(args, _hops(where, address), {"address": str(address)}, unsure, well)


def _feed(args: argparse.Namespace) -> int:
    """Check the path to a feed."""
    if (args.host, args.port, args.socket) != (None, None, None):
        raise ConfigurationError("--host, --port and --socket name the Agent; pass them, or the URL of a feed")
    options = feed_options(connection(args))
    target = {"url": options.uri}
    return _report(args, feed_hops(options), target, "see the lines with a question mark", "a client can listen to it.")


def _report(args: argparse.Namespace, way: Iterator[Hop], of: Mapping[str, Any], unsure: str, well: str) -> int:
    """Print each hop as soon as it is known, and the verdict at the end; returns the exit status."""
    hops: list[Hop] = []
    for hop in way:
        hops.append(hop)
        if not args.json:
            _print(f"{_MARKS[hop.result]:<5} {hop.name:<8} {hop.message}{'; ' if hop.advice else ''}{hop.advice}")
    results = [hop.result for hop in hops]
    if args.json:
        documents = [_document(hop) for hop in hops]
        document = {"version": __version__, **of, "ok": FAILED not in results, "hops": documents}
        print(json.dumps(document, indent=2))
    elif FAILED in results:
        _print(f"Not all right: the hop {hops[-1].name!r} failed.")
    else:
        _print(f"Nothing failed; {unsure}." if UNSURE in results else f"All right; {well}")
    return 1 if FAILED in results else 0


def _document(hop: Hop) -> dict[str, Any]:
    seconds = {} if hop.seconds is None else {"seconds": round(hop.seconds, 6)}
    return {"hop": hop.name, "result": hop.result, "message": hop.message, "advice": hop.advice, **seconds}


def _hops(where: Mapping[str, Any], address: Address) -> Iterator[Hop]:
    """Every hop up to the first that fails."""
    if settings.disabled():
        given = os.environ["DD_DOGSTATSD_DISABLE"]
        yield Hop("settings", FAILED, f"DD_DOGSTATSD_DISABLE is {given!r}: reporters send nothing", "unset it")
        return
    yield _origin(where, address)
    tags = _tags(address.limit)
    if tags is not None:
        yield tags
        if tags.result == FAILED:
            return
    way = unix_hops(address.path, address.limit) if address.path is not None else udp_hops(address)
    for hop in way:
        yield hop
        if hop.result == FAILED:
            return
    yield deliver(where, plain=_is_plain())


def _is_plain() -> bool:
    """True if the environment names the dialect of plain StatsD, which has neither events nor service checks."""
    return environment.read(os.environ)[1].get("dialect") == "statsd"


def _origin(where: Mapping[str, Any], address: Address) -> Hop:
    """Which settings decide: found by the reporter's own rule, not by a second copy of it."""
    deciding = [f"--{name.removesuffix('_path')}" for name, value in where.items() if value is not None]
    idle: list[str] = []
    for name, others in _OTHERS.items():
        if os.environ.get(name):
            asked = (settings.address(**where, environ={**os.environ, name: other}) for other in others)
            (deciding if any(other != address for other in asked) else idle).append(name)
    place = f"Unix socket {address.path}" if address.path is not None else f"UDP {address.host} port {address.port}"
    text = f"{place}, from {', '.join(deciding)}" if deciding else f"{place}, by default: no setting names another"
    if idle:
        text += f"; {', '.join(idle)} set as well, without effect"
    return Hop("address", OK, text)


def _tags(limit: int) -> Hop | None:
    """How much of each line the constant tags of the variables take, if it is too much."""
    try:
        tags = settings.constant_tags(())
        settings.check_room("", tags)
    except ConfigurationError as error:
        return Hop("tags", FAILED, str(error), "until then no reporter can start")
    used = wire.size(",".join(tags))
    if used <= limit - _ROOM:
        return None
    text = f"{len(tags)} constant tags take {used} bytes of every line; a datagram has {limit}: each holds one line"
    advice = f"shorten DD_TAGS; a line that exceeds {wire.LINE_BYTES} bytes with its own tags is lost"
    return Hop("tags", UNSURE, text, advice)


def _print(line: str) -> None:
    from ..watch.text import printable

    print(printable(line, sys.stdout), flush=True)


# -- arguments: each sentence names the value and what is allowed -----------------------------------------------------


def _host(text: str) -> str:
    if not text.strip() or not text.isprintable() or "/" in text:
        raise argparse.ArgumentTypeError(f"{text!r} is not a host; allowed: a name or an address, such as localhost")
    return text


def _port(text: str) -> int:
    return checks.port("the port", text, hint="the Agent's is 8125", text=True)


def _path(text: str) -> str:
    if not text or not text.isprintable():
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a path; allowed: the path of a socket, such as {settings.DEFAULT_SOCKET}"
        )
    return text.removeprefix("unix://")
