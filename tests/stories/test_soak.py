"""The soak, for some seconds: everything goes wrong at once, and the balance sheet adds up to zero."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks.agent import Audit
from tests.benchmarks.soak_sheet import Sheet
from tests.benchmarks.soak_worker import together
from tests.stories.test_examples import ROOT, environment


@pytest.mark.usefixtures("installed")
def test_the_balance_sheet_of_a_short_soak_adds_up(tmp_path: Path) -> None:
    """Agents and server killed, children forked, threads and clients by the dozen: every count is accounted for."""
    file = tmp_path / "sheet.json"
    command = [sys.executable, "-m", "tests.benchmarks.soak", "--minutes", "0.15", "--seed", "7", "--json", str(file)]
    kept = environment()
    kept["PYTHONPATH"] += os.pathsep + str(ROOT)  # for tests.benchmarks
    done = subprocess.run(command, cwd=tmp_path, env=kept, capture_output=True, text=True, timeout=55, check=False)
    print(done.stdout, done.stderr[-5000:])
    assert done.returncode == 0
    assert "It closes to zero." in done.stdout
    sheet = json.loads(file.read_text(encoding="utf-8"))
    assert (sheet["closes"], sheet["faults"]) == (True, [])
    for way in ("unix", "udp"):
        lines = [line for line in sheet["lines"] if line["way"] == way]
        assert {"w1", "w2", "w1.f0", "w2.f0"} <= {line["process"] for line in lines}
        assert all(line["emitted"] > 0 for line in lines)
        assert sum(line["received"] for line in lines) > 10_000
    assert sum(sheet["done"].values()) >= 5
    assert sum(agent["drained"] + agent["killed"] for agent in sheet["agents"].values()) > 2  # two are for the end
    assert sheet["messages"]["farewells"] > 0


TAGS = ("client:w1-e0",)


def _process(**changes: Any) -> dict[str, Any]:
    way = {"delivered": 8, "pending": 0, "lost": {}}
    links = {"to_hand": 3, "handed": 3}
    return {"process": "w1", "counts": {"soak.events": 8, **links}, "ways": {"unix": way}, "settled": True, **changes}


def _grown(threads: int) -> dict[str, Any]:
    size = {"rss": 0, "threads": 4, "fds": 9}
    return _process(start=size, end={**size, "threads": threads}, stuck=[])


def _sheet(process: dict[str, Any], read: int = 8, unread: int = 0, **seen: Any) -> Sheet:
    audit = Audit(**seen)
    audit.read["soak.events", TAGS] = read
    audit.unread["soak.events", TAGS] = unread
    return Sheet([process], {"unix": audit})


def test_a_sheet_adds_up_when_every_amount_is_accounted_for() -> None:
    """Read, or unread at a kill; pending, or lost with a cause."""
    assert _sheet(_process()).faults == []
    assert _sheet(_process(), read=5, unread=3).faults == []
    waiting = {"delivered": 5, "pending": 2, "lost": {"unsendable": 1}}
    assert _sheet(_process(ways={"unix": waiting}, settled=False), read=5).faults == []


@pytest.mark.parametrize(
    ("sheet", "fault"),
    [
        (_sheet(_process(), read=7), "1 delivered and missing"),
        (_sheet(_process(), read=9), "-1 delivered and missing"),
        (_sheet(_process(ways={"unix": {"delivered": 7, "pending": 0, "lost": {}}}), read=7), "1 emitted and untold"),
        (_sheet(_process(), malformed=["no value"]), "1 malformed datagrams, the first: no value"),
        (_sheet(_process(), left_by_drained=1), "Agents that drained left 1 datagrams"),
        (_sheet(_process(), dropped=1), "the kernel dropped 1 datagrams"),
        (_sheet({"process": "w1", "hung": True}), "w1 hung"),
        (_sheet({"process": "w1", "hung": True}), "counts of an unknown process, 'w1'"),
        (_sheet(_process(counts={"soak.events": 8, "to_hand": 3, "handed": 2})), "received, and handed on: 3 and 2"),
        (_sheet(_process(counts={"soak.events": 8, "gaps": 1})), "gaps in what a connection brought: 1 and 0"),
        (_sheet(_process(counts={"soak.own": 8})), "soak.own is off by 8"),
        (_sheet(_grown(7)), "w1: threads grew from 4 to 7"),
    ],
)
def test_a_sheet_that_lacks_anything_does_not_add_up(sheet: Sheet, fault: str) -> None:
    """And names what."""
    assert any(fault in one for one in sheet.faults), sheet.faults
    assert "It does not close:" in sheet.text()


def test_the_sheets_of_children_of_one_name_are_added_up() -> None:
    """A night has thousands of them: what is kept is bounded, and the sums still have to close."""
    lost = {"delivered": 5, "pending": 2, "lost": {"unsendable": 1}}
    one = together(_process(ways={"unix": lost}, settled=False), _process())
    assert one["ways"]["unix"] == {"delivered": 13, "pending": 2, "lost": {"unsendable": 1}}
    assert one["counts"] == {"soak.events": 16, "to_hand": 6, "handed": 6}
    assert (one["process"], one["settled"]) == ("w1", False)
    assert _sheet(one, read=13).faults == []
    assert _sheet(one, read=12).faults == ["w1 by unix: 1 delivered and missing"]
