"""The name of this process among those of its host and service, for the tag of its states: `worker:<name>`.

By default it is the lowest number that no other live process holds, by an flock on one file per number, which the
kernel releases however the process ends. In a container, which does not see other processes, it is
`<hostname>-<number>`. Any thread, also a signal handler that interrupts it: no lock is taken that could be waited for.
A forked child closes what it inherited, and takes its own number when it first needs one.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import socket
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from .. import checks, process
from ..redaction import log_fault

KEY: Final = "worker"
VARIABLE: Final = "WSNOVA_STATSD_WORKER"
_NAME: Final = re.compile(r"[a-z0-9_-]{1,32}\Z")
_NOT_NAME: Final = re.compile(r"[^a-z0-9_-]+")
_MOST: Final = 1000  # numbers that are tried in a directory
_MAX_PART: Final = 64  # characters of a host's or service's name
_CONTAINER_FILES: Final = (".dockerenv", "run/.containerenv")
_CONTAINER_VARIABLES: Final = ("KUBERNETES_SERVICE_HOST", "ECS_CONTAINER_METADATA_URI", "container")
_CONTAINER_GROUPS: Final = re.compile(r"docker|kubepods|containerd|libpod|/lxc")
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_log = logging.getLogger(__name__)


def given_name(given: object, environ: Mapping[str, str] = os.environ) -> str | None:
    """The name that the user has set: the argument or, by default, WSNOVA_STATSD_WORKER; None without either. Raises
    ConfigurationError for an invalid one."""
    what = KEY
    if given is None:
        what, given = VARIABLE, environ.get(VARIABLE) or None
    if given is not None and not (isinstance(given, str) and _NAME.match(given)):
        raise checks.refused(what, given, "1 to 32 of the characters a-z, 0-9, _ and -", "leave it out to use a number")
    return given


def tagged(tags: tuple[str, ...], name: str, constant: Iterable[str]) -> tuple[str, ...]:
    """A state's tags with `worker:<name>`, unless they have a worker tag; without one if a constant tag is one."""
    if any(map(_is_worker, constant)):
        return tuple(tag for tag in tags if not _is_worker(tag))
    return tags if any(map(_is_worker, tags)) else (*tags, f"{KEY}:{name}")


def _is_worker(tag: str) -> bool:
    return tag.startswith(f"{KEY}:")


@dataclass(frozen=True, slots=True)
class Worker:
    """The identity of this process for one reporter; `given` is its name, if the user has set one."""

    service: str = ""
    given: str | None = None

    @classmethod
    def of(cls, given: str | None, tags: Iterable[str]) -> Worker:
        """A Worker with the service from constant tags; a worker in constant tags takes precedence over `given`."""
        named = dict(reversed([(key, value) for key, _, value in (tag.partition(":") for tag in tags)]))
        return cls(named.get("service", ""), named.get(KEY) or given)

    @property
    def name(self) -> str:
        """The name in the calling process; the first call takes a number."""
        return self.given or WORKERS.number(self.service)


class Workers:
    """The numbers that this process holds, by service, until it ends."""

    def __init__(self) -> None:
        self._held: dict[str, tuple[str, int | None]] = {}  # the name, and the descriptor of its lock
        self._first: list[Worker] = []  # those of the reporters that were started; kept in a child
        process.on_fork(self)

    def after_fork(self) -> None:
        """In a child: close the parent's locks, which are held as long as any descriptor of them is open."""
        held, self._held = self._held, {}
        for _, descriptor in held.values():
            if descriptor is not None:
                os.close(descriptor)

    def join(self, worker: Worker) -> None:
        """Register the worker of a reporter that is started."""
        if worker not in self._first:
            self._first.append(worker)

    def current(self, environ: Mapping[str, str] = os.environ) -> str:
        """The name for code that has no reporter: that of the first reporter or, if there is none, what it would be."""
        first = self._first[0] if self._first else None
        return (first or Worker(environ.get("DD_SERVICE", ""), given_name(None, environ))).name

    def number(self, service: str) -> str:
        """The number of this process in a service, taken once; in a container, with the host name before it."""
        if not process.ALIVE[0]:  # a child forked without hooks
            process.in_child()
        held = self._held.get(service)
        if held is None:
            made = _take(service)
            held = self._held.setdefault(service, made)
            if held is not made and made[1] is not None:  # another thread or a signal handler was first
                os.close(made[1])
        return held[0]


def _take(service: str) -> tuple[str, int | None]:
    """The lowest free number as a name, and the descriptor that holds it."""
    number, descriptor = 0, None
    for place in places():
        for number in range(_MOST):
            descriptor = hold(os.path.join(place, f"wsnova-statsd-{_part(service) or 'any'}-{number}.lock"))
            if descriptor is not None:
                break
        if descriptor is not None:
            break
    else:
        number = 0
        _log.warning(
            "no file can be locked in %s, so this process is worker 0, like every such process of this host: their "
            "state gauges overwrite each other. Set XDG_RUNTIME_DIR to your own directory, or set %s",
            " or ".join(places()),
            VARIABLE,
        )
    host = _part(socket.gethostname()) if in_container() else ""
    return (f"{host}-{number}" if host else str(number)), descriptor


def places(environ: Mapping[str, str] = os.environ) -> list[str]:
    """The directories for locks, in order: $XDG_RUNTIME_DIR, then the one for temporary files."""
    import tempfile  # slow to import, and needed only to take a number

    own = environ.get("XDG_RUNTIME_DIR", "")
    found = [own] if os.path.isabs(own) else []
    try:
        found.append(tempfile.gettempdir())
    except OSError as error:  # no directory can be written
        log_fault(_log, error, "there is no directory for temporary files")
    return found


def hold(path: str) -> int | None:
    """A descriptor that holds the lock of this file, which is made if necessary. None if another process holds it or
    may hold it: if the path is a link, is not a plain file, or cannot be opened. Waits for nothing."""
    for descriptor in _opened(path):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            found = os.fstat(descriptor)
            if stat.S_ISREG(found.st_mode) and os.path.samestat(found, os.lstat(path)):  # not removed meanwhile
                return descriptor
        except OSError:
            pass
        os.close(descriptor)
    return None


def _opened(path: str) -> Iterator[int]:
    """The file, opened read-only: then another user's file can be locked too. In a directory that all may write to, a
    kernel may refuse O_CREAT for another user's file, so it is tried second."""
    for flags in (_READ, _READ | os.O_CREAT):
        try:
            yield os.open(path, flags, 0o644)
            return
        except FileNotFoundError:
            continue
        except OSError:
            return


def in_container(environ: Mapping[str, str] = os.environ, root: str = "/") -> bool:
    """Whether this process is in a container, where it may not see other processes."""
    if any(environ.get(name) for name in _CONTAINER_VARIABLES):
        return True
    if any(os.path.exists(os.path.join(root, name)) for name in _CONTAINER_FILES):
        return True
    try:
        with open(os.path.join(root, "proc/1/cgroup"), encoding="utf-8", errors="replace") as groups:
            return _CONTAINER_GROUPS.search(groups.read()) is not None
    except OSError:
        return False


def _part(name: str) -> str:
    return _NOT_NAME.sub("-", name.lower()).strip("-")[:_MAX_PART]


WORKERS: Final = Workers()
