"""Recording, replaying, a program that is watched, and one receiver shared with tabs: over real files and processes."""

import json
import os
import socket
import stat
import sys
import threading
import time
from functools import partial
from pathlib import Path

import pytest

from tests.support import until
from tests.unit.watching import snapshot
from wsnova_statsd.errors import ConfigurationError
from wsnova_statsd.watch import recording
from wsnova_statsd.watch.command import Command, environment
from wsnova_statsd.watch.session import Given, Session
from wsnova_statsd.watch.share import MOST_TABS, Remote, Share
from wsnova_statsd.watch.snapshot import Snapshot, to_json

DATAGRAMS = [b"a:1|c\nb:2|g|#x:1", b"rubbish\xff\x1b", b"_e{1,4}:t|a\\nb", b"a:2|c"]


def _has(session: Session, number: int) -> bool:
    return session.model.datagrams == number


def test_what_was_recorded_is_replayed_to_the_same_figures(tmp_path: Path) -> None:
    path = str(tmp_path / "feed.txt")
    with Session(Given(port=0, record=path)) as session, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for number, data in enumerate(DATAGRAMS, 1):
            sender.sendto(data, session.address)
            assert until(partial(_has, session, number))
        first = session.snapshot()
    assert [data for _, data in recording.read(path)] == DATAGRAMS
    with Session(Given(replay=path, speed=1000.0)) as session:
        assert session.ended.wait(10)
        again = session.snapshot()
    assert {(row.name, row.tags, row.value) for row in again.rows} == {
        (row.name, row.tags, row.value) for row in first.rows
    }
    assert [(event.title, event.text) for event in again.events] == [("t", "a\nb")]
    assert (again.source, again.note) == (f"replay of {path}", "the recording is over: 4 datagrams")


def test_a_replay_keeps_the_distances_divided_by_the_speed(tmp_path: Path) -> None:
    path = tmp_path / "feed.txt"
    path.write_text("0 a:1|c\n3 a:1|c\n", encoding="utf-8")
    began = time.monotonic()
    with Session(Given(replay=str(path), speed=10.0)) as session:
        assert session.ended.wait(10)
    assert time.monotonic() - began >= 0.3


