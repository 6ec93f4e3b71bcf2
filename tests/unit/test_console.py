"""Console: what it prints of events and alerts, which events it handles, and that printing blocks no thread."""

import io
import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TextIO

import pytest

import wsnova_statsd as ws
from tests.support import until
from tests.unit.interrupting import at_every_line
from wsnova_statsd import events
from wsnova_statsd.errors import ConfigurationError
from wsnova_statsd.insight.console import LINES, Console
from wsnova_statsd.insight.sinks import Alert

WHO = {"client_id": "md-1"}
NEVER = 3600.0  # seconds between two tables: only the last one comes
LOST = {**WHO, "error_type": "connection", "severity": "error", "error": "the connection was lost"}


class _Bench:
    """A console on its own bus, whose reporter is never started, and what it printed."""

    def __init__(self, out: TextIO | None = None) -> None:
        self.bus = ws.Bus()
        self.reporter = ws.StatsdReporter([ws.counter("errors", events.ERROR_OCCURRED)], host="127.0.0.1", bus=self.bus)
        self.out = io.StringIO() if out is None else out
        self.console = Console(self.reporter, None, "wsnova_statsd test", NEVER, self.bus, lambda: self.out)

    def emit(self, event: str, measurements: Mapping[str, Any] | None = None, **metadata: Any) -> None:
        self.bus.execute(event, measurements or {}, {**WHO, **metadata})

    def ended(self) -> list[str]:
        """Every line once it is stopped, without the time."""
        self.console.stop(10.0)
        assert isinstance(self.out, io.StringIO)
        return [line.partition(" ")[2] if line[:1].isdigit() else line for line in self.out.getvalue().splitlines()]

    def reported(self) -> list[str]:
        """The lines above the table."""
        lines = self.ended()
        return lines[: next(at for at, line in enumerate(lines) if line.startswith("wsnova_statsd test"))]


@pytest.fixture
def bench() -> Iterator[_Bench]:
    made = _Bench()
    made.console.start()
    yield made
    made.console.stop()


MS = 1_000_000
TOLD: list[tuple[str, dict[str, Any], dict[str, Any], str | None]] = [
    (events.CONNECTION_STARTED, {}, {"uri": "ws://h/x", "reconnect": False}, "is connecting to ws://h/x"),
    (events.CONNECTION_STARTED, {}, {"uri": "ws://h/x", "reconnect": True}, None),
    (
        events.CONNECTION_COMPLETED,
        {"duration": 12 * MS},
        {"uri": "ws://h/x", "reconnect": False},
        "connected to ws://h/x after 12 ms",
    ),
    (events.CONNECTION_COMPLETED, {"duration": 12 * MS}, {"uri": "ws://h/x", "reconnect": True}, None),
    (
        events.CONNECTION_DISCONNECTED,
        {"duration": 90_000 * MS},
        {"reason": "local", "detail": ""},
        "closed the connection, which lasted 1.50 min",
    ),
    (
        events.CONNECTION_DISCONNECTED,
        {"duration": 1000 * MS},
        {"reason": "close_1006", "detail": "gone"},
        "lost the connection: close_1006 gone; it lasted 1 s",
    ),
    (
        events.CONNECTION_RECONNECT_SUCCESS,
        {"duration": 10 * MS, "attempt": 2},
        {},
        "reconnected 10 ms after the loss, attempt 2",
    ),
    (events.CONNECTION_RECONNECT_FAILED, {"duration": MS, "attempt": 1}, {"final": False, "reason": "refused"}, None),
    (
        events.CONNECTION_RECONNECT_FAILED,
        {"duration": 2000 * MS, "attempt": 9},
        {"final": True, "reason": "refused"},
        "has not reconnected 2 s after the loss, attempt 9: refused",
    ),
    (events.SUBSCRIPTION_SUBSCRIBE_COMPLETED, {}, {"channel": "btc", "result": "ok"}, "subscribed to btc"),
    (
        events.SUBSCRIPTION_SUBSCRIBE_COMPLETED,
        {},
        {"channel": "btc", "result": "rejected"},
        "is not subscribed to btc: rejected",
    ),
    (events.AUTH_COMPLETED, {"duration": 5 * MS}, {}, "is logged in after 5 ms"),
    (events.AUTH_FAILED, {}, {"reason": "rejected"}, "could not log in: rejected"),
    (events.ERROR_OCCURRED, {}, {"error_type": "connection", "severity": "error", "error": "lost"}, None),
    (
        events.ERROR_OCCURRED,
        {},
        {"error_type": "decode", "severity": "warning", "error": "DecodeError: no JSON"},
        "decode: DecodeError: no JSON",
    ),
    (events.AUTH_COMPLETED, {}, {}, "is logged in after ?"),
]


