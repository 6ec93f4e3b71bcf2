"""The simulated reconnect storm: deterministic, nothing is lost in it, and the shipped policy and profiles decide."""

import random as chance
from typing import Any

import pytest
import websocket
from hypothesis import given, settings
from hypothesis import strategies as st

import wsnova_statsd as ws
from tests.benchmarks.scale import ways
from tests.benchmarks.scale_storm import (
    CONNECT_TIMEOUT,
    SYN_WAITS,
    WEBSOCKET_CLIENT,
    Listener,
    Outcome,
    Setting,
    Way,
    fixed,
    shipped,
    simulate,
)
from wsnova_statsd.client.retry import RetryPolicy
from wsnova_statsd.profiles import PROFILES

SMALL = Setting(workers=300, away=6.0)
NARROW = Listener(backlog=20, accepts=50.0)


def _sums(found: Outcome) -> tuple[int, int]:
    return found.attempts, found.accepted + found.refused + found.timed_out


@pytest.mark.parametrize("way", ways(), ids=lambda way: way.name)
@pytest.mark.parametrize("silent", [False, True], ids=["refuses", "silent"])
def test_every_worker_ends_connected_and_every_dial_has_one_end(way: Way, silent: bool) -> None:
    """Accepted, refused or timed out; never more connections than the listener can have taken."""
    found = simulate(way, Listener(20, 50.0, silent=silent), SMALL)
    assert found.accepted == SMALL.workers
    assert _sums(found) == (found.attempts, found.attempts)
    assert found.open == 0
    assert found.back == sorted(found.back)
    assert found.back[-1] >= SMALL.away + SMALL.workers / 50.0
    assert found.worst_queue <= 21
    assert (found.refused == 0) is silent
    assert sum(found.dials.values()) == found.attempts


@given(
    st.sampled_from(list(PROFILES)),
    st.integers(1, 60),
    st.integers(0, 20),
    st.floats(5.0, 500.0),
    st.floats(0.0, 5.0),
    st.booleans(),
    st.integers(0, 99),
)
@settings(max_examples=40)
def test_whatever_the_setting_no_dial_is_lost(
    name: str, workers: int, backlog: int, accepts: float, away: float, silent: bool, seed: int
) -> None:
    """Also where the end is not reached: the rest is open, one dial for each worker at most."""
    setting = Setting(workers, away, horizon=30.0)
    found = simulate(shipped(PROFILES[name], 1.0), Listener(backlog, accepts, silent=silent), setting, seed)
    attempts, ended = _sums(found)
    assert attempts - ended == found.open
    assert 0 <= found.open <= workers - found.accepted
    assert found.wasted <= found.timed_out
    assert found.worst_queue <= backlog + 1


def test_a_seed_decides_everything() -> None:
    """The same one gives the same storm, another one another."""
    one, same, other = (simulate(shipped(ws.STANDARD), NARROW, SMALL, seed) for seed in (1, 1, 2))
    assert one == same
    assert one.back != other.back


def test_the_global_generator_is_not_asked() -> None:
    """Of the policy's chance neither: each storm has its own."""
    before = chance.getstate()
    simulate(shipped(ws.FINANCIAL), NARROW, SMALL)
    assert chance.getstate() == before


# The shipped code decides


def test_another_delay_of_the_policy_is_another_storm(monkeypatch: pytest.MonkeyPatch) -> None:
    """The simulation has no delays of its own: with a policy that always waits five seconds, it is that of a loop that
    does."""
    before = simulate(shipped(ws.STANDARD), NARROW, SMALL)
    monkeypatch.setattr(RetryPolicy, "delay", lambda policy, retry_after=None: 5.0)
    after = simulate(shipped(ws.STANDARD), NARROW, SMALL)
    assert after == simulate(fixed(5.0), NARROW, SMALL)
    assert after.attempts < before.attempts


def test_without_its_jitter_the_policy_makes_a_herd() -> None:
    """All dials in one tenth of a second, where the shipped jitter has a fraction of them there."""
    setting = Setting(workers=1000)
    spread = simulate(shipped(ws.STANDARD), Listener(), setting)
    herd = simulate(fixed(ws.STANDARD.first_retry), Listener(), setting)
    assert herd.busiest(1) == setting.workers
    assert spread.busiest(1) < setting.workers / 3


@pytest.mark.parametrize(
    ("changes", "fewer"),
    [({"first_retry": 5.0}, True), ({"retry_base": 4.0}, True), ({"retry_cap": 0.5}, False)],
    ids=lambda given_: str(given_),
)
def test_another_number_of_the_profile_is_another_storm(changes: dict[str, Any], fewer: bool) -> None:
    """A worker that waits longer dials less often while the listener is away."""
    found = simulate(shipped(ws.STANDARD), NARROW, SMALL)
    changed = simulate(shipped(ws.STANDARD.replace(**changes)), NARROW, SMALL)
    assert (changed.attempts < found.attempts) is fewer
    assert changed.attempts != found.attempts


