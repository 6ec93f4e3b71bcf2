"""The front door: what `import wsnova_statsd as ws` offers, and that nothing else hangs about."""

import ast
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest

import wsnova_statsd as ws
from wsnova_statsd import testing

MODULES = {"errors", "events", "telemetry", "alerts"}


def _kind_then_name(name: str) -> tuple[int, str]:
    """Constants, then classes, then everything else, each by name: the order that ruff keeps."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2, name)


def test_every_exported_name_exists() -> None:
    """`__all__` promises nothing that is not there, and `import *` brings exactly it."""
    brought: dict[str, object] = {}
    exec("from wsnova_statsd import *", brought)
    brought.pop("__builtins__")
    assert brought == {name: getattr(ws, name) for name in ws.__all__}


def test_the_list_is_sorted_and_names_nothing_twice() -> None:
    """Constants first, then classes, then functions and modules."""
    assert sorted(set(ws.__all__), key=_kind_then_name) == list(ws.__all__)


def test_what_the_front_door_imports_it_exports() -> None:
    """Every name that `__init__.py` imports from below stands in `__all__`, and no other."""
    tree = ast.parse(Path(ws.__file__).read_text(encoding="utf-8"))
    imported = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.level
        for alias in node.names
    }
    assert imported == set(ws.__all__)


LATER = {"KpiTracker", "LogReporter", "Monitor", "PrometheusReporter", "SystemSampler", "alerts", "init"}


def test_what_watches_is_imported_when_it_is_asked_for() -> None:
    """A client and a reporter alone pay for none of it; asked for twice it is the same."""
    script = (
        "import sys, wsnova_statsd as ws\n"
        "print(*sorted(set(ws.__all__) - set(vars(ws))))\n"
        "print(any(name.startswith('wsnova_statsd.insight') for name in sys.modules))\n"
        "print(ws.Monitor is ws.Monitor, set(ws.__all__) <= set(dir(ws)), hasattr(ws, 'Monitors'))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=50)
    assert done.stdout.splitlines() == [" ".join(sorted(LATER)), "False", "True True False"]


ROOT = Path(ws.__file__).parents[1]


@pytest.mark.parametrize("name", sorted(MODULES))
def test_the_four_modules_are_reached_through_it(name: str) -> None:
    """`ws.errors`, `ws.events`, `ws.telemetry` and `ws.alerts` are modules of this package and exported."""
    module = getattr(ws, name)
    assert isinstance(module, types.ModuleType)
    assert module.__name__.startswith("wsnova_statsd.")
    assert importlib.import_module(module.__name__) is module
    assert name in ws.__all__


def test_no_other_module_is_exported() -> None:
    """Rooms such as `client` or `metrics` are no part of the public surface."""
    assert {name for name in ws.__all__ if isinstance(getattr(ws, name), types.ModuleType)} == MODULES


def test_what_is_exported_tells_what_it_is() -> None:
    """Every exported class, function and module has a docstring."""
    assert [name for name in ws.__all__ if not name.isupper() and not getattr(ws, name).__doc__] == []


def test_the_three_profiles_and_the_default_bus_are_the_ones_below() -> None:
    """The front door hands out the objects themselves, not copies."""
    assert [profile.name for profile in (ws.FINANCIAL, ws.STANDARD, ws.LIGHTWEIGHT)] == [
        "financial",
        "standard",
        "lightweight",
    ]
    assert isinstance(ws.telemetry.DEFAULT, ws.Bus)
    assert ws.telemetry.Bus is ws.Bus
    assert ws.events.MESSAGE_RECEIVED == "websockex_nova.message.received"


def _defined(module: types.ModuleType) -> set[str]:
    """The public names that a module's own page writes down at its top level."""
    found: set[str] = set()
    for node in ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            found.add(node.name)
        for target in getattr(node, "targets", [getattr(node, "target", None)]):
            if isinstance(target, ast.Name):
                found.add(target.id)
    return {name for name in found if not name.startswith("_")}


@pytest.mark.parametrize(
    "module", [ws.errors, ws.events, ws.telemetry, ws.alerts, testing], ids=lambda one: one.__name__
)
def test_each_public_module_lists_its_names_in_order(module: types.ModuleType) -> None:
    """So that `import *`, editors and documents show what is meant for users."""
    names = list(module.__all__)
    assert names == sorted(set(names), key=_kind_then_name)
    assert [name for name in names if not hasattr(module, name)] == []


