"""Recordings of `watch`: datagrams with their times of arrival, as text that people can read and edit.

Each line of a datagram becomes one line: the seconds since the beginning, a space, the text; `+` in place of the
seconds joins a line to the datagram above. A backslash is doubled; a byte that is not printable text is written as
`\\xNN`. Empty lines and lines that begin with `#` are skipped. `read` is all that a test needs to replay a recording.
Files only; no thread.
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
_LONGEST: Final = 65_507  # bytes of the largest possible datagram
_LONGEST_TEXT: Final = 5 * _LONGEST  # characters of a line: more than such a datagram has with each byte escaped


class Recorder:
    """Writes a recording to the file at `path`, flushed after each batch. Used by one thread at a time."""

    def __init__(self, path: str | Path, began: float) -> None:
        """Raises ConfigurationError for a file that cannot be written. `began` is on the clock of `now` in `write`."""
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
        """Record datagrams that arrived at `now`. Raises OSError if the disk is full."""
        lines = []
        for data in datagrams:
            at = f"{now - self._began:.6f}"
            for line in data.split(b"\n"):
                lines.append(f"{at} {_written(line)}\n")
                at = _JOIN
        self._file.write("".join(lines))
        self._file.flush()

    def close(self) -> None:
        """Close the file; `write` has raised any error already."""
        try:
            self._file.close()
        except OSError:
            pass


def _not_written(path: str | Path, error: OSError | ValueError) -> ConfigurationError:
    why = error.strerror if isinstance(error, OSError) else error
    return ConfigurationError(f"cannot write the recording {path}: {why}")


def read(path: str | Path) -> Iterator[tuple[float, bytes]]:
    """The datagrams of a recording with their seconds since its beginning, in order.

    Raises ConfigurationError, which names the line, for a file that cannot be read or is not a recording.
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
                    f"line {number} of {path} begins with {moment[:40]!r}; use seconds that do not run backwards, or +"
                )
            at = given
        elif not lines:
            raise ConfigurationError(f"line {number} of {path} begins with +, but no datagram is above it to join")
        lines.append(_bytes(line))
        if sum(map(len, lines)) > _LONGEST:
            raise _too_long(number, path)
    if lines:
        yield at, b"\n".join(lines)


def _too_long(number: int, path: str | Path) -> ConfigurationError:
    return ConfigurationError(f"line {number} of {path} makes a datagram of more than {_LONGEST} bytes")


def _lines(path: str | Path) -> Iterator[tuple[int, str]]:
    try:
        if Path(path).exists() and not Path(path).is_file():  # a pipe can be read only once, and a device has no end
            raise ConfigurationError(f"cannot read the recording {path}: it is not a regular file")
        with open(path, encoding="utf-8-sig", newline="\n") as file:  # some editors write a byte order mark
            for number, text in enumerate(iter(partial(file.readline, _LONGEST_TEXT), ""), 1):
                if len(text) == _LONGEST_TEXT:
                    raise _too_long(number, path)
                text = text.removesuffix("\n").removesuffix("\r")
                if text and not text.startswith("#"):
                    yield number, text
    except ConfigurationError:
        raise
    except (OSError, ValueError) as error:  # UnicodeDecodeError is a ValueError
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigurationError(f"cannot read the recording {path}: {why}") from error


def _written(line: bytes) -> str:
    text = line.decode("utf-8", "surrogateescape").replace("\\", r"\\")
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else _escaped(one) for one in text)


def _escaped(one: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in one.encode("utf-8", "surrogateescape"))


def _bytes(text: str) -> bytes:
    """The recorded text as bytes; a backslash that escapes nothing is kept."""
    parts, last = [], 0
    for found in _BYTE.finditer(text):
        parts += [text[last : found.start()].encode(), _byte(found[1])]
        last = found.end()
    return b"".join([*parts, text[last:].encode()])


def _byte(escape: str) -> bytes:
    return b"\\" if escape == "\\" else bytes.fromhex(escape[1:])
