"""For any input, the output fits into a datagram and forges nothing; sizes are bytes; nothing is wasted."""

import enum
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from wsnova_statsd import wire
from wsnova_statsd.testing.dogstatsd import Event, Metric, ServiceCheck, parse_datagram

ROOM = wire.EVENT_BYTES - 1


class _Rude:
    """Raises when asked for its text."""

    def __str__(self) -> str:
        raise RuntimeError("no")


class _Hold(enum.Enum):
    """An enum, whose text holds a dot and its class."""

    ON = "on"


HOSTILE = [
    "a|@0.001",
    "a|#x:y",
    "x\ny:1|c",
    "a,b",
    "\r\n",
    "\x00\x85\u2028",
    "\ud800",
    "é" * 300,
    "💥" * 300,
    ":",
    "_e{1,1}:a|b",
]
# Python refuses the decimal text of an integer of more than 4300 digits: its text is a fault too.
anything = st.one_of(
    st.text(alphabet=st.characters(exclude_categories=())),
    st.sampled_from(HOSTILE),
    st.binary(),
    st.integers(),
    st.floats(),
    st.none(),
    st.booleans(),
    st.sampled_from([_Rude(), _Hold.ON, 10**5000, ValueError("a|b\nc"), ["x"], {"k": "v"}]),
)


def _metric(line: str) -> Metric:
    (message,) = parse_datagram(line.encode())
    assert isinstance(message, Metric)
    return message


@given(anything)
def test_any_object_becomes_text_that_utf8_carries(value: object) -> None:
    """What raises when asked becomes its class's name; a lone surrogate becomes a question mark."""
    made = wire.text(value)
    assert made.encode("utf-8").decode("utf-8") == made
    if isinstance(value, str) and not re.search("[\ud800-\udfff]", value):
        assert made == value


def test_an_object_whose_text_raises_is_named_by_its_class() -> None:
    """An object whose text raises, bytes and surrogates all have a text."""
    assert wire.text(_Rude()) == "_Rude"
    assert wire.text(10**5000) == "int"
    assert wire.text(b"a\xff") == "a\ufffd"
    assert wire.text("a\ud800b") == "a?b"


@given(anything)
@example("_sc|x")
@example("9lives")
@example("." * 251 + "a")
def test_a_name_is_clean_or_empty(value: object) -> None:
    """Letters, digits, `_` and `.`, beginning with a letter, at most 200 characters; cleaning twice changes nothing."""
    name = wire.clean_name(value)
    assert re.fullmatch(r"([A-Za-z][A-Za-z0-9_.]{0,199})?", name)
    assert wire.clean_name(name) == name
    if name:
        assert _metric(f"{name}:1|c").name == name


@given(st.from_regex(r"\A[A-Za-z][A-Za-z0-9_.]{0,199}\Z"))
def test_a_usable_name_stays_as_it_is(name: str) -> None:
    """Nothing is removed from a clean one."""
    assert wire.clean_name(name) == name


@given(anything)
@example("host:elsewhere")
@example("HOST:elsewhere")
@example(":host:elsewhere")
@example("dd.internal.entity_id:1")
@example("host::")
@example("a" * 199 + "::b")
def test_a_tag_is_clean_or_empty(value: object) -> None:
    """No separator, no control character, not above 200, no `:` at its end, and it never chooses the host."""
    tag = wire.clean_tag(value)
    assert wire.clean_tag(tag) == tag
    assert not tag.lower().startswith(("host:", "dd.internal."))
    assert tag.lower() != "host"
    if tag:
        assert _metric(f"a:1|c|#{tag}").tags == (tag,)


@given(st.from_regex(r"\A[a-z]{2,9}:[A-Za-z0-9_.:/-]{0,150}[a-z]\Z").filter(lambda tag: not tag.startswith("host:")))
def test_a_usable_tag_stays_as_it_is(tag: str) -> None:
    """Nothing is removed from a clean one."""
    assert wire.clean_tag(tag) == tag


