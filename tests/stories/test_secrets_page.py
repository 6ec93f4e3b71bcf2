"""The page about secrets: its programs run and show none, and its lists are those of the code."""

import re

import pytest

import wsnova_statsd as ws
from tests.stories.page_blocks import Page, code
from wsnova_statsd.profiles import PROFILES
from wsnova_statsd.redaction import SENSITIVE, filter_metadata
from wsnova_statsd.testing.capture import capture_events
from wsnova_statsd.testing.server import WebSocketServer, send_messages

PAGE = Page("secrets")
SECRET = "Pl4nt-ed"


def test_every_block_is_run_by_one_of_the_tests_below() -> None:
    assert PAGE.marked_once("listenKey", "def without_texts")


def test_credentials_of_functions_reach_the_server_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LISTEN_KEY", SECRET)
    monkeypatch.setenv("FEED_TOKEN", SECRET)
    with WebSocketServer() as server, capture_events() as events:
        PAGE.run("listenKey", server.url)
    assert server.requests[0].path.endswith(f"?listenKey={SECRET}")
    assert server.requests[0].headers["Authorization"] == f"Bearer {SECRET}"
    assert events.count(ws.events.CONNECTION_COMPLETED) == 1
    assert SECRET not in str(list(events))
    assert capsys.readouterr().out == "<wsnova_statsd.Client md-1 connected> HeaderAuth(***)\n"


def test_a_filter_of_ones_own_decides_what_a_handler_sees(capsys: pytest.CaptureFixture[str]) -> None:
    with WebSocketServer(send_messages(['{"type": "trade"}'])) as feed:
        PAGE.run("def without_texts", feed.url)
    assert capsys.readouterr().out == (
        f"{ws.events.CONNECTION_DISCONNECTED} {{'client_id': 'md-1', 'reason': 'local'}}\n"
    )
    assert not ws.telemetry.list_handlers(ws.events.CONNECTION_DISCONNECTED)


def test_the_sensitive_words_are_listed_in_their_order() -> None:
    sentence = PAGE.text.split("A key is sensitive if")[1].split("Bodies and headers")[0].split("or neither:")[1]
    assert tuple(re.findall(r"`(\w+)`", sentence)) == SENSITIVE


def test_the_keys_of_bodies_and_headers_are_dropped() -> None:
    """Each that the page names; a word also within a longer key."""
    words, whole = PAGE.text.split("Bodies and headers are keys with the word")[1].split("\n\n")[0].split("the keys")
    keys = [f"last_{word}" for word in code([words])] + code([whole])
    assert len(keys) == 8
    assert filter_metadata({**dict.fromkeys(keys, "x"), "channel": "trades"}) == {"channel": "trades"}


def test_the_table_of_the_filter_says_what_each_profile_does() -> None:
    said = {profile: row[0].strip("`") for row in PAGE.table("`metadata_filter`") for profile in code(row[1:2])}
    assert said == {name: str(profile.metadata_filter) for name, profile in PROFILES.items()}
