"""`wsnova-statsd metadata`: type, unit and description of each metric, as Datadog shows them."""

from __future__ import annotations

import argparse
from typing import Any

from .boards import PUSHING, STATUSES, add_arguments, metrics_of, print_json, profile_of, push
from .parser import add_command


def register(subparsers: Any) -> None:
    """Add the command's parser."""
    parser = add_command(
        subparsers,
        "metadata",
        "type, unit and description of each metric, as JSON",
        "Prints an object with the metadata of each metric by name. Datadog accepts it for metrics that it has seen; "
        "the others are listed as later." + PUSHING,
        examples={
            "wsnova-statsd metadata": "print it",
            "wsnova-statsd metadata --push": "send it, once the metrics have arrived in Datadog",
        },
        statuses=STATUSES,
    )
    add_arguments(parser, "metrics", asks=False)


def run(args: argparse.Namespace) -> int:
    """Print or send."""
    from ..dashboards.metadata import metadata

    made = metadata(profile_of(args), metrics_of(args), args.namespace)
    if not (args.push or args.dry_run):
        return print_json(made)
    return push(args, lambda one: one.metadata(made))
