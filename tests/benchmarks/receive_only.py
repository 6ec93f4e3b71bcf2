"""Receiving and nothing else: our client against picows, a client in C, for messages of three sizes.

Both make a str of every text message and count it. picows runs on asyncio's own loop, in the main thread.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable, Iterator
from functools import partial
from statistics import median
from typing import Any

import wsnova_statsd as ws

from .harness import Child, Row, Run, benchmark, times_faster
from .receive import Tally, feed_url, our_loop


def _picows() -> Any:
    """The module, or None: it is not in the test extra."""
    try:
        return importlib.import_module("picows")
    except ImportError:
        return None


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


@benchmark("receive_only")
def receive_only(run: Run) -> Iterator[Row]:
    """At least 0.8x of picows."""
    n = run.choose(100_000, 20_000)
    picows = _picows()
    with Child("feed") as feed:
        for size in (100, 330, 4096):
            variants: dict[str, Callable[[int], float]] = {"ours": partial(_ours, feed.port, size)}
            if picows is not None:
                variants["picows"] = partial(_by_picows, picows, feed.port, size)
            measured = run.alternate(variants, n)
            what = f"receive only, {size} B"
            if picows is not None:
                yield times_faster(f"{what} | picows", measured["ours"], measured["picows"], at_least=0.8)
            else:
                yield Row(
                    what, "ns", median(measured["ours"].wall), note="picows is not installed: nothing to compare with"
                )
