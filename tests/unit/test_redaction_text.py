"""Addresses and texts lose what is secret, keep what is useful, and cost no more than their limit."""

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsnova_statsd.redaction import filter_metadata, redact_text, redact_url

SECRET = "hunter2"


# Addresses


@pytest.mark.parametrize(
    ("url", "redacted"),
    [
        ("wss://feed.example/ws", "wss://feed.example/ws"),
        ("wss://feed.example", "wss://feed.example"),
        ("WSS://Feed.Example:443/WS?token=1#x", "wss://feed.example:443/WS"),
        ("wss://user:pw@feed.example/ws", "wss://feed.example/ws"),
        ("wss://user:p@w@feed.example/ws", "wss://feed.example/ws"),
        ("wss://feed.example?token=a/b", "wss://feed.example"),
        ("wss://feed.example#a@b", "wss://feed.example"),
        ("ws://[2001:DB8::1]:8080/x", "ws://[2001:db8::1]:8080/x"),
        ("ws://[::1]", "ws://[::1]"),
        ("wss://feed.example:/ws", "wss://feed.example/ws"),
        ("  wss://feed.example/ws  ", "wss://feed.example/ws"),
        ("wss://b\u00fccher.example/ws", "wss://b\u00fccher.example/ws"),
        ("wss://feed.example/ws;jsessionid=abc/v2", "wss://feed.example/ws/v2"),
        ("wss://feed.example/token=abc/v2", "wss://feed.example/token=***/v2"),
        ("wss://feed.example/depth=5/v2", "wss://feed.example/depth=5/v2"),
        ("wss://feed.example/ws/btcusdt@trade", "wss://feed.example/ws/btcusdt@trade"),
        ("wss://feed.example/ws/" + "pqia91ma19a5s61cv6a81va65sdf19v8", "wss://feed.example/ws/***"),
        ("wss://feed.example/" + "a" * 40, "wss://feed.example/" + "a" * 40),
        ("http://proxy/http://user:pw@host/", "http://proxy/http"),
        ("http://proxy/user:pw@host/", "http://proxy/***@host/"),
    ],
)
def test_an_address_keeps_scheme_host_port_and_path(url: str, redacted: str) -> None:
    """User-info, query, fragment, parameters and key-like segments go."""
    assert redact_url(url) == redacted


@pytest.mark.parametrize(
    "url",
    [
        "",
        "feed.example/ws",
        "//feed.example/ws",
        "wss:///ws",
        "wss://",
        "1ws://x",
        "wss://user:pa/ss@host/",
        "wss://host:99999/",
        "wss://host:x/",
        "wss://host:\u0661/",
        "wss://ho st/",
        "wss://host/a b",
        "wss://host/\x00",
        "wss://host\n/",
        "wss://[::1/",
        "wss://a]b/",
        "wss://a,wss://u:p@b",
        "wss://host/" + "x" * 3000,
        "wss://" + "x" * 300,
    ],
)
def test_garbage_becomes_one_word(url: str) -> None:
    """No part of it is shown."""
    assert redact_url(url) == "invalid"


def test_an_address_that_is_no_text_is_invalid() -> None:
    """None and bytes do not raise either."""
    garbage: list[Any] = [None, b"wss://host/", 5]
    assert {redact_url(url) for url in garbage} == {"invalid"}


@given(st.text(max_size=80) | st.from_regex(r"[a-z]{0,4}:?//[a-zA-Z0-9:@\[\]./?#;=%-]{0,60}", fullmatch=True))
def test_redacting_an_address_again_changes_nothing(url: str) -> None:
    """Nothing raises, no query or fragment is left, and the result is its own redaction."""
    redacted = redact_url(url)
    assert not set("?#;") & set(redacted)
    assert redact_url(redacted) == redacted


# Texts


