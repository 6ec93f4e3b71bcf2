"""A service of two processes, scraped by a real Prometheus every second: what happened in it, and what Prometheus
answers.

The same happens twice. The first time creates every series; the queries are about the second time, between
two quiet moments, as a series' first value is no rise.
"""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import wsnova_statsd as ws
from tests.prometheus import Prometheus
from tests.stories.board_service import Happened
from tests.support import until
from wsnova_statsd import events
from wsnova_statsd.dashboards.alert_rules import alert_rules
from wsnova_statsd.reporters.families import NAMINGS

JOBS = {"guide": "guide", "prometheus": "conventional"}  # by naming
QUIET = 3.0  # seconds: sums were emitted, and two scrapes have seen them
LONG = 8.0  # seconds before and after what is asked about: a rise is stretched by a small part of them
WORKERS = ("a", "b")


class Process:
    """One worker."""

    def __init__(self, name: str, profile: ws.Profile) -> None:
        self.name = name
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.stories.prometheus_worker", name, profile.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=Path(__file__).resolve().parents[2],
        )
        self.ports: dict[str, int] = self.answer()

    def ask(self, command: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{command}\n")
        self._process.stdin.flush()

    def answer(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())

    def end(self) -> None:
        self._process.communicate(timeout=20)


class Scraped:
    """The service, its Prometheus, and what happened, lived through once."""

    def __init__(self, program: str, folder: Path, profile: ws.Profile) -> None:
        self.profile = profile
        rules = []
        for naming in NAMINGS:
            rules.append(folder / f"{naming}.json")
            rules[-1].write_text(json.dumps(alert_rules(profile, naming=naming)))
        self._processes = [Process(name, profile) for name in WORKERS]
        ports = {job: [one.ports[job] for one in self._processes] for job in JOBS.values()}
        self.instances = {f"127.0.0.1:{port}": one.name for one in self._processes for port in one.ports.values()}
        self.prometheus = Prometheus(program, folder, ports, "1s", rules)

    def live(self) -> None:
        """Both times; then the events of each process."""
        assert until(lambda: self.prometheus.number("sum(up)") == 4, 20), self.prometheus.log
        for command in ("start", "live"):
            time.sleep(QUIET)  # the zeros are scraped
            self._both(command)
        time.sleep(QUIET)
        self.began = time.time()
        time.sleep(LONG)
        self._both("live")
        time.sleep(LONG)
        self.ended = time.time()
        observed = self._both("tell")
        self.all = [
            Happened(name, int(at), event, measurements, metadata)
            for name, reported in zip(WORKERS, observed, strict=True)
            for at, event, measurements, metadata in reported
        ]
        between = [self.began <= at <= self.ended for reported in observed for at, *_ in reported]
        self.reported = [one for one, is_asked in zip(self.all, between, strict=True) if is_asked]

    def _both(self, command: str) -> list[Any]:
        for one in self._processes:
            one.ask(command)
        return [one.answer() for one in self._processes]

    @property
    def seconds(self) -> int:
        """Between the quiet moments."""
        return round(self.ended - self.began)

    def fired(self) -> set[tuple[str, str]]:
        """Rules that sent an alert at any time, and their clients."""
        reported = [one for one in self.all if one.event == events.ALERT_FIRED and one.measurements["count"]]
        return {(one.metadata["rule"], one.metadata["client_id"]) for one in reported}

    def end(self) -> None:
        self.prometheus.__exit__()
        for one in self._processes:
            one.end()
