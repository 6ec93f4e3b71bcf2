"""The alert rules for Prometheus, by its own promtool: each is read, and fires in an outage that is scripted for it:
when it should, for the clients concerned, and not before or after.
"""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from prometheus_client.parser import text_string_to_metric_families as parse

import wsnova_statsd as ws
from tests.prometheus import program_of
from wsnova_statsd.dashboards.alert_rules import alert_rules
from wsnova_statsd.dashboards.watches import watches
from wsnova_statsd.profiles import PROFILES
from wsnova_statsd.reporters.families import NAMINGS, Naming

FILES = [
    pytest.param(profile, naming, id=f"{name}-{naming}") for name, profile in PROFILES.items() for naming in NAMINGS
]
Script = tuple[str, dict[str, str], list[str], list[str]]  # an alert, a series, when it fires, when it does not
WHO: Final = {"client_id": "md-1", "instance": "shop:9568"}
# Steps of 30 s: all is well until the tenth, at 5 min, then not until the fortieth, at 20 min.
WELL: Final = 10
ILL: Final = 30


def _rules(profile: ws.Profile, naming: Naming) -> dict[str, dict[str, Any]]:
    (group,) = alert_rules(profile, naming=naming)["groups"]
    return {one["alert"]: one for one in group["rules"]}


def _series(name: str, values: str, **more: str) -> dict[str, str]:
    labels = ",".join(f'{key}="{value}"' for key, value in {**WHO, "job": "shop", **more}.items())
    return {"series": f"{name}{{{labels}}}", "values": values}


def _states(good: float, bad: float) -> str:
    return f"{good}x{WELL - 1} {bad}x{ILL - 1} {good}x60"


def _script(profile: ws.Profile, naming: Naming) -> Iterator[Script]:
    """For each rule: its series, the times at which it fires, and those at which it does not."""
    last = "_count" if naming == "guide" else "_total"
    for watch in watches(profile):
        kind, _, name = watch.name.partition("-")
        alert = "WebSocket" + "".join(map(str.capitalize, watch.name.replace("-", "_").split("_")))
        if kind == "alert":  # one is fired at 5 min, and stands for five more
            fired = _series(f"websockex_nova_alert_fired{last}", f"0x{WELL - 1} 1x60", rule=name)
            yield alert, fired, ["5m30s", "9m30s"], ["4m30s", "11m"]
            other = _series(f"websockex_nova_alert_fired{last}", f"0x{WELL - 1} 1x60", rule="of_somebody_else")
            yield alert, other, [], ["5m30s"]
        else:  # it has to miss its target for five minutes
            metric, divisor = _kpi(name, naming)
            limit = watch.limit / divisor
            good, bad = (limit / 2, limit) if watch.sign == ">=" else (1, limit)
            yield alert, _series(metric, _states(good, bad)), ["10m30s", "19m30s"], ["4m30s", "9m30s", "21m"]
            yield alert, _series(metric, _states(good, bad), scope="all"), [], ["10m30s"]
    up, health = "websockex_nova_connection_up", "websockex_nova_health"
    yield "WebSocketCheckCanConnect", _series(up, _states(1, 0)), ["6m", "19m30s"], ["4m30s", "5m", "21m"]
    gone = _series(up, f"1x{WELL - 1} _x200")  # 10 min without a value
    yield "WebSocketCheckCanConnect", gone, ["16m", "60m"], ["14m", "70m"]
    yield "WebSocketCheckHealth", _series(health, _states(0, 2)), ["6m", "19m30s"], ["4m30s", "21m"]
    yield "WebSocketCheckHealth", _series(health, _states(0, 1)), [], ["6m"]


def _kpi(key: str, naming: Naming) -> tuple[str, float]:
    """The name of a KPI, and what its limit is divided by."""
    for ending, unit, divisor in (("_ms", "milliseconds", 1000), ("_s", "seconds", 1)):
        if key.endswith(ending):
            plain = key.removesuffix(ending)
            named = unit if naming == "guide" else "seconds"
            return f"websockex_nova_kpi_{plain}_{named}", divisor if naming == "prometheus" else 1
    return f"websockex_nova_kpi_{key}", 1


