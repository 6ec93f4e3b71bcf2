"""The login of a client: its events, its renewal on the clock, and which failures stop the client."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

import wsnova_statsd as ws
from wsnova_statsd.client import login as login_module
from wsnova_statsd.client.emitter import Emitter
from wsnova_statsd.client.faults import Faults
from wsnova_statsd.client.login import Login
from wsnova_statsd.testing.capture import EventLog, capture_events

SECRET = "hunter2"
errors, events = ws.errors, ws.events


class _Jobs:
    """Stands in for wsnova-clock: jobs run when the test says so."""

    def __init__(self) -> None:
        self.jobs: list[tuple[float, Callable[[], object]]] = []

    def call_later(self, seconds: float, work: Callable[[], object]) -> "_Jobs":
        self.jobs.append((seconds, work))
        return self

    def cancel(self) -> None:
        self.jobs.clear()

    def run(self) -> float:
        """Run the only job; returns how many seconds it was set for."""
        ((seconds, work),) = self.jobs
        self.jobs.clear()
        work()
        for thread in threading.enumerate():
            if thread.name.startswith("wsnova-login"):
                thread.join(5.0)
        return seconds


class _Auth:
    """Logs in with these outcomes, one after the other: a validity, or an error."""

    def __init__(self, *outcomes: Any) -> None:
        self._outcomes = iter(outcomes)
        self.before: Callable[[], object] = lambda: None

    def login(self, client: Any) -> Any:
        self.before()
        outcome = next(self._outcomes)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


@dataclass
class Bench:
    """One Login at work, its events, its jobs, and what stopped it."""

    log: EventLog
    jobs: _Jobs
    emit: Emitter
    faults: Faults
    stopped: list[Exception] = field(default_factory=list)
    made: Login | None = None

    def login(self, auth: Any) -> Login:
        self.made = Login(auth, self.emit, self.faults, lambda: "the client", self.stopped.append)
        return self.made  # and kept: a planned renewal keeps none alive

    def reported(self) -> list[tuple[str, dict[str, Any]]]:
        """What was emitted since the last time, without ids and prefixes."""
        rows = []
        for one in self.log:
            metadata = {key: one.metadata[key] for key in one.metadata if key not in ("client_id", "error", "error_id")}
            rows.append((one.event.removeprefix(events.PREFIX), metadata))
        self.log.clear()
        return rows


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    jobs, bus = _Jobs(), ws.Bus()
    monkeypatch.setattr(login_module, "CLOCK", jobs)
    emit = Emitter(bus, ws.STANDARD, "a")
    with capture_events("websockex_nova.auth", "websockex_nova.error", bus=bus) as log:
        yield Bench(log, jobs, emit, Faults(emit, "a", True, None))


STARTED: tuple[str, dict[str, Any]] = ("auth.started", {})
RENEWING: tuple[str, dict[str, Any]] = ("auth.refresh.started", {})


def test_a_login_is_completed_on_acceptance_and_renewed_before_it_ends(bench: Bench) -> None:
    """At four fifths of its validity, repeatedly, each time by the latest validity."""
    login = bench.login(_Auth(100, 50.0, None))
    login.perform()
    assert bench.reported() == [STARTED, ("auth.completed", {"expires_in": 100.0})]
    assert bench.jobs.run() == 80.0
    assert bench.reported() == [RENEWING, ("auth.refresh.completed", {"expires_in": 50.0})]
    assert bench.jobs.run() == 40.0
    assert bench.reported() == [RENEWING, ("auth.refresh.completed", {"expires_in": None})]
    assert bench.jobs.jobs == []


@pytest.mark.parametrize(
    ("valid", "pause"),
    [("60", 48.0), (0.001, 0.05), (0, 5.0), (-1, 5.0), (10**9, 86_400.0), (1e300, 86_400.0)],
)
def test_the_validity_from_a_server_cannot_cause_a_storm_or_stop_the_clock(
    bench: Bench, valid: Any, pause: float
) -> None:
    """Zero, negative numbers and centuries become pauses that a clock can wait for."""
    bench.login(_Auth(valid)).perform()
    assert [seconds for seconds, _ in bench.jobs.jobs] == [pause]


@pytest.mark.parametrize("valid", [None, True, float("inf"), 10**400])
def test_a_login_that_never_ends_is_not_renewed(bench: Bench, valid: Any) -> None:
    """There is no moment for it."""
    bench.login(_Auth(valid)).perform()
    assert bench.jobs.jobs == []
    assert bench.reported() == [STARTED, ("auth.completed", {"expires_in": None})]


@pytest.mark.parametrize("valid", [float("nan"), "soon", {"token": SECRET}])
def test_an_unusable_validity_is_a_failed_login(bench: Bench, valid: Any) -> None:
    """It is retried, and not shown."""
    with pytest.raises(errors.ConnectionFailed, match="validity") as caught:
        bench.login(_Auth(valid)).perform()
    assert (caught.value.cause, SECRET in str(caught.value)) == ("auth_error", False)


@pytest.mark.parametrize(
    ("error", "kind", "cause", "reason"),
    [
        (errors.AuthRejected("no"), errors.AuthRejected, "auth", "rejected"),
        (errors.RequestTimeout("late"), errors.ConnectionFailed, "auth_timeout", "timeout"),
        (errors.RequestInterrupted("cut"), errors.ConnectionFailed, "auth_interrupted", "interrupted"),
        (errors.NotConnected("cut"), errors.ConnectionFailed, "auth_interrupted", "interrupted"),
        (KeyError("token"), errors.ConnectionFailed, "auth_error", "error"),
    ],
)
def test_a_failed_login_names_its_reason_and_only_a_rejection_is_final(
    bench: Bench, error: Exception, kind: type[Exception], cause: str, reason: str
) -> None:
    """AuthRejected ends the retries, every other error is a failed connection that is retried."""
    with pytest.raises(errors.ConnectionFailed) as caught:
        bench.login(_Auth(error)).perform()
    assert (type(caught.value), caught.value.cause) == (kind, cause)
    assert bench.reported() == [STARTED, ("auth.failed", {"reason": reason, "phase": "initial"})]


def test_a_rejected_refresh_stops_the_client_with_a_critical_error(bench: Bench) -> None:
    """No further try is set."""
    rejection = errors.AuthRejected("no")
    bench.login(_Auth(10, rejection)).perform()
    bench.log.clear()
    bench.jobs.run()
    critical = {"error_type": "auth", "severity": "critical"}
    failed = ("auth.failed", {"reason": "rejected", "phase": "refresh"})
    assert bench.reported() == [RENEWING, failed, ("error.occurred", critical)]
    assert (bench.stopped, bench.jobs.jobs) == ([rejection], [])


def test_a_refresh_without_an_answer_is_retried_and_handled_by_the_next(bench: Bench) -> None:
    """After five seconds; the client goes on, and the error is handled when the login is renewed."""
    bench.login(_Auth(10, errors.RequestTimeout("late"), 10)).perform()
    bench.log.clear()
    bench.jobs.run()
    critical = {"error_type": "auth", "severity": "critical"}
    failed = ("auth.failed", {"reason": "timeout", "phase": "refresh"})
    assert bench.reported() == [RENEWING, failed, ("error.occurred", critical)]
    assert bench.jobs.run() == 5.0
    healed = ("error.handled", {**critical, "action": "renewed"})
    assert bench.reported() == [RENEWING, ("auth.refresh.completed", {"expires_in": 10.0}), healed]
    assert bench.stopped == []


@pytest.mark.parametrize("outcome", [30, errors.RequestInterrupted("cut"), KeyError("x")], ids=["ok", "cut", "error"])
def test_a_refresh_that_outlives_its_link_leaves_the_next_one_alone(bench: Bench, outcome: Any) -> None:
    """The next link logs in itself: no second refresh is set, and a loss is no failed login."""
    auth = _Auth(10, outcome)
    login = bench.login(auth)
    login.perform()
    bench.log.clear()
    auth.before = login.lost
    bench.jobs.run()
    assert bench.jobs.jobs == []
    assert [name for name, _ in bench.reported() if name in ("auth.failed", "error.occurred")] == []


def test_a_lost_link_cancels_its_refresh(bench: Bench) -> None:
    """And a refresh that was just taken off the heap does nothing."""
    login = bench.login(_Auth(10))
    login.perform()
    ((_, work),) = bench.jobs.jobs
    login.lost()
    bench.log.clear()
    work()
    assert (bench.jobs.jobs, bench.reported()) == ([], [])


@pytest.mark.parametrize("status", [401, 403])
def test_refused_headers_are_a_rejection(bench: Bench, status: int) -> None:
    """The server saw and rejected them."""
    login = bench.login(ws.HeaderAuth({"X-Key": SECRET}))
    login.before_dial()
    refused = login.refused(errors.HandshakeRefused(status))
    assert isinstance(refused, errors.AuthRejected)
    assert bench.reported() == [STARTED, ("auth.failed", {"reason": "rejected", "phase": "initial"})]


@pytest.mark.parametrize(
    "error", [errors.HandshakeRefused(503), errors.HandshakeRefused(404), errors.ConnectionFailed("x", cause="refused")]
)
def test_a_dial_that_fails_for_another_reason_emits_no_failed_login(
    bench: Bench, error: errors.ConnectionFailed
) -> None:
    """An outage of the network raises no alarm about a login."""
    login = bench.login(ws.HeaderAuth({"X-Key": SECRET}))
    login.before_dial()
    assert login.refused(error) is error
    assert bench.reported() == []


def test_without_header_credentials_a_refusal_stays_what_it_is(bench: Bench) -> None:
    """A 401 is retried then: gateways send it during deploys."""
    error = errors.HandshakeRefused(401)
    for auth in (None, _Auth()):
        assert bench.login(auth).refused(error) is error
    assert bench.reported() == []


def test_an_accepted_upgrade_accepts_the_headers(bench: Bench) -> None:
    """Their login is emitted once the server has answered, and measured from the dial on."""
    login = bench.login(ws.HeaderAuth({"X-Key": SECRET}))
    login.before_dial()
    login.perform()
    completed = bench.log.of(events.AUTH_COMPLETED)[0]
    assert completed.measurements["duration"] > 0
    assert bench.reported() == [STARTED, ("auth.completed", {"expires_in": None})]


def test_a_client_without_auth_emits_no_logins(bench: Bench) -> None:
    """It does not log in."""
    login = bench.login(None)
    login.before_dial()
    login.perform()
    assert bench.reported() == []
