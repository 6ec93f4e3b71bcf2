"""The retry policy, with a fake clock, fake randomness and fake events."""

import ssl
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsnova_statsd.client import retry as retry_module
from wsnova_statsd.client.retry import Expired, RetryPolicy, Stopped, unfixable
from wsnova_statsd.errors import AuthRejected, ConnectionFailed, HandshakeRefused
from wsnova_statsd.link.flag import Flag
from wsnova_statsd.profiles import FINANCIAL, LIGHTWEIGHT, PROFILES, STANDARD, Profile
from wsnova_statsd.testing.clock import FakeClock

OUTAGE = ConnectionFailed("lost", cause="close_1006")


def _lowest(low: float, _high: float) -> float:
    return low


def _middle(low: float, high: float) -> float:
    return (low + high) / 2


def _highest(_low: float, high: float) -> float:
    return high


class _Sleep(Flag):
    """A flag whose wait moves a fake clock, and may do something in the middle of it."""

    def __init__(self, clock: FakeClock, meanwhile: Callable[[float], object] | None = None) -> None:
        super().__init__()
        self._clock = clock
        self._meanwhile = meanwhile

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        if not self.is_set():
            self._clock.sleep(timeout)
            if self._meanwhile is not None:
                self._meanwhile(timeout)
        return self.is_set()


# Delays


def _delay(profile: Profile, retries: int, chance: Callable[[float, float], float]) -> float:
    policy = RetryPolicy(profile, chance)
    policy.retries = retries
    return policy.delay()


@pytest.mark.parametrize(
    ("profile", "lowest", "highest"),
    [
        (
            FINANCIAL,
            [0.0, 0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.8, 1.8],
            [0.005, 0.075, 0.15, 0.3, 0.6, 1.2, 2.0, 2.0, 2.0],
        ),
        (STANDARD, [0.25, 0.25, 0.5, 1, 2, 4, 8, 27, 27], [0.75, 0.75, 1.5, 3, 6, 12, 24, 30, 30]),
        (LIGHTWEIGHT, [0.5, 0.5, 1, 2, 4, 8, 16, 54, 54], [1.5, 1.5, 3, 6, 12, 24, 48, 60, 60]),
    ],
    ids=lambda given_: getattr(given_, "name", ""),
)
def test_delays_double_up_to_the_cap(profile: Profile, lowest: list[float], highest: list[float]) -> None:
    """The first by its own rule, then half to one and a half of each step, at the cap within the last tenth."""
    assert [_delay(profile, retries, _lowest) for retries in range(9)] == pytest.approx(lowest)
    assert [_delay(profile, retries, _highest) for retries in range(9)] == pytest.approx(highest)


@given(st.sampled_from(list(PROFILES.values())), st.integers(0, 10_000), st.floats(0, 1))
def test_no_delay_leaves_its_bounds(profile: Profile, retries: int, chance: float) -> None:
    """After any number of retries, for any random number; only a financial first retry comes at once."""
    floor = 0.0 if retries == 0 and profile.first_retry == 0 else min(profile.retry_base, profile.retry_cap) / 2
    assert floor <= _delay(profile, retries, lambda low, high: low + (high - low) * chance) <= profile.retry_cap


@pytest.mark.parametrize("profile", [FINANCIAL, STANDARD, LIGHTWEIGHT])
def test_the_server_may_ask_for_patience(profile: Profile) -> None:
    """Retry-After is waited out, plus a spread, however few or many retries there were."""
    for retries in (0, 5, 50):
        for chance, spread in ((_lowest, 0.0), (_highest, profile.retry_base)):
            policy = RetryPolicy(profile, chance)
            policy.retries = retries
            assert policy.delay(retry_after=120.0) == pytest.approx(120.0 + spread)


# Running a policy


def _run(
    policy: RetryPolicy,
    outcomes: Iterator[Exception | str],
    clock: FakeClock,
    *,
    outage: ConnectionFailed | None = None,
    gives_up: Callable[[], bool] = lambda: False,
    wake: _Sleep | None = None,
) -> tuple[str, list[float]]:
    """The first success, and the wait that each dial was passed. Counts retries as a connection does."""
    waits: list[float] = []

    def dial(waited: float) -> str:
        if waits or outage is not None:
            policy.retries += 1
        waits.append(waited)
        outcome = next(outcomes)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return policy.run(dial, outage, Flag(), wake or _Sleep(clock), gives_up), waits


def test_a_first_dial_does_not_wait_and_one_after_an_outage_does() -> None:
    """So that a server which accepts and closes is never dialled in a tight loop; each dial gets the length of its
    wait."""
    clock = FakeClock()
    refused = ConnectionFailed("no", cause="refused")
    link, waits = _run(RetryPolicy(STANDARD, _middle), iter([refused, refused, refused, "link"]), clock)
    assert link == "link"
    assert waits == [0.0, 0.5, 0.5, 1.0]
    assert clock.sleeps == waits[1:]
    assert _run(RetryPolicy(STANDARD, _middle), iter(["link"]), clock, outage=OUTAGE) == ("link", [0.5])


