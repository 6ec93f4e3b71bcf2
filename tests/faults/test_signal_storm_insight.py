"""Storms of real signals within the code of alerts and KPIs. A handler that emits: all of it is counted, once. One
that raises costs at most what it interrupts."""

from tests.faults.support import run_script

_SCRIPT = """
import signal, time
import wsnova_statsd as ws
from tests.support import until
from wsnova_statsd.insight.alerts import Alerts


class Agent:
    def event(self, *_arguments, **_more):
        pass

    def increment(self, *_arguments):
        pass


reported, arrived, emitted = [], 0, 0
bus = ws.Bus()
rule = ws.alerts.SlowProcessing(cool_down=0.05)
alerts = Alerts([rule], Agent(), [Agent(), reported.append], bus=bus).start()
tracker = ws.KpiTracker("financial", bus).start()
SUMS = {"count": 1, "errors": 0, "process_time": 5, "process_time_max": 5, "window": 1_000_000_000}


def emit():
    global emitted
    bus.execute(ws.events.MESSAGE_PROCESS_SLOW, {"duration": 200_000_000}, {"client_id": "a", "type": "t"})
    bus.execute(ws.events.MESSAGE_BATCH_PROCESSED, SUMS, {"client_id": "a", "direction": "received"})


def handle(number, frame):
    global arrived
    arrived += 1
    emit()
    tracker.report()
    if arrived % 50 == 0:
        alerts.at_exit(0.0)


signal.signal(signal.SIGALRM, handle)
signal.setitimer(signal.ITIMER_REAL, 0.0003, 0.0003)
end, rounds = time.monotonic() + 3, 0
while time.monotonic() < end:
    emit()
    rounds += 1
    tracker.report("a")
signal.setitimer(signal.ITIMER_REAL, 0)

until(lambda: not alerts.figures.open, 20)  # the clock's thread tells what the last cool-down held back
alerts.stop(20)
slow = sum(alert.count for alert in reported if alert.alert_type == "warning")
messages = next(row.n for row in tracker.report() if row.key == "throughput_per_s")
print(arrived > 100, messages == arrived + rounds, bus.handler_errors, alerts.figures.lost, alerts.figures.unusable)
print(slow == arrived + rounds)
"""


def test_what_a_storm_of_signals_emits_is_counted_exactly() -> None:
    assert run_script(_SCRIPT, 50.0) == "True True 0 0 0\nTrue\n"


_INTERRUPTS = """
import signal, threading, time
import wsnova_statsd as ws
from wsnova_statsd.clock import Job
from wsnova_statsd.insight.alerts import Alerts


class Agent:
    def __init__(self):
        self.keys = []

    def event(self, title, text, **more):
        self.keys.append(more["aggregation_key"])

    def increment(self, *_arguments):
        pass


class Timers:
    def call_later(self, seconds, work):
        return Job(work)


armed = True


def handle(number, frame):
    global armed
    if armed:
        armed = False
        raise KeyboardInterrupt


agent, called, bus, emitted, interrupted = Agent(), [], ws.Bus(), 0, 0
rule = ws.alerts.SlowProcessing()
alerts = Alerts([rule], agent, [agent, called.append], bus=bus, timers=Timers()).start()
tracker = ws.KpiTracker("financial", bus).start()
SUMS = {"count": 1, "errors": 0, "process_time": 5, "process_time_max": 5, "window": 1_000_000_000}
signal.signal(signal.SIGALRM, handle)
signal.setitimer(signal.ITIMER_REAL, 0.0003, 0.0003)
end = time.monotonic() + 3
while time.monotonic() < end:
    try:
        armed = True
        emitted += 1
        about = {"client_id": str(emitted % 7), "type": str(emitted)}
        bus.execute(ws.events.MESSAGE_PROCESS_SLOW, {"duration": 200_000_000}, about)
        bus.execute(ws.events.MESSAGE_BATCH_PROCESSED, SUMS, {"client_id": "a", "direction": "received"})
        armed = False
    except KeyboardInterrupt:
        interrupted += 1
signal.setitimer(signal.ITIMER_REAL, 0)


def last():
    bus.execute(ws.events.MESSAGE_PROCESS_SLOW, {"duration": 300_000_000}, {"client_id": "last", "type": "t"})
    bus.execute(ws.events.MESSAGE_BATCH_PROCESSED, SUMS, {"client_id": "last", "direction": "received"})


other = threading.Thread(target=last, daemon=True)  # in the main thread a lock that stayed held would not be noticed
other.start()
other.join(10)
alerts.stop(20)
keys = [alert.aggregation_key for alert in called]
messages = {client: next(row.n for row in tracker.report(client) if row.key == "throughput_per_s") for client in "ab"}
print(interrupted > 100, other.is_alive(), bus.handler_errors)
print(agent.keys[-1], keys[-1], len(keys) == len(set(keys)), len(agent.keys) == len(set(agent.keys)))
whole = emitted - interrupted + 1
print(whole <= len(keys) + alerts.figures.lost <= emitted + 1 and whole <= len(agent.keys) <= emitted + 1)
print(emitted - interrupted <= messages["a"] <= emitted)
"""


def test_interrupts_leave_no_lock_held_and_send_no_alert_twice() -> None:
    assert run_script(_INTERRUPTS, 50.0) == (
        "True False 0\nslow_processing:last:t slow_processing:last:t True True\nTrue\nTrue\n"
    )
