"""The pages on Django and Flask: their programs run as the page says, their command lines and blocks work."""

import ast
import json
import os
import re
import signal
import time
from pathlib import Path
from typing import Any

import pytest

import wsnova_statsd as ws
from tests.faults.ending import PATIENCE
from tests.faults.sites import HELD, Site, received, versions
from tests.stories.test_examples import ROOT
from wsnova_statsd.testing.receiver import DogStatsDReceiver
from wsnova_statsd.testing.server import WebSocketServer, send_messages

EXAMPLES = ROOT / "examples"
SITES = [
    ("django", ["-m", "django", "runserver", "--noreload", "PORT"], "/health/", "stored 1\nstored 2\n"),
    ("flask", ["-m", "flask", "run", "--port", "PORT"], "/health", "stored 1 in in_flask\nstored 2 in in_flask\n"),
]
WORKERS = [
    ("django", ["-m", "django", "wsnova_listen", "md-1"]),
    ("flask", ["-m", "flask", "wsnova", "listen", "md-1"]),
]


def _page(name: str) -> str:
    return (EXAMPLES / name).read_text(encoding="utf-8")


def _place(library: str) -> str:
    """The folder of the library."""
    [place] = versions(library)[0].values
    return str(place)


def _site(agent: DogStatsDReceiver, library: str, feed: str, command: list[str]) -> Site:
    variables = {"FEED_URL": feed, "DJANGO_SETTINGS_MODULE": "in_django", "FLASK_APP": "in_flask"}
    return Site(agent, EXAMPLES, _place(library), *command, **variables, PYTHONUNBUFFERED="1")


@pytest.mark.parametrize(("library", "command", "page", "said"), SITES, ids=["django", "flask"])
def test_a_site_of_the_examples_does_what_its_page_promises(
    library: str, command: list[str], page: str, said: str
) -> None:
    """One connection, both messages handled and counted, a health page, an end in order. The file is short."""
    with DogStatsDReceiver() as agent, WebSocketServer(send_messages(['{"n": 1}', '{"n": 2}'])) as feed:
        with _site(agent, library, feed.url, command) as site:
            assert received(agent, 2)
            reported: dict[str, Any] = site.get(page)
            ended = site.end(signal.SIGTERM)
        assert feed.connections == 1
        assert agent.wait_for(lambda seen: seen.count("websocket.connection.disconnected", {"client": "md-1"}) == 1)
    assert (reported["status"], [one["client_id"] for one in reported["clients"]]) == ("ok", ["md-1"])
    assert [line for line in ended.said.splitlines(keepends=True) if line.startswith("stored")] == said.splitlines(True)
    assert ended.took < HELD
    source = _page(f"in_{library}.py")
    assert len(source.splitlines()) <= 40
    assert ast.get_docstring(ast.parse(source))
    assert f"`in_{library}.py`" in _page(f"{library}.md")


def _schema(value: Any) -> Any:
    """The structure of a JSON value: the keys of objects, of which a list has one kind, and the types of the rest."""
    if isinstance(value, dict):
        return {key: _schema(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_schema(value[0])] if value else []
    return "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__


def test_the_health_pages_and_client_health_have_one_schema() -> None:
    """Of clients in the same situation, with the KPIs of their Monitor."""
    schemas = {}
    with DogStatsDReceiver() as agent, WebSocketServer(send_messages(['{"n": 1}', '{"n": 2}'])) as feed:
        for number, (library, command, page, _) in enumerate(SITES, 1):
            with _site(agent, library, feed.url, command) as site:
                assert received(agent, 2 * number)
                schemas[library] = _schema(site.get(page))
        bus = ws.Bus()
        with ws.Monitor("financial", reporter=ws.StatsdReporter(port=agent.port, bus=bus), bus=bus) as monitor:
            client: ws.Client = ws.Client(feed.url, client_id="md-1", on_message=print, bus=bus).start()
            assert received(agent, 6)
            kpis = json.loads(monitor.kpis.report().to_json())
            mine = {"status": "ok", "clients": [client.health()], "kpis": kpis}
            client.close()
    assert schemas["django"] == schemas["flask"] == _schema(json.loads(json.dumps(mine)))


@pytest.mark.parametrize(("library", "command"), WORKERS, ids=["django", "flask"])
def test_its_worker_does_what_the_page_promises_too(library: str, command: list[str]) -> None:
    """The command of the page."""
    with DogStatsDReceiver() as agent, WebSocketServer(send_messages(['{"n": 1}', '{"n": 2}'])) as feed:
        with _site(agent, library, feed.url, command) as site:
            site.wait_for("stored 2")
            assert site.end(signal.SIGTERM).code == 0
        assert received(agent, 2)
    line = f"{'python manage.py' if library == 'django' else 'flask --app shop'} {' '.join(command[2:])}"
    assert line in _page(f"{library}.md")


def test_a_flask_page_is_a_complete_program(tmp_path: Path) -> None:
    """Its block makes an application with a health page that has the fields shown on Django's page."""
    place = _place("flask")
    [block] = re.findall(r"```python\n(.*?)```", _page("flask.md"), re.DOTALL)
    (tmp_path / "shop.py").write_text(block + "\nprint(create_app().test_client().get('/health').text)\n")
    with DogStatsDReceiver() as agent, Site(agent, tmp_path, place, "-c", "import shop") as site:
        reported = json.loads(site.end().said)
    [shown] = re.findall(r"```json\n(.*?)```", _page("django.md"), re.DOTALL)
    assert set(reported) == {"status", "clients", "kpis"} <= set(re.findall(r'"(\w+)":', shown))
    assert set(re.findall(r'"(\w+)":', shown.partition('"kpis"')[0])) - {"status", "clients"} <= set(
        reported["clients"][0]
    )


@pytest.mark.parametrize("library", ["django", "flask"])
def test_a_page_says_what_is_seen_and_what_goes_wrong(library: str) -> None:
    """Like every page."""
    text = _page(f"{library}.md")
    for heading in (
        "Where the clients start",
        "Health",
        "What you see in Datadog",
        "What goes wrong, and how it looks",
    ):
        assert f"## {heading}\n" in text


def test_from_a_new_project_to_a_metric(tmp_path: Path) -> None:
    """`django-admin startproject`, three lines in its settings, `runserver`: the metric arrives, within a minute."""
    place = _place("django")
    began = time.monotonic()
    with DogStatsDReceiver() as agent, WebSocketServer(send_messages(['{"n": 1}'])) as feed:
        with Site(agent, tmp_path, place, "-m", "django", "startproject", "shop", str(tmp_path)) as site:
            assert site.end().code == 0
        with (tmp_path / "shop" / "settings.py").open("a") as settings:
            settings.write(
                "INSTALLED_APPS += ['wsnova_statsd.contrib.django']\n"
                f"WSNOVA_STATSD_CLIENTS = {{'md-1': {feed.url!r}}}\n"
                "WSNOVA_STATSD_PROFILE = 'financial'\n"
            )
        with Site(agent, tmp_path, place, str(tmp_path / "manage.py"), "runserver", "PORT") as site:
            up = agent.wait_for(
                lambda seen: seen.count("websocket.message.received", {"client": "md-1"}) == 1, PATIENCE
            )
            assert up, site.reported()
            assert "the messages of client md-1 are counted and have no handler" in site.errors
            os.killpg(site.pid, signal.SIGTERM)
        assert feed.connections == 1
    assert time.monotonic() - began < 60
