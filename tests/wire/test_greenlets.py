"""gevent and eventlet, each in a separate process: patched first a client works, patched late it raises an error."""

import importlib.util
import subprocess
import sys
import textwrap

import pytest

from tests.support import Contexts, tls_contexts
from wsnova_statsd.testing import WebSocketServer
from wsnova_statsd.testing.receiver import DogStatsDReceiver
from wsnova_statsd.testing.tcp import ConnectProxy

PATCH = {
    "gevent": "from gevent import monkey; monkey.patch_all()",
    "eventlet": "import eventlet; eventlet.monkey_patch()",
}

CONTEXT = """
import ssl
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
"""

# What a program may have made and imported by then.
BEFORE = f"""
import selectors, socket, threading
import datadog, idna, tenacity, websocket
made = socket.socketpair(), selectors.DefaultSelector(), threading.RLock()
{CONTEXT}
"""

WORKS = """
import sys, threading, time
import wsnova_statsd as ws

got, ticks, asked = [], [], []

def tick():
    while not got:
        time.sleep(0.01)
        ticks.append(1)

def handle(message):
    time.sleep(0.3)
    asked.append(client.expect({"n": "?"}, lambda answer: True if answer == {"n": "?"} else None))
    got.append(message)

other = threading.Thread(target=tick)
other.start()
url, proxy, agent = sys.argv[1:]
monitor = ws.Monitor(profile="financial", reporter=ws.StatsdReporter(port=int(agent))).start()
options = {"profile": "financial", "ssl": context if url.startswith("wss") else None, "proxy": proxy or None}
with ws.Client(url, client_id="a", on_message=handle, **options) as client:
    client.send({"n": 1})
    other.join(10)
with ws.Client(url, client_id="b", **options) as client:
    client.send({"n": 2})
    print(got, asked, client.receive(timeout=10), len(ticks) > 5)
"""

STUCK = """
import sys, time
import wsnova_statsd as ws
from wsnova_statsd.client import stuck

stuck.STUCK_AFTER = 0.5
observed = []
ws.telemetry.attach("t", ws.events.MESSAGE_PROCESS_STUCK, lambda e, m, meta, c: observed.append((m, meta)))

def fetch_prices(message):
    until = time.monotonic() + 15
    while not observed and time.monotonic() < until:
        time.sleep(0.05)

with ws.Client(sys.argv[1], client_id="a", profile="financial", on_message=fetch_prices) as client:
    client.send({"n": 1})
    fetch_prices(None)
[(measured, meta)] = observed
print(sorted(measured), any("fetch_prices" in line for line in meta["stack"]))
"""

LATE = """
import sys
import wsnova_statsd as ws
made = ws.Client(sys.argv[1], client_id="made"), ws.StatsdReporter(), ws.PrometheusReporter(), ws.Monitor()
parts = ws.alerts.Alerts([], made[1]), ws.KpiTracker("standard"), ws.SystemSampler()
{patch}
for begin in (lambda: ws.Client(sys.argv[1]), *(one.start for one in made + parts), lambda: next(iter(made[0]))):
    try:
        begin()
    except ws.errors.ConfigurationError as error:
        print(error)
"""


def _run(mode: str, script: str, *arguments: object) -> str:
    if importlib.util.find_spec(mode) is None:
        pytest.skip(f"needs {mode}")
    command = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def _works(mode: str, first: str, url: str, proxy: str = "") -> None:
    with DogStatsDReceiver() as agent:
        assert _run(mode, f"{first}\n{WORKS}", url, proxy, agent.port) == "[{'n': 1}] [True] {'n': 2} True\n"
        assert agent.wait_for(lambda observed: observed.count("websocket.message.received") == 3), agent.counts()


@pytest.mark.parametrize("mode", PATCH)
def test_patched_first_a_client_works_and_others_run_meanwhile(mode: str, tls: Contexts) -> None:
    """Sends, receives by a handler and by a call, is answered within a handler, and closes; a handler that waits delays
    no other, and all is counted."""
    with WebSocketServer(ssl=tls[0]) as echo:
        _works(mode, f"{PATCH[mode]}\n{CONTEXT}", echo.url)


@pytest.mark.parametrize("mode", PATCH)
def test_a_client_goes_through_a_proxy_under_tls(mode: str) -> None:
    """TLS within TLS, which a separate thread carries."""
    serving, _ = tls_contexts()
    with WebSocketServer(ssl=serving) as echo, ConnectProxy(ssl=serving) as proxy:
        _works(mode, f"{PATCH[mode]}\n{CONTEXT}", echo.url, proxy.url)
        assert len(proxy.targets) == 2


@pytest.mark.parametrize("mode", PATCH)
def test_what_was_made_before_the_patch_works_with_it(mode: str) -> None:
    """Libraries, sockets, locks and an SSL context, before a patch that comes before this library."""
    with WebSocketServer(ssl=tls_contexts()[0]) as echo:
        _works(mode, f"{BEFORE}\n{PATCH[mode]}", echo.url)


@pytest.mark.parametrize("mode", PATCH)
def test_a_stuck_handlers_stack_is_that_of_its_greenlet(mode: str) -> None:
    """Without its processor time: a greenlet has no clock, and its id is not that of a thread."""
    with WebSocketServer() as echo:
        printed = _run(mode, f"{PATCH[mode]}\n{STUCK}", echo.url)
    assert printed == "['duration'] True\n"


@pytest.mark.parametrize("mode", PATCH)
def test_patched_late_every_constructor_and_start_says_what_to_do(mode: str) -> None:
    """Also for what was made before: its threads would wait for each other for ever."""
    sentence = (
        "threading was patched after wsnova_statsd was imported; call gevent.monkey.patch_all() or "
        "eventlet.monkey_patch() before anything else is imported\n"
    )
    assert _run(mode, LATE.format(patch=PATCH[mode]), "ws://127.0.0.1:1/") == 9 * sentence