@given(st.lists(anything) | st.dictionaries(st.text() | st.integers(), anything) | anything)
def test_tags_of_any_shape_are_clean_and_single(given_tags: object) -> None:
    """A list, a mapping or one thing: every tag is clean, none stands twice, and nothing raises."""
    tags = wire.clean_tags(given_tags)
    assert len(set(tags)) == len(tags)
    assert all(tag and wire.clean_tag(tag) == tag for tag in tags)
    if tags:
        assert _metric("a:1|c|#" + ",".join(tags)).tags == tags


def test_tags_come_from_a_list_or_a_mapping() -> None:
    """Order stays; None values and empty ones drop out; a boolean is written as every tracer writes it."""
    assert wire.clean_tags(["b:1", "a:2", None, "", "b:1"]) == ("b:1", "a:2")
    assert wire.clean_tags({"b": 1, "a": None, "c": "", "d": True}) == ("b:1", "d:true")
    assert wire.clean_tags(None) == ()


@pytest.mark.parametrize("given_tags", ["team:md", b"team:md", 5, [["team:md"]], ["a:1", ("b:2",)], [{"team": "md"}]])
def test_what_is_no_list_of_tags_is_refused(given_tags: object) -> None:
    """A text would be one tag or twenty, a list in a list one tag of brackets: neither can be meant."""
    assert wire.tag_texts(given_tags) is None
    assert wire.clean_tags(given_tags, host=True) == ()


def test_a_host_tag_is_for_the_program_alone() -> None:
    """By Datadog's rule the metric then belongs to that host; data from a server, or half a tag, cannot set it."""
    for tag in ("host:db-a", "host: db"):
        assert wire.clean_tag(tag) == ""
        assert wire.clean_tag(tag, host=True) == tag.replace(" ", "_")
    for tag in ("host", "host:", "HOST:a", ":host:a", "dd.internal.entity_id:a"):
        assert wire.clean_tag(tag, host=True) == ""


@given(st.text(max_size=300), st.text(max_size=300))
def test_two_texts_never_become_one_key(one: str, other: str) -> None:
    """Neither as an aggregation key nor as a set's member: what is changed carries a digest of the whole."""
    for clean in (wire.clean_key, wire.clean_member):
        made = clean(one), clean(other)
        assert (made[0] == made[1]) == (wire.text(one) == wire.text(other))
        assert all(len(text) <= wire.MAX_KEY and not set("|,\n") & set(text) for text in made)
    assert ":" not in wire.clean_member(one)


@pytest.mark.parametrize(
    ("name", "prefix", "clean"),
    [("2xx", "http.", "2xx"), ("2xx", "", "xx"), (".2xx", "http.", "2xx"), ("_a", "http.", "_a"), ("|", "", "")],
)
def test_a_name_begins_with_a_letter_or_follows_a_prefix(name: str, prefix: str, clean: str) -> None:
    """`http.2xx` is a good name, `http..2xx` is not."""
    assert wire.clean_name(name, prefix) == clean


def test_a_name_and_its_prefix_have_200_characters_together() -> None:
    """It is cut when it is cleaned, and not again on the wire."""
    assert wire.clean_name("x" * 300, "app.") == "x" * 196


def test_a_tag_that_would_forge_keeps_its_readable_part() -> None:
    """The examples of the protocol notes lose their separators only."""
    assert wire.clean_tag("type:a|@0.001") == "type:a__0.001"
    assert wire.clean_tag("type:a|#x:y,z") == "type:a__x:y_z"
    assert wire.clean_tag("type:a\nb:1|c") == "type:a_b:1_c"
    assert wire.clean_tag("kanal:größe") == "kanal:größe"


@given(anything, st.integers(20, 200))
def test_an_events_text_is_cut_with_a_mark(value: object, limit: int) -> None:
    """LF is the only control character left, the limit counts characters, and a cut can be seen."""
    made = wire.clean_text(value, limit)
    assert len(made) <= limit
    assert not re.search(r"[\x00-\x09\x0b-\x1f]", made)
    original = wire.text(value)
    if len(original) > limit and "\r" not in original:
        assert made.endswith(wire.CUT_MARK)


