"""Unusable arguments are refused where they are written: by the public constructors, with what to do instead."""

import inspect
from collections.abc import Callable
from typing import Any
from unittest.mock import AsyncMock, MagicMock

import pytest

import wsnova_statsd
from wsnova_statsd import testing
from wsnova_statsd.errors import ConfigurationError

ws: Any = wsnova_statsd  # a checker would refuse most of what stands here
URL = "ws://127.0.0.1:1/feed"


async def _later(*arguments: object) -> Any: ...


class _LateAuth:
    async def login(self, client: object) -> None: ...


class _LateProtocol(wsnova_statsd.JsonProtocol):
    async def decode(self, data: str | bytes) -> Any: ...


class _NoProtocol(wsnova_statsd.JsonProtocol):
    sent_at = None  # type: ignore[assignment]


class _NarrowProtocol(wsnova_statsd.JsonProtocol):
    def message_type(self) -> str:  # type: ignore[override]
        return "x"


REFUSED: list[tuple[str, Callable[[], object]]] = [
    ("on_message", lambda: ws.Client(URL, on_message=_later)),
    ("on_error", lambda: ws.Client(URL, on_error=_later)),
    ("on_reconnect", lambda: ws.Client(URL, on_reconnect=_later)),
    ("url", lambda: ws.Client(_later)),
    ("headers", lambda: ws.Client(URL, headers=_later)),
    ("_LateAuth.login", lambda: ws.Client(URL, auth=_LateAuth())),
    ("_LateProtocol.decode", lambda: ws.Client(URL, protocol=_LateProtocol())),
    ("HeaderAuth's headers", lambda: ws.HeaderAuth(_later)),
    ("HeaderAuth's X-Key", lambda: ws.HeaderAuth({"X-Key": _later})),
    ("MessageAuth's message", lambda: ws.MessageAuth(_later, lambda message: None)),
    ("MessageAuth's accepted", lambda: ws.MessageAuth("hello", _later)),
    ("JsonProtocol's loads", lambda: ws.JsonProtocol(loads=_later)),
    ("JsonProtocol's dumps", lambda: ws.JsonRpcProtocol(dumps=_later)),
    ("handler 'late'", lambda: ws.Bus().attach("late", "a.b", _later)),
    ("bind of handler 'late'", lambda: ws.Bus().attach("late", "a.b", print, bind=_later)),
    ("keep of metric 'a.b'", lambda: ws.counter("a.b", keep=_later)),
    ("a profile's metadata_filter", lambda: ws.STANDARD.replace(metadata_filter=_later)),
    ("a sink", lambda: ws.Monitor(alert_sinks=[_later], bus=ws.Bus())),
    ("When's fires", lambda: ws.alerts.When("late", "a.b", _later)),
]


@pytest.mark.parametrize(("what", "make"), REFUSED, ids=[what for what, _ in REFUSED])
def test_a_coroutine_function_is_accepted_nowhere(what: str, make: Callable[[], object]) -> None:
    """Its body would never run, and each call would count as a success."""
    with pytest.raises(ConfigurationError) as caught:
        make()
    assert str(caught.value).startswith(f"{what} is the coroutine function ")


def test_what_replaces_a_protocols_method_has_to_be_a_method() -> None:
    """None does not switch a method off; the default does."""
    with pytest.raises(ConfigurationError, match=r"^_NoProtocol\.sent_at is None; define a method$"):
        ws.Client(URL, protocol=_NoProtocol())


def test_a_mock_that_is_awaited_is_refused_as_well() -> None:
    """AsyncMock says that it is a coroutine function, and so do functions that are marked as one."""
    with pytest.raises(ConfigurationError, match=r"^on_message is the coroutine function AsyncMock"):
        ws.Client(URL, on_message=AsyncMock())
    ws.Client(URL, on_message=MagicMock())


def test_for_a_coroutine_function_as_handler_the_error_shows_the_line_that_works() -> None:
    """The sentence says that the client is synchronous, and how messages reach an asyncio loop."""
    with pytest.raises(ConfigurationError) as caught:
        ws.Client(URL, on_message=_later)
    assert str(caught.value) == (
        "on_message is the coroutine function _later, whose body would never run: this library is synchronous; pass "
        "a plain function; to hand over to an asyncio loop, pass lambda message: "
        "loop.call_soon_threadsafe(queue.put_nowait, message), and await queue.get() there"
    )


