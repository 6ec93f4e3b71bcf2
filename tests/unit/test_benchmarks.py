"""The benchmarks run on demand and tell their figures; the figures themselves are never tested."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks.__main__ import MODULES
from tests.benchmarks.harness import BENCHMARKS, Costs, Row, times_cost, times_faster

ROOT = Path(__file__).resolve().parents[2]


def test_a_quick_run_of_one_benchmark_tells_its_ratio_as_json(tmp_path: Path) -> None:
    """`--quick --only execute` prints a table, and writes ratio, spread and figure to reach."""
    file = tmp_path / "rows.json"
    command = [sys.executable, "-m", "tests.benchmarks", "--quick", "--only", "execute", "--json", str(file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stderr
    assert "datadogpy buffered" in done.stdout
    report = json.loads(file.read_text(encoding="utf-8"))
    assert report["quick"] is True
    row = report["benchmarks"]["execute"][0]
    assert row["rounds"] >= 5
    assert 0 < row["lowest"] <= row["ratio"] <= row["highest"]
    assert row["at_least"] == 8
    assert isinstance(row["ok"], bool)


def test_a_ratio_is_the_median_of_the_rounds() -> None:
    """Each round is judged by itself: a slow minute slows both sides of one ratio."""
    row = times_faster("x", Costs([1.0, 2.0, 100.0], [1.0]), Costs([10.0, 10.0, 900.0], [4.0]), at_least=9)
    assert (row.ratios, row.ratio, row.ok) == ((10.0, 5.0, 9.0), 9.0, True)
    assert row.cpu_ratios == (4.0,)
    assert times_cost("x", Costs([3.0]), Costs([2.0]), at_most=1.4).ok is False


@pytest.mark.parametrize(("ours", "ok"), [(19.0, True), (21.0, False)])
def test_a_row_without_a_peer_is_judged_by_its_own_figure(ours: float, ok: bool) -> None:
    """A limit is a limit; a row without any figure to reach only informs."""
    assert Row("x", "MiB", ours, at_most=20).ok is ok
    assert Row("x", "MiB", ours).ok is None


def test_every_benchmark_is_registered() -> None:
    """Each module of the run registers one benchmark, and none is collected by pytest as a test."""
    assert len(BENCHMARKS) == len(MODULES)
    assert not list((ROOT / "tests" / "benchmarks").glob("test_*"))
