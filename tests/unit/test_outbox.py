"""Events and checks wait in order, cleaned and bounded; what cannot be sent is counted."""

import enum
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsnova_statsd import wire
from wsnova_statsd.errors import ConfigurationError
from wsnova_statsd.reporters.outbox import CAPACITY, MAX_AGE, Message, Outbox
from wsnova_statsd.testing.clock import FakeClock

ROOM = wire.EVENT_BYTES - 1


class _Alert(str, enum.Enum):  # noqa: UP042 - a StrEnum's text is its value; this one's is not
    """A text that prints as something else."""

    BAD = "error"


def _outbox(*, strict: bool = False) -> tuple[Outbox, FakeClock]:
    clock = FakeClock()
    return Outbox(strict, clock), clock


def _event(outbox: Outbox, title: object = "t", text: object = "x", alert: Any = "info", key: object = None) -> None:
    outbox.event(title, text, alert, (), key, ROOM)


def _shipped(outbox: Outbox) -> list[Message]:
    sent: list[Message] = []

    def send(message: Message) -> bool:
        sent.append(message)
        return True

    assert outbox.ship(send)
    return sent


def test_messages_are_sent_in_order_and_once() -> None:
    """Events and checks share one queue."""
    outbox, _ = _outbox()
    _event(outbox, "first")
    outbox.check("up", 0, ("a:1",), "fine", ROOM)
    _event(outbox, "last")
    assert len(outbox) == 3
    sent = _shipped(outbox)
    assert [one.method for one in sent] == ["event", "service_check", "event"]
    assert [one.arguments.get("title") or one.arguments["check_name"] for one in sent] == ["first", "up", "last"]
    assert _shipped(outbox) == []
    assert (len(outbox), outbox.lost) == (0, 0)


