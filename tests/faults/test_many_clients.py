"""Many clients in one process: memory, threads and CPU per idle client."""

import json

import pytest

from tests.faults.support import run_script

# Prints, as JSON: RSS per client beyond the first, the threads by role, the share of a core while idle.
MEASURE = """
import json, resource, subprocess, sys, threading, time
import wsnova_statsd as ws
from collections import Counter
from tests.support import until

CLIENTS, IDLE, PINGS = int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
SERVER = '''
import asyncio, sys
from websockets.asyncio.server import serve

async def main():
    async def hello(connection):
        await connection.send("x" * 300)
        await connection.wait_closed()

    async with serve(hello, "127.0.0.1", 0, ping_interval=None, compression=None, backlog=1000) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)

asyncio.run(main())
'''

def rss():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()

def cpu():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime

server = subprocess.Popen([sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
url = f"ws://127.0.0.1:{int(server.stdout.readline())}"
profile = ws.STANDARD.replace(ping_interval=PINGS)
got = []

def make(number):
    client = ws.Client(url, client_id=f"c{number}", profile=profile, protocol=ws.Protocol(), on_message=got.append)
    return client.start(10.0)

clients = [make(0)]
assert until(lambda: len(got) == 1)
first = rss()
clients += [make(number) for number in range(1, CLIENTS)]
assert until(lambda: len(got) == CLIENTS)
began, before = time.monotonic(), cpu()
time.sleep(IDLE)
share = (cpu() - before) / (time.monotonic() - began)
per_client = (rss() - first) / (CLIENTS - 1)
names = [each.name for each in threading.enumerate() if each is not threading.main_thread()]
roles = Counter("-".join(name.split("-")[:2]) for name in names)
connected = sum(client.state is ws.State.CONNECTED for client in clients)
print(json.dumps({"kib": per_client / 1024, "cpu": share, "threads": roles, "connected": connected}), flush=True)
for client in clients:
    client.close()
server.stdin.close()
server.wait(10)
"""


@pytest.mark.alone
def test_two_hundred_idle_clients_cost_little_memory_one_thread_each_and_hardly_any_cpu() -> None:
    """After 300 B of traffic each: at most 60 KiB of RSS, one reader each, the keeper, and no other thread."""
    figures = json.loads(run_script(MEASURE, 50.0, "200", "5", "4"))
    print(f"{figures['kib']:.1f} KiB per client, {figures['cpu']:.2%} of a core with 200 clients and 4 s pings")
    assert figures["connected"] == 200
    assert figures["kib"] <= 60
    threads = figures["threads"]
    threads.pop("wsnova-clock", None)  # if something was due
    assert threads == {"wsnova-client": 200, "wsnova-keeper": 1}
