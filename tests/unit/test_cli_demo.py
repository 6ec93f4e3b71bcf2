"""The demo's parts with given figures: what is printed line by line, what the summary says."""

import io
import json
from dataclasses import replace

import pytest

from wsnova_statsd.cli.demo_lines import Lines, Moment
from wsnova_statsd.cli.demo_summary import Arrived, Counted, Staged, Summary, summarize
from wsnova_statsd.reporters.figures import Stats
from wsnova_statsd.watch.text import printable

# -- the lines

MOMENT = Moment("title", 3.0, "sent 1", ["first", "warning: slow"])


def test_lines_are_one_a_second_and_one_an_event() -> None:
    """What was printed once is not printed again, however often the same moment is shown."""
    out = io.StringIO()
    lines = Lines(out)
    for elapsed, events in ((0.1, 0), (0.5, 1), (1.2, 1), (1.4, 2)):
        lines.show(replace(MOMENT, elapsed=elapsed, events=MOMENT.events[:events]))
    assert out.getvalue().splitlines() == [
        "title",
        "  0 s sent 1",
        "      event: first",
        "  1 s sent 1",
        "      event: warning: slow",
    ]


class _Terminal(io.StringIO):
    encoding = "ascii"


def test_what_is_shown_is_one_line_without_control_characters_in_the_terminals_letters() -> None:
    """So that no event can move the cursor."""
    assert printable("a\x1b[2Jb\nc\u2028d\u00e9", _Terminal()) == "a [2Jb c d?"


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


def test_with_a_real_agent_the_reporters_figures_are_compared() -> None:
    summary = summarize(STAGED, COUNTED, STATS, True, None)
    assert summary.adds_up
    assert [check.label for check in summary.checks] == ["messages", "reconnects", "alerts", "reporter"]
    assert summary.figures["datagrams_received"] is None
