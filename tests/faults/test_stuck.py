"""A handler that does not return: emitted while it still runs, once, with its stack, its type and its processor
time."""

import gc
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import wsnova_statsd as ws
from tests.support import stuck_after, until
from wsnova_statsd.client.stuck import stack_of
from wsnova_statsd.profiles import ProfileName
from wsnova_statsd.testing.capture import EventLog, capture_events
from wsnova_statsd.testing.server import WebSocketServer, answers, send_messages

pytestmark = pytest.mark.alone

STUCK = ws.events.MESSAGE_PROCESS_STUCK
PATIENCE = 20.0  # seconds; reached only by a failing test


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten seconds become a third of one."""
    stuck_after(monkeypatch, 0.3)


@pytest.fixture
def log(bus: ws.Bus) -> Iterator[EventLog]:
    with capture_events(bus=bus) as log:
        yield log


class _Held:
    """A handler that does not return from the third message before it is released."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.handled = 0

    def __call__(self, message: Any) -> None:
        if message["type"] == "third":
            assert self.go.wait(PATIENCE)
        self.handled += 1


def _by_callback(client: Callable[..., ws.Client], handle: Callable[[Any], object]) -> ws.Client:
    return client(on_message=handle).start()


def _by_iteration(client: Callable[..., ws.Client], handle: Callable[[Any], object]) -> ws.Client:
    started = client().start()

    def iterate() -> None:
        for message in started:
            handle(message)

    threading.Thread(target=iterate, daemon=True).start()
    return started


USES = pytest.mark.parametrize("use", [_by_callback, _by_iteration])
MESSAGES = [f'{{"type": "{name}"}}' for name in ("first", "second", "third", "fourth")]


@USES
@pytest.mark.parametrize("profile", ["financial", "standard", "lightweight"])
def test_a_stuck_handler_is_emitted_once_while_it_still_runs(
    use: Callable[..., ws.Client], profile: ProfileName, bus: ws.Bus, log: EventLog
) -> None:
    """Whether messages are handled one by one or in runs, in every profile; the next messages still come."""
    handle = _Held()
    with WebSocketServer(send_messages(MESSAGES)) as server:
        client = use(lambda **more: ws.Client(server.url, client_id="md-1", profile=profile, bus=bus, **more), handle)
        assert log.wait_for(STUCK, timeout=PATIENCE)
        assert handle.handled == 2
        handle.go.set()
        assert until(lambda: handle.handled == 4, PATIENCE)
        client.close()
    (reported,) = log.of(STUCK)
    assert (reported.metadata["client_id"], reported.metadata["type"], reported.thread) == (
        "md-1",
        "third",
        "wsnova-clock",
    )
    assert reported.measurements["duration"] >= 300_000_000
    assert any(
        "test_stuck.py" in line and "__call__: assert self.go.wait" in line for line in reported.metadata["stack"]
    )
    assert not any("wsnova_statsd/client/" in line for line in reported.metadata["stack"])
    (slow,) = [one for one in log.of(ws.events.MESSAGE_PROCESS_SLOW) if one.metadata["type"] == "third"]
    assert slow.measurements["duration"] > reported.measurements["duration"]


@pytest.mark.skipif(not hasattr(time, "pthread_getcpuclockid"), reason="a thread's processor time cannot be read here")
def test_its_processor_time_distinguishes_work_from_waiting(bus: ws.Bus, log: EventLog) -> None:
    """The one computes, the other waits."""

    def handle(message: Any) -> None:
        if message["type"] == "second":
            while not log.count(STUCK):
                sum(range(1000))
        elif message["type"] == "third":
            assert log.wait_for(STUCK, 2, PATIENCE)

    with (
        WebSocketServer(send_messages(MESSAGES)) as server,
        ws.Client(server.url, client_id="md-1", profile="financial", on_message=handle, bus=bus),
    ):
        assert log.wait_for(STUCK, 2, PATIENCE)
    working, waiting = (one.measurements["cpu_time"] for one in log.of(STUCK))
    assert 0 <= waiting < working / 2
    assert working > 10_000_000


@USES
@pytest.mark.parametrize("profile", ["financial", "standard"])
def test_many_messages_that_take_long_together_are_not_stuck(
    use: Callable[..., ws.Client], profile: ProfileName, bus: ws.Bus, log: EventLog
) -> None:
    """Equal ones, which one read brings; each is shorter than the limit, all of them are three times as long."""
    done = threading.Event()
    handled = []

    def handle(message: Any) -> None:
        handled.append(message)
        done.wait(0.02)
        if len(handled) == 50:
            done.set()

    with WebSocketServer(send_messages(["true"] * 50)) as server:
        client = use(lambda **more: ws.Client(server.url, client_id="md-1", profile=profile, bus=bus, **more), handle)
        assert done.wait(PATIENCE)
        client.close()
    assert log.count(STUCK) == 0


