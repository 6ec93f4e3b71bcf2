"""The generated tables of README.md and examples/ are those of the code, and nothing is missing from them."""

import inspect
import re
from pathlib import Path

import pytest

import wsnova_statsd as ws
from tests.tables import metrics, options
from tests.tables.markdown import table
from tests.tables.pages import ROOT, TABLES, pages, places, rendered
from wsnova_statsd import environment
from wsnova_statsd.dashboards.shipped import shipped
from wsnova_statsd.events import UNLISTED
from wsnova_statsd.profiles import PROFILES

_VARIABLE = re.compile(r"\b(?:(?:DD|DATADOG)_[A-Z_]*[A-Z]|PROMETHEUS_\w+_DIR|NO_COLOR)\b")
# The Agent's own, which says where it listens and has no effect on a client.
_NOT_READ = {"DD_DOGSTATSD_SOCKET"}


def _page(name: str) -> str:
    return (ROOT / "examples" / name).read_text(encoding="utf-8")


def _cells(name: str, column: int) -> list[str]:
    """A column of a table, without the marks of code."""
    return [re.split(r"(?<!\\) \| ", line.strip("| "))[column].strip("` ") for line in TABLES[name]().splitlines()[2:]]


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_the_tables_of_a_page_are_those_of_the_code(page: Path) -> None:
    """`python -m tests.tables` rewrites them."""
    text = page.read_text(encoding="utf-8")
    assert text == rendered(text)


def test_every_table_is_in_a_page() -> None:
    """At least once, between marks that the pages spell as the tables are named."""
    shown = [name for page in pages() for name in places(page.read_text(encoding="utf-8"))]
    assert set(shown) == set(TABLES)


def test_a_table_is_written_between_its_marks() -> None:
    """The old content is replaced, and the rest of the page stays."""
    page = "a\n<!-- table: variables -->\nold\n<!-- end -->\nb\n"
    assert rendered(page) == f"a\n<!-- table: variables -->\n\n{TABLES['variables']()}\n<!-- end -->\nb\n"
    with pytest.raises(KeyError, match="nothing"):
        rendered("<!-- table: nothing -->\n<!-- end -->")


def test_a_bar_within_a_cell_does_not_end_it() -> None:
    assert table(("type",), [["`int | None`"]]) == "| type |\n| --- |\n| `int \\| None` |\n"


def test_the_tables_have_every_metric_that_is_sent() -> None:
    """Each once: those of the definitions, of KPIs, alerts and the reporter itself."""
    listed = [name for one in TABLES if one.startswith("metrics: ") for name in _cells(one, 0)]
    assert len(listed) == len(set(listed))
    assert set(listed) == set(shipped(ws.statsd_metrics()))


@pytest.mark.parametrize("profile", PROFILES)
def test_a_metric_names_the_profiles_that_fill_it(profile: str) -> None:
    """Exactly those whose list has it."""
    filled = set()
    for group in metrics.GROUPS:
        names, profiles = _cells(f"metrics: {group}", 0), _cells(f"metrics: {group}", 5)
        filled |= {
            name for name, reported in zip(names, profiles, strict=True) if reported == "all" or profile in reported
        }
    switched = {one.name for one in ws.statsd_metrics(profile) if one.event != ws.events.SYSTEM_SAMPLED}
    assert filled == switched


def test_the_ten_main_metrics_are_ten_metrics_that_a_monitor_sends() -> None:
    """None is of an event that only detail would add, except for the time of a handler."""
    names = _cells("the ten main metrics", 1)
    assert len(set(names)) == 10
    everywhere = set(shipped(ws.statsd_metrics(), ws.LIGHTWEIGHT))
    assert set(names) - everywhere == {"websocket.message.process.duration.distribution"}


def test_the_tables_have_every_event() -> None:
    """Those of the catalogue in their table, the others in the page by name."""
    assert _cells("events", 0) == [one.removeprefix(ws.events.PREFIX) for one in ws.events.CATALOGUE]
    for event in UNLISTED:
        assert f"| `{event}` |" in _page("metrics.md")


def test_the_prometheus_tables_have_both_names_of_every_metric() -> None:
    """As a page that is scraped has them."""
    for column, naming in ((0, "guide"), (1, "prometheus")):
        reporter = ws.PrometheusReporter(ws.prometheus_metrics(complete=True), naming=naming, bus=ws.Bus())  # type: ignore[arg-type]
        listed = [name for part in ("guide's", "complete") for name in _cells(f"prometheus: the {part} list", column)]
        shown = re.findall(r"^# HELP (\w+)", reporter.render(), re.MULTILINE)
        assert sorted(listed) == sorted(shown)


@pytest.mark.parametrize("one", [*options.CLASSES, *options.RULES, ws.Profile], ids=lambda one: one.__name__)
def test_every_argument_has_a_meaning_and_a_default(one: type) -> None:
    """Unless it is required; a docstring names no argument that the signature lacks."""
    reported, parameters = options.entries(one), inspect.signature(one).parameters
    assert set(reported) == set(parameters)
    for name, parameter in parameters.items():
        meaning, default = reported[name]
        assert meaning.endswith("."), name
        assert bool(default) is (parameter.default is not inspect.Parameter.empty), name


def test_every_rule_of_a_monitor_is_in_the_table() -> None:
    """And When, for rules of your own."""
    assert {type(one) for one in ws.Monitor("financial", bus=ws.Bus()).alerts.rules} == set(options.RULES) - {
        ws.alerts.When
    }


def test_every_variable_that_the_package_reads_is_in_the_table() -> None:
    """Those of its own by their list, the others by their names in the sources."""
    listed = {name for cell in _cells("variables", 0) for name in re.findall(r"[A-Z_]{3,}", cell)}
    sources = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "wsnova_statsd").rglob("*.py"))
    others = set(_VARIABLE.findall(sources)) - _NOT_READ
    own = {f"{environment.PREFIX}{name}" for name in environment.NAMES}
    assert {name for name in listed if not name.startswith(environment.PREFIX)} == others
    assert {name for name in listed if name.startswith(environment.PREFIX)} == own


def test_three_variables_are_read_without_from_env(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others are not."""
    for name, text in (("PROFILE", "lightweight"), ("CONSOLE", "5"), ("WORKER", "shop-7"), ("KPIS", "false")):
        monkeypatch.setenv(f"{environment.PREFIX}{name}", text)
    monitor = ws.Monitor(bus=ws.Bus())
    assert monitor.profile is ws.LIGHTWEIGHT
    assert monitor.console is not None
    assert monitor.reporter.state_tags(()) == ("worker:shop-7",)
    assert monitor.kpis is not None
    read = zip(_cells("variables", 0), _cells("variables", 1), strict=True)
    own = {name: by for name, by in read if name.startswith(environment.PREFIX)}
    without = {name.removeprefix(environment.PREFIX).lower() for name, by in own.items() if by != "Monitor.from_env"}
    assert without == set(options.ALWAYS)