def test_retry_after_applies_to_the_next_wait_only() -> None:
    """Then the profile's own delays go on."""
    clock = FakeClock()
    busy = HandshakeRefused(503, retry_after=7.0)
    _, waits = _run(RetryPolicy(STANDARD, _lowest), iter([busy, ConnectionFailed("no"), "link"]), clock)
    assert waits == [0.0, 7.0, 0.25]


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refused_upgrade_is_retried_at_the_cap(status: int) -> None:
    """Fast retries do not help with wrong credentials or paths, and ingresses answer so during deploys."""
    clock = FakeClock()
    _run(RetryPolicy(STANDARD, _lowest), iter([HandshakeRefused(status), "link"]), clock)
    assert clock.sleeps == [27.0]


@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_gateways_502_503_and_504_are_retried_like_a_refused_connection(status: int) -> None:
    """By the profile's first steps: the server behind the gateway restarts."""
    clock = FakeClock()
    away = HandshakeRefused(status)
    _, waits = _run(RetryPolicy(STANDARD, _middle), iter([away, away, away, "link"]), clock)
    assert waits == [0.0, 0.5, 0.5, 1.0]


def test_a_function_is_called_again_at_once_and_then_at_the_cap() -> None:
    """Its next return value may differ; anything in between, a link too, makes the next refusal a first one."""
    clock, refused = FakeClock(), HandshakeRefused(401)
    policy = RetryPolicy(STANDARD, _lowest)
    outcomes = [refused, refused, OUTAGE, refused, None, refused, None]

    def dial(waited: float) -> None:
        error = outcomes.pop(0)
        if error is None:
            policy.linked()
            return
        assert not policy.refused(error, clock(), first=False, anew=True)
        raise error

    while outcomes:
        policy.run(dial, None, Flag(), _Sleep(clock), lambda: False)
    assert clock.sleeps == [0.0, 27.0, 0.25, 0.0, 0.0]


def test_a_rejected_login_is_retried_at_the_cap_if_it_is_retried() -> None:
    """By a client that goes on trying after any answer."""
    clock = FakeClock()
    _run(RetryPolicy(STANDARD, _lowest), iter([AuthRejected("no"), "link"]), clock)
    assert clock.sleeps == [27.0]


def _caused(error: ConnectionFailed, cause: BaseException) -> ConnectionFailed:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        *((HandshakeRefused(status), True) for status in (301, 302, 307, 400, 401, 403, 404, 405, 410, 426)),
        *((HandshakeRefused(status), False) for status in (200, 402, 408, 429, 500, 502, 503)),
        (_caused(ConnectionFailed("x", cause="tls"), ssl.SSLCertVerificationError("self-signed")), True),
        (_caused(ConnectionFailed("x", cause="tls"), ssl.SSLError("handshake failure")), False),
        (_caused(AuthRejected("x"), HandshakeRefused(401)), True),
        (AuthRejected("the server refused the login message"), False),
        (ConnectionFailed("no", cause="refused"), False),
    ],
    ids=lambda given_: repr(given_)[:40].replace(" ", "_") if isinstance(given_, Exception) else str(given_),
)
def test_what_another_try_does_not_fix(error: ConnectionFailed, expected: bool) -> None:
    """An answer to the same request would be the same: by its status, a redirect, or the certificate."""
    assert unfixable(error) is expected


@pytest.mark.parametrize(
    "error",
    [HandshakeRefused(401), HandshakeRefused(403), _caused(AuthRejected("x"), HandshakeRefused(403))],
    ids=["401", "403", "HeaderAuth"],
)
@pytest.mark.parametrize(
    ("times", "final"),
    [
        ([0.0, 30.0, 60.0], [False, False, True]),
        ([0.0, 60.0], [False, False]),
        ([0.0, 1.0, 2.0, 59.9, 60.0], [False, False, False, False, True]),
    ],
)
def test_constants_are_final_on_the_first_link_or_once_refused_three_times_over_a_minute(
    error: ConnectionFailed, times: list[float], final: list[bool]
) -> None:
    """Not before, and never if a function may return others."""
    policy = RetryPolicy(STANDARD)
    assert [policy.refused(error, at, first=False, anew=False) for at in times] == final
    policy = RetryPolicy(STANDARD)
    assert [policy.refused(error, at, first=False, anew=True) for at in times] == [False] * len(times)
    assert [policy.refused(error, at, first=True, anew=True) for at in times] == [False] * len(times)
    assert RetryPolicy(STANDARD).refused(error, 0.0, first=True, anew=False)


