"""LogReporter: the guide's three lines as records of standard logging, what their fields hold, and what they cost."""

import logging
import math
from collections.abc import Iterator
from typing import Any

import pytest

from wsnova_statsd import LogReporter, errors, events
from wsnova_statsd.reporters.log import LINES
from wsnova_statsd.telemetry import Bus

SECRET = "hunter2"
NAME = "wsnova_statsd.events"


class _Kept(logging.Handler):
    """Every record that came through."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    @property
    def lines(self) -> list[tuple[str, str]]:
        return [(one.levelname, one.getMessage()) for one in self.records]


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    made = logging.getLogger("test_log_reporter")
    made.setLevel(logging.DEBUG)
    made.propagate = False
    yield made
    made.handlers.clear()


@pytest.fixture
def kept(logger: logging.Logger) -> _Kept:
    made = _Kept()
    logger.addHandler(made)
    return made


def _completed(bus: Bus, **metadata: Any) -> None:
    bus.execute(events.CONNECTION_COMPLETED, {"duration": 12_345_678}, {"client_id": "md-1", **metadata})


# What is said


def test_the_guides_three_lines(bus: Bus, logger: logging.Logger, kept: _Kept) -> None:
    """Level and words are the guide's; durations are milliseconds, not rounded."""
    with LogReporter(logger, bus=bus):
        _completed(bus, uri="wss://feed.example/ws", reconnect=False)
        bus.execute(events.MESSAGE_RECEIVED, {"size": 330, "system_time": 1}, {"client_id": "md-1", "type": "trade"})
        bus.execute(events.ERROR_OCCURRED, {"system_time": 1}, {"client_id": "md-1", "error": "ValueError: no"})
    assert kept.lines == [
        ("INFO", "Connection established in 12.345678ms"),
        ("DEBUG", "Received trade message of size 330 bytes"),
        ("ERROR", "WebSocket error: ValueError: no"),
    ]


def test_what_no_error_reports_has_its_own_line(bus: Bus, logger: logging.Logger, kept: _Kept) -> None:
    """The alarm, once and not for every try; the return of the link; a handler that does not end."""
    failed: dict[str, Any] = {"client_id": "md-1", "reason": "timeout"}
    with LogReporter(logger, bus=bus):
        for attempt, final in ((9, False), (10, True)):
            measured = {"attempt": attempt, "duration": 30_000_000_000}
            bus.execute(events.CONNECTION_RECONNECT_FAILED, measured, {**failed, "final": final})
        bus.execute(events.CONNECTION_RECONNECT_SUCCESS, {"attempt": 11, "duration": 31_500_000_000}, {})
        bus.execute(events.MESSAGE_PROCESS_STUCK, {"duration": 10_000_000_000}, {"type": "book", "stack": ["a.py:1 f"]})
    assert kept.lines == [
        ("ERROR", "Connection is still not back, 30000.0ms after its loss, attempt 10: timeout"),
        ("INFO", "Connection is back, 31500.0ms after its loss, attempt 11"),
        ("ERROR", "Handler still runs after 10000.0ms with a book message"),
    ]
    assert vars(kept.records[-1])["stack"] == ["a.py:1 f"]


def test_a_record_has_the_event_and_its_fields(bus: Bus, logger: logging.Logger, kept: _Kept) -> None:
    """Measurements and metadata by their own names, in their own units; nothing at the key of structured texts."""
    with LogReporter(logger, bus=bus):
        _completed(bus, uri="wss://feed.example/ws", reconnect=False)
    fields = vars(kept.records[0])
    assert {key: fields[key] for key in ("event_name", "client_id", "uri", "reconnect", "duration")} == {
        "event_name": events.CONNECTION_COMPLETED,
        "client_id": "md-1",
        "uri": "wss://feed.example/ws",
        "reconnect": False,
        "duration": 12_345_678,
    }
    assert "event" not in fields


