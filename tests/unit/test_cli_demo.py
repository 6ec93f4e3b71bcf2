"""The demo's parts with given figures: what the tally adds up, what the screen draws, what the summary says."""

import io
import json
import socket
from dataclasses import replace

import pytest

from wsnova_statsd.cli.demo_screen import Lines, Live, Silent, View, frame, printable, screen_for, table
from wsnova_statsd.cli.demo_summary import Arrived, Counted, Staged, Summary, summarize
from wsnova_statsd.cli.demo_tally import CountingReceiver, Row, Tally
from wsnova_statsd.reporters.figures import Stats
from wsnova_statsd.testing.clock import FakeClock
from wsnova_statsd.testing.dogstatsd import parse_datagram

# -- the tally


def _tally(*datagrams: bytes, clock: FakeClock | None = None) -> Tally:
    tally = Tally(clock or FakeClock())
    for datagram in datagrams:
        for message in parse_datagram(datagram):
            tally.add(message)
    return tally


def test_a_count_adds_up_a_gauge_keeps_the_last_and_samples_have_a_mean() -> None:
    tally = _tally(b"c:2|c|#a:1\nc:3|c|#a:1\ng:1.5|g\ng:2.5|g\nd:1:2:6|d", b"d:3|d|@0.5", b"c:7|c|#a:2", b"s:x|s")
    rows = {(row.name, row.tags): row for row in tally.rows(over=2.0)}
    assert rows["c", ("a:1",)] == Row("c", "count", ("a:1",), 5.0, 5.0, 2.5)
    assert rows["g", ()] == Row("g", "gauge", (), 2.5, 2.0, None)
    assert rows["d", ()] == Row("d", "distribution", (), 3.0, 5.0, 2.5)
    assert tally.total("c") == 12
    assert tally.total("c", "a:2") == 7


def test_a_rate_is_that_of_the_last_five_seconds() -> None:
    clock = FakeClock()
    tally = Tally(clock)
    for _ in range(20):
        clock.advance(1)
        for message in parse_datagram(b"c:10|c"):
            tally.add(message)
    assert tally.rows()[0].rate == 10.0
    clock.advance(10)
    assert tally.rows()[0].rate == 0.0


def test_events_come_in_order_and_are_bounded() -> None:
    tally = _tally(*(f"_e{{{len(str(n))},1}}:{n}|x".encode() for n in range(300)), b"_sc|check|0")
    count, events = tally.events()
    assert (count, len(events), events[-1].title) == (300, 200, "299")
    assert [event.title for event in tally.events(since=298)[1]] == ["298", "299"]
    assert tally.events(since=300) == (300, [])


def test_the_receiver_counts_datagrams_without_keeping_them() -> None:
    tally = Tally()
    with CountingReceiver(tally) as receiver, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for datagram in (b"c:1|c", b"c:2|c\nd:1|d", b"nonsense"):
            sender.sendto(datagram, (receiver.host, receiver.port))
        receiver.wait_for(lambda _: receiver.arrived == 3)
    assert (receiver.arrived, receiver.broken, receiver.datagrams, tally.total("c")) == (3, 1, [], 3)


# -- the screen

ROWS = [
    *(Row(f"websocket.heartbeat.x{n}", "count", ("client:demo",), 1.0, 1.0, 0.5) for n in range(30)),
    Row("websocket.message.received", "count", ("client:demo", "type:trade"), 1234.0, 1234.0, 299.96),
    Row("websocket.message.process.duration", "gauge", ("client:demo", "type:trade"), 0.000271, 4.0, None),
]
VIEW = View("title", 3.0, 15.0, "sent 1", ROWS, ["first", "warning: slow"], 2)


@pytest.mark.parametrize("width", [1, 20, 80, 300])
@pytest.mark.parametrize("height", [1, 2, 5, 10, 24, 100])
def test_a_frame_fits_the_terminal(width: int, height: int) -> None:
    lines = frame(VIEW, width, height)
    assert len(lines) <= height
    assert all(len(line) <= width for line in lines)


def test_a_table_begins_with_what_tells_most_and_says_what_it_leaves_out() -> None:
    lines = table(ROWS, 120, 10)
    assert len(lines) == 10
    assert lines[0].split() == ["METRIC", "TYPE", "VALUE", "PER", "S", "TAGS", "(all:", "client:demo)"]
    assert lines[1].split() == ["websocket.message.received", "count", "1,234", "300.0", "type:trade"]
    assert lines[2].split() == ["websocket.message.process.duration", "gauge", "0.000271", "type:trade"]
    assert lines[-1].startswith("... and 24 more series")


