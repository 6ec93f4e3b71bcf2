"""`python -m tests.benchmarks [--only NAME ...] [--json FILE] [--quick]`: every figure beside its peer's, as a table.

Needs the `test` extra; what it lacks is skipped with a sentence. Exits with 0 whatever the figures are: they depend on
the machine, and are for people to read.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from statistics import median

from . import datagrams, execute, flush, import_time, memory, receive, receive_only, reconnect
from .harness import BENCHMARKS, ROUNDS, Row, Run

# Each registers itself when it is imported.
MODULES = (execute, flush, datagrams, memory, import_time, reconnect, receive, receive_only)
_PEERS = ("datadog", "websocket-client", "orjson", "picows")


def _number(value: float | None, unit: str) -> str:
    if value is None:
        return "-"
    text = f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
    return f"{text} {unit}".rstrip()


def _cells(row: Row) -> tuple[str, ...]:
    ratio = "-"
    if row.ratio is not None:
        ratio = f"{row.ratio:.2f}x"
        if len(row.ratios) > 1:
            ratio += f" ({min(row.ratios):.2f}..{max(row.ratios):.2f})"
    unit = "x" if row.ratios else f" {row.unit}"
    bound = "-"
    if row.at_least is not None:
        bound = f">= {row.at_least:g}{unit}"
    elif row.at_most is not None:
        bound = f"<= {row.at_most:g}{unit}"
    verdict = {True: "ok", False: "MISSED", None: ""}[row.ok]
    cpu = f"{median(row.cpu_ratios):.2f}x" if row.cpu_ratios else "-"
    return row.what, _number(row.ours, row.unit), _number(row.peer, row.unit), ratio, cpu, bound, verdict


def _table(rows: Iterable[Row]) -> str:
    rows = list(rows)
    lines = [("what", "ours", "peer", "ratio (lowest..highest)", "in cpu", "to reach", "ok"), *map(_cells, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(7)]
    texts = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    texts.insert(1, "  ".join("-" * width for width in widths))
    notes = [f"{row.what}: {row.note}" for row in rows if row.note]
    return "\n".join([*texts, "", *notes])


def _versions() -> dict[str, str]:
    found = {}
    for name in _PEERS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=sorted(BENCHMARKS), help=", ".join(BENCHMARKS))
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there as well; - is the output")
    parser.add_argument("--quick", action="store_true", help="fewer items: for a look, not for a figure")
    options = parser.parse_args(arguments)
    load = round(os.getloadavg()[0], 2)
    run = Run(quick=options.quick)
    rows: list[Row] = []
    results: dict[str, object] = {}
    for name in options.only or BENCHMARKS:
        print(f"{name} ...", file=sys.stderr, flush=True)
        found = list(BENCHMARKS[name](run))
        rows += found
        results[name] = [row.as_json() for row in found]
    print(_table(rows))
    print(f"{os.cpu_count()} cores; the machine's load was {load} before the run")
    if options.json is not None:
        about = {
            "python": platform.python_version(),
            "cores": os.cpu_count(),
            "load": load,
            "quick": options.quick,
            "rounds": ROUNDS,
            "versions": _versions(),
        }
        text = json.dumps({**about, "benchmarks": results}, indent=2)
        if str(options.json) == "-":
            print(text)
        else:
            options.json.write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
