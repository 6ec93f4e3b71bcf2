"""Django projects under real servers: which processes connect, what arrives at the Agent, and how they end."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.ending import PATIENCE
from tests.faults.sites import ALL, HELD, TICKS, Site, received, versions
from tests.support import until
from wsnova_statsd.client.health import Health
from wsnova_statsd.testing.receiver import DogStatsDReceiver
from wsnova_statsd.testing.server import WebSocketServer, send_messages

[INSTALLED, *_] = versions("django")
installed = pytest.mark.parametrize("where", [INSTALLED])
each_version = pytest.mark.parametrize("where", versions("django"))
SETTINGS = """
import os, tempfile
SECRET_KEY = "x"
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "shop_urls"
WSGI_APPLICATION = "shop_wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "shop.db"}}
INSTALLED_APPS = ["wsnova_statsd.contrib.django", "feeds"]
WSNOVA_STATSD_CLIENTS = {"md-1": os.environ["FEED"], "md-2": "feeds.live.make"}
"""
LIVE = """
import os
from django.apps import apps
from django.db import connection
import wsnova_statsd as ws
from wsnova_statsd.contrib.django import on_message

def make():
    return ws.Client(os.environ["FEED"], client_id="md-2", on_message=store)

@on_message("md-1")
def store(message):
    assert apps.ready and connection.connection is None, "of the message before"
    with connection.cursor() as cursor:
        cursor.execute("select 1")
    if message["n"] == 100:
        print("stored 100", flush=True)
"""
FILES = {
    "shop.py": SETTINGS,
    "shop_urls.py": "from django.urls import include, path\n"
    "urlpatterns = [path('health/', include('wsnova_statsd.contrib.django.urls'))]\n",
    "shop_wsgi.py": "from django.core.wsgi import get_wsgi_application\napplication = get_wsgi_application()\n",
    "shop_asgi.py": "from django.core.asgi import get_asgi_application\n"
    "from wsnova_statsd.contrib.asgi import lifespan\n"
    "application = lifespan(get_asgi_application())\n",
    "feeds/__init__.py": "",
    "feeds/live.py": LIVE,
    "feeds/apps.py": "import time\nfrom django.apps import AppConfig\n"
    "class FeedsConfig(AppConfig):\n    name = 'feeds'\n    def ready(self):\n"
    "        time.sleep(0.2)\n        from . import live\n",
}


@pytest.fixture
def agent() -> Iterator[DogStatsDReceiver]:
    """An Agent in this process, by UDP."""
    with DogStatsDReceiver() as receiver:
        yield receiver


@pytest.fixture
def feed() -> Iterator[WebSocketServer]:
    """It sends 100 messages on each connection."""
    with WebSocketServer(send_messages(TICKS)) as server:
        yield server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of the project."""
    (tmp_path / "feeds").mkdir()
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def _site(agent: DogStatsDReceiver, folder: Path, where: str, url: str, *arguments: str, **more: str) -> Site:
    given = {"FEED": url, "DJANGO_SETTINGS_MODULE": "shop", "PYTHONUNBUFFERED": "1", **more}
    return Site(agent, folder, where, *arguments, **given)


def _disconnected(agent: DogStatsDReceiver, number: int) -> bool:
    return agent.wait_for(lambda seen: seen.count("websocket.connection.disconnected") == number)


@each_version
def test_runserver_and_its_reloader_have_each_client_once(
    agent: DogStatsDReceiver, feed: WebSocketServer, folder: Path, where: str
) -> None:
    """The process that only reloads has none; Ctrl-C ends both soon. It kills the serving one after a quarter of a
    second, so that what was counted just before may be lost."""
    with _site(agent, folder, where, feed.url, "-m", "django", "runserver", "PORT") as site:
        site.wait_for(ALL, times=2)
        page = site.get("/health/")
        assert received(agent, 200)
        ended = site.ctrl_c()
        assert feed.connections == 2
    assert page["status"] == "ok"
    assert [(one["client_id"], one["state"], one["received"]) for one in page["clients"]] == [
        ("md-1", "connected", 100),
        ("md-2", "connected", 100),
    ]
    assert {frozenset(one) for one in page["clients"]} == {frozenset(Health.__annotations__)}
    assert ended.took < HELD
    assert "Traceback" not in ended.errors


