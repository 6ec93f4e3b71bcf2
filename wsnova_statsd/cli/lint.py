"""`wsnova-statsd lint`: what in a list of metrics, or in the queries asked of it, can never answer right.

This page is the command: what is judged, and what is printed. Nothing is sent.
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
        "find metrics and queries that cannot answer right",
        "Judges the default metrics with their board, monitors and SLOs or, if it is given, a list of your own: metric "
        "definitions, and queries as texts (Datadog, PromQL) or boards as JSON. It finds what can never have data, "
        "units that are not applied, names with two types, distributions without buckets for Prometheus, tags without "
        "a bound, and averages of averages.",
        examples={
            "wsnova-statsd lint": "the default list, and the boards of every profile",
            "wsnova-statsd lint --profile standard": "and what that profile never emits",
            f"wsnova-statsd lint {_EXAMPLE}": "a list of your own, or a function that returns one",
            "wsnova-statsd lint --guide": "the WebSockexNova Telemetry Guide's own metrics and queries",
        },
        statuses={DONE: "no fault", FAILED: "faults were found"},
    )
    parser.add_argument("of", nargs="?", metavar="MODULE:NAME", help="what to judge, instead of the default list")
    profile = choice("the profile", PROFILES)
    parser.add_argument("--profile", type=profile, metavar="P", help=f"what it never emits: {', '.join(PROFILES)}")
    parser.add_argument("--guide", action="store_true", help="judge what the guide writes")
    parser.add_argument("--json", action="store_true", help="print one JSON document and nothing else")


def run(args: argparse.Namespace) -> int:
    """Judge; DONE without a fault, else FAILED. Raises ConfigurationError for what cannot be judged."""
    from ..dashboards.lint import lint, lint_guide, lint_shipped
    from .demo_screen import printable

    if args.guide and args.of is not None:
        raise ConfigurationError(f"--guide is given beside {args.of}; give one of the two")
    profile = None if args.profile is None else PROFILES[args.profile]
    if args.of is not None:
        report = lint(load(args.of, _EXAMPLE), profile)
    else:
        report = (lint_guide if args.guide else lint_shipped)(profile)
    print(report.to_json() if args.json else "\n".join(printable(line, sys.stdout) for line in report.lines))
    return FAILED if report.faults else DONE
