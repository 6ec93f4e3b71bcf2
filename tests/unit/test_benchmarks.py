"""The benchmarks run on demand and tell their figures; the figures themselves are never tested."""

import json
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import websocket

from tests.benchmarks import feed, picture, table
from tests.benchmarks.__main__ import MODULES, ORDER, main
from tests.benchmarks.harness import (
    BENCHMARKS,
    Costs,
    Row,
    Run,
    Spent,
    Stopwatch,
    cpu_cost,
    times_cost,
    times_faster,
)
from tests.benchmarks.receive import feed_url
from wsnova_statsd.testing.tcp import CLOSE, PONG, TcpServer

ROOT = Path(__file__).resolve().parents[2]


PAGE = (ROOT / "tests" / "benchmarks" / "README.md").read_text(encoding="utf-8")
_BENCHMARK_COMMANDS = re.findall(r"^\.venv/bin/python -m (tests\.benchmarks\S*) (.*)$", PAGE, re.MULTILINE)


def _rows(head: str) -> list[list[str]]:
    """The rows of the page's table with this head."""
    table = PAGE.split(f"\n{head}\n")[1].split("\n\n")[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[1:]]


def test_the_page_names_every_benchmark_in_the_order_in_which_they_run() -> None:
    assert [row[0].strip("`") for row in _rows("| name | measures |")] == ORDER


def test_the_commands_of_the_page_exist() -> None:
    """With the options that they are given; the picture is where one of them writes it."""
    options = {
        "tests.benchmarks": {"--only", "--json", "--svg", "--quick"},
        "tests.benchmarks.soak": {"--minutes", "--seed"},
    }
    assert {module for module, _ in _BENCHMARK_COMMANDS} == set(options)
    for module, arguments in _BENCHMARK_COMMANDS:
        assert find_spec(module) is not None
        assert {one for one in arguments.split() if one.startswith("--")} <= options[module]
        only = re.search(r"--only ((?:[a-z_]+ ?)+)", arguments)
        assert only is None or set(only[1].split()) <= set(ORDER)
    assert "--svg tests/benchmarks/figures.svg" in PAGE
    assert (ROOT / "tests/benchmarks/figures.svg").is_file()


def test_what_the_page_says_is_not_reached_is_in_bold_and_nothing_else() -> None:
    """In both tables of ratios; a figure for wss is judged where the page has a bound for wss."""
    judged = []
    for _, _, bound, plain, secure in _rows("| what | against | to reach | ws | wss |"):
        bounds = [float(one) for one in re.findall(r"[\d.]+", bound)]
        judged += [(cell, float(cell.strip("*")) <= most) for cell, most in zip((plain, secure), bounds, strict=False)]
    for _, _, bound, measured in _rows("| what | against | to reach | measured |"):
        figure, reach = float(measured.strip("*").replace(",", "")), float(bound.split()[0])
        judged.append((measured, figure <= reach if "cost" in bound else figure >= reach))
    assert len(judged) >= 20
    assert [cell for cell, reached in judged if cell.startswith("**") == reached] == []


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
    assert row["at_least"] == 9
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


def test_a_bound_may_be_on_our_figure_beside_a_peer() -> None:
    """The ratio to the peer is told, the limit judged by what we take ourselves."""
    row = Row("clients | peer", "KiB", 50.0, 40.0, (0.8,), at_most=60, absolute=True)
    assert (row.ok, row.ratio, row.as_json()["bound_on"]) == (True, 0.8, "ours")
    assert (row.subject, row.against) == ("clients", "peer")
    assert Row("clients | peer", "KiB", 61.0, 90.0, (1.5,), at_most=60, absolute=True).ok is False


