"""`wsnova-statsd slos`: Datadog SLOs of dials that succeed and of reconnects in time."""

from __future__ import annotations

import argparse
from typing import Any

from .boards import PUSHING, STATUSES, add_arguments, names, print_json, profile_of, push
from .parser import add_command


def register(subparsers: Any) -> None:
    """Add the command's parser."""
    parser = add_command(
        subparsers,
        "slos",
        "objectives (SLOs) for Datadog, of dials and reconnects, as JSON",
        "Prints a list of SLOs over 30 days: the share of dials that succeed, and the share of five-minute slices "
        "without a reconnect that took too long, with the targets of the profile." + PUSHING,
        examples={"wsnova-statsd slos": "print them", "wsnova-statsd slos --push": "send them"},
        statuses=STATUSES,
    )
    add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Print or send."""
    from ..dashboards.monitors import slos

    made = slos(profile_of(args), args.namespace, args.env)
    if not (args.push or args.dry_run):
        return print_json(list(made.values()))
    from ..dashboards.push import SLO

    return push(args, lambda one: one.objects(SLO, names(args, made)))
