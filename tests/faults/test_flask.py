"""Flask applications under real servers: which processes connect, what arrives at the Agent, and how they end."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.sites import ALL, HELD, TICKS, Site, received, versions
from wsnova_statsd.client.health import Health
from wsnova_statsd.testing.receiver import DogStatsDReceiver
from wsnova_statsd.testing.server import WebSocketServer, send_messages

[INSTALLED, *_] = versions("flask")
installed = pytest.mark.parametrize("where", [INSTALLED])
each_version = pytest.mark.parametrize("where", versions("flask"))
SHOP = """
import os
import flask
import wsnova_statsd as ws
from wsnova_statsd.contrib.flask import WSNova, health

wsnova = WSNova()

@wsnova.on_message("md-1")
def store(message):
    if message["n"] == 100:
        print(f"stored 100 in {flask.current_app.name}\\n", end="", flush=True)  # in one piece, of two threads

def make():
    return ws.Client(os.environ["FEED"], client_id="md-2", on_message=store)

def fails():
    raise LookupError("no such venue")

def create_app(**more):
    app = flask.Flask("shop")
    app.config["WSNOVA_STATSD_CLIENTS"] = {"md-1": os.environ["FEED"], "md-2": "shop.make"}
    app.config["WSNOVA_STATSD_TAGS"] = ["team:md"]
    app.config.update(more)
    wsnova.init_app(app)
    app.register_blueprint(health)
    return app

if __name__ == "__main__":
    create_app().run(port=int(os.environ["SITE_PORT"]), debug=True)