def test_a_variant_may_have_its_own_number_of_items() -> None:
    """Every variant is warmed up with a tenth, then measured once per round."""
    seen: dict[str, list[int]] = {"short": [], "long": []}

    def variant(name: str, n: int) -> float:
        seen[name].append(n)
        return 1.0

    variants = {name: partial(variant, name) for name in seen}
    measured = Run(rounds=2).alternate(variants, {"short": 100, "long": 10})
    assert seen == {"short": [10, 100, 100], "long": [1, 10, 10]}
    assert measured["long"].wall == [1.0, 1.0]


def test_a_variant_may_measure_the_part_that_counts_itself() -> None:
    """What it spent on connecting is then in neither figure."""

    def variant(n: int) -> Spent:
        return Spent(wall=7.0 * n, cpu=3.0 * n)

    assert Run(rounds=2).alternate({"x": variant}, 10)["x"] == Costs([70.0, 70.0], [30.0, 30.0])


def test_a_row_about_processor_time_is_judged_by_it() -> None:
    """However long both took on the wall."""
    row = cpu_cost("x", Costs([9.0], [2.0]), Costs([1.0], [4.0]), at_most=0.9, note="n")
    assert (row.ours, row.peer, row.ratio, row.ok, row.unit, row.note) == (2.0, 4.0, 0.5, True, "ns of cpu", "n")
    assert cpu_cost("x", Costs([1.0], [4.0]), Costs([9.0], [4.0]), at_most=0.9).ok is False


def test_a_stopwatch_counts_processor_time_from_its_making() -> None:
    """Work done before is not in it; work done after is, shared by the items."""
    made_before = time.process_time_ns()
    while time.process_time_ns() < made_before + 2_000_000:
        pass
    watch = Stopwatch()
    began = time.process_time_ns()
    while time.process_time_ns() < began + 1_000_000:
        pass
    spent = watch.each(10)
    assert 100_000 <= spent.cpu < (time.process_time_ns() - made_before - 2_000_000) / 10
    assert spent.wall > 0


def test_every_benchmark_is_registered() -> None:
    """Each module of the run registers at least one benchmark, and none is collected by pytest as a test."""
    modules = dict.fromkeys(BENCHMARKS[name].__module__ for name in ORDER)
    assert list(modules) == [module.__name__ for module in MODULES]
    assert sorted(ORDER) == sorted(BENCHMARKS)
    assert not list((ROOT / "tests" / "benchmarks").glob("test_*"))


