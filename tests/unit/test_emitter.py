"""The emitter: which events are emitted under which profile, and what they may carry."""

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from wsnova_statsd import events
from wsnova_statsd.client.emitter import Emitter
from wsnova_statsd.client.faults import Faults
from wsnova_statsd.profiles import FINANCIAL, LIGHTWEIGHT, STANDARD, Profile
from wsnova_statsd.telemetry import Bus
from wsnova_statsd.testing.capture import EventLog, capture_events

SECRET = "hunter2"

_CONNECTION = {
    events.CONNECTION_STARTED,
    events.CONNECTION_COMPLETED,
    events.CONNECTION_DISCONNECTED,
    events.CONNECTION_RECONNECT_SUCCESS,
}
_RECONNECT = {events.CONNECTION_RECONNECT_ATTEMPT, events.CONNECTION_RECONNECT_FAILED}
_SUBSCRIPTION = {
    events.SUBSCRIPTION_SUBSCRIBE_STARTED,
    events.SUBSCRIPTION_SUBSCRIBE_COMPLETED,
    events.SUBSCRIPTION_UNSUBSCRIBE_STARTED,
    events.SUBSCRIPTION_UNSUBSCRIBE_COMPLETED,
}
_AUTH = {
    events.AUTH_STARTED,
    events.AUTH_COMPLETED,
    events.AUTH_REFRESH_STARTED,
    events.AUTH_REFRESH_COMPLETED,
}
_MESSAGE = {events.MESSAGE_RECEIVED, events.MESSAGE_SENT, events.MESSAGE_PROCESS_COMPLETED}
_DETAIL = {
    events.MESSAGE_DECODE_STARTED,
    events.MESSAGE_DECODE_COMPLETED,
    events.MESSAGE_ENCODE_STARTED,
    events.MESSAGE_ENCODE_COMPLETED,
    events.MESSAGE_PROCESS_STARTED,
}
_HEARTBEAT = {events.HEARTBEAT_SENT, events.HEARTBEAT_RECEIVED, events.HEARTBEAT_MISSED}
_ALWAYS = {
    events.MESSAGE_BATCH_PROCESSED,
    events.MESSAGE_PROCESS_SLOW,
    events.MESSAGE_PROCESS_STUCK,
    events.SYSTEM_SAMPLED,
}
_ERROR = {events.ERROR_OCCURRED, events.ERROR_HANDLED}
_MINIMAL = _CONNECTION | {events.AUTH_FAILED} | _ALWAYS
_STANDARD = _MINIMAL | _RECONNECT | _SUBSCRIPTION | _AUTH | _ERROR
# A profile, and exactly the events emitted under it when a reconnect's failure is not final and an error a warning.
_TABLE: list[tuple[Profile, set[str]]] = [
    (LIGHTWEIGHT, _MINIMAL),
    (STANDARD, _STANDARD),
    (FINANCIAL, _STANDARD | _MESSAGE | _DETAIL | _HEARTBEAT),
    (STANDARD.replace(message_events=True), _STANDARD | _MESSAGE),
    (LIGHTWEIGHT.replace(message_events=True), _MINIMAL),
    (LIGHTWEIGHT.replace(heartbeat_events=True), _MINIMAL | _HEARTBEAT),
    (FINANCIAL.replace(connection_events=False), _ALWAYS | _ERROR | _MESSAGE | _DETAIL | _HEARTBEAT),
    (
        FINANCIAL.replace(
            connection_events=False, message_events=False, error_events=False, heartbeat_events=False, level="minimal"
        ),
        _ALWAYS,
    ),
]


@pytest.fixture
def log(bus: Bus) -> Iterator[EventLog]:
    with capture_events(bus=bus) as captured:
        yield captured


def _metadata(event: str) -> dict[str, Any]:
    minor: dict[str, Any] = {"severity": "warning", "final": False}
    keys = [key for key in events.CATALOGUE[event].metadata if key != "client_id"]
    return {key: minor.get(key, "x") for key in keys}


# Which events are emitted


@pytest.mark.parametrize(("profile", "expected"), _TABLE, ids=[f"{n}-{p.name}" for n, (p, _) in enumerate(_TABLE)])
def test_level_and_toggles_decide(bus: Bus, log: EventLog, profile: Profile, expected: set[str]) -> None:
    """Every event of the catalogue, executed once each: those that are dispatched are those of the table of
    profiles."""
    emit = Emitter(bus, profile, "md-1")
    for event in events.CATALOGUE:
        emit(event, {}, **_metadata(event))
    assert set(log.names()) == expected
    assert len(log) == len(expected)


