"""Recordings of `watch`: datagrams and when they came, as text that a person can read and edit.

One line for each line of a datagram: the seconds since the beginning, a space, the text; `+` for the seconds joins a
line to the datagram above. A backslash is written twice, a byte that is no printable text as `\\xNN`. Lines that begin
with `#` and empty ones are passed over. `read` is all that a test needs to replay one. Files only; no thread.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

from ..errors import ConfigurationError

HEAD: Final = "# wsnova-statsd recording 1: seconds, then a line of a datagram; + joins it to the datagram above"
_BYTE: Final = re.compile(r"\\(\\|x[0-9a-fA-F]{2})")
_JOIN: Final = "+"
_LONGEST: Final = 65_507  # bytes of the largest datagram there is
_LONGEST_TEXT: Final = 5 * _LONGEST  # characters of a line: more than those of such a datagram, each byte escaped


class Recorder:
    """Writes one recording to a file of this path, flushed batch by batch. Used by one thread at a time."""

    def __init__(self, path: str | Path, began: float) -> None:
        """Raises ConfigurationError for a file that cannot be written. `began` is on the clock that `write` is told."""
        self._began = began
        try:
            self._file = open(path, "w", encoding="utf-8", newline="\n")  # noqa: SIM115 - closed by close()
        except (OSError, ValueError) as error:
            raise _not_written(path, error) from error
        try:
            print(HEAD, file=self._file, flush=True)
        except OSError as error:
            self.close()
            raise _not_written(path, error) from error

    def write(self, datagrams: list[bytes], now: float) -> None:
        """Enter datagrams that came at this moment. Raises OSError if the disk is full."""
        lines = []
        for data in datagrams:
            at = f"{now - self._began:.6f}"
            for line in data.split(b"\n"):
                lines.append(f"{at} {_written(line)}\n")
                at = _JOIN
        self._file.write("".join(lines))
        self._file.flush()

    def close(self) -> None:
        """Give the file back; what could not be written was raised before."""
        try:
            self._file.close()
        except OSError:
            pass


def _not_written(path: str | Path, error: OSError | ValueError) -> ConfigurationError:
    told = error.strerror if isinstance(error, OSError) else error
    return ConfigurationError(f"cannot write the recording {path}: {told}")


def read(path: str | Path) -> Iterator[tuple[float, bytes]]:
    """The datagrams of a recording with their seconds since its beginning, in order.

    Raises ConfigurationError, which names the line, for a file that cannot be read or is no recording.
    """
    at, lines = 0.0, list[bytes]()
    for number, text in _lines(path):
        moment, _, line = text.partition(" ")
        if moment != _JOIN:
            if lines:
                yield at, b"\n".join(lines)
            lines = []
            try:
                given = float(moment)
            except ValueError:
                given = -1.0
            if not at <= given < float("inf"):
                raise ConfigurationError(
                    f"line {number} of {path} begins with {moment[:40]!r}; give seconds that do not run backwards, or +"
                )
            at = given
        elif not lines:
            raise ConfigurationError(f"line {number} of {path} joins a datagram, and there is none above it")
        lines.append(_bytes(line))
        if sum(map(len, lines)) > _LONGEST:
            raise _too_long(number, path)
    if lines:
        yield at, b"\n".join(lines)


def _too_long(number: int, path: str | Path) -> ConfigurationError:
    return ConfigurationError(f"line {number} of {path} makes a datagram of more than {_LONGEST} bytes")


def _lines(path: str | Path) -> Iterator[tuple[int, str]]:
    try:
        if Path(path).exists() and not Path(path).is_file():  # a pipe can be read once only, and a device has no end
            raise ConfigurationError(f"cannot read the recording {path}: it is no regular file")
        with open(path, encoding="utf-8-sig", newline="\n") as file:  # some editors begin a file with a mark
            for number, text in enumerate(iter(partial(file.readline, _LONGEST_TEXT), ""), 1):
                if len(text) == _LONGEST_TEXT:
                    raise _too_long(number, path)
                text = text.removesuffix("\n").removesuffix("\r")
                if text and not text.startswith("#"):
                    yield number, text
    except ConfigurationError:
        raise
    except (OSError, ValueError) as error:  # UnicodeDecodeError is one of the latter
        told = error.strerror if isinstance(error, OSError) else "it is no text in UTF-8"
        raise ConfigurationError(f"cannot read the recording {path}: {told}") from error


def _written(line: bytes) -> str:
    text = line.decode("utf-8", "surrogateescape").replace("\\", r"\\")
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else _escaped(one) for one in text)


def _escaped(one: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in one.encode("utf-8", "surrogateescape"))


def _bytes(text: str) -> bytes:
    """What was written, as bytes; a backslash that escapes nothing is one."""
    parts, last = [], 0
    for found in _BYTE.finditer(text):
        parts += [text[last : found.start()].encode(), _byte(found[1])]
        last = found.end()
    return b"".join([*parts, text[last:].encode()])


def _byte(escape: str) -> bytes:
    return b"\\" if escape == "\\" else bytes.fromhex(escape[1:])
