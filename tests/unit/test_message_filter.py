"""--filter: which messages are shown, and invalid expressions."""

import json
from typing import Any

import pytest

from wsnova_statsd.cli.message_filter import parse
from wsnova_statsd.errors import ConfigurationError

TRADE = {"type": "trade", "data": [{"price": "101.50", "size": 3, "own": True, "note": None}], "n": 7}


@pytest.mark.parametrize(
    ("expression", "shown"),
    [
        ("type=trade", True),
        ("type=quote", False),
        ("type!=quote", True),
        ("type!=trade", False),
        ("data.0.price>101", True),
        ("data.0.price>=101.5", True),
        ("data.0.price<101.5", False),
        ("data.0.price<=101.5", True),
        ("data.0.price=101.5", False),  # a text is compared as it is
        ("data.0.price=101.50", True),
        ("n=7", True),
        ("n=7.0", True),
        ("n=8", False),
        ("data.0.own=true", True),
        ("data.0.own=1", False),
        ("data.0.note=null", True),
        ("data.1.price>0", False),
        ("data.price>0", False),
        ("nothing.here=1", False),
        ("nothing.here!=1", True),
        ("type>5", False),
        ("TRADE", True),
        ("book", False),
        ("type=trade n=7 price", True),
        ("type=trade n=8", False),
        ("'\"size\": 3'", True),
        ("=", False),
        ("a==b", False),
    ],
)
def test_all_words_have_to_hold(expression: str, shown: bool) -> None:
    assert parse(expression)(TRADE, json.dumps(TRADE)) is shown


@pytest.mark.parametrize("message", ["text", 7, None, [1, 2], b"\x00", float("nan"), {"a": {"b": []}}])
def test_any_message_may_be_filtered(message: Any) -> None:
    """A path into a plain value finds nothing, and a long one of digits is no position."""
    for expression in ("a.b.c=1", "0=1", "a>1", f"a.{'9' * 5000}=1", "a!=1"):
        assert parse(expression)(message, str(message)) is (expression == "a!=1")


@pytest.mark.parametrize(
    ("expression", "reported"),
    [
        ("", r"^--filter is ''; pass words, such as type=trade or BTC$"),
        ("  ", r"pass words"),
        ("a>b", r"^--filter has 'a>b'; use a number after >, such as price>100$"),
        ("a='b", r"No closing quotation; close the quotes$"),
    ],
)
def test_what_is_no_expression_is_refused_in_a_sentence(expression: str, reported: str) -> None:
    """Nothing is evaluated: a word of Python is a text like any other."""
    with pytest.raises(ConfigurationError, match=reported):
        parse(expression)
    assert parse("__import__('os').system('x')")({}, "") is False
