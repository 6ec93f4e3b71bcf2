"""`wsnova-statsd dashboards datadog` and `dashboards grafana`: the board as JSON; for Datadog, --all adds metadata,
monitors and SLOs."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any, Final

from ..errors import ConfigurationError
from .boards import (
    GRAFANA,
    PUSHING,
    STATUSES,
    add_arguments,
    add_naming,
    metrics_of,
    names,
    naming_of,
    print_json,
    profile_of,
    push,
    refuse_naming,
    rules_of,
)
from .parser import add_command, choice

if TYPE_CHECKING:
    from ..dashboards.pushing import Push

_FOR: Final = ("datadog", GRAFANA)


def register(subparsers: Any) -> None:
    """Add the command's parser."""
    parser = add_command(
        subparsers,
        "dashboards",
        "a board for Datadog or Grafana, made from the metric definitions, as JSON",
        "Prints one board: an overview with KPIs against their targets, connections, messages, errors and alerts, "
        "subscriptions and login, system, and the reporter itself, without what the profile never emits. The board for "
        "Grafana queries a Prometheus that scrapes a Monitor, and begins with the guide's four queries." + PUSHING,
        examples={
            "wsnova-statsd dashboards datadog": "print the board, for a file or for Import dashboard JSON",
            "wsnova-statsd dashboards grafana": "print the board for Grafana, for a file or for Import dashboard",
            "wsnova-statsd dashboards grafana --naming prometheus": "for a page with the conventional names",
            "wsnova-statsd dashboards datadog --push": "send the board",
            "wsnova-statsd dashboards datadog --metrics shop.metrics:METRICS": "the board for your own list",
            "wsnova-statsd dashboards datadog --all --push": "metadata, monitors, SLOs and the board, in this order",
        },
        statuses=STATUSES,
        usage="datadog|grafana [ARGUMENTS]",
    )
    parser.add_argument(
        "system",
        nargs="?",
        type=choice("the board", _FOR),
        metavar="datadog|grafana",
        help="the system to make the board for",
    )
    parser.add_argument("--all", action="store_true", help="also metadata, monitors and SLOs")
    add_arguments(parser, "metrics", "rules")
    add_naming(parser)


def run(args: argparse.Namespace) -> int:
    """Print or send. Raises ConfigurationError if no system is named."""
    from ..dashboards.datadog import board, need_percentiles
    from ..dashboards.metadata import metadata
    from ..dashboards.monitors import monitors, slos

    if args.system is None:
        raise ConfigurationError(f"no board is named; pass one of: {', '.join(_FOR)}")
    if args.system == GRAFANA:
        return _grafana(args)
    refuse_naming(args)
    profile, namespace, env = profile_of(args), args.namespace, args.env
    metrics, rules = metrics_of(args), rules_of(args)
    made = board(profile, metrics, namespace, env)
    wanted = need_percentiles(profile, metrics, namespace)
    if not args.all:
        if not (args.push or args.dry_run):
            return print_json(made)
        return push(args, lambda one: _send_board(args, one, made, wanted))
    described, watched = metadata(profile, metrics, namespace), monitors(profile, rules, namespace, env)
    objectives = slos(profile, namespace, env)
    if not (args.push or args.dry_run):
        lists = {"monitors": list(watched.values()), "slos": list(objectives.values())}
        return print_json({"metadata": described, **lists, "dashboard": made})

    def steps(one: Push) -> None:
        from ..dashboards.push import MONITOR, SLO

        one.metadata(described)
        one.objects(MONITOR, names(args, watched))
        one.objects(SLO, names(args, objectives))
        _send_board(args, one, made, wanted)

    return push(args, steps)


def _grafana(args: argparse.Namespace) -> int:
    from ..dashboards.grafana import board

    naming = naming_of(args)
    return print_json(board(profile_of(args), metrics_of(args), naming))


def _send_board(args: argparse.Namespace, one: Push, made: dict[str, Any], wanted: list[str]) -> None:
    """Send the board, and name the percentiles, which only the account's owner can switch on, as they cost money."""
    from ..dashboards.push import DASHBOARD

    one.objects(DASHBOARD, names(args, {"board": made}))
    if wanted:
        one.tell(
            "Averages and maxima are shown at once. p50, p95 and p99 need percentiles, which this command never "
            "switches on: use Metrics > Summary, the panel of each of these metrics, under Advanced. For each "
            "combination of tags Datadog then bills ten metrics instead of five "
            "(docs.datadoghq.com/account_management/billing/custom_metrics):"
        )
        for name in wanted:
            one.tell(f"  {name}")