@pytest.mark.parametrize(
    ("event", "key", "minor", "major"),
    [
        (events.ERROR_OCCURRED, "severity", ["warning"], ["error", "critical"]),
        (events.ERROR_HANDLED, "severity", ["warning"], ["error", "critical"]),
        (events.CONNECTION_RECONNECT_FAILED, "final", [False], [True]),
    ],
)
def test_the_minimal_level_has_the_major_events(
    bus: Bus, log: EventLog, event: str, key: str, minor: list[object], major: list[object]
) -> None:
    """Errors by severity, failed reconnects when they are final."""
    emit = Emitter(bus, LIGHTWEIGHT, "md-1")
    for value in [*minor, *major]:
        emit(event, {}, **{**_metadata(event), key: value})
    assert [captured.metadata[key] for captured in log] == major


@pytest.mark.parametrize(("profile", "observed"), [(FINANCIAL, True), (STANDARD, False), (LIGHTWEIGHT, False)])
def test_a_slot_has_no_handlers_for_an_event_that_the_profile_leaves_out(
    bus: Bus, log: EventLog, profile: Profile, observed: bool
) -> None:
    """A hot path asks the slot for its handlers, and builds nothing if there are none."""
    slot = Emitter(bus, profile, "md-1").slot(events.MESSAGE_RECEIVED)
    assert bool(slot.handlers) is observed
    slot.emit({"size": 1}, {"client_id": "md-1"})
    assert log.names() == [events.MESSAGE_RECEIVED] * observed


@pytest.mark.parametrize("chosen", [False, dict])
def test_a_slot_follows_handlers_that_are_attached_and_detached(bus: Bus, chosen: bool | Callable[[Any], Any]) -> None:
    """Attached after the emitter was made, detached before it ends; with your own filter too."""
    slot = Emitter(bus, FINANCIAL.replace(metadata_filter=chosen), "md-1").slot(events.MESSAGE_RECEIVED)
    assert not slot.handlers
    with capture_events(bus=bus) as captured:
        assert slot.handlers
        slot.emit({"size": 1}, {"client_id": "md-1"})
    assert not slot.handlers
    slot.emit({"size": 2}, {"client_id": "md-1"})
    assert [one.measurements for one in captured] == [{"size": 1}]


def test_every_event_carries_its_client(bus: Bus, log: EventLog) -> None:
    """Beside what it was given; measurements are untouched."""
    Emitter(bus, FINANCIAL, "md-1")(events.CONNECTION_COMPLETED, {"duration": 7}, uri="ws://h", reconnect=False)
    assert [(one.measurements, one.metadata) for one in log] == [
        ({"duration": 7}, {"client_id": "md-1", "uri": "ws://h", "reconnect": False})
    ]


# The metadata filter


def _secrets() -> dict[str, Any]:
    return {
        "error": f"ValueError: Bearer {SECRET} at wss://me:{SECRET}@feed.example/ws?token={SECRET}",
        "error_type": "connection",
        "severity": "error",
        "error_id": "e1",
        "access_token": SECRET,
        "nested": {"password": SECRET, "kept": 1},
        "headers": {"X": SECRET},
    }


@pytest.mark.parametrize("profile", [STANDARD, LIGHTWEIGHT])
def test_secrets_are_not_emitted_if_the_filter_is_on(bus: Bus, log: EventLog, profile: Profile) -> None:
    """Keys that name a secret go, nested ones too, error text is redacted, the catalogue's bounded values stay."""
    Emitter(bus, profile, "session-1")(events.ERROR_OCCURRED, {}, **_secrets())
    (reported,) = log
    assert SECRET not in repr(reported)
    assert {key: reported.metadata[key] for key in ("client_id", "error_type", "severity", "error_id", "nested")} == {
        "client_id": "session-1",
        "error_type": "connection",
        "severity": "error",
        "error_id": "e1",
        "nested": {"kept": 1},
    }
    assert reported.metadata["error"].startswith("ValueError: ")


def test_under_the_financial_profile_handlers_see_everything(bus: Bus, log: EventLog) -> None:
    """Its filter is off: what is sent out of the process is redacted elsewhere."""
    Emitter(bus, FINANCIAL, "md-1")(events.ERROR_OCCURRED, {}, **_secrets())
    assert log[0].metadata == {"client_id": "md-1", **_secrets()}


def test_the_callers_metadata_is_not_changed(bus: Bus, log: EventLog) -> None:
    """Filtering works on a copy."""
    given = _secrets()
    Emitter(bus, STANDARD, "md-1")(events.ERROR_OCCURRED, {}, **given)
    assert len(log) == 1
    assert given == _secrets()


def _only_the_client(metadata: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"client_id": metadata["client_id"].upper()}


