"""Warns of two reporters in one process that send the same metrics to the same Agent, which are then counted twice.

An application factory that is called twice, a notebook cell or a reloader may cause this. Running reporters are held
weakly. Any thread; takes no lock.
"""

from __future__ import annotations

import logging
import sys
import weakref
from types import FrameType
from typing import Final, Protocol

_log = logging.getLogger(__name__)
_PACKAGE: Final = __name__.partition(".")[0]


class Sender(Protocol):
    """A reporter; its repr says where in the code it was started."""

    @property
    def running(self) -> bool: ...

    def doubles(self, other: Sender) -> bool:
        """Whether both send a metric to the same place."""


class Twins:
    """The reporters that were started."""

    def __init__(self) -> None:
        self._started: weakref.WeakKeyDictionary[Sender, None] = weakref.WeakKeyDictionary()

    def begin(self, sender: Sender) -> None:
        """A reporter was started: warn of those that send the same metrics."""
        for other in [one() for one in self._started.keyrefs()]:
            if other is not None and other is not sender and other.running and sender.doubles(other):
                warn(other, sender, "every metric is counted twice")
        self._started[sender] = None


def warn(first: object, second: object, what: str) -> None:
    """Log that two reporters or Monitors send the same."""
    _log.warning(
        "%r and %r send the same to the same Agent: %s. Stop one of them, or use ws.init(), which may be called again "
        "and returns the process's single Monitor",
        first,
        second,
        what,
    )


def called_from() -> str:
    """`file:line` of the calling code outside this package."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and str(frame.f_globals.get("__name__")).partition(".")[0] == _PACKAGE:
        frame = frame.f_back
    return "" if frame is None else f"{frame.f_code.co_filename}:{frame.f_lineno}"


TWINS: Final = Twins()
