"""`python -m tests.benchmarks [--only NAME ...] [--json FILE] [--svg FILE] [--quick]`: every figure beside its peer's.

Needs the `test` extra; peers of the `bench` extra that are not installed are left out, with a sentence. Exits with 0
for any figures: they depend on the machine, and are for people to read.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Mapping
from importlib import metadata
from itertools import chain
from pathlib import Path

import wsnova_statsd as ws

from . import (
    datagrams,
    exchange,
    execute,
    execute_peers,
    flush,
    growth,
    idle,
    import_time,
    instrumented,
    instrumented_websockets,
    memory,
    paced,
    picture,
    quiet,
    receive,
    receive_only,
    reconnect,
    scrape,
    table,
    watch,
)
from .harness import BENCHMARKS, Row, Run

# Each registers its benchmark when it is imported; they run and are printed in this order.
MODULES = (
    paced,
    exchange,
    receive,
    receive_only,
    execute,
    execute_peers,
    datagrams,
    flush,
    scrape,
    memory,
    idle,
    quiet,
    reconnect,
    instrumented,
    instrumented_websockets,
    import_time,
    watch,
    growth,
)
ORDER = [name for module in MODULES for name, run in BENCHMARKS.items() if run.__module__ == module.__name__]
_VERSIONS = (
    "websocket-client",
    "datadog",
    "tenacity",
    "orjson",
    "picows",
    "websockets",
    "aiohttp",
    "statsd",
    "prometheus-client",
)


def _versions() -> dict[str, str]:
    found = {"wsnova-statsd": ws.__version__}
    for name in _VERSIONS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _machine(load: float) -> str:
    return f"Python {platform.python_version()}, {os.cpu_count()} cores; the machine's load was {load} before the run"


def _as_json(found: Mapping[str, list[Row]], run: Run, load: float) -> str:
    return json.dumps(
        {
            "python": platform.python_version(),
            "platform": platform.platform(),
            "cores": os.cpu_count(),
            "load": load,
            "quick": run.quick,
            "rounds": run.rounds,
            "versions": _versions(),
            "missing": run.missing,
            "benchmarks": {name: [row.as_json() for row in rows] for name, rows in found.items()},
        },
        indent=2,
    )


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=sorted(BENCHMARKS), help=", ".join(ORDER))
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything there as well; - is the output")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="draw the rows that have a peer there")
    parser.add_argument("--quick", action="store_true", help="fewer items: for a look, not for a figure")
    options = parser.parse_args(arguments)
    load = round(os.getloadavg()[0], 2)
    run = Run(quick=options.quick)
    found = {}
    for name in options.only or ORDER:
        print(f"{name} ...", end="", file=sys.stderr, flush=True)
        began = time.monotonic()
        found[name] = list(BENCHMARKS[name](run))
        print(f" {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    compared = {name: rows for name, rows in found.items() if name != "growth"}
    if compared:
        print(table.comparisons(compared), end="\n\n")
    if "growth" in found:
        print(table.growth(found["growth"]), end="\n\n")
    print(_machine(load))
    if run.missing:
        print(f"Not installed, so left out: {', '.join(run.missing)}; pip install -e '.[bench]' brings them")
    if options.svg is not None:
        versions = ", ".join(f"{name} {version}" for name, version in _versions().items())
        kind = "A quick run, for a look only. " if run.quick else ""
        about = f"{kind}Medians, ours and the peer's in turn. {_machine(load)}. {versions}"
        options.svg.write_text(picture.svg(chain(*compared.values()), about), encoding="utf-8")
    if options.json is not None:
        text = _as_json(found, run, load)
        if str(options.json) == "-":
            print(text)
        else:
            options.json.write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
