"""Looks up the Agent's host name so that a resolver that hangs blocks no other thread.

A lookup runs in a short daemon thread, `wsnova-resolve`, one at a time. A thread that needs the answer waits for it
until a deadline; the thread of a lookup that never ends is abandoned. An address is never looked up.
"""

from __future__ import annotations

import ipaddress
import socket
import threading

from .. import process


class _Lookup:
    """One lookup; once `done` is set, `error` says whether it failed."""

    def __init__(self) -> None:
        self.done: threading.Event = threading.Event()
        self.error: OSError | None = None


class Resolver:
    """The addresses of one host. `begin` and `addresses` from any thread."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self.literal: bool = _is_address(host)
        self.known: tuple[str, ...] = (host,) if self.literal else ()  # the last good answer; replaced as a whole
        self.reset()

    def reset(self) -> None:
        """In a child: no lookup is running. Known addresses stay."""
        self._lock = threading.Lock()  # guards _lookup
        self._lookup: _Lookup | None = None

    def begin(self) -> _Lookup | None:
        """Start a lookup, unless one is already running. None if no thread can start, as at interpreter exit."""
        if self.literal:
            return None
        with self._lock:
            if self._lookup is None or self._lookup.done.is_set():
                lookup = _Lookup()
                name = process.thread_name("resolve")
                try:
                    threading.Thread(target=self._run, args=(lookup,), name=name, daemon=True).start()
                except RuntimeError:  # Python 3.12 and later, in an exit hook; or the limit of threads is reached
                    return None
                self._lookup = lookup
            return self._lookup

    def addresses(self, timeout: float) -> tuple[str, ...]:
        """The current addresses of the name, looked up again; the last known ones if that takes over `timeout` seconds.

        Raises OSError: what getaddrinfo raised, or that no address is known.
        """
        lookup = self.begin()
        if lookup is not None and lookup.done.wait(max(0.0, timeout)) and lookup.error is not None:
            raise lookup.error
        if not self.known:
            why = "cannot be looked up while the interpreter exits" if lookup is None else "is still being looked up"
            raise OSError(f"the host name {self._host!r} {why}")
        return self.known

    def _run(self, lookup: _Lookup) -> None:
        try:
            found = socket.getaddrinfo(self._host, self._port, 0, socket.SOCK_DGRAM)
            found.sort(key=lambda one: one[0] != socket.AF_INET)  # as the official client does: IPv4 first
            self.known = tuple(dict.fromkeys(str(one[4][0]) for one in found))
        except OSError as error:
            lookup.error = error
        except Exception as error:  # an invalid name, for example one that is too long
            lookup.error = OSError(f"{self._host!r} is not a host name: {error}")
        finally:
            lookup.done.set()


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)  # also with a zone
    except ValueError:
        return False
    return True