@pytest.mark.parametrize(
    "text",
    [
        "connection refused",
        "Handshake status 401 Unauthorized",
        "[Errno 111] Connection refused: 10.0.0.1:8080",
        "Basic authentication failed",
        "Bearer auth, rejected",
        "the secret is out",
        "TokenError: expired",
        "code=4001 reason='too slow'",
        "cannot reach wss://feed.example:443/ws.",
        "cannot reach wss://session.example:443/ws",
        "gr\u00fc\u00dfe \U0001f600",
        "",
    ],
)
def test_a_text_without_secrets_stays(text: str) -> None:
    """What helps to find the fault is left alone."""
    assert redact_text(text) == text


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("dial wss://u:hunter2@Feed.example/ws?k=hunter2#hunter2 failed", "dial wss://feed.example/ws failed"),
        ("(wss://feed.example/ws?k=hunter2)", "(wss://feed.example/ws)"),
        ("[wss://feed.example]: no route", "[wss://feed.example]: no route"),
        ("to ws://[::1]:80/x?hunter2", "to ws://[::1]:80/x"),
        ("bad wss://u:hunt/hunter2@host, sorry", "bad ***, sorry"),
        ("GET /ws?k=hunter2 HTTP/1.1", "GET /ws?*** HTTP/1.1"),
        ("proxy user:hunter2@10.0.0.1:8080 refused", "proxy ***@10.0.0.1:8080 refused"),
        ("token=hunter2", "token=***"),
        ("bad token=hunter2&x=1", "bad token=***&x=1"),
        ("bad token=hunter2, code=4", "bad token=***, code=4"),
        ("bad password=hun,ter2;x code", "bad password=*** code"),
        ("got api_key => hunter2 now", "got api_key => *** now"),
        ("invalid API key: hunter2", "invalid API key: ***"),
        ("wrong secret: hunter2 (401)", "wrong secret: *** (401)"),
        ('{"token": "hunter2", "code": 4}', '{"token": ***, "code": 4}'),
        ('{"token": "a\\"hunter2", "code": 4}', '{"token": ***, "code": 4}'),
        ("{'token': 'hunter2 x', 'code': 4}", "{'token': ***, 'code': 4}"),
        ('{\\"token\\": \\"hunter2 x\\", \\"code\\": 4}', '{\\"token\\": ***, \\"code\\": 4}'),
        ('{"token":\n  "hunter2"}', '{"token":   ***}'),
        ("{'token': b'hunter2 x'}", "{'token': ***}"),
        ('bad {"token": "hunter2 x', 'bad {"token": ***'),
        ('{"token": ""}', '{"token": ***}'),
        ('{"credentials": {"a": "hunter2"}, "b": 1}\nnext', '{"credentials": *** next'),
        ("got Bearer hunter2, sorry", "got Bearer ***, sorry"),
        ("got bearer token hunter2", "got bearer ***"),
        ("got Bearer authhunter2", "got Bearer ***"),
        ("got Bearer%20hunter2", "got Bearer ***"),
        ("basic: aHVudGVyMg==", "basic ***"),
        ("auth_token: Bearer hunter2 x", "auth_token: ***"),
        ("Host: feed\r\nCookie: a=1; b=hunter2\r\nAccept: x", "Host: feed  Cookie: ***  Accept: x"),
        ("X-Api-Key: hunter2 hunter2\nok", "X-Api-Key: *** ok"),
        ("sent Authorization: Digest hunter2 hunter2", "sent Authorization: ***"),
        ("{'set-cookie': 'sid=hunter2; Path=/', 'date': 'x'}", "{'set-cookie': ***, 'date': 'x'}"),
        ("b'HTTP/1.1 401\\r\\nSet-Cookie: sid=hunter2; Path=/'", "b'HTTP/1.1 401\\r\\nSet-Cookie: ***"),
        ("pass\x00word=hunter2", "password=***"),
        ("pass\u200bword=hunter2", "password=***"),
        ("a\tb\u00a0c\x1b[31m\u202ed", "a b c[31md"),
        ("token=", "token="),
        ("token=&x=1", "token=&x=1"),
    ],
)
def test_what_looks_secret_is_removed(text: str, redacted: str) -> None:
    """Each form of a secret in an error text, and what is left of it."""
    assert redact_text(text) == redacted


@pytest.mark.parametrize("limit", [-1, 0, 1, 2, 3, 10, 500])
def test_the_limit_is_bytes_and_splits_no_character(limit: int) -> None:
    """The encoded text never passes the limit and is never cut inside a character."""
    redacted = redact_text("\u20ac" * 400, limit)
    assert redacted == "\u20ac" * (max(limit, 0) // 3)


def test_a_secret_torn_by_the_first_cut_does_not_leak() -> None:
    """User-info whose `@` lies beyond the search window is dropped with the end of the window."""
    for padding in range(2000, 2700):
        text = f"token={'x' * padding} wss://user:{SECRET}@host/"
        assert SECRET[:3] not in redact_text(text)


_PLACES = [
    "token={}",
    '{{"password": "{}"}}',
    "wss://u:{}@host/x",
    "wss://host/x?q={}",
    "wss://host/#{}",
    "Bearer {}",
    "Cookie: a=b; c={}",
    "X-Api-Key: {}",
    "me:{}@proxy.example",
]


@given(
    st.text(max_size=60).filter(lambda text: not text or text[-1].isspace()),
    st.sampled_from(_PLACES),
    st.text(max_size=60),
    st.from_regex(r"S3[A-Za-z0-9]{6,20}", fullmatch=True),
)
def test_a_planted_secret_never_survives(before: str, place: str, after: str, secret: str) -> None:
    """In any text around it, a secret in a known place is removed, and the result is one printable line."""
    redacted = redact_text(f"{before}{place.format(secret)} {after}")
    assert secret not in redacted
    assert redacted.isprintable()
    assert len(redacted.encode()) <= 500


@given(st.text(), st.integers(-5, 50))
def test_any_text_is_bounded_and_printable(text: str, limit: int) -> None:
    """Nothing raises, lone surrogates included."""
    redacted = redact_text(text + "\ud800", limit)
    assert len(redacted.encode()) <= max(limit, 0)
    assert redacted.isprintable()


_HOSTILE = [
    "a", "a=", "token=", "token:", '"', '\\"', "\\", "://", "a://", "@", "a:", "(a:", "(/", "/", ",a", ", ", " ", "\n",
    "bearer ", "bearer token ", "api ", "a.b-c", "?", "token='", "{", "=,a:", "\x00", ":@", "u:p@", "/a:", "[::", "a://b:",
]  # fmt: skip


def test_hostile_megabytes_take_no_time() -> None:
    """Cost is bounded by the limit, not by the input: no pattern backtracks without bound."""
    started = time.process_time()
    for piece in _HOSTILE:
        text = piece * (1_000_000 // len(piece))
        redact_text(text)
        redact_text(text, 4000)
        redact_url(text)
        redact_url("wss://host/" + text)
        redact_url("wss://host/" + text[:2000])
        filter_metadata({text: 1, "a": text})
    assert time.process_time() - started < 15  # measured: under 2 s; a quadratic pattern takes minutes
