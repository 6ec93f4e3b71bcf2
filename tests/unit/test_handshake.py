"""The upgrade without a socket: requests byte for byte, what an answer agrees to, and random answers."""

import random
from collections import Counter
from typing import Any

import pytest

from wsnova_statsd.dial.answer import Answer, Peer, parse, read_answer
from wsnova_statsd.dial.headers import header_pairs
from wsnova_statsd.dial.target import target
from wsnova_statsd.errors import ConnectionFailed, HandshakeRefused
from wsnova_statsd.link.deflate import OFFER, Deflate
from wsnova_statsd.link.handshake import Offer, agreed, redirected, refusal, request

KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # of RFC 6455, section 1.3, as is what follows from it
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


# Requests


def _request(url: str, headers: Any = None, **offer: Any) -> list[str]:
    data = request(target(url), header_pairs(headers), Offer(**offer), KEY)
    *lines, first_blank, second_blank = data.decode("latin-1").split("\r\n")
    assert first_blank == second_blank == ""
    return lines


def test_a_request_byte_for_byte() -> None:
    """Without options: the request line, Host first, the handshake of RFC 6455, Origin and User-Agent."""
    assert request(target("ws://feed.example/ws?a=1"), [], Offer(), KEY) == (
        b"GET /ws?a=1 HTTP/1.1\r\n"
        b"Host: feed.example\r\n"
        b"Upgrade: websocket\r\n"
        b"Connection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        b"Sec-WebSocket-Version: 13\r\n"
        b"Origin: http://feed.example\r\n"
        b"User-Agent: wsnova-statsd\r\n"
        b"\r\n"
    )


@pytest.mark.parametrize(
    ("url", "line", "host", "origin"),
    [
        ("ws://h", "/", "h", "http://h"),
        ("ws://h/", "/", "h", "http://h"),
        ("ws://h?a=1", "/?a=1", "h", "http://h"),
        ("ws://h#f", "/", "h", "http://h"),
        ("ws://h/?", "/?", "h", "http://h"),
        ("ws://h//a/../b/.", "//a/../b/.", "h", "http://h"),
        ("ws://h/a;b=1;c?d;e", "/a;b=1;c?d;e", "h", "http://h"),
        ("ws://h/%2F%zz%20+", "/%2F%zz%20+", "h", "http://h"),
        ("ws://h/\xfc?\u20ac#x", "/%C3%BC?%E2%82%AC", "h", "http://h"),
        ('ws://h/{"a":[1]}', "/%7B%22a%22:[1]%7D", "h", "http://h"),
        ("ws://h/a\\b", "/a%5Cb", "h", "http://h"),
        ("ws://h:80/", "/", "h", "http://h"),
        ("ws://h:443/", "/", "h:443", "http://h:443"),
        ("ws://h:/", "/", "h", "http://h"),
        ("wss://h:443/", "/", "h", "https://h"),
        ("wss://h:80/", "/", "h:80", "https://h:80"),
        ("WSS://H.Example/A", "/A", "h.example", "https://h.example"),
        ("ws://h.example./", "/", "h.example.", "http://h.example."),
        ("ws://me:pw@h/", "/", "h", "http://h"),
        ("ws://[::1]/", "/", "[::1]", "http://[::1]"),
        ("ws://[fe80::1%25eth0]:81/", "/", "[fe80::1]:81", "http://[fe80::1]:81"),
        ("ws://b\xfccher.example:81/", "/", "xn--bcher-kva.example:81", "http://xn--bcher-kva.example:81"),
    ],
)
def test_the_request_is_what_the_url_says(url: str, line: str, host: str, origin: str) -> None:
    """Path and query, Host and Origin, in ASCII; it holds nothing of user-info, zone and fragment."""
    lines = _request(url)
    assert [lines[0], lines[1], lines[6]] == [f"GET {line} HTTP/1.1", f"Host: {host}", f"Origin: {origin}"]
    assert len(lines) == 8


