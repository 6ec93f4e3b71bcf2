"""Lines as the Agent reads them: what counts, what is dropped and why; nothing raises."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsnova_statsd.watch.datagrams import Check, Event, Metric, Rejected, read_line


@pytest.mark.parametrize(
    ("line", "metric"),
    [
        (b"a.b:1|c", Metric("a.b", "count", (), ("1",), 1.0)),
        (b"a:1:2.5|d|#y:2,x:1,x:1", Metric("a", "distribution", ("x:1", "y:2"), ("1", "2.5"), 1.0)),
        (b"a:3|ms|@0.25", Metric("a", "timer", (), ("3",), 4.0)),
        (b"a:-1e3|g|T1700000000", Metric("a", "gauge", (), ("-1e3",), 1.0)),
        (b"a:bob:al|s", Metric("a", "set", (), ("bob:al",), 1.0)),
        (b"a:1|h|c:abc|e:it|card:low|#x:1\r", Metric("a", "histogram", ("x:1",), ("1",), 1.0)),
        (b"a:1|c|#x:1|#y:2", Metric("a", "count", ("y:2",), ("1",), 1.0)),
    ],
)
def test_a_metric_is_read_with_its_kind_tags_values_and_weight(line: bytes, metric: Metric) -> None:
    """The last tags count, their order does not; origin and timestamp are ignored."""
    assert read_line(line) == metric


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"rubbish", "missing a name or a value"),
        (b":1|c", "missing a name or a value"),
        (b"a:1", "no type"),
        (b"a:1|x", "no type"),
        (b"a:nan|g", "NaN or infinite"),
        (b"a:-Infinity|d", "NaN or infinite"),
        (b"a:1:inf|d", "NaN or infinite"),
        (b"a:1_0|c", "not a number"),
        (b"a:|c", "not a number"),
        (b"a:True|c", "not a number"),
        (b"a:1|c|@0", "sample rate"),
        (b"a:1|c|@x", "sample rate"),
        (b"a:1|c|Tomorrow", "timestamp"),
        (b"_e{1}:a|b", "two lengths"),
        (b"_e{9,1}:a|b", "lengths, in bytes"),
        (b"_e{0,1}:|b", "lengths, in bytes"),
        (b"_sc|a|9", "service check"),
        (b"_sc||0", "service check"),
    ],
)
def test_what_the_agent_drops_is_reported_with_the_reason(line: bytes, reason: str) -> None:
    found = read_line(line)
    assert isinstance(found, Rejected)
    assert reason in found.reason
    assert found.line == line.decode()


def test_an_event_is_read_by_bytes_and_unescaped() -> None:
    title, text = "\u00fcber".encode(), b"one\\ntwo"
    line = b"_e{%d,%d}:%b|%b|t:warning|k:key|p:low|#x:1" % (len(title), len(text), title, text)
    assert read_line(line) == Event("\u00fcber", "one\ntwo", "warning", ("x:1",), "key")


def test_a_service_check_is_read_with_its_message() -> None:
    assert read_line(b"_sc|shop.up|2|#x:1|m:it is down") == Check("shop.up", 2, "it is down", ("x:1",))


@given(st.binary(max_size=200) | st.from_regex(rb"(_e\{[0-9]{0,3},[0-9]{0,3}\}:|_sc\||a:)[^\n]{0,40}", fullmatch=True))
def test_no_bytes_raise_and_none_can_move_a_cursor(raw: bytes) -> None:
    """Everything that is shown later is printable, except for the line feeds of an event's text."""
    found = read_line(raw)
    texts = [getattr(found, name, "") for name in ("name", "title", "reason", "line", "message")]
    texts += [getattr(found, "text", "").replace("\n", ""), *getattr(found, "tags", ())]
    assert all(text.isprintable() for text in texts)
