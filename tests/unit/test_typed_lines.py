"""Lines that are typed or piped in: each as it is, until the end."""

import os
import threading
from collections.abc import Iterator
from typing import IO

import pytest

from wsnova_statsd.cli.typed_lines import TypedLines

SOON = 10.0  # seconds that a busy machine may take


class _Bench:
    def __init__(self) -> None:
        reading, self.writing = os.pipe()
        self.source: IO[str] = os.fdopen(reading)
        self.lines: list[bytes] = []
        self.over = threading.Event()

    def typed(self) -> TypedLines:
        made = TypedLines(self.source, self.lines.append, self.over.set)  # type: ignore[arg-type]
        made.start()
        return made


@pytest.fixture
def bench() -> Iterator[_Bench]:
    made = _Bench()
    yield made
    made.source.close()


def test_each_line_is_passed_on_without_its_end(bench: _Bench) -> None:
    """However it arrives; empty ones too, and the last one without an end."""
    typed = bench.typed()
    for part in (b"on", b"e\ntwo\r\n\nthr", "é\nlast".encode()):
        os.write(bench.writing, part)
    os.close(bench.writing)
    assert bench.over.wait(SOON)
    assert bench.lines == [b"one", b"two", b"", "thré".encode(), b"last"]
    typed.stop()


def test_the_end_alone_is_no_line(bench: _Bench) -> None:
    typed = bench.typed()
    os.write(bench.writing, b"one\n")
    os.close(bench.writing)
    assert bench.over.wait(SOON)
    assert bench.lines == [b"one"]
    typed.stop()


def test_a_program_without_an_input_is_at_its_end(bench: _Bench) -> None:
    over = threading.Event()
    typed = TypedLines(None, bench.lines.append, over.set)
    typed.start()
    assert over.wait(SOON)
    typed.stop()
    os.close(bench.writing)


def test_stop_ends_the_thread_without_input(bench: _Bench) -> None:
    """And the end of the input is no longer reported."""
    typed = bench.typed()
    typed.stop(SOON)
    assert not [one for one in threading.enumerate() if one.name == "wsnova-listen-input"]
    assert not bench.over.is_set()
    os.close(bench.writing)


def test_a_terminal_that_is_gone_is_an_end() -> None:
    """As when a connection to the machine breaks."""
    master, slave = os.openpty()
    lines: list[bytes] = []
    over = threading.Event()
    with os.fdopen(slave) as source:
        os.close(master)
        typed = TypedLines(source, lines.append, over.set)
        typed.start()
        assert over.wait(SOON)
        typed.stop()
    assert lines == []