def _test(rules: dict[str, dict[str, Any]], script: Script) -> Any:
    alert, series, fires, not_ = script
    rule = rules[alert]
    by = [label for label in WHO if label in rule["expr"].split(")")[0]]
    labels = {**rule["labels"], **{label: WHO[label] for label in by}}
    annotations = {key: text.replace("{{ $labels.client_id }}", "md-1") for key, text in rule["annotations"].items()}
    reported = [{"exp_labels": labels, "exp_annotations": annotations}]
    checks = [(at, reported) for at in fires] + [(at, []) for at in not_]
    asked = [{"eval_time": at, "alertname": alert, "exp_alerts": expected} for at, expected in checks]
    return {"interval": "30s", "input_series": [series], "alert_rule_test": asked}


def _promtool(*arguments: object) -> str:
    done = subprocess.run([program_of("promtool"), *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.needs_prometheus
@pytest.mark.parametrize(("profile", "naming"), FILES)
def test_promtool_reads_each_rule_and_each_fires_in_its_outage(
    profile: ws.Profile, naming: Naming, tmp_path: Path
) -> None:
    """Nothing fires for a figure of all clients together, nor for another rule's alerts."""
    rules, file = _rules(profile, naming), tmp_path / "rules.json"
    file.write_text(json.dumps(alert_rules(profile, naming=naming)))
    assert f"{len(rules)} rules found" in _promtool("check", "rules", file)
    script = [*_script(profile, naming)]
    assert {alert for alert, *_ in script} == rules.keys()
    tests = [_test(rules, one) for one in script]
    outages = {"rule_files": [str(file)], "evaluation_interval": "30s", "tests": tests}
    (tmp_path / "outages.json").write_text(json.dumps(outages))
    _promtool("test", "rules", tmp_path / "outages.json")


@pytest.mark.needs_prometheus
def test_a_wrong_expectation_is_reported(tmp_path: Path) -> None:
    """The script can fail: a rule that is expected to fire for a healthy series does not."""
    rules, file = _rules(ws.FINANCIAL, "guide"), tmp_path / "rules.json"
    file.write_text(json.dumps(alert_rules(ws.FINANCIAL)))
    series = _series("websockex_nova_connection_up", "1x60")
    tests = [_test(rules, ("WebSocketCheckCanConnect", series, ["6m"], []))]
    (tmp_path / "outages.json").write_text(json.dumps({"rule_files": [str(file)], "tests": tests}))
    with pytest.raises(AssertionError, match="FAILED"):
        _promtool("test", "rules", tmp_path / "outages.json")


@pytest.mark.parametrize(("profile", "naming"), FILES)
def test_there_is_a_rule_for_each_monitor_and_each_says_what_to_do_first(profile: ws.Profile, naming: Naming) -> None:
    """With the texts of Datadog's monitors."""
    rules = _rules(profile, naming)
    advice = {one.title: one.advice for one in watches(profile)}
    for one in list(rules.values())[: len(advice)]:
        title = one["annotations"]["summary"].removesuffix(" ({{ $labels.client_id }})")
        assert one["annotations"]["description"] == advice[title]
        assert one["labels"]["profile"] == profile.name
    assert len(rules) == len(advice) + 2


@pytest.mark.needs_prometheus
def test_the_conventional_page_is_clean_by_promtools_own_rules(bus: ws.Bus) -> None:
    """Every metric of the complete list, each with a value; the guide's names are not, which is why there are two
    namings."""
    complete = ws.prometheus_metrics(complete=True)
    for naming in NAMINGS:
        reporter = ws.PrometheusReporter(complete, naming=naming, bus=bus).start(port=None)
        for one in complete:
            keys = {key: "received" if key == "direction" else "x" for _, key in one.tags}
            given = {one.measurement: 5} if isinstance(one.measurement, str) else {}
            bus.execute(one.event, given, {**keys, "direction": "received"})
        page = reporter.render()
        reporter.stop()
        assert [family.name for family in parse(page) if not family.samples] == []
        done = subprocess.run(
            [program_of("promtool"), "check", "metrics"], input=page, capture_output=True, text=True, check=False
        )
        said = done.stdout + done.stderr
        if naming == "prometheus":
            assert (done.returncode, said) == (0, "")
        else:
            assert 'use base unit "seconds"' in said
