"""Monitor: the composition root. Builds reporter, KPIs, alerts, system samples and logs from a profile, starts them in
order and stops them in reverse.

Call start, stop and detailed_for from any thread. The parts run in their own threads, and each part itself handles
interpreter exit and forked children. Nothing starts in the constructor.
"""

from __future__ import annotations

import inspect
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, TypedDict, Unpack, cast, overload

from . import checks, environment, process, profiles, telemetry
from .client.detail import Detail, detailed
from .client.living import ask_clients
from .errors import ConfigurationError, known_keys, one_of
from .insight.alerts import Alert, Alerts, Rule
from .insight.kpi import KpiTracker
from .insight.sinks import Sink
from .insight.system import SystemSampler
from .metrics.application import ApplicationMetrics, Writers
from .metrics.direct import TagsGiven
from .metrics.prometheus_list import prometheus_metrics
from .profiles import Profile, ProfileName
from .redaction import one_line
from .reporters.families import NAMINGS, Naming
from .reporters.log import LogReporter
from .reporters.prometheus import ADDRESS, PrometheusReporter
from .reporters.statsd import StatsdReporter
from .reporters.twins import called_from, warn
from .telemetry import Bus
from .wire import AlertType, Priority

_log = logging.getLogger(__name__)

if TYPE_CHECKING:
    from typing_extensions import TypeVar  # type checkers know it even if it is not installed

    from .insight.console import Console

    Kpis = TypeVar("Kpis", bound=KpiTracker | None, default=KpiTracker)  # None with kpis=False
else:
    from typing import TypeVar

    Kpis = TypeVar("Kpis")


class MonitorOptions(TypedDict, total=False):
    """The arguments of a Monitor besides `profile` and `kpis`, for type checkers."""

    reporter: StatsdReporter | None
    alerts: bool | Iterable[Rule]
    system: bool | float
    prometheus_port: int | None
    prometheus_address: str
    prometheus_naming: Naming
    log: bool | logging.Logger
    console: bool | float | None
    bus: Bus | None
    alert_sinks: Iterable[Sink]
    datadog: bool


