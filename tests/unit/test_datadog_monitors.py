"""Monitors, SLOs and metadata for Datadog: its models take them, and they follow the rules and the targets."""

import json
import re
from pathlib import Path

import pytest
from datadog_api_client.v1.model.metric_metadata import MetricMetadata
from datadog_api_client.v1.model.monitor import Monitor
from datadog_api_client.v1.model.service_level_objective_request import ServiceLevelObjectiveRequest

import wsnova_statsd as ws
from tests.unit.datadog_models import faults
from tests.unit.test_datadog_board import _titles
from wsnova_statsd.cli.main import main
from wsnova_statsd.dashboards.datadog import board
from wsnova_statsd.dashboards.metadata import metadata
from wsnova_statsd.dashboards.monitors import monitors, slos
from wsnova_statsd.insight.situations import default_rules
from wsnova_statsd.metrics.catalogue import statsd_metrics
from wsnova_statsd.profiles import KPI_KEYS, PROFILES

EVERY = pytest.mark.parametrize("profile", PROFILES.values(), ids=list(PROFILES))


@EVERY
def test_datadogs_models_know_every_key_of_them(profile: ws.Profile) -> None:
    """Monitors, SLOs and metadata alike."""
    for one in monitors(profile).values():
        assert faults(Monitor, one) == []
    for one in slos(profile).values():
        assert faults(ServiceLevelObjectiveRequest, one) == []
    for one in metadata(profile).values():
        assert faults(MetricMetadata, one) == []


def test_a_key_that_datadog_does_not_know_is_found() -> None:
    """The check itself, in each kind of document."""
    monitor = monitors(ws.FINANCIAL)["check-health"]
    monitor["options"]["thresholds"]["bad"] = 1
    assert faults(Monitor, monitor) == ["document.options.thresholds has no bad"]
    slo = slos(ws.FINANCIAL)["slo-time_to_reconnect"]
    slo["sli_specification"]["time_slice"]["query"]["formulas"][0]["alias"] = "a"
    assert faults(ServiceLevelObjectiveRequest, slo) == [
        "document.sli_specification.time_slice.query.formulas[0] has no alias"
    ]
    assert faults(MetricMetadata, {"units": "byte"}) == ["document has no units"]


@EVERY
def test_there_is_one_for_each_rule_each_target_and_each_check(profile: ws.Profile) -> None:
    """By name."""
    rules = [f"alert-{rule.name}" for rule in default_rules(profile)]
    targets = [f"kpi-{key}" for key, target in profile.kpi_targets.items() if target is not None]
    assert [*monitors(profile)] == [*rules, *targets, "check-can_connect", "check-health"]


def test_an_alert_monitor_fires_when_its_rule_has() -> None:
    """It counts the alerts of the rule, by client; of your own rule, too, and of the second one of a name."""
    made = monitors(ws.STANDARD)["alert-falling_behind"]
    assert made["type"] == "query alert"
    assert made["query"] == (
        "sum(last_5m):default_zero(sum:websocket.alert.fired{rule:falling_behind} by {client}.as_count()) >= 1"
    )
    assert made["options"]["thresholds"] == {"critical": 1, "critical_recovery": 0.5}
    assert made["options"]["notify_no_data"] is False
    own = [ws.alerts.When("Orders late", "shop.order", lambda measurements, metadata: True)]
    slow = [ws.alerts.SlowProcessing(), ws.alerts.SlowProcessing(500)]
    assert [*monitors(ws.STANDARD, [*slow, *own])][:3] == [
        "alert-slow_processing",
        "alert-slow_processing_2",
        "alert-orders_late",
    ]


