"""The loop of a worker, without a network: what it touches and prints, and how it ends; with a fake clock."""

import logging
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

import wsnova_statsd as ws
from tests.support import until
from wsnova_statsd.contrib import worker
from wsnova_statsd.errors import ConfigurationError, WsnovaError
from wsnova_statsd.testing.clock import FakeClock


class _Waits:
    """The waiting of a worker: the clock goes on, and `when` sets what happens at a second."""

    def __init__(self, clock: FakeClock, until: float, number: int, when: Callable[[float], object]) -> None:
        self._clock, self._until, self._number, self._when = clock, until, number, when
        self._began = clock()

    def __call__(self, seconds: float) -> int | None:
        self._clock.advance(seconds)
        self._when(self._clock() - self._began)
        return self._number if self._clock() - self._began >= self._until else None


def _run(
    client: ws.Client,
    health_file: Path | None = None,
    seconds: float = 30.0,
    number: int = signal.SIGTERM,
    when: Callable[[float], object] = lambda seconds: None,
) -> int:
    clock = FakeClock()
    made = worker.Worker([client], health_file, clock)
    return made.run(_Waits(clock, seconds, number, when))


def _client(**options: object) -> ws.Client:
    """A client without a server, which tries for ever."""
    made: ws.Client = ws.Client("ws://127.0.0.1:1", client_id="a", on_message=print, bus=ws.Bus(), **options)  # type: ignore[arg-type]
    return made.start(wait=False)


def test_a_status_line_is_written_each_minute(caplog: pytest.LogCaptureFixture) -> None:
    """With the client's figures, and why it has no link."""
    caplog.set_level(logging.INFO)
    client = _client()
    assert until(lambda: client.health()["error"] is not None)
    assert _run(client, seconds=185) == 0
    lines = [one.getMessage() for one in caplog.records if " received (+" in one.getMessage()]
    assert len(lines) == 3
    assert lines[0].startswith("client a ")
    assert "0 received (+0), 0 sent, 0 waiting, 0.0 s behind, 0 reconnects; " in lines[0]
    assert "nothing listens" in lines[-1]


def test_the_health_file_is_touched_every_five_seconds_though_the_feed_is_down(tmp_path: Path) -> None:
    """From the first moment on."""
    path, touched = tmp_path / "alive", list[float]()

    def look(seconds: float) -> None:
        if path.exists():
            touched.append(seconds)
            path.unlink()

    assert _run(_client(), path, seconds=21, when=look) == 0
    assert touched == [0.5, 5.5, 10.5, 15.5, 20.5]


def test_a_client_whose_thread_is_gone_has_its_health_file_grow_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing else shows that it is lost."""
    path = tmp_path / "alive"
    monkeypatch.setattr("threading.enumerate", list)
    assert _run(_client(), path, seconds=21) == 0
    assert not path.exists()


def test_a_health_file_that_cannot_be_touched_is_reported_once_and_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Until its folder exists again."""
    path = tmp_path / "gone" / "alive"
    assert _run(_client(), path, seconds=21, when=lambda s: path.parent.mkdir(exist_ok=True) if s >= 14 else None) == 0
    assert path.exists()
    assert [one.levelno for one in caplog.records if "health file" in one.getMessage()] == [logging.ERROR]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_signal_closes_the_clients(number: int, status: int) -> None:
    """Status 0 for SIGTERM, 130 for Ctrl-C."""
    client = _client()
    assert _run(client, seconds=1, number=number) == status
    assert client.state is ws.State.CLOSED


def test_a_client_that_closes_itself_is_an_end_in_order() -> None:
    """Long before any signal."""
    client = _client()
    assert _run(client, seconds=1e6, when=lambda s: client.close() if s >= 3 else None) == 0


def test_a_client_that_ended_by_itself_is_an_error_with_its_reason() -> None:
    """The other clients are closed too."""
    client = ws.Client("ws://127.0.0.1:1", client_id="b", reconnect=False, on_message=print, bus=ws.Bus())
    other = _client()
    with pytest.raises(ws.errors.ConnectionFailed):
        client.start(timeout=10)
    with pytest.raises(WsnovaError, match=r"client b ended by itself: nothing listens"):
        _run(client)
    assert other.state is ws.State.CLOSED


def test_the_health_files_path_is_checked_before_the_start(tmp_path: Path) -> None:
    """The file must be writable if it exists; otherwise its folder must be."""
    (tmp_path / "there").touch()
    for name in ("there", "new"):
        assert worker.checked_path(str(tmp_path / name)) == tmp_path / name
    for given in ("", str(tmp_path), str(tmp_path / "no" / "file")):
        with pytest.raises(ConfigurationError, match="--health-file is "):
            worker.checked_path(given)
    if os.getuid():
        (tmp_path / "there").chmod(0o400)
        with pytest.raises(ConfigurationError):
            worker.checked_path(str(tmp_path / "there"))
