"""How long `import wsnova_statsd` takes when its required libraries are imported already."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from statistics import median

from .harness import ROOT, Row, Run, benchmark

_CODE = """
import datadog, websocket, tenacity
import time
began = time.perf_counter_ns()
import wsnova_statsd
print(time.perf_counter_ns() - began)
"""


@benchmark("import")
def import_time(run: Run) -> Iterator[Row]:
    """At most 40 ms: the lowest of some processes (no peer shares the disturbance of other processes), after one that
    writes the bytecode, as an installation does."""
    processes = run.choose(7, 5)
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": cache, "PYTHONDONTWRITEBYTECODE": ""}
        took = [_import_ms(environment) for _ in range(1 + processes)][1:]
    note = f"the lowest of {processes} processes, median {median(took):.1f} ms; bytecode at hand"
    what = "import wsnova_statsd beyond datadog, websocket, tenacity"
    yield Row(what, "ms", min(took), at_most=40, note=note)


def _import_ms(environment: dict[str, str]) -> float:
    command = [sys.executable, "-c", _CODE]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    return int(done.stdout) / 1e6
