"""The short path for a message that comes alone, beside the plain one that reads everything."""

import math
from functools import partial
from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.peer import Peer
from tests.unit.scripted import Script
from wsnova_statsd.link.frames import BINARY, CLOSE, PING, PONG, TEXT
from wsnova_statsd.link.link import Link
from wsnova_statsd.link.session import Limits
from wsnova_statsd.testing.tcp import server_frame

GOODBYE = server_frame(CLOSE, b"\x03\xf5later")  # 1013
ONE, TWO = server_frame(TEXT, b"one"), server_frame(TEXT, b"two")


class _Feed(Script):
    """Returns these reads and is over then; more may come directly after each read."""

    def recv(self, most: int = 0) -> bytes | None:
        self.lively = True
        return super().recv(most)


_FRAMES = [
    *(ONE, TWO, GOODBYE, server_frame(PING, b"a"), server_frame(PONG), server_frame(BINARY, b"three")),
    *(server_frame(TEXT, b""), server_frame(TEXT, b"x" * 126), server_frame(TEXT, b"x" * 65536), b"\xff"),
    *(bytes((TEXT, 1)) + b"a", bytes((0, 1)) + b"b", bytes((0x80, 1)) + b"c"),
]


@given(st.lists(st.lists(st.sampled_from(_FRAMES), min_size=1, max_size=3).map(b"".join), max_size=9), st.data())
def test_messages_that_come_alone_take_a_shorter_path_to_the_same_result(
    reads: list[bytes], data: st.DataObject
) -> None:
    """For any bytes, cut anywhere: in turns, and read by read."""
    cuts = [data.draw(st.integers(0, len(read)), label="cut") for read in reads]
    reads = [part for read, cut in zip(reads, cuts, strict=True) for part in (read[:cut], read[cut:]) if part]
    found = []
    for bulk in (None, True, False):
        script, got = _Feed(*reads, b""), list[bytes]()
        link = Link(script, "ws://feed.example", Limits(None, 60.0))  # type: ignore[arg-type]
        turns = link.runs(SimpleNamespace(due=2**63), partial(bool, bulk))
        while True:
            run = link.next_run(math.inf, direct=False) if bulk is None else next(turns, [])
            link.unclaimed = []
            got += [*run, *[payload for _, payload, _ in link.inbox]]
            if not (run or link.inbox):
                break
            link.inbox.clear()
        found.append(
            (got, link.loss, link.session.arrived, Peer.unmasked(script.written), link.session.reader.usual, script.got)
        )
    assert found[0] == found[1] == found[2]
