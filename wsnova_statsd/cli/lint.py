"""`wsnova-statsd lint`: what in a list of metrics, or in queries on it, can never give a right answer.

This file is the command: what is checked, and what is printed. Nothing is sent.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from ..errors import ConfigurationError
from ..profiles import PROFILES
from .named import load
from .parser import DONE, FAILED, add_command, choice

_EXAMPLE = "shop.metrics:METRICS"


def register(subparsers: Any) -> None:
    """Add the command's parser."""
    parser = add_command(
        subparsers,
        "lint",
        "find metrics and queries that cannot give a right answer",
        "Checks the default metrics with their board, monitors and SLOs or, if it is given, your own list: metric "
        "definitions, and queries as texts (Datadog, PromQL) or boards as JSON. It finds what can never have data, "
        "units that are not applied, names with two types, distributions without buckets for Prometheus, unbounded "
        "tags, and averages of averages.",
        examples={
            "wsnova-statsd lint": "the default list, and the boards of every profile",
            "wsnova-statsd lint --profile standard": "also what that profile never emits",
            f"wsnova-statsd lint {_EXAMPLE}": "your own list, or a function that returns it",
            "wsnova-statsd lint --guide": "the WebSockexNova Telemetry Guide's own metrics and queries",
        },
        statuses={DONE: "no fault", FAILED: "faults were found"},
    )
    parser.add_argument("of", nargs="?", metavar="MODULE:NAME", help="what to check, instead of the default list")
    profile = choice("the profile", PROFILES)
    parser.add_argument("--profile", type=profile, metavar="P", help=f"also what it never emits: {', '.join(PROFILES)}")
    parser.add_argument("--guide", action="store_true", help="check what the guide writes")
    parser.add_argument("--json", action="store_true", help="print one JSON document and nothing else")


def run(args: argparse.Namespace) -> int:
    """Check; DONE without a fault, otherwise FAILED. Raises ConfigurationError for what cannot be checked."""
    from ..dashboards.lint import lint, lint_guide, lint_shipped
    from ..watch.text import printable

    if args.guide and args.of is not None:
        raise ConfigurationError(f"--guide is given together with {args.of}; pass one of the two")
    profile = None if args.profile is None else PROFILES[args.profile]
    if args.of is not None:
        report = lint(load(args.of, _EXAMPLE), profile)
    else:
        report = (lint_guide if args.guide else lint_shipped)(profile)
    print(report.to_json() if args.json else "\n".join(printable(line, sys.stdout) for line in report.lines))
    return FAILED if report.faults else DONE