def test_a_filter_of_your_own_replaces_the_rule(bus: Bus, log: EventLog) -> None:
    """For events emitted one by one and for those of the hot path."""
    emit = Emitter(bus, FINANCIAL.replace(metadata_filter=_only_the_client), "md-1")
    emit(events.CONNECTION_STARTED, {"system_time": 1}, uri="ws://h", reconnect=False)
    emit.slot(events.MESSAGE_SENT).emit({"size": 1}, {"client_id": "md-1", "type": "x"})
    assert [(one.event, one.metadata) for one in log] == [
        (events.CONNECTION_STARTED, {"client_id": "MD-1"}),
        (events.MESSAGE_SENT, {"client_id": "MD-1"}),
    ]


def _raises(metadata: Mapping[str, Any]) -> Mapping[str, Any]:
    raise RuntimeError(f"no filter for {sorted(metadata)}")


def _returns_nothing(metadata: Mapping[str, Any]) -> Mapping[str, Any]:
    return None  # type: ignore[return-value]  # a mistake a user can make


@pytest.mark.parametrize("wrong", [_raises, _returns_nothing])
def test_a_filter_that_fails_costs_the_metadata_only(
    bus: Bus, log: EventLog, caplog: pytest.LogCaptureFixture, wrong: Callable[[Any], Any]
) -> None:
    """The event is still emitted, nothing is raised, and the log has the traceback, once a minute for each event."""
    emit = Emitter(bus, FINANCIAL.replace(metadata_filter=wrong), "md-1")
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            emit(events.CONNECTION_COMPLETED, {"duration": 7}, uri=SECRET, reconnect=False)
            emit.slot(events.MESSAGE_RECEIVED).emit({"size": 1}, {"client_id": "md-1", "type": SECRET})
    assert [(one.measurements, one.metadata) for one in log] == [({"duration": 7}, {}), ({"size": 1}, {})] * 3
    assert [bool(record.exc_info) for record in caplog.records] == [True, True]


def test_a_filter_of_your_own_may_change_its_argument(bus: Bus, log: EventLog) -> None:
    """The mapping of a hot path, which is used again for the next message, stays as it is."""

    def strip(metadata: Mapping[str, Any]) -> Mapping[str, Any]:
        assert isinstance(metadata, dict)
        del metadata["client_id"]
        return metadata

    said = {"client_id": "md-1", "type": "trade"}
    record = Emitter(bus, FINANCIAL.replace(metadata_filter=strip), "md-1").slot(events.MESSAGE_RECEIVED)
    bound = record.recorder(("size",), said)
    assert bound is not None
    bound(1)
    bound(2)
    assert [(one.measurements["size"], one.metadata) for one in log] == [(1, {"type": "trade"}), (2, {"type": "trade"})]
    assert said == {"client_id": "md-1", "type": "trade"}


# Error text


@pytest.mark.parametrize(
    ("profile", "redacted"), [(FINANCIAL, False), (STANDARD, True), (STANDARD.replace(metadata_filter=dict), True)]
)
def test_an_errors_text_is_redacted_unless_the_filter_is_off(
    bus: Bus, log: EventLog, profile: Profile, redacted: bool
) -> None:
    """Class name and message, on one line if it is redacted."""
    faults = Faults(Emitter(bus, profile, "md-1"), "md-1", profile.metadata_filter is not False, None)
    fault = faults.occurred(ValueError(f"password={SECRET}"), "connection", "error")
    faults.handled(fault, "continued")
    occurred, handled = log
    assert occurred.metadata["error"] == f"ValueError: password={'***' if redacted else SECRET}"
    assert (occurred.metadata["error_type"], occurred.metadata["severity"]) == ("connection", "error")
    assert handled.metadata["error_id"] == occurred.metadata["error_id"]
    assert (handled.metadata["severity"], handled.metadata["action"]) == ("error", "continued")
    assert handled.measurements["duration"] >= 0


@pytest.mark.parametrize(("profile", "reported"), [(LIGHTWEIGHT, ["error"]), (STANDARD, ["warning", "error"])])
def test_only_what_was_emitted_is_emitted_as_handled(
    bus: Bus, log: EventLog, profile: Profile, reported: list[str]
) -> None:
    """A profile that leaves out a fault leaves out its recovery, even if every event is enabled meanwhile."""
    emit = Emitter(bus, profile, "md-1")
    faults = Faults(emit, "md-1", False, None)
    occurred = [faults.occurred(ValueError(), "decode", severity) for severity in ("warning", "error")]
    emit.in_detail(True)
    for fault in occurred:
        faults.handled(fault, "continued")
    assert [one.metadata["severity"] for one in log.of(events.ERROR_OCCURRED)] == reported
    assert [one.metadata["severity"] for one in log.of(events.ERROR_HANDLED)] == reported


