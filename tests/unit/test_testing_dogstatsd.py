"""The strict reader accepts exactly what the protocol allows and names the rule that anything else breaks."""

import math
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsnova_statsd.testing.dogstatsd import DatagramError, Event, Metric, ServiceCheck, parse_datagram


def _metric(line: str) -> Metric:
    (message,) = parse_datagram(line.encode())
    assert isinstance(message, Metric)
    return message


def _event(title: str, text: str, rest: str = "") -> Event:
    line = f"_e{{{len(title.encode())},{len(text.encode())}}}:{title}|{text}{rest}"
    (message,) = parse_datagram(line.encode())
    assert isinstance(message, Event)
    return message


def _check(line: str) -> ServiceCheck:
    (message,) = parse_datagram(line.encode())
    assert isinstance(message, ServiceCheck)
    return message


def _refused(data: bytes | str) -> str:
    with pytest.raises(DatagramError) as caught:
        parse_datagram(data.encode() if isinstance(data, str) else data)
    return caught.value.reason


# Metrics


def test_the_guides_own_line_is_read_in_full() -> None:
    """Name, value, type and tags of the guide's example line come out as they went in."""
    line = "websocket.message.process.duration:12.5|g|#client:md-1,type:trade"
    assert _metric(line) == Metric(
        "websocket.message.process.duration", (12.5,), "g", 1.0, ("client:md-1", "type:trade"), ("12.5",), line
    )


@pytest.mark.parametrize("kind", ["c", "h", "ms", "d"])
def test_packed_values_keep_their_order(kind: str) -> None:
    """Every type but gauge and set may carry several values in one line."""
    metric = _metric(f"a.b:1:2.50:-3e2|{kind}")
    assert metric.values == (1.0, 2.5, -300.0)
    assert metric.raw_values == ("1", "2.50", "-3e2")


def test_a_counter_is_divided_by_its_rate() -> None:
    """The Agent multiplies a sampled counter up again, exactly."""
    assert _metric("a:2:3|c|@0.25").count == 20.0


@pytest.mark.parametrize(("rate", "weight"), [("1", 1), ("0.5", 2), ("0.1", 10), ("0.3", 3), ("0.7", 1)])
def test_the_weight_of_a_sample_is_truncated(rate: str, weight: int) -> None:
    """A distribution at rate 0.7 counts each sample once: only rates 1/n are exact."""
    assert _metric(f"a:5:6|d|@{rate}").count == 2 * weight


def test_a_set_has_a_member_and_no_number() -> None:
    """A set member is any text; it counts as one sample."""
    metric = _metric("users:ann smith|s")
    assert (metric.values, metric.raw_values, metric.count) == ((), ("ann smith",), 1.0)


def test_a_gauge_counts_as_one_sample() -> None:
    """With any value, a gauge line is one sample."""
    assert _metric("g:-42|g").count == 1.0


def test_origin_and_timestamp_are_kept() -> None:
    """Container id, external data and cardinality are read and kept apart from the tags."""
    metric = _metric("a:1|c|#x:y|c:ci-1|e:it-false|card:low|T1700000000")
    assert metric.origin == ("c:ci-1", "e:it-false", "card:low")
    assert (metric.tags, metric.timestamp) == (("x:y",), 1700000000)


def test_any_word_is_a_tag_and_one_internal_tag_names_the_sender() -> None:
    """Letters and digits of any script, and what is between them; data cannot set a pod's id."""
    tags = ("größe:12.5/日本-x", "hosts:2", "device:eth0", "host:db-a", "dd.internal.entity_id:pod-1")
    assert _metric("a:1|c|#" + ",".join(tags)).tags == tags