@pytest.mark.parametrize(
    ("headers", "own"),
    [
        (None, ["Host: h:81", "Origin: http://h:81", "User-Agent: wsnova-statsd"]),
        ({"Host": "virtual"}, ["Host: virtual", "Origin: http://h:81", "User-Agent: wsnova-statsd"]),
        ({"ORIGIN": "https://app"}, ["Host: h:81", "Origin: https://app", "User-Agent: wsnova-statsd"]),
        ({"origin": "null"}, ["Host: h:81", "Origin: null", "User-Agent: wsnova-statsd"]),
        ({"User-agent": "me/1"}, ["Host: h:81", "Origin: http://h:81", "User-Agent: me/1"]),
        ({"Origin": None}, ["Host: h:81", "User-Agent: wsnova-statsd"]),
        ({"Host": None}, ["Origin: http://h:81", "User-Agent: wsnova-statsd"]),
        ({"user-agent": None, "ORIGIN": None}, ["Host: h:81"]),
        ({"Origin": ""}, ["Host: h:81", "Origin: ", "User-Agent: wsnova-statsd"]),
        (["Origin: https://app:1"], ["Host: h:81", "Origin: https://app:1", "User-Agent: wsnova-statsd"]),
    ],
)
def test_a_header_that_is_passed_replaces_our_own(headers: Any, own: list[str]) -> None:
    """One line each, or none; in any case of letters."""
    lines = _request("ws://h:81/", headers)
    assert [line for line in lines if line.lower().startswith(("host:", "origin:", "user-agent:"))] == own
    assert len(lines) == 5 + len(own)


@pytest.mark.parametrize(
    ("headers", "last"),
    [
        ({"X-Key": "a", "Authorization": "Bearer b"}, ["X-Key: a", "Authorization: Bearer b"]),
        ([("X-Key", "a"), ("X-Key", "b")], ["X-Key: a", "X-Key: b"]),
        ({"X-Name": "gr\xfc\xdf"}, ["X-Name: gr\xfc\xdf"]),
        ({"X-Name": "gr\xfc".encode()}, ["X-Name: gr\xc3\xbc"]),
        ({"X-Empty": ""}, ["X-Empty: "]),
        ({"Cookie": "a=b; c=d"}, ["Cookie: a=b; c=d"]),
    ],
)
def test_other_headers_follow_in_their_order(headers: Any, last: list[str]) -> None:
    """A str as Latin-1, bytes as they are."""
    assert _request("ws://h/", headers)[-len(last) :] == last


@pytest.mark.parametrize(
    ("offer", "last"),
    [
        ({"subprotocols": ("v2.feed", "v1.feed")}, ["Sec-WebSocket-Protocol: v2.feed, v1.feed"]),
        ({"compression": True}, [f"Sec-WebSocket-Extensions: {OFFER}"]),
        (
            {"subprotocols": ("a",), "compression": True},
            [f"Sec-WebSocket-Extensions: {OFFER}", "Sec-WebSocket-Protocol: a"],
        ),
    ],
)
def test_what_is_offered_is_one_line_each(offer: Any, last: list[str]) -> None:
    """Nothing is offered that was not requested."""
    lines = _request("ws://h/", **offer)
    assert lines[8:] == last


# Answers

_UPGRADE, _CONNECTION, _ACCEPTED = "Upgrade: websocket", "Connection: Upgrade", f"Sec-WebSocket-Accept: {ACCEPT}"
_GOOD = (_UPGRADE, _CONNECTION, _ACCEPTED)
_WE = "the server's answer to the upgrade"
_PASS_ON = "a proxy may remove it: configure it to forward upgrades"
_OTHER = (
    f"{_WE} does not have the Sec-WebSocket-Accept of this request; it answers another request; check for a "
    "cache before the server"
)


def _answer(*lines: str, first: str = "HTTP/1.1 101 Switching Protocols") -> Answer:
    answer = parse("\r\n".join([first, *lines]).encode("latin-1"))
    assert answer is not None
    return answer


