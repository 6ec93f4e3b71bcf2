"""The retry policy within a connection, with a fake clock, fake randomness and fake links."""

from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from tests.unit.test_retry import _middle, _Sleep
from wsnova_statsd import events
from wsnova_statsd.client import connection as connection_module
from wsnova_statsd.client.connection import Calls, Connection
from wsnova_statsd.client.emitter import Emitter
from wsnova_statsd.client.faults import Faults
from wsnova_statsd.client.login import Login
from wsnova_statsd.client.options import Options
from wsnova_statsd.client.protocol import Protocol
from wsnova_statsd.client.retry import RetryPolicy, Stopped
from wsnova_statsd.dial.target import Target, target
from wsnova_statsd.errors import ConnectionFailed
from wsnova_statsd.link.session import Loss
from wsnova_statsd.profiles import FINANCIAL, STANDARD, Profile
from wsnova_statsd.telemetry import Bus
from wsnova_statsd.testing.capture import EventLog, capture_events
from wsnova_statsd.testing.clock import FakeClock


def _nothing(*_given: object) -> None:
    """The rest of a client, which does nothing here."""


_NO_CALLS = Calls(is_owner=lambda: True, linked=_nothing, unlinked=_nothing, arrived=_nothing, neglected=_nothing)


class _FakeLink:
    """A link that lives for some simulated seconds and is lost."""

    def __init__(self, clock: FakeClock, lives: float) -> None:
        self.uri = "ws://feed.example"
        self.opened_ns = clock.ns()
        self.inbox: list[object] = []
        self.unclaimed: list[bytes] = []
        self.seen: list[object] = []
        self.loss: Loss | None = None
        self.session = SimpleNamespace(notices=[], loss=None, arrived=0)
        self.last_byte = clock()
        self.writer = SimpleNamespace(sent=0)
        self._clock = clock
        self._lives = lives
        self._ended = False

    def next_run(self) -> None:
        self._clock.advance(self._lives)
        self.loss = Loss("close_1006", "")

    def announce(self) -> str:
        return self.uri

    def end(self, _who: object) -> bool:
        self._ended, first = True, not self._ended
        return first

    def unend(self, _who: object) -> None:
        self._ended = False

    def send_close(self, *_given: object) -> None:
        pass

    def inherit(self, unread: deque[object]) -> None:
        assert not unread

    def bequeath(self, _unread: deque[object]) -> None:
        assert not self.inbox

    def shutdown(self) -> None:
        pass

    def dispose(self) -> None:
        pass


class _Server:
    """A connection's dialer: every dial does what `answers` yields next."""

    def __init__(self, clock: FakeClock, answers: Iterator[float | ConnectionFailed], end: float = 300.0) -> None:
        self.dials: list[float] = []
        self.asked: list[float] = []
        self._clock = clock
        self._answers = answers
        self._end = clock() + end
        self.connection: Connection | None = None
        self.url: Callable[[], Target] = lambda: target("ws://feed.example")

    def target(self) -> Target:
        self._check()
        self.asked.append(self._clock())
        return self.url()

    def link(self, _target: Target, _timeout: float, made: Callable[[Any], object]) -> Any:
        self._check()
        self.dials.append(self._clock())
        answer = next(self._answers)
        if isinstance(answer, ConnectionFailed):
            raise answer
        link = _FakeLink(self._clock, answer)
        made(link)
        return link

    def cancel(self) -> None:
        pass

    def _check(self) -> None:
        if self._clock() >= self._end and self.connection is not None:
            self.connection.ask_close("local")
            raise ConnectionFailed("the time is up", cause="cancelled")


def _always(answer: float | ConnectionFailed) -> Iterator[float | ConnectionFailed]:
    while True:
        yield answer


def _live(monkeypatch: pytest.MonkeyPatch, clock: FakeClock, server: _Server, profile: Profile) -> EventLog:
    """The events of a connection's life with this server, until the server's end or until it gives up."""
    fake_time = SimpleNamespace(monotonic=clock, monotonic_ns=clock.ns, time_ns=clock.ns)
    monkeypatch.setattr(connection_module, "time", fake_time)
    monkeypatch.setattr(connection_module, "Dialer", lambda *_: server)
    monkeypatch.setattr(connection_module, "KEEPER", SimpleNamespace(watch=lambda _: None, forget=lambda _: None))
    monkeypatch.setattr(connection_module, "RetryPolicy", partial(RetryPolicy, uniform=_middle))
    options = Options(
        "ws://feed.example", "md-1", profile, Protocol(), None, None, None, (), None, None, 10.0, 1024, 1024, True, None
    )
    bus = Bus()
    emitter = Emitter(bus, profile, "md-1")
    faults = Faults(emitter, "md-1", True, None)
    made = Connection(options, emitter, faults, Login(None, emitter, faults, _nothing, _nothing), _NO_CALLS)
    made._wake = _Sleep(clock)
    server.connection = made
    with capture_events(bus=bus) as log:
        try:
            made.open(None)
            while True:
                link: Any = made.live_link()
                if link is not None:
                    link.next_run()
        except Stopped:
            return log


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(start=0.0)