def test_the_retries_of_a_worker_are_counted_as_a_connection_counts_them() -> None:
    """The first wait is first_retry, the second retry_base, then it doubles up to the cap."""
    asked: list[tuple[float, float]] = []

    class Chance(chance.Random):
        def uniform(self, a: float, b: float) -> float:
            asked.append((a, b))
            return (a + b) / 2

    pause = shipped(ws.STANDARD).pauses(Chance())
    lost = ws.errors.ConnectionFailed("lost", cause="close_1006")
    assert [pause(lost) for _ in range(9)] == pytest.approx([0.5, 0.5, 1, 2, 4, 8, 16, 28.5, 28.5])
    assert asked[0] == (0.25, 0.75)


def test_the_timeout_of_a_dial_is_a_clients_default() -> None:
    """As its options say."""
    assert CONNECT_TIMEOUT == 10.0
    assert shipped(ws.STANDARD).connect_timeout == CONNECT_TIMEOUT


# The listener


def test_an_idle_listener_takes_a_worker_after_one_round_trip() -> None:
    """And the time that one upgrade takes."""
    found = simulate(fixed(1.0), Listener(accepts=10.0), Setting(1, round_trip=0.2, noticed=0.0))
    assert found.back == pytest.approx([1.0 + 0.2 + 0.1])


def test_a_full_queue_drops_what_the_kernel_sends_again() -> None:
    """One is served, backlog + 1 wait; the SYN of the next one comes again after a second."""
    found = simulate(fixed(0.0), Listener(backlog=1, accepts=2.0), Setting(4, round_trip=0.0, noticed=0.0))
    assert (found.attempts, found.dropped, found.worst_queue) == (4, 1, 2)
    assert found.back == pytest.approx([0.5, 1.0, 1.5, 2.0])


def test_a_kernel_without_an_answer_gives_up_after_its_last_syn() -> None:
    """Eleven SYNs, the last one 67 s after the first, and ETIMEDOUT 64 s later; only then the loop dials again."""
    setting = Setting(1, away=140.0, round_trip=0.0, noticed=0.0)
    found = simulate(fixed(5.0, connect_timeout=None), Listener(silent=True), setting)
    assert sum(SYN_WAITS) == 131.0
    assert (found.attempts, found.timed_out) == (2, 1)
    assert found.back[0] == pytest.approx(5.0 + 131.0 + 5.0, abs=1.1)


def test_a_worker_that_hung_up_in_the_queue_is_answered_all_the_same() -> None:
    """That time is lost to the others, as it is with a real listener: three dial at ten, two at 21.5, one at 33."""
    setting = Setting(3, round_trip=0.0, noticed=0.0)
    found = simulate(fixed(10.0, connect_timeout=1.5), Listener(backlog=5, accepts=1.0), setting)
    assert found.back == pytest.approx([11.0, 22.5, 34.0])
    assert (found.attempts, found.timed_out, found.wasted) == (6, 3, 3)


def test_a_listener_that_is_away_refuses_at_once_and_a_silent_one_costs_the_timeout() -> None:
    """A refusal is back after one round trip, a lost SYN costs the whole timeout."""
    refused = simulate(fixed(0.1), Listener(), Setting(1, away=1.0, round_trip=0.1, noticed=0.0))
    silent = simulate(fixed(0.1, connect_timeout=0.4), Listener(silent=True), Setting(1, 1.0, 0.1, 0.0))
    assert (refused.refused, refused.timed_out) == (5, 0)
    assert (silent.refused, silent.timed_out) == (0, 2)


# What it is compared with


def test_websocket_client_sleeps_the_same_before_each_dial_and_sets_no_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """The installed one: run_forever(reconnect=5)."""
    slept, timeouts = list[float](), list[float | None]()
    app = websocket.WebSocketApp("ws://127.0.0.1:9")

    def connect(self: websocket.WebSocket, url: str, **options: object) -> None:
        timeouts.append(self.gettimeout())
        raise ConnectionRefusedError

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 4:
            app.keep_running = False
            raise KeyboardInterrupt

    monkeypatch.setattr(websocket.WebSocket, "connect", connect)
    monkeypatch.setattr("time.sleep", sleep)
    app.run_forever(reconnect=5)
    assert slept == [5, 5, 5, 5]
    assert timeouts == [None, None, None, None]
    pause = WEBSOCKET_CLIENT.pauses(chance.Random(1))
    lost = ws.errors.ConnectionFailed("lost", cause="close_1006")
    assert [pause(lost) for _ in range(4)] == slept
    assert WEBSOCKET_CLIENT.connect_timeout is None
