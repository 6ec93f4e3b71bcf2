"""Credentials: from values and from functions that are called each time; never shown; refused where they are
written."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

import wsnova_statsd as ws
from wsnova_statsd.dial.headers import header_pairs

SECRET = "hunter2"
errors = ws.errors


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Key": f"{SECRET}\r\nX-Admin: yes"},
        {"X-Key": f"{SECRET}\n"},
        {"X-Key": f"{SECRET}\x00"},
        {"X-Key": f"{SECRET}€"},
        {f"{SECRET}\r\n": "x"},
        {f" {SECRET}": "x"},
        [f"Bearer {SECRET}"],
        [("X-Key", SECRET, "more")],
        SECRET,
        5,
    ],
)
def test_a_header_that_would_break_or_inject_one_is_refused_without_its_value(headers: Any) -> None:
    """At once, where it is written: in the client's headers, and in its credentials."""
    for make in (header_pairs, ws.HeaderAuth, lambda given: ws.Client("ws://localhost", headers=given)):
        with pytest.raises(errors.ConfigurationError) as caught:
            make(headers)
        assert SECRET not in str(caught.value)


def test_headers_are_accepted_as_mapping_pairs_or_lines() -> None:
    """All three become the same lines; a value may hold a colon."""
    for headers in ({"X-A": "1:2"}, [("X-A", "1:2")], ["X-A: 1:2"], iter(["X-A:1:2 "])):
        assert header_pairs(headers) == [("X-A", "1:2")]
    assert header_pairs(None) == []


def test_header_credentials_may_come_from_functions_called_each_time() -> None:
    """A function for all of them, or one for a single value."""
    tokens = iter(["one", "two", "three", "four"])
    for auth in (ws.HeaderAuth(lambda: {"X-Key": next(tokens)}), ws.HeaderAuth({"X-Key": lambda: next(tokens)})):
        first, second = auth.headers(), auth.headers()
        assert (first, second) in (
            ([("X-Key", "one")], [("X-Key", "two")]),
            ([("X-Key", "three")], [("X-Key", "four")]),
        )


def test_header_credentials_outlive_their_iterator() -> None:
    """What can be iterated only once is kept for the second attempt."""
    auth = ws.HeaderAuth(line for line in ["X-Key: a"])
    assert [auth.headers(), auth.headers()] == [[("X-Key", "a")]] * 2


def test_no_repr_shows_a_credential() -> None:
    """Neither that of the ready logins nor that of a client which has them."""
    auths: list[ws.Auth] = [ws.HeaderAuth({"X-Key": SECRET}), ws.MessageAuth({"key": SECRET}, lambda message: True)]
    for auth in auths:
        client = ws.Client(f"ws://me:{SECRET}@localhost/?t={SECRET}", headers={"X": SECRET}, auth=auth)
        assert SECRET not in repr(auth) + repr(client) + repr(vars(client)["_options"])


@pytest.mark.parametrize("auth", [5, "token", {"X-Key": SECRET}, object()])
def test_what_cannot_log_in_is_refused_without_being_shown(auth: Any) -> None:
    """An object without login, and an `accepted` that cannot be called."""
    with pytest.raises(errors.ConfigurationError, match="login") as caught:
        ws.Client("ws://localhost", auth=auth)
    assert SECRET not in str(caught.value)
    with pytest.raises(errors.ConfigurationError, match="accepted"):
        ws.MessageAuth({"key": SECRET}, auth)


@dataclass
class _Server:
    """A client to log in with, and what it was asked; it answers with these messages."""

    answers: list[Any]
    sent: list[Any] = field(default_factory=list)

    def expect(self, message: Any, read: Callable[[Any], bool | None], timeout: float = 5.0) -> bool:
        self.sent.append(message)
        for answer in self.answers:
            verdict = read(answer)
            if verdict is not None:
                return verdict
        raise errors.RequestTimeout(f"no answer within {timeout}")


def _accepted(message: Any) -> Any:
    return message.get("valid", True) if message.get("type") in ("yes", "no") else None


def test_a_login_message_may_be_a_function_called_each_time() -> None:
    """Every login sends a fresh one."""
    numbers = iter([1, 2])
    auth, server = ws.MessageAuth(lambda: {"nonce": next(numbers)}, _accepted), _Server([{"type": "yes"}])
    assert [auth.login(server), auth.login(server)] == [None, None]  # type: ignore[arg-type]
    assert server.sent == [{"nonce": 1}, {"nonce": 2}]


def test_an_accepted_login_may_say_how_long_it_is_valid() -> None:
    """True names no time, a number is seconds, and other messages are skipped."""
    auth = ws.MessageAuth({}, _accepted)
    assert auth.login(_Server([{"type": "noise"}, {"type": "yes", "valid": 900}])) == 900  # type: ignore[arg-type]
    assert auth.login(_Server([{"type": "yes", "valid": 0}])) == 0  # type: ignore[arg-type]


def test_a_refused_login_and_a_silent_server_are_two_errors() -> None:
    """Only the refusal is final."""
    auth = ws.MessageAuth({}, _accepted)
    with pytest.raises(errors.AuthRejected):
        auth.login(_Server([{"type": "no", "valid": False}]))  # type: ignore[arg-type]
    with pytest.raises(errors.RequestTimeout):
        auth.login(_Server([{"type": "noise"}]))  # type: ignore[arg-type]
