"""From a hostile server, or hostile settings, to a real receiver: every message counts, none forges a metric."""

import contextlib
import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import wsnova_statsd as ws
from tests import hostile
from wsnova_statsd import wire
from wsnova_statsd.testing.receiver import DogStatsDReceiver
from wsnova_statsd.testing.server import WebSocketServer, send_messages

RECEIVED = "websocket.message.received"
ERRORS = ws.counter("errors", ws.events.ERROR_OCCURRED, tags=["error", "error_type"])
# As a server can write them: JSON carries lone surrogates, NUL and a megabyte as well as any text.
TYPED = [json.dumps({"type": text}) for text in hostile.TEXTS if text] + ['{"type":5}', '{"type":null}', "[1]", '"x"']
UNDECODABLE = ['{"type":"a\n|@0.001"', "forged:1|c", "\n", "{" * 5000]
LAST = "last"


@pytest.fixture(params=["udp", "unix"])
def receiver(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[DogStatsDReceiver]:
    path = str(tmp_path / "dsd.socket")
    with DogStatsDReceiver(path) if request.param == "unix" else DogStatsDReceiver() as made:
        yield made


def _where(receiver: DogStatsDReceiver) -> dict[str, Any]:
    return {"host": receiver.host, "port": receiver.port} if receiver.path is None else {"socket_path": receiver.path}


def _run(receiver: DogStatsDReceiver, messages: list[str], on_message: Any = None, **options: Any) -> None:
    """A client handles these messages and a last one; all that was counted arrives, and nothing else."""
    done = threading.Event()

    def handle(message: Any) -> None:
        if message in (LAST, {"type": LAST}):
            done.set()
        elif on_message is not None:
            on_message(message)

    bus = ws.Bus()
    last = json.dumps({"type": LAST}) if "protocol" not in options else LAST
    options = {"client_id": "md-1", "profile": "financial", **options}
    definitions = [*ws.statsd_metrics(), ERRORS]
    with (
        WebSocketServer(send_messages([*messages, last])) as server,
        ws.StatsdReporter(definitions, **_where(receiver), bus=bus, flush_interval=10) as reporter,
    ):
        with ws.Client(server.url, on_message=handle, bus=bus, **options):
            assert done.wait(20)
        assert reporter.flush()
        assert reporter.stats.pending == 0
        assert dict(reporter.stats.lost) == {}
        reporter.service_check("over", 0)
        assert reporter.flush()
    assert receiver.wait_for(lambda r: r.checks, 20)
    assert receiver.malformed == []
    assert bus.handler_errors == 0
    assert {one.name for one in receiver.metrics()} <= {one.name for one in definitions}
    tags = {tag for one in receiver.metrics() for tag in one.tags}
    assert {tag.partition(":")[0] for tag in tags} <= {tag for one in definitions for tag, _ in one.tags}
    assert all(one.rate == 1 or 1 / one.rate >= 2 for one in receiver.metrics())


def _types(receiver: DogStatsDReceiver, name: str) -> set[str]:
    tags = {tag for one in receiver.metrics(name) for tag in one.tags}
    return {tag.removeprefix("type:") for tag in tags if tag.startswith("type:")}


def test_what_a_server_calls_its_messages_is_a_tag_and_nothing_else(receiver: DogStatsDReceiver) -> None:
    """Every message counts as received and handled, under a type of 64 harmless characters."""
    _run(receiver, [*TYPED, *UNDECODABLE])
    assert receiver.count(RECEIVED, ["client:md-1"]) == len(TYPED) + len(UNDECODABLE) + 1
    assert receiver.count(RECEIVED, ["type:invalid"]) == len(UNDECODABLE)
    assert receiver.count("websocket.message.process.completed", ["result:ok"]) == len(TYPED) + 1
    assert receiver.count("websocket.error.occurred", ["type:decode", "severity:warning"]) == len(UNDECODABLE)
    types = _types(receiver, RECEIVED)
    assert "a__0.001" in types
    assert all(re.fullmatch(r"[a-z0-9_.:-]{0,63}[a-z0-9_.-]", one) for one in types)


class _Hostile(ws.Protocol):
    """Returns any type for its messages."""

    def message_type(self, message: Any) -> Any:
        return "last" if message == LAST else hostile.OBJECTS[int(message)][0]


def test_what_a_protocol_returns_as_a_type_costs_no_message(receiver: DogStatsDReceiver) -> None:
    """Any value of message_type, of any class."""
    handled: list[str] = []
    numbers = list(map(str, range(len(hostile.OBJECTS))))
    _run(receiver, numbers, handled.append, protocol=_Hostile())
    assert receiver.count(RECEIVED, ["client:md-1"]) == len(numbers) + 1
    assert all(re.fullmatch(r"[a-z0-9_.:-]{1,64}", one) for one in _types(receiver, RECEIVED))


@pytest.mark.parametrize("client_id", ["a|b\nforged:1|c", "x,host:evil", "host:evil", "\ud800", "日" * 200, "|#c:ci-1"])
def test_a_hostile_client_id_is_one_tag(receiver: DogStatsDReceiver, client_id: str) -> None:
    """The same on every metric, and its state ends with it."""
    _run(receiver, [], client_id=client_id)
    tag = hostile.tag_of(f"client:{client_id}")
    assert receiver.metrics(RECEIVED, [tag])
    assert all(tag in one.tags for one in receiver.metrics())
    assert receiver.last("websocket.connection.up", [tag]) == 0


FAULTS: list[Exception] = [
    ValueError("a\nforged:1|c\r\nforged:2|c|#x:y"),
    ValueError("|@0.001|#host:evil,dd.internal.card:none"),
    ValueError("\ud800\x00\u2028" + "é" * 100_000),
    type("Forged\nforged:1|c", (Exception,), {})("x"),
    ValueError("wss://user:hunter2@feed.example/?token=hunter2\npassword: hunter2"),
]


@pytest.mark.parametrize("profile", ["financial", "standard"])
def test_an_errors_text_breaks_neither_its_event_nor_a_line(receiver: DogStatsDReceiver, profile: str) -> None:
    """Each is emitted once, also if its text is a tag, which holds no secret; the client goes on."""
    faults = iter(FAULTS)

    def handle(message: Any) -> None:
        raise next(faults)

    _run(receiver, ['{"type":"a"}'] * len(FAULTS), handle, profile=profile)
    assert next(faults, None) is None
    for name in ("websocket.error.occurred", "errors"):
        assert receiver.count(name) == len(FAULTS)
    assert receiver.count("websocket.error.handled", ["type:handler"]) == len(FAULTS)
    assert not any(b"hunter2" in datagram for datagram in receiver.datagrams)


VARIABLES = ("DD_TAGS", "DATADOG_TAGS", "DD_ENV", "DD_SERVICE", "DD_VERSION", "DD_ENTITY_ID", "DD_EXTERNAL_ENV")


@contextlib.contextmanager
def _shipping(receiver: DogStatsDReceiver, **options: Any) -> Iterator[ws.StatsdReporter]:
    """A reporter, whose lines have all arrived at the end of the block."""
    with ws.StatsdReporter((), **_where(receiver), bus=ws.Bus(), flush_interval=10, **options) as reporter:
        yield reporter
        assert reporter.flush()
        reporter.service_check("last", 0)
        assert reporter.flush()
    assert receiver.wait_for(lambda r: any(one.name == "last" for one in r.checks))


@pytest.mark.parametrize(
    ("variable", "value", "tags"),
    [
        ("DD_TAGS", "a|b:1 c\nforged:1|c :host:evil", ("a_b:1", "c", "forged:1_c")),
        ("DD_TAGS", "a|b:1,c\nforged:1|c :host:evil", ("a_b:1", "c_forged:1_c_:host:evil")),
        ("DATADOG_TAGS", "#x,|@0.001,c:ci-1,:", ("_x", "__0.001", "c:ci-1")),
        ("DD_ENV", "prod\nforged:1|c", ("env:prod_forged:1_c",)),
        ("DD_ENV", "\udcff", ("env:_",)),  # a byte that is no UTF-8
        ("DD_SERVICE", "s,host:evil", ("service:s_host:evil",)),
        ("DD_VERSION", ":", ("version",)),
        ("DD_ENTITY_ID", "pod|#x\nforged:1|c", ("dd.internal.entity_id:pod__x_forged:1_c",)),
        ("DD_TAGS", "t" * 100_000, ("t" * 200,)),
    ],
)
def test_hostile_variables_are_tags_and_nothing_else(
    receiver: DogStatsDReceiver, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, tags: tuple[str, ...]
) -> None:
    """On every metric, event and check, once; none of them adds a line."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, value)
    with _shipping(receiver) as reporter:
        reporter.increment("counted")
        reporter.event("t", "x")
    assert receiver.malformed == []
    assert sorted(type(one).__name__ for one in receiver.messages) == ["Event", "Metric", "ServiceCheck"]
    assert all(one.tags == tags for one in receiver.messages if one not in receiver.checks)
    assert [one.tags for one in receiver.checks] == [("worker:0", *tags)]


def test_one_line_that_is_too_long_is_counted_and_the_others_arrive(receiver: DogStatsDReceiver) -> None:
    """Only the line is lost, not the packet or the window; at the limit, what the Agent reads at once, it is still
    sent."""
    limit = wire.LINE_BYTES
    tags = [f"t{n:03}:{'x' * 95}" for n in range(90)]
    with _shipping(receiver) as reporter:
        suffix = reporter._shipper.suffix  # the container id of this machine, if it has one
        whole = tags[: (limit - suffix - 110) // 101]
        room = limit - suffix - len("n:1|c|#" + ",".join(whole) + ",\n")
        fits, over = "f" * room, "o" * (room + 1)
        reporter.increment("before")
        reporter.increment("n", 1, [*whole, fits])
        reporter.increment("n", 1, [*whole, over])
        reporter.increment("m", 7, tags)
        reporter.distribution("d", 1.5, tags)
        reporter.gauge("g", 1, tags)
        reporter.increment("zafter")
        reporter.flush()
        assert dict(reporter.stats.lost) == {"unsendable": 1 + 7 + 1 + 1}
        reporter.increment("again", 1, tags)
        reporter.increment("zafter")
    assert receiver.malformed == []
    assert {one.name: one.values for one in receiver.metrics() if one.name != "zafter"} == {"before": (1,), "n": (1,)}
    assert receiver.count("zafter") == 2
    assert {len(one) for one in receiver.datagrams if b"n:1|c" in one} == {limit}