def test_a_module_that_the_pages_send_users_to_lists_its_names() -> None:
    """All that stand below `testing` and `contrib`; logger names are no modules for users."""
    pages = [ROOT / "README.md", *(ROOT / "examples").glob("*.md")]
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    text = text.replace("from wsnova_statsd.contrib import ", "wsnova_statsd.contrib.")
    names = set(re.findall(r"\bwsnova_statsd\.(?:contrib|testing)(?:\.[a-z_]+)*", text))
    assert {"wsnova_statsd.contrib.asgi", "wsnova_statsd.testing.exchanges"} <= names
    for name in names:
        if not isinstance(named := pkgutil.resolve_name(name), types.ModuleType):
            name, _, last = name.rpartition(".")
            assert last in (named := importlib.import_module(name)).__all__
        assert [one for one in named.__all__ if not hasattr(named, one)] == [], name
        assert list(named.__all__) == sorted(named.__all__, key=_kind_then_name), name


_POSITIONS = {
    ws.Bus: "",
    ws.Bus.attach: "handler_id event function config",
    ws.Bus.attach_many: "handler_id events function config",
    ws.Bus.detach: "handler_id",
    ws.Bus.execute: "event measurements metadata",
    ws.Bus.list_handlers: "prefix",
    ws.Bus.span: "prefix metadata",
    ws.Client: "url",
    ws.Client.start: "timeout wait",
    ws.Client.send: "message wait",
    ws.Client.send_text: "text wait",
    ws.Client.send_binary: "data wait",
    ws.Client.request: "message timeout",
    ws.Client.subscribe: "channel timeout",
    ws.Client.unsubscribe: "channel timeout",
    ws.Client.receive: "timeout",
    ws.Client.close: "timeout",
    ws.Client.wait: "timeout",
    ws.RateLimit: "per_second burst",
    ws.HeaderAuth: "headers",
    ws.MessageAuth: "message accepted",
    ws.counter: "name event tags keep",
    ws.sum_: "name event measurement tags unit keep",
    ws.gauge: "name event measurement tags unit keep",
    ws.summary: "name event measurement tags unit keep",
    ws.distribution: "name event measurement tags unit keep buckets",
    ws.statsd_metrics: "profile",
    ws.prometheus_metrics: "",
    ws.HandlerRegistry: "metrics",
    ws.StatsdReporter: "metrics",
    ws.StatsdReporter.flush: "timeout",
    ws.StatsdReporter.stop: "timeout",
    ws.StatsdReporter.increment: "name value tags",
    ws.StatsdReporter.gauge: "name value tags",
    ws.StatsdReporter.distribution: "name value tags",
    ws.StatsdReporter.event: "title text alert_type tags aggregation_key",
    ws.StatsdReporter.service_check: "name status tags message",
    ws.PrometheusReporter: "metrics",
    ws.PrometheusReporter.start: "port address",
    ws.LogReporter: "logger level bus",
    ws.Monitor: "profile",
    ws.init: "profile",
    ws.alerts.SlowProcessing: "threshold_ms",
    ws.KpiTracker: "profile bus",
    ws.KpiTracker.report: "client",
}


@pytest.mark.parametrize(("function", "names"), _POSITIONS.items(), ids=lambda one: getattr(one, "__qualname__", ""))
def test_arguments_keep_their_positions(function: Callable[..., object], names: str) -> None:
    """What users wrote without names goes on working: new arguments come behind these, or by keyword."""
    parameters = inspect.signature(function).parameters.values()
    by_position = [one.name for one in parameters if one.kind is one.POSITIONAL_OR_KEYWORD and one.name != "self"]
    assert by_position[: len(names.split())] == names.split()


def test_no_event_error_or_name_of_the_bus_is_left_out_of_its_list() -> None:
    """Helpers of errors.py that make one are the package's own."""
    assert set(ws.events.__all__) == _defined(ws.events)
    assert set(ws.telemetry.__all__) == _defined(ws.telemetry)
    assert set(ws.errors.__all__) == _defined(ws.errors) - {"one_of", "known_keys", "nearest"}


def test_without_the_gil_the_import_warns_once_at_the_importing_line() -> None:
    """With it, and where Python cannot be without, the import says nothing."""
    imports = "import wsnova_statsd\nimport wsnova_statsd.testing, wsnova_statsd.monitor"
    for gil, warnings in ((False, 1), (True, 0)):
        script = f"import sys; sys._is_gil_enabled = lambda: {gil}\n{imports}"
        command = [sys.executable, "-W", "always::RuntimeWarning", "-c", script]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=50)
        assert done.stderr.count("<string>:2: RuntimeWarning: wsnova_statsd is not tested without the GIL") == warnings
        assert bool(done.stderr) is bool(warnings)
