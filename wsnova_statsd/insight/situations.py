"""The seven situations that are worth an alert, as rules. Pure; the rolling sums of a client are in window.py."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final

from .. import events
from ..errors import ConfigurationError
from ..metrics.reading import number
from ..profiles import Profile
from ..redaction import redact_text, redact_url
from ..wire import AlertType
from .kpi_history import ON_PURPOSE
from .rules import CALM, Breach, Calm, Rule, Seen, Unusable, exact, rounded
from .window import Drift, Errors

SAMPLING: Final = 1.0  # seconds between two sums of messages
_SUMS: Final = f"sums of messages are {SAMPLING:g} s apart"
_QUIET: Final = 2 * SAMPLING  # without sums for longer than this, a client has received nothing for a while


@dataclass(frozen=True)
class SlowProcessing(Rule):
    """`message.process.slow` with a duration strictly above `threshold_ms` (the guide's custom handler: 100 ms).

    Args:
        threshold_ms: Milliseconds that a message may take, from the profile's slow_after. Default: 100.
    """

    threshold_ms: float = 100.0

    hears: ClassVar[tuple[str, ...]] = (events.MESSAGE_PROCESS_SLOW,)
    subject = "slow message processing"
    noun = "slow messages"
    unit = "ms"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._at_least("threshold_ms", 0.0)

    def fitted(self, profile: Profile) -> SlowProcessing:
        """Refuse a threshold below the duration from which the profile emits events."""
        if self.threshold_ms < profile.slow_after * 1000:
            raise ConfigurationError(
                f"SlowProcessing's threshold_ms is {self.threshold_ms:g}, but the profile emits no event below its "
                f"slow_after of {profile.slow_after * 1000:g} ms; lower slow_after with profile.replace"
            )
        return self

    def judge(self, seen: Seen, memory: Any) -> Breach | Calm | None:
        duration = seen.number("duration")
        if duration <= self.threshold_ms * 1e6:
            return None
        value = duration / 1e6
        kind = seen.type or "unknown"
        title = f"Slow message processing: {value}ms for {kind}"
        return Breach(title, f"{value}ms, over {self.threshold_ms:g}ms.", value, kind)

    def shown(self, value: float) -> str:
        return f"{value}ms"


@dataclass(frozen=True)
class StuckHandler(Rule):
    """`message.process.stuck`: a handler still runs. Over when the message is counted as processed."""

    hears: ClassVar[tuple[str, ...]] = (
        events.MESSAGE_PROCESS_STUCK,
        events.MESSAGE_PROCESS_SLOW,
        events.MESSAGE_BATCH_PROCESSED,
    )
    alert_type: ClassVar[AlertType] = "error"
    subject = "stuck handler"
    noun = "stuck messages"
    unit = "s"
    passes = False

    def memory(self) -> list[float]:
        """How long the stuck messages had run when they were reported, in ns."""
        return []

    def judge(self, seen: Seen, memory: list[float]) -> Breach | Calm | None:
        if seen.event == events.MESSAGE_PROCESS_STUCK:
            duration = seen.number("duration")
            del memory[10:]
            memory.append(duration)
            so_far, kind = duration / 1e9, seen.type or "unknown"
            text = f"Still in its handler after {exact(so_far)} s{_split(seen, duration)}.\n{_stack(seen)}"
            return Breach(f"Stuck handler: {so_far:.1f}s for {kind}", text, so_far, kind)
        if not memory:
            return None
        back = seen.event == events.MESSAGE_PROCESS_SLOW  # emitted by the owner thread, after a message
        if not back and seen.metadata.get("direction") == "received":
            back = seen.number("process_time_max") >= min(memory)
        if back:
            memory.clear()
        return CALM if back else None


def _split(seen: Seen, duration: float) -> str:
    """How the handler spent its time; empty if the platform cannot read another thread's clock."""
    spent = number(seen.measurements.get("cpu_time"))
    if spent is None or not 0 <= spent <= 2 * duration or not duration:
        return ""
    share = min(1.0, spent / duration)
    return f", {share:.0%} of it on the CPU, {1 - share:.0%} waiting"


def _stack(seen: Seen) -> str:
    """The frames of the event, innermost first, redacted in every profile."""
    stack = seen.metadata.get("stack")
    lines = [redact_text(line) for line in stack if isinstance(line, str)] if isinstance(stack, list | tuple) else []
    return "\n".join(["Innermost frame first:", *lines]) if lines else "Its stack is not known."


@dataclass(frozen=True)
class RetriesExhausted(Rule):
    """`connection.reconnect.failed` with final=true: the alarm of an outage. Over when a link has been up for
    `stable_s` seconds, or was closed on purpose.

    Args:
        stable_s: Seconds after which a new link ends the incident, from 0. Default: None, the profile's stable_after.
    """

    stable_s: float | None = None

    hears: ClassVar[tuple[str, ...]] = (
        events.CONNECTION_RECONNECT_FAILED,
        events.CONNECTION_RECONNECT_SUCCESS,
        events.CONNECTION_COMPLETED,
        events.CONNECTION_DISCONNECTED,
    )
    alert_type: ClassVar[AlertType] = "error"
    subject = "lost connection"
    noun = "alarms"
    unit = "s"
    passes = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.stable_s is not None:
            self._at_least("stable_s", 0.0)

    def fitted(self, profile: Profile) -> RetriesExhausted:
        return self if self.stable_s is not None else replace(self, stable_s=profile.stable_after)

    def judge(self, seen: Seen, memory: Any) -> Breach | Calm | None:
        stable = self.stable_s or 0.0
        if seen.event == events.CONNECTION_DISCONNECTED:
            lasted = (seen.known("duration") or 0) >= stable * 1e9
            return CALM if lasted or seen.metadata.get("reason") in ON_PURPOSE else Calm(after=math.inf)
        if seen.event == events.CONNECTION_COMPLETED and seen.metadata.get("reconnect"):
            return None  # a retry's link is usable at reconnect.success, after the login
        if seen.event != events.CONNECTION_RECONNECT_FAILED:
            return Calm(after=stable)
        if seen.metadata.get("final") is not True:
            return None
        attempt, duration, reason = seen.number("attempt"), seen.number("duration") / 1e9, seen.word("reason")
        what = f"retry {attempt:g} failed with {reason}, {self.shown(duration)} after the link was lost"
        if attempt and not duration:  # no attempt failed, but no link lasted
            what = f"{attempt:g} retries made no link that lasted; the last one ended with {reason}"
        text = f"{redact_url(str(seen.metadata.get('uri')))}: {what}."
        return Breach(f"Retries exhausted: {reason}", text, duration)


@dataclass(frozen=True)
class AuthFailed(Rule):
    """`auth.failed`. Over when a login is accepted, if the profile emits that."""

    hears: ClassVar[tuple[str, ...]] = (
        events.AUTH_FAILED,
        events.AUTH_COMPLETED,
        events.AUTH_REFRESH_COMPLETED,
        events.CONNECTION_RECONNECT_SUCCESS,
        events.ERROR_HANDLED,
    )
    alert_type: ClassVar[AlertType] = "error"
    subject = "failed login"
    noun = "failed logins"
    unit = "s"
    passes = False

    def judge(self, seen: Seen, memory: Any) -> Breach | Calm | None:
        if seen.event == events.ERROR_HANDLED:
            return CALM if seen.metadata.get("error_type") == "auth" else None
        if seen.event != events.AUTH_FAILED:
            return CALM
        duration = seen.number("duration") / 1e9
        reason, phase = seen.word("reason"), seen.word("phase")
        return Breach(f"Login failed: {reason} ({phase})", f"The {phase} login failed: {reason}.", duration)


@dataclass(frozen=True)
class ErrorRate(Rule):
    """The share of messages with an error, in both directions, is above `limit` for a whole window of `window_s`
    seconds with at least `at_least` messages. A burst shorter than the window does not fire.

    Args:
        window_s: Seconds of the window, from 1. Default: 60.
        limit: The share of messages that may fail, from 0 to below 1. Default: None, the profile's target for
            message_error_rate.
        at_least: Messages that the window needs for a verdict, from 1. Default: 100.
    """

    window_s: float = 60.0
    limit: float | None = None
    at_least: int = 100

    hears: ClassVar[tuple[str, ...]] = (events.MESSAGE_BATCH_PROCESSED,)
    alert_type: ClassVar[AlertType] = "error"
    subject = "error rate"
    noun = "readings"
    unit = "%"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._at_least("window_s", SAMPLING, _SUMS)
        self._at_least("at_least", 1)
        if self.limit is not None:
            self._at_least("limit", 0.0)
            if self.limit >= 1:
                raise ConfigurationError(f"ErrorRate's limit is {self.limit!r}; pass a share below 1, such as 0.001")

    def fitted(self, profile: Profile) -> ErrorRate:
        if self.limit is not None:
            return self
        target = profile.kpi_targets.get("message_error_rate")
        if target is None:
            raise ConfigurationError(f"ErrorRate has no limit, and profile {profile.name!r} no target; pass limit=")
        return replace(self, limit=target[1])

    def memory(self) -> Errors:
        return Errors(self.window_s)

    def judge(self, seen: Seen, memory: Errors) -> Breach | Calm | None:
        count, errors, window = seen.number("count"), seen.number("errors"), seen.number("window")
        if errors > count:
            raise Unusable("errors")
        limit = self.limit if self.limit is not None else 0.0
        verdict = memory.add(seen.at, window / 1e9, count, errors, limit, self.at_least)
        if not verdict:
            return CALM if verdict is False else None
        share = memory.share * 100
        title = f"Error rate: {rounded(share)}% of the messages"
        return Breach(title, f"{self.shown(share)} within {self.window_s:g} s, over {limit * 100:g}%.", share)


@dataclass(frozen=True)
class LatencyDrift(Rule):
    """The mean processing time of the last `window_s` seconds is above `factor` times that of the `baseline_s` seconds
    before them, with at least `at_least` messages in each.

    Args:
        window_s: Seconds of the window, from 1. Default: 60.
        baseline_s: Seconds of the baseline before it, from window_s. Default: 900.
        factor: How many times the baseline's mean the window's mean may be, from 1. Default: 3.
        at_least: Messages that window and baseline need for a verdict, from 1. Default: 200.
    """

    window_s: float = 60.0
    baseline_s: float = 900.0
    factor: float = 3.0
    at_least: int = 200

    hears: ClassVar[tuple[str, ...]] = (events.MESSAGE_BATCH_PROCESSED,)
    subject = "latency drift"
    noun = "readings"
    unit = "ms"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._at_least("window_s", SAMPLING, _SUMS)
        self._at_least("baseline_s", self.window_s, f"window_s is {self.window_s:g}")
        self._at_least("factor", 1.0)
        self._at_least("at_least", 1)

    def memory(self) -> Drift:
        return Drift(self.window_s, self.baseline_s)

    def judge(self, seen: Seen, memory: Drift) -> Breach | Calm | None:
        if seen.metadata.get("direction") != "received":
            return None
        processed, spent = seen.known("processed"), seen.number("process_time")
        count = seen.number("count") if processed is None else processed
        verdict = memory.add(seen.at, count, spent, self.factor, self.at_least)
        if not verdict:
            return CALM if verdict is False else None
        mean, usual = memory.mean / 1e6, memory.usual / 1e6
        title = f"Latency drift: {rounded(mean)}ms, {rounded(mean / usual, 3)} times the usual"
        short, long = f"within {self.window_s:g} s", f"in the {self.baseline_s:g} s before"
        text = f"{self.shown(mean)} on average {short}, {self.shown(usual)} {long}."
        return Breach(title, text, mean)


class _Stretch:
    """Since when a client has been behind, None if it is not, and until when that is known."""

    __slots__ = ("since", "until")

    def __init__(self) -> None:
        self.since: float | None = None
        self.until: float = 0.0


@dataclass(frozen=True)
class FallingBehind(Rule):
    """A client has not kept up with its feed for `for_s` seconds without interruption: the waiting messages take more
    than `behind_ms` to process, or messages are on average older than that when they are handed out (if the protocol
    knows `sent_at`), or the reader never had to wait for input. Over when none of these is true.

    Args:
        behind_ms: Milliseconds that a client may be behind, from 0. Default: 1000.
        for_s: Seconds without interruption after which the rule fires, from 0. Default: 10.
    """

    behind_ms: float = 1000.0
    for_s: float = 10.0

    hears: ClassVar[tuple[str, ...]] = (events.MESSAGE_BATCH_PROCESSED,)
    subject = "falling behind"
    noun = "readings"
    unit = "ms"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._at_least("behind_ms", 0.0)
        self._at_least("for_s", 0.0)

    def memory(self) -> _Stretch:
        return _Stretch()

    def judge(self, seen: Seen, memory: _Stretch) -> Breach | Calm | None:
        if seen.metadata.get("direction") != "received":
            return None
        behind, lag, idle = seen.known("behind"), seen.known("lag"), seen.known("idle")
        if behind is None and lag is None and idle is None:  # an emitter that does not measure them
            return None
        count, waiting = seen.number("count"), seen.known("waiting")
        late = max(behind or 0, lag / count if lag and count else 0) / 1e6
        restless = idle == 0 and bool(count or waiting)  # otherwise one handler is slow, but no message waits
        began = seen.at - seen.number("window") / 1e9
        if late <= self.behind_ms and not restless:
            memory.since = None
            return CALM
        if memory.since is None or began - memory.until > _QUIET:
            memory.since = began
        memory.until = seen.at
        lasted = seen.at - memory.since
        if lasted < self.for_s:
            return None
        why = f"over {self.behind_ms:g}ms" if late > self.behind_ms else "never idle"
        backlog = "" if waiting is None else f", {exact(waiting)} message{'s' * (waiting != 1)} waiting"
        return Breach(
            f"Falling behind: {rounded(late)}ms{backlog}", f"{self.shown(late)}, {why} for {exact(lasted)} s.", late
        )


def default_rules(profile: Profile) -> list[Rule]:
    """The default rules of a Monitor: all that fit the profile."""
    # If the profile's slow_after is higher than the guide's limit, the alert's threshold is too.
    slow = SlowProcessing(max(100.0, profile.slow_after * 1000))
    rules: list[Rule] = [slow, StuckHandler(), RetriesExhausted(), AuthFailed(), FallingBehind(), LatencyDrift()]
    if profile.kpi_targets.get("message_error_rate") is not None:
        rules.append(ErrorRate())
    return rules