class Tiny(Run):
    """A run that only shows that everything works."""

    def choose(self, full: int, quick: int) -> int:
        return max(1, quick // 10)


# Every row of the design's table "Figures to reach", as (">=" or "<=", the figure)
FIGURES: dict[str, set[tuple[str, float | None]]] = {
    "paced": {("<=", 0.9), ("<=", 1.0), ("<=", 0.95)},
    "send": {("<=", 0.8)},
    "echo": {("<=", 0.9)},
    "request": {("<=", 1.2)},
    "receive": {(">=", 8), (">=", 2), ("<=", 2.6), ("<=", 1.1)},
    "receive_only": {(">=", 0.8)} if find_spec("picows") else set(),
    "execute": {(">=", 9)},
    "datagrams": {(">=", 50)},
    "memory": {("<=", 20)},
    "idle": {("<=", 60), ("<=", 1)},
    "quiet": {("<=", 80)},
    "reconnect": {("<=", 50)},
    "import": {("<=", 40)},
}


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_benchmark_measures_and_judges_what_the_design_asks_for(name: str) -> None:
    """A tiny run of each: figures above zero, one ratio per round, and the bounds of its rows in the design."""
    rows = list(BENCHMARKS[name](Tiny(quick=True, rounds=1)))
    assert rows
    for row in rows:
        assert row.ours > 0
        assert row.peer is None or row.peer > 0
        assert len(row.ratios) == (row.peer is not None)
    bounds = {(">=", row.at_least) for row in rows} | {("<=", row.at_most) for row in rows}
    assert bounds >= FIGURES.get(name, set())


ROWS = [
    Row("one event | datadogpy", "ns", 500.0, 5000.0, (9.0, 10.0, 11.0), at_least=8),
    Row("one event | statsd", "ns", 500.0, 7500.0, (15.0,)),
    Row("datagrams", "", 170.0, 200_000.0, (1176.4,)),
    Row("memory", "MiB", 25.0, at_most=20, note="in the morning"),
]


def test_the_table_tells_a_subject_once_and_what_was_missed() -> None:
    """One line for each row: figures, ratio with its spread, the figure to reach and whether it is reached."""
    lines = [line.split("  ") for line in table.comparisons({"some": ROWS[:3], "more": ROWS[3:]}).splitlines()]
    cells = [[cell.strip() for cell in line if cell] for line in lines]
    assert ["one event", "datadogpy", "500 ns", "5,000 ns", "10.00x (9.00..11.00)", "-", ">= 8x", "ok"] in cells
    assert ["statsd", "500 ns", "7,500 ns", "15.00x", "-", "-"] in cells
    assert ["memory", "-", "25 MiB", "-", "-", "-", "<= 20 MiB", "MISSED"] in cells
    assert cells[-2:] == [["memory: in the morning"], ["1 of 2 figures to reach are reached"]]


def test_growth_is_told_as_multiples_of_the_first_step() -> None:
    """One line for each step of a kind of work, which is told once."""
    rows = [times_cost(f"by size | {size}", Costs([took]), Costs([2.0])) for size, took in (("1 B", 2.0), ("9 B", 5.0))]
    lines = [line.split() for line in table.growth(rows).splitlines()]
    assert lines[2:] == [["by", "size", "1", "B", "2", "ns", "1.00x"], ["9", "B", "5", "ns", "2.50x"]]


def test_the_feed_waits_until_a_group_is_together_and_answers_pings() -> None:
    """What many clients receive can be measured from one moment on, and idle ones stay connected."""
    with TcpServer(feed.serve) as server:
        url = f"{feed_url(server.port, 2, 100)}&together=2"
        first = websocket.create_connection(url, timeout=10)
        assert first.sock is not None
        assert select.select([first.sock], [], [], 0.05)[0] == []
        second = websocket.create_connection(url, timeout=10)
        for connection in (first, second):
            texts = [connection.recv() for _ in range(2)]
            assert [len(text) for text in texts] == [100, 100]
            connection.ping(b"there?")
            assert connection.recv_data(control_frame=True) == (PONG, b"there?")
            connection.close()


def test_the_feed_keeps_to_the_rate_it_is_asked_for() -> None:
    """A message of a paced feed comes when it is due and not before, the first one as well."""
    with TcpServer(feed.serve) as server:
        began = time.monotonic()
        connection = websocket.create_connection(f"{feed_url(server.port, 10, 100)}&rate=200", timeout=10)
        for number in range(1, 11):
            assert connection.recv() == feed.trade(number - 1, 100).decode()
            assert time.monotonic() - began >= number / 200
        connection.close()


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536, 200_000])
def test_the_feed_echoes_texts_of_every_length(size: int) -> None:
    """The length of a frame is written in three ways; a large one comes in several reads."""
    text = ("abcdefg" * (size // 7 + 1))[:size]
    with TcpServer(feed.serve) as server:
        connection = websocket.create_connection(f"ws://127.0.0.1:{server.port}/?echo", timeout=10)
        for _ in range(2):
            connection.send(text)
            assert connection.recv() == text
        connection.close()


def test_the_feed_replies_to_the_id_of_a_request() -> None:
    """What it answers matches the request, and its result has the size that was asked for."""
    with TcpServer(feed.serve) as server:
        connection = websocket.create_connection(f"ws://127.0.0.1:{server.port}/?reply=330", timeout=10)
        connection.send(json.dumps({"jsonrpc": "2.0", "method": "m", "id": 7}))
        reply = json.loads(connection.recv())
        assert (reply["jsonrpc"], reply["id"]) == ("2.0", 7)
        assert reply["result"] == json.loads(feed.trade(0, 330))
        connection.close()


def test_the_feed_takes_what_comes_and_answers_only_control_frames() -> None:
    """Texts get no answer; behind them a ping has its pong, and a close frame its like."""
    with TcpServer(feed.serve) as server:
        connection: Any = websocket.create_connection(f"ws://127.0.0.1:{server.port}/?take", timeout=10)
        for _ in range(500):
            connection.send("x" * 330)
        connection.ping(b"there?")
        assert connection.recv_data(control_frame=True) == (PONG, b"there?")
        connection.send_close(1000, b"bye")
        assert connection.recv_data(control_frame=True) == (CLOSE, b"\x03\xe8bye")
        connection.shutdown()


def _texts(picture_text: str) -> list[str]:
    svg = "{http://www.w3.org/2000/svg}"
    root = ElementTree.fromstring(picture_text)
    assert root.tag == f"{svg}svg"
    assert {one.tag.removeprefix(svg) for one in root.iter()} == {"svg", "title", "desc", "style", "rect", "text"}
    return ["".join(one.itertext()) for one in root.iter() if one.tag in (f"{svg}text", f"{svg}desc")]


def test_the_picture_holds_every_row_that_has_a_ratio() -> None:
    """Well-formed XML of nothing but shapes and texts: subject once, each peer with its ratio, all in words as well."""
    texts = _texts(picture.svg(ROWS, "Python 3.11"))
    for text in ("datadogpy", "10.00x", "5,000 ns", "statsd", "15.00x", "datagrams", "1,176x", "Python 3.11"):
        assert text in texts
    assert texts.count("one event") == texts.count("500 ns") == 1
    assert "memory" not in texts
    assert "one event, against statsd: 15.00x." in texts[0]


def test_the_picture_draws_bars_as_long_as_their_figures() -> None:
    """The longest bar of a subject sets the scale for the others; one of nearly nothing still shows."""
    root = ElementTree.fromstring(picture.svg(ROWS, ""))
    widths = [float(one.get("width", "")) for one in root.iter() if one.get("class") in ("ours", "peer")]
    assert [width / max(widths) for width in widths] == pytest.approx([1 / 15, 2 / 3, 1, 1 / 330, 1])


def test_the_picture_escapes_whatever_a_name_holds() -> None:
    """Markup stays text, and what XML cannot hold at all becomes a mark of replacement."""
    hostile = "</text><script>alert('1')</script>&amp;\x00\x1b\ud800\uffff"
    harmless = "</text><script>alert('1')</script>&amp;" + "\ufffd" * 4
    texts = _texts(picture.svg([Row(f"{hostile} | {hostile}", hostile, 1.0, 2.0, (2.0,))], hostile))
    assert texts.count(harmless) == 3
    assert f"2 {harmless}" in texts


def test_a_peer_that_is_not_installed_is_left_out_with_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The rest is measured, and table, JSON and picture are written all the same."""

    def lonely(run: Run) -> Iterator[Row]:
        assert run.peer("no-such-peer", "wsnova_no_such_peer") is run.peer("no-such-peer", "wsnova_no_such_peer")
        yield from ROWS

    monkeypatch.setitem(BENCHMARKS, "lonely", lonely)
    rows, drawing = tmp_path / "rows.json", tmp_path / "rows.svg"
    assert main(["--only", "lonely", "--json", str(rows), "--svg", str(drawing)]) == 0
    assert "Not installed, so left out: no-such-peer;" in capsys.readouterr().out
    report = json.loads(rows.read_text(encoding="utf-8"))
    assert report["missing"] == ["no-such-peer"]
    assert report["versions"].keys() >= {"wsnova-statsd", "datadog", "websocket-client", "tenacity"}
    assert report["benchmarks"]["lonely"][0]["ratios"] == [9.0, 10.0, 11.0]
    assert "statsd" in _texts(drawing.read_text(encoding="utf-8"))
