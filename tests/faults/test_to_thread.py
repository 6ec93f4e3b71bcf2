"""A loop over a client in a thread of an executor, and a program that ends."""

import subprocess
import sys
import time

import pytest

from wsnova_statsd.testing.server import WebSocketServer

LOOP = """
import asyncio, sys, threading, time
from concurrent.futures import ThreadPoolExecutor
import wsnova_statsd as ws

observed = threading.Event()

def consume(client):
    for message in client:
        print(message, flush=True)
        observed.set()

def fail():
    print(time.monotonic(), flush=True)
    raise RuntimeError("the main task failed")
"""
TO_THREAD = """
async def main():
    with ws.Client(sys.argv[1], client_id="a") as client:
        loop = asyncio.create_task(asyncio.to_thread(consume, client))
        client.send({"n": 1})
        await asyncio.to_thread(observed.wait, 20)
        fail()

asyncio.run(main())
"""
POOL = """
with ThreadPoolExecutor() as pool, ws.Client(sys.argv[1], client_id="a") as client:
    pool.submit(consume, client)
    client.send({"n": 1})
    observed.wait(20)
    fail()
"""


@pytest.mark.parametrize("program", [TO_THREAD, POOL], ids=["to_thread", "pool"])
def test_a_loop_in_a_thread_of_an_executor_ends_with_a_main_task_that_fails(program: str) -> None:
    """Within 2 s of the failure. The interpreter joins the threads of executors before its exit hooks: the `with` block
    ends the loop, without it the program never ends."""
    with WebSocketServer() as echo:
        command = [sys.executable, "-c", LOOP + program, echo.url]
        done = subprocess.run(command, capture_output=True, text=True, timeout=40, check=False)
        ended = time.monotonic()
    message, failed = done.stdout.splitlines()
    assert (done.returncode, message) == (1, "{'n': 1}")
    assert done.stderr.count("RuntimeError: the main task failed") == 1
    assert ended - float(failed) < 2.0  # one clock for all processes