class Monitor(ApplicationMetrics, Generic[Kpis]):
    """Reporter, KPIs, alerts and the other parts for one profile, started and stopped together.

    A context manager. `from_env()` reads environment variables instead of arguments. The attribute of a part that is
    switched off is None. Raises ConfigurationError at once for an invalid argument.

    Args:
        profile: "financial", "standard", "lightweight" or a ws.Profile. Clients on the bus that have no profile use it
            too. Default: None, the value of WSNOVA_STATSD_PROFILE or, if that is not set, "standard".
        reporter: A ws.StatsdReporter, started and stopped with the monitor; if it already runs, it is only flushed.
            Default: one made from the environment.
        alerts: True for every rule that fits the profile, False for none, or a list of rules. Default: True.
        kpis: The profile's KPIs as gauges and checks, and `monitor.kpis.report()`. Default: True.
        system: True samples process and network every 10 s; a number sets the seconds between, from 1. Default: False.
        prometheus_port: The port to be scraped on, 1 to 65535, 0 for any free port. Default: None, no page.
        prometheus_address: The address of that port; "0.0.0.0" is every interface. Default: "127.0.0.1", this machine
            only.
        prometheus_naming: "guide", the names of the guide, or "prometheus", the conventional ones. Default: "guide".
        log: True, or a logging.Logger, logs events. Default: False.
        console: For development: True prints events and alerts to stderr as they come, and every 10 s what was counted;
            a number is the interval in seconds, from 1. Default: None, the value of WSNOVA_STATSD_CONSOLE or, if that
            is not set, False.
        bus: The ws.Bus whose events are measured. Default: that of ws.telemetry.
        alert_sinks: Where alerts go besides Datadog: ws.alerts.ToLog(), functions of an alert, and reporters. One of
            the reporters is used instead of `reporter` for alerts. Default: none.
        datadog: Whether alerts are sent to Datadog as events. Default: True.
    """

    @overload
    def __init__(
        self: Monitor[KpiTracker],
        profile: ProfileName | Profile | None = ...,
        *,
        kpis: Literal[True] = ...,
        **others: Unpack[MonitorOptions],
    ) -> None: ...

    @overload
    def __init__(
        self: Monitor[None],
        profile: ProfileName | Profile | None = ...,
        *,
        kpis: Literal[False],
        **others: Unpack[MonitorOptions],
    ) -> None: ...

    @overload
    def __init__(
        self: Monitor[KpiTracker | None],
        profile: ProfileName | Profile | None = ...,
        *,
        kpis: bool,
        **others: Unpack[MonitorOptions],
    ) -> None: ...

    @checks.by_name
    def __init__(
        self,
        profile: ProfileName | Profile | None = None,
        *,
        reporter: StatsdReporter | None = None,
        alerts: bool | Iterable[Rule] = True,
        kpis: bool = True,
        system: bool | float = False,
        prometheus_port: int | None = None,
        prometheus_address: str = ADDRESS,
        prometheus_naming: Naming = "guide",
        log: bool | logging.Logger = False,
        console: bool | float | None = None,
        bus: Bus | None = None,
        alert_sinks: Iterable[Sink] = (),
        datadog: bool = True,
    ) -> None:
        self.profile: Profile = profiles.resolve(environment.profile(os.environ) if profile is None else profile)
        checks.flag("kpis", kpis)
        if not isinstance(log, bool | logging.Logger):
            raise one_of("log", log, (True, False, "a logging.Logger"))
        _check_page(prometheus_port, prometheus_address, prometheus_naming)
        for what, given, kind in (("reporter", reporter, StatsdReporter), ("bus", bus, Bus)):
            if given is not None and not isinstance(given, kind):
                raise ConfigurationError(f"{what} is {given!r}; pass a ws.{kind.__name__}")
        self._bus = bus if bus is not None else telemetry.DEFAULT
        self._page = (prometheus_port, prometheus_address)
        self.reporter: StatsdReporter = reporter if reporter is not None else StatsdReporter(bus=self._bus)
        self.writers: Writers = self.reporter.writers
        self.kpis: Kpis = cast(Kpis, KpiTracker(self.profile, self._bus, self.reporter) if kpis else None)
        self.console: Console | None = None
        console = environment.console(os.environ) if console is None else console
        if console is not False:
            from .insight.console import Console  # needed only with console=

            every = _EVERY if console is True else console
            self.console = Console(self.reporter, self.kpis, f"wsnova_statsd {self.profile.name}", every, self._bus)
            alert_sinks = _with(alert_sinks, self.console.alert)
        rules = alerts if not isinstance(alerts, bool) else None if alerts else ()
        self.alerts: Alerts = Alerts(
            rules, self.reporter, alert_sinks, self.profile, self._bus, self._alerted, datadog=datadog
        )
        every = _EVERY if system is True else system
        self.system: SystemSampler | None = None if system is False else SystemSampler(every, self._bus)
        self.prometheus: PrometheusReporter | None = (
            None
            if prometheus_port is None
            else PrometheusReporter(prometheus_metrics(complete=True), naming=prometheus_naming, bus=self._bus)
        )
        self.log: LogReporter | None = (
            None if log is False else LogReporter(None if log is True else log, bus=self._bus)
        )
        self._stops: list[Callable[[float], object]] = []  # for the parts that run, in the order they started
        self._started_at = ""
        self.after_fork()
        process.on_fork(self)

    def after_fork(self) -> None:
        """In a child: another thread of the parent may have held the lock. Each part handles the fork itself."""
        self._lock = threading.RLock()  # guards _stops; a signal handler may call stop() during any method

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, **arguments: Any) -> Monitor[KpiTracker | None]:
        """A monitor configured by `WSNOVA_STATSD_*` variables, by `arguments`, which take precedence, and by the `DD_*`
        variables that a StatsdReporter reads. Raises ConfigurationError for an unknown variable or an invalid value."""
        known_keys("Monitor.from_env", arguments, _ARGUMENTS)
        variables = os.environ if environ is None else environ
        given, reporter = environment.read(variables)
        made: dict[str, Any] = {"profile": environment.profile(variables)} | given | arguments
        if made.get("reporter") is None:
            made["reporter"] = StatsdReporter(bus=arguments.get("bus"), **reporter)
        return cls(kpis=made.pop("kpis", True), **made)

    def start(self) -> Monitor[Kpis]:
        """Start the reporter, then the parts that send to it. Does nothing if the monitor is already started."""
        process.in_child()
        with self._lock:
            if self._stops:
                return self
            self._started_at = called_from()
            self._warn_of_twins()
            try:
                for start, stop in self._parts():
                    start()
                    self._stops.append(stop)
            except BaseException:  # for example, a port is taken: start all parts or none
                self._stop_locked(time.monotonic() + 1.0)
                raise
        return self

    def _parts(self) -> Iterable[tuple[Callable[[], object], Callable[[float], object]]]:
        """How each part is started and, with the time that is left, stopped."""
        reporter, prometheus, given = self.reporter, self.prometheus, self._bus.profiles
        yield reporter.start, reporter.flush if reporter.running else reporter.stop
        yield lambda: given.setdefault(self, self.profile), lambda _: given.pop(self, None)
        if (console := self.console) is not None:
            yield console.start, lambda left: console.stop(left / 2)  # the rest is for the flush
        for part in (self.log, self.kpis):
            if part is not None:
                yield part.start, lambda _, stop=part.stop: stop()  # type: ignore[misc]
        yield self.alerts.start, lambda left: self.alerts.stop(left / 2)  # the rest is for the flush
        if (system := self.system) is not None:
            yield system.start, lambda _: system.stop()
        if prometheus is not None:  # last: it asks the clients to announce themselves, and rules count from then on
            yield lambda: prometheus.start(*self._page), lambda _: prometheus.stop()
        yield self._ask_clients, lambda _: None

    def _ask_clients(self) -> None:
        """Have clients that started earlier emit their state for the first flush; log those that keep their profile."""
        keep = ask_clients(self._bus, self.profile)
        if keep:
            _log.warning(
                "clients %s were started before this Monitor and keep the profile they have, not %s, until they are "
                "restarted; start the Monitor first, or pass profile= to the clients",
                one_line(", ".join(keep)),
                self.profile.name,
            )
        if self.kpis is not None:
            self.kpis.ship()

    def _warn_of_twins(self) -> None:
        """Warn of another Monitor that sends the same KPIs and alerts, although its reporter counts other metrics."""
        for other in self._bus.profiles.copy():
            if isinstance(other, Monitor) and other is not self:
                mine, theirs = self.reporter, other.reporter
                both = (self.kpis and other.kpis) or (self.alerts.rules and other.alerts.rules)
                if both and (mine is theirs or (mine.same_place(theirs) and not mine.doubles(theirs))):
                    warn(other, self, "KPIs and alerts are sent twice")

    @property
    def running(self) -> bool:
        """True between start and stop."""
        return bool(self._stops)

    def __repr__(self) -> str:
        where = f" started at {self._started_at}" if self._started_at else ""
        return f"<wsnova_statsd.Monitor {self.profile.name}{where}>"

    def stop(self, timeout: float = 2.0) -> bool:
        """Stop the parts in reverse and flush what is pending. True if nothing is pending after `timeout` seconds."""
        process.in_child()
        with self._lock:
            return self._stop_locked(time.monotonic() + timeout)

    def _stop_locked(self, deadline: float) -> bool:
        flushed = True
        while self._stops:  # the reporter's is the last
            try:
                stop = self._stops.pop()
            except IndexError:  # a signal handler has stopped the rest in the meantime
                break
            flushed = stop(max(0.0, deadline - time.monotonic())) is not False
        return flushed

    def __enter__(self) -> Monitor[Kpis]:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def event(
        self,
        title: str,
        text: str,
        alert_type: AlertType = "info",
        tags: TagsGiven = (),
        aggregation_key: str | None = None,
        *,
        priority: Priority | None = None,
        date_happened: float | datetime | None = None,
        hostname: str | None = None,
        source_type: str | None = None,
        on_sent: Callable[[], object] | None = None,
    ) -> None:
        """Queue a Datadog event, as StatsdReporter.event does."""
        details: dict[str, Any] = {"priority": priority, "date_happened": date_happened, "hostname": hostname}
        details |= {"source_type": source_type, "on_sent": on_sent}
        self.reporter.event(title, text, alert_type, tags, aggregation_key, **details)

    def service_check(self, name: str, status: int, tags: TagsGiven = (), message: str = "") -> None:
        """Queue a service check, as StatsdReporter.service_check does."""
        self.reporter.service_check(name, status, tags, message)

    def detailed_for(self, seconds: float, client_id: str | None = None) -> Detail:
        """Have all clients, or the one with this id, emit every event for `seconds`; nothing else about them changes.

        Events on the bus mark begin and end. Call `cancel()` of the returned handle to end it early.
        """
        return detailed(seconds, client_id, self._bus)

    def _alerted(self, alert: Alert, seconds: float) -> None:
        if self.kpis is not None:
            self.kpis.alerted(alert.client, round(seconds * 1e9))


