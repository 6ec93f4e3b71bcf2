"""A forked child that tells what it finds, and may not hang."""

import json
import os
import select
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import wsnova_statsd as ws
from wsnova_statsd import telemetry
from wsnova_statsd.client import client as client_module
from wsnova_statsd.client.keeper import KEEPER

Fork = Callable[[], int]


class Child:
    """A forked child that tells lines of JSON through a pipe."""

    def __init__(self, fork: Fork) -> None:
        self._read, self._write = os.pipe()
        self.pid = self._forked(fork)

    def _forked(self, fork: Fork) -> int:
        """A child in which Python itself works.

        Without its hooks CPython inherits locks of its own that hang a child before it runs a line of anybody: a GIL
        that another thread asked for just then, the list of threads while one begins. Such a child is no case of ours.
        """
        for _ in range(5):
            alive, proof = os.pipe()
            usual = sys.getswitchinterval()
            sys.setswitchinterval(10.0)  # within it nobody asks for the GIL
            time.sleep(0.1)  # those that asked before are served, and threads that began have begun
            pid = fork()
            sys.setswitchinterval(usual)
            if pid == 0:
                thread = threading.Thread(target=time.sleep, args=(0.001,))
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
        """In the child: say something to the parent."""
        os.write(self._write, json.dumps(what).encode() + b"\n")

    def end(self) -> None:
        """In the child: leave, without what the interpreter does at its end."""
        os._exit(0)

    def said(self, timeout: float = 5.0) -> list[list[Any]]:
        """In the parent: everything the child said until its end, which has to come in time."""
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


def locks_of(client: ws.Client) -> list[Any]:
    """The locks in the client's parts that a fork may catch in another thread's hands; not those held by waiting."""
    assert client._life is not None
    life: Any = client._life
    link = life.connection.link
    found = [
        client_module._naming,
        KEEPER._lock,
        telemetry.DEFAULT._lock,
        life.replies._lock,
        life.subscriptions._table._lock,
        link.sending,
        link.reading,
    ]
    kinds = (type(threading.Lock()), type(threading.RLock()), threading.Condition)
    assert all(isinstance(one, kinds) for one in found)
    return found
