"""A client's options: checked where they are written, with messages that name the value and never a secret."""

import math
import ssl
from collections.abc import Mapping
from typing import Any

import pytest

from wsnova_statsd.client.auth import HeaderAuth
from wsnova_statsd.client.client import Client
from wsnova_statsd.client.options import Options
from wsnova_statsd.client.protocol import JsonProtocol
from wsnova_statsd.errors import ConfigurationError
from wsnova_statsd.profiles import STANDARD

SECRET = "hunter2"


def _options(**changes: Any) -> Options:
    given: dict[str, Any] = {
        "url": "wss://feed.example/ws",
        "client_id": "md-1",
        "profile": STANDARD,
        "protocol": JsonProtocol(),
        "on_message": None,
        "on_error": None,
        "headers": None,
        "subprotocols": (),
        "ssl": None,
        "proxy": None,
        "connect_timeout": 10.0,
        "max_message_bytes": 1024,
        "max_buffered_bytes": 1024,
        "reconnect": True,
        "on_reconnect": None,
    }
    return Options(**{**given, **changes})


def _refused(**changes: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        _options(**changes)
    return str(caught.value)


# url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "feed.example",
        "http://feed.example",
        "ws://",
        "ws:///path",
        "ws://feed.example:0",
        "ws://feed.example:99999",
        "ws://feed.example:port",
        "ws://[::1",
        "ws://feed.example/a b",
        "ws://feed.example/\r\nX-Evil: 1",
        "ws://feed.example/\x00",
    ],
)
def test_what_is_no_websocket_url_is_refused(url: str) -> None:
    """The message says what is allowed."""
    assert "url" in _refused(url=url)


def test_the_refused_url_is_named() -> None:
    """As far as it may be shown."""
    assert "'http://feed.example/ws'" in _refused(url="http://feed.example/ws")
    assert _refused(url=7).startswith("url is a int;")


@pytest.mark.parametrize(
    "url",
    [
        f"http://me:{SECRET}@feed.example/?token={SECRET}",
        f"ws://me:{SECRET}@feed.example:99999/",
        f"wss://me:x/{SECRET}@feed.example/",
        f"wss://me:{SECRET}/x@feed.example/",
        f"wss://me:{SECRET}#x@feed.example/",
        f"wss://me:{SECRET}@feed\u2100.example/",
        f"ws://me:{SECRET}@feed.example/ b",
        f"wss://me:{SECRET}@feed.example/".encode(),
    ],
)
def test_a_refused_url_keeps_its_secrets(url: object) -> None:
    """Neither user-info nor query is in the message, for any fault of the URL, text or bytes."""
    assert SECRET not in _refused(url=url)


def test_a_callable_url_is_called_for_each_attempt() -> None:
    """And not before the first; what it returns is checked like a string."""
    asked = iter(["ws://a.example", "ws://b.example", "http://c.example"])
    options = _options(url=lambda: next(asked))
    assert options.target().host == "a.example"
    assert options.target().host == "b.example"
    with pytest.raises(ConfigurationError, match=r"http://c\.example"):
        options.target()


# headers


def test_callable_headers_are_called_for_each_attempt() -> None:
    """A fresh token for each."""
    tokens = iter(["one", "two"])
    options = _options(headers=lambda: {"X-Token": next(tokens)})
    where = options.target()
    assert options.header_pairs(where) == [("X-Token", "one")]
    assert options.header_pairs(where) == [("X-Token", "two")]


def test_a_header_of_your_own_wins_over_the_url() -> None:
    """User-info adds Authorization unless one was given, in any case of letters."""
    options = _options(url="ws://me:pw@feed.example", headers={"AUTHORIZATION": "Bearer x"})
    assert options.header_pairs(options.target()) == [("AUTHORIZATION", "Bearer x")]
    plain = _options(url="ws://me:pw@feed.example")
    assert plain.header_pairs(plain.target()) == [("Authorization", "Basic bWU6cHc=")]


# everything else


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("connect_timeout", 0),
        ("connect_timeout", -1.5),
        ("connect_timeout", math.nan),
        ("connect_timeout", math.inf),
        ("connect_timeout", "10"),
        ("connect_timeout", True),
        ("connect_timeout", None),
        ("max_message_bytes", 0),
        ("max_message_bytes", -1),
        ("max_message_bytes", 1.5),
        ("max_message_bytes", True),
        ("max_buffered_bytes", 0),
        ("max_buffered_bytes", "1k"),
        ("in_child", "begin"),
        ("in_child", None),
        ("compression", "gzip"),
        ("compression", ""),
        ("compression", True),
        ("compression", ["deflate"]),
        ("reconnect", 1),
        ("reconnect", None),
        ("on_message", "print"),
        ("on_error", 7),
        ("on_reconnect", []),
        ("client_id", ""),
        ("client_id", 7),
        ("ssl", True),
        ("ssl", {"cert_reqs": 0}),
        ("protocol", "json"),
        ("protocol", JsonProtocol),
    ],
)
def test_an_unusable_value_is_named(name: str, value: object) -> None:
    """The message names option and value."""
    message = _refused(**{name: value})
    assert message.startswith((f"{name} is ", f"{name} must be "))
    assert repr(value) in message


def test_a_refused_compression_names_what_is_allowed() -> None:
    """None and deflate, which are accepted."""
    assert _refused(compression="gzip").endswith("allowed: None, deflate")
    assert [_options(compression=allowed).compression for allowed in (None, "deflate")] == [None, "deflate"]


def test_a_client_id_ends_at_200_characters() -> None:
    """It becomes a tag."""
    assert _options(client_id="x" * 200).client_id == "x" * 200
    assert "200" in _refused(client_id="x" * 201)


