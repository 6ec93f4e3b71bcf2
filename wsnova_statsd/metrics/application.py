"""The methods by which an application counts, sets and times its own metrics. Any thread; no lock, no I/O.

StatsdReporter and Monitor have them. Invalid input is counted in the reporter's `stats.lost`; only a `strict` reporter
raises for it. Tags are a list of `key:value` texts or a mapping.
"""

from __future__ import annotations

import functools
import inspect
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, TypeVar, cast

from .direct import Direct, Names, TagsGiven
from .reading import number
from .store import Store

_NS_PER_MS: Final = 1e6
_F = TypeVar("_F", bound=Callable[..., Any])


class Writers:
    """A writer for each kind of metric, on one store; `prefix` is put before every name."""

    def __init__(self, store: Store, strict: bool, prefix: str) -> None:
        self.store: Store = store
        names = Names(prefix)
        self.counter: Direct = Direct(store, "counter", strict, names)
        self.gauge: Direct = Direct(store, "gauge", strict, names)
        self.summary: Direct = Direct(store, "summary", strict, names)
        self.distribution: Direct = Direct(store, "distribution", strict, names)
        self.timing: Direct = Direct(store, "timing", strict, names)
        self.set: Direct = Direct(store, "set", strict, names)


class ApplicationMetrics:
    """Metrics by name; see the module's docstring. A subclass sets `writers`."""

    writers: Writers

    def increment(self, name: str, value: float = 1, tags: TagsGiven = ()) -> None:
        """Add to a counter."""
        self.writers.counter.write(name, value, tags)

    def decrement(self, name: str, value: float = 1, tags: TagsGiven = ()) -> None:
        """Subtract from a counter."""
        checked = number(value)
        self.writers.counter.write(name, value if checked is None else -checked, tags)

    def gauge(self, name: str, value: float, tags: TagsGiven = ()) -> None:
        """Set a gauge."""
        self.writers.gauge.write(name, value, tags)

    def histogram(self, name: str, value: float, tags: TagsGiven = ()) -> None:
        """Add one value to a histogram; its statistics are computed per host."""
        self.writers.summary.write(name, value, tags)

    def distribution(self, name: str, value: float, tags: TagsGiven = ()) -> None:
        """Add one value to a distribution; its percentiles are computed over all hosts."""
        self.writers.distribution.write(name, value, tags)

    def timing(self, name: str, value: float, tags: TagsGiven = ()) -> None:
        """Add one duration, in milliseconds, to a timer."""
        self.writers.timing.write(name, value, tags)

    def timed(self, name: str, tags: TagsGiven = ()) -> Timed:
        """Time a block (`with`) or, as a decorator, every call of a function, `async def` too; also if it raises."""
        return Timed(self.timing, name, tags)

    def set(self, name: str, value: object, tags: TagsGiven = ()) -> None:
        """Add a member to a set, any object by its text: the metric is the number of different members."""
        self.writers.set.add_member(name, value, tags)


class Timed:
    """Writes a duration in milliseconds by `write(name, value, tags)` when its block or function ends.

    The thread that entered an instance may enter it again inside the block.
    """

    def __init__(self, write: Callable[[str, float, TagsGiven], None], name: str, tags: TagsGiven) -> None:
        self._write = write
        self._name = name
        self._tags = tags
        self._began: list[int] = []  # ns, one for each block that is entered

    def __enter__(self) -> Timed:
        self._began.append(time.perf_counter_ns())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._write(self._name, (time.perf_counter_ns() - self._began.pop()) / _NS_PER_MS, self._tags)

    def __call__(self, function: _F) -> _F:
        """The function, timed; each call has its own timer, so calls may overlap."""
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def timed(*args: Any, **kwargs: Any) -> Any:
                with Timed(self._write, self._name, self._tags):
                    return await function(*args, **kwargs)
        else:

            @functools.wraps(function)
            def timed(*args: Any, **kwargs: Any) -> Any:
                with Timed(self._write, self._name, self._tags):
                    return function(*args, **kwargs)

        return cast(_F, timed)
