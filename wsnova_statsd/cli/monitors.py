"""`wsnova-statsd monitors`: each alert rule, KPI target and service check, for Datadog or as rules of Prometheus."""

from __future__ import annotations

import argparse
from typing import Any, Final

from .boards import (
    PROMETHEUS,
    PUSHING,
    STATUSES,
    add_arguments,
    add_naming,
    names,
    naming_of,
    print_json,
    profile_of,
    push,
    refuse_naming,
    rules_of,
)
from .parser import add_command, choice

_FOR: Final = ("datadog", PROMETHEUS)


def register(subparsers: Any) -> None:
    """Add the command's parser."""
    parser = add_command(
        subparsers,
        "monitors",
        "monitors for Datadog or Prometheus, of rules, KPI targets and checks, as JSON",
        "Prints a list of monitors: one for each alert rule, one for each KPI that the profile has a target for, and "
        "one for each service check, by client and process. Each says what to do first. For Prometheus it is a rule "
        "file, in JSON, which is also YAML." + PUSHING,
        examples={
            "wsnova-statsd monitors --profile standard": "print them",
            "wsnova-statsd monitors prometheus": "print the rule file of a Prometheus that scrapes a Monitor",
            "wsnova-statsd monitors --push --dry-run": "what would be created, updated or left alone",
            "wsnova-statsd monitors --push": "send them",
        },
        statuses=STATUSES,
        usage="[datadog|prometheus] [ARGUMENTS]",
    )
    parser.add_argument(
        "system",
        nargs="?",
        type=choice("the system", _FOR),
        default="datadog",
        metavar="datadog|prometheus",
        help="the system to make monitors for (default: datadog)",
    )
    add_arguments(parser, "rules")
    add_naming(parser)


def run(args: argparse.Namespace) -> int:
    """Print or send."""
    if args.system == PROMETHEUS:
        from ..dashboards.alert_rules import alert_rules

        naming = naming_of(args)
        return print_json(alert_rules(profile_of(args), rules_of(args), naming))
    refuse_naming(args)
    from ..dashboards.monitors import monitors

    made = monitors(profile_of(args), rules_of(args), args.namespace, args.env)
    if not (args.push or args.dry_run):
        return print_json(list(made.values()))
    from ..dashboards.push import MONITOR

    return push(args, lambda one: one.objects(MONITOR, names(args, made)))
