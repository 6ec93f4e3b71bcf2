"""Sending, echoes, and requests: processor time of the whole process for each, on ws and on wss.

330 bytes of JSON each way, all events, the default metrics and a running reporter whose last flush is in the figure,
against websocket-client and orjson by hand. The first tenth warms up each connection and is not in the figure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from statistics import median
from typing import Any, Final

import orjson

import wsnova_statsd as ws

from .endpoints import SIZE, Endpoint, endpoints
from .harness import Child, Row, Run, Spent, Stopwatch, benchmark, cpu_cost

_REQUEST: Final = {"method": "public/get_book_summary", "params": {"currency": "BTC", "note": "x" * 233}}
_MESSAGE: Final = {"jsonrpc": "2.0", "id": 1, **_REQUEST}
_PEER: Final = "websocket-client by hand (cost)"


@dataclass(frozen=True, slots=True)
class _Work:
    """What is measured: the server's part, and one item of ours and of the peer's."""

    what: str
    query: str
    ours: Callable[[ws.Client], object]
    by_hand: Callable[[Any], object]  # of websocket-client's connection
    at_most: float  # on ws


def _send_by_hand(connection: Any) -> None:
    connection.send(orjson.dumps(_MESSAGE).decode())


def _echo(client: ws.Client) -> None:
    client.send(_MESSAGE)
    client.receive()


def _echo_by_hand(connection: Any) -> None:
    connection.send(orjson.dumps(_MESSAGE).decode())
    orjson.loads(connection.recv())


_SEND: Final = _Work("send", "take", lambda client: client.send(_MESSAGE), _send_by_hand, 0.8)
_ECHO: Final = _Work("send and receive the echo", "echo", _echo, _echo_by_hand, 0.9)
_ASK: Final = _Work(
    "request and its reply", f"reply={SIZE}", lambda client: client.request(_REQUEST), _echo_by_hand, 1.2
)


def _ours(work: _Work, feed: Endpoint, drain: int, n: int) -> Spent:
    bus = ws.Bus()
    protocol = ws.JsonRpcProtocol(loads=orjson.loads, dumps=orjson.dumps)
    step = work.ours
    with (
        ws.StatsdReporter(host="127.0.0.1", port=drain, bus=bus) as reporter,
        feed.client(work.query, bus, protocol=protocol) as client,
    ):
        for _ in range(max(1, n // 10)):
            step(client)
        reporter.flush()
        watch = Stopwatch()
        for _ in range(n):
            step(client)
        reporter.flush()
        return watch.each(n)


def _by_hand(work: _Work, feed: Endpoint, n: int) -> Spent:
    step = work.by_hand
    connection = feed.peer(work.query)
    for _ in range(max(1, n // 10)):
        step(connection)
    watch = Stopwatch()
    for _ in range(n):
        step(connection)
    spent = watch.each(n)
    connection.close()
    return spent


def _rows(run: Run, work: _Work, n: int) -> Iterator[Row]:
    """One for ws, which is judged, and one for wss, with the same encryption on both sides."""
    run = replace(run, rounds=run.choose(9, run.rounds))  # a busy neighbour changes the cost of a wake-up
    with endpoints() as feeds, Child("drain") as drain:
        for feed in feeds:
            variants = {
                "ours": partial(_ours, work, feed, drain.port),
                "by hand": partial(_by_hand, work, feed),
            }
            measured = run.alternate(variants, n)
            ours, peer = measured["ours"], measured["by hand"]
            wall = median(one / other for one, other in zip(ours.wall, peer.wall, strict=True))
            yield cpu_cost(
                f"{work.what}, {feed.scheme} | {_PEER}",
                ours,
                peer,
                at_most=work.at_most if feed.scheme == "ws" else None,
                note=f"{wall:.2f}x on the wall, {median(ours.wall):,.0f} ns against {median(peer.wall):,.0f} ns",
            )


@benchmark("send")
def send(run: Run) -> Iterator[Row]:
    """One after the other, to a server that only reads: at most 0.8x."""
    yield from _rows(run, _SEND, run.choose(25_000, 5_000))


@benchmark("echo")
def echo(run: Run) -> Iterator[Row]:
    """Each is sent when the one before has come back: at most 0.9x."""
    yield from _rows(run, _ECHO, run.choose(5_000, 1_000))


@benchmark("request")
def request(run: Run) -> Iterator[Row]:
    """JSON-RPC, against sending and receiving without matching anything: at most 1.2x."""
    yield from _rows(run, _ASK, run.choose(5_000, 1_000))
