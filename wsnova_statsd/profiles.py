"""Profiles: which events a client emits, and how it reconnects. Three values; no code branches on their names.

Pure data, no threads. The numbers are those of the guide's "Profile-Based Telemetry" and the tables of the event
notes; the first seven fields have the names of the guide's configuration keys.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType
from typing import Any, Final, Literal

from . import checks
from .errors import ConfigurationError, known_keys, one_of
from .events import EventSpec

_RANK: Final = {"any": 0, "minimal": 0, "standard": 1, "detailed": 2}
LEVELS: Final = ("minimal", "standard", "detailed")
Level = Literal["minimal", "standard", "detailed"]
ProfileName = Literal["financial", "standard", "lightweight"]

# key: (">" or "<", the limit); the key names the KPI's unit. None: reported without a verdict.
KpiTargets = Mapping[str, tuple[str, float] | None]
BLIND: Final = "blind_s"  # not in KPI_KEYS, and without a target: seconds without a working connection
KPI_KEYS: Final = (
    "connection_success_rate",
    "connection_time_ms",
    "reconnection_success_rate",
    "time_to_reconnect_s",
    "processing_time_ms",
    "throughput_per_s",
    "message_error_rate",
    "error_recovery_rate",
    "error_to_alert_s",
)
HIGH_IS_GOOD: Final = frozenset({"connection_success_rate", "reconnection_success_rate", "error_recovery_rate"})
_EITHER: Final = frozenset({"throughput_per_s"})  # a floor or a ceiling, depending on the feed
_MOST: Final = 1e9  # the highest limit


def _targets(
    success: float, connect: float, back: float, process: float, errors: float, alert: float | None
) -> KpiTargets:
    limits = (
        (">", success),
        ("<", connect),
        (">", 0.99),
        ("<", back),
        ("<", process),
        None,
        ("<", errors),
        (">", 0.99),
        None if alert is None else ("<", alert),
    )
    return MappingProxyType(dict(zip(KPI_KEYS, limits, strict=True)))


@checks.named_fields
@dataclass(frozen=True, slots=True)
class Profile:
    """Which events a client emits, and how it reconnects. Change single values with `replace`.

    Raises ConfigurationError at once for a value out of range. The values of the three profiles are listed in the order
    financial, standard, lightweight. All times are seconds, up to 1e9.

    Args:
        name: A text that is not empty.
        level: "detailed", "standard" or "minimal": the least important events that are emitted.
        connection_events: Whether connection events are emitted: True in all three.
        message_events: Whether events of single messages are emitted: True, False, False. Sums are emitted in every
            profile.
        error_events: Whether errors are emitted: True in all three.
        heartbeat_events: Whether events of pings and pongs are emitted: True, False, False.
        metadata_filter: True filters sensitive metadata, False does not; or a function from metadata to metadata:
            False, True, True.
        ping_interval: Seconds between two pings, above 0; None sends none: 5, 20, 60.
        pong_timeout: Seconds within which something has to arrive after a ping, above 0: 3, 10, 20.
        first_retry: Seconds before the first try to reconnect, from 0: 0, 0.5, 1.
        retry_base: Seconds before the second try, doubled for each further one, above 0: 0.05, 0.5, 1.
        retry_cap: Seconds that no wait exceeds, from retry_base: 2, 30, 60.
        max_attempts: Tries since the link was last stable before the alarm is raised, from 1: 20, 10, 5.
        stable_after: Seconds after which a link counts as stable, from 0: 5, 10, 10.
        kpi_targets: KPIs and their targets: (">", limit), ("<", limit) or None; examples/monitor.md lists them.
        give_up: Whether the alarm ends the client. Default: False, it keeps trying.
        slow_after: A message that takes longer than this many seconds emits `process.slow`, from 0. Default: 0.1.
    """

    name: str
    level: Level
    connection_events: bool
    message_events: bool
    error_events: bool
    heartbeat_events: bool
    metadata_filter: bool | Callable[[Mapping[str, Any]], Mapping[str, Any]]
    ping_interval: float | None
    pong_timeout: float
    first_retry: float
    retry_base: float
    retry_cap: float
    max_attempts: int
    stable_after: float
    kpi_targets: KpiTargets = field(repr=False)
    give_up: bool = False
    slow_after: float = 0.1

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise ConfigurationError(f"a profile's name is {self.name!r}; pass a non-empty string")
        if self.level not in LEVELS:
            raise one_of("a profile's level", self.level, LEVELS)
        for key in ("connection_events", "message_events", "error_events", "heartbeat_events", "give_up"):
            checks.flag(f"a profile's {key}", getattr(self, key))
        if not isinstance(self.metadata_filter, bool) and not callable(self.metadata_filter):
            raise one_of("a profile's metadata_filter", self.metadata_filter, (True, False, "a callable"))
        if not isinstance(self.metadata_filter, bool):
            checks.function("a profile's metadata_filter", self.metadata_filter, "metadata")
        for key in (
            "ping_interval",
            "pong_timeout",
            "first_retry",
            "retry_base",
            "retry_cap",
            "stable_after",
            "slow_after",
        ):
            zero = key in ("first_retry", "stable_after", "slow_after")
            if key != "ping_interval" or self.ping_interval is not None:
                checks.seconds(f"a profile's {key}", getattr(self, key), zero=zero)
        if self.retry_cap < self.retry_base:
            raise ConfigurationError(
                f"a profile's retry_cap is {self.retry_cap}, below its retry_base {self.retry_base}; "
                "set it to retry_base or more"
            )
        checks.whole("a profile's max_attempts", self.max_attempts)
        if not isinstance(self.kpi_targets, Mapping):
            raise ConfigurationError(
                f"a profile's kpi_targets is {self.kpi_targets!r}; pass a mapping of KPIs to targets"
            )
        known_keys("kpi_targets", self.kpi_targets, KPI_KEYS)
        for key, target in self.kpi_targets.items():
            _check_target(key, target)
        object.__setattr__(self, "kpi_targets", MappingProxyType(dict(self.kpi_targets)))  # no change after the check

    def replace(self, **changes: Any) -> Profile:
        """This profile with some fields changed. Raises ConfigurationError for an unknown field and names the known."""
        known_keys("a profile", changes, [one.name for one in fields(self)])
        return replace(self, **changes)

    def level_of(self, spec: EventSpec) -> str:
        """Which occurrences of an event this profile emits: `all`, only `major` ones, or `none`."""
        if spec.toggle is not None and not getattr(self, spec.toggle):
            return "none"
        if _RANK[spec.level] <= _RANK[self.level]:
            return "all"
        return "major" if spec.minimal_when is not None else "none"

    def emits(self, spec: EventSpec, metadata: Mapping[str, Any] = MappingProxyType({})) -> bool:
        """True if this profile emits this event with this metadata."""
        share = self.level_of(spec)
        if share == "major" and spec.minimal_when is not None:
            key, values = spec.minimal_when
            return metadata.get(key) in values
        return share == "all"


def _check_target(key: str, target: object) -> None:
    """Refuse what is not a target, and targets that no value meets, every value meets, or only worse values meet."""
    match target:
        case None:
            return
        case (">" | "<" as sign, int() | float() as limit) if not isinstance(limit, bool):
            pass
        case _:
            raise ConfigurationError(
                f"a profile's kpi_targets has {target!r} for {key}; use ('>', limit), ('<', limit) or None"
            )
    if key in HIGH_IS_GOOD:
        possible, allowed = sign == ">" and 0 <= limit < 1, "('>', a limit from 0 to below 1)"
    elif key in _EITHER:
        possible, allowed = 0 < limit <= _MOST, "('>' or '<', a limit above 0)"
    elif key == "message_error_rate":
        possible, allowed = sign == "<" and 0 < limit < 1, "('<', a limit between 0 and 1)"
    else:
        possible, allowed = sign == "<" and 0 < limit <= _MOST, "('<', a limit above 0)"
    if not possible:
        raise ConfigurationError(f"kpi_targets has {target!r} for {key}, which contradicts itself; use {allowed}")


FINANCIAL: Final = Profile(
    name="financial",
    level="detailed",
    connection_events=True,
    message_events=True,
    error_events=True,
    heartbeat_events=True,
    metadata_filter=False,
    ping_interval=5.0,
    pong_timeout=3.0,
    first_retry=0.0,
    retry_base=0.05,
    retry_cap=2.0,
    max_attempts=20,
    stable_after=5.0,
    kpi_targets=_targets(0.999, 500.0, 2.0, 10.0, 0.0001, 5.0),
)
STANDARD: Final = Profile(
    name="standard",
    level="standard",
    connection_events=True,
    message_events=False,
    error_events=True,
    heartbeat_events=False,
    metadata_filter=True,
    ping_interval=20.0,
    pong_timeout=10.0,
    first_retry=0.5,
    retry_base=0.5,
    retry_cap=30.0,
    max_attempts=10,
    stable_after=10.0,
    kpi_targets=_targets(0.99, 1000.0, 5.0, 50.0, 0.001, None),
)
LIGHTWEIGHT: Final = Profile(
    name="lightweight",
    level="minimal",
    connection_events=True,
    message_events=False,
    error_events=True,
    heartbeat_events=False,
    metadata_filter=True,
    ping_interval=60.0,
    pong_timeout=20.0,
    first_retry=1.0,
    retry_base=1.0,
    retry_cap=60.0,
    max_attempts=5,
    stable_after=10.0,
    kpi_targets=_targets(0.99, 1000.0, 5.0, 50.0, 0.001, None),
)
PROFILES: Final[Mapping[str, Profile]] = MappingProxyType({one.name: one for one in (FINANCIAL, STANDARD, LIGHTWEIGHT)})


def resolve(profile: str | Profile) -> Profile:
    """The profile itself, or the one with this name. Raises ConfigurationError, which names the known ones."""
    if isinstance(profile, Profile):
        return profile
    if isinstance(profile, str) and profile in PROFILES:
        return PROFILES[profile]
    raise one_of("profile", profile, [*PROFILES, "a ws.Profile"])
