"""The hops of `wsnova-statsd doctor`: each is tried on a separate socket, and printed as one line.

A generator of hops ends with the first that fails. A call that may hang without a deadline runs in a daemon thread,
which is abandoned when its time is over. The probe is one datagram of zero counts, as large as the reporter's largest.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import stat
import struct
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from ..reporters.settings import Address
from ..reporters.statsd import StatsdReporter
from ..telemetry import Bus
from ..watch.holders import udp_holder, unix_holder

NAME: Final = "websocket.doctor"  # of the test metric and the service check
OK, UNSURE, FAILED = "ok", "unsure", "failed"

RESOLVE_SECONDS: Final = 5.0
_DELIVER_SECONDS: Final = 10.0
_REFUSAL_SECONDS: Final = 0.3  # a refusal from another host takes a round trip
_SOCKET_SECONDS: Final = 1.0
_ZERO: Final = f"{NAME}:0|c\n".encode()  # changes no number
_START: Final = "start the Agent with DogStatsD enabled"
_ALIVE: Final = "check that the Agent is running"
_SENDING: Final = {
    errno.EPERM: "a firewall of this machine forbids it",
    errno.EMSGSIZE: "the path accepts no datagram of that size; use the Agent's Unix socket",
}
_CONNECTING: Final = {
    errno.ECONNREFUSED: f"no process holds it, the file is a leftover; {_START}",
    errno.EACCES: "allow this user to write to it: by the file's group, usually dd-agent, or its mode",
    errno.EPROTOTYPE: "it is of the other kind; put unixgram:// or unixstream:// before the path accordingly",
}
_KINDS: Final = {socket.SOCK_DGRAM: "datagram", socket.SOCK_STREAM: "stream"}

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Hop:
    """One hop: `message` says what was tried and with which result, `advice` what to do; `seconds` is the time it took,
    if measured."""

    name: str
    result: str  # OK, UNSURE or FAILED
    message: str
    advice: str = ""
    seconds: float | None = None


def within(seconds: float, work: Callable[[], _T]) -> _T:
    """Run `work` in a daemon thread; returns or raises what it does. Raises TimeoutError when its time is over."""
    results: list[_T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, name="wsnova-doctor", daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not results:
        raise TimeoutError
    return results[0]


# -- UDP --------------------------------------------------------------------------------------------------------------


def udp_hops(address: Address) -> Iterator[Hop]:
    """Resolve, connect, send, listen."""
    host, port = address.host, address.port
    began = time.perf_counter()
    try:
        found = within(RESOLVE_SECONDS, lambda: socket.getaddrinfo(host, port, 0, socket.SOCK_DGRAM))
    except TimeoutError:
        text = f"{host}: the resolver has not answered in {RESOLVE_SECONDS:g} s"
        yield Hop("resolve", FAILED, text, "use the Agent's IP address, or fix DNS (/etc/resolv.conf)")
        return
    except (OSError, UnicodeError) as error:  # UnicodeError: the name is invalid
        advice = "correct the host, or fix DNS; in Kubernetes set DD_AGENT_HOST to status.hostIP"
        yield Hop("resolve", FAILED, f"{host}: {_reason(error)}", advice)
        return
    found.sort(key=lambda one: one[0] != socket.AF_INET)  # as the official client does
    names = ", ".join(dict.fromkeys(str(one[4][0]) for one in found))
    yield Hop("resolve", OK, f"{host} is {names}, after {(time.perf_counter() - began) * 1e3:.1f} ms")

    try:
        sock = _connected(found)
    except OSError as error:
        yield Hop(
            "connect",
            FAILED,
            f"{names}: {_reason(error)}",
            "there is no route to that network; fix the host or the route",
        )
        return
    with closing(sock):
        place, own = str(sock.getpeername()[0]), str(sock.getsockname()[0])
        yield Hop("connect", OK, f"{place} port {port}, from {own}")
        yield from _udp_datagram(sock, place, own, address)


def _connected(found: Iterable[Any]) -> socket.socket:
    """A socket to the first reachable address. Raises the OSError of the last one."""
    refusal = OSError(errno.EADDRNOTAVAIL, "no address")
    for family, kind, protocol, _, place in found:
        try:
            sock = socket.socket(family, kind, protocol)
            try:
                sock.connect(place)
            except OSError:
                sock.close()
                raise
            return sock
        except OSError as error:
            refusal = error
    raise refusal


def _udp_datagram(sock: socket.socket, place: str, own: str, address: Address) -> Iterator[Hop]:
    """Send, and check which process receives it."""
    packet = _ZERO * (address.limit // len(_ZERO))
    there = f"{place} port {address.port}"
    try:
        sock.send(packet)
    except OSError as error:
        advice = _SENDING.get(error.errno or 0, "fix the route to that network")
        yield Hop("send", FAILED, f"a datagram of {len(packet)} bytes to {there}: {_reason(error)}", advice)
        return
    yield Hop("send", OK, f"one datagram of {len(packet)} bytes was sent")
    try:
        sock.settimeout(_REFUSAL_SECONDS)
        sock.recv(1)
    except TimeoutError:
        pass  # an Agent never answers
    except ConnectionRefusedError:
        advice = f"{_START}, or correct host and port; in a container localhost is the container itself"
        yield Hop("listen", FAILED, f"{there} refused the datagram: no process listens there", advice)
        return
    except OSError as error:
        yield Hop("listen", FAILED, f"{there}: {_reason(error)}", "fix the host, the route or the firewall")
        return
    target = ipaddress.ip_address(place.partition("%")[0])
    local = target.is_loopback or own == place
    holder = udp_holder(target, int(sock.getpeername()[1])) if local else None
    if holder is not None:
        yield Hop("listen", OK, holder)
    else:
        text = "UDP does not answer: no proof that a process listens"
        advice = "" if local else "on that host set dogstatsd_non_local_traffic to true; `agent status` counts packets"
        yield Hop("listen", UNSURE, text, advice)


# -- Unix sockets -----------------------------------------------------------------------------------------------------


def unix_hops(given: str, limit: int) -> Iterator[Hop]:
    """File, connect, listen, send. `given` is a path, or unixgram:// or unixstream:// and a path."""
    scheme, _, rest = given.rpartition("://")
    path = rest if scheme in ("unixgram", "unixstream") else given
    kinds = {"unixgram": [socket.SOCK_DGRAM], "unixstream": [socket.SOCK_STREAM]}.get(scheme, list(_KINDS))
    hop = _file(path)
    yield hop
    if hop.result == FAILED:
        return
    for kind in kinds:
        with closing(socket.socket(socket.AF_UNIX, kind)) as sock:
            sock.settimeout(_SOCKET_SECONDS)
            try:
                sock.connect(path)
            except OSError as error:
                if error.errno == errno.EPROTOTYPE and kind is not kinds[-1]:
                    continue
                advice = _CONNECTING.get(error.errno or 0, _ALIVE)
                yield Hop("connect", FAILED, f"{path} as a {_KINDS[kind]} socket: {_reason(error)}", advice)
                return
            yield Hop("connect", OK, f"{path} as a {_KINDS[kind]} socket")
            yield Hop("listen", OK, unix_holder(path) or "a process that this one cannot see holds it")
            yield _unix_datagram(sock, kind, limit)
            return


