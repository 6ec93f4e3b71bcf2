"""PrometheusReporter: counts the definitions' events and serves the totals to a Prometheus that scrapes them.

Emitting threads write into the reporter's own store. A reading thread (`wsnova-scrape`, one for each request; a thread
of another server; or the caller of render) folds it and makes the page without any lock that an emitter takes. Totals
are exact and never decrease: nothing is sampled, no series expires. Nothing starts in the constructor. A forked child
counts from zero and serves nothing until start is called in it. Under a prefork server, if PROMETHEUS_MULTIPROC_DIR is
set, prometheus_client's own metrics count for all processes together (shared_counts.py).
"""

from __future__ import annotations

import contextlib
import math
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from .. import checks, process, telemetry
from ..client.living import announce, emit_sums
from ..errors import ConfigurationError, MissingExtra, one_of
from ..metrics.catalogue import histogram_bounds
from ..metrics.definitions import Definition, listed
from ..metrics.prometheus_list import prometheus_metrics
from ..metrics.registry import HandlerRegistry
from ..metrics.tally import Reading
from .exposition import Found, has_sum, own_labels, text
from .families import Family, Naming, families
from .scrape_page import OPENMETRICS, PLAIN, TYPES, ASGIApplication, ScrapePage
from .scrape_server import ScrapeServer
from .shared_counts import SharedCounts
from .totals import Totals

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

    from prometheus_client import CollectorRegistry
    from prometheus_client.core import Metric, Sample

PORT: Final = 9568  # the port of the Elixir reporter in the guide
VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"
ADDRESS: Final = "127.0.0.1"  # other machines see the metrics only if the user allows it
_PATIENCE: Final = 5.0  # seconds for a start or a stop


def _library() -> Any:
    """prometheus_client, imported at first use: importing this package must not need it."""
    try:
        import prometheus_client.values
    except ImportError:
        raise MissingExtra("prometheus_client", "prometheus") from None
    return prometheus_client


def _shares(library: Any, environ: Mapping[str, str]) -> bool:
    """Whether the processes of a prefork server count together. Raises ConfigurationError if they cannot: the library
    reads the variable when it is imported."""
    folder = environ.get(VARIABLE)
    if not folder:
        return False
    if library.values.ValueClass is library.values.MutexValue:
        raise ConfigurationError(
            f"{VARIABLE} was set after prometheus_client had been imported, so this process would count alone; set it "
            "in the environment in which the server is started"
        )
    if not os.path.isdir(folder):
        raise ConfigurationError(
            f"{VARIABLE} is {folder!r}, which is not a folder; make an empty one before the server starts"
        )
    return True


def child_exit(server: object, worker: Any) -> None:
    """Gunicorn's hook, for gunicorn.conf.py: `from wsnova_statsd.reporters.prometheus import child_exit`. Called in the
    master after a worker has ended: removes the worker's state gauges and keeps its counts."""
    if os.environ.get(VARIABLE):
        from prometheus_client import multiprocess

        multiprocess.mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]


class _Collector:
    """A collector for a prometheus_client registry: the families with their samples, in the order of the definitions,
    and the time since when each counts."""

    def __init__(self, shown: dict[str, Family], read: Callable[[], Found]) -> None:
        self._families = shown
        self._read = read

    def describe(self) -> Iterator[Metric]:
        """The families without samples; a registry that already has one of them refuses."""
        return map(_metric, self._families.values())

    def collect(self) -> Iterator[Metric]:
        """The families as of now."""
        found = self._read()
        for name, family in self._families.items():
            metric, own = _metric(family), own_labels(family, found[name])
            for labels, reading in found[name].items():
                metric.samples += _samples(family, own | dict(labels), reading)
            yield metric


def _metric(family: Family) -> Metric:
    from prometheus_client.core import Metric

    return Metric(family.name, family.help, family.type)


