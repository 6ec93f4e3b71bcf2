"""The metadata filter removes secrets, keeps what is useful, and withstands hostile input."""

import json
from collections.abc import Iterator, Mapping
from datetime import timedelta
from decimal import Decimal
from enum import Enum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsnova_statsd.redaction import SENSITIVE, describe_error, filter_metadata, is_sensitive

SECRET = "hunter2"


class _Unreadable:
    def __str__(self) -> str:
        raise RuntimeError("no text")


class _UnreadableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class _Colour(Enum):
    RED = "red"


class _BrokenMapping(Mapping[str, object]):
    def __getitem__(self, key: str) -> object:
        raise KeyError(key)

    def __iter__(self) -> Iterator[str]:
        raise RuntimeError("no keys")

    def __len__(self) -> int:
        return 1


# Keys


@pytest.mark.parametrize("word", SENSITIVE)
def test_every_word_counts_in_any_spelling(word: str) -> None:
    """Case, `-` against `_`, camel case and the text around the word make no difference."""
    camel = word.split("_")[0] + "".join(map(str.title, word.split("_")[1:]))
    for key in (word, word.upper(), word.replace("_", "-"), word.replace("_", ""), camel, f"x_{word}_1", f"X-{word}"):
        assert is_sensitive(key), key


@pytest.mark.parametrize("key", ["X-Api-Key", "listenKey", "accessToken", "sessionID", "set-cookie", "pass\0word"])
def test_keys_of_real_services_count(key: str) -> None:
    """Header names and JSON fields as exchanges write them are recognized."""
    assert is_sensitive(key)


@pytest.mark.parametrize("key", ["client_id", "uri", "reason", "type", "key", "author", "", 7, None, 1.5, ()])
def test_other_keys_do_not_count(key: object) -> None:
    """What the catalogue uses, and keys that are no text, are not sensitive."""
    assert not is_sensitive(key)


def test_keys_that_are_no_text_are_read_before_they_are_judged() -> None:
    """Bytes and tuples are read; a key that cannot be read counts as sensitive."""
    assert is_sensitive(b"Api-Key")
    assert is_sensitive(("auth", "token"))
    assert is_sensitive(_Unreadable())


# Metadata


def test_sensitive_keys_bodies_and_headers_are_dropped_at_every_depth() -> None:
    """Nested mappings, lists and tuples are filtered like the top."""
    metadata = {
        "client_id": "a",
        "accessToken": SECRET,
        "payload": SECRET,
        "request_body": SECRET,
        "responseHeaders": {"x": SECRET},
        "message": SECRET,
        "data": SECRET,
        "message_id": 5,
        "info": {"listen-key": SECRET, "Header": SECRET, "inner": [{"cookie": SECRET, "n": 1}, (1, {"frame": SECRET})]},
    }
    assert filter_metadata(metadata) == {
        "client_id": "a",
        "message_id": 5,
        "info": {"inner": [{"n": 1}, (1, {})]},
    }


def test_kept_keys_stay_untouched() -> None:
    """The catalogue's own bounded keys keep their exact values, whatever they are called."""
    value = {"token": "x"}
    filtered = filter_metadata({"session": value, "other": {"session": 1}}, keep=frozenset({"session"}))
    assert filtered["session"] is value
    assert filtered["other"] == {}


def test_nothing_replaces_a_kept_key() -> None:
    """Bytes and control characters make no second `type`."""
    mixed: dict[Any, object] = {"type": "trade", b"type": "forged", "ty\0pe": "forged"}
    assert filter_metadata(mixed, keep={"type"}) == {"type": "trade"}
    backwards = dict(reversed(mixed.items()))
    assert filter_metadata(backwards, keep={"type"}) == {"type": "trade"}


def test_texts_and_errors_are_redacted() -> None:
    """A text loses its secrets, an exception becomes class name and redacted message."""
    assert filter_metadata(
        {"detail": "token=hunter2", "error": ValueError("bad password=hunter2"), "empty": KeyError()}
    ) == {"detail": "token=***", "error": "ValueError: bad password=***", "empty": "KeyError"}