def test_an_on_sent_that_raises_does_not_stop_the_next_messages(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged once a minute; what waits after the event is sent by the same flush."""
    outbox, _ = _outbox()
    for _ in range(2):
        outbox.event("t", "x", "info", (), None, ROOM, lambda: 1 // 0)
    _event(outbox, "last")
    assert [one.arguments["title"] for one in _shipped(outbox)] == ["t", "t", "last"]
    assert [record.getMessage().count("on_sent of an event raised") for record in caplog.records] == [1]


def test_checks_of_two_names_that_become_one_are_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    outbox, _ = _outbox()
    for name in ("a b", "a b", "a_b", "a_b", "a.b"):
        outbox.check(name, 0, (), "", ROOM)
    assert [one.arguments["check_name"] for one in _shipped(outbox)] == ["a_b"] * 4 + ["a.b"]
    (record,) = caplog.records
    assert record.getMessage().startswith("the check names 'a b' and 'a_b' are both sent as 'a_b'")


def test_tags_for_which_an_event_has_no_room_are_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    outbox, _ = _outbox()
    tags = tuple(f"k{number}:{'x' * 190}" for number in range(41))
    for _ in range(2):
        outbox.event("t", "x", "info", tags, None, ROOM)
        outbox.check("up", 0, tags, "", ROOM)
    assert {tuple(one.arguments["tags"]) for one in _shipped(outbox)} == {tags[:21]}
    (record,) = caplog.records
    assert record.getMessage().startswith(
        "the 41 tags of an event or check take 7984 bytes, and at most 4095 are sent: 'k21:"
    )


def test_a_refused_message_stays_first() -> None:
    """Nothing after it is tried, and nothing is lost."""
    outbox, _ = _outbox()
    for title in ("a", "b", "c"):
        _event(outbox, title)
    tried: list[str] = []

    def send(message: Message) -> bool:
        tried.append(message.arguments["title"])
        return len(tried) == 1

    assert not outbox.ship(send)
    assert tried == ["a", "b"]
    assert [one.arguments["title"] for one in _shipped(outbox)] == ["b", "c"]
    assert outbox.lost == 0


def test_on_sent_is_called_when_an_event_was_sent() -> None:
    """Once, after the send; not for an event that is refused, too old, or cannot be sent at all."""
    outbox, clock = _outbox()
    reported: list[tuple[str, int]] = []
    for title in ("a", "b", "broken", "old"):
        outbox.event(
            title, "x", "info", (), None, ROOM, partial(lambda one: reported.append((one, len(outbox))), title)
        )
    answers = iter([True, False])
    assert not outbox.ship(lambda message: next(answers))
    assert reported == [("a", 3)]

    def send(message: Message) -> bool:
        if message.arguments["title"] == "broken":
            raise ValueError("no way")
        return True

    with pytest.raises(ValueError, match="no way"):
        outbox.ship(send)
    clock.advance(MAX_AGE + 1)
    assert outbox.ship(send)
    assert reported == [("a", 3), ("b", 2)]


def test_a_message_that_cannot_be_sent_at_all_is_not_tried_for_ever() -> None:
    """What raises is no fault of the socket: it is counted, and the next flush sends the others."""
    outbox, _ = _outbox()
    for title in ("a", "b"):
        _event(outbox, title)

    def send(message: Message) -> bool:
        raise UnicodeError("not this one")

    with pytest.raises(UnicodeError):
        outbox.ship(send)
    assert [one.arguments["title"] for one in _shipped(outbox)] == ["b"]
    assert outbox.lost == 1


def test_a_full_queue_keeps_the_first_of_an_incident() -> None:
    """The newest are dropped, and counted."""
    outbox, _ = _outbox()
    for number in range(CAPACITY + 7):
        _event(outbox, f"n{number}")
    assert (len(outbox), outbox.lost) == (CAPACITY, 7)
    assert [one.arguments["title"] for one in _shipped(outbox)] == [f"n{number}" for number in range(CAPACITY)]


def test_what_is_too_old_is_counted_and_not_sent() -> None:
    """An event of an earlier hour would be shown at the wrong time."""
    outbox, clock = _outbox()
    _event(outbox, "old")
    clock.advance(1)
    _event(outbox, "young")
    clock.advance(MAX_AGE - 0.5)
    assert [one.arguments["title"] for one in _shipped(outbox)] == ["young"]
    assert outbox.lost == 1


def test_an_events_fields_are_cleaned() -> None:
    """Title on one line, text with line feeds, a key without separators."""
    outbox, _ = _outbox()
    outbox.event("a\nb", "c\r\nd\x00", "warning", ("x:1",), "k|1,2\n", ROOM)
    (sent,) = _shipped(outbox)
    assert sent.arguments == {
        "title": "a b",
        "message": "c\nd ",
        "alert_type": "warning",
        "tags": ["x:1"],
        "aggregation_key": wire.clean_key("k|1,2\n"),
    }


@pytest.mark.parametrize("title", ["", " ", "\n\n", "\r"])
def test_an_event_always_has_a_title(title: str) -> None:
    """The Agent refuses an empty one."""
    outbox, _ = _outbox()
    _event(outbox, title)
    assert _shipped(outbox)[0].arguments["title"] == "(no title)"


@pytest.mark.parametrize("alert", ["fatal", "", None, 5, ["error"], "ERROR"])
def test_an_unknown_alert_type_becomes_info_or_raises(alert: object) -> None:
    """Strict, for tests, it raises and names the known ones."""
    outbox, _ = _outbox()
    _event(outbox, alert=alert)
    assert _shipped(outbox)[0].arguments["alert_type"] == "info"
    with pytest.raises(ConfigurationError, match=r"error.*warning.*info.*success"):
        _event(_outbox(strict=True)[0], alert=alert)


def test_an_alert_type_may_be_an_enum() -> None:
    """What is sent is the plain text it equals."""
    outbox, _ = _outbox(strict=True)
    _event(outbox, alert=_Alert.BAD)
    sent = _shipped(outbox)[0].arguments["alert_type"]
    assert (sent, type(sent)) == ("error", str)


@pytest.mark.parametrize("status", [4, -1, None, True, "0", 1.5, [0]])
def test_an_unknown_status_becomes_unknown_or_raises(status: object) -> None:
    """Never OK by accident."""
    outbox, _ = _outbox()
    outbox.check("up", status, (), "", ROOM)
    assert _shipped(outbox)[0].arguments["status"] == 3
    with pytest.raises(ConfigurationError, match="status"):
        _outbox(strict=True)[0].check("up", status, (), "", ROOM)


@pytest.mark.parametrize("status", [0, 1, 2, 3, 1.0])
def test_a_known_status_is_a_plain_number(status: object) -> None:
    """1.0 equals 1, but would be written differently on the wire."""
    outbox, _ = _outbox()
    outbox.check("up", status, (), "", ROOM)
    sent = _shipped(outbox)[0].arguments["status"]
    assert (sent, type(sent)) == (status, int)


def test_a_check_is_cleaned() -> None:
    """Its name like a metric's, its message on one line without a bar, otherwise as it was written."""
    outbox, _ = _outbox()
    outbox.check("a b|c", 1, (), "x|y\nz m:w", ROOM)
    outbox.check("|||", 1, (), "", ROOM)
    first, second = _shipped(outbox)
    assert (first.arguments["check_name"], first.arguments["message"]) == ("a_b_c", "x_y z m:w")
    assert (second.arguments["check_name"], second.arguments["message"]) == ("unnamed", None)


@given(st.integers(0, 60), st.text(max_size=5), st.integers(1, 5_000), st.integers(3_000, ROOM))
def test_a_check_fits_its_room(tags: int, part: str, times: int, room: int) -> None:
    """In bytes: tags are dropped first, then the message is cut with a mark."""
    outbox, _ = _outbox()
    outbox.check("up", 2, tuple(f"t{i}:{'é' * 190}" for i in range(tags)), part * times, room)
    (sent,) = _shipped(outbox)
    line = f"_sc|up|2|#{','.join(sent.arguments['tags'])}|m:{sent.arguments['message'] or ''}"
    assert len(line.encode()) <= room
    assert sent.arguments["tags"] == [f"t{i}:{'é' * 190}" for i in range(len(sent.arguments["tags"]))]


def test_tags_of_an_event_are_dropped_before_its_text() -> None:
    """At most half of the room is for tags, the first ones stay."""
    outbox, _ = _outbox()
    tags = tuple(f"t{i}:{'x' * 190}" for i in range(60))
    outbox.event("title", "text", "info", tags, None, ROOM)
    (sent,) = _shipped(outbox)
    kept = len(sent.arguments["tags"])
    assert sent.arguments["tags"] == list(tags[:kept])
    assert 15 < kept < 22
    assert sent.arguments["message"] == "text"


def test_endless_tags_cost_no_more_than_those_that_fit() -> None:
    """A million of them are cut in one pass, in the emitting thread."""
    outbox, _ = _outbox()
    tags = tuple(f"t{i}" for i in range(1_000_000))
    outbox.event("title", "text", "info", tags, None, ROOM)
    outbox.check("up", 0, tags, "", ROOM)
    for sent in _shipped(outbox):
        kept = sent.arguments["tags"]
        assert kept == list(tags[: len(kept)])
        assert ROOM // 2 - 6 <= len(",".join(kept)) <= ROOM // 2


def test_a_child_has_an_empty_queue() -> None:
    """The parent sends what waits."""
    outbox, _ = _outbox()
    for _ in range(CAPACITY + 1):
        _event(outbox)
    outbox.clear()
    assert (len(outbox), outbox.lost, _shipped(outbox)) == (0, 0, [])
