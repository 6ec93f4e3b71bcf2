"""PrometheusReporter: counts the definitions' events and shows the totals to a Prometheus that asks for them.

Emitting threads write into a store of the reporter's own; a thread that reads (`wsnova-scrape`, one for each request,
or the caller of render) folds it. prometheus_client has the registry and the page, scrape_server.py serves it. Totals
are exact and never go backwards: nothing is sampled, no series expires. Nothing starts in the constructor. A forked
child counts afresh, and serves nothing there until start is called in it.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from .. import checks, process, telemetry
from ..client.living import announce, emit_sums
from ..errors import ConfigurationError, MissingExtra, one_of
from ..metrics.catalogue import histogram_bounds, prometheus_metrics
from ..metrics.definitions import Definition, listed
from ..metrics.registry import HandlerRegistry
from ..metrics.tally import Reading, TallyStore
from .families import Family, Labels, families, labels_of, merged
from .scrape_server import ScrapeServer
from .zero_series import HEARD, ZeroSeries

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from prometheus_client import CollectorRegistry
    from prometheus_client.core import Metric, Sample

PORT: Final = 9568  # that of the Elixir reporter the guide shows
ADDRESS: Final = "127.0.0.1"  # what a process counts is for others to see only where somebody says so
_OPENMETRICS: Final = "application/openmetrics-text"
_PATIENCE: Final = 5.0  # seconds for a start or a stop


def _library() -> Any:
    """prometheus_client, for who uses it: importing the package must not need it."""
    try:
        import prometheus_client
    except ImportError:
        raise MissingExtra("prometheus_client", "prometheus") from None
    return prometheus_client


class _Collector:
    """What a registry of prometheus_client asks: the families with their samples, in the order of the definitions.
    `created`: with the time since when each counts, which the plain text format has no place for."""

    def __init__(
        self, bus: telemetry.Bus, store: TallyStore, shown: dict[str, Family], zeros: ZeroSeries, *, created: bool
    ) -> None:
        self._bus = bus
        self._store = store
        self._families = shown
        self._zeros = zeros
        self._created = created

    def describe(self) -> Iterator[Metric]:
        """The families without samples; a registry that has one of them already refuses."""
        return map(_metric, self._families.values())

    def collect(self) -> Iterator[Metric]:
        """The families as of now. Where one client has tags of its own, every series of a family has their labels."""
        emit_sums(self._bus)
        readings: dict[str, dict[Labels, Reading]] = {name: {} for name in self._families}
        for one in self._store.readings():
            same, labels = readings[one.name], labels_of(one.tags)
            same[labels] = merged(same[labels], one, self._families[one.name].type) if labels in same else one
        self._zeros.complete(readings)
        for name, family in self._families.items():
            metric = _metric(family)
            own = dict.fromkeys((key for labels in readings[name] for key, _ in labels if key not in family.labels), "")
            for labels, reading in readings[name].items():
                metric.samples += _samples(family, own | dict(labels), reading, created=self._created)
            yield metric


def _metric(family: Family) -> Metric:
    from prometheus_client.core import Metric

    return Metric(family.name, family.help, family.type)


def _samples(family: Family, labels: dict[str, str], one: Reading, *, created: bool) -> Iterator[Sample]:
    from prometheus_client.core import Sample
    from prometheus_client.utils import floatToGoString

    as_go: Callable[[float], str] = floatToGoString
    if family.type in ("unknown", "gauge"):
        yield Sample(family.name, labels, one.value)
        return
    if family.type == "counter":
        yield Sample(f"{family.name}_total", labels, one.value)
    if family.type == "histogram":
        for bound, count in zip((*one.bounds, math.inf), (*one.counts, one.value), strict=True):
            yield Sample(f"{family.name}_bucket", {**labels, "le": as_go(bound)}, count)
    if family.type != "counter" and not any(bound < 0 for bound in one.bounds):  # OpenMetrics: such a sum may fall
        yield Sample(f"{family.name}_count", labels, one.value)
        yield Sample(f"{family.name}_sum", labels, one.total)
    if created:
        yield Sample(f"{family.name}_created", labels, one.created)


class PrometheusReporter:
    """Shows `metrics` (None: the guide's list, `ws.prometheus_metrics()`) to Prometheus.

    `registry`: one of prometheus_client, such as its REGISTRY, in which the metrics stand between start and stop, for
    the server of that one; without it they are served alone. `max_series` is per metric name. Raises MissingExtra
    without prometheus_client and ConfigurationError for what is not usable, at once. Every method from any thread.
    """

    @checks.by_name
    def __init__(
        self,
        metrics: Iterable[Definition] | None = None,
        *,
        bus: telemetry.Bus | None = None,
        registry: CollectorRegistry | None = None,
        max_series: int = 2000,
    ) -> None:
        self._library = _library()
        checks.whole("max_series", max_series)
        self._bus = bus if bus is not None else telemetry.DEFAULT
        chosen = prometheus_metrics() if metrics is None else listed(metrics)
        if registry is not None and not callable(getattr(registry, "register", None)):
            raise one_of("registry", registry, ["a prometheus_client.CollectorRegistry"])
        bounds: dict[str, tuple[float, ...]] = {}
        store = TallyStore(bounds, max_series)
        self._handlers = HandlerRegistry(chosen, store)  # says what is no definition
        bounds |= {one.name: histogram_bounds(one) for one in chosen if one.kind == "distribution"}
        self._zeros = ZeroSeries(store, chosen, bounds)
        collector = partial(_Collector, self._bus, store, families(chosen), self._zeros)
        self._collector, self._dated = collector(created=False), collector(created=True)
        self._given = registry
        self._lock = threading.Lock()  # guards the fields below
        self._running = False
        self._server: ScrapeServer | None = None
        process.on_fork(self)

    def after_fork(self) -> None:
        """In a child: the port is the parent's. The child's copy of its socket would keep it taken."""
        server, self._server = self._server, None
        self._lock = threading.Lock()
        if server is not None:
            server.abandon()

    # -- start and stop -----------------------------------------------------------------------------------------------

    @checks.by_name
    def start(self, port: int | None = PORT, address: str = ADDRESS) -> PrometheusReporter:
        """Attach to the bus and serve the metrics over HTTP. Started already: nothing happens.

        `port` 0 is any free one; None is none at all: render or the given registry shows them. `address` "127.0.0.1"
        is for this machine alone, "0.0.0.0" or "::" for every interface, where Prometheus asks from elsewhere. Raises
        ConfigurationError for an address that cannot be listened on.
        """
        if port is not None:
            checks.port("port", port, zero="any free one", hint="None is for no server")
        process.refuse_late_patch()
        process.in_child()
        process.unsignalled(partial(self._start, port, address), _PATIENCE, None)
        return self

    def _start(self, port: int | None, address: str) -> None:
        with self._lock:
            began = not self._running
            if began:
                self._begin_locked()
            try:
                if port is not None and self._server is None:
                    self._server = self._serve(port, address)
            except ConfigurationError:
                if began:
                    self._end_locked()
                raise
        if began:
            announce(self._bus)

    def _begin_locked(self) -> None:
        if self._given is not None:
            try:
                self._given.register(self._dated)
            except ValueError as error:
                raise ConfigurationError(
                    f"the given registry has some of these metrics already ({error}); give each reporter its own"
                ) from None
        self._handlers.attach(self._bus)
        self._bus.attach_many((__name__, id(self)), HEARD, self._zeros.hear)
        self._running = True

    def _end_locked(self) -> None:
        self._running = False
        self._handlers.detach()
        self._bus.detach((__name__, id(self)))
        if self._given is not None:
            with contextlib.suppress(KeyError):  # it was taken out
                self._given.unregister(self._dated)

    def _serve(self, port: int, address: str) -> ScrapeServer:
        page = self._page() if self._given is None else self._library.make_wsgi_app(self._given)
        try:
            server = ScrapeServer(address, port, page)
        except (OSError, TypeError, ValueError) as error:  # an address that is no text, or no name
            raise ConfigurationError(
                f"the Prometheus metrics cannot be served on port {port} of {address!r} ({error}); "
                "stop what listens there, or give another port or address"
            ) from error
        server.start()
        return server

    def _registry_of(self, collector: _Collector) -> CollectorRegistry:
        registry: CollectorRegistry = self._library.CollectorRegistry()  # new: a parent may hold its lock in a child
        registry.register(collector)
        return registry

    def _page(self) -> WSGIApplication:
        """What is served: as OpenMetrics dated, as plain text not."""
        text, dated = (self._library.make_wsgi_app(self._registry_of(one)) for one in (self._collector, self._dated))
        encoder_for = self._library.exposition.choose_encoder

        def page(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            _, content_type = encoder_for(environ.get("HTTP_ACCEPT", ""))
            chosen: WSGIApplication = dated if content_type.startswith(_OPENMETRICS) else text
            return chosen(environ, start_response)

        return page

    @property
    def running(self) -> bool:
        """True between start and stop."""
        return self._running

    @property
    def port(self) -> int | None:
        """Where the metrics are served, None while they are not."""
        server = self._server
        return None if server is None else server.server_port

    def stop(self) -> None:
        """Detach, close the port, leave the given registry. What was counted stays: render shows it."""
        process.in_child()
        process.unsignalled(self._stop, _PATIENCE, None)

    def _stop(self) -> None:
        with self._lock:
            if self._running:
                self._end_locked()
            self._end_server_locked()

    def _end_server_locked(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.stop()

    def __enter__(self) -> PrometheusReporter:
        return self.start()

    def __exit__(self, *exception: object) -> None:
        self.stop()

    # -- showing ------------------------------------------------------------------------------------------------------

    def render(self) -> str:
        """This reporter's metrics as of now, in the text format of Prometheus."""
        process.in_child()
        text: bytes = self._library.generate_latest(self._collector)
        return text.decode()
