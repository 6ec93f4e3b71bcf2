"""ws.init: the process's one Monitor; and the warning if two Monitors or reporters would send the same twice."""

import gc
import logging
import os
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

import wsnova_statsd as ws
from wsnova_statsd.monitor import init_from_env
from wsnova_statsd.testing import DogStatsDReceiver

CONNECTED = {"duration": 12_000_000}
COMPLETED = "websocket.connection.completed"
TWICE = "send the same to the same Agent"


@pytest.fixture
def agent() -> Iterator[DogStatsDReceiver]:
    with DogStatsDReceiver() as receiver:
        yield receiver
    assert receiver.malformed == []


@pytest.fixture(autouse=True)
def made(agent: DogStatsDReceiver, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[ws.Monitor]]:
    """What init made, stopped at the end; the Agent is that of the variables."""
    assert agent.port is not None
    monkeypatch.setenv("DD_AGENT_HOST", agent.host)
    monkeypatch.setenv("DD_DOGSTATSD_PORT", str(agent.port))
    monitors: list[ws.Monitor] = []
    yield monitors
    for monitor in monitors:
        monitor.stop()


def _reporter(**options: Any) -> ws.StatsdReporter:
    return ws.StatsdReporter(**options)


def _count(bus: ws.Bus, client: str = "md-1") -> None:
    bus.execute(ws.events.CONNECTION_COMPLETED, CONNECTED, {"client_id": client})


# -- init --------------------------------------------------------------------------------------------------------------


def _arguments(bus: ws.Bus) -> dict[str, Any]:
    """Made again at every call, as an application factory does."""
    metrics = [*ws.statsd_metrics(), ws.counter("opened", ws.events.CONNECTION_COMPLETED, tags=["client_id"])]
    return {
        "profile": "financial",
        "reporter": _reporter(metrics=metrics, tags=["team:md"], bus=bus),
        "alerts": [ws.alerts.SlowProcessing(threshold_ms=250.0)],
        "alert_sinks": [print],
        "bus": bus,
    }


def test_the_programs_own_init_replaces_the_monitor_of_the_environment_once(
    agent: DogStatsDReceiver, made: list[ws.Monitor]
) -> None:
    """Equal arguments make it the program's own; others replace it, and what is counted arrives once."""
    variables = {"WSNOVA_STATSD_PROFILE": "financial", "WSNOVA_STATSD_TAGS": "by:variable"}
    made.append(init_from_env(variables))
    assert (made[0].profile.name, init_from_env(variables)) == ("financial", made[0])
    made.append(ws.init("standard"))
    assert [monitor.running for monitor in made] == [False, True]
    _count(ws.telemetry.DEFAULT)
    made[1].stop()
    assert agent.wait_for(lambda r: r.count(COMPLETED) == 1)
    assert agent.metrics(COMPLETED)[0].tags == ("client:md-1",)
    made.append(init_from_env({}))
    assert ws.init("standard") is made[2]
    with pytest.raises(ws.errors.ConfigurationError, match=r"ws\.init was called with profile="):
        ws.init("financial")
    with pytest.raises(ws.errors.ConfigurationError, match="did you mean 'PROFILE'"):
        init_from_env({"WSNOVA_STATSD_PROFIL": "x"})


def test_called_again_with_equal_arguments_it_is_the_same_monitor_which_runs(
    agent: DogStatsDReceiver, bus: ws.Bus, made: list[ws.Monitor], caplog: pytest.LogCaptureFixture
) -> None:
    """By value: rules, definitions, reporters made of the same; a profile by name or as an object; lists and tuples."""
    made.append(ws.init(**_arguments(bus)))
    again = _arguments(bus) | {"profile": ws.FINANCIAL, "alert_sinks": (print,), "kpis": True}
    assert ws.init(**again) is made[0]
    assert made[0].running
    _count(bus)
    assert made[0].stop()
    assert agent.wait_for(lambda agent: agent.count(COMPLETED, ["team:md"]) == 1)
    assert caplog.records == []