def _samples(family: Family, labels: dict[str, str], one: Reading) -> Iterator[Sample]:
    from prometheus_client.core import Sample

    if family.type in ("unknown", "gauge"):
        yield Sample(family.name, labels, one.value / family.divisor)
        return
    if family.type == "counter":
        yield Sample(f"{family.name}_total", labels, one.value / family.divisor)
    if family.type == "histogram":
        limits = (*(limit / family.divisor for limit in one.bounds), math.inf)
        for limit, count in zip(limits, (*one.counts, one.value), strict=True):
            yield Sample(f"{family.name}_bucket", {**labels, "le": _bound(limit)}, count)
    if family.type != "counter" and has_sum(one):
        yield Sample(f"{family.name}_count", labels, one.value)
        yield Sample(f"{family.name}_sum", labels, one.total / family.divisor)
    yield Sample(f"{family.name}_created", labels, one.created)


def _bound(limit: float) -> str:
    """A bound as the library writes it: it is part of a series' name."""
    from prometheus_client.utils import floatToGoString

    as_go: Callable[[float], str] = floatToGoString
    return as_go(limit)


class PrometheusReporter:
    """Serves metrics to Prometheus. Call every method from any thread.

    Raises at once: MissingExtra without prometheus_client, ConfigurationError for an invalid argument.

    Args:
        metrics: Definitions of what is counted. Default: the guide's list, ws.prometheus_metrics().
        bus: The ws.Bus whose events are counted. Default: that of ws.telemetry.
        naming: "guide", the names of the guide, or "prometheus", the conventional ones: `_total`, seconds, bytes.
            Default: "guide".
        registry: A prometheus_client registry, such as its REGISTRY, that has the metrics between start and stop, to be
            served with its other metrics. Default: None, they are served alone.
        max_series: Combinations of labels for each metric name, from 1. Default: 2000.
        multiprocess: Whether all processes of a prefork server count together, by conventional names. Default: None,
            if PROMETHEUS_MULTIPROC_DIR is set.
    """

    @checks.by_name
    def __init__(
        self,
        metrics: Iterable[Definition] | None = None,
        *,
        bus: telemetry.Bus | None = None,
        naming: Naming = "guide",
        registry: CollectorRegistry | None = None,
        max_series: int = 2000,
        multiprocess: bool | None = None,
    ) -> None:
        self._library = _library()
        checks.whole("max_series", max_series)
        self._bus = bus if bus is not None else telemetry.DEFAULT
        chosen = prometheus_metrics() if metrics is None else listed(metrics)
        if registry is not None and not callable(getattr(registry, "register", None)):
            raise one_of("registry", registry, ["a prometheus_client.CollectorRegistry"])
        self._shared = self._shares(multiprocess, naming, registry)
        HandlerRegistry(chosen)  # raises for invalid definitions
        shown = self._shown = families(chosen, naming)
        bounds = {one.name: histogram_bounds(one) for one in chosen if one.kind == "distribution"}
        self._collector: Totals | SharedCounts
        if self._shared:
            self._collector = SharedCounts(self._library, chosen, shown, bounds, max_series)
        else:
            self._collector = Totals(chosen, shown, bounds, max_series)
        self._page = ScrapePage(self._render, lambda: self._running)
        self._given = registry
        self._registered: _Collector | None = None  # what the given registry has while this reporter runs
        self._lock = threading.Lock()  # guards the fields below
        self._running = False
        self._server: ScrapeServer | None = None
        process.on_fork(self)

    def _shares(self, given: bool | None, naming: Naming, registry: CollectorRegistry | None) -> bool:
        if given is not None and not checks.flag("multiprocess", given):
            return False
        shares = _shares(self._library, os.environ)
        if given and not shares:
            raise ConfigurationError(f"multiprocess=True needs {VARIABLE}; set it to the path of an empty folder")
        if shares and naming != "prometheus":
            raise ConfigurationError(
                f"{VARIABLE} is set, and the processes count together by conventional names only; pass "
                "naming='prometheus', or multiprocess=False to show this process alone"
            )
        if shares and registry is not None:
            raise ConfigurationError(
                "registry is set, but if processes count together the page is made from their files; leave registry out"
            )
        return shares

    def after_fork(self) -> None:
        """In a child: close the copy of the server's socket, which would keep the parent's port occupied."""
        server, self._server = self._server, None
        self._lock = threading.Lock()
        if server is not None:
            server.abandon()

    # -- start and stop -----------------------------------------------------------------------------------------------

    @checks.by_name
    def start(self, port: int | None = PORT, address: str = ADDRESS) -> PrometheusReporter:
        """Attach to the bus and serve the metrics over HTTP. Does nothing if already started.

        `port` 0 is any free port; None starts no server: use render or the given registry. `address` "127.0.0.1" is for
        this machine only, "0.0.0.0" or "::" for every interface, if Prometheus runs on another machine. Raises
        ConfigurationError for an address that cannot be listened on.
        """
        if port is not None:
            checks.port("port", port, zero="any free port", hint="pass None for no server")
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
            read = self._collector.read if isinstance(self._collector, Totals) else dict
            collector = _Collector(self._shown, read)
            try:
                self._given.register(collector)
            except ValueError as error:
                raise ConfigurationError(
                    f"the registry already has some of these metrics ({error}); pass each reporter its own registry"
                ) from None
            self._registered = collector
        self._collector.attach(self._bus)
        self._running = True

    def _end_locked(self) -> None:
        self._running = False
        self._collector.detach()
        if self._given is not None and self._registered is not None:
            with contextlib.suppress(KeyError):  # the user has already unregistered it
                self._given.unregister(self._registered)

    def _serve(self, port: int, address: str) -> ScrapeServer:
        try:
            server = ScrapeServer(address, port, self._page.wsgi)
        except (OSError, TypeError, ValueError) as error:  # also an address that is not a text or not a valid name
            raise ConfigurationError(
                f"the Prometheus metrics cannot be served on port {port} of {address!r} ({error}); "
                "stop the program that uses it, or pass another port or address"
            ) from error
        server.start()
        return server

    @property
    def running(self) -> bool:
        """True between start and stop."""
        return self._running

    @property
    def port(self) -> int | None:
        """The port on which the metrics are served; None while they are not."""
        server = self._server
        return None if server is None else server.server_port

    def stop(self) -> None:
        """Detach from the bus, close the port, unregister from the given registry. render still shows what was
        counted."""
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
        """This reporter's metrics as of now, in the text format of Prometheus; if processes count together, all metrics
        in their files."""
        process.in_child()
        return self._of_files(PLAIN).decode() if self._shared else self._of_own(dated=False)

    def wsgi_app(self) -> WSGIApplication:
        """A WSGI application to mount: the metrics and, under `/health`, whether this reporter counts. With `registry`
        it shows all metrics of that registry."""
        return self._page.wsgi

    def asgi_app(self) -> ASGIApplication:
        """The same as wsgi_app, as an ASGI application."""
        return self._page.asgi

    def _render(self, form: str) -> bytes:
        process.in_child()
        if self._shared:
            return self._of_files(form)
        if self._given is not None:
            return self._of_registry(self._given, form)
        return self._of_own(dated=form == OPENMETRICS).encode()

    def _of_own(self, *, dated: bool) -> str:
        assert isinstance(self._collector, Totals)
        return text(self._shown, self._collector.read(), _bound, dated=dated)

    def _of_files(self, form: str) -> bytes:
        from prometheus_client import multiprocess

        emit_sums(self._bus)
        registry = self._library.CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return self._of_registry(registry, form)

    def _of_registry(self, registry: CollectorRegistry, form: str) -> bytes:
        encode, _ = self._library.exposition.choose_encoder(TYPES[form])
        page: bytes = encode(registry)
        return page