@pytest.mark.parametrize(("event", "measurements", "metadata", "line"), TOLD)
def test_an_event_is_a_line(
    bench: _Bench, event: str, measurements: dict[str, Any], metadata: dict[str, Any], line: str | None
) -> None:
    """With the client's name before it; what another event says as well is not printed twice."""
    bench.emit(event, measurements, **metadata)
    assert bench.reported() == ([] if line is None else [f"md-1 {line}"])


def test_every_handled_event_is_in_the_table_above() -> None:
    assert {event for event, *_ in TOLD} == set(LINES)


def test_no_handler_is_attached_to_messages(bench: _Bench) -> None:
    """So a busy feed is as fast as without."""
    for prefix in (f"{events.PREFIX}message", f"{events.PREFIX}heartbeat"):
        assert bench.bus.list_handlers(prefix) == []


def test_an_alert_is_a_line_even_if_it_comes_late(bench: _Bench) -> None:
    """An alert that was still on its way when the console was stopped."""
    alert = Alert(
        "slow", "md-1", "trade", "warning", "Slow message processing: 150ms for trade", "", 1, 150.0, None, "ms"
    )
    bench.console.alert(alert)
    assert bench.reported() == ["md-1 alert: Slow message processing: 150ms for trade"]
    bench.console.alert(Alert("slow", "md-2", "", "success", "Recovered", "", 1, None, None, ""))
    assert bench.ended()[-1] == "md-2 alert: Recovered"


def test_nothing_from_the_network_shows_a_secret_or_adds_a_line(bench: _Bench) -> None:
    """Or moves the cursor."""
    bench.emit(
        events.ERROR_OCCURRED,
        error_type="decode",
        severity="warning",
        error="bad\n12:00:00 md-9 connected\x1b[2J token=hunter2 wss://u:hunter2@h/x?key=hunter2",
    )
    (line,) = bench.reported()
    assert line.startswith("md-1 decode: bad 12:00:00 md-9 connected")
    assert "hunter2" not in line
    assert "\x1b" not in line


def test_what_repeats_is_printed_once_and_counted(bench: _Bench) -> None:
    """So a feed of garbage fills no screen, and every loss is counted."""
    for _ in range(500):
        bench.emit(events.ERROR_OCCURRED, error_type="decode", severity="warning", error="no JSON")
    bench.emit(events.AUTH_COMPLETED)
    *reported, rest = bench.reported()
    assert reported == ["md-1 decode: no JSON", "md-1 is logged in after ?"]
    assert rest == "... and 499 more events, like these or too many to print"


def test_too_many_different_lines_are_counted(bench: _Bench) -> None:
    for number in range(150):
        bench.emit(events.AUTH_FAILED, reason=f"no {number}")
    *reported, rest = bench.reported()
    assert reported == [f"md-1 could not log in: no {number}" for number in range(100)]
    assert rest == "... and 50 more events, like these or too many to print"


