"""The front page is true: its programs run, its commands exist, its tables are those of the code."""

import configparser
import importlib.util
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import websocket

import wsnova_statsd as ws
from tests.faults.sites import Site, received, versions
from wsnova_statsd.cli.main import build_parser
from wsnova_statsd.profiles import PROFILES
from wsnova_statsd.testing.receiver import DogStatsDReceiver
from wsnova_statsd.testing.server import ScriptedConnection, WebSocketServer, send_messages

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
URL = "wss://feed.example/ws"
LONGEST = 190  # lines of a front page

BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
THREE_LINES, APP, CALLBACK, DJANGO = [text for language, text in BLOCKS if language == "python"]
COMMANDS = [
    command.strip()
    for language, text in BLOCKS
    if language in ("sh", "console")
    for line in text.splitlines()
    for command in line.split("&&")
]
TICKS = ['{"n": 1}', '{"n": 100}']


def _talk(connection: ScriptedConnection) -> None:
    for number in range(100):
        connection.send(f'{{"type": "trade", "n": {number}, "venue": "XETR"}}')
    for _message in connection:
        pass


def _run(block: str, url: str, namespace: dict[str, Any]) -> None:
    """Execute a block against a feed on this machine."""
    exec(compile(block.replace(URL, url), "README.md", "exec"), namespace)


def test_the_front_page_is_one() -> None:
    assert len(README.splitlines()) <= LONGEST


def test_the_three_lines_store_every_message_and_datadog_counts_it(agent: DogStatsDReceiver) -> None:
    """With a `store` that ends the loop."""
    stored: list[int] = []

    def store(message: dict[str, Any]) -> None:
        stored.append(message["n"])
        if len(stored) == 100:
            namespace["client"].close()

    namespace: dict[str, Any] = {"store": store}
    with WebSocketServer(_talk) as feed:
        _run(THREE_LINES, feed.url, namespace)
    agent.stop()
    assert stored == list(range(100))
    assert agent.count("websocket.message.received", ["client:md-1", "type:trade"]) == 100


def test_an_app_that_is_instrumented_keeps_its_callback_and_is_counted(agent: DogStatsDReceiver) -> None:
    """The callback ends the app with the last message."""
    handled: list[str] = []

    def handle(app: websocket.WebSocketApp, message: str) -> None:
        handled.append(message)
        if message == TICKS[-1]:
            app.close()

    with WebSocketServer(send_messages(TICKS)) as feed:
        app = websocket.WebSocketApp(feed.url, on_message=handle)
        _run(APP, feed.url, {"app": app})
        app.run_forever()
    ws.init("financial").stop()
    agent.stop()
    assert handled == TICKS
    assert agent.count("websocket.message.received", ["client:md-1"]) == len(TICKS)


def test_the_callback_counts_a_metric_of_its_own_and_the_client_sends(agent: DogStatsDReceiver) -> None:
    namespace: dict[str, Any] = {}
    with WebSocketServer(_talk) as feed:
        _run(CALLBACK, feed.url, namespace)
        assert feed.wait_for(lambda: '{"type":"hello"}' in feed.received)
        assert agent.wait_for(lambda seen: seen.count("shop.orders", ["venue:XETR"]) == 100)
        namespace["client"].close()
        namespace["monitor"].stop()
    agent.stop()
    assert agent.count("websocket.message.batch.count", ["client:orders", "direction:received"]) == 100


def test_the_django_site_handles_and_counts_the_messages(agent: DogStatsDReceiver, tmp_path: Path) -> None:
    """The two files of the block in a project that has nothing else, but for an AppConfig and a Tick that prints."""
    (place,) = versions("django")[0].values
    parts = dict(re.findall(r"^# (\w+\.py).*\n((?:(?!# \w+\.py).*\n)*)", DJANGO, re.MULTILINE))
    assert list(parts) == ["settings.py", "feeds.py"]
    tick = "class Tick:\n    class objects:\n        create = lambda n: print('stored', n, flush=True)\n"
    with WebSocketServer(send_messages(TICKS)) as feed:
        settings = 'SECRET_KEY = "x"\nALLOWED_HOSTS = ["*"]\nROOT_URLCONF = "urls"\nINSTALLED_APPS = ["shop.Shop"]\n'
        shop = "from django.apps import AppConfig\nclass Shop(AppConfig):\n    name = 'shop'\n    def ready(self):\n"
        (tmp_path / "shop.py").write_text(shop + "        import feeds\n")
        (tmp_path / "settings.py").write_text(settings + parts["settings.py"].replace(URL, feed.url))
        (tmp_path / "feeds.py").write_text(tick + parts["feeds.py"])
        (tmp_path / "urls.py").write_text("urlpatterns = []\n")
        variables = {"DJANGO_SETTINGS_MODULE": "settings", "PYTHONUNBUFFERED": "1"}
        command = ["-m", "django", "runserver", "--noreload", "PORT"]
        with Site(agent, tmp_path, str(place), *command, **variables, WSNOVA_STATSD_PROFILE="financial") as site:
            site.wait_for("stored 100")
            assert received(agent, len(TICKS))
            site.ctrl_c()
        assert feed.connections == 1


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_exists(command: str) -> None:
    """Python itself, what pip installs, and modules; our own with arguments that it takes."""
    program, *arguments = shlex.split(command)
    name = program.removeprefix(".venv/bin/")
    if name in ("python", "python3"):
        assert arguments[0] == "-m"
        assert importlib.util.find_spec(arguments[1]) is not None
    elif name == "pip":
        extras = re.findall(r"\[(\w+)\]", arguments[-1])
        assert all(_setup().has_option("options.extras_require", extra) for extra in extras)
        assert extras or arguments == ["install", _setup()["metadata"]["name"]]
    else:
        scripts = _setup()["options.entry_points"]["console_scripts"]
        assert f"{name} = wsnova_statsd.cli.main:main" in scripts
        build_parser().parse_args(arguments)


def test_the_extras_it_names_are_there() -> None:
    (sentence,) = re.findall(r"^Python 3\.11 or later.*?\n\n", README, re.DOTALL | re.MULTILINE)
    for extra in re.findall(r"`(\w+)`", sentence):
        assert _setup().has_option("options.extras_require", extra)


def _setup() -> configparser.ConfigParser:
    setup = configparser.ConfigParser(interpolation=None)
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    return setup


def _table(heading: str) -> list[list[str]]:
    """The rows of the first table below a heading, without its first two."""
    section = README.split(f"## {heading}\n")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows[2:]]


def test_the_profiles_table_has_the_profiles_numbers() -> None:
    rows = {row[0]: row[1:] for row in _table("Profiles")}
    chosen = list(PROFILES.values())

    def cells(pattern: str, *fields: str) -> list[str]:
        return [pattern.format(*(getattr(profile, field) for field in fields)) for profile in chosen]

    assert rows["ping every / pong within, s"] == cells("{:g} / {:g}", "ping_interval", "pong_timeout")
    assert rows["first retry after, s"] == cells("{:g}", "first_retry")
    assert rows["longest retry delay, s"] == cells("{:g}", "retry_cap")
    assert rows["tries until the alarm"] == cells("{}", "max_attempts")
    both = [profile.message_events and profile.heartbeat_events for profile in chosen]
    assert rows["events of single messages and heartbeats"] == ["yes" if one else "no" for one in both]
    assert rows["secrets filtered from what your handlers get"] == [
        "yes" if one.metadata_filter else "no" for one in chosen
    ]