def test_a_handler_that_waits_for_a_reply_is_stuck_too(bus: ws.Bus, log: EventLog) -> None:
    """It reads while it waits, and is still handling its message."""

    def handle(message: Any) -> None:
        with pytest.raises(ws.errors.RequestTimeout):
            client.request({"method": "never"}, timeout=0.6)
        done.set()

    done = threading.Event()
    with WebSocketServer(answers(lambda message: '{"type": "tick"}')) as server:
        client = ws.Client(
            server.url, client_id="md-1", protocol=ws.JsonRpcProtocol(), on_message=handle, bus=bus
        ).start()
        client.send({"type": "go"})
        assert log.wait_for(STUCK, timeout=PATIENCE)
        assert done.wait(PATIENCE)
        client.close()
    assert "request" in " ".join(log.of(STUCK)[0].metadata["stack"])


def test_a_client_that_waits_for_messages_or_is_polled_is_not_stuck(bus: ws.Bus, log: EventLog) -> None:
    """No message is being handled, for any length of time."""
    with (
        WebSocketServer(send_messages(MESSAGES)) as server,
        ws.Client(server.url, client_id="md-1", on_message=lambda message: None, bus=bus),
        ws.Client(server.url, client_id="md-2", bus=bus) as polled,
    ):
        assert polled.receive(PATIENCE) == {"type": "first"}
        assert not log.wait_for(STUCK, 1, 0.6)


def test_without_a_handler_nothing_is_checked(bus: ws.Bus) -> None:
    """The clock's thread sleeps beside a busy callback, unless a handler is attached when its client starts."""
    release = threading.Event()

    def wakes() -> int:
        client = ws.Client(server.url, on_message=lambda message: release.wait(PATIENCE), bus=bus).start()
        before = _wakes_of_the_clock()
        assert not release.wait(0.6)
        after = _wakes_of_the_clock()
        client.close(0.1)
        return after - before

    with WebSocketServer(send_messages(MESSAGES)) as server:
        unheard = wakes()
        with capture_events(STUCK, bus=bus) as log:
            observed = wakes()
            assert log.count(STUCK) == 1
        release.set()
    assert unheard < 10 <= observed


@pytest.mark.parametrize("observed", [True, False])
def test_a_closed_client_is_forgotten(bus: ws.Bus, observed: bool) -> None:
    """The watchdog does not keep it alive."""
    with ExitStack() as stack:
        server = stack.enter_context(WebSocketServer(send_messages(MESSAGES)))
        if observed:
            stack.enter_context(capture_events(STUCK, bus=bus))
        handled = list[Any]()
        client = ws.Client(server.url, client_id="md-1", on_message=handled.append, bus=bus).start()
        assert until(lambda: len(handled) == len(MESSAGES), PATIENCE)
        client.close()
        kept = weakref.ref(client)
        del client
        assert until(lambda: gc.collect() >= 0 and kept() is None, PATIENCE)


def _wakes_of_the_clock() -> int:
    """How often its thread has slept so far."""
    for thread in threading.enumerate():
        if thread.name == "wsnova-clock":
            status = Path(f"/proc/self/task/{thread.native_id}/status").read_text(encoding="ascii")
            return int(status.split("\nvoluntary_ctxt_switches:")[1].split()[0])
    return 0


def test_a_stack_is_bounded_and_begins_with_the_innermost_frame() -> None:
    def deeper(left: int) -> list[str]:
        return deeper(left - 1) if left else stack_of(sys._getframe())

    stack = deeper(100)
    assert len(stack) == 30
    assert all(line.startswith(f"{__file__}:") and " deeper: return deeper(left - 1)" in line for line in stack)
    assert stack_of(None) == []


def test_a_client_starts_without_the_frames_of_all_threads(
    monkeypatch: pytest.MonkeyPatch, bus: ws.Bus, log: EventLog
) -> None:
    """They are read when a handler is stuck, and then without the garbage collector, which runs again afterwards:
    before Python 3.11.9 a collection during that can stop the process for ever."""
    collects, frames = list[bool](), sys._current_frames

    def asked() -> dict[int, Any]:
        collects.append(gc.isenabled())
        return frames()

    monkeypatch.setattr(sys, "_current_frames", asked)
    handle = _Held()
    with WebSocketServer(send_messages(MESSAGES)) as server:
        client = ws.Client(server.url, on_message=handle, bus=bus).start()
        assert until(lambda: handle.handled == 2, PATIENCE)
        assert collects == []
        assert log.wait_for(STUCK, timeout=PATIENCE)
        handle.go.set()
        client.close()
    assert collects == [False]
    assert until(gc.isenabled)
