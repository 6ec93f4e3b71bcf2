"""Outages of the Agent in few lines of the log, on a clock that stands still."""

import logging
from collections.abc import Callable

import pytest

from wsnova_statsd.reporters.outage import Outage
from wsnova_statsd.testing.clock import FakeClock

Said = Callable[[], list[str]]


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Said:
    """What was logged since the last call; all of it as warnings."""

    def new() -> list[str]:
        assert {record.levelno for record in caplog.records} <= {logging.WARNING}
        assert {record.name for record in caplog.records} <= {"wsnova_statsd.reporters.outage"}
        lines = [record.getMessage() for record in caplog.records]
        caplog.clear()
        return lines

    return new


def _outage() -> tuple[Outage, FakeClock]:
    clock = FakeClock()
    return Outage("agent:8125", clock), clock


def test_a_line_at_the_loss_one_a_minute_and_one_at_the_return(said: Said) -> None:
    """With the reason, what waits, and at the end what was kept and lost."""
    outage, clock = _outage()
    outage.clean(True, 100, 3)
    assert said() == []
    for second in range(150):
        outage.failed("refused: Connection refused", pending=second, lost=3 + second / 2)
        clock.advance(1)
    first, *minutes = said()
    assert first.startswith("cannot send metrics to the Datadog Agent at agent:8125: refused: Connection refused. ")
    assert minutes == [
        f"the Datadog Agent at agent:8125 has accepted no metrics for {age} s: refused: Connection refused; "
        f"{age} counts are pending, {age // 2} values are lost"
        for age in (60, 120)
    ]
    outage.clean(True, 260, 80)
    outage.clean(True, 270, 80)
    assert said() == [
        "the Datadog Agent at agent:8125 accepts metrics again after 150 s: 160 counts were kept and are delivered, "
        "77 values were lost"
    ]


def test_a_flush_that_had_nothing_to_send_proves_nothing(said: Said) -> None:
    """The Agent is back when it accepted a packet."""
    outage, _ = _outage()
    outage.failed("refused", 0, 0)
    said()
    outage.clean(False, 0, 0)
    assert said() == []
    outage.clean(True, 1, 0)
    assert [" accepts metrics again after 0 s: 1 counts" in line for line in said()] == [True]


def test_an_agent_that_comes_and_goes_is_logged_once_a_minute(said: Said) -> None:
    """Every other second: two lines a minute, not sixty."""
    outage, clock = _outage()
    for _ in range(60):
        outage.failed("refused", 1, 0)
        clock.advance(1)
        outage.clean(True, 1, 0)
        clock.advance(1)
    lines = said()
    assert len(lines) == 4
    assert ["cannot send metrics" in line for line in lines] == [True, False, True, False]


def test_an_outage_that_began_in_the_quiet_minute_is_logged_after_it(said: Said) -> None:
    """Its first line is late, and its last one still comes."""
    outage, clock = _outage()
    outage.failed("refused", 1, 0)
    outage.clean(True, 1, 0)
    said()
    clock.advance(10)
    outage.failed("gone", 1, 0)
    assert said() == []
    clock.advance(50)
    outage.failed("gone", 1, 0)
    clock.advance(5)
    outage.clean(True, 2, 0)
    went, back = said()
    assert "cannot send metrics" in went
    assert "accepts metrics again after 55 s" in back


def test_counts_are_late_by_the_oldest_that_may_be_among_them() -> None:
    """Since the last flush that left nothing pending, if that was regular; without counts nothing is late."""
    outage, clock = _outage()
    assert outage.clean(True, 5, 0) is None
    clock.advance(100)
    assert outage.clean(True, 9, 0) is None  # flushed by hand
    outage.begin()
    clock.advance(60)
    assert outage.clean(True, 10, 0) is None
    clock.advance(60.5)
    outage.begin()
    assert outage.clean(True, 17, 0) == (7, 60.5)
    clock.advance(100)
    assert outage.clean(True, 17, 0) is None
    outage.end()
    clock.advance(100)
    assert outage.clean(True, 18, 0) is None
