"""The head of an HTTP/1.1 answer, read according to RFC 9110 and RFC 9112. No I/O of its own, any thread.

Informational answers (1xx) are skipped, lines may end in a bare LF, a folded line counts as one space, values beyond
ASCII are opaque, repeated fields are one list. The status line is read strictly. A body is never read: its content does
not matter for the status.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ..errors import ConnectionFailed

_MOST: Final = 262144  # bytes of the heads of an answer
_BEGIN: Final = b"HTTP/1."
_END: Final = re.compile(rb"\r?\n\r?\n")
_LINE_END: Final = re.compile(rb"\r?\n")
_STATUS: Final = re.compile(rb"HTTP/1\.([0-9]) ([1-9][0-9]{2}) [\t\x20-\x7e\x80-\xff]*\Z")  # RFC 9112, section 4
_FIELD: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t\x20-\x7e\x80-\xff]*)\Z")
_FOLDED: Final = re.compile(rb"[ \t][\t\x20-\x7e\x80-\xff]*\Z")
_BLANK: Final = " \t"
_CHECK_PORT: Final = "check that the port is the right one"
_TLS: Final = (b"\x15\x03", b"\x16\x03")  # an alert, a handshake


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer: its status, its fields in their order with names in lower case, and the bytes after its head."""

    status: int
    minor: int  # of the version HTTP/1.x
    fields: tuple[tuple[str, str], ...]
    whole: bool  # the head is complete, and each of its lines is a field
    rest: bytes

    def all(self, name: str) -> list[str]:
        """The values of each field of this name."""
        return [value for found, value in self.fields if found == name]

    def joined(self, name: str) -> str:
        """The field of this name as one list (RFC 9110, section 5.3); empty if there is none."""
        return ", ".join(self.all(name))

    def tokens(self, name: str) -> list[str]:
        """The members of a list of tokens, in lower case."""
        return [token.strip(_BLANK).lower() for token in self.joined(name).split(",") if token.strip(_BLANK)]


@dataclass(frozen=True, slots=True)
class Peer:
    """The peer whose answer is read, what it answers, and the cause of a failure, for error messages."""

    who: str = "the server"
    asked: str = "the upgrade"
    cause: str = "handshake"
    refuses_from: int = 200  # the lowest status that is a refusal

    def failed(self, what: str, remedy: str) -> ConnectionFailed:
        """The error as one sentence."""
        return ConnectionFailed(f"{what}; {remedy}", cause=self.cause)


def read_answer(recv: Callable[[], bytes], peer: Peer) -> Answer:
    """The first answer that is not informational; `recv` returns more bytes, b'' at the end of the stream.

    Raises ConnectionFailed if there is none, and whatever `recv` raises. A truncated or oversized head is enough if it
    contains the status of a refusal.
    """
    data, seen, taken = bytearray(), 0, 0
    while True:
        while (end := _END.search(data, max(0, seen - 3))) is None:
            _check_begin(bytes(data[: len(_BEGIN)]), peer)
            seen = len(data)
            try:
                more = recv()
            except ConnectionFailed as fault:
                return _ended(data, peer, fault)
            except OSError as error:
                return _ended(data, peer, _cut(data, peer, f": {error}"))
            if not more:
                return _ended(data, peer, _cut(data, peer, ""))
            data += more
            taken += len(more)
            if taken > _MOST:
                too_long = f"{peer.who}'s answer to {peer.asked} exceeds 256 KiB"
                return _ended(data, peer, peer.failed(too_long, _CHECK_PORT))
        answer = parse(bytes(data[: end.start()]), bytes(data[end.end() :]))
        if answer is None:
            _check_begin(bytes(data[: len(_BEGIN)]), peer)
            text = f"{peer.who}'s answer to {peer.asked} begins with no status line of HTTP/1.1"
            raise peer.failed(text, "check which program sends it")
        if answer.status >= 200 or answer.status == 101:
            return answer
        del data[: end.end()]
        seen = 0


def parse(head: bytes, rest: bytes = b"", *, whole: bool = True) -> Answer | None:
    """Parse a head without its blank line; None if its status line is invalid."""
    first, *lines = _LINE_END.split(head)
    status = _STATUS.match(first)
    if status is None:
        return None
    fields: list[tuple[bytes, list[bytes]]] = []  # a value as a list of lines
    folds = False  # the line before is a field, which a folded line may continue
    for line in lines:
        field = _FIELD.match(line)
        if field is not None:
            fields.append((field[1].lower(), [field[2]]))
            folds = True
        elif folds and _FOLDED.match(line):
            fields[-1][1].append(line)
        else:
            whole = folds = False
    read = tuple((name.decode("ascii"), _joined(parts)) for name, parts in fields)
    return Answer(int(status[2]), int(status[1]), read, whole, rest)


def _joined(parts: list[bytes]) -> str:
    stripped = (part.strip(b" \t") for part in parts)
    return b" ".join(part for part in stripped if part).decode("latin-1")


def _ended(data: bytearray, peer: Peer, fault: ConnectionFailed) -> Answer:
    """The incomplete answer, if it is a refusal: then its status is enough, whereas a 101 needs every line. Otherwise,
    and if the dial was cancelled, raises the fault."""
    answer = parse(bytes(data[: data.rfind(b"\n")]).removesuffix(b"\r"), whole=False) if b"\n" in data else None
    if answer is None or answer.status < peer.refuses_from or fault.cause == "cancelled":
        raise fault
    return answer


def _check_begin(begin: bytes, peer: Peer) -> None:
    """Raises ConnectionFailed as soon as the first bytes are not HTTP: such a peer may wait for us silently."""
    if begin.startswith(_TLS) and peer.cause == "handshake":
        raise peer.failed(f"{peer.who} speaks TLS on this port", "use wss:// instead of ws://")
    if not _BEGIN.startswith(begin):
        raise peer.failed(f"{peer.who}'s answer to {peer.asked} is no HTTP/1.1", _CHECK_PORT)


def _cut(data: bytearray, peer: Peer, why: str) -> ConnectionFailed:
    where = "in the midst of its answer" if data else "without an answer"
    return peer.failed(
        f"{peer.who} ended the connection {where} to {peer.asked}{why}",
        f"{_CHECK_PORT}, and look into its log",
    )
