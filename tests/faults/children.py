"""A program whose children count: `python children.py METHOD KIND...`. Each kind counts under its own name.

It prints, as JSON, how many seconds each kind took from asking its children to end until they had; the flush
interval is 10 s, so what arrives arrived at their end.
"""

import atexit
import functools
import importlib
import json
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

FLUSHED = "flushed"
LEFT = "left"


@functools.cache
def reporter() -> Any:
    """This process's reporter, or the parent's in a forked child of one that has it."""
    import wsnova_statsd as ws

    return ws.StatsdReporter(flush_interval=10).start()


def count(name: str, times: int = 25) -> int:
    """What every child does."""
    for _ in range(times):
        reporter().increment(name)
    return times


def _exits(name: str) -> None:
    count(name)
    sys.exit(3)


def _raises(name: str) -> None:
    count(name)
    raise LookupError("mine")


def _in_threads(name: str) -> None:
    threads = [threading.Thread(target=count, args=(name,)) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()


def _of_its_own(name: str) -> None:
    """A child that has a child of the same kind, which it does not wait for."""
    count(name)
    multiprocessing.Process(target=count, args=(name,)).start()


def _at_exit(name: str) -> None:
    """Spawned children run exit callbacks, forked ones from 3.13 on."""
    reporter()
    atexit.register(count, name)


def _hung(name: str) -> None:
    """More than a receiver with a short queue accepts at once."""
    for number in range(3_000):
        reporter().increment(f"{name}{number}.{'x' * 150}")


def _flushing(_: int) -> None:
    """A task that flushes what it counted, and counts on."""
    count(FLUSHED)
    assert reporter().flush()
    count(LEFT)


def _processes(name: str, target: Callable[[str], object] = count, number: int = 2) -> float:
    children = [CONTEXT.Process(target=target, args=(name,)) for _ in range(number)]
    for child in children:
        child.start()
    return _timed(lambda: [child.join() for child in children])


def _pool(name: str) -> float:
    pool = CONTEXT.Pool(2)
    assert sum(pool.map(functools.partial(count, name), [10] * 10, chunksize=1)) == 100
    pool.close()
    return _timed(pool.join)


def _recycled(name: str) -> float:
    """Workers that are replaced after three tasks."""
    pool = CONTEXT.Pool(2, maxtasksperchild=3)
    assert sum(pool.map(functools.partial(count, name), [10] * 10, chunksize=1)) == 100
    pool.close()
    return _timed(pool.join)


def _executor(name: str) -> float:
    executor = ProcessPoolExecutor(2, mp_context=CONTEXT)
    assert sum(executor.map(functools.partial(count, name), [10] * 10)) == 100
    return _timed(executor.shutdown)


def _terminated(name: str) -> float:
    """The pool's `with` block ends by terminate(): SIGTERM with its default action."""
    with CONTEXT.Pool(2) as pool:
        pool.map(_flushing, range(10), chunksize=1)
        began = time.monotonic()
    return time.monotonic() - began


def _timed(work: Callable[[], object]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began


KINDS: dict[str, Callable[[str], float]] = {
    "process": _processes,
    "exits": functools.partial(_processes, target=_exits),
    "raises": functools.partial(_processes, target=_raises, number=1),
    "threads": functools.partial(_processes, target=_in_threads, number=1),
    "nested": functools.partial(_processes, target=_of_its_own, number=1),
    "at_exit": functools.partial(_processes, target=_at_exit, number=1),
    "hung": functools.partial(_processes, target=_hung, number=2),
    "pool": _pool,
    "recycled": _recycled,
    "executor": _executor,
    "terminated": _terminated,
}


def main(method: str, kinds: Iterable[str]) -> None:
    """Run them all, each with new children. METHOD is one of multiprocessing's, or billiard for Celery's own."""
    global CONTEXT
    CONTEXT = importlib.import_module("billiard") if method == "billiard" else multiprocessing.get_context(method)
    if os.environ.get("INHERITED"):
        count("parent", 7)
    print(json.dumps({kind: KINDS[kind](kind) for kind in kinds}))


CONTEXT: Any = None

if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