def test_lines_come_in_order_and_one_final_lf_is_allowed() -> None:
    """A datagram is a list of lines; the LF after the last one ends it."""
    assert [type(message) for message in parse_datagram(b"a:1|c\n_sc|up|0\n_e{1,1}:t|x\n")] == [
        Metric,
        ServiceCheck,
        Event,
    ]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("a", "no value"),
        ("a:1", "no type"),
        ("a:1|", "unknown type ''"),
        ("a:1|x", "unknown type 'x'"),
        ("a:1|C", "unknown type 'C'"),
        (":1|c", "bad name ''"),
        ("1a:1|c", "bad name '1a'"),
        ("_a:1|c", "bad name '_a'"),
        ("a-b:1|c", "bad name 'a-b'"),
        ("\u00e4:1|c", "bad name '\u00e4'"),
        ("n" * 201 + ":1|c", "name over 200 characters"),
        ("a:|c", "empty value"),
        ("a::1|c", "empty value"),
        ("a:1:|c", "empty value"),
        ("a:|s", "empty value"),
        ("a:True|c", "bad number 'True'"),
        ("a:nan|g", "bad number 'nan'"),
        ("a:-inf|g", "bad number '-inf'"),
        ("a:1_0|c", "bad number '1_0'"),
        ("a: 1|c", "bad number ' 1'"),
        ("a:0x1|c", "bad number '0x1'"),
        ("a:\u0661|c", "bad number '\u0661'"),
        ("a:1,5|c", "bad number '1,5'"),
        ("a:1e999|g", "number '1e999' is beyond a float's range"),
        ("a:1:2|g", "packed values for type g"),
        ("a:1:2|s", "packed values for type s"),
        ("a:1|c|", "unknown section ''"),
        ("a:1|c|x", "unknown section 'x'"),
        ("a:1|c|d:1", "unknown section 'd:1'"),
        ("a:1|c|@1|@1", "section '@' occurs twice"),
        ("a:1|c|#a|#b", "section '#' occurs twice"),
        ("a:1|c|c:x|c:y", "section 'c:' occurs twice"),
        ("a:1|c|c:", "empty section 'c:'"),
        ("a:1|c|@", "empty section '@'"),
        ("a:1|c|@0", "rate out of (0, 1]"),
        ("a:1|c|@-0.5", "rate out of (0, 1]"),
        ("a:1|c|@1.01", "rate out of (0, 1]"),
        ("a:1|c|@x", "bad number 'x'"),
        ("a:1|g|@0.5", "rate on type g"),
        ("a:1|s|@0.5", "rate on type s"),
        ("a:1|d|T1", "timestamp on type d"),
        ("a:1|g|T1.5", "timestamp is not a positive integer"),
        ("a:1|g|Tx", "timestamp is not a positive integer"),
        ("a:1|g|T0", "timestamp is not a positive integer"),
        ("a:1|c|card:huge", "bad cardinality"),
        ("a:1|c|#", "empty tag"),
        ("a:1|c|#a,,b", "empty tag"),
        ("a:1|c|#a,", "empty tag"),
        ("a:1|c|#a:1,b,a:1", "a tag occurs twice"),
        ("a:1|c|#a:", "tag ends in ':'"),
        ("a:1|c|#" + "t" * 201, "tag over 200 characters"),
        ("a:1|c|#a\x00b", "control character in a tag"),
        ("a:1|c|#a b", "a character that no tag may contain"),
        ("a:1|c|#a@b", "a character that no tag may contain"),
        ("a:1|c|#a\u2028b", "a character that no tag may contain"),
        ("a:1|c|#a\u0301", "a character that no tag may contain"),
        ("a:1|c|#host", "a tag that moves its metric to another pod"),
        ("a:1|c|#dd.internal.card:none", "a tag that moves its metric to another pod"),
    ],
)
def test_a_malformed_metric_is_refused_with_its_reason(line: str, reason: str) -> None:
    """Each rule of a metric line has its own reason."""
    assert _refused(line) == reason


def test_the_limits_themselves_are_allowed() -> None:
    """A name of 200 and a tag of 200 characters pass, and so does a datagram of exactly 8192 bytes."""
    assert _metric("n" * 200 + ":1|c|#" + "\u00e9" * 200).rate == 1.0
    assert len(parse_datagram(b"a:1|c\n" * 1364 + b"ab:12|ms")) == 1365


# Datagrams


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty datagram"),
        (b"\n", "empty line"),
        (b"a:1|c\n\nb:1|c", "empty line"),
        (b"a:1|c\n\n", "empty line"),
        (b"a:1|c\r\n", "CR in a line"),
        (b"a:1|c|#x\r:y", "CR in a line"),
        (b"a:1|c|#\xff", "not UTF-8"),
        (b"a:1|c\n" * 1366, "datagram of 8196 bytes, the Agent reads 8192"),
    ],
)
def test_a_malformed_datagram_is_refused_with_its_reason(data: bytes, reason: str) -> None:
    """Framing and encoding are checked before any line is read."""
    assert _refused(data) == reason


def test_the_error_names_the_offending_line() -> None:
    """The error carries reason and line, reads well, and survives pickling."""
    with pytest.raises(DatagramError) as caught:
        parse_datagram(b"a:1|c\nb:x|c\nc:1|c")
    copy = pickle.loads(pickle.dumps(caught.value))
    for error in (caught.value, copy):
        assert (error.reason, error.line) == ("bad number 'x'", "b:x|c")
        assert str(error) == "bad number 'x': 'b:x|c'"
    assert str(DatagramError("empty datagram")) == "empty datagram"


# Events


def test_an_event_is_unescaped_and_read_in_full() -> None:
    """Lengths are bytes after escaping; the one escape becomes a line feed."""
    event = _event("Slow \u20ac", "a\\nb|c", "|d:1700000000|h:web1|k:slow|p:low|s:app|t:warning|#x:y|c:ci-1")
    assert (event.title, event.text, event.alert_type) == ("Slow \u20ac", "a\nb|c", "warning")
    assert (event.aggregation_key, event.priority, event.hostname) == ("slow", "low", "web1")
    assert (event.source_type, event.timestamp, event.tags) == ("app", 1700000000, ("x:y",))
    assert event.origin == ("c:ci-1",)


