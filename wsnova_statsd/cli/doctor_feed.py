"""The hops of `wsnova-statsd doctor URL`: a client's path to a feed, on one connection, a line for each hop.

Name, TCP or proxy, TLS, upgrade, first message, ping, clock. A generator of hops ends with the first that fails.
Threads: the main thread, and one that looks up a name. Of a message only the type and the size are shown.
"""

from __future__ import annotations

import contextlib
import math
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from ..client.options import Options
from ..client.protocol import Protocol
from ..client.sender import data_frame
from ..dial.dial import Dial, Stream
from ..dial.proxy import Proxy, choose, tunnel
from ..dial.target import Target
from ..errors import ConnectionFailed, NotConnected
from ..insight.numbers import time_of
from ..link.frames import BINARY, TEXT
from ..link.handshake import Upgraded, upgrade
from ..link.link import Link
from ..link.transport import Transport
from ..profiles import STANDARD
from ..redaction import describe_error, one_line
from .doctor_hops import FAILED, OK, RESOLVE_SECONDS, UNSURE, Hop, within

_DIAL_SECONDS: Final = 10.0
_LISTEN_SECONDS: Final = 5.0  # for a first message, and for a pong
_PING_EVERY: Final = 0.25
_ENOUGH: Final = 5  # messages whose ages are enough to compare the clocks
_RENEW_DAYS: Final = 14
_APART: Final = 1.0  # seconds by which two clocks may differ
_MOST_BYTES: Final = 64 * 2**20
_AS_A_CLIENT: Final[Mapping[str, Any]] = {
    **dict.fromkeys(("on_message", "on_error", "on_reconnect", "ssl")),
    "client_id": "doctor",
    "profile": STANDARD,
    "subprotocols": (),
    "connect_timeout": _DIAL_SECONDS,
    "max_message_bytes": _MOST_BYTES,
    "max_buffered_bytes": _MOST_BYTES,
    "reconnect": False,
}
_GIVEN_IN_CODE: Final = "pass ssl=ssl.create_default_context(cafile=...)"
_GIVEN_HERE: Final = f"set SSL_CERT_FILE to its file; in a program {_GIVEN_IN_CODE}"
_DAY: Final = 86_400.0


def feed_options(connection: Mapping[str, Any]) -> Options:
    """The options of a client, checked. Raises ConfigurationError."""
    return Options(**{**_AS_A_CLIENT, **connection})


def feed_hops(options: Options) -> Iterator[Hop]:
    """All hops."""
    target = options.target()
    dial = Dial(_DIAL_SECONDS)
    try:
        way = _Way(options, target, dial)
        for hop in way.hops():
            yield hop
            if hop.result == FAILED:
                return
        yield from _messages(way.link(), options)
    finally:
        dial.close()


class _Way:
    """From a name to an upgraded connection; each hop passes its socket to the next."""

    def __init__(self, options: Options, target: Target, dial: Dial) -> None:
        self._options = options
        self._target = target
        self._dial = dial
        self._sock: Stream | None = None
        self._made: Upgraded | None = None

    def hops(self) -> Iterator[Hop]:
        """The hops up to the upgrade. `name` is the hop that an error belongs to."""
        target, dial = self._target, self._dial
        began = time.perf_counter()
        try:
            proxy = choose(self._options.proxy, target.host, target.port, secure=target.secure)
            name = "proxy"
            if proxy is None:
                hop = _name(target.host, target.port)
                yield hop
                if hop.result == FAILED:
                    return
                name = "TCP"
            began = time.perf_counter()
            sock, text = self._connected(proxy)
            yield _timed(Hop(name, OK, text), began)
            if target.secure:
                name, began = "TLS", time.perf_counter()
                sock = secured = dial.secure(sock, self._options.context(), target.host)
                yield _timed(_certificate(secured), began)
            name, began = "upgrade", time.perf_counter()
            self._made = upgrade(dial, sock, target, self._options.header_pairs(target), self._options.offer)
            self._sock = sock
            yield _timed(Hop(name, OK, f"{target.uri} is a WebSocket server{_agreed(self._made)}"), began)
        except ConnectionFailed as error:
            yield _timed(_failed(name, error), began)

    def _connected(self, proxy: Proxy | None) -> tuple[Stream, str]:
        """A socket, directly or through a proxy, and its description."""
        host, port = self._target.host, self._target.port
        if proxy is not None:
            sock = tunnel(self._dial, proxy, host, port, self._options.context)
            return sock, f"{proxy} opened a tunnel to {host} port {port}"
        direct = self._dial.connect(host, port)
        return direct, f"{direct.getpeername()[0]} port {port}"

    def link(self) -> Link:
        """The connection."""
        assert self._sock is not None
        assert self._made is not None
        limits = replace(self._options.limits, ping_interval=_PING_EVERY, pong_timeout=_LISTEN_SECONDS)
        transport = Transport(self._sock, self._made.ahead)
        return Link(transport, self._target.uri, limits, self._made.deflate, self._made.subprotocol)


