"""The board as plain lines: each visible row shows its name, value and tags at any size; keys, filter, sort, pause."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.watching import labels_of, snapshot, styles_of, text_of, texts, view
from wsnova_statsd.testing.clock import FakeClock
from wsnova_statsd.watch.metrics_screen import branch_of, tags_apart
from wsnova_statsd.watch.snapshot import Traffic
from wsnova_statsd.watch.view import FLASH

SIZES = pytest.mark.parametrize(("width", "height"), [(80, 24), (40, 15), (200, 50)])
MANY = [
    *(f"websocket.message.process.duration:{index}|g|#client:md-{index},type:trade" for index in range(9)),
    "websocket.message.process.duration.distribution:1:2:3|d|#client:md-1,type:trade",
    "websocket.message.process.duration.distribution:1:2:3|d|#client:md-1,type:ticker",
    "websocket.connection.up:0|g|#client:md-1,worker:0",
    "websocket.connection.reconnect.duration.distribution:12|d|#client:md-1",
    "shop.orders:3|c|#shop:one",
    "shop.orders:4|c|#shop:two",
    "plain:5|c",
]


@SIZES
def test_every_visible_row_has_its_value_name_and_distinguishing_tags(width: int, height: int) -> None:
    """Wherever the list is scrolled to: the branch above a row and the row itself give the whole name."""
    shown = snapshot(*MANY)
    wanted = {}
    for row in shown.rows:
        tags = tags_apart(shown.rows)[row.name, row.kind, row.tags]
        wanted[" ".join((row.name, *tags))] = row
    board, seen = view(shown), set[str]()
    for _ in range(len(MANY) + 8):
        lines = texts(board.draw(width, height))
        assert len(lines) == height
        assert all(len(line) <= width for line in lines[2:-1])
        seen |= labels_of(lines)
        board.move(1)
    assert seen == set(wanted)


def test_a_branch_is_the_first_two_parts_of_a_name() -> None:
    assert [branch_of(name) for name in ("a.b.c.d", "a.b.c", "a.b", "a")] == ["a.b", "a.b", "a", ""]


def test_tags_that_all_series_of_a_name_have_are_left_out_and_two_kinds_are_kept_apart() -> None:
    rows = snapshot("a:1|c|#x:1,y:1", "a:1|c|#x:1,y:2", "b:1|c|#z:1", "d:1|g", "d:1|c").rows
    assert sorted(tags_apart(rows).values()) == [(), ("(count)",), ("(gauge)",), ("y:1",), ("y:2",)]


@given(st.integers(1, 250), st.integers(1, 60), st.integers(0, 40), st.sampled_from(["1", "2", "3", "4"]))
def test_a_board_of_any_size_has_its_lines_and_none_raises(width: int, height: int, down: int, screen: str) -> None:
    board = view(snapshot(*MANY, "_sc|up|1|m:" + "x" * 300, "rubbish" * 50, "_e{1,3}:t|abc|t:error"))
    board.show(("metrics", "clients", "events", "lint")[int(screen) - 1])
    board.draw(width, height)
    board.move(down)
    lines = board.draw(width, height)
    assert len(lines) <= height
    if height > 5:
        assert len(lines) == height


def test_the_filter_is_words_of_names_and_tags() -> None:
    board = view(snapshot(*MANY))
    board.needle = "ORDERS shop:two"
    lines = texts(board.draw(80, 24))
    assert sum("orders" in line for line in lines) == 1
    board.needle = "nowhere"
    assert "no metric has 'nowhere' in its name or tags" in texts(board.draw(80, 24))


def test_sorted_by_value_rate_or_what_came_last_there_is_no_tree() -> None:
    """Whole names, the greatest first."""
    board = view(snapshot("a.b.one:1|c", "a.b.two:2|c", "a.b.three:3|c"))
    board.sort_next()
    body = [line.split()[-2] for line in texts(board.draw(80, 24)) if " a.b." in line]
    assert (board.sort, body) == ("value", ["a.b.three", "a.b.two", "a.b.one"])
    for sort in ("rate", "recent", "name"):
        board.sort_next()
        assert board.sort == sort


def test_a_branch_closes_and_opens() -> None:
    board = view(snapshot(*MANY))
    board.draw(80, 24)
    board.move(1)
    board.move(-5)
    while "▸" not in "".join(texts(board.draw(80, 24))):
        board.move(1)
        board.fold()
    closed = texts(board.draw(80, 24))
    board.fold()
    assert len([line for line in texts(board.draw(80, 24)) if line]) >= len([line for line in closed if line])
    assert not any(line.startswith("▸") for line in texts(board.draw(80, 24)))


def test_what_has_no_column_is_shown_below_for_the_chosen_row() -> None:
    """Number, mean, quantiles and maximum, the type, the unit, and all of its tags."""
    board = view(snapshot("shop.time_ms:1:2:9|d|#shop:one,env:test"))
    board.draw(40, 20)
    board.move(1)
    below = " ".join(" ".join(texts(board.draw(40, 20))).split())
    assert "distribution in millisecond env:test shop:one" in below
    for fact in ("n 3", "mean 4 ms", "p50 2.06 ms", "p95 9 ms", "max 9 ms", "3/s"):
        assert fact in below


def test_the_chosen_row_stays_chosen_when_others_come_before_it() -> None:
    board = view(snapshot("b.x:1|c", "c.x:2|c"))
    board.draw(80, 24)
    board.move(3)
    assert styles_of(board.draw(80, 24), "2") >= {"bold cursor"}
    board.update(snapshot("a.x:7|c", "b.x:1|c", "c.x:2|c"))
    chosen = [text_of(line) for line in board.draw(80, 24) if any("cursor" in style for _, style in line)]
    assert [line.split()[0] for line in chosen] == ["2"]


def test_severity_is_a_colour() -> None:
    lines = view(snapshot("websocket.connection.up:0|g|#client:a", "websocket.error.occurred:1|c", "x.y:1|c")).draw(
        80, 24
    )
    assert "bad" in styles_of(lines, "up")
    assert "bad" in styles_of(lines, "occurred")
    assert styles_of(lines, "y") <= {"", "dim", "key", "head", "tab"}


def test_an_alert_flashes_once() -> None:
    """In place of the status; what had arrived before the board was opened does not."""
    clock = FakeClock()
    board = view(snapshot("_e{3,1}:old|x|t:error"), clock)
    assert not board.flashing
    shown = snapshot("_e{3,1}:old|x|t:error", "_e{4,1}:slow|x|t:warning")
    board.update(shown)
    assert text_of(board.draw(80, 24)[1]).strip() == "slow"
    assert styles_of(board.draw(80, 24)[1:2], "slow") == {"warn flash"}
    clock.advance(FLASH + 0.1)
    board.update(shown)
    assert "lines/s" in text_of(board.draw(80, 24)[1])


def test_while_paused_nothing_new_is_shown() -> None:
    board = view(snapshot("a.x:1|c"))
    board.paused = True
    board.update(snapshot("a.x:2|c"))
    lines = texts(board.draw(80, 24))
    assert lines[1].startswith("PAUSED")
    assert any(line.split()[:1] == ["1"] for line in lines[3:])
    board.paused = False
    board.update(snapshot("a.x:2|c"))
    assert any(line.split()[:1] == ["2"] for line in texts(board.draw(80, 24))[3:])


def test_what_did_not_arrive_is_shown_in_red() -> None:
    traffic = Traffic(dropped=3, behind=1.5, not_forwarded=4)
    lines = view(snapshot(traffic=traffic, note="the recording is over")).draw(120, 24)
    assert styles_of(lines, "3 dropped") == styles_of(lines, "1.50 s behind") == {"bad"}
    assert styles_of(lines, "4 not forwarded") == {"bad"}
    assert styles_of(lines, "the recording is over") == {"warn"}
    assert "drops unknown" in texts(view(snapshot(traffic=Traffic())).draw(80, 24))[1]


def test_events_have_their_text_the_latest_first_and_checks_above_them() -> None:
    board = view(
        snapshot("_e{3,9}:one|first one|t:error|#x:1", "_e{3,10}:two|second one", "_sc|shop.up|2|#x:1|m:it is down")
    )
    board.show("events")
    lines = [line for line in texts(board.draw(80, 24))[2:-1] if line]
    assert lines[:2] == ["CRITICAL shop.up x:1", "  it is down"]
    assert [line.split()[-1] for line in lines[2:]] == ["two", "one", "one", "one", "x:1"]
    assert "bad" in styles_of(board.draw(80, 24), " one")


def test_lint_shows_what_was_not_read_bad_names_two_types_and_the_cost() -> None:
    board = view(snapshot("rubbish", "a.x:nan|g", "a.x:1|g", "a.x:1|c", "\u00fcber:1:2|d", "b:1|d"))
    board.show("lint")
    reported = " ".join(texts(board.draw(200, 50)))
    for part in (
        "not read once: no metric",
        "NaN or infinite: the Agent drops the line without a word; the latest: a.x:nan|g",
        "two types a.x:",
        "bad name \u00fcber:",
        "cost all: 4 tag combinations, billed as 12 custom metrics, 22 with percentiles",
    ):
        assert part in reported
    assert reported.index("two types") < reported.index("cost all")


def test_the_output_of_a_command_is_a_separate_screen_and_its_end_is_shown() -> None:
    board = view(snapshot())
    assert board.screens == ("metrics", "clients", "events", "lint")
    board.show("output")
    assert board.screen == "metrics"
    board.update(snapshot(output=tuple(f"  line {number}" for number in range(100))))
    board.show("output")
    lines = [line for line in texts(board.draw(80, 24))[2:-1] if line]
    assert lines[-1] == "  line 99"
    board.step(1)
    assert board.screen == "metrics"


def test_the_worst_check_stands_first() -> None:
    """Critical, warning, unknown, ok."""
    board = view(snapshot(*(f"_sc|shop.{status}|{status}" for status in range(4))))
    board.show("events")
    lines = texts(board.draw(80, 24))
    assert [line.split("shop.")[1][0] for line in lines if "shop." in line] == ["2", "1", "3", "0"]
