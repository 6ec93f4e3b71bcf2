"""Verdicts and targets: strict, with a tenth of the target's distance between a warning and worse."""

import pytest

import wsnova_statsd as ws
from tests.unit.kpis import Scene
from wsnova_statsd.insight.kpi_report import CRITICAL, OK, WARNING, Kpi, KpiReport


def _profile(**targets: object) -> ws.Profile:
    return ws.FINANCIAL.replace(kpi_targets={**ws.FINANCIAL.kpi_targets, **targets})


@pytest.mark.parametrize(
    ("key", "target", "value", "status"),
    [
        ("connection_time_ms", ("<", 500.0), 499.9, OK),
        ("connection_time_ms", ("<", 500.0), 500.0, WARNING),
        ("connection_time_ms", ("<", 500.0), 550.0, WARNING),
        ("connection_time_ms", ("<", 500.0), 550.1, CRITICAL),
        ("message_error_rate", ("<", 0.001), 0.0011, WARNING),
        ("message_error_rate", ("<", 0.001), 0.00111, CRITICAL),
        ("connection_success_rate", (">", 0.99), 0.9901, OK),
        ("connection_success_rate", (">", 0.99), 0.99, WARNING),
        ("connection_success_rate", (">", 0.99), 0.989, WARNING),
        ("connection_success_rate", (">", 0.99), 0.9889, CRITICAL),
        ("throughput_per_s", (">", 100.0), 101.0, OK),
        ("throughput_per_s", (">", 100.0), 90.0, WARNING),
        ("throughput_per_s", (">", 100.0), 89.0, CRITICAL),
        ("throughput_per_s", None, 89.0, None),
        ("connection_time_ms", ("<", 500.0), None, None),
    ],
)
def test_a_miss_is_a_warning_within_a_tenth_of_the_targets_distance(
    key: str, target: tuple[str, float] | None, value: float | None, status: int | None
) -> None:
    ok = None if status is None else status == OK
    assert Kpi(key, value, target, ok, 1).status == status


def test_the_verdict_of_a_report_is_the_worst_of_its_rows() -> None:
    rows = [
        Kpi("connection_time_ms", value, ("<", 500.0), None if value is None else value < 500, 1)
        for value in (400.0, None, 510.0, 900.0)
    ]
    assert [KpiReport(rows[:count]).status for count in range(5)] == [None, OK, OK, WARNING, CRITICAL]


@pytest.mark.parametrize(
    ("key", "target"),
    [
        ("connection_success_rate", ("<", 0.5)),
        ("connection_success_rate", (">", 1)),
        ("reconnection_success_rate", (">", 1.5)),
        ("error_recovery_rate", (">", -0.1)),
        ("connection_time_ms", (">", 500)),
        ("connection_time_ms", ("<", 0)),
        ("time_to_reconnect_s", ("<", -1)),
        ("processing_time_ms", ("<", float("nan"))),
        ("message_error_rate", ("<", 0.0)),
        ("error_to_alert_s", ("<", float("inf"))),
        ("throughput_per_s", ("<", 0)),
    ],
)
def test_targets_that_contradict_themselves_are_refused(key: str, target: tuple[str, float]) -> None:
    """Targets that no value can meet, or that call the worse values good: one sentence, at once."""
    with pytest.raises(ws.errors.ConfigurationError, match=rf"kpi_targets has \('.*\) for {key}, which contradicts"):
        ws.KpiTracker(_profile(**{key: target}), ws.Bus())


def test_your_own_targets_are_used() -> None:
    """A floor for the throughput, none for the connection time, and a profile that lists only some."""
    scene = Scene(_profile(throughput_per_s=(">", 5), connection_time_ms=None))
    scene.connected(ms=9_000)
    scene.batch(4)
    assert scene.row("throughput_per_s")[1:4] == (4.0, (">", 5), False)
    assert scene.row("connection_time_ms")[1:4] == (9_000.0, None, None)
    scene = Scene(ws.STANDARD.replace(kpi_targets={"throughput_per_s": ("<", 5)}))
    scene.batch(4)
    assert [row.key for row in scene.tracker.report() if row.target] == ["throughput_per_s"]
    assert scene.row("throughput_per_s").ok is True


_ROWS = KpiReport(
    [
        Kpi("connection_time_ms", 400.0, ("<", 500.0), True, 3),
        Kpi("message_error_rate", 0.5, ("<", 0.001), False, 10),
        Kpi("throughput_per_s", 7.0, None, None, 7),
        Kpi("time_to_reconnect_s", None, ("<", 2.0), None, 0),
    ]
)


def test_a_prompt_shows_how_many_targets_are_met_and_which_are_missed() -> None:
    """Nine named tuples on one line are unreadable."""
    assert repr(_ROWS) == (
        "<wsnova_statsd.KpiReport 1 of 2 targets met; missed: message_error_rate 0.5, target < 0.001>"
    )
    assert repr(KpiReport(_ROWS[:1])) == "<wsnova_statsd.KpiReport 1 of 1 targets met>"
    assert repr(KpiReport()) == "<wsnova_statsd.KpiReport 0 of 0 targets met>"


def test_a_notebook_shows_a_report_as_a_table() -> None:
    """One line for each row under a head; `<` of a target is escaped."""
    shown = _ROWS._repr_html_()
    assert shown.startswith("<table><thead><tr><th>KPI</th><th>value</th><th>target</th><th>ok</th><th>n</th></tr>")
    assert "<tr><td>connection_time_ms</td><td>400</td><td>&lt; 500</td><td>yes</td><td>3</td></tr>" in shown
    assert "<tr><td>time_to_reconnect_s</td><td>no data</td><td>&lt; 2</td><td></td><td>0</td></tr>" in shown
    assert shown.count("<tr>") == 5
