"""Hostile objects, numbers and tags become what the rules say, by an independent copy of the rules."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import hostile
from wsnova_statsd import wire
from wsnova_statsd.metrics.reading import number

INTERRUPTS: list[type[BaseException]] = [KeyboardInterrupt, SystemExit, GeneratorExit]


def _says_nothing(error: type[BaseException]) -> Any:
    class Interrupted:
        def _raise(self, *_: object) -> Any:
            raise error

        __str__ = __iter__ = __float__ = _raise

    return Interrupted()


@given(hostile.things)
@settings(max_examples=300)
def test_every_object_has_the_text_it_stands_for(thing: hostile.Thing) -> None:
    """A plain str, even if its class lies, raises or pretends; nothing in it that UTF-8 cannot carry."""
    given_object, said = thing.given, thing.said
    made = wire.text(given_object)
    assert type(made) is str
    assert made == hostile.utf8(said)
    assert wire.text(given_object, 7) == hostile.utf8(said[:7])


@given(hostile.things)
@settings(max_examples=300)
def test_names_and_tags_follow_the_rules(thing: hostile.Thing) -> None:
    """As the protocol writes them, character by character."""
    given_object, said = thing.given, thing.said
    assert wire.clean_name(given_object) == hostile.name_of(said)
    assert wire.clean_tag(given_object) == hostile.tag_of(said)


keys = hostile.texts.filter(lambda text: not text.startswith(":"))


@given(st.lists(hostile.things, max_size=8), st.dictionaries(keys, hostile.things, max_size=6))
@settings(max_examples=150)
def test_tags_of_any_shape_follow_the_rules(things: list[hostile.Thing], pairs: dict[str, hostile.Thing]) -> None:
    """A list, a tuple, an iterator, or a mapping: None drops out, the rest is written in its order."""
    things = [thing for thing in things if not hostile.is_collection(thing.given)]
    tags = hostile.tags_of([thing.said for thing in things if thing.given is not None])
    for shape in (list, tuple, iter):
        assert wire.clean_tags(shape([thing.given for thing in things])) == tags
    own = hostile.tags_of([thing.said for thing in things if thing.given is not None], own=True)
    assert wire.clean_tags([thing.given for thing in things], host=True) == own
    tags = hostile.tags_of(
        [f"{key}:{thing.said}" for key, thing in pairs.items() if thing.given is not None and thing.said]
    )
    assert wire.clean_tags({key: thing.given for key, thing in pairs.items()}) == tags


def test_tags_that_never_end_or_break_off_count_as_far_as_they_go() -> None:
    """Bounded by the size of a datagram; what came before the fault counts."""
    tags = hostile.endless()
    assert wire.clean_tags(tags["breaks off"]) == ("kept:1",)
    assert wire.clean_tags(tags["mapping"]) == ()
    assert wire.clean_tags(tags["nothing"]) == ()
    numbers = wire.clean_tags(tags["numbers"])
    assert numbers[:3] == ("0", "1", "2")
    assert len(",".join(numbers)) > wire.UNIX_BYTES


@pytest.mark.parametrize("key", ["", ":", "host", "dd.internal.entity_id", "Host:x"])
def test_a_mappings_key_cannot_move_the_metric(key: str) -> None:
    """Nor can a value after an empty key."""
    assert wire.clean_tags({key: "host:evil"}) == ()
    assert wire.clean_tags({key: "host:evil"}, host=True) == (("host:host:evil",) if key == "host" else ())


@pytest.mark.parametrize("tag", ["device:eth0", "c:ci-1", "e:it-1", "card:none", "cardinality:none", "T123", "m:x"])
def test_a_tag_that_looks_like_a_field_is_a_tag(tag: str) -> None:
    """Inside the tags it is nothing else to the Agent."""
    assert wire.clean_tags([tag]) == (tag,)


@given(st.lists(hostile.texts.map(wire.clean_tag), max_size=30).map(tuple), st.integers(0, 3000))
def test_tags_are_fitted_in_bytes_and_no_fewer_than_need_be(tags: tuple[str, ...], room: int) -> None:
    """The first ones stay; one more would not have fitted."""
    kept = wire.fit_tags(tags, room)
    assert tags[: len(kept)] == kept
    assert not kept or len(",".join(kept).encode()) <= room
    assert kept == tags or len(",".join(tags[: len(kept) + 1]).encode()) > room


@given(hostile.things, st.integers(20, 4000))
def test_texts_keep_all_but_control_characters(thing: hostile.Thing, limit: int) -> None:
    """An event may hold bars, commas and any script: only its length counts. A field that has no escape may not."""
    given_object, said = thing.given, thing.said
    lines = hostile.utf8(said)[: 4 * limit].replace("\r\n", "\n").replace("\r", "\n")
    shown = "".join(" " if char < " " and char != "\n" else char for char in lines)
    if len(shown) > limit:
        shown = shown[: limit - len(wire.CUT_MARK)] + wire.CUT_MARK
    assert wire.clean_text(given_object, limit) == shown
    assert wire.clean_message(given_object, limit) == shown.replace("\n", " ").replace("|", "_").strip()
    field = hostile.utf8(said)[: wire.MAX_KEY]
    kept = "".join(char if char.isalnum() or char in "_-:./ " else "_" for char in field)
    assert wire.clean_field(given_object) == kept.strip()


@pytest.mark.parametrize(("given_object", "plain"), hostile.NUMBERS, ids=lambda one: wire.clean_tag(wire.text(one, 20)))
def test_a_number_is_plain_and_finite_or_none(given_object: Any, plain: float | None) -> None:
    """Those of other classes too; even if its comparisons lie, nothing exceeds the range."""
    made = number(given_object)
    assert made == plain
    assert made is None or type(made) in (int, float)


@pytest.mark.parametrize("error", INTERRUPTS)
@pytest.mark.parametrize("cleaned", [wire.text, wire.clean_name, wire.clean_tag, wire.clean_tags, wire.clean_field])
def test_an_interrupt_is_not_swallowed(cleaned: Callable[[Any], object], error: type[BaseException]) -> None:
    """Ctrl-C that lands in a user's __str__ belongs to the user; only an Exception is held back."""
    with pytest.raises(error):
        cleaned(_says_nothing(error))
