"""The table of a console: which rows it has, what distinguishes them, what it says of the Agent."""

from dataclasses import replace
from typing import Any

import pytest

from wsnova_statsd.insight.console_table import Moment, table
from wsnova_statsd.insight.kpi_report import Kpi, KpiReport
from wsnova_statsd.insight.readings import Reading
from wsnova_statsd.insight.spread import Figures
from wsnova_statsd.reporters.figures import Stats

STATS = Stats(series=0, pending=0, delivered=0, packets=0, bytes=0)


def _count(name: str, gained: float = 1, *tags: str) -> Reading:
    return Reading(name, "counter", tags, gained, None, None, "")


def _lines(*readings: Reading, stats: Stats = STATS, **more: Any) -> list[str]:
    given: dict[str, Any] = {"seconds": 10.0, "sent": 3, "kpis": None, **more}
    moment = Moment("wsnova_statsd standard", agent="Agent at localhost:8125", stats=stats, readings=readings, **given)
    return [text for text, _ in table(moment, 0)]


def test_the_heading_names_the_time_and_whether_the_agent_accepts_metrics() -> None:
    """What was lost is there too."""
    first, second, third = _lines()
    assert first.endswith(" wsnova_statsd standard: the last 10 s")
    assert (second, third) == ("  Agent at localhost:8125: 3 datagrams sent", "  nothing was counted")
    assert _lines(end=True)[0].endswith(": in all, 10 s")
    lost = replace(STATS, lost={"queue": 2})
    assert _lines(stats=lost)[1] == "  Agent at localhost:8125: 3 datagrams sent, 2 lost (queue)"


def test_an_agent_that_accepts_nothing_is_named_with_its_fault() -> None:
    """Not an Agent that had a fault and accepts metrics again."""
    stats = replace(STATS, last_error="refused: Connection refused")
    assert "accepts nothing: refused: Connection refused" in _lines(stats=stats, sent=0)[1]
    assert "accepts nothing" not in _lines(stats=stats, sent=1)[1]


def test_a_count_has_a_rate_and_samples_have_figures() -> None:
    """In units that suit their size; a gauge's value is its last."""
    figures = Figures(20, 2.5, 2.0, 4.0, 8.0)
    rows = [
        _count("orders", 1200, "venue:a"),
        Reading("took", "timing", ("venue:a",), 20, None, figures, "millisecond"),
        Reading("depth", "gauge", ("venue:a",), 0, 7.0, None, ""),
    ]
    heading, *found = [line.split() for line in _lines(*rows)[2:]]
    assert " ".join(heading) == "METRIC VALUE PER S P50 P95 MAX TAGS (all: venue:a)"
    assert found == [
        ["depth", "7"],
        ["orders", "1,200", "120"],
        ["took", "2.50", "ms", "2", "2", "ms", "4", "ms", "8", "ms"],
    ]


def test_no_two_rows_look_alike_and_no_tag_is_cut() -> None:
    """What all have in common is in the heading; the application's own metrics come first."""
    long = "market:" + "x" * 150
    lines = _lines(
        _count("websocket.error.occurred", 1, "client:md-1", "type:decode"),
        _count("websocket.error.occurred", 1, "client:md-1", "type:timeout"),
        _count("orders", 1, "client:md-1", long),
    )[2:]
    assert lines[0].endswith("TAGS (all: client:md-1)")
    assert [line.split()[0] for line in lines[1:]] == ["orders", "websocket.error.occurred", "websocket.error.occurred"]
    assert lines[1].endswith(long)
    assert len(set(lines)) == 4


@pytest.mark.parametrize(
    ("name", "tags", "other"),
    [
        ("websocket.kpi.connection_time_ms", (), None),
        ("websocket.connection.started", (), None),
        ("websocket.message.received.bytes", (), None),
        ("websocket.message.decode.completed", ("result:ok",), None),
        ("websocket.message.batch.count", (), "websocket.message.received"),
    ],
)
def test_what_another_row_says_is_left_out_of_our_own(name: str, tags: tuple[str, ...], other: str | None) -> None:
    """Never of the application's."""
    given = [_count(name, 1, *tags), *([_count(other)] if other else [])]
    assert not any(name in line for line in _lines(*given))
    assert any("shop.started" in line for line in _lines(_count("shop.started")))


def test_sums_stand_for_messages_if_single_ones_are_not_counted() -> None:
    """And a message with a bad result always has its row."""
    assert any("websocket.message.batch.count" in line for line in _lines(_count("websocket.message.batch.count")))
    bad = _count("websocket.message.decode.completed", 1, "result:error")
    assert any("websocket.message.decode.completed" in line for line in _lines(bad))


def test_more_rows_than_a_screen_are_counted() -> None:
    """The last line says how many are left out."""
    lines = _lines(*(_count(f"metric.{number:03}") for number in range(100)))
    assert len(lines) == 2 + 1 + 40 + 1
    assert lines[-1] == "  ... and 60 more series"


def test_kpis_stand_against_their_targets() -> None:
    """A missed one is marked, one without a value left out."""
    report = KpiReport(
        [
            Kpi("connection_time_ms", 3.25, ("<", 500.0), True, 4),
            Kpi("connection_success_rate", 0.5, (">", 0.99), False, 4),
            Kpi("time_to_reconnect_s", 0.25, ("<", 2.0), True, 4),
            Kpi("throughput_per_s", 12.0, None, None, 4),
            Kpi("error_to_alert_s", None, ("<", 5.0), None, 0),
        ]
    )
    moment = Moment("t", 10.0, "Agent", STATS, 0, report, [])
    lines = table(moment, 0)[2:7]
    assert [text.split() for text, _ in lines] == [
        ["KPI", "VALUE", "TARGET"],
        ["connection_time_ms", "3.25", "ms", "<", "500"],
        ["connection_success_rate", "0.500", ">", "0.99"],
        ["time_to_reconnect_s", "250", "ms", "<", "2"],
        ["throughput_per_s", "12"],
    ]
    assert [style for _, style in lines] == ["dim", "", "bad", "", ""]
    silent = Moment("t", 10.0, "Agent", STATS, 0, KpiReport([Kpi("blind_s", None, None, None, 0)]), [])
    assert [text for text, _ in table(silent, 0)[2:]] == ["  nothing was counted"]
