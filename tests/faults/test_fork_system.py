"""The system sampler in a forked child: it begins anew with the first event of a client, and counts for itself."""

import pytest

from tests.faults.support import run_script

_SCRIPT = """
import ctypes, gc, os, sys, threading, warnings
import wsnova_statsd as ws
from wsnova_statsd.reporters import worker
from tests.faults.forking import Child
from wsnova_statsd.testing.capture import capture_events

warnings.simplefilter("ignore")
SAMPLED = ws.events.SYSTEM_SAMPLED
for _ in range(200):
    gc.collect()
sampler = ws.SystemSampler(every=1).start()
ws.telemetry.execute(ws.events.HEARTBEAT_MISSED, {}, {"client_id": "the parent's"})
held, go = threading.Event(), threading.Event()


def hold():
    with sampler._lock:
        held.set()
        go.wait(30)


threading.Thread(target=hold).start()
held.wait(30)
child = Child(os.fork if sys.argv[1] == "hooks" else ctypes.PyDLL(None).fork)
if child.pid == 0:
    with capture_events(SAMPLED) as log:
        ws.telemetry.execute(ws.events.HEARTBEAT_MISSED, {}, {"client_id": "a"})
        good = log.wait_for(SAMPLED, 2, 30)
    mine, clients = log[0], log[1]
    good = good and mine.metadata == {"client_id": None, "worker": worker.WORKERS.current()}
    good = good and mine.measurements["gc_collections_full"] < 100
    good = good and clients.metadata == {"client_id": "a", "worker": worker.WORKERS.current()}
    sampler.stop()
    child.tell(good)
    child.end()
go.set()
with capture_events(SAMPLED) as log:
    log.wait_for(SAMPLED, 1, 30)
print(child.said(40.0), log[0].measurements["gc_collections_full"] >= 200)
"""


@pytest.mark.parametrize("way", ["hooks", "libc"])
def test_a_child_samples_itself_once_a_client_lives_in_it(way: str) -> None:
    """From any thread that forks, and although a thread of the parent held the lock; the parent goes on sampling."""
    assert run_script(_SCRIPT, 50.0, way) == "[[True]] True\n"