def _timed(hop: Hop, began: float) -> Hop:
    """The hop with the time it took."""
    seconds = time.perf_counter() - began
    return replace(hop, message=f"{hop.message}, after {time_of(seconds)}", seconds=seconds)


def _failed(name: str, error: ConnectionFailed) -> Hop:
    """A failed hop: the error's message up to its first semicolon, then what to do."""
    message, _, advice = one_line(str(error)).partition("; ")
    return Hop(name, FAILED, message, advice.replace(_GIVEN_IN_CODE, _GIVEN_HERE))


def _name(host: str, port: int) -> Hop:
    """Look the name up."""
    began = time.perf_counter()
    try:
        found = within(RESOLVE_SECONDS, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    except TimeoutError:
        text = f"{host}: the resolver has not answered in {RESOLVE_SECONDS:g} s"
        return Hop("name", FAILED, text, "fix DNS (/etc/resolv.conf)")
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or str(error)
        return _timed(Hop("name", FAILED, f"{host}: {why}", "check the host of the URL, and this machine's DNS"), began)
    names = ", ".join(dict.fromkeys(str(one[4][0]) for one in found))
    return _timed(Hop("name", OK, f"{host} is {names}"), began)


def _certificate(sock: ssl.SSLSocket) -> Hop:
    """The subject and the issuer of the certificate, and the days left; by now it is verified."""
    found: Mapping[str, Any] = sock.getpeercert() or {}
    chain = getattr(sock, "get_verified_chain", None)  # since Python 3.13
    signed = f"signed by {_common_name(found.get('issuer', ()))}"
    if chain is not None:
        signed += f", a trusted chain of {len(chain())}"
    else:
        signed += ", a trusted chain"
    text = f"{sock.version()}; certificate of {_common_name(found.get('subject', ()))}, {signed}"
    if "notAfter" not in found:
        return Hop("TLS", OK, f"{sock.version()}; the certificate is not checked")
    days = math.floor((ssl.cert_time_to_seconds(found["notAfter"]) - time.time()) / _DAY)
    text += f", {days} days left"
    if days < _RENEW_DAYS:
        return Hop("TLS", UNSURE, text, "renew the certificate")
    return Hop("TLS", OK, text)


def _common_name(name: Any) -> str:
    """A name of a certificate: its common name, otherwise its organization."""
    parts = {key: str(value) for part in name for key, value in part}
    return one_line(parts.get("commonName") or parts.get("organizationName") or "an unnamed holder")[:80]


def _agreed(made: Upgraded) -> str:
    parts = [f"subprotocol {made.subprotocol}"] if made.subprotocol else []
    parts += ["compression"] if made.deflate is not None else []
    return f" ({', '.join(parts)})" if parts else ""


# -- what the feed says -----------------------------------------------------------------------------------------------


def _messages(link: Link, options: Options) -> Iterator[Hop]:
    """First message, ping, and the clock if messages say when they were sent."""
    protocol, began = options.protocol, time.perf_counter()
    try:
        _ask(link, protocol, options.subscriptions)
        incoming = _Incoming(link, protocol)
        first = incoming.first_message(asked=bool(options.subscriptions))
        yield _timed(first, began)
        if first.result == FAILED:
            return
        yield incoming.ping()
        clock = incoming.clock()
        if clock is not None:
            yield clock
    except NotConnected as error:
        yield _timed(Hop("message", FAILED, f"the connection is lost: {error}", "see the server's log"), began)
    finally:
        link.send_close(1000)
        with contextlib.suppress(NotConnected):
            deadline = time.monotonic() + 1.0
            while link.loss is None and time.monotonic() < deadline:
                link.next_run(deadline)
                link.inbox.clear()
                link.session.notices.clear()
        link.dispose()


def _ask(link: Link, protocol: Protocol[Any], channels: Any) -> None:
    """Send the protocol's greeting, and the subscribe messages."""
    messages = [*protocol.greeting(), *(protocol.subscribe_message(channel) for channel in channels)]
    encode = protocol.encoder()
    for number, message in enumerate(messages, 1):
        if protocol.acknowledges() == "reply":
            message = protocol.request(message, number)[0]
        is_text, payload = encode(message)
        link.writer.send(data_frame(TEXT if is_text else BINARY, payload, link.deflate), _LISTEN_SECONDS)


class _Incoming:
    """Reads until a message and a pong have arrived, or the time for them is over."""

    def __init__(self, link: Link, protocol: Protocol[Any]) -> None:
        self._link = link
        self._protocol = protocol
        self._decode_text = protocol.text_decoder()
        self._until = time.monotonic() + _LISTEN_SECONDS
        self._ages: list[float] = []  # seconds from when a message was sent, by its own timestamp, to when it was read
        self._first: str | None = None
        self._rtts: list[float] = []

    def first_message(self, *, asked: bool) -> Hop:
        """Wait for a message."""
        while self._first is None and self._read():
            pass
        if self._first is not None:
            return Hop("message", OK, f"the first is {self._first}")
        if self._link.loss is not None:
            text = f"the server closed the connection: {one_line(self._link.loss.detail or self._link.loss.reason)}"
            return Hop("message", FAILED, text, "it may require a login or a subscription first; see its documentation")
        advice = "check the channel's name" if asked else "many feeds send only to subscribers: use --subscribe CH"
        return Hop("message", UNSURE, "none arrived", advice)

    def ping(self) -> Hop:
        """Wait for a pong: the shortest round trip of those that arrived counts."""
        while not self._rtts and self._read():
            pass
        if self._rtts:
            best = min(self._rtts)
            return Hop("ping", OK, f"round trip in {time_of(best)}", seconds=best)
        text = f"no pong in {_LISTEN_SECONDS:g} s"
        return Hop("ping", UNSURE, text, "a client closes a silent connection without pongs; check the proxies between")

    def clock(self) -> Hop | None:
        """The clocks' difference, if messages say when they were sent: the lowest age, less half a round trip."""
        if not self._ages:
            return None
        apart = min(self._ages) - (min(self._rtts) / 2 if self._rtts else 0.0)
        if abs(apart) <= _APART:
            return Hop("clock", OK, f"messages are {time_of(apart)} old when they arrive", seconds=apart)
        text = f"a message arrives {time_of(abs(apart))} {'after' if apart > 0 else 'before'} its own timestamp"
        return Hop(
            "clock", UNSURE, text, "set this machine's clock by NTP; if it is right, the feed sends old data", apart
        )

    def _read(self) -> bool:
        """Read once. False if the time is over or the connection is lost."""
        link, session = self._link, self._link.session
        link.next_run(self._until, direct=False)
        for kind, payload, stamp in list(link.inbox):
            self._note(kind, payload, stamp)
        link.inbox.clear()
        self._rtts += [ns / 1e9 for what, ns in session.notices if what == "received"]
        session.notices.clear()
        return link.loss is None and time.monotonic() < self._until

    def _note(self, kind: int, payload: bytes, stamp: int) -> None:
        """Note a message: its type if it is the first, and its age."""
        if self._first is not None and len(self._ages) >= _ENOUGH:
            return
        size = f"{len(payload)} bytes"
        try:
            message = self._decode_text(payload) if kind == TEXT else self._protocol.decode(payload)
            self._first = self._first or f"of type {one_line(self._protocol.message_type(message))[:60]}, {size}"
            sent_at = self._protocol.sent_at(message)
        except Exception as error:  # of a user's own protocol, too
            self._first = self._first or f"one that the protocol cannot read ({describe_error(error)}), {size}"
            return
        if sent_at is not None:
            self._ages.append(stamp / 1e9 - sent_at)