@pytest.mark.parametrize(
    ("changed", "reported"),
    [
        ({"profile": "standard"}, "profile=Profile(name='financial', "),
        ({"kpis": False}, "kpis=True before, and with kpis=False now; a process has one Monitor"),
        (
            {"alerts": [ws.alerts.SlowProcessing()]},
            "alerts=(SlowProcessing(cool_down=60.0, threshold_ms=250.0),) before",
        ),
        ({"system": True}, "system=False before, and with system=True now"),
        ({"alert_sinks": [repr]}, "alert_sinks=(<built-in function print>,) before"),
        ({"reporter": None}, "reporter=<wsnova_statsd.StatsdReporter to 127.0.0.1:"),
    ],
)
def test_with_other_arguments_it_raises_and_names_the_one_that_differs(
    bus: ws.Bus, made: list[ws.Monitor], changed: dict[str, Any], reported: str
) -> None:
    made.append(ws.init(**_arguments(bus)))
    with pytest.raises(ws.errors.ConfigurationError) as raised:
        ws.init(**(_arguments(bus) | changed))
    assert str(raised.value).startswith(f"ws.init was called with {reported}")
    assert made[0].running


@pytest.mark.parametrize("option", [{"tags": ["team:fx"]}, {"metrics": []}, {"flush_interval": 10}, {"worker": "w"}])
def test_a_reporter_with_other_arguments_differs(bus: ws.Bus, made: list[ws.Monitor], option: dict[str, Any]) -> None:
    made.append(ws.init(reporter=_reporter(bus=bus), bus=bus))
    with pytest.raises(ws.errors.ConfigurationError, match=r"^ws\.init was called with reporter="):
        ws.init(reporter=_reporter(bus=bus, **option), bus=bus)


def test_reporters_among_the_sinks_are_compared_by_value(bus: ws.Bus, made: list[ws.Monitor]) -> None:
    """Like the argument `reporter`; one for another service differs."""
    reporter = _reporter(bus=bus)
    made.append(ws.init(reporter=reporter, bus=bus, alert_sinks=[print, _reporter(tags=["service:desk"])]))
    assert ws.init(reporter=reporter, bus=bus, alert_sinks=[print, _reporter(tags=["service:desk"])]) is made[0]
    with pytest.raises(ws.errors.ConfigurationError, match=r"^ws\.init was called with alert_sinks="):
        ws.init(reporter=reporter, bus=bus, alert_sinks=[print, _reporter(tags=["service:web"])])


def test_true_and_one_differ(bus: ws.Bus, made: list[ws.Monitor]) -> None:
    """system=True is a sample every ten seconds."""
    made.append(ws.init(system=True, bus=bus))
    with pytest.raises(ws.errors.ConfigurationError, match="system=True before, and with system=1 now"):
        ws.init(system=1, bus=bus)


def test_after_stop_it_makes_a_new_one_of_any_arguments(bus: ws.Bus, made: list[ws.Monitor]) -> None:
    first = ws.init(bus=bus)
    assert first.stop()
    made.append(ws.init("lightweight", bus=bus))
    assert made[0] is not first
    assert made[0].profile == ws.LIGHTWEIGHT


