"""The clients of a site and its health page, without a framework and without a network."""

import json
import logging
from collections.abc import Callable
from typing import Any

import pytest

import wsnova_statsd as ws
from wsnova_statsd.client.health import Health
from wsnova_statsd.contrib import site as of_site
from wsnova_statsd.contrib.site import Clients, Site, page
from wsnova_statsd.contrib.site_settings import Settings
from wsnova_statsd.errors import ConfigurationError
from wsnova_statsd.testing.clock import FakeClock

URL = "ws://127.0.0.1:1"
NOW = 1_000_000.0


def _same(function: Callable[..., object]) -> Callable[..., object]:
    return function


def _site(clients: dict[str, Any], process: Clients | None = None, **settings: Any) -> Site:
    return Site(Settings(clients=clients, **settings), _same, {}, Clients() if process is None else process)


def _figures(**more: Any) -> Health:
    client: ws.Client = ws.Client(URL, client_id="a", on_message=print, bus=ws.Bus())
    made: Health = {**client.health(), **more}  # type: ignore[typeddict-item]
    return made


CONNECTED = {"state": "connected", "status": "ok", "connected_since": NOW}
AWAY = {"state": "waiting", "error": "nothing listens"}


@pytest.mark.parametrize(
    ("figures", "status"),
    [
        ([], "ok"),
        ([CONNECTED], "ok"),
        ([CONNECTED, {**CONNECTED, "status": "degraded", "behind": 2.0}], "degraded"),
        ([{"state": "idle"}], "degraded"),
        ([{**AWAY, "disconnected_since": NOW - 60.0}], "degraded"),
        ([{**AWAY, "disconnected_since": NOW - 60.001}], "unhealthy"),
        ([{**AWAY, "disconnected_since": NOW - 61}, CONNECTED, {"state": "idle"}], "unhealthy"),
        ([{"state": "closed"}], "unhealthy"),
        ([CONNECTED, {"state": "forked"}], "unhealthy"),
    ],
)
def test_a_page_is_unhealthy_only_if_a_client_is_lost_or_down_for_too_long(
    figures: list[dict[str, Any]], status: str
) -> None:
    """A feed that is down, or far behind, is degraded."""
    clock = FakeClock(NOW)
    assert page([_figures(**one) for one in figures], 60.0, clock)["status"] == status


def test_the_pages_clients_are_those_of_client_health() -> None:
    """And its KPIs the rows of the Monitor that runs; both as JSON."""
    made = _site({"a": URL})
    client = made.client("a")
    assert json.loads(made.health()[1]) == {"status": "degraded", "clients": [client.health()], "kpis": []}
    with ws.Monitor("lightweight", reporter=ws.StatsdReporter(port=1)) as monitor:
        reported = json.loads(made.health()[1])["kpis"]
        assert reported == json.loads(monitor.kpis.report().to_json())
        assert [row["key"] for row in reported] == [row.key for row in monitor.kpis.report()]


def test_clients_of_the_settings_are_on_the_page_before_they_are_made() -> None:
    """Idle; clients of another worker are not, as long as nothing requests them here."""
    reported = json.loads(_site({"a": URL}).health()[1])["clients"]
    assert [(one["client_id"], one["state"], set(one)) for one in reported] == [
        ("a", "idle", set(Health.__annotations__))
    ]
    elsewhere = _site({"a": URL}, automatic=False)
    assert json.loads(elsewhere.health()[1])["clients"] == []
    elsewhere.client("a")
    assert len(json.loads(elsewhere.health()[1])["clients"]) == 1


def test_a_closed_client_is_503_and_one_that_is_down_is_so_for_health_alone() -> None:
    """A liveness probe must not restart a process because an exchange is down."""
    made = _site({"a": URL}, unhealthy_after=1e-6)
    client = made.client("a")
    client.start(wait=False)
    assert (made.health()[0], made.health(live=True)[0]) == (503, 200)
    client.close(1.0)
    assert (made.health()[0], made.health(live=True)[0]) == (503, 503)