@EVERY
def test_a_kpi_monitor_has_the_limit_of_its_target_and_recovers_on_the_good_side(profile: ws.Profile) -> None:
    """A tenth of the distance better than the limit, so that it does not flap; the query has the very limit."""
    for name, one in monitors(profile).items():
        if not name.startswith("kpi-"):
            continue
        target = profile.kpi_targets[name.removeprefix("kpi-")]
        assert target is not None
        sign, written = one["query"].split()[-2:]
        limits = one["options"]["thresholds"]
        assert float(written) == limits["critical"] == target[1]
        assert "e" not in written
        if target[0] == ">":
            assert sign == "<="
            assert target[1] < limits["critical_recovery"] < 1
        else:
            assert sign == ">="
            assert 0 < limits["critical_recovery"] < target[1]
        assert "{!scope:all} by {client,worker}" in one["query"]


@EVERY
def test_a_message_names_each_tag_by_which_its_monitor_is_grouped(profile: ws.Profile) -> None:
    """The person on call sees which client it is and, if they differ, in which process."""
    for one in monitors(profile).values():
        grouped = re.search(r"by ?[{(](.*?)[})]", one["query"])
        assert grouped
        named = re.findall(r"{{(\w+)\.name}}", one["message"].split(": ")[0])
        assert named == grouped[1].replace('"', "").split(",")


@EVERY
def test_a_figure_that_is_no_longer_sent_does_not_alert_for_ever(profile: ws.Profile) -> None:
    """A KPI of a rare event has values for five minutes: no window of them is full, and then there is none."""
    rare = {key for key in KPI_KEYS if not key.startswith(("processing", "throughput", "message"))}
    for name, one in monitors(profile).items():
        kind, _, key = name.partition("-")
        options = one["options"]
        assert options.get("timeout_h") == (1 if kind == "kpi" else None), name
        assert options.get("require_full_window", False) is (kind == "kpi" and key not in rare), name


def test_checks_are_watched_by_client_and_worker() -> None:
    """A client that cannot connect, or no longer sends anything; the health of each, not of all together."""
    made = monitors(ws.FINANCIAL)
    assert [made[name]["type"] for name in ("check-can_connect", "check-health")] == ["service check"] * 2
    assert made["check-can_connect"]["query"] == (
        '"websocket.can_connect".over("*").by("client","worker").last(4).count_by_status()'
    )
    assert made["check-health"]["query"] == (
        '"websocket.health".over("*").exclude("scope:all").by("client","worker").last(4).count_by_status()'
    )
    assert made["check-can_connect"]["options"] == {
        "thresholds": {"critical": 3, "warning": 3, "ok": 2},
        "notify_no_data": True,
        "no_data_timeframe": 10,
        "include_tags": True,
    }


@EVERY
def test_each_message_says_what_to_do_first(profile: ws.Profile) -> None:
    """Each has its own sentence; every panel that it names is on the board of the profile."""
    messages = [one["message"] for one in monitors(profile).values()]
    assert len(set(messages)) == len(messages)
    for message in messages:
        assert re.match(r"Client {{client\.name}}(, worker {{worker\.name}})?: ", message)
        assert re.search(r"\b(Look|Read|Run)\b", message)
        assert set(re.findall(r'"(.*?)"', message)) <= _titles(board(profile))


def test_slos_are_of_dials_and_of_reconnects() -> None:
    """Completed over started, and slices of five minutes without a reconnect that took too long."""
    success, back = slos(ws.FINANCIAL).values()
    assert (success["type"], back["type"]) == ("metric", "time_slice")
    assert success["query"] == {
        "numerator": "sum:websocket.connection.completed{*}.as_count()",
        "denominator": "sum:websocket.connection.started{*}.as_count()",
    }
    assert success["thresholds"] == [{"timeframe": "30d", "target": 99.9, "warning": 99.95}]
    slice_ = back["sli_specification"]["time_slice"]
    assert (slice_["comparator"], slice_["threshold"], slice_["query_interval_seconds"]) == ("<", 2000, 300)
    assert slice_["query"]["queries"][0]["query"] == "max:websocket.connection.reconnect.duration.distribution{*}"
    assert slos(ws.STANDARD)["slo-time_to_reconnect"]["sli_specification"]["time_slice"]["threshold"] == 5000


