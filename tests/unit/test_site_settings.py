"""The settings of a site: their effect, and a sentence for each that is not usable."""

import sys
from pathlib import Path
from typing import Any

import pytest

import wsnova_statsd as ws
from wsnova_statsd.contrib.site_settings import make, read_site
from wsnova_statsd.errors import ConfigurationError


def _factory() -> ws.Client:
    return ws.Client("ws://127.0.0.1:1", client_id="made", on_message=print, bus=ws.Bus())


def test_without_settings_everything_is_as_documented(monkeypatch: pytest.MonkeyPatch) -> None:
    """No clients, a start with the server, and a Monitor from the environment."""
    monkeypatch.delenv("WSNOVA_STATSD_WORKER")
    settings = read_site({"DEBUG": True})
    assert (settings.clients, settings.automatic, settings.unhealthy_after) == ({}, True, 60.0)
    assert (settings.monitor, settings.asks_for_monitor, settings.problems) == ({}, False, ())


def test_settings_become_arguments_and_win_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Values of their type, or texts as in the environment."""
    monkeypatch.setenv("WSNOVA_STATSD_PROFILE", "financial")
    monkeypatch.setenv("WSNOVA_STATSD_KPIS", "off")
    given = {
        "CLIENTS": {"a": "wss://feed.example/ws", "b": "shop.live.make", "c": _factory, "d": _factory()},
        "START": "never",
        "UNHEALTHY_AFTER": 5,
        "PROFILE": "lightweight",
        "TAGS": {"team": "md"},
        "FLUSH_INTERVAL": "10",
        "SYSTEM": None,
    }
    settings = read_site({f"WSNOVA_STATSD_{name}": value for name, value in given.items()})
    assert settings.problems == ()
    assert (settings.automatic, settings.unhealthy_after, settings.asks_for_monitor) == (False, 5, True)
    assert settings.clients == given["CLIENTS"]
    reporter = settings.monitor["reporter"]
    assert {**settings.monitor, "reporter": None} == {"profile": "lightweight", "kpis": False, "reporter": None}
    assert (reporter.given["flush_interval"], reporter.running) == (10.0, False)


@pytest.mark.parametrize(
    ("name", "value", "reported"),
    [
        ("_CLIENT", {}, "WSNOVA_STATSD_CLIENT is no setting; allowed: WSNOVA_STATSD_CLIENTS, "),
        ("_CLIENTS", ["ws://a"], "WSNOVA_STATSD_CLIENTS is ['ws://a']; set it to a mapping of names to URLs or dotted"),
        ("_CLIENTS", {"": "ws://a"}, "WSNOVA_STATSD_CLIENTS['']: client_id is ''; pass 1 to 200 characters"),
        ("_CLIENTS", {"a": ""}, "WSNOVA_STATSD_CLIENTS['a']: it is ''; use a URL such as wss://feed.example/ws, or"),
        ("_CLIENTS", {"a": "make"}, "WSNOVA_STATSD_CLIENTS['a']: it is 'make'; use a URL such as "),
        ("_CLIENTS", {"a": 5}, "WSNOVA_STATSD_CLIENTS['a']: it is 5; use a URL such as "),
        ("_CLIENTS", {"a": lambda url: url}, "WSNOVA_STATSD_CLIENTS['a']: it takes (url), but is called with ()"),
        ("_START", True, "WSNOVA_STATSD_START is True; allowed: auto, never"),
        (
            "_UNHEALTHY_AFTER",
            0,
            "WSNOVA_STATSD_UNHEALTHY_AFTER must be a positive number of seconds",
        ),
        ("_PROFILE", "finacial", "WSNOVA_STATSD_PROFILE: profile is 'finacial'; allowed: "),
        ("_PORT", "http", "WSNOVA_STATSD_PORT is 'http'; set it to a whole number"),
        ("_MAX_SERIES", 0, "WSNOVA_STATSD_MAX_SERIES: max_series must be a whole number, at least 1, got 0"),
        (" _KPIS", True, "WSNOVA_STATSD _KPIS is no setting"),
    ],
)
def test_what_is_not_usable_is_one_sentence(name: str, value: Any, reported: str) -> None:
    """It names the setting; the others still apply."""
    settings = read_site({f"WSNOVA_STATSD{name}": value, "WSNOVA_STATSD_LOG": True})
    [problem] = settings.problems
    assert problem.startswith(reported)
    assert "\n" not in problem


def test_no_sentence_shows_the_password_of_a_url() -> None:
    """Not even that of an unusable one."""
    [problem] = read_site({"WSNOVA_STATSD_CLIENTS": {"a": "http://me:S3cret@feed.example/?token=S3cret"}}).problems
    assert "S3cret" not in problem


@pytest.fixture
def live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module with factories, which is removed afterwards."""
    (tmp_path / "site_live.py").write_text(
        "import wsnova_statsd as ws\n"
        "client = ws.Client('ws://127.0.0.1:1', client_id='there', on_message=print, bus=ws.Bus())\n"
        "def make(): return client\n"
        "def fails(): raise ValueError('token=S3cret')\n"
        "def two(): return [make(), ws.Client('ws://a', on_message=print, bus=ws.Bus())]\n"
        "def loop(): return ws.Client('ws://127.0.0.1:1', client_id='loop', bus=ws.Bus())\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "site_live", raising=False)
    return "site_live"


@pytest.mark.parametrize("name", ["client", "make"])
def test_a_dotted_name_leads_to_a_client_or_its_factory(live: str, name: str) -> None:
    """It has its own id."""
    assert make("a", f"{live}.{name}", print).client_id == "there"


def test_a_url_makes_a_client_of_the_settings_name() -> None:
    """Its messages are passed to the handler of that name."""
    client = make("a", "ws://127.0.0.1:1", print)
    assert (client.client_id, client.on_message, client.state) == ("a", print, ws.State.IDLE)


@pytest.mark.parametrize(
    ("name", "reported"),
    [
        ("clint", "WSNOVA_STATSD_CLIENTS['a']: site_live has no 'clint'; its clients: client; did you mean 'client'?"),
        ("fails", "site_live.fails raised ValueError: "),
        ("two", "site_live.two provides 2 clients; provide one for each name"),
        ("loop", "client loop of site_live.loop has no on_message"),
    ],
)
def test_what_leads_to_no_client_is_one_sentence(live: str, name: str, reported: str) -> None:
    """Without a secret."""
    with pytest.raises(ConfigurationError) as raised:
        make("a", f"{live}.{name}", print)
    assert str(raised.value).startswith(reported)
    assert "S3cret" not in str(raised.value)