@each_version
def test_without_the_reloader_sigterm_ends_it_in_order_too(
    agent: DogStatsDReceiver, feed: WebSocketServer, folder: Path, where: str
) -> None:
    """Although runserver has no handler for it."""
    with _site(agent, folder, where, feed.url, "-m", "django", "runserver", "--noreload", "PORT") as site:
        site.wait_for(ALL, times=2)
        site.get("/health/live")
        ended = site.end(signal.SIGTERM)
    assert (feed.connections, ended.took < HELD) == (2, True)
    assert received(agent, 200)
    assert _disconnected(agent, 2)


@each_version
def test_commands_that_serve_nothing_connect_nothing(
    agent: DogStatsDReceiver, feed: WebSocketServer, folder: Path, where: str
) -> None:
    """migrate, check, test and shell."""
    for command in (["migrate"], ["check"], ["test"], ["shell", "-c", "from feeds import live; print(live.make())"]):
        with _site(agent, folder, where, feed.url, "-m", "django", *command) as site:
            ended = site.end()
        assert "Traceback" not in ended.errors, ended
        assert ended.code == 0 or command == ["test"], ended  # without a test Python 3.12 says 5
    assert (feed.connections, agent.datagrams) == (0, [])


@installed
@pytest.mark.parametrize(
    ("server", "connections"),
    [
        (["gunicorn", "shop_wsgi", "--workers", "2", "--bind", "127.0.0.1:PORT", "--no-control-socket"], 4),
        (["uvicorn", "shop_asgi:application", "--port", "PORT"], 2),
        (["uvicorn", "shop_asgi:application", "--port", "PORT", "--workers", "2"], 4),
    ],
    ids=["gunicorn", "uvicorn", "uvicorn, 2 workers"],
)
def test_each_process_of_a_server_has_each_client_once(
    agent: DogStatsDReceiver, feed: WebSocketServer, folder: Path, where: str, server: list[str], connections: int
) -> None:
    """It starts in the process that loads the application; what was counted is delivered when the server ends."""
    with _site(agent, folder, where, feed.url, "-m", *server) as site:
        site.wait_for(ALL, times=connections)
        assert site.get("/health/")["status"] == "ok"
        site.end(signal.SIGTERM)
        assert feed.connections == connections
    assert received(agent, connections * 100)
    assert _disconnected(agent, connections)


@each_version
def test_wsnova_listen_is_the_worker(agent: DogStatsDReceiver, feed: WebSocketServer, folder: Path, where: str) -> None:
    """With the named clients, for any WSNOVA_STATSD_START; SIGTERM is status 0."""
    with (folder / "shop.py").open("a") as settings:
        settings.write("WSNOVA_STATSD_START = 'never'\n")
    with _site(agent, folder, where, feed.url, "-m", "django", "wsnova_listen", "md-2") as site:
        site.wait_for(ALL)
        ended = site.end(signal.SIGTERM)
    assert (ended.code, ended.said, feed.connections) == (0, "stored 100\n", 1)
    assert ended.took < HELD
    assert received(agent, 100)
    assert _disconnected(agent, 1)


@installed
def test_a_feed_that_is_down_at_boot_keeps_no_site_from_starting(
    agent: DogStatsDReceiver, folder: Path, where: str
) -> None:
    """It is degraded, then unhealthy, and alive all the time; it ends as soon as with a feed."""
    with (folder / "shop.py").open("a") as settings:
        settings.write("WSNOVA_STATSD_UNHEALTHY_AFTER = float(os.environ['AFTER'])\n")
    arguments = ("ws://127.0.0.1:1", "-m", "django", "runserver", "--noreload", "PORT")
    with _site(agent, folder, where, *arguments, AFTER="60") as site:
        page = site.get("/health/")
        assert page["status"] == "degraded"
        assert all(one["disconnected_since"] <= time.time() for one in page["clients"])
        assert site.end(signal.SIGTERM).took < HELD
    with _site(agent, folder, where, *arguments, AFTER="0.001") as site:
        assert site.get("/health/", 503)["status"] == "unhealthy"
        assert site.get("/health/live")["status"] == "degraded"


