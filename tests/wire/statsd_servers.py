"""Third-party StatsD servers, each on a free port, and what they report they were sent.

npm's statsd and Debian's collectd write Graphite's lines to a socket of ours; netdata is queried over HTTP. Each runs
in a separate process; `start` returns once it answers."""

import getpass
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from tests.benchmarks.agent import free_port
from tests.support import until
from tests.wire.programs import unpacked

DEADLINE: Final = 20.0


class Graphite:
    """Takes lines `path value time` and keeps them by path."""

    def __init__(self) -> None:
        self._changed = threading.Condition()  # guards values
        self.values: dict[str, list[float]] = {}
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._accepted: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:  # closed
                return
            self._accepted.append(sock)
            threading.Thread(target=self._read, args=(sock,), daemon=True).start()

    def _read(self, sock: socket.socket) -> None:
        with sock, sock.makefile(encoding="utf-8") as lines:
            for line in lines:
                path, value, _ = line.rsplit(None, 2)
                with self._changed:
                    self.values.setdefault(path, []).append(float(value))
                    self._changed.notify_all()

    def all(self, path: str) -> list[float]:
        """Every value of this path that is a number, in order."""
        with self._changed:
            return [value for value in self.values.get(path, []) if value == value]

    def close(self) -> None:
        self._listener.close()


class Server:
    """A program that listens on `port`. Each method returns what it was sent altogether, or last."""

    negative_counters = True

    def __init__(self, command: list[str], port: int, folder: Path) -> None:
        self.port = port
        self.log = folder / "log.txt"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=subprocess.STDOUT)

    def wait_for(self, condition: Callable[[], bool]) -> bool:
        """Whether it comes true in time; a missing answer counts as false."""

        def holds() -> bool:
            try:
                return condition()
            except (OSError, LookupError, ValueError):
                return False

        return until(holds, DEADLINE)

    def count(self, name: str) -> float:
        """A counter's total."""
        raise NotImplementedError

    def gauge(self, name: str) -> float:
        """A gauge's last value."""
        raise NotImplementedError

    def timer(self, name: str) -> tuple[float, float]:
        """How many values a timer was sent, and the largest."""
        raise NotImplementedError

    def members(self, name: str) -> float:
        """How many different members a set has had, if each was sent in one window."""
        raise NotImplementedError

    def bad_lines(self) -> float:
        """How many lines it could not read."""
        raise NotImplementedError

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Npm(Server):
    """The original daemon, with its Graphite backend."""

    def __init__(self, folder: Path) -> None:
        home = os.environ.get("WSNOVA_TESTS_DAEMON")
        if not home or not (Path(home) / "stats.js").is_file():
            pytest.skip("WSNOVA_TESTS_DAEMON does not name the folder of the npm package statsd")
        if shutil.which("node") is None:
            pytest.skip("node is not installed; the npm package statsd runs on it")
        self.graphite, port = Graphite(), free_port(socket.SOCK_DGRAM)
        config = {
            "address": "127.0.0.1",
            "port": port,
            "mgmt_address": "127.0.0.1",
            "mgmt_port": free_port(socket.SOCK_STREAM),
            "graphiteHost": "127.0.0.1",
            "graphitePort": self.graphite.port,
            "backends": [f"{home}/backends/graphite"],
            "flushInterval": 300,
            "deleteIdleStats": True,
        }
        (folder / "config.js").write_text(json.dumps(config))
        super().__init__(["node", f"{home}/stats.js", str(folder / "config.js")], port, folder)
        assert self.wait_for(lambda: bool(self.graphite.values)), self.log.read_text()

    def count(self, name: str) -> float:
        return sum(self.graphite.all(f"stats_counts.{name}"))

    def gauge(self, name: str) -> float:
        return self.graphite.all(f"stats.gauges.{name}")[-1]

    def timer(self, name: str) -> tuple[float, float]:
        values = self.graphite.all(f"stats.timers.{name}.count"), self.graphite.all(f"stats.timers.{name}.upper")
        return sum(values[0]), max(values[1])

    def members(self, name: str) -> float:
        return sum(self.graphite.all(f"stats.sets.{name}.count"))

    def bad_lines(self) -> float:
        return self.count("statsd.bad_lines_seen")


COLLECTD: Final = """
Hostname "here"
Interval 0.3
PluginDir "{home}/usr/lib/collectd"
TypesDB "{home}/usr/share/collectd/types.db"
BaseDir "{folder}"
PIDFile "{folder}/pid"
LoadPlugin logfile
<Plugin logfile>
  LogLevel info
  File stdout
</Plugin>
LoadPlugin statsd
<Plugin statsd>
  Host "127.0.0.1"
  Port "{port}"
  TimerCount true
  TimerUpper true
</Plugin>
LoadPlugin write_graphite
<Plugin write_graphite>
  <Node "test">
    Host "127.0.0.1"
    Port "{graphite}"
    Protocol "tcp"
    StoreRates false
    AlwaysAppendDS false
    PreserveSeparator true
  </Node>
</Plugin>
"""


