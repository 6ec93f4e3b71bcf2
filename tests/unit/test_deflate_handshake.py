"""The handshake of permessage-deflate against RFC 7692, sections 5 and 7.1: the offer, and every answer to it."""

import pytest

from wsnova_statsd.errors import ConnectionFailed
from wsnova_statsd.link.deflate import OFFER, Deflate, agree


def test_the_offer_says_that_the_client_keeps_no_context() -> None:
    """And that its window may be limited (section 7.1.2.2); it asks the server for nothing."""
    assert OFFER == "permessage-deflate; client_no_context_takeover; client_max_window_bits"


@pytest.mark.parametrize(
    ("answer", "agreed"),
    [
        ("", None),
        (" , ", None),
        ("permessage-deflate", Deflate(15, True, 15)),
        ("permessage-deflate; client_no_context_takeover", Deflate(15, True, 15)),
        ("permessage-deflate;server_no_context_takeover", Deflate(15, False, 15)),
        ("permessage-deflate; server_max_window_bits=8", Deflate(8, True, 15)),
        ("permessage-deflate; client_max_window_bits=8", Deflate(15, True, 8)),
        ('permessage-deflate ;server_max_window_bits = "10" ;client_max_window_bits="12"', Deflate(10, True, 12)),
        (
            "permessage-deflate; client_max_window_bits=9; server_no_context_takeover; server_max_window_bits=15; "
            "client_no_context_takeover",
            Deflate(15, False, 9),
        ),
    ],
)
def test_what_the_server_may_answer(answer: str, agreed: Deflate | None) -> None:
    """Nothing, or the extension with each parameter at most once, in any order, values quoted or not."""
    assert agree(answer, offered=True) == agreed


@pytest.mark.parametrize("parameter", ["server_max_window_bits", "client_max_window_bits"])
@pytest.mark.parametrize(
    "value", ["", "=", "=7", "=16", "=08", "=+9", "=9.0", "=0x9", '=""', '="9', "=9 9", "=٩", "=-9"]
)
def test_a_window_is_8_to_15_bits(parameter: str, value: str) -> None:
    """In decimal, without leading zeros; an answer has to give the number (section 7.1.2)."""
    with pytest.raises(ConnectionFailed, match=f"{parameter}.*8 to 15") as caught:
        agree(f"permessage-deflate; {parameter}{value}", offered=True)
    assert caught.value.cause == "handshake"


@pytest.mark.parametrize("parameter", ["server_no_context_takeover", "client_no_context_takeover"])
@pytest.mark.parametrize("value", ["=", "=1", "=true", '=""'])
def test_a_takeover_parameter_has_no_value(parameter: str, value: str) -> None:
    """Section 7.1.1."""
    with pytest.raises(ConnectionFailed, match=f"{parameter}.*no value") as caught:
        agree(f"permessage-deflate; {parameter}{value}", offered=True)
    assert caught.value.cause == "handshake"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("permessage-deflate; mystery", "'mystery', which is no parameter"),
        ("permessage-deflate; mystery=1", "'mystery', which is no parameter"),
        ("permessage-deflate; Server_No_Context_Takeover", "no parameter"),
        ("permessage-deflate;", "'', which is no parameter"),
        ("permessage-deflate; server_no_context_takeover; server_no_context_takeover", "repeated"),
        ("permessage-deflate; server_max_window_bits=9; server_max_window_bits=9", "repeated"),
        ("permessage-deflate, permessage-deflate", "more than once"),
        ("permessage-deflate, x-other", "'x-other', which this client did not offer"),
        ("x-webkit-deflate-frame", "'x-webkit-deflate-frame', which this client did not offer"),
        ("permessage-deflate=1", "did not offer"),
        (";", "'', which this client did not offer"),
        (f"{'x' * 9999}", f"'{'x' * 50}',"),
        ("x\x1b[2J", r"'x\\x1b[2J'".replace("[", r"\[")),
    ],
)
def test_what_the_server_must_not_answer(answer: str, said: str) -> None:
    """The connection fails with a sentence that quotes the server in a bounded, harmless form."""
    with pytest.raises(ConnectionFailed, match=said) as caught:
        agree(answer, offered=True)
    assert caught.value.cause == "handshake"
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("answer", ["permessage-deflate", "permessage-deflate; server_max_window_bits=9", "x-other"])
def test_nothing_may_be_agreed_that_was_not_offered(answer: str) -> None:
    """RFC 6455, section 4.1, point 5; an answer without the header is fine."""
    assert agree("", offered=False) is None
    with pytest.raises(ConnectionFailed, match="did not offer"):
        agree(answer, offered=False)
