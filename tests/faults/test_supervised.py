"""Scripts that a supervisor starts and ends: under systemd, as process 1 of a container, beside a plain StatsD server.

The programs are those of the pages; a feed that sends 100 trades on each connection.
"""

import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.ending import PATIENCE
from tests.faults.pages import IN_TIME, MESSAGES, Run, feed, files, write
from wsnova_statsd.testing.receiver import DogStatsDReceiver

RECEIVED = "websocket.message.received"
VERIFY = shutil.which("systemd-analyze")
UNSHARE = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
AS_PROCESS_1 = "import os, sys; os.execvp(sys.argv[1], sys.argv[1:])"


def _can_unshare() -> bool:
    try:
        return subprocess.run([*UNSHARE, "true"], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


@pytest.fixture
def agent() -> Iterator[DogStatsDReceiver]:
    with DogStatsDReceiver() as receiver:
        yield receiver


def _all_arrived(agent: DogStatsDReceiver) -> None:
    agent.stop()  # reads what has arrived
    assert agent.count(RECEIVED, ["client:md-1", "type:trade"]) == len(MESSAGES)
    assert agent.count("websocket.connection.disconnected", ["reason:shutdown"]) == 1
    assert agent.malformed == []


def test_a_script_that_systemd_stops_ends_in_time_with_nothing_lost(agent: DogStatsDReceiver, tmp_path: Path) -> None:
    """SIGTERM: the client sends a close frame, all counts arrive, and the signal ends the process."""
    write("systemd.md", tmp_path)
    with feed() as source, Run(agent, source.url, tmp_path, str(tmp_path / "feed.py")) as program:
        program.wait_for("BTC 99")
        ended = program.end(signal.SIGTERM)
        assert source.wait_for(lambda: source.open_connections == 0)
    assert (ended.code, ended.errors) == (-signal.SIGTERM, "")
    assert ended.took < IN_TIME
    _all_arrived(agent)


@pytest.mark.skipif(VERIFY is None, reason="no systemd-analyze here; it is in Debian's package systemd")
def test_systemd_finds_no_fault_in_the_unit(tmp_path: Path) -> None:
    """Except for the interpreter's path, which is that of this one."""
    unit = files("systemd.md")["feed.service"]
    assert unit.count("/opt/feeds/venv/bin/python ") == 1
    path = tmp_path / "feed.service"
    path.write_text(unit.replace("/opt/feeds/venv/bin/python ", f"{sys.executable} "), encoding="utf-8")
    command = [str(VERIFY), "verify", "--man=no", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    reported = [line for line in done.stderr.splitlines() if "feed.service" in line]
    assert (done.returncode, reported) == (0, []), done.stderr


@pytest.mark.skipif(not _can_unshare(), reason="this user may not make a namespace of processes")
def test_process_1_of_a_container_ends_by_sigterm_in_time(agent: DogStatsDReceiver, tmp_path: Path) -> None:
    """With status 143, although the kernel delivers process 1 no signal without a handler; nothing is lost."""
    write("docker.md", tmp_path)
    say = "import os; print('process', os.getpid(), flush=True)\n"
    script = tmp_path / "feed.py"
    script.write_text(say + script.read_text(encoding="utf-8"), encoding="utf-8")
    command = ("-c", AS_PROCESS_1, *UNSHARE, sys.executable, str(script))
    with feed() as source, Run(agent, source.url, tmp_path, *command) as program:
        program.wait_for("BTC 99")
        assert program.said.startswith("process 1\n")
        [inner] = Path(f"/proc/{program.pid}/task/{program.pid}/children").read_text().split()
        subprocess.run(["kill", "-TERM", inner], check=True)
        ended = program.end()
    assert (ended.code, ended.errors) == (128 + signal.SIGTERM, "")
    assert ended.took < IN_TIME
    _all_arrived(agent)


def test_a_server_without_tags_gets_names_and_types_that_it_knows(agent: DogStatsDReceiver, tmp_path: Path) -> None:
    """Counters, gauges and timers, with Graphite's tags in the names; nothing of the Agent's own protocol."""
    write("plain_statsd.md", tmp_path)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server, feed() as source:
        server.bind(("127.0.0.1", 0))
        server.settimeout(PATIENCE)
        url = f"udp://127.0.0.1:{server.getsockname()[1]}"
        with Run(agent, source.url, tmp_path, str(tmp_path / "feed.py"), DD_DOGSTATSD_URL=url) as program:
            assert program.end().code == 0, program.reported()
        server.setblocking(False)
        lines: list[str] = []
        while True:
            try:
                lines += server.recv(65536).decode().splitlines()
            except BlockingIOError:
                break
    assert lines
    form = re.compile(r"feeds\.[\w.]+(;[\w.]+=[^;:|]+)*:-?\d+(\.\d+)?\|(c|g|ms)")
    assert [line for line in lines if not form.fullmatch(line)] == []
    handled = [int(found[1]) for line in lines if (found := re.fullmatch(r"feeds\.handled:(\d+)\|c", line))]
    assert sum(handled) == len(MESSAGES)
    counted = [
        int(found[1])
        for line in lines
        if (found := re.fullmatch(r"feeds\.websocket\.message\.received;client=md-1;type=trade:(\d+)\|c", line))
    ]
    assert sum(counted) == len(MESSAGES)