def _file(path: str) -> Hop:
    try:
        found = os.stat(path)
    except FileNotFoundError:
        advice = f"{_START} and dogstatsd_socket set to this path; for a container, mount its folder"
        return Hop("file", FAILED, f"{path} does not exist", advice)
    except (OSError, ValueError) as error:
        return Hop("file", FAILED, f"{path}: {_reason(error)}", "allow this user to read the folders above it")
    text = f"{stat.filemode(found.st_mode)}, user {found.st_uid}, group {found.st_gid}"
    if not stat.S_ISSOCK(found.st_mode):
        advice = "pass the path of the Agent's socket; a mount of a missing file leaves a folder in its place"
        return Hop("file", FAILED, f"{path} is not a socket ({text})", advice)
    return Hop("file", OK, f"{path} is a socket ({text})")


def _unix_datagram(sock: socket.socket, kind: int, limit: int) -> Hop:
    packet = _ZERO * (limit // len(_ZERO))
    try:
        sock.sendall(packet if kind == socket.SOCK_DGRAM else struct.pack("<I", len(packet)) + packet)
    except (TimeoutError, BlockingIOError):
        text = f"the queue stayed full for {_SOCKET_SECONDS:g} s: the Agent does not read"
        return Hop("send", FAILED, text, "check what blocks the Agent, and restart it")
    except OSError as error:
        advice = "raise net.core.wmem_default" if error.errno == errno.EMSGSIZE else _ALIVE
        return Hop("send", FAILED, f"a datagram of {len(packet)} bytes: {_reason(error)}", advice)
    return Hop("send", OK, f"one datagram of {len(packet)} bytes was accepted")


# -- the whole way ----------------------------------------------------------------------------------------------------


def deliver(where: Mapping[str, Any], *, plain: bool = False) -> Hop:
    """Send a metric, an event and a service check with a reporter as users create it, each in a separate flush; only
    the metric to a server of plain StatsD."""
    reporter = StatsdReporter((), **where, bus=Bus(), flush_interval=10, dialect="statsd" if plain else "datadog")
    sending: list[tuple[str, Callable[[], object]]] = [
        ("metric", lambda: reporter.increment(NAME)),
        ("event", lambda: reporter.event("wsnova-statsd doctor", "A test event; nothing happened.")),
        ("service check", lambda: reporter.service_check(NAME, 0, message="a test")),
    ]
    taken: list[str] = []
    lost: list[str] = []

    def send() -> bool:
        reporter.start()
        for what, put in sending[: 1 if plain else None]:
            before = reporter.stats.packets
            put()
            reporter.flush()
            (taken if reporter.stats.packets > before else lost).append(what)
        return reporter.stop()

    try:
        within(_DELIVER_SECONDS, send)
    except TimeoutError:
        return Hop("deliver", FAILED, f"the reporter did not return in {_DELIVER_SECONDS:g} s", "fix the hops above")
    if lost:
        stats = reporter.stats
        why = stats.last_error or ", ".join(stats.lost) or "no answer"
        text = f"lost: {', '.join(lost)} ({why}); handed over: {', '.join(taken) or 'nothing'}"
        return Hop("deliver", FAILED, text, "see the Agent's log; run this again")
    return Hop("deliver", OK, f"{', '.join(taken)}: {len(taken)} of {len(taken)} handed over, 0 lost")


def _reason(error: BaseException | None) -> str:
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).rstrip(".")
