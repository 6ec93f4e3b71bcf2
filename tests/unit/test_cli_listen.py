"""listen without a network: what it refuses, and which arguments become which options of a client."""

import argparse
import sys
from pathlib import Path
from typing import Any

import pytest

import wsnova_statsd as ws
from wsnova_statsd.cli.feed import AnyProtocol, connection
from wsnova_statsd.cli.main import build_parser, main

URL = "ws://feed.example/ws"


def _args(*given: str) -> argparse.Namespace:
    return build_parser().parse_args(["listen", URL, *given])


@pytest.mark.parametrize(
    ("arguments", "reported"),
    [
        ([], "usage: wsnova-statsd listen URL [OPTIONS]; see --help"),
        (["http://feed.example"], "url is 'http://feed.example'; allowed: ws://host"),
        (["feed.example"], "allowed: ws://host"),
        (
            [URL, "--protocol", "jsn"],
            "--protocol is 'jsn'; pass json, jsonrpc, text, or MODULE:NAME; did you mean 'json'?",
        ),
        ([URL, "--protocol", "nowhere_at_all:Dialect"], "there is no module 'nowhere_at_all'"),
        ([URL, "--protocol", "json:Dialect"], "json has no 'Dialect'"),
        ([URL, "--protocol", "json:JSONDecoder"], "json:JSONDecoder is of type JSONDecoder; pass a ws.Protocol"),
        (
            [URL, "--protocol", "text", "--subscribe", "btc"],
            "--subscribe is given, but --protocol text has no message",
        ),
        ([URL, "--header", "Origin"], '"Origin" is not a header; pass NAME:VALUE'),
        ([URL, "--header", ": x"], '"" is not a header'),
        ([URL, "--header", "a b: x"], "header"),
        ([URL, "--profile", "finance"], "did you mean 'financial'?"),
        ([URL, "--to", "localhost"], "'localhost' is not an address; allowed: HOST:PORT"),
        ([URL, "--to", "/nothing/here"], "'/nothing/here' is not a socket"),
        ([URL, "--count", "0"], "'0' is not a number of messages; allowed: a whole number from 1"),
        ([URL, "--count", "9" * 5000], "is not a number of messages"),
        ([URL, "--eof-wait", "soon"], "'soon' is not a duration; allowed: seconds, from 0 to 86400"),
        ([URL, "--eof-wait", "nan"], "'nan' is not a duration"),
        ([URL, "--filter", "price>dear"], "use a number after >"),
        ([URL, "--filter", ""], "pass words"),
    ],
)
def test_bad_input_is_one_sentence(capsys: pytest.CaptureFixture[str], arguments: list[str], reported: str) -> None:
    """Status 2, before anything is tried; nothing on stdout."""
    try:
        status: object = main(["listen", *arguments])
    except SystemExit as refused:
        status = refused.code
    out, err = capsys.readouterr()
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert reported in err


def test_a_secret_of_a_header_or_url_is_in_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["ws://u:hunter2@"], ["http://h/?token=hunter2"], [URL, "--header", "X hunter2"]):
        with pytest.raises(SystemExit):
            main(["listen", *arguments])
    assert "hunter2" not in capsys.readouterr().err.replace('"X hunter2"', "")


def test_arguments_become_options_of_the_client() -> None:
    """Headers by pairs, channels in their order."""
    given = connection(
        _args("--header", "Origin: https://a:1", "--header", "X-Key:k", "--subscribe", "a", "--subscribe", "b")
    )
    assert given["url"] == URL
    assert given["headers"] == [("Origin", "https://a:1"), ("X-Key", "k")]
    assert given["subscriptions"] == ["a", "b"]
    ws.Client(**given, bus=ws.Bus())


@pytest.mark.parametrize(
    ("name", "kind"),
    [(None, AnyProtocol), ("json", ws.JsonProtocol), ("jsonrpc", ws.JsonRpcProtocol), ("text", ws.Protocol)],
)
def test_a_protocol_has_a_name(name: str | None, kind: type) -> None:
    assert type(connection(_args(*(("--protocol", name) if name else ())))["protocol"]) is kind


@pytest.mark.parametrize("name", ["Dialect", "made", "ready"])
def test_a_protocol_of_your_own_is_a_class_a_function_or_an_object(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """In a module of the current folder."""
    (tmp_path / "own_dialect.py").write_text(
        "import wsnova_statsd as ws\nclass Dialect(ws.JsonProtocol):\n    own = True\n"
        "def made():\n    return Dialect()\nready = Dialect()\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "own_dialect", raising=False)
    assert connection(_args("--protocol", f"own_dialect:{name}"))["protocol"].own


@pytest.mark.parametrize(
    ("data", "message", "kind"),
    [
        ('{"type": "trade"}', {"type": "trade"}, "trade"),
        ("hello", "hello", "text"),
        ("[" * 100_000, "[" * 100_000, "text"),
        (b"\x00", b"\x00", "binary"),
    ],
)
def test_without_a_protocol_any_message_can_be_read(data: Any, message: Any, kind: str) -> None:
    """As JSON if it is JSON, otherwise as text."""
    protocol = AnyProtocol()
    decoded = protocol.text_decoder()(data.encode()) if isinstance(data, str) else protocol.decode(data)
    assert decoded == message
    assert protocol.message_type(decoded) == kind
