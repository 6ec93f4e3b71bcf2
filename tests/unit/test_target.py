"""A WebSocket URL taken apart: what is dialled, and what the request's first lines say."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsnova_statsd.dial.target import target
from wsnova_statsd.errors import ConfigurationError

SECRET = "hunter2"


@pytest.mark.parametrize(
    ("url", "host", "port", "secure", "uri"),
    [
        ("ws://feed.example", "feed.example", 80, False, "ws://feed.example"),
        ("wss://feed.example/ws", "feed.example", 443, True, "wss://feed.example/ws"),
        ("ws://127.0.0.1:8080/a/b?x=1#f", "127.0.0.1", 8080, False, "ws://127.0.0.1:8080/a/b"),
        ("wss://[::1]:9443/", "::1", 9443, True, "wss://[::1]:9443/"),
        ("wss://FEED.example:443/WS", "feed.example", 443, True, "wss://feed.example:443/WS"),
        ("WSS://feed.example/", "feed.example", 443, True, "wss://feed.example/"),
        (f"wss://me:{SECRET}@feed.example/ws?token={SECRET}", "feed.example", 443, True, "wss://feed.example/ws"),
        ("ws://[fe80::1%25eth0]/", "fe80::1%eth0", 80, False, "ws://[fe80::1]/"),
        ("ws://[fe80::1%eth0]/", "fe80::1%eth0", 80, False, "ws://[fe80::1]/"),
        ("ws://b\xfccher.example/", "xn--bcher-kva.example", 80, False, "ws://xn--bcher-kva.example/"),
        ("ws://B\xdcCHER.example/", "xn--bcher-kva.example", 80, False, "ws://xn--bcher-kva.example/"),
        ("ws://fa\xdf.example/", "xn--fa-hia.example", 80, False, "ws://xn--fa-hia.example/"),
        ("ws://feed\u3002example/", "feed.example", 80, False, "ws://feed.example/"),
        ("ws://\uff11\uff12\uff17.0.0.1/", "127.0.0.1", 80, False, "ws://127.0.0.1/"),
        ("ws://my_feed-1:80/", "my_feed-1", 80, False, "ws://my_feed-1:80/"),
    ],
)
def test_a_url_is_taken_apart(url: str, host: str, port: int, secure: bool, uri: str) -> None:
    """Host, in ASCII and lower case, port and scheme to dial; of the rest only the path may be shown."""
    found = target(url)
    assert (found.host, found.port, found.secure, found.uri) == (host, port, secure, uri)


@pytest.mark.parametrize(
    ("path", "resource"),
    [
        ("", "/"),
        ("?a=1", "/?a=1"),
        ("/", "/"),
        ("/?", "/?"),
        ("/a?b?c", "/a?b?c"),
        ("/feed;jsessionid=ABC?depth=5", "/feed;jsessionid=ABC?depth=5"),
        ("/a;v=1/b;w=2", "/a;v=1/b;w=2"),
        ("//a/./b/../c", "//a/./b/../c"),
        ("/a#f", "/a"),
        ("#f", "/"),
        ("/%41%zz%", "/%41%zz%"),
        ("/a+b%20c%2Fd?e=%2B", "/a+b%20c%2Fd?e=%2B"),
        ("/!$&'()*+,=:@-._~[]", "/!$&'()*+,=:@-._~[]"),
        ("/\xe9?\xfc=\u20ac", "/%C3%A9?%C3%BC=%E2%82%AC"),
        ("/\U0001f600", "/%F0%9F%98%80"),
        ('/"<>\\^`{|}', "/%22%3C%3E%5C%5E%60%7B%7C%7D"),
        ("/ws://other.example/", "/ws://other.example/"),
    ],
)
def test_path_and_query_go_out_as_the_url_has_them(path: str, resource: str) -> None:
    """Parameters, dots and percent signs too; what a URI cannot hold is percent-encoded, a fragment is not sent."""
    assert target(f"ws://feed.example{path}").resource == resource


@pytest.mark.parametrize(
    ("url", "authority", "origin"),
    [
        ("ws://feed.example:80/", "feed.example", "http://feed.example"),
        ("ws://feed.example:0080/", "feed.example", "http://feed.example"),
        ("ws://feed.example:443/", "feed.example:443", "http://feed.example:443"),
        ("wss://feed.example:80/", "feed.example:80", "https://feed.example:80"),
        ("wss://feed.example:443/", "feed.example", "https://feed.example"),
        ("wss://me:pw@FEED.example:9443/", "feed.example:9443", "https://feed.example:9443"),
        ("ws://[::1]:9000/", "[::1]:9000", "http://[::1]:9000"),
        ("ws://[fe80::1%25eth0]:9000/", "[fe80::1]:9000", "http://[fe80::1]:9000"),
        ("WS://b\xfccher.example:81/", "xn--bcher-kva.example:81", "http://xn--bcher-kva.example:81"),
    ],
)
def test_host_names_a_port_that_is_not_the_schemes_own(url: str, authority: str, origin: str) -> None:
    """And no zone, which means nothing to the server."""
    assert (target(url).authority, target(url).origin) == (authority, origin)


def test_user_and_password_become_a_header() -> None:
    """Percent signs are decoded before Basic is formed; without either there is no header."""
    for url in ("ws://feed.example", "ws://@feed.example", "ws://:@feed.example"):
        assert target(url).authorization is None
    assert target("ws://me@feed.example").authorization == "Basic bWU6"
    assert target("ws://:secret@feed.example").authorization == "Basic OnNlY3JldA=="
    assert target("ws://Aladdin:open%20sesame@feed.example").authorization == "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="


@pytest.mark.parametrize(
    ("url", "reported"),
    [
        ("http://feed.example/ws", "; use ws:// instead of http://"),
        ("HTTPS://feed.example/ws", "; use wss:// instead of https://"),
        ("ws://feed.example/a b", ", with blanks written as %20"),
        ("ws://feed.example:99999/", "a port from 1 to 65535"),
        ("ws://feed.example:0/", "a port from 1 to 65535"),
        ("ws://a..b\xfc.example/", "a host name valid under IDNA"),
        ("ws://\u2603.example/", "a host name valid under IDNA"),
        ("ws://feed.example\\evil/", "a host name"),
        ("ws://feed%2eexample/", "a host name"),
        ("ws://[::1%25]/", "a host name"),
        ("ws://[nothex]/", "a host name"),
        ("ws:feed.example", "a host name"),
        ("ws://a..example/", "a host name"),
        ("ws://.example/", "a host name"),
        (f"ws://{'a' * 64}.example/", "a host name"),
        ("ws://[::1]x/", "a host name"),
        ("ws://x[::1]/", "a host name"),
        ("ws://[::1]x:80/", "a host name"),
        ("ws://feed.example/\udc80", "a host name"),
        ("ws://m\udc80:x@feed.example/", "percent-encoded"),
    ],
)
def test_an_unusable_url_is_refused_with_what_to_do(url: str, reported: str) -> None:
    """At once, as a sentence."""
    with pytest.raises(ConfigurationError) as caught:
        target(url)
    assert reported in str(caught.value)
    assert "allowed: ws://host[:port]/path and wss://host[:port]/path" in str(caught.value)


@given(st.text(), st.text())
def test_no_url_adds_a_line(host: str, rest: str) -> None:
    """For any text: the request line and Host are visible ASCII, or it is refused."""
    try:
        found = target(f"ws://{host}/{rest}")
    except ConfigurationError:
        return
    assert all("!" <= character <= "~" for character in found.authority + found.resource + found.host)
    assert found.resource.startswith("/")