def test_what_is_raised_to_the_caller_is_handled_and_not_passed_to_on_error(bus: Bus, log: EventLog) -> None:
    """The caller gets the exception only; the events pair up."""
    seen: list[Exception] = []
    faults = Faults(Emitter(bus, STANDARD, "md-1"), "md-1", False, seen.append)
    faults.raised(ValueError("mine"), "encode", "error")
    occurred, handled = log
    assert handled.event == events.ERROR_HANDLED
    assert handled.metadata["error_id"] == occurred.metadata["error_id"]
    assert handled.metadata["action"] == "raised"
    assert seen == []


def test_the_users_on_error_may_raise(bus: Bus, log: EventLog, caplog: pytest.LogCaptureFixture) -> None:
    """It is called with every fault; what it raises is logged once a minute and stops nothing."""
    seen: list[Exception] = []

    def on_error(error: Exception) -> None:
        seen.append(error)
        raise RuntimeError("mine")

    faults = Faults(Emitter(bus, FINANCIAL, "md-1"), "md-1", False, on_error)
    given = [ValueError(str(number)) for number in range(3)]
    ids = {faults.occurred(error, "decode", "warning").error_id for error in given}
    assert seen == given
    assert len(ids) == len(log) == 3
    assert len(caplog.records) == 1
    assert "on_error raised" in caplog.text


def test_the_faults_of_an_outage_are_handled_once_when_it_is_over(bus: Bus, log: EventLog) -> None:
    """In their order; of an endless outage the latest thousand."""
    faults = Faults(Emitter(bus, FINANCIAL, "md-1"), "md-1", False, None)
    reported = [faults.occurred(ValueError(str(number)), "connection", "warning") for number in range(1_100)]
    for fault in reported:
        faults.outage(fault)
    faults.restored()
    faults.restored()
    handled = log.of(events.ERROR_HANDLED)
    assert [one.metadata["error_id"] for one in handled] == [fault.error_id for fault in reported[100:]]
    assert {one.metadata["action"] for one in handled} == {"reconnected"}


def test_what_changes_while_a_state_is_emitted_is_emitted_once_more(bus: Bus) -> None:
    """So the last one that handlers see is the true one: a link that is made meanwhile, and then the client's end."""
    emit = Emitter(bus, STANDARD, "md-1")
    reported: list[object] = []

    def hear(event: str, measurements: Mapping[str, Any], *_: object) -> None:
        reported.append(measurements.get("up", event))
        if reported == [0]:
            emit(events.CONNECTION_COMPLETED, {"duration": 1}, uri="", reconnect=False)
        elif reported[-1] == 1:
            emit.closed()

    bus.attach_many("hear", [events.CLIENT_STATE, events.CLIENT_CLOSED], hear)
    emit.emit_state()
    assert reported == [0, 1, events.CLIENT_CLOSED, events.CLIENT_CLOSED]
    emit.emit_state()  # it is closed
    assert len(reported) == 4


@pytest.mark.parametrize("profile", [FINANCIAL, FINANCIAL.replace(metadata_filter=lambda metadata: {})])
def test_a_clients_own_tags_are_in_all_metadata_with_any_filter(bus: Bus, profile: Profile) -> None:
    """They are the user's words, not the server's. A recorder is bound to them once."""
    own = {"venue": "xetr"}
    emit = Emitter(bus, profile, "md-1", own)
    assert emit.slot(events.MESSAGE_RECEIVED) is emit.slot(events.MESSAGE_RECEIVED)
    with capture_events(events.CLIENT_CLOSED, events.MESSAGE_LAG, "websockex_nova", bus=bus) as log:
        emit(events.CONNECTION_COMPLETED, {"duration": 1}, uri="", reconnect=False)
        record = emit.slot(events.MESSAGE_RECEIVED).recorder(("size",), {"client_id": "md-1", "type": "a"})
        assert record is not None
        record(7)
        emit.slot(events.MESSAGE_PROCESS_SLOW).emit({"duration": 1}, {"client_id": "md-1"})
        emit.unlisted(events.MESSAGE_LAG).emit({"lag": 1}, {"client_id": "md-1"})
        emit.closed()
    assert [one.metadata["tags"] for one in log] == [own] * 5
    assert [one.measurements for one in log.of(events.MESSAGE_RECEIVED)] == [{"size": 7}]


def test_a_client_without_tags_has_no_such_metadata(bus: Bus) -> None:
    """And its slots are the bus's own, without a wrapper."""
    emit = Emitter(bus, FINANCIAL, "md-1")
    assert emit.slot(events.MESSAGE_RECEIVED) is bus.slot(events.MESSAGE_RECEIVED)
    assert emit.whose == {"client_id": "md-1"}
