"""Receiving and nothing else: our client against four others, for messages of three sizes.

All make a str of every text message and count it. picows is a client in C; it and aiohttp run on asyncio's own loop, in
the main thread. websocket-client has its fast setting (no UTF-8 check of its own), aiohttp and websockets neither
compression nor a limit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import websocket

import wsnova_statsd as ws

from .harness import Child, Row, Run, benchmark, times_faster
from .receive import Tally, feed_url, our_loop

_BARS = {"picows": 0.8}  # the others are printed for information
_Loop = Callable[[int, int, int], float]  # from the feed's port, size and number of messages to ns for each


def _ours(feed: int, size: int, n: int) -> float:
    return our_loop(feed_url(feed, n, size), n, ws.FINANCIAL, ws.Protocol(), ws.Bus(), None)


def _by_picows(picows: Any, feed: int, size: int, n: int) -> float:
    async def measure() -> float:
        tally = Tally(n)
        finished = asyncio.get_running_loop().create_future()

        class Listener(picows.WSListener):  # type: ignore[misc]  # it is Any here
            def on_ws_frame(self, transport: Any, frame: Any) -> None:
                if frame.msg_type == picows.WSMsgType.TEXT:
                    tally(frame.get_payload_as_utf8_text())
                    if tally.done.is_set():
                        finished.set_result(tally.per_message())

        transport, _ = await picows.ws_connect(Listener, feed_url(feed, n, size))
        took: float = await finished
        transport.disconnect()
        await transport.wait_disconnected()
        return took

    return asyncio.run(measure())


def _by_aiohttp(aiohttp: Any, feed: int, size: int, n: int) -> float:
    async def measure() -> float:
        tally = Tally(n)
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(feed_url(feed, n, size), max_msg_size=0) as connection,
        ):
            for _ in range(n):
                tally(await connection.receive_str())
            return tally.per_message()

    return asyncio.run(measure())


def _by_websockets(client: Any, feed: int, size: int, n: int) -> float:
    tally = Tally(n)
    options = {"compression": None, "max_size": None, "ping_interval": None, "proxy": None}
    with client.connect(feed_url(feed, n, size), **options) as connection:
        for _ in range(n):
            tally(connection.recv())
        return tally.per_message()


def _by_websocket_client(feed: int, size: int, n: int) -> float:
    tally = Tally(n)
    connection: Any = websocket.create_connection(feed_url(feed, n, size), timeout=60, skip_utf8_validation=True)
    for _ in range(n):
        tally(connection.recv())
    took = tally.per_message()
    connection.close()
    return took


def _peers(run: Run) -> dict[str, _Loop]:
    """Those that are installed."""
    found: dict[str, _Loop] = {}
    if (picows := run.peer("picows", "picows")) is not None:
        found["picows"] = partial(_by_picows, picows)
    found["websocket-client"] = _by_websocket_client
    if (client := run.peer("websockets", "websockets.sync.client")) is not None:
        found["websockets, sync"] = partial(_by_websockets, client)
    if (aiohttp := run.peer("aiohttp", "aiohttp")) is not None:
        found["aiohttp"] = partial(_by_aiohttp, aiohttp)
    return found


@benchmark("receive_only")
def receive_only(run: Run) -> Iterator[Row]:
    """At least 0.8x of picows. Both are so brief that a busy neighbour shows: many rounds."""
    n = run.choose(100_000, 10_000)
    items = {"ours": n, "picows": n}
    run = replace(run, rounds=run.choose(21, run.rounds))
    loops = {"ours": _ours, **_peers(run)}
    with Child("feed") as feed:
        for size in (100, 330, 4096):
            variants = {name: partial(loop, feed.port, size) for name, loop in loops.items()}
            measured = run.alternate(variants, dict.fromkeys(variants, n // 5) | items)
            ours = measured.pop("ours")
            for name, costs in measured.items():
                yield times_faster(f"receive only, {size:,} B | {name}", ours, costs, at_least=_BARS.get(name))
