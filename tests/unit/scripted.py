"""A transport that reads and writes what a test sets, for moments that a socket cannot reproduce."""

from collections.abc import Callable


class Script:
    """A transport that returns these reads, and writes as many bytes of each write as the test sets. More is there
    than its descriptor shows, as with TLS."""

    def __init__(self, *reads: bytes | None, takes: list[int | None] | None = None) -> None:
        self.reads = list(reads)
        self.takes = takes if takes is not None else []  # all of each frame, once they are used up; None: none is begun
        self.written = b""
        self.waits: list[float] = []
        self.arriving: bytes | None = None  # during a wait
        self.on_wait: Callable[[], object] = lambda: None
        self.on_send: Callable[[], object] = lambda: None
        self.over = False
        self.got: list[bytes] = []
        self.lively = True
        self.flags = (0,)

    @property
    def ready(self) -> bool:
        return bool(self.reads or self.got)

    @ready.setter
    def ready(self, found: bool) -> None:
        assert found == bool(self.reads or self.got)

    def recv(self, most: int = 0) -> bytes | None:
        if self.got:
            return self.got[0]
        return self.reads.pop(0) if self.reads else None

    def await_brief(self) -> None:
        if not self.got and self.wait(0.1):
            self.got.append(self.reads.pop(0))  # type: ignore[arg-type]

    def await_bytes(self, seconds: float) -> bytes | None:
        return self.recv() if self.wait(seconds) else None

    def wait(self, timeout: float) -> bool:
        self.waits.append(timeout)
        self.on_wait()
        if self.arriving is not None:
            self.reads.append(self.arriving)
        return self.ready

    def pending(self) -> bool:
        return False

    def write(self, _data: bytes, _flags: int) -> int:
        return 0

    def send(self, data: bytes, _patience: float, left: list[int]) -> None:
        for piece in (data[: len(data) // 2], data[len(data) // 2 :]):
            self.written += piece
            left.append(len(piece))
            self.on_send()

    def send_now(self, data: bytes, left: list[int]) -> int | None:
        self.on_send()
        taken = self.takes.pop(0) if self.takes else len(data)
        if taken:
            self.written += data[:taken]
            left.append(taken)
        return taken

    def unread(self) -> int:
        return 1_000

    def unsent(self) -> int:
        return 0

    def shutdown(self) -> None:
        self.over = True