def test_a_client_that_was_closed_stays_closed() -> None:
    """It was closed on purpose, however often the site starts."""
    with ws.Monitor("lightweight", reporter=ws.StatsdReporter(port=1)):
        made = _site({"a": URL})
        made.start()
        assert made.client("a").state not in (ws.State.IDLE, ws.State.CLOSED)
        made.client("a").close(1.0)
        made.start()
        assert made.client("a").state is ws.State.CLOSED


def test_one_process_has_each_client_once_however_many_sites_name_it() -> None:
    """The same value is the same client; another value is refused by its name."""
    process = Clients()
    assert _site({"a": URL}, process).client("a") is _site({"a": URL, "b": URL}, process).client("a")
    with pytest.raises(ConfigurationError, match=r"WSNOVA_STATSD_CLIENTS\['a'\] differs from the value in the app"):
        _site({"a": "ws://127.0.0.1:2"}, process).client("a")
    with pytest.raises(ConfigurationError, match="the client's name is 'aa'; allowed: aaa; did you mean 'aaa'"):
        _site({"aaa": URL}).client("aa")


def test_a_factory_that_raises_is_called_once_and_is_closed_on_the_page() -> None:
    """With the reason."""
    asked = list[int]()

    def fails() -> ws.Client:
        asked.append(1)
        raise LookupError("no such venue")

    made = _site({"a": fails})
    for _ in range(2):
        with pytest.raises(ConfigurationError, match="raised LookupError: no such venue"):
            made.client("a")
    [reported] = json.loads(made.health()[1])["clients"]
    assert (reported["state"], "no such venue" in reported["error"], made.health()[0], asked) == (
        "closed",
        True,
        503,
        [1],
    )


def test_messages_of_a_url_go_to_the_handler_as_the_framework_calls_it(caplog: pytest.LogCaptureFixture) -> None:
    """The handler that was passed last; without any they are dropped, which is logged once."""
    called = list[object]()

    def wrap(function: Callable[..., object]) -> Callable[..., object]:
        def wrapped(*arguments: Any) -> object:
            called.append("wrapped")
            return function(*arguments)

        return wrapped

    handlers: dict[str, Callable[[Any], object]] = {}
    made = Site(Settings(clients={"a": URL}), wrap, handlers, Clients())
    client = made.client("a")
    handle = client.on_message
    assert handle is not None
    caplog.set_level(logging.WARNING)
    handle({"n": 1})
    handle({"n": 2})
    handlers["a"] = called.append
    handle({"n": 3})
    assert called == ["wrapped", "wrapped", "wrapped", {"n": 3}]
    assert [one.getMessage() for one in caplog.records if one.name == of_site.__name__] == [
        "the messages of client a are counted and have no handler; add one with @on_message"
    ]


def test_errors_and_reconnects_are_passed_on_as_messages_are() -> None:
    """To the functions that were passed to the client."""
    client: ws.Client = ws.Client(
        "ws://127.0.0.1:1", on_message=print, on_error=print, on_reconnect=list, bus=ws.Bus(), reconnect=False
    )
    wrapped = list[object]()

    def wrap(function: Callable[..., object]) -> Callable[..., object]:
        wrapped.append(function)
        return function

    client.wrap_callbacks(wrap)
    assert wrapped == [print, print, list]


def test_all_mistakes_are_reported_at_once() -> None:
    """Names that lead nowhere, and handlers of unknown clients."""
    made = Site(Settings(clients={"a": "nowhere.make"}, problems=("mine",)), _same, {"aa": print})
    mine, module, handler = made.problems()
    assert mine == "mine"
    assert module.startswith("WSNOVA_STATSD_CLIENTS['a']: there is no module 'nowhere' in ")
    assert handler == "the name passed to on_message is 'aa'; allowed: a"
    with pytest.raises(ConfigurationError, match="mine"):
        made.listen([])
    with pytest.raises(ConfigurationError, match="WSNOVA_STATSD_CLIENTS names no client"):
        _site({}).listen([])
