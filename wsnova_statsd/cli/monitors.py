"""`wsnova-statsd monitors`: Datadog monitors for each alert rule, each KPI target and both service checks."""

from __future__ import annotations

import argparse
from typing import Any

from .boards import PUSHING, STATUSES, add_arguments, names, print_json, profile_of, push, rules_of
from .parser import add_command


def register(subparsers: Any) -> None:
    """Add the command's parser."""
    parser = add_command(
        subparsers,
        "monitors",
        "monitors for Datadog, of rules, KPI targets and checks, as JSON",
        "Prints a list of monitors: one for each alert rule, one for each KPI that the profile has a target for, and "
        "one for each service check, by client and process. Each says what to do first." + PUSHING,
        examples={
            "wsnova-statsd monitors --profile standard": "print them",
            "wsnova-statsd monitors --push --dry-run": "what would be created, updated or left alone",
            "wsnova-statsd monitors --push": "send them",
        },
        statuses=STATUSES,
    )
    add_arguments(parser, "rules")


def run(args: argparse.Namespace) -> int:
    """Print or send."""
    from ..dashboards.monitors import monitors

    made = monitors(profile_of(args), rules_of(args), args.namespace)
    if not (args.push or args.dry_run):
        return print_json(list(made.values()))
    from ..dashboards.push import MONITOR

    return push(args, lambda one: one.objects(MONITOR, names(args, made)))