def test_in_a_forked_child_it_makes_a_new_one_which_replaces_the_parents(
    agent: DogStatsDReceiver, bus: ws.Bus, made: list[ws.Monitor]
) -> None:
    """What happens in the child before and after is counted once; the parent's goes on."""
    made.append(ws.init(bus=bus))
    pid = os.fork()
    if pid == 0:
        try:
            _count(bus, "child")
            mine = ws.init("lightweight", bus=bus)
            _count(bus, "child")
            good = mine is not made[0] and ws.init("lightweight", bus=bus) is mine and not made[0].running
            os._exit(0 if mine.stop() and good else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert ws.init(bus=bus) is made[0]
    _count(bus, "parent")
    assert made[0].stop()
    assert agent.wait_for(lambda agent: agent.count(COMPLETED, ["client:parent"]) == 1)
    assert agent.count(COMPLETED, ["client:child"]) == 2


def test_an_unknown_argument_is_refused(bus: ws.Bus) -> None:
    with pytest.raises(ws.errors.ConfigurationError, match=r"^ws\.init has no 'kpi'; it has: profile, reporter, "):
        ws.init(kpi=True, bus=bus)  # type: ignore[call-overload]


@pytest.mark.parametrize(("value", "profile"), [("financial", ws.FINANCIAL), (" ", ws.STANDARD), (None, ws.STANDARD)])
def test_the_default_profile_is_that_of_the_variable(
    bus: ws.Bus,
    made: list[ws.Monitor],
    monkeypatch: pytest.MonkeyPatch,
    value: str | None,
    profile: ws.Profile,
) -> None:
    """Of init and of Monitor; otherwise the standard one. An argument wins."""
    if value is not None:
        monkeypatch.setenv("WSNOVA_STATSD_PROFILE", value)
    made.append(ws.init(bus=bus))
    assert made[0].profile == ws.Monitor(bus=bus).profile == profile
    assert ws.Monitor("lightweight", bus=bus).profile == ws.LIGHTWEIGHT
    assert ws.Monitor.from_env({}, bus=bus).profile == ws.STANDARD


def test_a_variable_that_names_no_profile_is_named(bus: ws.Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WSNOVA_STATSD_PROFILE", "fast")
    for make in (ws.init, ws.Monitor):
        with pytest.raises(ws.errors.ConfigurationError) as raised:
            make(bus=bus)
        assert str(raised.value) == ("WSNOVA_STATSD_PROFILE is 'fast'; allowed: financial, standard, lightweight")


# -- twins -------------------------------------------------------------------------------------------------------------


def _warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING]


def test_for_two_reporters_that_send_the_same_a_warning_names_both_and_their_places(
    bus: ws.Bus, caplog: pytest.LogCaptureFixture
) -> None:
    with _reporter(bus=bus) as first, _reporter(bus=bus) as second:
        (reported,) = _warnings(caplog)
        assert reported.startswith(f"{first!r} and {second!r} {TWICE}: every metric is counted twice. ")
    assert f"started at {__file__}:" in reported


def test_for_two_monitors_there_is_one_warning(bus: ws.Bus, caplog: pytest.LogCaptureFixture) -> None:
    """By their reporters; by the Monitors if the reporters do not count the same, or are one."""
    with ws.Monitor(bus=bus), ws.Monitor(bus=bus):
        (reported,) = _warnings(caplog)
        assert "<wsnova_statsd.StatsdReporter to " in reported
    caplog.clear()
    with _reporter(bus=bus) as shared, ws.Monitor("standard", reporter=shared, bus=bus) as first:
        with ws.Monitor("financial", reporter=shared, bus=bus) as second:
            (reported,) = _warnings(caplog)
            assert reported.startswith(f"{first!r} and {second!r} {TWICE}: KPIs and alerts are sent twice. ")
        caplog.clear()
        with ws.Monitor("standard", reporter=shared, alerts=False, kpis=False, bus=bus):
            assert _warnings(caplog) == []
    with ws.Monitor("standard", reporter=_reporter(metrics=[], bus=bus), bus=bus), ws.Monitor(bus=bus):
        (reported,) = _warnings(caplog)
        assert reported.count("<wsnova_statsd.Monitor standard started at ") == 2


OTHERS: dict[str, dict[str, Any]] = {
    "other metrics": {"metrics": [ws.counter("opened", ws.events.CONNECTION_COMPLETED)]},
    "another namespace": {"namespace": "app"},
    "other tags": {"tags": ["team:fx"]},
    "another Agent": {"host": "127.0.0.1", "port": 9},
    "another bus": {"bus": ws.Bus()},
}


@pytest.mark.parametrize("other", OTHERS)
def test_reporters_that_send_something_else_or_elsewhere_are_no_twins(
    bus: ws.Bus, caplog: pytest.LogCaptureFixture, other: str
) -> None:
    with _reporter(bus=bus), _reporter(**({"bus": bus} | OTHERS[other])):
        assert _warnings(caplog) == []


def test_a_later_reporter_is_no_twin_and_one_alone_is_not_its_own_twin(
    bus: ws.Bus, caplog: pytest.LogCaptureFixture
) -> None:
    """Started again, or once the first is stopped or gone; started reporters are held weakly."""
    first = _reporter(bus=bus)
    for _ in range(2):
        with first:
            assert first.start() is first
    with _reporter(bus=bus):
        pass
    assert _warnings(caplog) == []
    gone = weakref.ref(first)
    del first
    gc.collect()
    assert gone() is None