def test_a_table_with_room_for_all_leaves_nothing_out() -> None:
    lines = table(ROWS, 120, 100)
    assert len(lines) == 1 + len(ROWS)
    assert table([], 80, 5) == ["METRIC TYPE VALUE PER S TAGS"]


class _Terminal(io.StringIO):
    encoding = "ascii"

    def isatty(self) -> bool:
        return True


def test_what_is_shown_is_one_line_without_control_characters_in_the_terminals_letters() -> None:
    assert printable("a\x1b[2Jb\nc\u2028d\u00e9", _Terminal()) == "a [2Jb c d?"


def test_the_live_screen_gives_the_terminal_back_once() -> None:
    out = _Terminal()
    screen = Live(out)
    screen.end()
    assert out.getvalue() == ""
    screen.show(VIEW)
    screen.show(VIEW)
    screen.end()
    screen.end()
    text = out.getvalue()
    assert [text.count(code) for code in ("\x1b[?1049h", "\x1b[?25l", "\x1b[?25h", "\x1b[?1049l")] == [1, 1, 1, 1]
    assert text.endswith("\x1b[?25h\x1b[?1049l")


def test_lines_are_one_a_second_and_one_an_event() -> None:
    out = io.StringIO()
    screen = Lines(out)
    for elapsed, events in ((0.1, 0), (0.5, 1), (1.2, 1), (1.4, 2)):
        screen.show(replace(VIEW, elapsed=elapsed, events=VIEW.events[:events], event_count=events))
    assert out.getvalue().splitlines() == [
        "title",
        "  0 s sent 1",
        "      event: first",
        "  1 s sent 1",
        "      event: warning: slow",
    ]


def test_the_screen_suits_the_output(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    assert isinstance(screen_for(_Terminal(), json=False), Live)
    assert isinstance(screen_for(io.StringIO(), json=False), Lines)
    assert isinstance(screen_for(_Terminal(), json=True), Silent)
    monkeypatch.setenv("TERM", "dumb")
    assert isinstance(screen_for(_Terminal(), json=False), Lines)


# -- the summary

STAGED = Staged(sent=900, received=900, drops=1, slow_sent=1)
COUNTED = Counted("websocket.message.received", 900, 1, 1, frozenset({"type:trade"}))
STATS = Stats(series=60, pending=0, delivered=4000, packets=30, bytes=30_000)
ARRIVED = Arrived(30, 0, ("Slow message processing: 150.1ms for trade",), frozenset({"type:trade"}))


def _marked(summary: Summary) -> list[str]:
    return [line.split()[1] for line in summary.lines() if line.startswith("!!")]


def test_figures_that_agree_add_up() -> None:
    summary = summarize(STAGED, COUNTED, STATS, True, ARRIVED)
    assert summary.adds_up
    assert summary.lines()[0] == "The numbers add up:"
    assert _marked(summary) == []
    assert json.loads(json.dumps(summary.figures))["adds_up"] is True


@pytest.mark.parametrize(
    ("label", "changes"),
    [
        ("messages", {"staged": replace(STAGED, sent=901)}),
        ("messages", {"staged": replace(STAGED, received=899)}),
        ("messages", {"counted": replace(COUNTED, messages=899)}),
        ("reconnects", {"counted": replace(COUNTED, reconnects=2)}),
        ("alerts", {"counted": replace(COUNTED, slow=0, slow_types=frozenset())}),
        ("alerts", {"arrived": replace(ARRIVED, alerts=(), alert_types=frozenset())}),
        ("alerts", {"arrived": replace(ARRIVED, alert_types=frozenset({"type:ticker"}))}),
        ("datagrams", {"arrived": replace(ARRIVED, datagrams=29)}),
        ("datagrams", {"arrived": replace(ARRIVED, malformed=1)}),
        ("reporter", {"stats": replace(STATS, pending=1, last_error="refused: 111")}),
        ("reporter", {"stats": replace(STATS, lost={"refused": 2})}),
        ("reporter", {"flushed": False}),
    ],
)
def test_one_figure_that_differs_is_marked(label: str, changes: dict[str, object]) -> None:
    given: dict[str, object] = {"staged": STAGED, "counted": COUNTED, "stats": STATS, "flushed": True}
    summary = summarize(**{**given, "arrived": ARRIVED, **changes})  # type: ignore[arg-type]
    assert not summary.adds_up
    assert _marked(summary) == [label]
    assert summary.figures["adds_up"] is False


def test_with_a_real_agent_the_reporters_word_has_to_do() -> None:
    summary = summarize(STAGED, COUNTED, STATS, True, None)
    assert summary.adds_up
    assert [check.label for check in summary.checks] == ["messages", "reconnects", "alerts", "reporter"]
    assert summary.figures["datagrams_received"] is None
