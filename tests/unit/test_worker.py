"""The worker's number: the lowest that is free, for any content of the directory of locks, and the tag it becomes."""

import logging
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import wsnova_statsd as ws
from tests.faults.support import run_script
from wsnova_statsd.reporters.worker import VARIABLE, Worker, Workers, given_name, hold, in_container, places, tagged
from wsnova_statsd.testing.metrics import capture_metrics


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """For the locks of this test only, without the name that all tests share."""
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return tmp_path


def _name(number: int) -> str:
    """As it is on this machine, even in a container."""
    return f"{socket.gethostname().lower()}-{number}" if in_container() else str(number)


def _lock(directory: Path, number: int) -> Path:
    return directory / f"wsnova-statsd-md-{number}.lock"


def test_each_of_several_holders_has_the_lowest_number_that_is_free() -> None:
    """Two objects hold as two processes do; one asks again and again for the same."""
    first, second = Workers(), Workers()
    assert [first.number("md"), second.number("md"), first.number("md")] == [_name(0), _name(1), _name(0)]
    assert second.number("orders") == _name(0)
    first.after_fork()  # releases it
    assert Workers().number("md") == _name(0)


def test_a_number_is_free_again_when_its_process_has_ended_however_it_did() -> None:
    """The kernel releases the lock; nothing has to be cleaned up."""
    script = "from wsnova_statsd.reporters.worker import WORKERS; print(WORKERS.number('md'), flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == _name(0)
        assert Workers().number("md") == _name(1)
        process.kill()
        process.wait(10)
    assert Workers().number("md") == _name(0)


def _made(path: Path) -> Path:
    path.touch()
    return path


OBSTACLES: dict[str, Callable[[Path], object]] = {
    "a link": lambda path: path.symlink_to(path.with_name("target")),
    "a link to a file": lambda path: path.symlink_to(_made(path.with_name("target"))),
    "a pipe": os.mkfifo,
    "a directory": Path.mkdir,
}


@pytest.mark.parametrize("obstacle", OBSTACLES)
def test_what_is_no_plain_file_counts_as_held_and_is_left_alone(directory: Path, obstacle: str) -> None:
    """Another user's symbolic link is not followed, a pipe not waited for."""
    OBSTACLES[obstacle](_lock(directory, 0))
    assert Workers().number("md") == _name(1)
    assert not (directory / "target").exists() or (directory / "target").stat().st_size == 0
    assert _lock(directory, 1).is_file()


