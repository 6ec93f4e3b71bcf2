"""Your own clients as a worker: `wsnova-statsd run run_as_a_worker:client`, here started as by a supervisor."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import wsnova_statsd as ws


def store(message):
    print("stored", message["n"], flush=True)


def client():
    return ws.Client(os.environ["FEED_URL"], client_id="md-1", on_message=store)


if __name__ == "__main__":
    from wsnova_statsd.testing.receiver import DogStatsDReceiver
    from wsnova_statsd.testing.server import WebSocketServer, send_messages

    command = [sys.executable, "-m", "wsnova_statsd", "run", "--health-file", "alive", "run_as_a_worker:client"]
    with DogStatsDReceiver() as agent, WebSocketServer(send_messages(['{"n": 1}', '{"n": 2}'])) as feed:
        folder = str(Path(__file__).parent)
        settings = {"FEED_URL": feed.url, "DD_DOGSTATSD_URL": f"udp://{agent.host}:{agent.port}"}
        path = os.pathsep.join(filter(None, (folder, os.environ.get("PYTHONPATH"))))
        environment = {**os.environ, **settings, "PYTHONPATH": path}
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as worker:
            print(worker.stdout.readline() + worker.stdout.readline(), end="")
            agent.wait_for(lambda seen: seen.count("websocket.connection.up") >= 1)
            worker.send_signal(signal.SIGTERM)
            print("exit status", worker.wait())
        agent.wait_for(lambda seen: seen.count("websocket.connection.disconnected") == 1)
    print("Datadog counted", f"{agent.count('websocket.message.batch.count', ['direction:received']):g}")
    print("health file:", Path("alive").exists())