def test_an_error_that_cannot_be_read_is_named_by_its_class() -> None:
    """A raising `__str__` costs the message, not the telemetry."""
    assert describe_error(_UnreadableError()) == "_UnreadableError"
    assert describe_error(ConnectionError("token: hunter2")) == "ConnectionError: token: ***"


def test_plain_values_stay_and_others_become_their_class() -> None:
    """Numbers, enums and times pass; bytes become their size, other objects their class name."""
    plain = {"a": 1, "b": 1.5, "c": None, "d": True, "e": _Colour.RED, "f": Decimal("1.5"), "g": timedelta(seconds=1)}
    assert filter_metadata(plain) == plain
    assert filter_metadata({"a": b"hunter2", "b": bytearray(3), "c": _Unreadable(), "d": {"token=x"}}) == {
        "a": "<7 bytes>",
        "b": "<3 bytes>",
        "c": "<_Unreadable>",
        "d": ["token=***"],
    }


def test_a_header_given_as_a_pair_loses_its_value() -> None:
    """Lists of (name, value) pairs are how most clients hold headers."""
    assert filter_metadata({"extra": [("Authorization", SECRET), ["X-Api-Key", SECRET], ("Accept", "x")]}) == {
        "extra": ["***", "***", ("Accept", "x")]
    }


def test_hostile_keys_are_turned_into_text_or_dropped() -> None:
    """Numbers and bytes become text; a key that cannot be read, is endless, or is itself a secret is dropped."""
    keys: dict[Any, object] = {1: "a", b"b": "b", None: "c", _Unreadable(): 1, "x" * 201: 1, "tok\0en": 1, "a=b": 2}
    assert filter_metadata(keys) == {"1": "a", "b": "b", "None": "c", "a=b": 2}


def test_cycles_and_depth_end() -> None:
    """A structure that contains itself is cut at the sixth level."""
    loop: dict[str, object] = {}
    loop["again"] = loop
    cycle: list[object] = []
    cycle.append(cycle)
    filtered = filter_metadata({"loop": loop, "cycle": cycle})
    assert json.dumps(filtered["loop"]).count("again") == 5
    assert "<dict>" in json.dumps(filtered)
    assert "<list>" in json.dumps(filtered)


def test_shared_references_do_not_multiply() -> None:
    """A thousand values in all are visited, and a kept key after a million others still stays."""
    wide: list[object] = ["x"] * 200
    for _ in range(5):
        wide = [wide] * 200
    metadata: dict[str, object] = {f"k{n}": wide for n in range(3000)}
    metadata["type"] = "trade"
    filtered = filter_metadata(metadata, keep={"type"})
    assert filtered["type"] == "trade"
    assert json.dumps(filtered).count("x") <= 1000
    assert len(filtered) <= 1001


def test_a_container_that_raises_costs_only_its_own_content() -> None:
    """The key stays and says that something was there."""
    assert filter_metadata({"a": _BrokenMapping(), "b": 1}) == {"a": "***", "b": 1}


_VALUES: st.SearchStrategy[object] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.just(_Unreadable()),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=8) | st.sampled_from(SENSITIVE) | st.integers(), inner, max_size=4)
        | st.tuples(inner, inner)
    ),
    max_leaves=20,
)


def _keys(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        yield from value
        value = list(value.values())
    if isinstance(value, list | tuple):
        for item in value:
            yield from _keys(item)


@given(st.dictionaries(st.text(max_size=8) | st.sampled_from(SENSITIVE), _VALUES, max_size=6))
def test_no_sensitive_key_survives_anywhere(metadata: dict[str, object]) -> None:
    """For any input, the output has only readable keys that are text and not sensitive."""
    for key in _keys(filter_metadata(metadata)):
        assert isinstance(key, str)
        assert not is_sensitive(key)