def _agreed(*lines: str, **offer: Any) -> tuple[Deflate | None, str | None]:
    return agreed(_answer(*lines), KEY, Offer(**offer))


@pytest.mark.parametrize(
    "lines",
    [
        _GOOD,
        ("upgrade: WebSocket", "CONNECTION: keep-alive, UPGRADE", f"sec-websocket-accept: \t{ACCEPT} "),
        (*_GOOD, "Connection: keep-alive"),
        ("Connection: keep-alive", *_GOOD),
        (*_GOOD, "Upgrade: websocket"),
        (*_GOOD, "Date: S\xe1b, 13 Dic 2025"),
        (*_GOOD, "Sec-WebSocket-Protocol: "),
        (*_GOOD, "Sec-WebSocket-Extensions: "),
        (*_GOOD, "Content-Length: 0", "Transfer-Encoding: chunked", "Sec-WebSocket-Version: 13"),
        (_UPGRADE, "Connection:", " Upgrade", _ACCEPTED),
        (_UPGRADE, _CONNECTION, "Sec-WebSocket-Accept:", f" {ACCEPT}"),
    ],
)
def test_an_answer_that_upgrades(lines: tuple[str, ...]) -> None:
    """In any case of letters, with repeated, folded and foreign fields; nothing is agreed that was not requested."""
    assert _agreed(*lines) == (None, None)
    assert _agreed(*lines, subprotocols=("v1",), compression=True) == (None, None)


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        ((_CONNECTION, _ACCEPTED), f"{_WE} has no 'Upgrade: websocket'; {_PASS_ON}"),
        (("Upgrade: h2c", _CONNECTION, _ACCEPTED), f"{_WE} has no 'Upgrade: websocket'; {_PASS_ON}"),
        (("Upgrade: websocket, h2c", _CONNECTION, _ACCEPTED), f"{_WE} has no 'Upgrade: websocket'; {_PASS_ON}"),
        (("Upgrade: websocket/13", _CONNECTION, _ACCEPTED), f"{_WE} has no 'Upgrade: websocket'; {_PASS_ON}"),
        ((_UPGRADE, _ACCEPTED), f"{_WE} has no 'Connection: Upgrade'; {_PASS_ON}"),
        ((_UPGRADE, "Connection: close", _ACCEPTED), f"{_WE} has no 'Connection: Upgrade'; {_PASS_ON}"),
        ((_UPGRADE, "Connection: Upgrade-Insecure", _ACCEPTED), f"{_WE} has no 'Connection: Upgrade'; {_PASS_ON}"),
        ((_UPGRADE, _CONNECTION), _OTHER),
        ((_UPGRADE, _CONNECTION, "Sec-WebSocket-Accept:"), _OTHER),
        ((_UPGRADE, _CONNECTION, f"Sec-WebSocket-Accept: {ACCEPT.swapcase()}"), _OTHER),
        ((_UPGRADE, _CONNECTION, f"Sec-WebSocket-Accept: {ACCEPT[:-1]}"), _OTHER),
        ((_UPGRADE, _CONNECTION, f"Sec-WebSocket-Accept: {ACCEPT}, {ACCEPT}"), _OTHER),
        ((_UPGRADE, _CONNECTION, "Sec-WebSocket-Accept: \xe9"), _OTHER),
        ((*_GOOD, _ACCEPTED), _OTHER),
        (
            (*_GOOD, "no header"),
            f"{_WE} is no valid HTTP/1.1; check what a proxy or the server adds to its headers",
        ),
        (
            (*_GOOD, "Sec-WebSocket-Protocol: other"),
            f"{_WE} chooses a subprotocol that was not offered; check subprotocols=",
        ),
        (
            (*_GOOD, "Sec-WebSocket-Protocol: V1"),
            f"{_WE} chooses a subprotocol that was not offered; check subprotocols=",
        ),
        (
            (*_GOOD, "Sec-WebSocket-Protocol: v1, v2"),
            f"{_WE} chooses a subprotocol that was not offered; check subprotocols=",
        ),
        (
            (*_GOOD, "Sec-WebSocket-Protocol: v1", "Sec-WebSocket-Protocol: v1"),
            f"{_WE} chooses a subprotocol that was not offered; check subprotocols=",
        ),
        (
            (*_GOOD, "Sec-WebSocket-Extensions: x-other"),
            f"{_WE} asks for the extension 'x-other', which this client did not offer",
        ),
    ],
)
def test_an_answer_that_does_not(lines: tuple[str, ...], text: str) -> None:
    """What RFC 6455, section 4.1, has a client refuse, each with its own sentence."""
    with pytest.raises(ConnectionFailed) as caught:
        _agreed(*lines, subprotocols=("v1", "v2"), compression=True)
    assert (str(caught.value), caught.value.cause) == (text, "handshake")


