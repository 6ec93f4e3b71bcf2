"""Buffers for long reads: a few per process, each lent to one reader until what it read is cut into frames.

A buffer per connection would cost a busy process that size for each, and memory that malloc allocates in many threads
stays in as many arenas when the feed is quiet. Any thread; takes no lock.
"""

from __future__ import annotations

import mmap
import weakref
from collections import deque
from typing import Any, Final, Self

from .. import process

FLOOD: Final = 524288  # bytes of each
_MOST: Final = 2  # threads of one process hardly ever read at the same time
# A mapping that a forked child does not share; Windows has no forks, and no such flags.
_PRIVATE: Final[dict[str, Any]] = (
    {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}
)


class Lent(weakref.ref[memoryview]):
    """A buffer that is lent out as long as the view of it lives. Then it returns to `free` without executing Python
    code, in which a signal's handler could raise."""

    __slots__ = ("buffer",)
    buffer: mmap.mmap

    def __new__(cls, view: memoryview, buffer: mmap.mmap, free: deque[Lent]) -> Self:
        self = super().__new__(cls, view, free.append)
        self.buffer = buffer
        return self

    def __init__(self, view: memoryview, buffer: mmap.mmap, free: deque[Lent]) -> None:
        super().__init__(view, free.append)  # type: ignore[call-arg]  # typeshed has only __new__


class ReadBuffers:
    """The buffers of this process, created on demand."""

    def __init__(self) -> None:
        self._reset()
        process.on_fork(self)

    def after_fork(self) -> None:
        """In a forked child: a thread of the parent may have had a buffer."""
        self._reset()

    def _reset(self) -> None:
        self._free: deque[Lent] = deque()
        self._made: weakref.WeakSet[mmap.mmap] = weakref.WeakSet()

    def take(self) -> mmap.mmap | None:
        """A buffer, for `lend` or `give_back`; None if all are in use. A buffer that is passed to neither is replaced
        once the last reference to it is gone."""
        try:
            return self._free.pop().buffer
        except IndexError:
            if len(self._made) >= _MOST:
                return None
        self._made.add(buffer := mmap.mmap(-1, FLOOD, **_PRIVATE))
        return buffer

    def lend(self, buffer: mmap.mmap, view: memoryview) -> Lent:
        """Return the buffer once this view of it is gone, as long as the caller keeps the returned object."""
        return Lent(view, buffer, self._free)

    def give_back(self, buffer: mmap.mmap) -> None:
        """Return a buffer into which nothing was read."""
        view = memoryview(buffer)
        lent = self.lend(buffer, view)
        del view, lent


BUFFERS: Final = ReadBuffers()
