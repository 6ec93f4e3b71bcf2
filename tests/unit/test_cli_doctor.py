"""doctor without a network: what it refuses, where the address comes from, waits that end, what holds a socket."""

import ipaddress
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from wsnova_statsd.cli import doctor, doctor_hops
from wsnova_statsd.cli.doctor_hops import Hop, udp_hops, within
from wsnova_statsd.cli.main import main
from wsnova_statsd.reporters import settings
from wsnova_statsd.reporters.settings import Address
from wsnova_statsd.watch import holders


@pytest.fixture(autouse=True)
def _no_socket_of_the_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(settings, "DEFAULT_SOCKET", str(tmp_path / "dsd.socket"))


# -- arguments


@pytest.mark.parametrize(
    ("arguments", "value", "allowed"),
    [
        (["--host", ""], "''", "a name or an address"),
        (["--host", "udp://h"], "'udp://h'", "a name or an address"),
        (["--host", "a\x1b[2J"], "x1b", "a name or an address"),
        (["--port", "0"], "'0'", "1 to 65535"),
        (["--port", "65536"], "'65536'", "1 to 65535"),
        (["--port", "http"], "'http'", "1 to 65535"),
        (["--socket", ""], "''", "the path of a socket"),
        (["--socket", "a\0b"], r"'a\x00b'", "the path of a socket"),
        (["--socket", "/s", "--host", "h"], "--socket", "pass the socket, or host and port"),
        (["--socket", "/s", "--port", "8125"], "--socket", "pass the socket, or host and port"),
        (["--loud"], "'--loud'", "--host, --port, --socket, --json"),
    ],
)
def test_bad_flags_are_refused_in_a_sentence(
    capsys: pytest.CaptureFixture[str], arguments: list[str], value: str, allowed: str
) -> None:
    """Status 2, before anything is tried."""
    with pytest.raises(SystemExit) as refused:
        main(["doctor", *arguments])
    out, err = capsys.readouterr()
    assert (refused.value.code, out, err.count("\n")) == (2, "", 1)
    assert value in err
    assert allowed in err


def test_a_variable_that_is_no_address_is_refused_by_its_name(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the reporter's own sentence."""
    monkeypatch.setenv("DD_DOGSTATSD_PORT", "statsd")
    with pytest.raises(SystemExit) as refused:
        main(["doctor"])
    assert refused.value.code == 2
    assert "DD_DOGSTATSD_PORT must be a port from 1 to 65535, got 'statsd'" in capsys.readouterr().err


def test_a_reporter_that_is_switched_off_is_the_first_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything after it would be in vain, so nothing is tried."""
    monkeypatch.setenv("DD_DOGSTATSD_DISABLE", "true")
    assert main(["doctor", "--host", "host.invalid"]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "FAIL  settings DD_DOGSTATSD_DISABLE is 'true': reporters send nothing; unset it",
        "Not all right: the hop 'settings' failed.",
    ]


# -- where the address comes from


def _origin(**given: Any) -> str:
    where = {"host": None, "port": None, "socket_path": None, **given}
    return doctor._origin(where, settings.address(**where)).message


@pytest.mark.parametrize(
    ("environ", "given", "reported"),
    [
        ({}, {}, "UDP localhost port 8125, by default: no setting names another"),
        ({}, {"host": "h", "port": 9}, "UDP h port 9, from --host, --port"),
        ({}, {"socket_path": "/s"}, "Unix socket /s, from --socket"),
        ({"DD_AGENT_HOST": "h"}, {}, "UDP h port 8125, from DD_AGENT_HOST"),
        ({"DD_AGENT_HOST": "localhost"}, {}, "UDP localhost port 8125, from DD_AGENT_HOST"),
        ({"DD_DOGSTATSD_PORT": "1"}, {}, "UDP localhost port 1, from DD_DOGSTATSD_PORT"),
        ({"DD_AGENT_HOST": ""}, {}, "UDP localhost port 8125, by default: no setting names another"),
        ({"DD_AGENT_HOST": "h"}, {"port": 9}, "UDP h port 9, from --port, DD_AGENT_HOST"),
        ({"DD_DOGSTATSD_URL": "unix:///s"}, {}, "Unix socket /s, from DD_DOGSTATSD_URL"),
        ({"DD_DOGSTATSD_URL": "udp://me:secret@u:7"}, {}, "UDP u port 7, from DD_DOGSTATSD_URL"),
        (
            {"DD_DOGSTATSD_URL": "udp://u:7", "DD_AGENT_HOST": "h"},
            {},
            "UDP u port 7, from DD_DOGSTATSD_URL; DD_AGENT_HOST set as well, without effect",
        ),
        (
            {"DD_DOGSTATSD_URL": "udp://u:7", "DD_DOGSTATSD_PORT": "9"},
            {"host": "h"},
            "UDP h port 9, from --host, DD_DOGSTATSD_PORT; DD_DOGSTATSD_URL set as well, without effect",
        ),
    ],
)
def test_the_address_is_printed_with_the_settings_that_decide_it(
    monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], given: dict[str, Any], reported: str
) -> None:
    """And with those that have no effect, the usual reason of a wrong address."""
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert _origin(**given) == reported


def test_the_agents_socket_is_found_without_a_setting() -> None:
    """Because it is there."""
    Path(settings.DEFAULT_SOCKET).touch()
    assert _origin() == f"Unix socket {settings.DEFAULT_SOCKET}, by default: no setting names another"


# -- what hangs


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A resolver that does not answer while the test runs."""
    released = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: released.wait())
    monkeypatch.setattr(doctor_hops, "RESOLVE_SECONDS", 0.02)
    yield
    released.set()


