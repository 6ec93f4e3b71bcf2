"""Marks: which program owns an object in Datadog, and which of its keys were edited since."""

import re
from typing import Any

import pytest

import wsnova_statsd as ws
from wsnova_statsd.dashboards.datadog import board
from wsnova_statsd.dashboards.marks import Mark, digest, edits, mark_name, mark_of, marked, unchanged_since, unmarked

DOCUMENT = {
    "title": "T",
    "description": "What it shows.",
    "widgets": [{"definition": {"type": "note", "content": "a"}}],
}
MONITOR = {"name": "N", "type": "query alert", "tags": ["a:b"], "options": {"thresholds": {"critical": 1}}}


@pytest.mark.parametrize(("document", "by_tag"), [(DOCUMENT, False), (MONITOR, True)])
def test_a_mark_is_the_last_line_or_a_tag_and_can_be_taken_off(document: dict[str, Any], by_tag: bool) -> None:
    """What is left is the document, whose hash the mark has."""
    sent = marked("board-x", document, by_tag=by_tag)
    text = f"wsnova-statsd:board-x:{digest(document)}"
    assert text == (sent["tags"][-1] if by_tag else sent["description"].splitlines()[-1])
    assert mark_of(sent, by_tag=by_tag) == Mark("board-x", digest(document))
    assert unmarked(sent, by_tag=by_tag) == document


@pytest.mark.parametrize(
    "description",
    [None, "", "A board", "wsnova-statsd:x", "wsnova-statsd:x:0123", "wsnova-statsd:x:0123456789abcdef\nand more"],
)
def test_an_invalid_mark_is_ignored(description: str | None) -> None:
    """Only the last line counts, whole."""
    assert mark_of({"description": description}, by_tag=False) is None
    assert mark_of({"tags": None}, by_tag=True) is None


def test_a_name_fits_into_a_tag() -> None:
    """For any name of a rule: cut or replaced if necessary, so that no two become one."""
    assert mark_name("alert-late", "financial", "feeds") == "alert-late-financial-feeds"
    assert re.fullmatch(r"slo-feeds-[0-9a-f]{16}", mark_name("slo", "Feeds"))
    assert len({mark_name("slo", name) for name in ("feeds", "Feeds", "größe", "grö_e", "gr-e")}) == 5
    odd, long, longer = (mark_name("alert", name) for name in ("größe: 3", "x" * 300, "x" * 301))
    for name in (odd, long, longer):
        sent = marked(name, MONITOR, by_tag=True)
        assert mark_of(sent, by_tag=True) == Mark(name, digest(MONITOR))
        assert len(sent["tags"][-1]) <= 200
    assert long != longer


def test_the_hash_depends_on_the_meaning_not_on_the_spelling() -> None:
    """The order of keys and of tags, 1 and 1.0, and Datadog's two words for one kind of monitor are the same."""
    other = {"type": "metric alert", "options": {"thresholds": {"critical": 1.0}}, "tags": ["a:b"], "name": "N"}
    assert digest(other) == digest(MONITOR)
    assert digest({"tags": ["b", "a"]}) == digest({"tags": ["a", "b"]})
    assert digest({**MONITOR, "name": "M"}) != digest(MONITOR)
    assert digest({"l": [{"a": 1}, {"b": 2}]}) != digest({"l": [{"b": 2}, {"a": 1}]})


def test_edits_are_keys_that_were_sent_and_have_another_value() -> None:
    """At any depth; a key that Datadog added is no edit, a missing key is one."""
    sent = {"a": 1, "b": {"c": [{"d": 1}, {"d": 2}]}, "e": ["x"]}
    found = {"a": 1.0, "b": {"c": [{"d": 1, "id": 7}, {"d": 3}], "added": True}, "added": 1, "e": ["x"]}
    assert list(edits(sent, found)) == ["b.c[1].d"]
    assert list(edits(sent, {**found, "b": {"c": [{"d": 1}]}})) == ["b.c"]
    assert list(edits(sent, {"a": 1, "b": {"c": [{"d": 1}, {"d": 2}]}})) == ["e"]
    assert list(edits(sent, {**sent, "a": None})) == ["a"]
    assert list(edits(sent, {**sent, "b": "text"})) == ["b"]


def test_an_older_document_is_recognized_despite_what_datadog_added() -> None:
    """By its hash, although the present document is another one; after an edit it is not recognized."""
    older, now = board(ws.STANDARD), board(ws.FINANCIAL)
    found: dict[str, Any] = {**board(ws.STANDARD), "id": "abc", "url": "/x", "notify_list": None}
    for group in found["widgets"]:
        group["id"] = 1
        group["definition"]["title_align"] = "left"
        for one in group["definition"]["widgets"]:
            one["definition"]["time"] = {}
    assert unchanged_since(digest(older), found, now)
    found["widgets"][2]["definition"]["widgets"][0]["definition"]["title"] = "Mine"
    assert not unchanged_since(digest(older), found, now)
