"""gevent and eventlet, each in a process of its own: patched first a client works, patched late it says so."""

import importlib.util
import subprocess
import sys
import textwrap

import pytest

from tests.support import Contexts
from wsnova_statsd.testing import WebSocketServer

PATCH = {
    "gevent": "from gevent import monkey; monkey.patch_all()",
    # A client's owner and the keeper may wait for the same socket, which eventlet takes for a mistake unless told.
    "eventlet": "import eventlet.debug; eventlet.monkey_patch(); eventlet.debug.hub_prevent_multiple_readers(False)",
}

WORKS = """
import ssl, sys, threading, time
import wsnova_statsd as ws

context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
got, ticks = [], []

def tick():
    while not got:
        time.sleep(0.01)
        ticks.append(1)

def handle(message):
    time.sleep(0.3)
    got.append(message)

other = threading.Thread(target=tick)
other.start()
options = {"profile": "financial", "ssl": context if sys.argv[1].startswith("wss") else None}
with ws.Client(sys.argv[1], client_id="a", on_message=handle, **options) as client:
    client.send({"n": 1})
    other.join(10)
with ws.Client(sys.argv[1], client_id="b", **options) as client:
    client.send({"n": 2})
    print(got, client.receive(timeout=10), len(ticks) > 5)
"""

STUCK = """
import sys, time
import wsnova_statsd as ws
from wsnova_statsd.client import stuck

stuck.STUCK_AFTER = 0.5
heard = []
ws.telemetry.attach("t", ws.events.MESSAGE_PROCESS_STUCK, lambda e, measured, meta, c: heard.append((measured, meta)))

def fetch_prices(message):
    until = time.monotonic() + 15
    while not heard and time.monotonic() < until:
        time.sleep(0.05)

with ws.Client(sys.argv[1], client_id="a", profile="financial", on_message=fetch_prices) as client:
    client.send({"n": 1})
    fetch_prices(None)
[(measured, meta)] = heard
print(sorted(measured), any("fetch_prices" in line for line in meta["stack"]))
"""

LATE = """
import sys
import wsnova_statsd as ws
{patch}
for make in (lambda: ws.Client(sys.argv[1]), ws.StatsdReporter().start):
    try:
        make()
    except ws.errors.ConfigurationError as error:
        print(error)
"""


def _run(mode: str, script: str, url: str) -> str:
    if importlib.util.find_spec(mode) is None:
        pytest.skip(f"needs {mode}")
    command = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(script), url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.parametrize("mode", PATCH)
def test_patched_first_a_client_works_and_others_run_meanwhile(mode: str, tls: Contexts) -> None:
    """Sends, receives by a handler and by a call, and closes; a handler that waits holds nobody else up."""
    with WebSocketServer(ssl=tls[0]) as echo:
        printed = _run(mode, f"{PATCH[mode]}\n{WORKS}", echo.url)
    assert printed == "[{'n': 1}] {'n': 2} True\n"


@pytest.mark.parametrize("mode", PATCH)
def test_a_stuck_handlers_stack_is_that_of_its_greenlet(mode: str) -> None:
    """Without its processor time: there is no clock of a greenlet, and its id is no thread's."""
    with WebSocketServer() as echo:
        printed = _run(mode, f"{PATCH[mode]}\n{STUCK}", echo.url)
    assert printed == "['duration'] True\n"


@pytest.mark.parametrize("mode", PATCH)
def test_patched_late_client_and_reporter_say_what_to_do(mode: str) -> None:
    """They would wait for each other for ever."""
    sentence = (
        "threading was patched after wsnova_statsd was imported; call gevent.monkey.patch_all() or "
        "eventlet.monkey_patch() before anything else is imported\n"
    )
    assert _run(mode, LATE.format(patch=PATCH[mode]), "ws://127.0.0.1:1/") == 2 * sentence
