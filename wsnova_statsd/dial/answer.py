"""The head of an HTTP/1.1 answer, read as RFC 9110 and RFC 9112 say. No I/O of its own, any thread.

Informational answers (1xx) are skipped, lines may end in a bare LF, a folded line counts as one space, values beyond
ASCII are opaque, repeated fields are one list. The status line is read strictly. A body is never read: nothing in it
stands in the way of the status.
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
    """One answer: its status, its fields in their order with names in lower case, and what came behind its head."""

    status: int
    minor: int  # of the version HTTP/1.x
    fields: tuple[tuple[str, str], ...]
    whole: bool  # the head has come to its end, and each line of it is a field
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
    """Whose answer is read to what, for the sentence of a fault, and its cause."""

    who: str = "the server"
    asked: str = "the upgrade"
    cause: str = "handshake"
    refuses_from: int = 200  # the lowest status that is a refusal

    def failed(self, what: str, remedy: str) -> ConnectionFailed:
        """The fault as one sentence."""
        return ConnectionFailed(f"{what}; {remedy}", cause=self.cause)


def read_answer(recv: Callable[[], bytes], peer: Peer) -> Answer:
    """The first answer that is not informational; `recv` gives more bytes, b'' at the end of the stream.

    Raises ConnectionFailed if there is none, and whatever `recv` raises. A head that is cut off or too long is enough
    if it says with which status the request was refused.
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
            raise peer.failed(text, "look for what writes it so")
        if answer.status >= 200 or answer.status == 101:
            return answer
        del data[: end.end()]
        seen = 0


def parse(head: bytes, rest: bytes = b"", *, whole: bool = True) -> Answer | None:
    """A head without its blank line; None if its status line is none."""
    first, *lines = _LINE_END.split(head)
    status = _STATUS.match(first)
    if status is None:
        return None
    fields: list[tuple[bytes, list[bytes]]] = []  # a value in its lines, of which there may be many
    folds = False  # the line before is a field, which a folded one goes on
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
    """The answer whose head is not all there, if it refuses: its status is enough, where of a 101 every line is needed.
    Raises the fault otherwise, and if the dial was cancelled."""
    answer = parse(bytes(data[: data.rfind(b"\n")]).removesuffix(b"\r"), whole=False) if b"\n" in data else None
    if answer is None or answer.status < peer.refuses_from or fault.cause == "cancelled":
        raise fault
    return answer


def _check_begin(begin: bytes, peer: Peer) -> None:
    """Raises ConnectionFailed as soon as the first bytes are no HTTP: such a peer may wait for us in silence."""
    if begin.startswith(_TLS) and peer.cause == "handshake":
        raise peer.failed(f"{peer.who} speaks TLS on this port", "use wss:// in the place of ws://")
    if not _BEGIN.startswith(begin):
        raise peer.failed(f"{peer.who}'s answer to {peer.asked} is no HTTP/1.1", _CHECK_PORT)


def _cut(data: bytearray, peer: Peer, why: str) -> ConnectionFailed:
    where = "in the midst of its answer" if data else "without an answer"
    return peer.failed(
        f"{peer.who} ended the connection {where} to {peer.asked}{why}",
        f"{_CHECK_PORT}, and look into its log",
    )
