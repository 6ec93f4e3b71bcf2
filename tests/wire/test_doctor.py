"""`wsnova-statsd doctor` against real receivers, and against every fault that one can have."""

import contextlib
import json
import os
import re
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from wsnova_statsd.cli import doctor_hops
from wsnova_statsd.cli.doctor_hops import Hop, deliver, udp_hops, unix_hops
from wsnova_statsd.reporters.settings import Address
from wsnova_statsd.testing import DogStatsDReceiver, parse_datagram

ROOT = Path(__file__).resolve().parents[2]
LINUX = sys.platform == "linux"


def _doctor(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """The real command, in an environment without other settings of Datadog."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DD_", "DATADOG_"))}
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "wsnova_statsd", "doctor", *arguments],
        cwd=ROOT,
        env={**kept, **variables},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


def _reported(hops: Iterator[Hop]) -> list[tuple[str, str]]:
    return [(hop.name, hop.result) for hop in hops]


@contextlib.contextmanager
def _bound(path: Path, kind: int = socket.SOCK_DGRAM) -> Iterator[socket.socket]:
    """A Unix socket without a reader."""
    with socket.socket(socket.AF_UNIX, kind) as sock:
        sock.bind(str(path))
        yield sock


@pytest.fixture
def closed_port() -> int:
    """A UDP port that was free a moment ago."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
    return port


def _the_test_arrived(receiver: DogStatsDReceiver) -> None:
    """One metric of 1, one event, one check; the probe, counts of zero, has changed no number."""
    assert receiver.wait_for(lambda r: r.count("websocket.doctor") and r.events and r.checks)
    assert receiver.count("websocket.doctor") == 1
    assert [event.title for event in receiver.events] == ["wsnova-statsd doctor"]
    assert [(check.name, check.status) for check in receiver.checks] == [("websocket.doctor", 0)]
    assert receiver.malformed == []


# -- the command


def test_all_is_right_over_udp() -> None:
    """Every hop in one line, with the process that listens, and status 0."""
    with DogStatsDReceiver() as receiver:
        done = _doctor(DD_AGENT_HOST="127.0.0.1", DD_DOGSTATSD_PORT=str(receiver.port))
        _the_test_arrived(receiver)
        assert max(map(len, receiver.datagrams)) <= 1432
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert [line.split()[1] for line in lines[:-1]] == ["address", "resolve", "connect", "send", "listen", "deliver"]
    assert lines[0].endswith("from DD_AGENT_HOST, DD_DOGSTATSD_PORT")
    assert "3 of 3 handed over, 0 lost" in lines[5]
    if LINUX:
        assert f"pid {os.getpid()} (" in lines[4]
        assert lines[-1].startswith("All right")


def test_a_plain_statsd_server_gets_one_counter() -> None:
    """By the variable that a Monitor reads; neither an event nor a service check."""
    with DogStatsDReceiver() as receiver:
        where = {"DD_AGENT_HOST": "127.0.0.1", "DD_DOGSTATSD_PORT": str(receiver.port)}
        done = _doctor(WSNOVA_STATSD_DIALECT="statsd", **where)
        assert receiver.wait_for(lambda seen: seen.count("websocket.doctor") == 1)
    assert (done.returncode, done.stderr) == (0, "")
    assert "metric: 1 of 1 handed over, 0 lost" in done.stdout
    assert (receiver.events, receiver.checks) == ([], [])
    if LINUX:
        assert done.stdout.endswith("All right; websocket.doctor should be counted by the StatsD server.\n")


def test_all_is_right_over_a_unix_socket(tmp_path: Path) -> None:
    """With a probe as large as its largest datagram."""
    with DogStatsDReceiver(str(tmp_path / "dsd.socket")) as receiver:
        done = _doctor("--socket", f"unix://{receiver.path}")
        _the_test_arrived(receiver)
        assert max(map(len, receiver.datagrams)) == 8190
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert [line.split()[:2] for line in lines[:-1]] == [
        ["ok", name] for name in ("address", "file", "connect", "listen", "send", "deliver")
    ]
    assert not LINUX or f"pid {os.getpid()} (" in lines[3]


def test_constant_tags_that_fill_a_datagram_are_named_with_the_remedy() -> None:
    """They arrive, each line alone; beyond the size that the Agent reads at once no line would."""
    tags = ",".join(f"kube_label_{number:02}:region-zone-central-1-cluster" for number in range(40))
    with DogStatsDReceiver() as receiver:
        where = {"DD_AGENT_HOST": "127.0.0.1", "DD_DOGSTATSD_PORT": str(receiver.port)}
        done = _doctor(DD_TAGS=tags, **where)
        _the_test_arrived(receiver)
        assert (done.returncode, done.stderr) == (0, "")
        assert (
            f"?     tags     40 constant tags take {len(tags)} bytes of every line; a datagram has 1432" in done.stdout
        )
        assert "shorten DD_TAGS" in done.stdout
        refused = _doctor(DD_TAGS=",".join(f"{tag}{n}" for tag in tags.split(",") for n in range(10)), **where)
        json_form = _doctor(DD_TAGS='{"env": "prod"}', **where)
    assert [refused.returncode, json_form.returncode] == [1, 1]
    assert "FAIL  tags     the 400 constant tags take" in refused.stdout
    assert "JSON; set it to tags separated by commas" in json_form.stdout


def test_a_refused_port_is_status_1_and_says_what_to_do(closed_port: int) -> None:
    """The hops before it pass, and those after it are not tried: line by line as its page shows it."""
    done = _doctor(DD_AGENT_HOST="127.0.0.1", DD_DOGSTATSD_PORT=str(closed_port), DD_DOGSTATSD_SOCKET="/s")
    assert (done.returncode, done.stderr) == (1, "")
    page = (ROOT / "examples" / "troubleshooting.md").read_text(encoding="utf-8")
    sample = re.findall(r"^(?:ok  |FAIL|Not all).*$", page, re.MULTILINE)
    shown, printed = (
        [re.sub(r"[\d.]+\d", "N", line) for line in lines] for lines in (sample, done.stdout.splitlines())
    )
    assert shown == printed


def test_an_unresolvable_host_is_status_1() -> None:
    """`.invalid` is reserved (RFC 2606)."""
    done = _doctor(DD_AGENT_HOST="host.invalid")
    assert done.returncode == 1
    assert "FAIL  resolve  host.invalid: " in done.stdout


def test_a_missing_socket_is_status_1_also_as_json(tmp_path: Path) -> None:
    """The document has the hops up to the failed one."""
    done = _doctor("--json", DD_DOGSTATSD_URL=f"unix://{tmp_path}/dsd.socket")
    assert (done.returncode, done.stderr) == (1, "")
    document = json.loads(done.stdout)
    assert document["ok"] is False
    assert [(hop["hop"], hop["result"]) for hop in document["hops"]] == [("address", "ok"), ("file", "failed")]
    assert document["hops"][1]["message"] == f"{tmp_path}/dsd.socket does not exist"


# -- Unix sockets


def test_a_file_that_is_no_socket_is_named(tmp_path: Path) -> None:
    """Docker replaces a missing mount by a folder."""
    (hop,) = unix_hops(str(tmp_path), 8192)
    assert (hop.name, hop.result) == ("file", "failed")
    assert f"{tmp_path} is not a socket (d" in hop.message


def test_a_socket_file_without_a_listener_is_named(tmp_path: Path) -> None:
    """Left over from an Agent that was killed."""
    with _bound(tmp_path / "dsd.socket"):
        pass
    *_, hop = unix_hops(str(tmp_path / "dsd.socket"), 8192)
    assert (hop.name, hop.result) == ("connect", "failed")
    assert "Connection refused" in hop.message
    assert hop.advice.startswith("no process holds it, the file is a leftover")


def test_an_agent_that_does_not_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its queue is full, and stays so."""
    monkeypatch.setattr(doctor_hops, "_SOCKET_SECONDS", 0.05)
    path = tmp_path / "dsd.socket"
    with _bound(path), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as filler:
        filler.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                filler.sendto(b"x:1|c", str(path))
        hops = list(unix_hops(str(path), 8192))
    assert [(hop.name, hop.result) for hop in hops[-2:]] == [("listen", "ok"), ("send", "failed")]
    assert hops[-1].message == "the queue stayed full for 0.05 s: the Agent does not read"


def test_a_datagram_that_is_too_large_for_the_system_is_named(tmp_path: Path) -> None:
    """The kernel's limit is the sender's buffer."""
    with _bound(tmp_path / "dsd.socket"):
        *_, hop = unix_hops(str(tmp_path / "dsd.socket"), 64 * 2**20)
    assert (hop.name, hop.result) == ("send", "failed")
    assert "net.core.wmem_default" in hop.advice


def test_a_socket_without_write_permission_is_named() -> None:
    """With the system's message, as another user if this one is root."""
    folder = Path(tempfile.mkdtemp(prefix="wsnova"))  # no other user may enter pytest's own folder
    try:
        folder.chmod(0o755)
        with _bound(folder / "dsd.socket"):
            (folder / "dsd.socket").chmod(0)
            before = os.geteuid()
            if before == 0:
                os.seteuid(65534)
            try:
                *_, hop = unix_hops(str(folder / "dsd.socket"), 8192)
            finally:
                os.seteuid(before)
    finally:
        shutil.rmtree(folder)
    assert (hop.name, hop.result) == ("connect", "failed")
    assert "Permission denied" in hop.message
    assert hop.advice.startswith("allow this user to write to it")


def test_the_kind_of_a_socket_has_to_be_the_one_named(tmp_path: Path) -> None:
    """A plain path means either, as in the official client."""
    with _bound(tmp_path / "datagram"), _bound(tmp_path / "stream", socket.SOCK_STREAM) as stream:
        stream.listen()
        for scheme, kind, result in (
            ("unixstream://", "stream", "ok"),
            ("unixgram://", "stream", "failed"),
            ("", "stream", "ok"),
            ("unixgram://", "datagram", "ok"),
            ("unixstream://", "datagram", "failed"),
            ("", "datagram", "ok"),
        ):
            hops = {hop.name: hop for hop in unix_hops(f"{scheme}{tmp_path}/{kind}", 8192)}
            assert (scheme, kind, hops["connect"].result) == (scheme, kind, result)
            assert (f"{kind} socket" in hops["connect"].message) == (result == "ok")


def test_a_stream_gets_packets_with_their_length(tmp_path: Path) -> None:
    """Little-endian, four bytes, as the Agent reads it."""
    path = tmp_path / "dsd.socket"
    with _bound(path, socket.SOCK_STREAM) as listener:
        listener.listen()
        hops = list(unix_hops(f"unixstream://{path}", 8192))
        with listener.accept()[0] as accepted, accepted.makefile("rb") as read:
            (length,) = struct.unpack("<I", read.read(4))
            messages = parse_datagram(read.read(length))
            assert read.read() == b""
    assert _reported(iter(hops)) == [(name, "ok") for name in ("file", "connect", "listen", "send")]
    assert {message.name for message in messages if hasattr(message, "name")} == {"websocket.doctor"}


# -- UDP


def test_silence_is_no_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the system does not show which process holds a port; it is not a failure either."""
    monkeypatch.setattr(doctor_hops, "udp_holder", lambda *_: None)
    with DogStatsDReceiver() as receiver:
        *_, hop = udp_hops(Address(receiver.host, receiver.port, None))
    assert (hop.name, hop.result) == ("listen", "unsure")
    assert hop.message == "UDP does not answer: no proof that a process listens"


def test_a_receiver_on_every_address_and_version_is_found() -> None:
    """Bound to :: it receives IPv6, and is in the system's other table."""
    with DogStatsDReceiver(host="::") as receiver:
        *_, hop = udp_hops(Address("::1", receiver.port, None))
    assert hop.name == "listen"
    assert hop.result == ("ok" if LINUX else "unsure")
    assert not LINUX or f"holds :: port {receiver.port}" in hop.message


# -- the whole way


def test_what_was_lost_on_the_way_is_named_with_its_cause(tmp_path: Path) -> None:
    """And what arrived."""
    path = tmp_path / "dsd.socket"
    with DogStatsDReceiver(str(path)):
        assert deliver({"socket_path": str(path)}).result == "ok"
    hop = deliver({"socket_path": str(path)})
    assert (hop.name, hop.result) == ("deliver", "failed")
    assert hop.message.startswith("lost: metric, event, service check (")
    assert "FileNotFoundError" in hop.message
    assert hop.message.endswith("handed over: nothing")


def test_nothing_of_the_doctor_is_left(tmp_path: Path) -> None:
    """Neither a thread nor a socket."""
    before = threading.enumerate()
    descriptors = len(os.listdir("/dev/fd"))
    with DogStatsDReceiver() as receiver:
        list(udp_hops(Address(receiver.host, receiver.port, None)))
        deliver({"host": receiver.host, "port": receiver.port})
    assert [thread for thread in threading.enumerate() if thread not in before] == []
    assert len(os.listdir("/dev/fd")) <= descriptors
