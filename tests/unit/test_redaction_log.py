"""What is logged of an error: where it came from, and none of its secrets."""

import logging
import traceback
from collections.abc import Callable

import pytest

from wsnova_statsd.redaction import log_fault

SECRET = "hunter2"
_log = logging.getLogger("test_redaction_log")


class _Odd(Exception):
    @property
    def __notes__(self) -> list[str]:  # type: ignore[override]
        raise RuntimeError("no notes")

    def __str__(self) -> str:
        raise RuntimeError("no text")


def _plain() -> None:
    raise ValueError(f"bad\ntoken={SECRET}")


def _noted() -> None:
    error = KeyError(f"password={SECRET}")
    error.add_note(f"while dialling wss://me:{SECRET}@feed.example/ws?key={SECRET}")
    raise error


def _caused() -> None:
    try:
        _plain()
    except ValueError as error:
        raise OSError(f"Bearer {SECRET}") from error


def _in_context() -> None:
    try:
        _plain()
    finally:
        _noted()


def _suppressed() -> None:
    try:
        _plain()
    except ValueError:
        raise OSError("plain") from None


def _endless() -> None:
    error = ValueError(f"secret={SECRET}")
    error.__cause__ = error
    raise error


def _odd() -> None:
    raise _Odd


def _group() -> None:
    raise ExceptionGroup(f"token={SECRET}", [ValueError(f"token={SECRET}")])


def _raised(function: Callable[[], None]) -> BaseException:
    try:
        function()
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


@pytest.mark.parametrize(
    "function",
    [_plain, _noted, _caused, _in_context, _suppressed, _endless, _odd, _group],
    ids=lambda one: one.__name__,
)
def test_a_fault_is_logged_with_its_traceback_and_without_secrets(
    function: Callable[[], None], caplog: pytest.LogCaptureFixture
) -> None:
    """Class, file and line are there; neither text, notes, causes nor the error that the record holds show a secret."""
    error = _raised(function)
    log_fault(_log, error, "%s failed", "it")
    (record,) = caplog.records
    assert (record.levelname, record.getMessage()) == ("ERROR", "it failed")
    assert SECRET not in caplog.text
    assert type(error).__qualname__ in caplog.text
    assert f"in {function.__name__}\n" in caplog.text
    assert record.exc_info is not None
    assert record.exc_info[2] is error.__traceback__
    assert SECRET not in repr(record.exc_info[1])


def test_causes_and_notes_are_logged_as_usual(caplog: pytest.LogCaptureFixture) -> None:
    """Except for the texts, the record is what Python prints."""
    for function in (_caused, _in_context, _suppressed):
        error = _raised(function)
        log_fault(_log, error, "failed")
        printed = "".join(traceback.format_exception(error)).strip()
        usual = printed.replace(f"bad\ntoken={SECRET}", "bad token=***").replace(f"password={SECRET}", "password=***")
        usual = usual.replace(f"Bearer {SECRET}", "Bearer ***").replace(f"me:{SECRET}@", "")
        usual = usual.replace(f"?key={SECRET}", "").replace("'password=***'", "'password=***")
        assert caplog.records[-1].exc_text == usual


def test_a_text_cannot_forge_a_line(caplog: pytest.LogCaptureFixture) -> None:
    """A line feed within an error's text is a space."""
    log_fault(_log, ValueError("x\n2031-01-01 CRITICAL forged"), "failed")
    assert caplog.records[0].exc_text == "ValueError: x 2031-01-01 CRITICAL forged"


class _Broken(logging.Handler):
    def handle(self, record: logging.LogRecord) -> bool:
        raise OSError("the disk is full")


def test_a_logging_handler_that_raises_does_not_reach_the_caller() -> None:
    """The caller that logs is doing something else."""
    handler = _Broken()
    _log.addHandler(handler)
    try:
        with pytest.raises(OSError, match="full"):
            _log.error("directly")
        log_fault(_log, ValueError("x"), "failed")
    finally:
        _log.removeHandler(handler)
