"""What the commands that make something for Datadog share: arguments, printing and sending.

Not a command itself. `dashboards`, `monitors`, `slos` and `metadata` print JSON, and send it with --push.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeVar

from .. import checks, wire
from ..errors import ConfigurationError
from ..insight.rules import Rule
from ..metrics.definitions import Definition
from ..profiles import PROFILES, Profile
from ..redaction import one_line
from ..reporters import settings
from ..reporters.families import NAMINGS, Naming
from .named import load
from .parser import DONE, FAILED, Parser, checked_by, choice

if TYPE_CHECKING:
    from ..dashboards.pushing import Push

_DEFAULT: Final = "financial"
GRAFANA: Final = "grafana"
PROMETHEUS: Final = "prometheus"
_EXAMPLE: Final = "shop.metrics:METRICS"
_Kind = TypeVar("_Kind")
STATUSES: Final = {
    DONE: "printed, or everything is in Datadog now",
    FAILED: "Datadog was not reached or refused a request, or an object that was changed in Datadog was left alone",
}
PUSHING: Final = (
    " With --push it is sent to Datadog, with the keys in DD_API_KEY and DD_APP_KEY, to the site in DD_SITE. A second "
    "push updates what the first one made. An object that was changed in Datadog since then is named and left alone, "
    "unless you pass --force."
)


def add_arguments(parser: Parser, *own: str, asks: bool = True) -> None:
    """Add the arguments of these commands, and for each name in `own` an argument for your own list of that name.
    `asks`: what is made contains queries, which may be limited to one env."""
    for name in own:
        parser.add_argument(
            f"--{name}", metavar="MODULE:NAME", help=f"your own list of {name}, instead of the default one"
        )
    parser.add_argument(
        "--profile",
        type=choice("the profile", PROFILES),
        default=_DEFAULT,
        metavar="P",
        help=f"{', '.join(PROFILES)}; what it never emits is left out (default: {_DEFAULT})",
    )
    parser.add_argument(
        "--namespace",
        type=checked_by(settings.namespace),
        default="",
        metavar="N",
        help="what precedes every name, as in the reporter's namespace=",
    )
    if asks:
        text = "only for what has the tag env:E, as a separate set of objects"
        parser.add_argument("--env", type=checked_by(_env), metavar="E", help=text)
    parser.add_argument("--push", action="store_true", help="send it to Datadog, and print each object as it is done")
    parser.add_argument("--dry-run", action="store_true", help="only print what --push would do")
    parser.add_argument("--force", action="store_true", help="with --push: overwrite what was changed in Datadog")


def _env(value: str) -> str:
    """The value of a tag as Datadog stores it. Raises ConfigurationError."""
    tag = wire.clean_tag(f"env:{value}").lower()
    if tag != f"env:{value}":
        better = tag.removeprefix("env:")
        hint = "" if better == "env" else f"pass {better}"
        raise checks.refused("env", value, "the value of the tag env as Datadog stores it", hint)
    return value


def profile_of(args: argparse.Namespace) -> Profile:
    """The profile that was named. Raises ConfigurationError for arguments that contradict each other."""
    if args.force and not (args.push or args.dry_run):
        raise ConfigurationError("--force is given without --push; pass both, as only a push overwrites anything")
    return PROFILES[args.profile]


def add_naming(parser: Parser) -> None:
    """Add the argument of a document that queries Prometheus."""
    parser.add_argument(
        "--naming",
        type=choice("the naming", NAMINGS),
        metavar="N",
        help="names of metrics on the page, as in the reporter's naming=: guide or prometheus (default: guide)",
    )


def naming_of(args: argparse.Namespace) -> Naming:
    """The naming that was given, for a document that is only printed. Raises ConfigurationError for an argument that
    is for Datadog."""
    datadogs = {"--push": args.push, "--dry-run": args.dry_run, "--force": args.force, "--namespace": args.namespace}
    given = [name for name, value in {**datadogs, "--all": getattr(args, "all", False)}.items() if value]
    if given:
        raise ConfigurationError(
            f"{given[0]} is for Datadog; leave it out: what is made for {args.system} is printed, for a file"
        )
    naming: Naming = args.naming or "guide"
    return naming


def refuse_naming(args: argparse.Namespace) -> None:
    """Raises ConfigurationError: Datadog knows one set of names."""
    if args.naming is not None:
        raise ConfigurationError("--naming is for Prometheus; leave it out: Datadog has one set of names")


def metrics_of(args: argparse.Namespace) -> list[Definition] | None:
    """The definitions that were given, None for the default list. Raises ConfigurationError for anything else."""
    return None if args.metrics is None else _listed("--metrics", args.metrics, Definition, "ws.counter(...)")


def rules_of(args: argparse.Namespace) -> list[Rule] | None:
    """The alert rules that were given, fitted to the profile; None for the default ones. Raises ConfigurationError for
    anything else."""
    if args.rules is None:
        return None
    given = _listed("--rules", args.rules, Rule, "ws.alerts.SlowProcessing()")
    return [rule.fitted(PROFILES[args.profile]) for rule in given]


def _listed(option: str, name: str, kind: type[_Kind], example: str) -> list[_Kind]:
    found = load(name, _EXAMPLE)
    if not isinstance(found, Iterable) or isinstance(found, str):
        raise checks.refused(f"{option} {name}", found, f"a list of objects such as {example}")
    try:
        listed = list(found)
    except Exception as error:
        raised = one_line(f"{type(error).__name__}: {error}")
        raise ConfigurationError(f"{option} {name} raises {raised} when it is read") from error
    for one in listed:
        if not isinstance(one, kind):
            raise checks.refused(f"an entry of {option} {name}", one, f"an object such as {example}")
    return listed


def print_json(document: Any) -> int:
    """One JSON document and nothing else."""
    print(json.dumps(document, indent=2, ensure_ascii=False))
    return DONE


def names(args: argparse.Namespace, documents: Mapping[str, Any]) -> dict[str, Any]:
    """The documents by the names of their marks: each profile, namespace and env has its own set."""
    from ..dashboards.marks import mark_name

    parts = (args.profile, args.namespace.strip("."), args.env and f"env-{args.env}")
    return {mark_name(name, *filter(None, parts)): document for name, document in documents.items()}


def push(args: argparse.Namespace, steps: Callable[[Push], object]) -> int:
    """Send what these steps make. Raises ConfigurationError without keys, PushFailed if Datadog does not accept it."""
    from ..dashboards.push import Api
    from ..dashboards.pushing import Push, PushFailed

    def show(line: str) -> None:
        print(line, flush=True)

    run = Push(Api(), show, force=args.force, dry=args.dry_run)
    try:
        steps(run)
    except PushFailed as error:
        raise PushFailed(f"{error}. {_so_far(run)}, and nothing after that was sent") from None
    except BaseException:  # Ctrl-C, or the reader of our output has closed it
        print(f"{args.parser.prog}: interrupted. {_so_far(run)}; run it again to continue", file=sys.stderr)
        raise
    print(f"{_so_far(run)}.", flush=True)
    sys.stdout.flush()
    return FAILED if run.refused else DONE


def _so_far(run: Push) -> str:
    text = f"{run.done} done" if not run.dry else f"{run.done} checked, none sent"
    text += f", {run.refused} refused" if run.refused else ""
    if run.later:
        text += f", {len(run.later)} later: push again once Datadog has seen these metrics"
    return text