def test_a_file_that_was_removed_while_it_was_opened_is_not_held(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a cleanup another process would make a new file, and both would hold the number."""
    path, opened = str(_lock(directory, 0)), os.open

    def open_and_remove(*arguments: object) -> int:
        descriptor = opened(*arguments)  # type: ignore[arg-type]
        os.unlink(path)
        return descriptor

    monkeypatch.setattr(os, "open", open_and_remove)
    assert hold(path) is None


def test_without_a_place_for_a_lock_the_number_is_0_and_one_warning_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, directory: Path
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(directory / "gone"))
    monkeypatch.setattr("tempfile.tempdir", str(directory / "gone, too"))
    workers = Workers()
    assert [workers.number("md"), workers.number("md")] == [_name(0)] * 2
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert f"no file can be locked in {directory}/gone or {directory}/gone, too, so this process is worker 0" in (
        record.getMessage()
    )


def test_the_directory_is_the_users_own_or_the_one_for_temporary_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """A path that is not absolute is ignored."""
    monkeypatch.setattr("tempfile.tempdir", "/temporary")
    assert places({"XDG_RUNTIME_DIR": "/run/user/1000"}) == ["/run/user/1000", "/temporary"]
    assert places({"XDG_RUNTIME_DIR": "run"}) == places({}) == ["/temporary"]


def test_a_forked_child_takes_its_own_number_and_holds_none_for_its_parent() -> None:
    """Once the parent has ended its number is free, although the child that was forked from it lives on."""
    script = """
import os, sys
from wsnova_statsd.reporters.worker import WORKERS, Workers
read, write = os.pipe()
parents = WORKERS.number("md")
if os.fork() == 0:
    os.close(write)
    own = WORKERS.number("md")
    os.read(read, 1)  # until the parent is gone
    print(parents, own, Workers().number("md"), flush=True)
"""
    assert run_script(script).split() == [_name(0), _name(1), _name(0)]


@pytest.mark.parametrize(
    ("variable", "value"),
    [("KUBERNETES_SERVICE_HOST", "10.0.0.1"), ("container", "podman"), ("ECS_CONTAINER_METADATA_URI", "http://x")],
)
def test_a_container_is_recognized_by_its_variables(tmp_path: Path, variable: str, value: str) -> None:
    assert in_container({variable: value}, str(tmp_path))
    assert not in_container({variable: ""}, str(tmp_path))


@pytest.mark.parametrize(
    ("name", "text", "is_one"),
    [
        (".dockerenv", "", True),
        ("run/.containerenv", "", True),
        ("proc/1/cgroup", "12:cpu:/kubepods/besteffort/pod1", True),
        ("proc/1/cgroup", "0::/system.slice/docker-1.scope", True),
        ("proc/1/cgroup", "0::/init.scope", False),
    ],
)
def test_a_container_is_recognized_by_its_files(tmp_path: Path, name: str, text: str, is_one: bool) -> None:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    assert in_container({}, str(tmp_path)) is is_one


def test_in_a_container_the_number_follows_the_hosts_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every pod has its own 0."""
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setattr(socket, "gethostname", lambda: "Feed.7f9c-x2k")
    assert Workers().number("md") == "feed-7f9c-x2k-0"


def test_a_name_that_is_passed_needs_no_lock(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The argument wins over the variable, and a constant tag over both."""
    assert given_name("web_1-a") == "web_1-a"
    monkeypatch.setenv(VARIABLE, "from-variable")
    assert (given_name(None), given_name("mine")) == ("from-variable", "mine")
    assert Worker.of(given_name(None), ["team:md", "service:s"]) == Worker("s", "from-variable")
    assert Worker.of("mine", ["worker:Web 7"]).name == "Web 7"
    assert list(directory.iterdir()) == []


@pytest.mark.parametrize("given", ["", "Web", "a b", "a.b", "x" * 33, "a\n", 3])
def test_another_name_is_refused_with_what_is_allowed(given: object) -> None:
    with pytest.raises(
        ws.errors.ConfigurationError, match=r"^worker must be 1 to 32 of the characters a-z, 0-9, _ and -"
    ):
        ws.StatsdReporter(worker=given)  # type: ignore[arg-type]


def test_a_bad_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "Web 1")
    with pytest.raises(ws.errors.ConfigurationError, match=r"^WSNOVA_STATSD_WORKER must be .*got 'Web 1'"):
        ws.StatsdReporter()


def test_a_state_has_one_worker_tag() -> None:
    """Its own, the process's, or the constant one, which comes with every line."""
    assert tagged(("client:a",), "0", ()) == ("client:a", "worker:0")
    assert tagged(("client:a", "worker:w"), "0", ("team:md",)) == ("client:a", "worker:w")
    assert tagged(("client:a", "worker:w"), "0", ("worker:7",)) == ("client:a",)


def test_states_and_checks_carry_the_worker_and_what_adds_up_does_not(bus: ws.Bus) -> None:
    """`up`, what waits and checks; neither counts nor distributions, nor the gauge of a sample."""
    who = {"client_id": "a", "type": "trade", "direction": "received"}
    with capture_metrics(bus=bus) as metrics:
        bus.execute(ws.events.CONNECTION_COMPLETED, {"duration": 2_000_000}, who)
        bus.execute(ws.events.MESSAGE_PROCESS_COMPLETED, {"duration": 1_500_000}, who)
        bus.execute(ws.events.MESSAGE_BATCH_PROCESSED, {"count": 1, "waiting": 3}, who)
        metrics.reporter.service_check("app.db", 0)
        metrics.flush()
        states = {one.name for one in metrics.metrics() if "worker:0" in one.tags}
        assert states == {"websocket.connection.up", "websocket.message.waiting"}
        assert [one.tags for one in metrics.checks] == [("worker:0",)]
        assert b"websocket.message.process.duration:1.5|g|#client:a,type:trade\n" in b"".join(metrics.datagrams)


def test_a_constant_worker_tag_takes_its_place_everywhere(bus: ws.Bus) -> None:
    """Once on each line, also on the figures of the system."""
    with capture_metrics(bus=bus, tags=["worker:7"]) as metrics:
        bus.execute(ws.events.CONNECTION_COMPLETED, {}, {"client_id": "a"})
        bus.execute(ws.events.SYSTEM_SAMPLED, {"threads": 3}, {"client_id": None, "worker": "named"})
        metrics.reporter.service_check("app.db", 0)
        metrics.flush()
        reported = [[tag for tag in one.tags if tag.startswith("worker:")] for one in metrics.messages]
        assert reported == [["worker:7"]] * len(metrics.messages)