@pytest.mark.parametrize("name", ["", "a b", "a,b", "a\r\n", "ü", 7])
def test_a_subprotocol_is_a_token(name: object) -> None:
    """RFC 6455 section 4.1; the message names it."""
    assert repr(name) in _refused(subprotocols=("v1.feed", name))


def test_a_subprotocol_is_offered_once() -> None:
    """RFC 6455 section 4.1: all of them are unique."""
    assert "offer each once" in _refused(subprotocols=("v1.feed", "v2.feed", "v1.feed"))


@pytest.mark.parametrize("name", ["Authorization", "HOST", "Origin", "User-Agent"])
def test_a_header_may_not_be_in_headers_and_in_credentials(name: str) -> None:
    """If both are constants they are refused at once, as no attempt could succeed; other headers may come twice."""
    auth = HeaderAuth({name: "a", "X-Key": "a"})
    assert f"header {name!r} is passed twice" in _refused(headers={name.lower(): "b"}, auth=auth)
    assert _options(headers={"X-Key": "b"}, auth=auth).auth is auth
    _options(headers=lambda: {name: "b"}, auth=auth)


def test_a_subprotocol_is_required_only_if_one_is_offered() -> None:
    """True or False, and at least one is offered."""
    assert "subprotocols is empty" in _refused(require_subprotocol=True)
    assert "must be True or False" in _refused(subprotocols=("v1.feed",), require_subprotocol=1)
    assert _options(subprotocols=("v1.feed",), require_subprotocol=True).offer.require_subprotocol


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("server_hostname", ""),
        ("server_hostname", "a b"),
        ("server_hostname", 7),
        ("source_address", "192.0.2.7"),
        ("source_address", ("feed.example", 0)),
        ("source_address", ("192.0.2.7",)),
        ("source_address", ("192.0.2.7", 65536)),
        ("source_address", ("192.0.2.7", True)),
        ("socket_options", "x"),
        ("socket_options", 7),
        ("socket_options", [(1, 2)]),
        ("socket_options", [(1, 2, "x")]),
        ("socket_options", [(1, 2, True)]),
        ("unix_socket", ""),
        ("unix_socket", 7),
        ("unix_socket", b"/run/feed.sock"),
        ("unix_socket", "x" * 108),
    ],
)
def test_an_unusable_way_to_the_server_is_refused(name: str, given: object) -> None:
    """Where it is written, with what was given and what is allowed."""
    text = _refused(**{name: given})
    assert name.removesuffix("s").replace("_", " ") in text.replace("_", " ")
    assert "must be" in text
    assert "got" in text


def test_a_unix_socket_excludes_options_of_other_ways() -> None:
    """A proxy, and a local address."""
    for other in ({"proxy": "env"}, {"source_address": ("192.0.2.7", 0)}):
        text = _refused(unix_socket="/run/feed.sock", **other)
        assert text == f"unix_socket and {next(iter(other))} exclude each other; pass only one of them"


@pytest.mark.parametrize(
    "proxy",
    [
        "",
        "proxy.example:3128",
        f"ftp://me:{SECRET}@proxy.example",
        f"socks4://me:{SECRET}@proxy.example",
        f"http://me:{SECRET}/x@proxy.example:3128",
        f"http://me:{SECRET}@proxy.example:99999",
        "http://",
        8080,
        b"http://proxy.example",
    ],
)
def test_an_unusable_proxy_is_refused_without_its_password(proxy: object) -> None:
    """HTTP and SOCKS5 URLs, 'env' and None are allowed."""
    message = _refused(proxy=proxy)
    assert "proxy" in message
    assert SECRET not in message


@pytest.mark.parametrize("proxy", [None, "env", f"http://me:{SECRET}@proxy.example:3128"])
def test_a_usable_proxy_is_accepted(proxy: str | None) -> None:
    """It is kept unchanged."""
    assert _options(proxy=proxy).proxy == proxy


def test_certificates_are_verified_unless_a_context_says_otherwise() -> None:
    """The default context checks certificate and host name; a context that is passed is used as it is."""
    default = _options().context()
    assert default.verify_mode is ssl.CERT_REQUIRED
    assert default.check_hostname
    own = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    assert _options(ssl=own).context() is own


# through the constructor of the client

_WRONG: list[Mapping[str, Any]] = [
    {"url": "http://feed.example"},
    {"url": "ws://feed.example", "profile": "fast"},
    {"url": "ws://feed.example", "connect_timeout": 0},
    {"url": "ws://feed.example", "headers": {"X": "a\nb"}},
    {"url": "ws://feed.example", "subprotocols": "v1.feed"},
    {"url": "ws://feed.example", "proxy": "ftp://proxy"},
]


@pytest.mark.parametrize("given_", _WRONG, ids=lambda given_: list(given_)[-1])
def test_the_constructor_refuses_at_once(given_: Mapping[str, Any]) -> None:
    """Not at start: misconfiguration raises where it is written."""
    with pytest.raises(ConfigurationError):
        Client(**given_)


def test_a_default_id_is_the_host_and_the_lowest_free_number() -> None:
    """Numbers of living clients are in use; those of forgotten ones are free again."""
    first = Client("ws://ids.example:9000/a")
    second = Client("wss://ids.example")
    assert (first.client_id, second.client_id) == ("ids.example-1", "ids.example-2")
    del first
    assert Client("ws://ids.example").client_id == "ids.example-1"
    assert Client(lambda: "ws://ids.example").client_id.startswith("client-")


def test_the_repr_of_a_client_is_one_line_for_any_id() -> None:
    """It is part of a warning when a client is collected."""
    assert repr(Client("ws://h/", client_id="a\nb")) == r"<wsnova_statsd.Client a\nb idle>"