@pytest.mark.parametrize(("profile", "connects"), [(FINANCIAL, 156), (STANDARD, 16)])
def test_an_accept_then_close_server_sees_few_connects(
    monkeypatch: pytest.MonkeyPatch, clock: FakeClock, profile: Profile, connects: int
) -> None:
    """Over five simulated minutes of links that are lost at once; to within a tenth."""
    server = _Server(clock, _always(0.0))
    _live(monkeypatch, clock, server, profile)
    assert connects * 0.9 <= len(server.dials) <= connects * 1.1


def test_a_stable_link_restarts_the_delays(monkeypatch: pytest.MonkeyPatch, clock: FakeClock) -> None:
    """Ten seconds are stable under the standard profile, 9.9 are not."""
    server = _Server(clock, iter([9.9, 9.9, 9.9, 10.0, 10.0, *[0.0] * 99]), end=55.0)
    _live(monkeypatch, clock, server, STANDARD)
    lives = [9.9, 9.9, 9.9, 10.0, 10.0]
    gaps = [later - earlier for earlier, later in zip(server.dials, server.dials[1:], strict=False)]
    waits = [gap - life for gap, life in zip(gaps, lives, strict=False)]
    assert waits == pytest.approx([0.5, 0.5, 1.0, 0.5, 0.5])


def test_tries_of_links_that_never_were_stable_count_towards_the_alarm(
    monkeypatch: pytest.MonkeyPatch, clock: FakeClock
) -> None:
    """After twenty dials that were accepted and dropped the first refused one raises the alarm."""
    refused = ConnectionFailed("no", cause="refused")
    server = _Server(clock, iter([*[0.0] * 21, *[refused] * 99]), end=60.0)
    log = _live(monkeypatch, clock, server, FINANCIAL)
    finals = [one.metadata["final"] for one in log.of(events.CONNECTION_RECONNECT_FAILED)]
    assert len(finals) > 5
    assert finals == [True] + [False] * (len(finals) - 1)


def test_after_the_alarm_the_client_goes_on_at_the_cap(monkeypatch: pytest.MonkeyPatch, clock: FakeClock) -> None:
    """One final failure per outage; retries do not end, and the last delays are the cap's."""
    refused = ConnectionFailed("no", cause="refused")
    server = _Server(clock, iter([60.0, *[refused] * 999]), end=600.0)
    log = _live(monkeypatch, clock, server, STANDARD)
    failed = log.of(events.CONNECTION_RECONNECT_FAILED)
    assert [one.metadata["final"] for one in failed].count(True) == 1
    assert failed[9].metadata["final"]
    assert [one.measurements["attempt"] for one in failed] == list(range(1, len(failed) + 1))
    attempts = log.of(events.CONNECTION_RECONNECT_ATTEMPT)
    assert attempts[-1].measurements["delay"] == 28_500_000_000
    severities = [one.metadata["severity"] for one in log.of(events.ERROR_OCCURRED)]
    assert severities[0] == "error"  # the lost link
    assert severities[1:] == ["warning"] * 9 + ["critical"] + ["warning"] * (len(severities) - 11)


def test_giving_up_ends_the_retries_at_the_alarm(monkeypatch: pytest.MonkeyPatch, clock: FakeClock) -> None:
    """With the last failure, after max_attempts: with give_up, and for a first connection in any profile."""
    for links, profile in ((0, STANDARD), (1, STANDARD.replace(give_up=True))):
        refused = [ConnectionFailed("no", cause="refused")] * 99
        server = _Server(clock, iter([*[60.0] * links, *refused]), end=6000.0)
        with pytest.raises(ConnectionFailed) as caught:
            _live(monkeypatch, clock, server, profile)
        assert caught.value.cause == "refused"
        assert len(server.dials) == links + STANDARD.max_attempts


def test_a_url_function_that_raises_is_retried_with_growing_delays(
    monkeypatch: pytest.MonkeyPatch, clock: FakeClock
) -> None:
    """It is a failed attempt like any other; otherwise a token service would be flooded."""
    server = _Server(clock, iter([60.0, *[0.0] * 99]), end=120.0)

    def url() -> Target:
        if server.dials:
            raise ConnectionFailed("url: RuntimeError: no token", cause="url")
        return target("ws://feed.example")

    server.url = url
    _live(monkeypatch, clock, server, FINANCIAL)
    assert len(server.asked) < 60  # at the cap of 2 s, one minute has some 35