class _OfProcess:
    """The Monitor that init made, and the arguments it was made with."""

    def __init__(self) -> None:
        self._monitor: Monitor | None = None
        self._given: Mapping[str, Any] = {}
        self._yields = False  # the next init with other arguments replaces it
        self.after_fork()
        process.on_fork(self)

    def after_fork(self) -> None:
        """In a child: the Monitor is inherited, and continues here until init makes another one."""
        self._lock = threading.RLock()  # guards the fields above
        self._inherited = self._monitor is not None

    def init(self, given: Mapping[str, Any], *, yields: bool = False) -> Monitor:
        """See `init`. `yields`: a later call with other arguments replaces this Monitor."""
        process.in_child()
        with self._lock:
            monitor = self._monitor
            if monitor is not None and monitor.running and not self._inherited:
                name = next((name for name, value in given.items() if not _same(value, self._given[name])), None)
                if name is None:
                    self._yields = self._yields and yields
                    return monitor
                if not self._yields:
                    raise ConfigurationError(
                        f"ws.init was called with {name}={checks.shown(self._given[name])} before, and with "
                        f"{name}={checks.shown(given[name])} now; a process has one Monitor: pass the same arguments, "
                        "or call stop() on the first one"
                    )
            made = Monitor(**given)
            if monitor is not None:
                monitor.stop()
            self._monitor, self._given, self._inherited, self._yields = made, given, False, yields
            return made.start()


