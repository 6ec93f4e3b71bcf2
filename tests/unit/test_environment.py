"""The variables of Monitor.from_env: each becomes an argument, and what cannot be read is refused in one sentence."""

import pytest

import wsnova_statsd as ws
from wsnova_statsd.environment import read, switched_on


def test_every_variable_becomes_an_argument() -> None:
    """Of the monitor, or of its reporter; case and spaces around a word do not matter."""
    environ = {
        "WSNOVA_STATSD_PROFILE": "financial",
        "WSNOVA_STATSD_ALERTS": "no",
        "WSNOVA_STATSD_KPIS": " TRUE ",
        "WSNOVA_STATSD_SYSTEM": "2.5",
        "WSNOVA_STATSD_PROMETHEUS_PORT": "0",
        "WSNOVA_STATSD_PROMETHEUS_ADDRESS": "0.0.0.0",
        "WSNOVA_STATSD_LOG": "on",
        "WSNOVA_STATSD_HOST": "agent",
        "WSNOVA_STATSD_CONSOLE": "1",
        "WSNOVA_STATSD_PORT": "8126",
        "WSNOVA_STATSD_SOCKET_PATH": "/run/dsd.socket",
        "WSNOVA_STATSD_NAMESPACE": "feeds",
        "WSNOVA_STATSD_TAGS": "team:md, region:eu",
        "WSNOVA_STATSD_FLUSH_INTERVAL": "10",
        "WSNOVA_STATSD_MAX_SERIES": "100",
        "WSNOVA_STATSD_MAX_SAMPLES": "200",
        "WSNOVA_STATSD_DISTRIBUTIONS": "0",
        "WSNOVA_STATSD_DIALECT": "StatsD",
        "WSNOVA_STATSD_TAG_FORMAT": "graphite",
        "WSNOVA_STATSD_CARDINALITY": "low",
        "WSNOVA_STATSD_PACKET_SIZE": "1400",
        "WSNOVA_STATSD_CONTAINER_ID": "off",
    }
    monitor, reporter = read(environ)
    assert monitor == {
        "profile": "financial",
        "alerts": False,
        "kpis": True,
        "system": 2.5,
        "prometheus_port": 0,
        "prometheus_address": "0.0.0.0",
        "log": True,
        "console": True,
    }
    assert reporter == {
        "host": "agent",
        "port": 8126,
        "socket_path": "/run/dsd.socket",
        "namespace": "feeds",
        "tags": ["team:md", "region:eu"],
        "flush_interval": 10.0,
        "max_series": 100,
        "max_samples": 200,
        "distributions": False,
        "dialect": "statsd",
        "tag_format": "graphite",
        "cardinality": "low",
        "packet_size": 1400,
        "container_id": False,
    }


def test_tags_are_read_by_the_rule_of_the_other_variables() -> None:
    """If there is a comma, only commas separate; JSON is refused with the variable's name."""
    assert read({"WSNOVA_STATSD_TAGS": "team:market data,region:eu"})[1] == {"tags": ["team:market data", "region:eu"]}
    with pytest.raises(ws.errors.ConfigurationError, match=r"WSNOVA_STATSD_TAGS is .* JSON"):
        read({"WSNOVA_STATSD_TAGS": '["team:md"]'})


def test_a_missing_or_empty_variable_leaves_the_default() -> None:
    """Other variables are ignored."""
    assert read({"WSNOVA_STATSD_PROFILE": "", "WSNOVA_STATSD_TAGS": " ", "DD_TAGS": "a:b", "PATH": "/bin"}) == ({}, {})


@pytest.mark.parametrize("word", ["true", "yes", "on", "1", "True"])
def test_system_may_be_a_word_too(word: str) -> None:
    """1 is a word here, as everywhere; a second between two samples is 1.0."""
    assert read({"WSNOVA_STATSD_SYSTEM": word})[0] == {"system": True}
    assert read({"WSNOVA_STATSD_SYSTEM": "1.0"})[0] == {"system": 1.0}


@pytest.mark.parametrize(
    ("name", "text", "reported"),
    [
        ("PROFIL", "x", "the environment, under WSNOVA_STATSD_, has no 'PROFIL'; it has: PROFILE, ALERTS, KPIS"),
        ("ALERTS", "maybe", "WSNOVA_STATSD_ALERTS is 'maybe'; set it to true, false, yes, no, on, off, 1 or 0"),
        (
            "SYSTEM",
            "often",
            "WSNOVA_STATSD_SYSTEM is 'often'; set it to true, false, yes, no, on, off, 1 or 0, or the",
        ),
        (
            "PROMETHEUS_PORT",
            "http",
            "WSNOVA_STATSD_PROMETHEUS_PORT is 'http'; set it to a whole number, 0 for a free port",
        ),
        ("FLUSH_INTERVAL", "fast", "WSNOVA_STATSD_FLUSH_INTERVAL is 'fast'; set it to seconds: 1, 2, 5 or 10"),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_sentence(name: str, text: str, reported: str) -> None:
    with pytest.raises(ws.errors.ConfigurationError) as raised:
        read({f"WSNOVA_STATSD_{name}": text})
    assert str(raised.value).startswith(reported)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "on"), [("on", True), (" TRUE ", True), ("off", False), ("", False), ("maybe", False)]
)
def test_a_switch_can_be_read_alone(text: str, on: bool) -> None:
    """For code that runs before anything may be refused: an unknown word counts as off."""
    assert switched_on({"WSNOVA_STATSD_LOG": text}, "LOG") is on
    assert switched_on({}, "LOG") is False
