"""A run of `watch`: a socket or a recording, the Agent to forward to, and the program to start.

Screens, lines, documents and the browser's tabs take a snapshot from it about once a second. Threads: those of
receiver.py and command.py, and `wsnova-watch-replay`. Enter and leave a session in the main thread.
"""

from __future__ import annotations

import logging
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Protocol, Self

from ..errors import ConfigurationError
from . import recording
from .command import Command
from .forward import Forwarder
from .model import Model
from .receiver import Receiver
from .snapshot import Snapshot, Traffic

_logger = logging.getLogger("wsnova_statsd")


class Source(Protocol):
    """Provides the snapshots of a view."""

    def snapshot(self) -> Snapshot:
        """The current state."""

    def clear(self) -> None:
        """Start over."""


@dataclass(frozen=True, slots=True)
class Given:
    """The arguments of the command line."""

    host: str = "127.0.0.1"
    port: int = 8125
    socket_path: str | None = None
    forward: tuple[str, int] | str | None = None
    record: str | None = None
    replay: str | None = None
    speed: float = 1.0


class Session:
    """A source of snapshots. A context manager: entering it raises ConfigurationError for what cannot be opened."""

    def __init__(self, given: Given, command: Command | None = None) -> None:
        self.model: Model = Model()
        self.ended: threading.Event = threading.Event()  # set when the recording is over
        self._given = given
        self._command = command
        self._receiver = Receiver(self._take, given.host, given.port, given.socket_path)
        self._forwarder = None if given.forward is None else Forwarder(given.forward)
        self._recorder: recording.Recorder | None = None
        self._note = ""
        self._ending = threading.Event()
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            if self._forwarder is not None:
                stack.callback(self._forwarder.close)
                self._forwarder.open()
            if self._given.record is not None:
                self._recorder = recording.Recorder(self._given.record, time.monotonic())
                stack.callback(self._recorder.close)
            if self._given.replay is not None:
                self._start_replay(stack, self._given.replay)
            else:
                self._receiver.start()
                stack.callback(self._receiver.stop)
                self._refuse_a_loop()
            if self._command is not None:
                self._command.start(self._receiver.host, self._receiver.port)
                stack.callback(self._command.stop)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._stack.close()

    @property
    def address(self) -> tuple[str, int]:
        """The host and port to send to; known once the session is entered."""
        return self._receiver.host, self._receiver.port

    @property
    def status(self) -> int | None:
        """The exit status of the program that was started; None while it runs, or without a program."""
        return None if self._command is None else self._command.status

    def snapshot(self) -> Snapshot:
        """The current state."""
        model = self.model
        rows = model.rows()
        events, checks, rejected, crowded = model.seen()
        return Snapshot(
            source=self._source(),
            at=time.time(),
            seconds=model.seconds,
            traffic=self._traffic(),
            rows=tuple(rows),
            events=events,
            checks=checks,
            rejected=rejected,
            crowded=crowded,
            output=None if self._command is None else self._command.output,
            note=self._notes(),
        )

    def clear(self) -> None:
        """Start over."""
        self.model.clear()

    def summary(self) -> str:
        """What arrived and what did not, in one line."""
        traffic = self._traffic()
        lost = "drops unknown" if traffic.dropped is None else f"{traffic.dropped} dropped by the kernel"
        parts = [f"{traffic.lines} lines in {traffic.datagrams} datagrams", lost]
        if self._forwarder is not None:
            parts.append(f"{traffic.forwarded} forwarded, {traffic.not_forwarded} not")
        return "; ".join([*parts, f"at most {traffic.most_behind:.3f} s behind"])

    def _source(self) -> str:
        if self._given.replay is not None:
            return f"replay of {self._given.replay}"
        forwarded = "" if self._forwarder is None else f" -> {self._forwarder.place}"
        return self._receiver.place + forwarded

    def _traffic(self) -> Traffic:
        receiver, forwarder, model = self._receiver, self._forwarder, self.model
        return Traffic(
            lines=model.lines,
            datagrams=model.datagrams,
            bytes=model.bytes,
            lines_per_s=model.lines_per_s,
            dropped=0 if self._given.replay is not None else receiver.dropped(),
            forwarded=0 if forwarder is None else forwarder.sent,
            not_forwarded=0 if forwarder is None else forwarder.lost,
            behind=receiver.behind,
            most_behind=receiver.most_behind,
        )

    def _notes(self) -> str:
        notes = [self._note] if self._note else []
        if self.status is not None:
            notes.append(f"the command has ended with status {self.status}")
        if self._receiver.error is not None:
            notes.append(f"{type(self._receiver.error).__name__}: {self._receiver.error}")
        return "; ".join(notes)

    def _take(self, datagrams: list[bytes]) -> None:
        """Runs in the thread that receives or replays."""
        if self._forwarder is not None:
            self._forwarder.forward(datagrams)
        if self._recorder is not None:
            self._record(self._recorder, datagrams)
        self.model.take(datagrams)

    def _record(self, recorder: recording.Recorder, datagrams: list[bytes]) -> None:
        try:
            recorder.write(datagrams, time.monotonic())
        except (OSError, ValueError) as error:
            self._recorder = None
            self._note = f"the recording ends here: {error}"
            _logger.warning("watch: %s", self._note)

    def _refuse_a_loop(self) -> None:
        """Datagrams forwarded to the receiver's own address would arrive again without end."""
        receiver, forwarder = self._receiver, self._forwarder
        if forwarder is None:
            return
        peer = forwarder.peer
        if forwarder.place == receiver.path or (peer is not None and receiver.listens_at(*peer)):
            raise ConfigurationError(f"--forward is {forwarder.place}, where watch listens itself; pass the Agent's")

    def _start_replay(self, stack: ExitStack, path: str) -> None:
        for _ in recording.read(path):  # so that an error in the file is raised at once
            pass
        thread = threading.Thread(target=self._replay, args=(path,), name="wsnova-watch-replay", daemon=True)
        stack.callback(lambda: thread.join(2.0))
        stack.callback(self._ending.set)
        thread.start()

    def _replay(self, path: str) -> None:
        """Runs in the thread wsnova-watch-replay."""
        began, count = time.monotonic(), 0
        try:
            for at, data in recording.read(path):
                left = began + at / self._given.speed - time.monotonic()
                if self._ending.wait(min(max(0.0, left), threading.TIMEOUT_MAX)):
                    return
                self._take([data])
                count += 1
            self._note = f"the recording is over: {count} datagrams"
        except Exception as error:  # the file has changed meanwhile
            self._note = f"the replay failed: {error}"
            _logger.exception("watch: the replay failed")
        finally:
            self.ended.set()
