"""`python -m tests.benchmarks.scale storm | check | clients`: what happens with many workers.

`storm` simulates 10,000 workers that lose their links at one moment, by each shipped profile and by fixed delays;
`check` runs ten real clients against a real listener beside the same simulation; `clients` runs 1,000 real clients in
one process. `scale.md` says what the figures mean. Exits with 1 if `check` does not agree or `clients` does not add up.
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any, Final

from wsnova_statsd.profiles import PROFILES

from . import scale_check, scale_clients
from .scale_storm import WEBSOCKET_CLIENT, Listener, Outcome, Setting, Way, fixed, shipped, simulate
from .table import aligned

WAYS: Final[tuple[Way, ...]] = (
    *(shipped(profile) for profile in PROFILES.values()),
    *(fixed(seconds) for seconds in (0.0, 1.0, 5.0)),
    WEBSOCKET_CLIENT,
)
_LISTENER: Final = Listener()
_SETTING: Final = Setting()
_STORM_HEAD: Final = (
    "way",
    "back",
    "half back",
    "last back",
    "dials",
    "refused",
    "timed out",
    "in 1 s",
    "in 0.1 s",
    "SYNs dropped",
    "queue",
    "for nobody",
)
_CHECK_HEAD: Final = ("situation", "profile", "", "last back", "dials", "refused", "timed out", "off", "within 20 %")


def _storm_cells(name: str, found: Outcome) -> tuple[str, ...]:
    amounts = (
        found.attempts,
        found.refused,
        found.timed_out,
        found.busiest(10),
        found.busiest(1),
        found.dropped,
        found.worst_queue,
        found.wasted,
    )
    half = f"{found.when(0.5):.1f} s" if found.back else "-"
    last = f"{found.back[-1]:.1f} s" if found.back and not found.open else "never"
    return (name, f"{found.accepted:,}", half, last, *(f"{amount:,}" for amount in amounts))


def storm(options: argparse.Namespace) -> int:
    """One table for each time that the listener is away."""
    listener = Listener(options.backlog, options.accepts, silent=options.silent)
    told = []
    for away in options.away:
        setting = Setting(options.workers, away, options.round_trip, horizon=options.horizon)
        least = away + options.workers / options.accepts
        lost = "loses SYNs" if options.silent else "refuses"
        then = f"is away for {away:g} s and {lost}" if away else "lives"
        print(
            f"{options.workers:,} workers are cut at one moment; the listener {then}. Backlog {options.backlog}, "
            f"{options.accepts:g} accepted a second: the last cannot be back before {least:.1f} s",
            end="\n\n",
            flush=True,
        )
        rows = [(way.name, simulate(way, listener, setting, options.seed)) for way in options.ways]
        print("\n".join(aligned(_STORM_HEAD, [[_storm_cells(*row) for row in rows]])))
        told += [{"way": name, "away": away, **found.as_json()} for name, found in rows]
    _write(options.json, {"seed": options.seed, "listener": asdict(listener), "storms": told})
    return 0


def check(options: argparse.Namespace) -> int:
    """The groups of one situation and profile at once, one pair after the other."""
    logging.getLogger("wsnova_statsd").setLevel(logging.CRITICAL)  # every failed dial is logged
    rows: list[scale_check.Row] = []
    for pair in itertools.product(scale_check.SITUATIONS, PROFILES.values()):
        rows += scale_check.check([pair], options.groups)
    lines = []
    for row in rows:
        for kind, figures in (("simulated", row.simulated), ("measured", row.measured)):
            first = kind == "simulated"
            amounts = (figures.attempts, figures.refused, figures.timed_out)
            names = (row.situation.name, row.profile.name) if first else ("", "")
            verdict = (f"{row.off:+.1%}", "yes" if row.ok else "NO") if first else ("", "")
            lines.append((*names, kind, f"{figures.last:.2f} s", *(f"{amount:g}" for amount in amounts), *verdict))
    print("\n".join(aligned(_CHECK_HEAD, [lines])))
    print(f"{scale_check.WORKERS} workers; medians of {options.groups} real groups and {scale_check.SEEDS} simulated")
    return 0 if all(row.ok for row in rows) else 1


def clients(options: argparse.Namespace) -> int:
    """Once without messages, once with one a second for each client."""
    faults: list[str] = []
    runs = []
    for rate in (0, 1):
        began = time.monotonic()
        print(f"{options.clients:,} clients, {rate} messages a second each ...", end="", file=sys.stderr, flush=True)
        runs.append(scale_clients.measure(options.clients, rate, options.seconds))
        print(f" {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
        faults += runs[-1].faults
    head = (f"{options.clients:,} clients, standard profile, Monitor", "pings only", "a message a second each")
    lines = zip(*(_client_cells(one) for one in runs), strict=True)
    print("\n".join(aligned(head, [[(what, idle, loaded) for (what, idle), (_, loaded) in lines]])))
    print("\n".join(["It does not add up:", *faults] if faults else ["Every count arrived."]))
    _write(options.json, [{**one.figures, "rate": one.rate, "faults": one.faults} for one in runs])
    return 1 if faults else 0


def _client_cells(run: scale_clients.Measured) -> list[tuple[str, str]]:
    figures, threads = run.figures, run.figures["threads"]
    others = [f"{name} {n}" for name, n in sorted(threads.items()) if name != "wsnova-client"]
    messages = figures["messages"]
    each = f"{figures['cpu'] / messages * 1e6:.0f} us" if messages else "-"
    return [
        ("time to connect all, one after the other", f"{figures['connecting']:.1f} s"),
        ("memory (RSS) beyond the imports", f"{figures['memory'] / 2**20:.0f} MiB"),
        ("memory for each client", f"{figures['memory'] / 2**10 / run.clients:.0f} KiB"),
        ("threads of clients", f"{threads.get('wsnova-client', 0):,}"),
        ("other threads", f"{sum(threads.values()) - threads.get('wsnova-client', 0)} ({', '.join(others)})"),
        ("processor", f"{figures['cpu']:.1%} of a core"),
        ("messages handled in a second", f"{messages:,.0f}"),
        ("processor time for each message, all included", each),
        ("series", f"{figures['series']:,}"),
        ("datagrams in a second", f"{figures['datagrams']:,.0f}"),
        ("bytes in a second", f"{figures['bytes'] / 1024:,.0f} KiB"),
        ("messages sent by the server, and handled", f"{figures['sent']:,} and {figures['handled']:,}"),
        ("datagrams sent, and at the Agent", f"{figures['packets']:,} and {run.datagrams:,}"),
    ]


def _write(where: str | None, report: Any) -> None:
    if where == "-":
        print(json.dumps(report, indent=2))
    elif where is not None:
        with open(where, "w", encoding="utf-8") as file:
            json.dump(report, file, indent=2)


def _above(kind: Callable[[str], Any]) -> Callable[[str], Any]:
    def number(text: str) -> Any:
        if not kind(text) > 0:
            raise ValueError
        return kind(text)

    number.__name__ = "number above 0"  # argparse says it of a value that is none
    return number


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.scale", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    one = commands.add_parser("storm", help="simulate a reconnect storm")
    one.set_defaults(run=storm, ways=WAYS)
    one.add_argument("--workers", type=_above(int), default=_SETTING.workers, metavar="N")
    one.add_argument("--backlog", type=_above(int), default=_LISTENER.backlog, metavar="N", help="of the listener")
    one.add_argument("--accepts", type=_above(float), default=_LISTENER.accepts, metavar="N", help="upgrades a second")
    one.add_argument("--away", type=float, nargs="+", default=[0.0, 10.0], metavar="S", help="seconds; several: each")
    one.add_argument("--silent", action="store_true", help="while it is away, dials are lost instead of refused")
    one.add_argument("--round-trip", type=_above(float), default=_SETTING.round_trip, metavar="S")
    one.add_argument("--horizon", type=_above(float), default=_SETTING.horizon, metavar="S", help="give up after this")
    one.add_argument("--seed", type=int, default=1, metavar="S")
    one.add_argument("--json", metavar="FILE", help="write every figure there as well; - is the output")
    one = commands.add_parser("check", help="ten real clients beside the simulation of ten")
    one.set_defaults(run=check)
    one.add_argument("--groups", type=_above(int), default=9, metavar="N", help="of ten clients, whose median counts")
    one = commands.add_parser("clients", help="1,000 real clients in one process with a Monitor")
    one.set_defaults(run=clients)
    one.add_argument("--clients", type=_above(int), default=1000, metavar="N")
    one.add_argument("--seconds", type=_above(float), default=20.0, metavar="S", help="to watch")
    one.add_argument("--json", metavar="FILE", help="write every figure there as well; - is the output")
    return parser


def main(arguments: Iterable[str]) -> int:
    options = _parser().parse_args([*arguments])
    code: int = options.run(options)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
