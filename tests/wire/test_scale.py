"""The command for scale: what it simulates agrees with real clients, and every count of many real ones arrives."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import wsnova_statsd as ws
from tests.benchmarks import scale_check, scale_clients
from tests.benchmarks.scale import main
from tests.benchmarks.scale_check import CUT, RESTART, Figures, Row


@pytest.mark.alone
def test_ten_real_clients_are_back_when_the_simulation_says() -> None:
    """Within 20 %: cut with a listener that takes few, so that dials time out in its queue; and over a restart."""
    pairs = [(CUT, ws.FINANCIAL), (CUT, ws.LIGHTWEIGHT), (RESTART, ws.FINANCIAL), (RESTART, ws.STANDARD)]
    rows = scale_check.check(pairs, groups=5)
    for row in rows:
        print(row.situation.name, row.profile.name, f"{row.off:+.1%}", row.simulated, row.measured)
    assert [(row.situation, row.profile) for row in rows] == pairs
    assert [row.off for row in rows if not row.ok] == []
    cut, _, restart, _ = (row.measured for row in rows)
    assert cut.timed_out > 0
    assert cut.attempts == scale_check.WORKERS + cut.timed_out + cut.refused
    assert restart.refused > scale_check.WORKERS


@pytest.mark.parametrize(("last", "ok"), [(2.0, True), (2.39, True), (2.41, False), (1.59, False)])
def test_the_simulation_agrees_within_a_fifth_of_what_was_measured(last: float, ok: bool) -> None:
    """Above and below."""
    row = Row(CUT, ws.STANDARD, Figures(last, 0, 0, 0), Figures(2.0, 0, 0, 0), groups=1)
    assert row.ok is ok


def test_every_count_of_real_clients_arrives(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A quick form: without messages, with one a second for each client, and that without a Monitor."""
    file = tmp_path / "clients.json"
    assert main(["clients", "--clients", "20", "--seconds", "1", "--json", str(file)]) == 0
    printed = capsys.readouterr().out
    assert "Every count arrived." in printed
    idle, loaded, bare = json.loads(file.read_text(encoding="utf-8"))
    for run in (idle, loaded, bare):
        assert run["connected"] == 20
        assert run["threads"]["wsnova-client"] == 20
        assert run["memory"] > 0
        assert run["cpu"] > 0
        assert (run["faults"], run["lost"], run["pending"]) == ([], {}, 0)
    assert (idle["handled"], idle["messages"]) == (0, 0)
    assert loaded["handled"] == loaded["sent"] >= 60
    assert loaded["messages"] > 0
    assert bare["handled"] == bare["sent"] == loaded["sent"]
    assert (bare["packets"], bare["series"]) == (0, 0)
    assert loaded["packets"] > 0


RUN = scale_clients.Measured(
    clients=2,
    rate=1,
    monitor=True,
    figures={"connected": 2, "handled": 6, "sent": 6, "packets": 9, "pending": 0, "lost": {}},
    datagrams=9,
    dropped=0,
    malformed=0,
    arrived={
        "websocket.message.batch.count": 6,
        "websocket.connection.completed": 2,
        "websocket.connection.disconnected": 2,
    },
)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"datagrams": 8}, "datagrams at the Agent, and sent: 8 and 9"),
        ({"dropped": 1}, "datagrams that the kernel dropped: 1 and 0"),
        ({"malformed": 1}, "malformed datagrams: 1 and 0"),
        ({"arrived": {**RUN.arrived, "websocket.message.batch.count": 5}}, "and handled: 5 and 6"),
        ({"arrived": {**RUN.arrived, "websocket.connection.completed": 1}}, "connections at the Agent, and clients: 1"),
        ({"figures": {**RUN.figures, "handled": 5}}, "messages handled, and sent by the server: 5 and 6"),
        ({"figures": {**RUN.figures, "connected": 1}}, "clients connected: 1 and 2"),
        ({"figures": {**RUN.figures, "lost": {"queue": 1}}}, "lost: 1 by queue"),
    ],
)
def test_a_count_that_did_not_arrive_is_a_fault(changes: dict[str, Any], fault: str) -> None:
    """And says which."""
    assert RUN.faults == []
    assert any(fault in one for one in replace(RUN, **changes).faults)


def test_the_storm_prints_a_line_for_each_way_and_time_away(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Three profiles, three fixed delays and websocket-client's; the figures in a file as well."""
    file = tmp_path / "storm.json"
    small = ["--workers", "200", "--accepts", "100", "--backlog", "20", "--away", "0", "2", "--json", str(file)]
    assert main(["storm", *small]) == 0
    printed = capsys.readouterr().out
    report = json.loads(file.read_text(encoding="utf-8"))
    assert len(report["storms"]) == 14
    for storm in report["storms"]:
        assert storm["accepted"] == 200
        assert storm["attempts"] == 200 + storm["refused"] + storm["timed_out"]
        assert printed.count(f"\n{storm['way']} ") == 2
        assert f"{storm['last']:.1f} s" in printed
    assert main(["storm", *small[:-1], str(tmp_path / "again.json")]) == 0  # the seed is the same
    assert json.loads((tmp_path / "again.json").read_text(encoding="utf-8")) == report


def test_a_storm_that_is_not_over_at_the_horizon_has_no_last_one(capsys: pytest.CaptureFixture[str]) -> None:
    """Where the queue takes longer than a dial may, it is served for those that have hung up."""
    slow = ["--workers", "300", "--accepts", "5", "--backlog", "200", "--away", "0", "--horizon", "100"]
    assert main(["storm", *slow]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("fixed 0 s"))
    assert " > 100 s " in line


@pytest.mark.parametrize(
    "wrong",
    [["storm", "--workers", "0"], ["storm", "--accepts", "x"], ["storm", "--away", "-1"], ["check", "--groups", "-1"]],
)
def test_a_number_that_makes_no_sense_is_refused(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Before anything runs."""
    with pytest.raises(SystemExit) as ended:
        main(wrong)
    assert ended.value.code == 2
    assert "invalid number " in capsys.readouterr().err