"""
GUNICORN = ("-m", "gunicorn", "--bind", "127.0.0.1:PORT", "--no-control-socket")
RUN = ("run", "--port", "PORT")


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
    """Of the application."""
    (tmp_path / "shop.py").write_text(SHOP)
    return tmp_path


def _site(agent: DogStatsDReceiver, folder: Path, where: str, url: str, *arguments: str, **more: str) -> Site:
    given = {"FEED": url, "FLASK_APP": "shop", "PYTHONUNBUFFERED": "1", **more}
    return Site(agent, folder, where, *arguments, **given)


def _disconnected(agent: DogStatsDReceiver, number: int) -> bool:
    return agent.wait_for(lambda seen: seen.count("websocket.connection.disconnected", {"team": "md"}) == number)


@each_version
@pytest.mark.parametrize("server", [["flask", "--debug", *RUN], ["shop"]], ids=["flask run", "app.run()"])
def test_a_server_and_its_reloader_have_each_client_once(
    agent: DogStatsDReceiver, feed: WebSocketServer, folder: Path, where: str, server: list[str]
) -> None:
    """The process that only reloads has none; Ctrl-C ends both soon. It kills the serving one after a quarter of a
    second, so that what was counted just before may be lost."""
    with _site(agent, folder, where, feed.url, "-m", *server) as site:
        site.wait_for(f"{ALL} in shop", times=2)
        page = site.get("/health")
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
    """Although the server has no handler for it."""
    with _site(agent, folder, where, feed.url, "-m", "flask", *RUN) as site:
        site.wait_for(ALL, times=2)
        site.get("/health/live")
        ended = site.end(signal.SIGTERM)
    assert (feed.connections, ended.took < HELD) == (2, True)
    assert received(agent, 200)
    assert _disconnected(agent, 2)


@each_version
def test_commands_and_tests_connect_nothing(
    agent: DogStatsDReceiver, feed: WebSocketServer, folder: Path, where: str
) -> None:
    """routes, shell, a command of wsnova that runs nothing, the test client, and TESTING that is set late."""
    tested = "import shop; app = shop.create_app(); app.testing = True; print(app.test_client().get('/health').json)"
    untold = "import shop; print(shop.create_app().test_client().get('/health').json)"
    for command in (["-m", "flask", "routes"], ["-m", "flask", "shell"], ["-m", "flask", "wsnova", "--help"]):
        with _site(agent, folder, where, feed.url, *command) as site:
            ended = site.end()
        assert (ended.code, "Traceback" in ended.errors) == (0, False), ended
    for program in (tested, untold):
        with _site(agent, folder, where, feed.url, "-c", program) as site:
            ended = site.end()
        assert ended.code == 0, ended
        assert ended.said.count("'state': 'idle'") == 2
    assert (feed.connections, agent.datagrams) == (0, [])


@installed
@pytest.mark.parametrize(
    "server",
    [
        ["shop:create_app()"],
        ["several:app"],
    ],
    ids=["one application", "create_app() three times"],
)
def test_each_worker_of_gunicorn_has_each_client_once(
    agent: DogStatsDReceiver, feed: WebSocketServer, folder: Path, where: str, server: list[str]
) -> None:
    """For any number of applications; what was counted, was counted once, and is delivered when the server ends."""
    (folder / "several.py").write_text(
        "from shop import create_app\n_, _, app = create_app(), create_app(), create_app()"
    )
    with _site(agent, folder, where, feed.url, *GUNICORN, "--workers", "2", *server) as site:
        site.wait_for(ALL, times=4)
        assert site.get("/health")["status"] == "ok"
        ended = site.end(signal.SIGTERM)
        assert feed.connections == 4
    assert "another" not in ended.errors
    assert received(agent, 400)
    assert _disconnected(agent, 4)


@installed
def test_an_unknown_server_starts_the_clients_with_its_first_request(
    agent: DogStatsDReceiver, feed: WebSocketServer, folder: Path, where: str
) -> None:
    """Once, for any later requests."""
    program = (
        "import os, shop; from wsgiref.simple_server import make_server; "
        "make_server('127.0.0.1', PORT, shop.create_app()).serve_forever()"
    )
    with _site(agent, folder, where, feed.url, "-c", program) as site:
        site.get("/health")
        site.wait_for(ALL, times=2)
        assert site.get("/health")["status"] == "ok"
        site.end(signal.SIGTERM)
        assert feed.connections == 2


@installed
def test_a_server_without_a_handler_of_sigterm_ends_in_order(
    agent: DogStatsDReceiver, feed: WebSocketServer, folder: Path, where: str
) -> None:
    """Waitress, for example: it loads the application, which is recognized by the calling modules."""
    loads = "exec('import shop; app = shop.create_app()', {'__name__': 'waitress.runner'})"
    program = f"import time; {loads}; time.sleep(60)"
    with _site(agent, folder, where, feed.url, "-c", program) as site:
        site.wait_for(ALL, times=2)
        ended = site.end(signal.SIGTERM)
    assert (ended.code, ended.took < HELD) == (-signal.SIGTERM, True)
    assert received(agent, 200)
    assert _disconnected(agent, 2)


@each_version
def test_flask_wsnova_listen_is_the_worker(
    agent: DogStatsDReceiver, feed: WebSocketServer, folder: Path, where: str
) -> None:
    """With the named clients; an unknown name is status 2 and a sentence."""
    with _site(agent, folder, where, feed.url, "-m", "flask", "wsnova", "listen", "md-2") as site:
        site.wait_for(f"{ALL} in shop")
        ended = site.end(signal.SIGTERM)
    assert (ended.code, ended.said, feed.connections) == (0, "stored 100 in shop\n", 1)
    assert ended.took < HELD
    assert received(agent, 100)
    assert _disconnected(agent, 1)
    with _site(agent, folder, where, feed.url, "-m", "flask", "wsnova", "listen", "md-3") as site:
        ended = site.end()
    assert ended.code == 2
    assert "Error: the client's name is 'md-3'; allowed: md-1, md-2; did you mean" in ended.errors


@installed
def test_a_feed_that_is_down_at_boot_keeps_no_site_from_starting(
    agent: DogStatsDReceiver, folder: Path, where: str
) -> None:
    """It is degraded, and ends as soon as with a feed."""
    with _site(agent, folder, where, "ws://127.0.0.1:1", "-m", "flask", *RUN) as site:
        assert site.get("/health")["status"] == "degraded"
        assert site.end(signal.SIGTERM).took < HELD


@installed
def test_an_unusable_configuration_is_one_sentence(agent: DogStatsDReceiver, folder: Path, where: str) -> None:
    """At once, for what is misspelled; at the start, in the log, for a factory that raises, and for a second
    application that wants another Monitor or another client of the same name."""
    refused = (
        "import shop\ntry: shop.create_app(WSNOVA_STATSD_PROFIL=1)\n"
        "except shop.ws.errors.ConfigurationError as error: print(error)"
    )
    with _site(agent, folder, where, "ws://127.0.0.1:1", "-c", refused) as site:
        ended = site.end()
    assert ended.said.startswith("WSNOVA_STATSD_PROFIL is no setting; allowed: ")
    assert ended.said.endswith("did you mean 'WSNOVA_STATSD_PROFILE'?\n")
    (folder / "two.py").write_text(
        "from shop import create_app\napp = create_app(WSNOVA_STATSD_CLIENTS={'a': 'shop.fails', 'b': 'shop.make'})\n"
        "create_app(WSNOVA_STATSD_PROFILE='financial', WSNOVA_STATSD_CLIENTS={'b': 'ws://127.0.0.1:2'})\n"
    )
    with _site(agent, folder, where, "ws://127.0.0.1:1", *GUNICORN, "two:app") as site:
        page = site.get("/health", 503)
        ended = site.end(signal.SIGTERM)
    assert [(one["client_id"], one["state"] == "closed") for one in page["clients"]] == [("a", True), ("md-2", False)]
    for sentence in (
        "client a is not started: shop.fails raised LookupError: no such venue",
        "client b is not started: WSNOVA_STATSD_CLIENTS['b'] differs from the value in the application that named it",
        "the Monitor that the settings ask for is not started: ConfigurationError: ws.init was called with ",
    ):
        assert ended.errors.count(sentence) == 1, ended.errors
    assert "Traceback" not in ended.errors