def test_a_field_that_every_record_has_gets_an_underscore(
    bus: Bus, logger: logging.Logger, kept: _Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one that the application's record factory sets; logging would raise for it."""
    usual = logging.getLogRecordFactory()

    def factory(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = usual(*args, **kwargs)
        record.client_id = "the application's"
        return record

    monkeypatch.setattr(logging, "_logRecordFactory", factory)
    with LogReporter(logger, bus=bus):
        _completed(bus, name="x", args="y", event="z", event_name="v", asctime="now")
    fields = vars(kept.records[0])
    assert [
        fields[key] for key in ("name_", "args_", "event_", "event_name_", "asctime_", "client_id_", "client_id")
    ] == ["x", "y", "z", "v", "now", "md-1", "the application's"]
    assert "event" not in fields
    assert fields["event_name"] == events.CONNECTION_COMPLETED
    assert kept.lines == [("INFO", "Connection established in 12.345678ms")]


ABSURD: list[Any] = [
    None,
    "soon",
    math.nan,
    math.inf,
    True,
    [],
    pytest.param(1 << 2000, id="huge"),
    pytest.param(object(), id="object"),
]


@pytest.mark.parametrize("absurd", ABSURD)
def test_a_measurement_that_is_missing_or_unusable_is_a_question_mark(
    bus: Bus, logger: logging.Logger, kept: _Kept, absurd: Any
) -> None:
    """The line is still logged, and nothing is raised."""
    with LogReporter(logger, bus=bus):
        for measurements in ({}, {"duration": absurd, "size": absurd}):
            bus.execute(events.CONNECTION_COMPLETED, measurements, {})
            bus.execute(events.MESSAGE_RECEIVED, measurements, {})
        bus.execute(events.ERROR_OCCURRED, {}, {})
    lines = ["Connection established in ?ms", "Received ? message of size ? bytes"]
    assert [line for _, line in kept.lines] == [*lines, *lines, "WebSocket error: ?"]
    assert bus.handler_errors == 0


# What is hostile, and what is secret


def test_nothing_forges_a_line(bus: Bus, logger: logging.Logger, kept: _Kept) -> None:
    """Every character that may end a line is gone from the text and from every field."""
    ends = "\r\n|\x0b|\x0c|\x1c|\x85|\u2028|\u2029|\x1b[2K"
    forged = f"a{ends}2031-01-01 CRITICAL forged"
    with LogReporter(logger, bus=bus):
        metadata = {"client_id": forged, "type": forged, "error": forged, "nested": {forged: [forged]}}
        bus.execute(events.MESSAGE_RECEIVED, {"size": 1}, metadata)
        bus.execute(events.ERROR_OCCURRED, {}, metadata)
        bus.execute(events.ERROR_OCCURRED, {}, {"error": ValueError(forged)})
    assert len(kept.records) == 3
    shown = [text for one in kept.records for text in (one.getMessage(), one.__dict__.get("client_id", ""))]
    shown += [str(vars(one)[key]) for one in kept.records[:2] for key in ("type", "error", "nested")]
    assert [text for text in shown if not text.isprintable()] == []


@pytest.mark.parametrize("name", ["md-1", "token:refresh", "session.started"])
def test_client_and_type_are_names_and_stay(bus: Bus, logger: logging.Logger, kept: _Kept, name: str) -> None:
    """They are logged as they are in the tags."""
    with LogReporter(logger, bus=bus):
        bus.execute(events.MESSAGE_RECEIVED, {"size": 1}, {"client_id": name, "type": name})
    assert kept.lines == [("DEBUG", f"Received {name} message of size 1 bytes")]
    assert (vars(kept.records[0])["client_id"], vars(kept.records[0])["type"]) == (name, name)


def test_a_record_holds_no_secret(bus: Bus, logger: logging.Logger, kept: _Kept) -> None:
    """The event was emitted unfiltered, as under the financial profile."""
    metadata: dict[str, Any] = {
        "error": f"ValueError: Bearer {SECRET} at wss://me:{SECRET}@feed.example/ws?token={SECRET}",
        "uri": f"wss://feed.example/ws?token={SECRET}",
        "access_token": SECRET,
        "nested": {"password": SECRET, "kept": 1},
        "headers": {"X": SECRET},
        "cause": ValueError(f"password={SECRET}"),
    }
    with LogReporter(logger, bus=bus):
        bus.execute(events.ERROR_OCCURRED, {"secret_size": SECRET}, metadata)
    (record,) = kept.records
    assert SECRET not in repr(vars(record)) + record.getMessage()
    assert vars(record)["nested"] == {"kept": 1}
    assert vars(record)["uri"] == "wss://feed.example/ws"


# Levels


@pytest.mark.parametrize(
    ("level", "reported"), [("debug", 6), (logging.INFO, 5), ("WARNING", 3), (35, 3), ("ERROR", 3), ("CRITICAL", 0)]
)
def test_events_below_the_level_get_no_handler(
    bus: Bus, logger: logging.Logger, kept: _Kept, level: Any, reported: int
) -> None:
    """A client whose message events have no handler builds nothing for them."""
    with LogReporter(logger, level, bus):
        assert len(bus.list_handlers()) == reported
        assert bool(bus.slot(events.MESSAGE_RECEIVED).handlers) is (reported == 6)
        _completed(bus)
    assert len(kept.records) == (reported > 3)


@pytest.mark.parametrize("level", [True, -1, 1.5, None, "LOUD", "", "10", []])
def test_a_wrong_level_is_refused_at_once(level: Any) -> None:
    """In one sentence that names it."""
    with pytest.raises(errors.ConfigurationError) as caught:
        LogReporter(level=level)
    assert str(caught.value) == f"level must be a level of logging, such as 'INFO' or logging.INFO, got {level!r}"


@pytest.mark.parametrize("logger", [True, 5, print, logging.NullHandler()], ids=repr)
def test_what_is_no_logger_is_refused_at_once(logger: Any) -> None:
    """In one sentence that names it."""
    with pytest.raises(errors.ConfigurationError, match=r"pass a logging\.Logger"):
        LogReporter(logger)


def test_a_logger_may_be_passed_by_name(bus: Bus, caplog: pytest.LogCaptureFixture) -> None:
    """Without one it is wsnova_statsd.events."""
    with caplog.at_level(logging.INFO), LogReporter(bus=bus), LogReporter("mine", bus=bus):
        _completed(bus)
    assert sorted(record.name for record in caplog.records) == ["mine", NAME]


class _Counting:
    """Metadata that counts how often it is looked at."""

    def __init__(self) -> None:
        self.looks = 0

    def keys(self) -> list[str]:
        self.looks += 1
        return []

    def __getitem__(self, key: str) -> Any:
        self.looks += 1
        raise KeyError(key)

    get = __getitem__


def test_a_level_that_is_off_in_the_logger_costs_one_check(bus: Bus, logger: logging.Logger, kept: _Kept) -> None:
    """Neither event nor mapping is looked at, by execute and by the recorder of a hot path; it may be on later."""
    metadata: Any = _Counting()
    logger.setLevel(logging.WARNING)
    with LogReporter(logger, bus=bus):
        record = bus.slot(events.MESSAGE_RECEIVED).recorder(("size",), metadata)
        assert record is not None
        record(5)
        bus.execute(events.MESSAGE_RECEIVED, metadata, metadata)
        assert (metadata.looks, kept.records, bus.handler_errors) == (0, [], 0)
        logger.setLevel(logging.DEBUG)
        bound = bus.slot(events.MESSAGE_RECEIVED).recorder(("size",), {"type": "trade"})
        assert bound is not None
        bound(5)
    assert kept.lines == [("DEBUG", "Received trade message of size 5 bytes")]


# Life


def test_starting_and_stopping_twice_is_harmless(bus: Bus, logger: logging.Logger, kept: _Kept) -> None:
    """One line per event; none before the start and after the stop; it may be started again."""
    reporter = LogReporter(logger, bus=bus)
    _completed(bus)
    assert reporter.start() is reporter.start()
    _completed(bus)
    assert len(kept.records) == 1
    reporter.stop()
    reporter.stop()
    _completed(bus)
    assert (len(kept.records), bus.list_handlers()) == (1, [])
    with reporter:
        _completed(bus)
    assert len(kept.records) == 2


def test_two_do_not_disturb_each_other(bus: Bus, logger: logging.Logger, kept: _Kept) -> None:
    """Each has its level; stopping one leaves the other."""
    loud, quiet = LogReporter(logger, bus=bus).start(), LogReporter(logger, "ERROR", bus).start()
    _completed(bus)
    assert len(kept.records) == 1
    loud.stop()
    _completed(bus)
    bus.execute(events.ERROR_OCCURRED, {}, {"error": "x"})
    quiet.stop()
    assert [level for level, _ in kept.lines] == ["INFO", "ERROR"]


class _Raising(logging.Handler):
    def handle(self, record: logging.LogRecord) -> bool:
        raise OSError("the disk is full")


def test_a_logging_handler_that_raises_breaks_nothing_else(bus: Bus, logger: logging.Logger) -> None:
    """Not the emitter, not the bus's own record of it, and not another handler of the event."""
    observed: list[str] = []
    logger.addHandler(_Raising())
    own = logging.getLogger("wsnova_statsd")
    own.addHandler(broken := _Raising())
    try:
        with LogReporter(logger, bus=bus):
            bus.attach("other", events.CONNECTION_COMPLETED, lambda event, *_: observed.append(event))
            _completed(bus)
            _completed(bus)
    finally:
        own.removeHandler(broken)
    assert observed == [events.CONNECTION_COMPLETED] * 2
    assert bus.handler_errors == 2


def test_every_line_is_of_the_catalogue() -> None:
    """Events and fields exist, each once."""
    assert len({line.event for line in LINES}) == len(LINES)
    for line in LINES:
        spec = events.CATALOGUE[line.event]
        assert {*line.fields, *(line.only or ())[:1]} <= {*spec.measurements, *spec.metadata}
