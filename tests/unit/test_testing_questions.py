"""assert_count: what it adds up, and that its failure shows what was counted instead."""

import re

import pytest

from wsnova_statsd.testing import EventLog, Message, Metric, assert_count, parse_datagram
from wsnova_statsd.testing.questions import MessageLog, Tags

LINES = b"orders:2|c|#venue:XETR,kind:buy\norders:3|c|#venue:XLON\norders:4|c|@0.5|#venue:XETR\nms:1:2:3|d|@0.5\ng:7|g"


class Log(MessageLog):
    """Messages of one datagram."""

    def __init__(self, data: bytes) -> None:
        self._messages = parse_datagram(data)

    @property
    def messages(self) -> list[Message]:
        return self._messages


def _failure(data: bytes, name: str, expected: float, tags: Tags = None) -> str:
    with pytest.raises(AssertionError) as failed:
        assert_count(Log(data), name, expected, tags)
    return str(failed.value)


@pytest.mark.parametrize(
    ("name", "expected", "tags"),
    [
        ("orders", 13, None),
        ("orders", 10, {"venue": "XETR"}),
        ("orders", 2, ["venue:XETR", "kind:buy"]),
        ("orders", 3, "venue:XLON"),
        ("orders", 0, "venue:XPAR"),
        ("ms", 6, None),
        ("nothing", 0, None),
    ],
)
def test_a_counters_total_and_the_number_of_samples_are_compared(name: str, expected: float, tags: Tags) -> None:
    """Weighted as the Agent does, over every series that has at least the tags."""
    assert_count(Log(LINES), name, expected, tags)
    with pytest.raises(AssertionError):
        assert_count(Log(LINES), name, expected + 1, tags)


def test_fractions_need_not_be_equal_to_the_last_bit() -> None:
    """For example three tenths, one by one."""
    assert_count(Log(b"x:0.1|c\nx:0.1|c\nx:0.1|c"), "x", 0.3)


def test_the_failure_shows_every_series_of_the_name() -> None:
    """With its tags and total, one line each; other names are left out."""
    assert _failure(LINES, "orders", 1, {"venue": "XETR"}).splitlines() == [
        "orders with venue:XETR: counted 10, expected 1",
        "counted under this name:",
        "  8  orders  venue:XETR",
        "  2  orders  venue:XETR,kind:buy",
        "  3  orders  venue:XLON",
    ]


def test_the_failure_of_a_misspelt_name_shows_names_like_it() -> None:
    """And not those unlike it."""
    said = _failure(LINES, "order", 1)
    assert said.startswith("order: counted 0, expected 1\nnothing under this name; similar names:\n")
    assert "  3  orders  venue:XLON" in said
    assert "ms" not in said


def test_the_failure_of_an_unknown_name_shows_what_exists() -> None:
    """Or says that nothing was counted."""
    assert "  1  g" in _failure(LINES, "completely.else", 1)
    assert re.search(r"  6  ms$", _failure(LINES, "completely.else", 1), re.MULTILINE)
    with pytest.raises(AssertionError, match=r"^x: counted 0, expected 1\nnothing under this .*, nor any other$"):
        assert_count(EventLog(), "x", 1)


def test_a_long_failure_is_cut_and_says_how_much() -> None:
    """Twenty lines, then how many more."""
    said = _failure(b"\n".join(b"x:1|c|#n:%d" % number for number in range(25)), "x", 1).splitlines()
    assert len(said) == 2 + 20 + 1
    assert said[-1] == "  and 5 more"


def test_events_are_counted_by_name_and_metadata() -> None:
    """An event log works like metrics."""
    log = EventLog()
    for client in ("a", "a", "b"):
        log.record("shop.order", {}, {"client_id": client}, None)
    log.assert_count("shop.order", 3)
    assert_count(log, "shop.order", 2, {"client_id": "a"})
    with pytest.raises(AssertionError, match=r"(?s)counted 1, expected 2.*  2  shop\.order  client_id:a"):
        log.assert_count("shop.order", 2, "client_id:b")


def test_the_lines_of_a_log_are_kept_apart_by_kind() -> None:
    """Metrics, events and checks each have their own list."""
    log = Log(b"a:1|c\n_e{1,1}:t|x\n_sc|up|0")
    assert [type(one) for one in log.metrics()] == [Metric]
    assert ([one.title for one in log.events], [one.name for one in log.checks]) == (["t"], ["up"])
