"""A real Prometheus, and its promtool, for tests: WSNOVA_PROMETHEUS names the program, as in the Debian package
prometheus, which has promtool beside it.
"""

import json
import math
import os
import shutil
import socket
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

import pytest

_DEADLINE = 20.0


def program_of(name: str) -> str:
    """`prometheus`, or the `promtool` beside it. Skips the test if there is none."""
    named = os.environ.get("WSNOVA_PROMETHEUS")
    found = shutil.which(name) if named is None else shutil.which(str(Path(named).with_name(name)))
    if found is None:
        pytest.skip(f"no {name}: WSNOVA_PROMETHEUS names the server's program, as in the Debian package prometheus")
    return found


class Prometheus:
    """Scrapes ports of this machine, by the names of jobs, every `interval`, and evaluates rule files as often."""

    def __init__(
        self,
        program: str,
        folder: Path,
        ports: Mapping[str, Iterable[int]],
        interval: str = "1s",
        rules: Iterable[Path] = (),
    ) -> None:
        jobs = [
            {"job_name": job, "static_configs": [{"targets": [f"127.0.0.1:{port}" for port in listed]}]}
            for job, listed in ports.items()
        ]
        every = {"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval}
        config = folder / "prometheus.yml"
        config.write_text(json.dumps({"global": every, "rule_files": [*map(str, rules)], "scrape_configs": jobs}))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._address = f"127.0.0.1:{probe.getsockname()[1]}"
        self._log = (folder / "log").open("wb")
        self._process = subprocess.Popen(
            [
                program,
                f"--config.file={config}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address={self._address}",
            ],
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )

    def ask(self, query: str, at: float | None = None) -> list[dict[str, Any]]:
        """The result of an instant query; nothing while it starts."""
        moment = {} if at is None else {"time": f"{at:.3f}"}
        url = f"http://{self._address}/api/v1/query?" + urllib.parse.urlencode({"query": query, **moment})
        try:
            with urllib.request.urlopen(url, timeout=_DEADLINE) as response:
                answer = json.load(response)
        except (urllib.error.URLError, ConnectionError) as error:
            if isinstance(error, urllib.error.HTTPError) and error.code != 503:
                raise AssertionError(f"{query}: {error.read().decode()}") from error
            return []
        assert answer["status"] == "success", answer
        found: list[dict[str, Any]] = answer["data"]["result"]
        if answer["data"]["resultType"] == "scalar":
            return [{"metric": {}, "value": found}]
        return found

    def number(self, query: str, at: float | None = None) -> float:
        """The value of a query with one result, NaN while there is none."""
        found = self.ask(query, at)
        return float(found[0]["value"][1]) if found else math.nan

    @property
    def log(self) -> str:
        """What it has logged so far."""
        return Path(self._log.name).read_text(encoding="utf-8")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(_DEADLINE)
        finally:
            self._process.kill()
            self._process.wait()
            self._log.close()
