"""`wsnova-statsd cost`: the series that clients make, metric by metric, and what Datadog bills for them.

This file is the command: the numbers it takes, and what it prints. Nothing is sent.
"""

from __future__ import annotations

import argparse
from typing import Any, Final

from ..profiles import PROFILES
from .parser import DONE, add_command, choice

_DIGITS: Final = 20  # of a number, at most


def register(subparsers: Any) -> None:
    """Add the command's parser."""
    parser = add_command(
        subparsers,
        "cost",
        "how many series there are, and what Datadog bills for them",
        "Counts the series of a host by metric, for clients that connect, subscribe, receive and send messages without "
        "an error, lose their connection once and are closed. Datadog bills a distribution five times, ten times with "
        "percentiles. Each of the workers runs all of the clients, under the same names.",
        examples={
            "wsnova-statsd cost": "one client that receives ten types of messages",
            "wsnova-statsd cost --profile standard --clients 50 --workers 4": "fifty clients in each of four processes",
            "wsnova-statsd cost --types 40 --lean": "without the gauges that have a distribution",
        },
        statuses={DONE: "printed"},
    )
    profile = choice("the profile", PROFILES)
    parser.add_argument("--profile", type=profile, default="financial", metavar="P", help=", ".join(PROFILES))
    for option, default, meaning in (
        ("--clients", 1, "names of clients"),
        ("--types", 10, "types of messages that a client receives"),
        ("--sent-types", 1, "types of messages that a client sends"),
        ("--workers", 1, "processes of a host"),
    ):
        parser.add_argument(option, type=_number, default=default, metavar="N", help=f"{meaning} (default: {default})")
    parser.add_argument("--lean", action="store_true", help="for the list ws.statsd_metrics(lean=True)")
    parser.add_argument("--json", action="store_true", help="print one JSON document and nothing else")


def run(args: argparse.Namespace) -> int:
    """Print the bill. Raises ConfigurationError for an invalid number."""
    from ..dashboards.cost import cost
    from ..dashboards.life import Shape
    from ..metrics.catalogue import statsd_metrics

    shape = Shape(args.clients, args.types, args.workers, args.sent_types)
    bill = cost(PROFILES[args.profile], shape, statsd_metrics(lean=args.lean))
    print(bill.to_json() if args.json else "\n".join(bill.lines))
    return DONE


def _number(text: str) -> int | str:
    """A whole number, or the text as it is, which the shape refuses."""
    return int(text) if text.isdecimal() and len(text) < _DIGITS else text
