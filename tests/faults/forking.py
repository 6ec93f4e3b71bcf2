"""A forked child that reports what it finds, and may not hang."""

import gc
import json
import os
import select
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

_LOCKS = (type(threading.Lock()), type(threading.RLock()), threading.Condition)
Fork = Callable[[], int]


class Child:
    """A forked child that sends lines of JSON through a pipe."""

    def __init__(self, fork: Fork) -> None:
        self._read, self._write = os.pipe()
        self.pid = self._forked(fork)

    def _forked(self, fork: Fork) -> int:
        """A child in which Python itself works.

        Without its hooks CPython inherits locks of its own that hang a child before it runs any line of Python: a GIL
        that another thread asked for just then, the list of threads while one begins. Such a child is no case of ours.
        """
        for _ in range(5):
            alive, proof = os.pipe()
            usual = sys.getswitchinterval()
            sys.setswitchinterval(10.0)  # within it no thread requests the GIL
            time.sleep(0.1)  # earlier requests are served, and starting threads have started
            pid = fork()
            sys.setswitchinterval(usual)
            if pid == 0:
                if fork is not os.fork:  # without its hooks CPython 3.13 crashes within a collection
                    gc.disable()
                thread = threading.Thread(target=int)
                thread.start()
                thread.join()
                os.write(proof, b"!")
                return 0
            works = bool(select.select([alive], [], [], 2.0)[0])
            os.close(alive)
            os.close(proof)
            if works:
                return pid
            os.kill(pid, 9)
            os.waitpid(pid, 0)
        raise AssertionError("no forked child of this interpreter gets as far as a thread of its own")

    def tell(self, *what: Any) -> None:
        """In the child: send something to the parent."""
        os.write(self._write, json.dumps(what).encode() + b"\n")

    def end(self) -> None:
        """In the child: exit, without what the interpreter does at its end."""
        os._exit(0)

    def said(self, timeout: float = 5.0) -> list[list[Any]]:
        """In the parent: everything the child sent until its end, which has to come in time."""
        os.close(self._write)
        deadline, data = time.monotonic() + timeout, b""
        try:
            while True:
                if not select.select([self._read], [], [], max(0.0, deadline - time.monotonic()))[0]:
                    os.kill(self.pid, 9)
                    raise AssertionError(f"the child hangs after {data!r}")
                piece = os.read(self._read, 65536)
                if not piece:
                    return [json.loads(line) for line in data.splitlines()]
                data += piece
        finally:
            os.close(self._read)
            os.waitpid(self.pid, 0)


def locks_of(*roots: object) -> list[Any]:
    """The locks in the parts of these objects, and those of the package's modules, which a fork may catch in another
    thread's hands. Only objects of the package's own classes and what they keep in containers are searched."""
    waiting: list[Any] = [*roots]
    for name, module in list(sys.modules.items()):
        if name.startswith("wsnova_statsd") and ".testing" not in name:
            waiting += vars(module).values()
    found, seen = list[Any](), set[int]()
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        kind = type(one)  # and not isinstance: a lazy object of Django's would be evaluated
        if issubclass(kind, _LOCKS):
            found.append(one)
        elif issubclass(kind, dict):
            waiting += one.values()
        elif issubclass(kind, list | tuple | set | frozenset | deque):
            waiting += one
        elif kind.__module__.startswith("wsnova_statsd"):
            slots = [name for base in kind.__mro__ for name in getattr(base, "__slots__", ())]
            waiting += [getattr(one, name, None) for name in (*getattr(one, "__dict__", ()), *slots)]
    return found


def hold(locks: list[Any], held: threading.Event, release: threading.Event) -> None:
    """Take the locks, set `held`, and release them on `release`; a lock that a waiting thread holds is left to it."""
    taken = [lock for lock in locks if lock.acquire(timeout=0.2)]
    if len(taken) >= len(locks) / 2:
        held.set()
    release.wait(20.0)
    for lock in reversed(taken):
        lock.release()