@pytest.mark.parametrize(
    "between", [lambda policy: policy.refused(OUTAGE, 1.0, first=False, anew=False), RetryPolicy.linked]
)
def test_refusals_are_counted_in_a_row(between: Callable[[RetryPolicy], object]) -> None:
    """A failure of another kind, or a link, makes the next one the first."""
    policy, refused = RetryPolicy(STANDARD), HandshakeRefused(403)
    for at in (0.0, 0.5):
        policy.refused(refused, at, first=False, anew=False)
    between(policy)
    reported = [policy.refused(refused, at, first=False, anew=False) for at in (70.0, 71.0, 130.0)]
    assert reported == [False, False, True]


@pytest.mark.parametrize(
    "error", [HandshakeRefused(404), _caused(ConnectionFailed("x", cause="tls"), ssl.SSLCertVerificationError("x"))]
)
def test_what_no_credentials_fix_is_final_on_the_first_link_only(error: ConnectionFailed) -> None:
    """A function is called once more; later it is an outage, however long it lasts."""
    assert RetryPolicy(STANDARD).refused(error, 0.0, first=True, anew=False)
    policy = RetryPolicy(STANDARD)
    assert [policy.refused(error, at, first=True, anew=True) for at in (0.0, 1.0)] == [False, True]
    policy = RetryPolicy(STANDARD)
    assert not any(policy.refused(error, at, first=False, anew=False) for at in (0.0, 60.0, 3600.0))


def test_a_logins_own_rejection_is_final() -> None:
    """On any link and with any credentials: it means that another try is useless."""
    for first, anew in ((True, True), (False, True), (False, False)):
        assert RetryPolicy(STANDARD).refused(AuthRejected("no"), 0.0, first=first, anew=anew)


def test_the_timeout_of_a_first_link_bounds_the_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last one ends with it, and nothing is dialled after it."""
    clock, dials = FakeClock(start=0.0), list[float]()
    monkeypatch.setattr(retry_module, "time", SimpleNamespace(monotonic=clock))

    def dial(_waited: float) -> str:
        dials.append(clock())
        raise ConnectionFailed("no")

    policy = RetryPolicy(STANDARD, _middle)
    policy.retries = 3  # 2 s each
    with pytest.raises(Expired):
        policy.run(dial, None, Flag(), _Sleep(clock), lambda: False, 5.0)
    assert dials == [0.0, 2.0, 4.0]
    assert clock.sleeps == pytest.approx([2.0, 2.0, 1.0])


@pytest.mark.parametrize("error", [ValueError("mine"), KeyboardInterrupt(), SystemExit(1)])
def test_only_failed_connections_are_retried(error: BaseException) -> None:
    """Any other exception of a dial is raised at once."""

    def dial(_waited: float) -> str:
        raise error

    clock = FakeClock()
    with pytest.raises(type(error)) as caught:
        RetryPolicy(FINANCIAL).run(dial, None, Flag(), _Sleep(clock), lambda: False)
    assert caught.value is error
    assert clock.sleeps == []


def test_giving_up_raises_the_last_failure_itself() -> None:
    """Not tenacity's RetryError, and without a wait after it."""
    clock = FakeClock()
    failures = [ConnectionFailed(str(number)) for number in range(3)]
    with pytest.raises(ConnectionFailed) as caught:
        _run(RetryPolicy(FINANCIAL, _middle), iter(failures), clock, gives_up=lambda: len(clock.sleeps) == 2)
    assert caught.value is failures[2]
    assert len(clock.sleeps) == 2


def test_closing_interrupts_the_wait_and_nothing_is_dialled_after_it() -> None:
    """Tenacity would try once more."""
    closing, clock = Flag(), FakeClock()
    dials: list[float] = []

    def dial(waited: float) -> str:
        dials.append(waited)
        raise ConnectionFailed("no")

    wake = _Sleep(clock, meanwhile=lambda _seconds: closing.set())
    with pytest.raises(Stopped):
        RetryPolicy(FINANCIAL).run(dial, None, closing, wake, lambda: False)
    assert dials == [0.0]


def test_a_wake_ends_one_wait() -> None:
    """`reconnect()` dials now; the wait after that is whole again."""
    clock = FakeClock()
    wake = _Sleep(clock)
    wake.set()
    refused = ConnectionFailed("no")
    _run(RetryPolicy(STANDARD, _middle), iter([refused, refused, "link"]), clock, wake=wake)
    assert clock.sleeps == [0.5]


# The alarm


@pytest.mark.parametrize("profile", [FINANCIAL, STANDARD, LIGHTWEIGHT])
def test_the_alarm_is_raised_once_per_outage(profile: Profile) -> None:
    """At the failure that passes max_attempts, not before and not after it; the next outage may raise it again."""
    policy = RetryPolicy(profile)

    def outage() -> list[bool]:
        reported = []
        for _ in range(profile.max_attempts + 5):
            policy.tries += 1
            reported.append(policy.failed())
        return reported

    assert outage() == [False] * (profile.max_attempts - 1) + [True] + [False] * 5
    policy.settled()  # a link that is lost before it was stable belongs to the same outage
    assert outage().count(True) == 1
