"""The errors: one base, the tree of the module's docstring, messages that help, and a life across processes."""

import copy
import inspect
import pickle
import re

import pytest

from wsnova_statsd import errors
from wsnova_statsd.errors import (
    ConfigurationError,
    ConnectionFailed,
    HandshakeRefused,
    MissingExtra,
    RequestRejected,
    WsnovaError,
    known_keys,
    nearest,
    one_of,
)

# name: (its parent in our tree, the built-in error it also is)
TREE: dict[str, tuple[str, type[Exception] | None]] = {
    "ConfigurationError": ("WsnovaError", ValueError),
    "MissingExtra": ("WsnovaError", ImportError),
    "HandlerExists": ("WsnovaError", ValueError),
    "HandlerNotFound": ("WsnovaError", LookupError),
    "ClientIdInUse": ("WsnovaError", ValueError),
    "ConnectionFailed": ("WsnovaError", ConnectionError),
    "HandshakeRefused": ("ConnectionFailed", None),
    "AuthRejected": ("ConnectionFailed", None),
    "NotConnected": ("WsnovaError", ConnectionError),
    "Forked": ("WsnovaError", RuntimeError),
    "RequestError": ("WsnovaError", None),
    "RequestTimeout": ("RequestError", TimeoutError),
    "RequestInterrupted": ("RequestError", ConnectionError),
    "RequestRejected": ("RequestError", None),
    "SubscriptionRejected": ("WsnovaError", None),
    "RateLimited": ("WsnovaError", None),
    "BufferFull": ("WsnovaError", None),
    "DecodeError": ("WsnovaError", ValueError),
    "EncodeError": ("WsnovaError", ValueError),
}


def _classes() -> dict[str, type[Exception]]:
    return {
        name: found
        for name, found in vars(errors).items()
        if inspect.isclass(found) and issubclass(found, Exception) and found.__module__ == errors.__name__
    }


def _drawn() -> dict[str, tuple[str, str]]:
    """The tree as the docstring draws it: name to parent and built-in name."""
    drawn: dict[str, tuple[str, str]] = {}
    path: list[str] = []
    for line in inspect.getdoc(errors).splitlines():  # type: ignore[union-attr]  # the module has a docstring
        found = re.match(r"    ((?:\|  )*)\|- (\w+) *(?:\((\w+)\))?  ", line + "  ")
        if found:
            depth = len(found[1]) // 3
            path[depth:] = [found[2]]
            drawn[found[2]] = (path[depth - 1] if depth else "WsnovaError", found[3] or "")
    return drawn


def test_the_module_holds_the_classes_of_the_tree_and_no_other() -> None:
    """Every error of the tree exists, and none stands outside it."""
    assert set(_classes()) == {"WsnovaError", *TREE}


def test_every_error_has_the_parents_of_the_tree() -> None:
    """Each class derives from its parent in our tree first, then from its built-in, and from nothing else."""
    classes = _classes()
    for name, (parent, builtin) in TREE.items():
        bases = (classes[parent],) if builtin is None else (classes[parent], builtin)
        assert classes[name].__bases__ == bases, name
    assert WsnovaError.__bases__ == (Exception,)


def test_the_docstring_draws_the_same_tree() -> None:
    """The picture at the top of errors.py is that of the code."""
    assert _drawn() == {name: (parent, kind.__name__ if kind else "") for name, (parent, kind) in TREE.items()}


def test_every_error_says_in_a_docstring_what_happened() -> None:
    """Every class has its own docstring."""
    assert [name for name, found in _classes().items() if not vars(found).get("__doc__")] == []


def test_a_missing_extra_names_the_library_and_the_command_that_installs_it() -> None:
    """The command can be pasted into a shell."""
    assert str(MissingExtra("orjson", "fast")) == (
        "orjson is not installed; install it with: pip install 'wsnova-statsd[fast]'"
    )


def test_a_failed_connection_carries_a_bounded_cause_and_what_the_server_asked_for() -> None:
    """`cause` is "error" and `retry_after` None unless given."""
    plain = ConnectionFailed("no route")
    reported = ConnectionFailed("later", cause="timeout", retry_after=2.5)
    assert (str(plain), plain.cause, plain.retry_after) == ("no route", "error", None)
    assert (str(reported), reported.cause, reported.retry_after) == ("later", "timeout", 2.5)


_SAID = "the server answered the WebSocket upgrade with HTTP"