@installed
def test_unusable_settings_are_reported_by_the_system_checks(
    agent: DogStatsDReceiver, folder: Path, where: str
) -> None:
    """Each in a sentence, in one run; nothing starts."""
    with (folder / "shop.py").open("a") as settings:
        settings.write(
            "WSNOVA_STATSD_PROFIL = 'financial'\nWSNOVA_STATSD_FLUSH_INTERVAL = 3\nWSNOVA_STATSD_START = 'always'\n"
            "WSNOVA_STATSD_CLIENTS = {'a': None, 'b': 'https://feed.example', 'c': 'feeds.live.mak', 'd': 'fees.x'}"
        )
    with _site(agent, folder, where, "", "-m", "django", "check") as site:
        ended = site.end()
    assert ended.code == 1
    for sentence in (
        "WSNOVA_STATSD_PROFIL is no setting; allowed: ",
        "WSNOVA_STATSD_FLUSH_INTERVAL: flush_interval ",
        "WSNOVA_STATSD_START is 'always'; allowed: auto, never",
        "WSNOVA_STATSD_CLIENTS['a']: it is None; use a URL",
        "WSNOVA_STATSD_CLIENTS['b']: ",
        "WSNOVA_STATSD_CLIENTS['c']: feeds.live has no 'mak'; its clients: none; did you mean 'make'?",
        "WSNOVA_STATSD_CLIENTS['d']: there is no module 'fees'",
        "the name passed to on_message is 'md-1'; allowed: c, d",
    ):
        assert f"(wsnova_statsd.E001) {sentence}" in ended.errors, ended.errors
    assert "Traceback" not in ended.errors
    with _site(agent, folder, where, "", "-m", "django", "wsnova_listen") as site:
        ended = site.end()
    assert ended.code != 0
    assert "Traceback" not in ended.errors


@installed
def test_under_a_server_unusable_settings_are_logged_and_the_site_goes_on(
    agent: DogStatsDReceiver, feed: WebSocketServer, folder: Path, where: str
) -> None:
    """The client that can be made runs; that of a factory that raises is closed on the health page, with the reason."""
    with (folder / "shop.py").open("a") as settings:
        settings.write("WSNOVA_STATSD_CLIENTS['bad'] = 'feeds.live.fails'\nWSNOVA_STATSD_NO = 1\n")
    with (folder / "feeds/live.py").open("a") as live:
        live.write("def fails():\n    raise LookupError('no such venue')\n")
    server = ("-m", "gunicorn", "shop_wsgi", "--bind", "127.0.0.1:PORT", "--no-control-socket")
    with _site(agent, folder, where, feed.url, *server) as site:
        site.wait_for(ALL, times=2)
        page: dict[str, Any] = site.get("/health/", 503)
        ended = site.end(signal.SIGTERM)
    reported = "feeds.live.fails raised LookupError: no such venue"
    assert [(one["client_id"], one["state"], one["error"]) for one in page["clients"]][-1] == (
        "bad",
        "closed",
        reported,
    )
    assert ended.errors.count(reported) == 1
    assert "WSNOVA_STATSD_NO is no setting" in ended.errors
    assert "Traceback" not in ended.errors


@installed
@pytest.mark.parametrize(
    ("names", "status", "reported"),
    [(["md-3"], 2, "CommandError: the client's name is 'md-3'; allowed: md-1, md-2; did you mean 'md-"), ([], 0, ALL)],
)
def test_the_worker_runs_all_clients_or_says_which_exist(
    agent: DogStatsDReceiver,
    feed: WebSocketServer,
    folder: Path,
    where: str,
    names: list[str],
    status: int,
    reported: str,
) -> None:
    """In one sentence; its health file shows that it lives."""
    path = folder / "alive"
    command = ("-m", "django", "wsnova_listen", "--health-file", str(path), *names)
    with _site(agent, folder, where, feed.url, *command) as site:
        site.wait_for(reported, times=1 if names else 2)
        assert names or until(path.exists, PATIENCE)
        ended = site.end(None if names else signal.SIGTERM)
    assert ended.code == status
    assert "Traceback" not in ended.errors
    assert feed.connections == (0 if names else 2)
