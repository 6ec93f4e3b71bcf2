"""Counts for all processes of a prefork server: what is refused, signals during counting, caps, and that the
series are those of one process.
"""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import wsnova_statsd as ws
from tests.unit.interrupting import at_every_line
from wsnova_statsd import events
from wsnova_statsd.metrics.definitions import Definition
from wsnova_statsd.reporters.families import families
from wsnova_statsd.reporters.shared_counts import SharedCounts

ROOT = Path(__file__).resolve().parents[2]
RECEIVED = events.MESSAGE_RECEIVED
KIND = {"client_id": "a", "type": "t"}


def _python(source: str, **environment: str) -> str:
    """What a program prints, with these variables; its last line if it fails."""
    done = subprocess.run(
        [sys.executable, "-c", source],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )
    return done.stdout.strip() if done.returncode == 0 else done.stderr.strip().splitlines()[-1]


COUNTING = """
import wsnova_statsd as ws
from prometheus_client.parser import text_string_to_metric_families as parse
bus = ws.Bus()
metrics = [*ws.prometheus_metrics(complete=True), ws.counter("shop.orders", "shop.order")]
reporter = ws.PrometheusReporter(metrics, naming="prometheus", bus=bus{more})
reporter.start(port=None)
bus.execute("telemetry.client.opened", {{}}, {{"client_id": "a", "uri": "ws://x/", "started": True, "by_type": True}})
bus.execute(ws.events.CONNECTION_STARTED, {{}}, {{"client_id": "a", "uri": "ws://x/"}})
bus.execute(ws.events.CONNECTION_COMPLETED, {{"duration": 20_000_000}}, {{"client_id": "a", "uri": "ws://x/"}})
for kind in ("t", "t", "q"):
    bus.execute(ws.events.MESSAGE_RECEIVED, {{"size": 7}}, {{"client_id": "a", "type": kind}})
bus.execute("shop.order", {{}}, {{}})
bus.execute("shop.order", {{}}, {{}})
reported = {{
    (sample.name, tuple(sorted(one for one in sample.labels.items() if one[1] and one[0] != "pid")), sample.value)
    for family in parse(reporter.render())
    for sample in family.samples
}}
print(sorted(reported))
"""


def test_the_page_is_that_of_one_process_that_counts_for_itself(tmp_path: Path) -> None:
    """Names, labels, values, and the zeros of a client from its beginning."""
    shared = _python(COUNTING.format(more=""), PROMETHEUS_MULTIPROC_DIR=str(tmp_path))
    alone = _python(COUNTING.format(more=", multiprocess=False"), PROMETHEUS_MULTIPROC_DIR=str(tmp_path))
    assert "shop_orders_total" in shared
    assert eval(shared) == eval(alone)


@pytest.mark.parametrize(
    ("source", "reported"),
    [
        (
            "import os, prometheus_client, wsnova_statsd as ws\n"
            "os.environ['PROMETHEUS_MULTIPROC_DIR'] = '/tmp'\n"
            "ws.PrometheusReporter(naming='prometheus')",
            "PROMETHEUS_MULTIPROC_DIR was set after prometheus_client had been imported",
        ),
        (
            "import os; os.environ['PROMETHEUS_MULTIPROC_DIR'] = '/no/such'\n"
            "import wsnova_statsd as ws\nws.PrometheusReporter(naming='prometheus')",
            "PROMETHEUS_MULTIPROC_DIR is '/no/such', which is not a folder",
        ),
        (
            "import os; os.environ['PROMETHEUS_MULTIPROC_DIR'] = '/tmp'\n"
            "import wsnova_statsd as ws\nws.PrometheusReporter()",
            "pass naming='prometheus', or multiprocess=False",
        ),
        (
            "import os; os.environ['PROMETHEUS_MULTIPROC_DIR'] = '/tmp'\n"
            "import prometheus_client, wsnova_statsd as ws\n"
            "ws.PrometheusReporter(naming='prometheus', registry=prometheus_client.CollectorRegistry())",
            "registry is set, but if processes count together",
        ),
        (
            "import wsnova_statsd as ws\nws.PrometheusReporter(naming='prometheus', multiprocess=True)",
            "multiprocess=True needs PROMETHEUS_MULTIPROC_DIR",
        ),
    ],
)
def test_options_that_cannot_be_combined_are_refused_in_one_sentence(source: str, reported: str) -> None:
    assert reported in _python(source)