class Collectd(Server):
    """Debian's collectd: its plugins statsd and write_graphite. Of a timer it reads whole milliseconds, and no zero."""

    def __init__(self, folder: Path) -> None:
        home = unpacked("WSNOVA_COLLECTD", "collectd")
        self.graphite, port = Graphite(), free_port(socket.SOCK_DGRAM)
        config = COLLECTD.format(home=home, folder=folder, port=port, graphite=self.graphite.port)
        (folder / "collectd.conf").write_text(config)
        super().__init__([f"{home}/usr/sbin/collectd", "-f", "-C", str(folder / "collectd.conf")], port, folder)
        assert self.wait_for(lambda: "statsd plugin: Listening" in self.log.read_text()), self.log.read_text()

    def count(self, name: str) -> float:
        return (self.graphite.all(f"here.statsd.derive-{name}") or [0])[-1]

    def gauge(self, name: str) -> float:
        return self.graphite.all(f"here.statsd.gauge-{name}")[-1]

    def timer(self, name: str) -> tuple[float, float]:
        seconds = max(self.graphite.all(f"here.statsd.latency-{name}-upper"))
        return sum(self.graphite.all(f"here.statsd.gauge-{name}-count")), round(seconds * 1000, 3)

    def members(self, name: str) -> float:
        return sum(self.graphite.all(f"here.statsd.objects-{name}"))

    def bad_lines(self) -> float:
        return self.log.read_text().count("Unable to parse line")


def _is_bound(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


NETDATA: Final = """
[global]
    run as user = {user}
[directories]
    config = {folder}
    stock config = {home}/usr/lib/netdata/conf.d
    lib = {folder}
    cache = {folder}
    log = {folder}
    home = {folder}
    registry = {folder}
    web = {home}/usr/share/netdata/web
    plugins = "{home}/usr/lib/netdata/plugins.d"
[db]
    mode = ram
    update every = 1
[web]
    bind to = 127.0.0.1:{web}
[plugins]
    timex = no
    idlejitter = no
    netdata monitoring = no
    tc = no
    diskspace = no
    proc = no
    cgroups = no
    checks = no
    apps = no
    python.d = no
    charts.d = no
    go.d = no
    ebpf = no
    perf = no
    enable running new plugins = no
[health]
    enabled = no
[ml]
    enabled = no
[statsd]
    bind to = udp:127.0.0.1:{port}
    create private charts for metrics matching = *
    decimal detail = 1000
    add dimension for number of events received = yes
"""


class Netdata(Server):
    """Debian's netdata, which keeps one value a second: a counter's rates add up to its total. No counter falls."""

    negative_counters = False

    def __init__(self, folder: Path) -> None:
        home = unpacked("WSNOVA_NETDATA", "netdata")
        self._web, port = free_port(socket.SOCK_STREAM), free_port(socket.SOCK_DGRAM)
        config = NETDATA.format(home=home, folder=folder, port=port, web=self._web, user=getpass.getuser())
        (folder / "netdata.conf").write_text(config)
        command = [f"{home}/usr/sbin/netdata", "-D", "-c", f"{folder}/netdata.conf", "-P", f"{folder}/pid"]
        super().__init__(command, port, folder)
        assert self.wait_for(lambda: bool(self._get("info")) and _is_bound(port)), self.log.read_text()

    def _get(self, what: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self._web}/api/v1/{what}", timeout=5) as answer:
            return json.load(answer)

    def _values(self, name: str, kind: str) -> dict[str, list[float]]:
        """By dimension, every second's value."""
        found = self._get(f"data?chart=statsd_{name}_{kind}&after=-60&format=json&options=flip,null2zero")
        return dict(zip(found["labels"], zip(*found["data"], strict=True), strict=True))

    def count(self, name: str) -> float:
        return round(sum(self._values(name, "counter")["counter"]), 2)

    def gauge(self, name: str) -> float:
        return float(self._get("allmetrics?format=json")[f"statsd_{name}_gauge"]["dimensions"]["gauge"]["value"])

    def timer(self, name: str) -> tuple[float, float]:
        values = self._values(name, "timer")
        return round(sum(values["events"]), 2), max(values["max"])

    def members(self, name: str) -> float:
        return max(self._values(name, "set")["unique"])

    def bad_lines(self) -> float:
        return 0  # it accepts any line as a metric of some kind