def _check_page(port: int | None, address: str, naming: str) -> None:
    if port is not None:
        checks.port("prometheus_port", port, zero="any free port", hint="pass None for no server")
    if naming not in NAMINGS:
        raise one_of("prometheus_naming", naming, NAMINGS)
    if not isinstance(address, str) or not address:
        raise checks.refused("prometheus_address", address, "an address such as '127.0.0.1'")


def _with(sinks: Iterable[Sink], further: Sink) -> Iterable[Sink]:
    """These sinks and another one; anything but a list is left for Alerts to refuse."""
    return sinks if isinstance(sinks, str) or not isinstance(sinks, Iterable) else [*sinks, further]


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, StatsdReporter) and isinstance(other, StatsdReporter):
        return one is other or one.given == other.given
    if isinstance(one, tuple) and isinstance(other, tuple):  # rules or sinks, which may be reporters
        return len(one) == len(other) and all(map(_same, one, other))
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)  # True means 10 s, 1 means 1 s


@overload
def init(
    profile: ProfileName | Profile | None = ..., *, kpis: Literal[True] = ..., **arguments: Unpack[MonitorOptions]
) -> Monitor[KpiTracker]: ...


@overload
def init(
    profile: ProfileName | Profile | None = ..., *, kpis: Literal[False], **arguments: Unpack[MonitorOptions]
) -> Monitor[None]: ...


@overload
def init(
    profile: ProfileName | Profile | None = ..., *, kpis: bool, **arguments: Unpack[MonitorOptions]
) -> Monitor[KpiTracker | None]: ...


def init(profile: ProfileName | Profile | None = None, **arguments: Any) -> Monitor[Any]:
    """Return the process's single Monitor, started. The arguments are those of Monitor. Any thread.

    A further call with equal arguments returns the same Monitor; with other arguments it raises ConfigurationError.
    After `stop()`, and in a forked child, a call makes a new Monitor, which replaces an inherited one.
    """
    known_keys("ws.init", arguments, _ARGUMENTS)
    return _ONE.init(_filled({**arguments, "profile": profile}))


def _filled(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments completed by their defaults, in the form in which two calls are compared."""
    given: dict[str, Any] = {**_DEFAULTS, **arguments}
    profile = given["profile"]
    given["profile"] = profiles.resolve(environment.profile(os.environ) if profile is None else profile)
    given["console"] = environment.console(os.environ) if given["console"] is None else given["console"]
    for name in ("alerts", "alert_sinks"):
        if isinstance(given[name], Iterable) and not isinstance(given[name], str):
            given[name] = tuple(given[name])
    return given


def init_from_env(environ: Mapping[str, str] | None = None) -> Monitor:
    """As init, configured by the variables `WSNOVA_STATSD_*`, for a program that does not call init itself: its first
    call of init replaces this Monitor. Raises ConfigurationError as Monitor.from_env does."""
    given, reporter = environment.read(os.environ if environ is None else environ)
    if reporter:
        given["reporter"] = StatsdReporter(**reporter)
    return _ONE.init(_filled(given), yields=True)


_ONE: Final = _OfProcess()
_EVERY: Final = 10.0  # seconds between two samples of the system, and two tables of the console
_DEFAULTS: Final = {name: one.default for name, one in inspect.signature(Monitor).parameters.items()}
_ARGUMENTS: Final = tuple(_DEFAULTS)
