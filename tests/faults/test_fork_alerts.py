"""Alerts in a forked child: the parent's incidents, locks and timers are not the child's; the rules still watch."""

from tests.faults.support import run_script

_SCRIPT = """
import os, threading, warnings
import wsnova_statsd as ws
from wsnova_statsd.insight.alerts import Alerts

warnings.simplefilter("ignore")
reported = []


class Agent:
    def event(self, title, *_arguments, **_more):
        reported.append(title)

    def increment(self, *_arguments):
        pass


def emit(ms):
    ws.telemetry.execute(ws.events.MESSAGE_PROCESS_SLOW, {"duration": ms * 1_000_000}, {"client_id": "a", "type": "b"})


class Halting(ws.alerts.SlowProcessing):
    def judge(self, seen, memory):
        if seen.measurements["duration"] == 155_000_000:
            judging.set()
            go.wait(30)
        return super().judge(seen, memory)


def halt(alert):
    if alert.highest == 150:
        calling.set()
        go.wait(30)
    called.append(alert.title)


judging, calling, go, called = threading.Event(), threading.Event(), threading.Event(), []
rule = Halting(cool_down=0.2)
alerts = Alerts([rule], agent := Agent(), [agent, halt]).start()
emit(150)
emit(160)
calling.wait(30)
threading.Thread(target=emit, args=(155,)).start()
judging.wait(30)
pid = os.fork()
if pid == 0:
    reported.clear()
    emit(170)  # the parent's threads that judge and call the function are not here
    deadline = threading.Event()
    while len(reported) < 2:
        deadline.wait(0.01)
    alerts.stop(30)
    good = reported == ["Slow message processing: 170.0ms for b", "Recovered: slow message processing for b"]
    os._exit(0 if good and called == reported else 1)
go.set()
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


def test_a_child_forked_during_an_event_sends_its_own_alerts_only() -> None:
    assert run_script(_SCRIPT, 40.0) == "0\n"
