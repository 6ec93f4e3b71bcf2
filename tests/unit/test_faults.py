"""Faults of one client in the log: each kind once a minute, links that are lost and back without any LogReporter."""

import logging
from collections.abc import Iterator

import pytest

from wsnova_statsd.client.emitter import Emitter
from wsnova_statsd.client.faults import Faults
from wsnova_statsd.errors import ConnectionFailed
from wsnova_statsd.profiles import STANDARD
from wsnova_statsd.telemetry import Bus


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.INFO, "wsnova_statsd.client.faults"):
        yield caplog


@pytest.fixture
def faults() -> Faults:
    return Faults(Emitter(Bus(), STANDARD, "md-1"), "md-1", True, None)


def _raised(kind: type[Exception], text: str) -> Exception:
    try:
        raise kind(text)
    except Exception as error:
        return error


def _down(faults: Faults, cause: str, text: str = "the link is gone") -> None:
    error = ConnectionFailed(text, cause=cause)
    faults.outage(faults.occurred(error, "connection", "error"), error)


def _lines(log: pytest.LogCaptureFixture) -> list[str]:
    """Level and text, without the seconds of the outage."""
    return [f"{one.levelname} {one.getMessage().partition(', 0')[0].partition(', 1')[0]}" for one in log.records]


def test_a_second_different_exception_is_logged_too(faults: Faults, log: pytest.LogCaptureFixture) -> None:
    """By its class or its line; a text that differs makes no other kind."""
    for _ in range(3):
        for error in (_raised(ValueError, "bad price"), _raised(ValueError, "worse"), _raised(KeyError, "quantity")):
            faults.log("on_message raised", error)
    try:
        raise ValueError("on another line")
    except ValueError as error:
        faults.log("on_message raised", error)
    kinds = [one.exc_info[0].__name__ for one in log.records if one.exc_info and one.exc_info[0]]
    assert kinds == ["ValueError", "KeyError", "ValueError"]
    assert log.records[0].getMessage() == (
        "client md-1: on_message raised; further ones like it are not logged for 60 s"
    )


def test_a_first_link_that_cannot_be_made_is_a_warning_and_the_link_an_info(
    faults: Faults, log: pytest.LogCaptureFixture
) -> None:
    for _ in range(5):
        _down(faults, "refused", "nobody listens at wss://feed.example/?token=hunter2")
    faults.restored()
    assert _lines(log) == [
        "WARNING client md-1: not connected yet, retrying: ConnectionFailed: nobody listens at wss://feed.example/",
        "INFO client md-1: connected",
    ]
    assert "hunter2" not in log.text


def test_a_link_that_is_lost_and_back_is_logged_once_a_minute(faults: Faults, log: pytest.LogCaptureFixture) -> None:
    """The loss and the first failed try as warnings, the return as info; forty more of them are not logged."""
    faults.restored()
    assert log.records == []
    for _ in range(40):
        _down(faults, "close_1006", "the connection was lost: close_1006")
        _down(faults, "refused")
        _down(faults, "refused")
        faults.restored()
    assert _lines(log) == [
        "WARNING client md-1: no connection: ConnectionFailed: the connection was lost: close_1006",
        "WARNING client md-1: no connection: ConnectionFailed: the link is gone",
        "INFO client md-1: connected again",
    ]


def test_a_logged_loss_is_followed_by_a_logged_return(faults: Faults, log: pytest.LogCaptureFixture) -> None:
    """Also if the loss itself was not logged, since there was one shortly before: the log's last record is true."""
    faults.restored()
    for cause in ("close_1006", "close_1006", "ping_timeout"):
        _down(faults, cause)
        faults.restored()
    assert [line.split()[0] for line in _lines(log)] == ["WARNING", "INFO", "WARNING", "INFO"]
    _down(faults, "close_1006")
    _down(faults, "timeout")
    faults.restored()
    assert [line.split()[0] for line in _lines(log)[4:]] == ["WARNING", "INFO"]


def test_what_its_caller_asks_not_to_log_is_not_logged(faults: Faults, log: pytest.LogCaptureFixture) -> None:
    """A failure that is raised to the user, or a polite end: handled with the outage, and no record."""
    faults.outage(faults.occurred(ValueError("x"), "connection", "critical"))
    faults.restored()
    assert log.records == []


def test_a_client_id_forges_no_record(log: pytest.LogCaptureFixture) -> None:
    """A user of the application may have chosen the id: its line feeds and terminal codes are escaped."""
    faults = Faults(Emitter(Bus(), STANDARD, "md-1"), "md\nERROR:root:paid\x1b[2J\u2028é", True, None)
    faults.log("on_message raised", _raised(ValueError, "bad price"))
    _down(faults, "refused")
    shown = r"client md\nERROR:root:paid\x1b[2J\u2028é: "
    assert [one.getMessage()[: len(shown)] for one in log.records] == [shown, shown]


def test_the_alarm_is_an_error_within_the_minute_too(faults: Faults, log: pytest.LogCaptureFixture) -> None:
    """The failures before it were warned of once; one that `start` raises is not logged."""
    error = ConnectionFailed("no process listens there", cause="refused")
    faults.failed(error, final=True, raised=True, logs=False)
    faults.failed(error, final=False)
    faults.failed(error, final=False)
    faults.failed(error, final=True)
    said = [f"{one.levelname} {one.getMessage()}" for one in log.records]
    assert said[0].startswith("WARNING client md-1: not connected yet, retrying: ")
    assert said[1].startswith("ERROR client md-1: the alarm is raised: no connection for ")
    assert said[1].endswith(" s: ConnectionFailed: no process listens there")
    assert len(said) == 2
