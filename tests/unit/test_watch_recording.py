"""Recordings: what was written reads back byte for byte, a person's edits are accepted, and faults name their line."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wsnova_statsd.errors import ConfigurationError
from wsnova_statsd.watch.recording import HEAD, Recorder, read


def _write(path: Path, datagrams: list[bytes]) -> None:
    recorder = Recorder(path, 100.0)
    for number, data in enumerate(datagrams):
        recorder.write([data], 100.0 + number / 4)
    recorder.close()


@given(st.lists(st.binary(max_size=60) | st.text(max_size=30).map(str.encode)))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_recording_reads_back_byte_for_byte(tmp_path: Path, datagrams: list[bytes]) -> None:
    path = tmp_path / "recording"
    _write(path, datagrams)
    found = list(read(path))
    assert [data for _, data in found] == datagrams
    assert [at for at, _ in found] == [number / 4 for number in range(len(datagrams))]


def test_a_recording_is_text_that_a_person_can_read(tmp_path: Path) -> None:
    path = tmp_path / "recording"
    _write(path, [b"a.b:1|c|#x:\xc3\xbc\nc:2|g", b"_e{1,4}:t|a\\nb", b"\x1b\xff"])
    assert path.read_text(encoding="utf-8").splitlines() == [
        HEAD,
        "0.000000 a.b:1|c|#x:\u00fc",
        "+ c:2|g",
        r"0.250000 _e{1,4}:t|a\\nb",
        r"0.500000 \x1b\xff",
    ]


def test_a_recording_written_by_hand_is_accepted(tmp_path: Path) -> None:
    """Comments, empty lines, whole seconds, a backslash that escapes nothing, line ends and mark of another system."""
    path = tmp_path / "recording"
    path.write_bytes(b"\xef\xbb\xbf# mine\n\n0 a:1|c\r\n+ b:1|c\n2 c:\\d|s\n")
    assert list(read(path)) == [(0.0, b"a:1|c\nb:1|c"), (2.0, b"c:\\d|s")]


@pytest.mark.parametrize(
    ("text", "reported"),
    [
        ("soon a:1|c\n", "line 1 of .* begins with 'soon'"),
        ("1 a:1|c\n0.5 a:1|c\n", "line 2 of .* begins with '0.5'"),
        ("nan a:1|c\n", "line 1 of .* begins with 'nan'"),
        ("inf a:1|c\n", "line 1 of .* begins with 'inf'"),
        ("# here\n+ a:1|c\n", "line 2 of .* no datagram is above it"),
        ("0 " + "x" * 70_000, "line 1 of .* more than 65507 bytes"),
        ("0 a:1|c\n#" + "x" * 400_000, "line 2 of .* more than 65507 bytes"),
    ],
)
def test_a_fault_is_reported_with_its_line(tmp_path: Path, text: str, reported: str) -> None:
    path = tmp_path / "recording"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigurationError, match=reported):
        list(read(path))


def test_a_file_that_cannot_be_read_is_reported(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    os.mkfifo(tmp_path / "pipe")
    faults = {"none": "No such file", "": "a regular file", "binary": "not UTF-8 text", "pipe": "a regular file"}
    for path, reported in faults.items():
        with pytest.raises(ConfigurationError, match=reported):
            list(read(tmp_path / path))