def test_nothing_is_agreed_that_was_not_requested() -> None:
    """A subprotocol and an extension, not requested."""
    with pytest.raises(ConnectionFailed, match=r"offer one that the server supports: subprotocols=\[...\]"):
        _agreed(*_GOOD, "Sec-WebSocket-Protocol: v1")
    with pytest.raises(ConnectionFailed, match="did not offer"):
        _agreed(*_GOOD, "Sec-WebSocket-Extensions: permessage-deflate")


def test_an_answer_of_http_1_0_upgrades_nothing() -> None:
    """Only HTTP/1.1 has upgrades (RFC 9110, section 7.8)."""
    with pytest.raises(ConnectionFailed, match=r"no valid HTTP/1\.1"):
        agreed(_answer(*_GOOD, first="HTTP/1.0 101 Yes"), KEY, Offer())


def test_what_was_chosen_is_returned() -> None:
    """One of those offered, in its own letters; compression beside it."""
    lines = (*_GOOD, "Sec-WebSocket-Protocol: V2.feed", "Sec-WebSocket-Extensions: permessage-deflate")
    assert _agreed(*lines, subprotocols=("v1", "V2.feed"), compression=True) == (Deflate(), "V2.feed")


def test_none_chosen_is_a_fault_only_if_one_is_required() -> None:
    """RFC 6455 lets a server choose none."""
    assert _agreed(*_GOOD, subprotocols=("v1",)) == (None, None)
    with pytest.raises(ConnectionFailed) as caught:
        _agreed(*_GOOD, subprotocols=("v1",), require_subprotocol=True)
    assert str(caught.value) == (
        f"{_WE} chooses no subprotocol; offer one that the server supports, or remove require_subprotocol"
    )


# Refusals


def _refused(
    status: int, *lines: str, url: str = "wss://feed.example/a/b?token=s", headers: Any = None
) -> HandshakeRefused:
    return refusal(_answer(*lines, first=f"HTTP/1.1 {status} No"), target(url), header_pairs(headers))


@pytest.mark.parametrize(
    ("location", "shown"),
    [
        ("ws://other.example/feed/v2", "ws://other.example/feed/v2"),
        ("https://other.example/feed", "https://other.example/feed"),
        ("/feed/v2", "wss://feed.example/feed/v2"),
        ("v2", "wss://feed.example/a/v2"),
        ("/s\xc3\xa3o?x", "wss://feed.example/s%C3%A3o"),
        ("/%41%zz", "wss://feed.example/%41%zz"),
        ("//other.example/x", "wss://other.example/x"),
        ("https://me:hunter2@other.example/login?key=hunter2#hunter2", "https://other.example/login"),
        ("", None),
        ("http://[::1", None),
        ("https://other.example:port/", None),
        ("https://a b/", None),
    ],
)
def test_a_redirect_names_its_location_without_credentials(location: str, shown: str | None) -> None:
    """A relative one is resolved against the URL; what is not an address is not shown."""
    error = _refused(302, f"Location: {location}")
    assert error.location == shown
    assert f"redirects to {shown or 'an invalid address'};" in str(error)
    assert "hunter2" not in str(error)
    assert _refused(404, "Location: /x").location is None


