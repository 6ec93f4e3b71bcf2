"""Sinks: Datadog events, log records, functions; one that raises costs the others nothing."""

import logging
from typing import Any

import pytest

import wsnova_statsd as ws
from tests.unit.alerting import WHO, Agent, Bench
from wsnova_statsd.errors import ConfigurationError
from wsnova_statsd.insight.alerts import Alert, Alerts
from wsnova_statsd.testing.metrics import capture_metrics

alerts = ws.alerts
SLOW = ws.events.MESSAGE_PROCESS_SLOW


def _watching(reporter: Agent, *sinks: Any, datadog: bool = True) -> None:
    """One slow message, reported to these sinks."""
    bus = ws.Bus()
    watching = Alerts([alerts.SlowProcessing()], reporter, sinks, bus=bus, datadog=datadog).start()
    bus.execute(SLOW, {"duration": 150_000_000}, WHO)
    watching.stop(10)


def test_sinks_come_in_addition_to_datadogs_events() -> None:
    default, reported = Agent(), list[Alert]()
    _watching(default, reported.append)
    assert (len(default.events), len(reported)) == (1, 1)


def test_a_reporter_among_the_sinks_replaces_the_default() -> None:
    """The counter stays the default's."""
    default, other, third = Agent(), Agent(), Agent()
    _watching(default, other, third)
    assert [len(one.events) for one in (default, other, third)] == [0, 1, 1]
    assert [len(one.counts) for one in (default, other, third)] == [1, 0, 0]
    _watching(default, default)
    assert len(default.events) == 1


def test_the_default_may_be_left_out() -> None:
    default, reported = Agent(), list[Alert]()
    _watching(default, reported.append, datadog=False)
    _watching(default, datadog=False)
    assert (default.events, len(default.counts), len(reported)) == ([], 2, 1)
    with pytest.raises(ConfigurationError, match="datadog must be True or False, got 1"):
        _watching(default, datadog=1)  # type: ignore[arg-type]


def test_no_sink_is_used_twice(caplog: pytest.LogCaptureFixture) -> None:
    """A function, a reporter, a log: equal ones are used once."""
    default, reported = Agent(), list[Alert]()
    _watching(default, reported.append, default, alerts.ToLog(), reported.append, alerts.ToLog(), default)
    assert (len(default.events), len(reported)) == (1, 1)
    assert len([record for record in caplog.records if record.name == "wsnova_statsd.alerts"]) == 1


def test_an_alert_is_a_datadog_event() -> None:
    """Through the reporter, with the counter beside it; both read back by the strict parser."""
    bus = ws.Bus()
    with capture_metrics(bus=bus) as metrics:
        watching = Alerts([alerts.SlowProcessing()], metrics.reporter, bus=bus).start()
        bus.execute(SLOW, {"duration": 150_000_000}, WHO)
        metrics.flush()
        (event,) = metrics.events
        assert (event.title, event.alert_type) == ("Slow message processing: 150.0ms for trade", "warning")
        assert event.text == "client md-1, type trade: 150.0ms, over 100ms."
        assert set(event.tags) == {"client:md-1", "type:trade"}
        assert event.aggregation_key == "slow_processing:md-1:trade"
        metrics.assert_count("websocket.alert.fired", 1, tags={"rule": "slow_processing", "client": "md-1"})
        watching.stop()


def test_an_alert_is_a_log_record_of_its_severity(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(alerts.SlowProcessing(), alerts.AuthFailed(), sinks=[alerts.ToLog()])
    with caplog.at_level(logging.INFO, "wsnova_statsd.alerts"):
        bench.slow(150)
        bench.emit(ws.events.AUTH_FAILED, {"duration": 1}, reason="rejected", phase="initial")
        bench.advance(60)
    records = [record for record in caplog.records if record.name == "wsnova_statsd.alerts"]
    assert [(record.levelname, record.getMessage().split(":")[0]) for record in records] == [
        ("WARNING", "Slow message processing"),
        ("ERROR", "Login failed"),
        ("INFO", "Recovered"),
    ]
    assert {key: vars(records[0])[key] for key in ("rule", "client", "message_type", "count", "highest")} == {
        "rule": "slow_processing",
        "client": "md-1",
        "message_type": "trade",
        "count": 1,
        "highest": 150.0,
    }


def test_a_type_with_line_feeds_forges_no_log_record(caplog: pytest.LogCaptureFixture) -> None:
    """An alert and its recovery, each in one line without control characters."""
    bench = Bench(alerts.SlowProcessing(), sinks=[alerts.ToLog()])
    with caplog.at_level(logging.INFO, "wsnova_statsd.alerts"):
        bench.slow(150, type="a\nERROR forged\x1b[2J")
        bench.advance(60)
    records = [record.getMessage() for record in caplog.records if record.name == "wsnova_statsd.alerts"]
    assert len(records) == 2
    assert all(record.isprintable() and "a\\nERROR forged\\x1b[2J" in record for record in records)


def test_a_logger_of_your_own_gets_the_records(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(alerts.SlowProcessing(), sinks=[alerts.ToLog(logging.getLogger("desk"))])
    bench.slow(150)
    assert [record.name for record in caplog.records] == ["desk"]


def test_a_sink_that_raises_is_counted_and_logged_once_a_minute_and_the_others_are_called(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Broken(Agent):
        def event(self, *arguments: Any, **more: Any) -> None:
            raise OSError("no way out")

    def fails(alert: Alert) -> None:
        raise ValueError("not this one")

    good = Agent()
    bench = Bench(alerts.SlowProcessing(), sinks=[Broken(), fails, good])
    for number in range(5):
        bench.slow(150, type=str(number))
        bench.advance(1)
    assert (len(bench.reported), len(good.events)) == (5, 5)
    assert bench.alerts.figures.sink_failures == 10
    logged = [record for record in caplog.records if record.name == "wsnova_statsd.insight.delivery"]
    assert {str(record.exc_info and record.exc_info[1]) for record in logged} == {"no way out", "not this one"}
    bench.advance(60)
    assert len([record for record in caplog.records if record.name == "wsnova_statsd.insight.delivery"]) == 4
    assert bench.bus.handler_errors == 0


def test_a_second_different_fault_of_a_sink_is_logged_too(caplog: pytest.LogCaptureFixture) -> None:
    def fails(alert: Alert) -> None:
        raise ValueError("no number") if alert.type in "02" else KeyError("no such key")

    bench = Bench(alerts.SlowProcessing(), sinks=[fails])
    for number in range(4):
        bench.slow(150, type=str(number))
    logged = [record.exc_info[0].__name__ for record in caplog.records if record.exc_info and record.exc_info[0]]
    assert logged == ["ValueError", "KeyError"]
    assert bench.alerts.figures.sink_failures == 4


def test_a_sink_whose_event_fires_again_neither_deadlocks_nor_changes_the_order() -> None:
    class Echo(Agent):
        def event(self, title: str, *arguments: Any, **more: Any) -> None:
            super().event(title, *arguments, **more)
            if len(self.events) < 3:
                bench.bus.execute(SLOW, {"duration": 200_000_000}, {"client_id": f"md-{len(self.events)}"})

    echo = Echo()
    bench = Bench(alerts.SlowProcessing(), sinks=[echo])
    bench.slow(150)
    assert [event[3].get("client") for event in echo.events] == ["md-1", "md-1", "md-2"]
    assert len(bench.reported) == 3