@pytest.mark.parametrize(
    ("sentence", "make"),
    [
        ("on_message takes (), but is called with (message)", lambda: ws.Client(URL, on_message=lambda: None)),
        ("on_error takes (), but is called with (error)", lambda: ws.Client(URL, on_error=lambda: None)),
        ("on_reconnect takes (link), but is called with ()", lambda: ws.Client(URL, on_reconnect=lambda link: None)),
        ("url takes (n), but is called with ()", lambda: ws.Client(lambda n: URL)),
        ("headers takes (n), but is called with ()", lambda: ws.Client(URL, headers=lambda n: None)),
        ("MessageAuth's accepted takes ()", lambda: ws.MessageAuth("hello", lambda: True)),
        ("_NarrowProtocol.message_type takes ()", lambda: ws.Client(URL, protocol=_NarrowProtocol())),
        ("handler 'x' takes (event)", lambda: ws.Bus().attach("x", "a.b", lambda event: None)),
        ("keep of metric 'a.b' takes (one)", lambda: ws.counter("a.b", keep=lambda one: True)),
        ("a profile's metadata_filter takes ()", lambda: ws.STANDARD.replace(metadata_filter=lambda: None)),
        ("a sink takes ()", lambda: ws.Monitor(alert_sinks=[lambda: None], bus=ws.Bus())),
    ],
)
def test_a_function_of_other_arguments_is_refused(sentence: str, make: Callable[[], object]) -> None:
    """It would fail at its first call, perhaps hours later."""
    with pytest.raises(ConfigurationError) as caught:
        make()
    assert str(caught.value).startswith(sentence)


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ("10.0.0.5:8126", "host='10.0.0.5', port=8126"),
        ("[fd00::1]:8126", "host='fd00::1', port=8126"),
        ("agent", "host='agent', port=8125"),
    ],
)
def test_for_the_agents_address_in_the_place_of_metrics_the_error_shows_the_remedy(given: str, hint: str) -> None:
    """Every other StatsD client accepts it there."""
    with pytest.raises(ConfigurationError) as caught:
        ws.StatsdReporter(given)
    assert str(caught.value) == (
        f"metrics must be a list of definitions such as ws.counter(...), got {given!r}; "
        f"pass the address by name: {hint}"
    )


def test_for_a_host_with_a_port_in_it_the_error_shows_the_remedy() -> None:
    """An IPv6 address without brackets holds colons, and is a host."""
    with pytest.raises(ConfigurationError, match=r"^host is 'agent:8126'; set host='agent' and port=8126$"):
        ws.StatsdReporter(host="agent:8126")
    assert ws.StatsdReporter(host="fd00::1").address.host == "fd00::1"


@pytest.mark.parametrize("make", [ws.StatsdReporter, ws.PrometheusReporter])
@pytest.mark.parametrize("given", [8125, "websocket.message.received", b"x"])
def test_metrics_that_are_no_list_are_refused(make: Callable[[Any], object], given: object) -> None:
    """A string would be read letter by letter."""
    with pytest.raises(ConfigurationError, match=r"^metrics must be a list of definitions"):
        make(given)


@pytest.mark.parametrize(
    ("typo", "meant", "make"),
    [
        ("on_mesage", "on_message", lambda **more: ws.Client(URL, **more)),
        ("prometheusport", "prometheus_port", ws.Monitor),
        ("alert_sink", "alert_sinks", ws.init),
        ("flush_intervall", "flush_interval", ws.StatsdReporter),
        ("max_serie", "max_series", ws.PrometheusReporter),
        ("logger_", "logger", ws.LogReporter),
        ("window", "window_s", lambda **more: ws.KpiTracker("standard", **more)),
        ("tag", "tags", lambda **more: ws.counter("a.b", **more)),
        ("bucket", "buckets", lambda **more: ws.distribution("a.b", **more)),
        ("dump", "dumps", ws.JsonProtocol),
        ("subscribe_methode", "subscribe_method", ws.JsonRpcProtocol),
        ("ping_intervall", "ping_interval", ws.STANDARD.replace),
        ("stable_afer", "stable_after", ws.Profile),
        ("per_secnd", "per_second", ws.RateLimit),
        ("header", "headers", ws.HeaderAuth),
        ("timout", "timeout", ws.MessageAuth),
        ("timout", "timeout", lambda **more: ws.Client(URL).start(**more)),
        ("confg", "config", lambda **more: ws.Bus().attach("x", "a.b", print, **more)),
        ("event", "events", lambda **more: ws.Bus().attach_many("x", function=print, **more)),
        ("metric", "metrics", ws.HandlerRegistry),
        ("adress", "address", lambda **more: ws.PrometheusReporter(bus=ws.Bus()).start(**more)),
        ("sink", "sinks", ws.alerts.Alerts),
        ("loger", "logger", ws.alerts.ToLog),
        ("treshold_ms", "threshold_ms", ws.alerts.SlowProcessing),
        ("max_datagrams", "max_datagram", testing.DogStatsDReceiver),
        ("ping_intervall", "ping_interval", testing.WebSocketServer),
    ],
)
def test_an_unknown_keyword_is_refused_with_the_nearest(typo: str, meant: str, make: Callable[..., object]) -> None:
    """A typo in an option's name needs no look into the manual."""
    with pytest.raises(ConfigurationError, match=rf"has no '{typo}'; it has: .*; did you mean '{meant}'\?$"):
        make(**{typo: 1})


@pytest.mark.parametrize("one", [ws.Client, ws.Monitor, ws.StatsdReporter, ws.PrometheusReporter, ws.init])
def test_the_large_constructors_accept_one_argument_by_position(one: Callable[..., object]) -> None:
    """All others are keyword-only: the ninth of twenty positions is unreadable."""
    kinds = [parameter.kind for parameter in inspect.signature(one).parameters.values()]
    assert kinds[0] is inspect.Parameter.POSITIONAL_OR_KEYWORD
    assert set(kinds[1:]) <= {inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.VAR_KEYWORD}
    assert len(kinds) > 1
