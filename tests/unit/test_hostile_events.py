"""Events whose metadata, measurements and errors are hostile, and hostile settings: nothing raises, no metric is
forged."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

import wsnova_statsd as ws
from tests import hostile
from wsnova_statsd.errors import ConfigurationError
from wsnova_statsd.reporters import settings
from wsnova_statsd.testing.metrics import capture_metrics
from wsnova_statsd.testing.server import WebSocketServer, send_messages

EVENT = ws.events.MESSAGE_RECEIVED


class _AnyInt(hostile.Pretends):
    """Says that it is an int, or a float, and compares as it is asked to."""

    def __lt__(self, other: object) -> bool:
        return True

    __gt__ = __le__ = __ge__ = __lt__


class _UnreadableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


def test_metadata_whose_hash_raises_is_counted() -> None:
    bus = ws.Bus()
    with capture_metrics(bus=bus) as metrics:
        for thing in (hostile.Raises(), hostile.Says("x")):
            bus.execute(EVENT, {"size": 1}, {"client_id": "a", "type": thing})
        bus.execute(EVENT, {"size": 1}, {"client_id": hostile.Raises(), "type": "t"})
    assert metrics.count("websocket.message.received") == 3


@pytest.mark.parametrize(
    "make", [hostile.Raises, lambda: _AnyInt(int), lambda: _AnyInt(float)], ids=["raises", "int", "float"]
)
def test_a_measurement_that_lies_about_its_class_poisons_nothing(make: Callable[[], Any]) -> None:
    bus, thing = ws.Bus(), make()  # made here: pytest looks closely at parameters
    with capture_metrics(bus=bus) as metrics:
        for size in (thing, 5):
            bus.execute(EVENT, {"size": size}, {"client_id": "a", "type": "t"})
    assert metrics.count("websocket.message.received") == 2
    assert metrics.count("websocket.message.received.bytes") == 5


def test_an_event_name_may_hold_a_nul() -> None:
    bus = ws.Bus()
    with capture_metrics([ws.counter("x", event="a\0b")], bus=bus) as metrics:
        bus.execute("a\0b", {}, {})
    assert metrics.count("x") == 1


def test_a_handlers_error_without_a_text_does_not_end_the_client() -> None:
    done = threading.Event()

    def on_message(message: Any) -> None:
        if message["type"] == "bad":
            raise _UnreadableError
        done.set()

    with (
        WebSocketServer(send_messages(['{"type":"bad"}', '{"type":"last"}'])) as server,
        ws.Client(server.url, profile="financial", on_message=on_message, bus=ws.Bus()),
    ):
        assert done.wait(5)


@pytest.mark.parametrize("value", [":::", "  ", "a:", "a|b"])
def test_an_entity_id_is_a_whole_tag_or_none(value: str) -> None:
    tags = settings.constant_tags((), {"DD_ENTITY_ID": value})
    assert all(tag.startswith("dd.internal.entity_id:") and not tag.endswith(":") and "|" not in tag for tag in tags)


@pytest.mark.parametrize("value", ["it-1\nforged:1|c", "it|@0.001", "\udcff"])
def test_external_data_that_would_tear_a_line_is_refused(value: str) -> None:
    with pytest.raises(ConfigurationError, match="DD_EXTERNAL_ENV is"):
        settings.external_data({"DD_EXTERNAL_ENV": value})


def test_external_data_as_the_admission_controller_writes_it_is_taken() -> None:
    settings.external_data({"DD_EXTERNAL_ENV": "it-false,cn-nginx-webserver,pu-75a2b6d5-3949-4afb-ad0d-92ff0674e759"})
    settings.external_data({})