@EVERY
def test_monitors_of_one_env_ask_for_nothing_else(profile: ws.Profile) -> None:
    """Each query is filtered by it, each title and tag names it, and nothing else differs."""
    of_one, of_all = ({**monitors(profile, env=env), **slos(profile, env=env)} for env in ("prod", None))
    assert of_one.keys() == of_all.keys()
    for name, one in of_one.items():
        assert faults(Monitor if "message" in one else ServiceLevelObjectiveRequest, one) == []
        assert one["name"].startswith(f"WebSocket clients ({profile.name}, prod): ")
        assert "env:prod" in one["tags"]
        asked, asked_of_all = (
            json.dumps({key: value for key, value in each.items() if key not in ("name", "tags")})
            for each in (one, of_all[name])
        )
        queries = len(re.findall(r"(?:sum|min|max):websocket|.over\(", asked))
        assert asked.count("env:prod") == queries >= 1
        for filtered, every in ((",env:prod}", "}"), ("{env:prod}", "{*}"), ('over(\\"env:prod\\")', 'over(\\"*\\")')):
            asked = asked.replace(filtered, every)
        assert asked == asked_of_all


def test_a_profile_without_targets_or_connections_has_none_of_their_monitors() -> None:
    """No monitor watches what never has data."""
    blind = ws.STANDARD.replace(connection_events=False)
    assert slos(blind) == {}
    assert not {"alert-auth_failed", "kpi-connection_time_ms", "check-can_connect"} & monitors(blind).keys()
    free = ws.STANDARD.replace(kpi_targets={})
    assert slos(free) == {}
    assert not [name for name in monitors(free, []) if name.startswith(("kpi", "alert"))]


def test_every_metric_is_described() -> None:
    """Type, unit and description; counts as the rates that the Agent makes of them."""
    made = metadata()
    assert {one.name for one in statsd_metrics()} <= made.keys()
    assert all(one["description"].endswith(".") for one in made.values())
    assert made["websocket.message.received"] == {
        "type": "rate",
        "statsd_interval": 10,
        "unit": "message",
        "description": "Occurrences of message.received: once per whole data message, its type known, "
        "before process.started.",
    }
    assert made["websocket.message.process.duration.distribution"]["type"] == "distribution"
    assert made["websocket.message.process.duration"]["unit"] == "millisecond"
    assert made["websocket.system.rss_bytes"]["unit"] == "byte"
    assert made["websocket.kpi.message_error_rate"]["unit"] == "fraction"
    assert "unit" not in made["websocket.connection.up"]
    assert "websocket.message.received" not in metadata(ws.STANDARD)


def test_units_are_words_that_datadog_has() -> None:
    """Of its page "Metrics Units": metadata with another word would be refused."""
    known = {
        *("byte", "nanosecond", "microsecond", "millisecond", "second", "percent", "fraction", "connection", "packet"),
        *("segment", "message", "thread", "file", "error", "occurrence", "event", "garbage collection", "sample"),
        "attempt",
    }
    assert {one["unit"] for one in metadata().values() if "unit" in one} <= known