def test_line_ends_become_line_feeds() -> None:
    """CR LF and CR are one LF each, as the Agent reads them."""
    assert wire.clean_text("a\r\nb\rc\nd\te", 100) == "a\nb\nc\nd e"


@given(anything)
def test_a_field_without_escape_cannot_be_ended_by_its_content(value: object) -> None:
    """An aggregation key holds no bar, comma or line feed, and at most 100 characters."""
    key = wire.clean_field(value)
    assert len(key) <= wire.MAX_KEY
    if key:
        (event,) = parse_datagram(f"_e{{1,1}}:a|b|k:{key}".encode())
        assert isinstance(event, Event)
        assert event.aggregation_key == key


@given(anything)
def test_a_checks_message_is_one_line_without_a_bar(value: object) -> None:
    """A service check knows no escape at all."""
    message = wire.clean_message(value, 500)
    (check,) = parse_datagram(f"_sc|a|0|m:{message}".encode())
    assert isinstance(check, ServiceCheck)
    assert check.message == message


texts = st.text(max_size=40).flatmap(lambda part: st.integers(1, 4000).map(lambda n: (part * n)[: wire.MAX_TEXT]))


@given(title=texts, message=texts, key=anything, tags=st.lists(anything, max_size=30), room=st.integers(6000, ROOM))
@example(title="é" * 4000, message="\n" * 4000, key="💥" * 200, tags=["💥" * 190] * 30, room=ROOM)
@example(title="t", message="💥" * 4000, key="", tags=[], room=ROOM)
@example(title="", message=("000\n" + "\x80" * 7 + "\U00010000") * 333 + "0000", key="", tags=[], room=7687)
def test_an_event_fits_its_bytes(title: str, message: str, key: object, tags: list[object], room: int) -> None:
    """However many bytes its characters take, the whole escaped event stays within the room."""
    clean_title = wire.clean_text(title, wire.MAX_TEXT).replace("\n", " ").strip() or "t"
    clean_message, clean_key, clean_tags = (
        wire.clean_text(message, wire.MAX_TEXT),
        wire.clean_field(key),
        wire.clean_tags(tags),
    )
    while clean_tags and wire.size(",".join(clean_tags)) > room // 2:
        clean_tags = clean_tags[:-1]
    fitted, text = wire.fit_event(clean_title, clean_message, clean_tags, clean_key, room)
    escaped_title, escaped = fitted.replace("\n", "\\n"), text.replace("\n", "\\n")
    line = f"_e{{{len(escaped_title.encode())},{len(escaped.encode())}}}:{escaped_title}|{escaped}"
    line += (
        (f"|k:{clean_key}" if clean_key else "") + "|t:warning" + ("|#" + ",".join(clean_tags) if clean_tags else "")
    )
    assert len(line.encode()) <= room
    (event,) = parse_datagram(line.encode())
    assert isinstance(event, Event)
    assert event.tags == clean_tags
    assert fitted in (clean_title, fitted.removesuffix(wire.CUT_MARK) + wire.CUT_MARK)
    assert clean_message.startswith(text.removesuffix(wire.CUT_MARK))


def test_an_event_that_fits_is_left_alone_and_one_that_does_not_is_filled() -> None:
    """Nothing is cut without need, and a cut leaves little of the room unused."""
    assert wire.fit_event("title", "x\n" * 100, ("a:b",), "key", ROOM) == ("title", "x\n" * 100)
    title, text = wire.fit_event("title", "💥" * 4000, (), "", ROOM)
    assert title == "title"
    assert text.endswith(wire.CUT_MARK)
    assert ROOM - 60 <= wire.size(text) + len("_e{5,8000}:title||t:warning") <= ROOM


@given(st.text(max_size=80), st.integers(20, 200))
def test_a_text_is_cut_to_bytes_as_late_as_possible(value: str, room: int) -> None:
    """Never above the room; and one character more would have been above it."""
    made = wire.cut_bytes(value, room)
    escaped = len(made.replace("\n", "\\n").encode())
    assert escaped <= room
    if made != value:
        kept = made.removesuffix(wire.CUT_MARK)
        assert value.startswith(kept)
        assert escaped + len(value[len(kept)].replace("\n", "\\n").encode()) > room