@pytest.mark.parametrize("at", ["1000", "1e300"])
def test_quitting_ends_a_long_replay_at_once(tmp_path: Path, at: str) -> None:
    """Also one that is longer than a thread can wait."""
    path = tmp_path / "feed.txt"
    path.write_text(f"0 a:1|c\n{at} a:1|c\n", encoding="utf-8")
    began = time.monotonic()
    with Session(Given(replay=str(path))) as session:
        assert until(lambda: session.model.lines == 1)
        assert not session.ended.wait(0.1)
    assert time.monotonic() - began < 5
    assert not [thread for thread in threading.enumerate() if thread.name == "wsnova-watch-replay"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a disk that is full")
def test_a_disk_that_is_full_from_the_beginning_is_reported_at_once() -> None:
    session = Session(Given(port=0, record="/dev/full"))
    with pytest.raises(ConfigurationError, match="cannot write the recording /dev/full: No space left"), session:
        pass


def test_a_recording_that_cannot_go_on_is_reported_and_what_arrives_is_still_shown(tmp_path: Path) -> None:
    """Written to a pipe whose reader closes it."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    session = Session(Given(port=0, record=str(path)))
    with session, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        os.close(reader)
        for number in (1, 2):
            sender.sendto(b"a:1|c", session.address)
            assert until(partial(_has, session, number))
        shown = session.snapshot()
    assert shown.note == "the recording ends here: [Errno 32] Broken pipe"
    assert shown.rows[0].value == 2.0


def test_a_recording_that_is_damaged_during_its_replay_ends_there_and_says_why(tmp_path: Path) -> None:
    path = tmp_path / "feed.txt"
    path.write_text("0 a:1|c\n" * 20_000 + "4.5 a:1|c\n" * 20_000, encoding="utf-8")
    with Session(Given(replay=str(path))) as session:
        assert until(lambda: session.model.lines == 20_000)
        with path.open("r+b") as file:
            file.seek(-8, os.SEEK_END)
            file.write(b"\nrubbish")
        assert session.ended.wait(10)
        assert "the replay failed: line 40000 of" in session.snapshot().note


SENDER = """
import os, socket, sys, time
to = os.environ["DD_AGENT_HOST"], int(os.environ["DD_DOGSTATSD_PORT"])
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"a:7|c", to)
print("to stdout\\x1b[2J")
print("to stderr", file=sys.stderr)
sys.exit(int(sys.argv[1])) if len(sys.argv) > 1 else time.sleep(60)
"""


def test_a_program_gets_the_address_to_send_to_and_its_output_is_kept() -> None:
    """Without control characters; when it has ended its status is shown."""
    session = Session(Given(port=0), Command([sys.executable, "-c", SENDER, "3"]))
    with session:
        assert until(lambda: session.status is not None and session.model.lines == 1)
        assert until(lambda: len(session.snapshot().output or ()) == 2)
        shown = session.snapshot()
    assert sorted(shown.output or ()) == ["to stderr", "to stdout [2J"]
    assert (session.status, shown.note) == (3, "the command has ended with status 3")
    assert [row.value for row in shown.rows] == [7.0]


def test_quitting_ends_the_program_and_what_it_started() -> None:
    script = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {SENDER!r}])"
    session = Session(Given(port=0), Command([sys.executable, "-c", script]))
    with session:
        assert until(lambda: session.model.lines == 1)
    assert session.status == 128 + 15


def test_a_program_that_ignores_sigterm_is_killed() -> None:
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('on', flush=True); time.sleep(60)"
    session = Session(Given(port=0), Command([sys.executable, "-c", code], patience=0.1))
    with session:
        assert until(lambda: session.snapshot().output == ("on",))
    assert session.status == 128 + 9


def test_a_program_that_cannot_be_started_is_reported_and_nothing_stays_open() -> None:
    with pytest.raises(ConfigurationError, match="cannot start 'no-such-program': No such file"):
        Session(Given(port=0), Command(["no-such-program"])).__enter__()
    assert not [thread for thread in threading.enumerate() if thread.name == "wsnova-watch"]


def test_variables_that_would_send_the_metrics_elsewhere_are_left_out() -> None:
    given = {"DD_DOGSTATSD_URL": "unix:///x", "DD_AGENT_HOST": "dd", "WSNOVA_STATSD_SOCKET_PATH": "/x", "HOME": "/h"}
    reported = environment(given, "127.0.0.1", 5)
    assert reported == {"DD_AGENT_HOST": "127.0.0.1", "DD_DOGSTATSD_PORT": "5", "HOME": "/h", "PYTHONUNBUFFERED": "1"}


# -- one receiver for several tabs


class _Counting:
    """A source whose snapshots differ."""

    def __init__(self) -> None:
        self.asked = self.cleared = 0

    def snapshot(self) -> Snapshot:
        self.asked += 1
        return snapshot(f"a:{self.asked}|g")

    def clear(self) -> None:
        self.cleared += 1


def test_two_tabs_read_the_same_documents_over_a_private_socket() -> None:
    source = _Counting()
    with Share(source) as share:
        assert stat.S_IMODE(os.stat(share.path).st_mode) == 0o600
        assert stat.S_IMODE(os.stat(os.path.dirname(share.path)).st_mode) == 0o700
        tabs = [Remote(share.path), Remote(share.path)]
        assert until(lambda: to_json(tabs[0].snapshot()) == to_json(tabs[1].snapshot()))
        assert json.loads(to_json(tabs[0].snapshot()))["rows"][0]["name"] == "a"
        tabs[1].clear()
        assert until(lambda: source.cleared == 1)
        tabs[0].close()
        path = share.path
    assert tabs[1].ended.wait(5)
    assert not os.path.exists(os.path.dirname(path))
    tabs[1].close()


def test_a_fifth_tab_is_disconnected() -> None:
    with Share(_Counting()) as share:
        tabs = [Remote(share.path) for _ in range(MOST_TABS)]
        assert all(tab.snapshot().rows for tab in tabs)
        late = Remote(share.path)
        assert late.ended.wait(5)
        tabs[0].close()

        def has_room() -> bool:
            another = Remote(share.path)
            found = bool(another.snapshot().rows)
            another.close()
            return found

        assert until(has_room)


def test_if_nothing_is_shared_a_tab_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot reach a running watch"):
        Remote(str(tmp_path / "none"))


def test_a_tab_that_does_not_read_delays_no_other() -> None:
    """Its documents are large; the other tab still gets its own."""

    class Large(_Counting):
        def snapshot(self) -> Snapshot:
            self.asked += 1
            return snapshot(*(f"series{number}.x:{self.asked}|g" for number in range(3000)))

    source = Large()
    with Share(source) as share, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stuck:
        stuck.connect(share.path)
        tab = Remote(share.path)
        first = tab.snapshot().rows[0].value
        assert until(lambda: tab.snapshot().rows[0].value != first)
        tab.close()