@pytest.mark.parametrize("command", ["monitors", "slos", "metadata"])
def test_the_commands_print_them(capsys: pytest.CaptureFixture[str], command: str) -> None:
    """One JSON document: a list of what the API takes, or an object by metric."""
    made = {
        "monitors": monitors(ws.LIGHTWEIGHT),
        "slos": slos(ws.LIGHTWEIGHT),
        "metadata": metadata(ws.LIGHTWEIGHT),
    }[command]
    assert main([command, "--profile", "lightweight"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == (made if command == "metadata" else list(made.values()))


def test_all_of_it_in_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    """With --all: in the order in which it is sent."""
    assert main(["dashboards", "datadog", "--all"]) == 0
    assert [*json.loads(capsys.readouterr().out)] == ["metadata", "monitors", "slos", "dashboard"]


@pytest.mark.parametrize(
    ("env", "reported"),
    [
        ("Prod", "got 'Prod'; pass prod"),
        ("a b", "got 'a b'; pass a_b"),
        ("prod*", "got 'prod*'; pass prod_"),
        ('x"),y', "pass x___y"),
        ("", "got ''"),
        (":", "got ':'"),
    ],
)
def test_an_env_that_is_no_tag_is_bad_input(capsys: pytest.CaptureFixture[str], env: str, reported: str) -> None:
    """In one sentence, with what it would be: no query is made of anything else."""
    with pytest.raises(SystemExit) as ended:
        main(["slos", "--env", env])
    out, err = capsys.readouterr()
    assert (ended.value.code, out) == (2, "")
    assert "env must be the value of the tag env as Datadog stores it, " in err
    assert err.endswith(f"{reported}\n")
    assert err.count("\n") == 1


def test_an_unknown_profile_is_bad_input(capsys: pytest.CaptureFixture[str]) -> None:
    """The error names them all, and the nearest one."""
    with pytest.raises(SystemExit) as ended:
        main(["monitors", "--profile", "finacial"])
    assert ended.value.code == 2
    assert "'finacial'; allowed: financial, standard, lightweight" in capsys.readouterr().err


OWN = """
import wsnova_statsd as ws
METRICS = [ws.counter("shop.orders", "shop.order", ["venue"])]
RULES = [ws.alerts.When("Orders late", "shop.order", lambda measurements, metadata: True)]
MIXED = [*METRICS, "sum:shop.orders{*}"]
def broken():
    raise KeyError("venue")
class Raising:
    def __iter__(self):
        raise RuntimeError("not now")
UNREADABLE = Raising()
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user's module, in the folder where the command runs."""
    (tmp_path / "boards_shop.py").write_text(OWN)
    (tmp_path / "boards_bad.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.usefixtures("own")
def test_lists_of_your_own_replace_the_default_lists(capsys: pytest.CaptureFixture[str]) -> None:
    """Definitions for the board and the metadata, rules for the monitors."""
    assert main(["metadata", "--metrics", "boards_shop:METRICS"]) == 0
    described = json.loads(capsys.readouterr().out)
    assert "shop.orders" in described
    assert "websocket.message.received" not in described
    assert main(["monitors", "--rules", "boards_shop:RULES"]) == 0
    assert "{rule:orders_late}" in json.loads(capsys.readouterr().out)[0]["query"]
    both = ["--metrics", "boards_shop:METRICS", "--rules", "boards_shop:RULES"]
    assert main(["dashboards", "datadog", "--all", *both]) == 0
    made = json.loads(capsys.readouterr().out)
    assert "shop.orders" in _titles(made["dashboard"])
    assert "shop.orders" in made["metadata"]
    assert "Orders late" in made["monitors"][0]["name"]


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize(
    ("arguments", "reported"),
    [
        (["metadata", "--metrics", "boards_bad:METRICS"], "importing boards_bad raises ZeroDivisionError"),
        (["metadata", "--metrics", "boards_shop:broken"], "boards_shop:broken raises KeyError"),
        (["metadata", "--metrics", "boards_shop:UNREADABLE"], "boards_shop:UNREADABLE raises RuntimeError: not now"),
        (
            ["metadata", "--metrics", "boards_shop:MIXED"],
            "an entry of --metrics boards_shop:MIXED must be an object such as ws.counter(...), got 'sum:shop",
        ),
        (
            ["monitors", "--rules", "boards_shop:METRICS"],
            "an entry of --rules boards_shop:METRICS must be an object such as ws.alerts",
        ),
        (["monitors", "--rules", "boards_shop"], "MODULE:NAME must be a module and a name in it"),
        (["monitors", "--rules", "boards_shop:OWN"], "boards_shop has no 'OWN'"),
    ],
)
def test_a_module_that_has_no_such_list_is_bad_input(
    capsys: pytest.CaptureFixture[str], arguments: list[str], reported: str
) -> None:
    """One sentence, status 2, nothing printed."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    out, err = capsys.readouterr()
    assert (ended.value.code, out) == (2, "")
    assert reported in err
    assert err.count("\n") == 1