class _Stuck(io.StringIO):
    """A terminal that is not read until `free` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.free = threading.Event()
        self.reached = threading.Event()

    def write(self, text: str) -> int:
        self.reached.set()
        assert self.free.wait(30)
        return super().write(text)


def test_a_terminal_that_accepts_nothing_blocks_no_thread() -> None:
    """Neither the emitting nor the stopping thread; what finds no place is counted: each event is printed or
    counted."""
    stuck = _Stuck()
    bench = _Bench(stuck)
    bench.console.start()
    bench.emit(events.AUTH_FAILED, reason="first")
    assert stuck.reached.wait(10)
    for _ in range(1500):
        bench.emit(events.AUTH_FAILED, reason="again")
    bench.console.stop(0.0)
    stuck.free.set()
    thread = next(one for one in threading.enumerate() if one.name == "wsnova-console")
    thread.join(10)
    lines = stuck.getvalue().splitlines()
    assert [line.partition(" ")[2] for line in lines[:2]] == [
        f"md-1 could not log in: {why}" for why in ("first", "again")
    ]
    assert lines[2] == "... and 1499 more events, like these or too many to print"


def test_an_output_that_is_closed_or_not_there_ends_nothing() -> None:
    """The next line is still tried."""
    closed = io.StringIO()
    bench = _Bench(closed)
    bench.console.start()
    closed.close()
    bench.emit(events.AUTH_FAILED, reason="first")
    bench.console.stop()
    none = Console(bench.reporter, None, "t", NEVER, bench.bus, lambda: None).start()
    bench.emit(events.AUTH_FAILED, reason="first")
    none.stop()


def test_a_fault_of_the_output_is_logged_once_and_the_next_line_is_printed(caplog: pytest.LogCaptureFixture) -> None:
    """The thread survives any exception."""
    bench, faults = _Bench(), [SystemExit(), RuntimeError("odd")]

    def out() -> TextIO:
        if faults:
            raise faults.pop()
        return bench.out

    bench.console = Console(bench.reporter, None, "wsnova_statsd test", NEVER, bench.bus, out)
    bench.console.start()
    for reason in ("a", "b", "c"):
        bench.emit(events.AUTH_FAILED, reason=reason)
    with caplog.at_level(logging.ERROR):
        assert bench.reported() == ["md-1 could not log in: c"]
    assert any("the console cannot print" in one.getMessage() for one in caplog.records)


def test_the_last_table_says_what_was_counted_in_all(bench: _Bench) -> None:
    """The application's own metrics are in it, and the reporter need not run."""
    bench.reporter.increment("orders.placed", 3, ["venue:xetr"])
    lines = bench.ended()
    assert lines[0].startswith("wsnova_statsd test: in all")
    assert lines[-1].split()[:2] == ["orders.placed", "3"]


def test_it_starts_and_stops_once_and_begins_again(bench: _Bench) -> None:
    """A second start changes nothing, a second stop prints nothing."""
    bench.console.start()
    bench.emit(events.AUTH_FAILED, reason="a")
    first = bench.ended()
    assert bench.ended() == first
    bench.emit(events.AUTH_FAILED, reason="before the start")
    bench.console.start()
    bench.emit(events.AUTH_FAILED, reason="b")
    assert sum("could not log in" in line for line in bench.ended()) == 2


@pytest.mark.parametrize("every", [0, 0.5, "often", float("nan")])
def test_an_unusable_interval_is_refused(every: Any) -> None:
    """In a sentence that names the argument of a Monitor."""
    with pytest.raises(
        ConfigurationError, match=r"^console must be a number of seconds between two tables, at least 1"
    ):
        ws.Monitor(console=every, bus=ws.Bus())


Made = tuple[Callable[[], object], Callable[[], object]]


def test_a_signal_may_come_before_each_of_its_lines() -> None:
    """An event during an event or during the start, and a stop during either: each is printed once."""
    benches: list[_Bench] = []

    def emitting() -> Made:
        bench = _Bench()
        benches.append(bench)
        bench.console.start()
        emit: Callable[[str], object] = lambda reason: bench.emit(events.AUTH_FAILED, reason=reason)  # noqa: E731
        return lambda: emit("call"), lambda: emit("signal")

    def starting() -> Made:
        bench = _Bench()
        benches.append(bench)
        return bench.console.start, lambda: bench.emit(events.AUTH_FAILED, reason="signal")

    def stopping() -> Made:
        bench = _Bench()
        benches.append(bench)
        return bench.console.start, bench.console.stop

    def both_printed(line: int) -> None:
        assert sorted(benches[-1].reported()) == ["md-1 could not log in: call", "md-1 could not log in: signal"]

    def printed_if_attached(line: int) -> None:
        assert benches[-1].reported() in ([], ["md-1 could not log in: signal"])

    assert at_every_line("wsnova_statsd/insight/console.py", emitting, both_printed) > 5

    def has_no_handler(line: int) -> None:
        bench = benches[-1]
        bench.console.stop()  # if it came before the start had begun
        assert bench.bus.list_handlers(events.PREFIX) == []

    assert at_every_line("wsnova_statsd/insight/console.py", starting, printed_if_attached) > 5
    assert at_every_line("wsnova_statsd/insight/console.py", stopping, has_no_handler) > 5
    for bench in benches:
        bench.console.stop()  # the last ones were not interrupted
    assert until(lambda: not [one for one in threading.enumerate() if one.name == "wsnova-console"])