class Library:
    """Stands for prometheus_client: its lock is not to be waited for, as the code that holds it may be interrupted."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, ...]] = Counter()
        self._inside = False
        self.Counter = self.Gauge = self.Summary = self.Histogram = self._metric

    def _metric(self, name: str, about: str, names: list[str], **options: Any) -> Any:
        return SimpleNamespace(labels=lambda **labels: self._child(name, *labels.values()), inc=self._child(name).inc)

    def _child(self, *key: str) -> Any:
        def add(amount: float) -> None:
            assert not self._inside, "waits for the lock for ever"
            self._inside = True
            self.counts[key] += int(amount)
            self._inside = False

        return SimpleNamespace(inc=add, observe=add, set=add)


def _shared(library: Library, metrics: list[Definition], bus: ws.Bus, max_series: int = 2000) -> SharedCounts:
    shown = families(metrics, "prometheus")
    counts = SharedCounts(library, metrics, shown, {}, max_series)
    counts.attach(bus)
    return counts


def test_a_signals_handler_that_emits_during_counting_is_counted_and_waits_for_nothing() -> None:
    """Before each line of our code and of the library's."""
    numbers = iter(range(10_000))
    made: list[tuple[Library, SharedCounts, str]] = []

    def make() -> Any:
        bus, library, name = ws.Bus(), Library(), f"interrupted{next(numbers)}"  # a process has each metric once
        made.append((library, _shared(library, [ws.counter(name, RECEIVED, ["type"])], bus), name))
        emit = lambda: bus.execute(RECEIVED, {}, KIND)  # noqa: E731
        return emit, emit

    def check(line: int) -> None:
        library, counts, name = made[-1]
        assert library.counts == {(name, "t"): 2}, line
        counts.detach()

    for part in ("shared_counts", "test_shared_counts"):
        assert at_every_line(part, make, check) > 5


def test_two_reporters_that_would_count_into_the_same_files_are_refused() -> None:
    """Until the first one is stopped."""
    metrics, bus = [ws.counter("twice", RECEIVED)], ws.Bus()
    first = _shared(Library(), metrics, bus)
    with pytest.raises(ws.errors.ConfigurationError, match="another PrometheusReporter of this process counts 'twice'"):
        _shared(Library(), metrics, bus)
    first.detach()
    second = _shared(Library(), metrics, bus)
    second.detach()
    assert bus.list_handlers() == []


def test_at_the_cap_further_series_are_one() -> None:
    library, bus = Library(), ws.Bus()
    counts = _shared(library, [ws.counter("capped", RECEIVED, ["type"])], bus, max_series=2)
    for number in range(5):
        bus.execute(RECEIVED, {}, {"type": f"t{number}"})
    assert library.counts == {("capped", "t0"): 1, ("capped", "t1"): 1, ("capped", "overflow"): 3}
    counts.detach()


def test_hostile_values_are_skipped_and_a_keep_that_raises_costs_no_other_metric() -> None:
    """A counter cannot fall; what is not a number does not count."""

    def keep(measurements: Any, metadata: Any) -> bool:
        raise LookupError("mine")

    library, bus = Library(), ws.Bus()
    metrics = [
        ws.counter("kept", RECEIVED, keep=keep),
        ws.sum_("added", RECEIVED, "size"),
        ws.counter("all_", RECEIVED),
    ]
    counts = _shared(library, metrics, bus)
    for size in (5, -1, float("nan"), "7", None):
        bus.execute(RECEIVED, {"size": size}, {})
    assert library.counts == {("added_bytes",): 5, ("all_",): 5}
    assert counts.skipped == 3
    assert bus.handler_errors == 5
    counts.detach()