def test_an_events_defaults_are_the_agents() -> None:
    """Without options an event is of type info and normal priority; its text may be empty."""
    event = _event("t", "")
    assert (event.text, event.alert_type, event.priority) == ("", "info", "normal")
    assert (event.aggregation_key, event.tags, event.timestamp) == (None, (), None)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("_e{1,1:t|x", "bad event header"),
        ("_e{1}:t", "bad event header"),
        ("_e{a,1}:t|x", "bad event header"),
        ("_e{-1,1}:t|x", "bad event header"),
        ("_e{0,1}:|x", "empty event title"),
        ("_e{2,1}:t|x", "event lengths do not match its UTF-8 bytes"),
        ("_e{1,2}:t|x", "event lengths do not match its UTF-8 bytes"),
        ("_e{1,1}:t|xy", "event lengths do not match its UTF-8 bytes"),
        ("_e{1,1}:\u20ac|x", "event lengths do not match its UTF-8 bytes"),
        ("_e{1,1}:t|\u20ac", "event lengths do not match its UTF-8 bytes"),
        ("_e{1,1}:t", "event lengths do not match its UTF-8 bytes"),
        ("_e{1,4001}:t|" + "x" * 4001, "event text over 4000 characters"),
        ("_e{1,1}:t|x|t:fatal", "bad alert type 'fatal'"),
        ("_e{1,1}:t|x|p:high", "bad priority 'high'"),
        ("_e{1,1}:t|x|k:" + "k" * 101, "aggregation key over 100 characters"),
        ("_e{1,1}:t|x|k:", "empty section 'k:'"),
        ("_e{1,1}:t|x|d:now", "timestamp is not a positive integer"),
        ("_e{1,1}:t|x|m:no", "unknown section 'm:no'"),
        ("_e{1,1}:t|x|", "unknown section ''"),
        ("_e{1,1}:t|x|t:info|t:info", "section 't:' occurs twice"),
        ("_e{1,1}:t|x|#a:", "tag ends in ':'"),
        ("_e{1,1}:a\nb|x", "event lengths do not match its UTF-8 bytes"),
    ],
)
def test_a_malformed_event_is_refused_with_its_reason(line: str, reason: str) -> None:
    """Each rule of an event has its own reason."""
    assert _refused(line) == reason


_TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\\"), min_size=1, max_size=200)


@given(_TEXT, _TEXT)
def test_any_title_and_text_survive(title: str, text: str) -> None:
    """Bars, colons and characters of several bytes inside an event are content: only the lengths count."""
    event = _event(title, text, "|t:error")
    assert (event.title, event.text, event.alert_type) == (title, text, "error")


# Service checks


def test_a_service_check_is_read_in_full() -> None:
    """Status, message, tags, host and time come out as they went in."""
    line = "_sc|websocket.can_connect|2|d:1700000000|h:web1|#client:a|m:refused: by peer|c:ci-1"
    assert _check(line) == ServiceCheck(
        "websocket.can_connect", 2, "refused: by peer", ("client:a",), line, "web1", 1700000000, ("c:ci-1",)
    )


def test_a_service_check_may_be_bare_or_have_an_empty_message() -> None:
    """Only name and status are required."""
    assert _check("_sc|up|0").message == _check("_sc|up|0|m:").message == ""


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("_sc|up", "service check status not 0..3"),
        ("_sc|up|", "service check status not 0..3"),
        ("_sc|up|4", "service check status not 0..3"),
        ("_sc|up|-1", "service check status not 0..3"),
        ("_sc|up|00", "service check status not 0..3"),
        ("_sc||0", "bad name ''"),
        ("_sc|can connect|0", "bad name 'can connect'"),
        ("_sc|up|0|m:a|b", "unknown section 'b'"),
        ("_sc|up|0|m:a|m:b", "section 'm:' occurs twice"),
        ("_sc|up|0|#", "empty tag"),
    ],
)
def test_a_malformed_service_check_is_refused_with_its_reason(line: str, reason: str) -> None:
    """Each rule of a service check has its own reason; a bar in its message is an injection."""
    assert _refused(line) == reason


# Anything


@given(st.binary(max_size=300) | st.text("_e{}sc|:#@,T019.\n\\acgmd", max_size=60).map(str.encode))
def test_any_bytes_are_parsed_or_refused_with_a_reason(data: bytes) -> None:
    """The reader raises DatagramError and nothing else, and every number it accepts is finite."""
    reason, messages = "", []
    try:
        messages = parse_datagram(data)
    except DatagramError as error:
        reason = error.reason
    assert reason or len(messages) == data.removesuffix(b"\n").count(b"\n") + 1
    assert all(math.isfinite(v) for m in messages if isinstance(m, Metric) for v in (*m.values, m.count))


@given(
    st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=20),
    st.sampled_from(["c", "h", "ms", "d"]),
)
def test_every_finite_number_is_read_back(values: list[float], kind: str) -> None:
    """What Python writes for a float is read as the same float."""
    assert _metric("a:" + ":".join(map(repr, values)) + "|" + kind).values == tuple(values)