@pytest.mark.parametrize(
    ("headers", "origin"),
    [
        (None, "https://feed.example"),
        ({"Origin": "https://app.example"}, "https://app.example"),
        ({"ORIGIN": "null"}, "null"),
        ({"Origin": None}, None),
        ({"Origin": "https://me:hunter2@app.example/?hunter2"}, "https://app.example/"),
    ],
)
def test_a_403_says_which_origin_was_sent(headers: Any, origin: str | None) -> None:
    """Channels and Rails refuse other origins without saying why."""
    error = _refused(403, headers=headers)
    assert error.origin == origin
    assert f"to a request with {'no Origin' if origin is None else f'Origin {origin}'};" in str(error)


def test_of_two_retry_afters_the_first_counts() -> None:
    """A proxy may add its own; an unusable one is ignored."""
    assert _refused(503, "Retry-After: 7", "Retry-After: 9").retry_after == 7.0
    assert _refused(503, "Retry-After: 7, 9").retry_after is None


# Random answers

_SEEDS = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"
    + f"Sec-WebSocket-Accept: {ACCEPT}\r\n".encode()
    + b"Sec-WebSocket-Protocol: v1\r\nSec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=10\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 503 Busy\r\nRetry-After: Fri, 31 Dec 1999 23:59:59 GMT\r\n"
    b"Content-Length: 4\r\n\r\nbusy",
    b"HTTP/1.0 302 Found\nLocation: //u:p@[::1]:9/a\n b\n\n",
)
_PIECES = (
    b"\r\n",
    b"\n",
    b"\r",
    b" ",
    b"\t",
    b":",
    b",",
    b";",
    b"=",
    b"\x00",
    b"\xff",
    b"9" * 400,
    b"//",
    b"@",
    b"[",
    b"%",
    b'"',
)


def _mutated(chance: random.Random) -> list[bytes]:
    data = bytearray(chance.choice(_SEEDS))
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(len(data) + 1)
        match chance.randrange(13) // 3:
            case 0:
                data[place : place + 1] = bytes([chance.randrange(256)])
            case 1:
                data[place:place] = chance.choice(_PIECES)
            case 2:
                del data[place : place + chance.randint(1, 20)]
            case 3:
                data[place:place] = data[place : place + chance.randint(1, 40)]
            case _:
                del data[place:]
    cut = chance.randrange(len(data) + 1)
    return [bytes(data[:cut]), bytes(data[cut:])]


def _outcome(pieces: list[bytes]) -> str:
    """What becomes of an answer in these pieces."""
    answer = read_answer(lambda: pieces.pop(0) if pieces else b"", Peer())
    if answer.status == 101:
        deflate, subprotocol = agreed(answer, KEY, Offer(("v1",), True))
        assert subprotocol in (None, "v1")
        assert deflate is None or 8 <= deflate.server_bits <= 15
        return "upgraded"
    where = target("ws://[::1]:9/a")
    further = redirected(answer, where)
    assert further is None or (further.origin, further.authorization) == (where.origin, None)
    error = refusal(answer, where, [])
    assert str(error).isprintable()
    assert 0.0 <= (error.retry_after or 0.0) <= 300.0
    return "refused" if further is None else "redirected"


def test_no_mutated_answer_raises_what_is_not_ours() -> None:
    """20,000 of them, the same in each run: an upgrade, a redirect, a refusal or ConnectionFailed, and some of each."""
    chance, outcomes = random.Random(6455), Counter[str]()
    failures: list[ConnectionFailed] = []
    for _ in range(20_000):
        try:
            outcomes[_outcome([piece for piece in _mutated(chance) if piece])] += 1
        except ConnectionFailed as failed:
            failures.append(failed)
    assert {failed.cause for failed in failures} == {"handshake"}
    assert all(str(failed).isprintable() for failed in failures)
    assert min(outcomes["upgraded"], outcomes["refused"], len(failures)) > 500
    assert outcomes["redirected"] > 100