@pytest.mark.parametrize(
    ("refused", "text"),
    [
        (
            HandshakeRefused(200),
            f"{_SAID} 200, not 101; the URL leads to an ordinary page, not a WebSocket; check the path of the URL",
        ),
        (
            HandshakeRefused(301, location="wss://other.example/v2"),
            f"{_SAID} 301, not 101, and redirects to wss://other.example/v2; use that as the URL if the feed is "
            "there, with wss:// for https://",
        ),
        (
            HandshakeRefused(400),
            f"{_SAID} 400, not 101; check scheme, host, port and path of the URL, and whether a proxy in between "
            "removes the upgrade",
        ),
        (HandshakeRefused(401), f"{_SAID} 401, not 101; check the credentials"),
        (
            HandshakeRefused(403, origin="https://app.example"),
            f"{_SAID} 403, not 101, to a request with Origin https://app.example; check the credentials, and "
            "whether the server allows this Origin (set another with headers={'Origin': '...'})",
        ),
        (
            HandshakeRefused(403),
            f"{_SAID} 403, not 101, to a request with no Origin; check the credentials, and whether the server allows "
            "this Origin (set another with headers={'Origin': '...'})",
        ),
        (HandshakeRefused(404), f"{_SAID} 404, not 101; check the path of the URL"),
        (
            HandshakeRefused(429, retry_after=7.0),
            f"{_SAID} 429, not 101, and asks to wait 7 s; too many connections or requests; open fewer, or wait as "
            "Retry-After says",
        ),
        (HandshakeRefused(418), f"{_SAID} 418, not 101; check path, headers and credentials"),
        (HandshakeRefused(500), f"{_SAID} 500, not 101; the server failed; check its log, or try again later"),
        (
            HandshakeRefused(502),
            f"{_SAID} 502, not 101; the server is unreachable or busy; the request is not at fault: try again later",
        ),
        (HandshakeRefused(999), f"{_SAID} 999, not 101; check the URL"),
    ],
)
def test_a_refused_handshake_names_the_status_and_its_own_remedy(refused: HandshakeRefused, text: str) -> None:
    """The status is in the message, in `status` and in the cause; a pool of processes passes it on whole."""
    assert str(refused) == text
    assert refused.cause == f"http_{refused.status}"
    again = pickle.loads(pickle.dumps(refused))
    assert (str(again), vars(again)) == (text, vars(refused))


def test_a_rejected_request_keeps_the_reply() -> None:
    """`reply` is the server's own answer, None if there is none."""
    reply = {"code": -1}
    assert RequestRejected("rejected", reply).reply is reply
    assert RequestRejected("rejected").reply is None


@pytest.mark.parametrize(
    "error",
    [
        MissingExtra("orjson", "fast"),
        ConnectionFailed("gone", cause="timeout", retry_after=1.0),
        HandshakeRefused(503, retry_after=30.0),
        RequestRejected("rejected", {"code": -1}),
        *(found("text") for name, found in _classes().items() if name not in ("MissingExtra", "HandshakeRefused")),
    ],
    ids=lambda error: type(error).__name__,
)
def test_every_error_survives_the_way_back_from_a_worker_process(error: Exception) -> None:
    """Pickling and copying keep class, message and attributes: a pool of workers passes errors on that way."""
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(twin) is type(error)
        assert str(twin) == str(error)
        assert vars(twin) == vars(error)


def test_a_value_outside_a_closed_set_is_refused_with_the_allowed_ones() -> None:
    """`one_of` returns the error, with what was given in repr and the allowed values in order."""
    error = one_of("a colour", "mauve", ("red", "green", None))
    assert isinstance(error, ConfigurationError)
    assert str(error) == "a colour is 'mauve'; allowed: red, green, None"


def test_a_value_that_is_nearly_an_allowed_one_is_refused_with_that() -> None:
    """A value that is not a text is near nothing."""
    assert str(one_of("a colour", "gren", ("red", "green"))).endswith("allowed: red, green; did you mean 'green'?")
    assert str(one_of("a colour", 5, ("5", "6"))) == "a colour is 5; allowed: 5, 6"
    assert (nearest("x", ["red"]), nearest("reed", ["red"])) == ("", "; did you mean 'red'?")


def test_an_unknown_key_is_refused_with_the_known_ones() -> None:
    """`known_keys` raises for the first unknown key and names all known ones, also from an iterator."""
    with pytest.raises(ConfigurationError, match=r"^a box has no 'depth'; it has: height, width$"):
        known_keys("a box", ["width", "depth", "lid"], iter(["height", "width"]))


def test_known_keys_raise_nothing() -> None:
    """No error for known keys, or for none at all; a mapping of the allowed counts by its keys."""
    known_keys("a box", [], [])
    known_keys("a box", ["width"], {"width": 1})
    with pytest.raises(ConfigurationError):
        known_keys("a box", ["width"], {})


def test_an_unknown_key_that_is_nearly_a_known_one_is_refused_with_it() -> None:
    """For a typo the error names what was meant; for a word like no other it names none."""
    with pytest.raises(
        ConfigurationError, match=r"^a box has no 'widht'; it has: height, width; did you mean 'width'\?$"
    ):
        known_keys("a box", ["widht"], ["height", "width"])
