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

from wsnova_statsd.profiles import PROFILES, STANDARD

from . import scale_check, scale_clients
from .scale_storm import CONNECT_TIMEOUT, WEBSOCKET_CLIENT, Listener, Outcome, Setting, Way, fixed, shipped, simulate
from .table import aligned

_FIXED: Final = (0.0, 1.0, 5.0)
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
    "wasted",
)
_CHECK_HEAD: Final = ("situation", "profile", "", "last back", "dials", "refused", "timed out", "off", "within 20 %")


def ways(connect_timeout: float = CONNECT_TIMEOUT, first_retry: float | None = None) -> list[Way]:
    """The shipped profiles, one more with another first_retry if given, fixed delays, and websocket-client's."""
    profiles = list(PROFILES.values())
    if first_retry is not None:
        name = f"standard, first_retry={first_retry:g}"
        profiles.append(STANDARD.replace(name=name, first_retry=first_retry))
    found = [shipped(profile, connect_timeout) for profile in profiles]
    found += [fixed(seconds, connect_timeout=connect_timeout) for seconds in _FIXED]
    return [*found, WEBSOCKET_CLIENT]


def storm_cells(name: str, found: Outcome, horizon: float) -> tuple[str, ...]:
    """The line of one way."""
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
    last = f"{found.back[-1]:.1f} s" if not found.open else f"> {horizon:g} s"
    return (name, f"{found.accepted:,}", half, last, *(f"{amount:,}" for amount in amounts))


def storm(options: argparse.Namespace) -> int:
    """One table for each time that the listener is away."""
    listener = Listener(options.backlog, options.accepts, silent=options.silent)
    storms = []
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
        chosen = ways(options.connect_timeout, options.first_retry)
        rows = [(way.name, simulate(way, listener, setting, options.seed)) for way in chosen]
        print("\n".join(aligned(_STORM_HEAD, [[storm_cells(*row, options.horizon) for row in rows]])))
        storms += [{"way": name, "away": away, **found.as_json()} for name, found in rows]
    _write(options.json, {"seed": options.seed, "listener": asdict(listener), "storms": storms})
    return 0


def check(options: argparse.Namespace) -> int:
    """The groups of one situation and profile at once, one pair after the other."""
    logging.getLogger("wsnova_statsd").setLevel(logging.CRITICAL)  # each failed dial would be logged
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
    """Once without messages, once with one a second for each client, and that without a Monitor."""
    runs = []
    for rate, monitor in ((0, True), (1, True), (1, False)):
        began = time.monotonic()
        watched = "with a Monitor" if monitor else "without"
        print(f"{options.clients:,} clients, {rate} messages a second each, {watched} ...", end="", file=sys.stderr)
        sys.stderr.flush()
        runs.append(scale_clients.measure(options.clients, rate, options.seconds, monitor=monitor))
        print(f" {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    head = (f"{options.clients:,} clients, standard profile", "pings only", "a message a second each", "no Monitor")
    print("\n".join(aligned(head, [list(zip(_CLIENT_LINES, *map(_client_cells, runs), strict=True))])))
    faults = [fault for run in runs for fault in run.faults]
    print("\n".join(["It does not add up:", *faults] if faults else ["Every count arrived."]))
    _write(
        options.json, [{**one.figures, "rate": one.rate, "monitor": one.monitor, "faults": one.faults} for one in runs]
    )
    return 1 if faults else 0


_CLIENT_LINES: Final = (
    "time to connect all, one after the other",
    "memory (RSS) beyond the imports",
    "memory for each client",
    "threads of clients",
    "other threads",
    "processor",
    "messages handled in a second",
    "processor time for each message, all included",
    "series",
    "datagrams in a second",
    "bytes in a second",
    "messages sent by the server, and handled",
    "datagrams sent, and at the Agent",
)


def _client_cells(run: scale_clients.Measured) -> tuple[str, ...]:
    figures, threads = run.figures, run.figures["threads"]
    own, messages = threads.get("wsnova-client", 0), figures["messages"]
    return (
        f"{figures['connecting']:.1f} s",
        f"{figures['memory'] / 2**20:.0f} MiB",
        f"{figures['memory'] / 2**10 / run.clients:.0f} KiB",
        f"{own:,}",
        f"{sum(threads.values()) - own}",
        f"{figures['cpu']:.1%} of a core",
        f"{messages:,.0f}",
        f"{figures['cpu'] / messages * 1e6:.0f} us" if messages else "-",
        f"{figures['series']:,}",
        f"{figures['datagrams']:,.0f}",
        f"{figures['bytes'] / 1024:,.0f} KiB",
        f"{figures['sent']:,} and {figures['handled']:,}",
        f"{figures['packets']:,} and {run.datagrams:,}",
    )


def _write(where: str | None, report: Any) -> None:
    if where == "-":
        print(json.dumps(report, indent=2))
    elif where is not None:
        with open(where, "w", encoding="utf-8") as file:
            json.dump(report, file, indent=2)


def _above(kind: Callable[[str], Any], *, zero: bool = False) -> Callable[[str], Any]:
    def number(text: str) -> Any:
        if not (kind(text) > 0 or (zero and kind(text) == 0)):
            raise ValueError
        return kind(text)

    number.__name__ = "number from 0" if zero else "number above 0"  # argparse names it in its error message
    return number


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.scale", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    one = commands.add_parser("storm", help="simulate a reconnect storm")
    one.set_defaults(run=storm)
    one.add_argument("--workers", type=_above(int), default=_SETTING.workers, metavar="N")
    one.add_argument("--backlog", type=_above(int), default=_LISTENER.backlog, metavar="N", help="of the listener")
    one.add_argument("--accepts", type=_above(float), default=_LISTENER.accepts, metavar="N", help="upgrades a second")
    away = _above(float, zero=True)
    one.add_argument("--away", type=away, nargs="+", default=[0.0, 10.0], metavar="S", help="seconds; several: each")
    one.add_argument("--connect-timeout", type=_above(float), default=CONNECT_TIMEOUT, metavar="S", help="of a dial")
    one.add_argument("--first-retry", type=_above(float), metavar="S", help="one more row: standard with this one")
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