@pytest.mark.usefixtures("hanging")
def test_a_resolver_that_hangs_is_reported_and_abandoned(capsys: pytest.CaptureFixture[str]) -> None:
    """In its own hop, with status 1."""
    assert main(["doctor", "--host", "agent.example"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines[:2]] == [["ok", "address"], ["FAIL", "resolve"]]
    assert "agent.example: the resolver has not answered in 0.02 s; use the Agent's IP address" in lines[1]


def test_work_within_its_time_returns_or_raises_as_itself() -> None:
    """Only a passed deadline is a TimeoutError."""
    assert within(10, lambda: "done") == "done"
    assert within(10, lambda: None) is None
    with pytest.raises(ZeroDivisionError):
        within(10, lambda: 1 // 0)


@pytest.mark.parametrize("host", ["a..b", "x" * 70])
def test_what_cannot_be_a_name_is_reported_as_such(host: str) -> None:
    """No resolver is asked for it, and no traceback is printed."""
    (hop,) = udp_hops(Address(host, 8125, None))
    assert (hop.name, hop.result) == ("resolve", doctor_hops.FAILED)
    assert host in hop.message


def test_an_address_without_a_way_to_it_fails_to_connect(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every address that the name has is tried; the last error is reported."""
    found = [(socket.AF_INET, socket.SOCK_DGRAM, 17, "", place) for place in (("256.0.0.1", 1), ("256.0.0.2", 1))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: list(found))

    def no_way(*_: object) -> None:
        raise OSError(101, "Network is unreachable")

    monkeypatch.setattr(socket, "socket", no_way)
    hops = list(udp_hops(Address("h", 1, None)))
    assert [(hop.name, hop.result) for hop in hops] == [("resolve", "ok"), ("connect", "failed")]
    assert hops[1].message == "256.0.0.1, 256.0.0.2: Network is unreachable"


# -- what is printed


def test_nothing_from_the_environment_controls_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A control character in a variable is a space."""
    monkeypatch.setattr(doctor, "_hops", lambda *_: [Hop("address", "failed", "a\x1b[2Jb\nc", "d")])
    assert main(["doctor"]) == 1
    assert capsys.readouterr().out.splitlines()[0] == "FAIL  address  a [2Jb c; d"


def test_json_is_one_document(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """With every hop, and the status that the exit has."""
    monkeypatch.setattr(doctor, "_hops", lambda *_: [Hop("address", "ok", "a"), Hop("listen", "unsure", "b", "c")])
    assert main(["doctor", "--json", "--host", "h"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["address"], document["ok"]) == ("h:8125", True)
    assert document["hops"][1] == {"hop": "listen", "result": "unsure", "message": "b", "advice": "c"}


# -- what holds a socket


UDP = """  (the heading)
  1: 0100007F:1FBD 00000000:0000 07 00000000:00000000 00:00000000 00000000   101        0 111 2 0000000000000000 {drops}
  2: 00000000:1FBE 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 222 2 0000000000000000 0
  3: 0100007F:1FBF 0100007F:0035 01 00000000:00000000 00:00000000 00000000     0        0 333 2 0000000000000000 0
"""


@pytest.mark.parametrize(
    ("target", "port", "reported"),
    [
        ("127.0.0.1", 8125, "a process of user 101 holds 127.0.0.1 port 8125"),
        ("127.0.0.2", 8125, None),
        ("127.0.0.2", 8126, "a process of user 0 holds 0.0.0.0 port 8126"),
        ("127.0.0.1", 8127, None),
        ("127.0.0.1", 8128, None),
    ],
)
def test_the_kernels_table_says_which_process_receives_datagrams(
    monkeypatch: pytest.MonkeyPatch, target: str, port: int, reported: str | None
) -> None:
    """By address or for every address; a socket that is connected elsewhere receives none."""
    lines = [line.split() for line in UDP.format(drops=0).splitlines()[1:]]
    monkeypatch.setattr(holders, "_table", lambda path: iter(lines if path.endswith("udp") else []))
    assert holders.udp_holder(ipaddress.ip_address(target), port) == reported


def test_a_holder_that_loses_datagrams_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel counts them."""
    lines = [line.split() for line in UDP.format(drops=34).splitlines()[1:]]
    monkeypatch.setattr(holders, "_table", lambda _: iter(lines))
    reported = holders.udp_holder(ipaddress.ip_address("127.0.0.1"), 8125)
    assert reported is not None
    assert "has lost 34 datagrams" in reported


def test_without_a_table_the_holder_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on systems other than Linux."""

    def absent(*_: object, **__: object) -> None:
        raise FileNotFoundError

    monkeypatch.setattr(holders, "open", absent, raising=False)
    assert holders.udp_holder(ipaddress.ip_address("127.0.0.1"), 8125) is None
    assert holders.unix_holder("/s") is None
