"""A loop over a client in a thread of an executor, and a program that ends."""

import subprocess
import sys
import time

from wsnova_statsd.testing.server import WebSocketServer

TO_THREAD = """
import asyncio, sys
import wsnova_statsd as ws

def consume(client):
    for message in client:
        print(message, flush=True)

async def main():
    with ws.Client(sys.argv[1], client_id="a") as client:
        loop = asyncio.create_task(asyncio.to_thread(consume, client))
        client.send({"n": 1})
        await asyncio.sleep(0.3)
        raise RuntimeError("the main task failed")

asyncio.run(main())
"""


def test_a_loop_in_to_thread_ends_with_a_main_task_that_fails() -> None:
    """The interpreter joins the threads of executors before its exit hooks: the `with` block ends the loop."""
    with WebSocketServer() as echo:
        began = time.monotonic()
        done = subprocess.run([sys.executable, "-c", TO_THREAD, echo.url], capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert done.stdout == "{'n': 1}\n"
    assert "RuntimeError: the main task failed" in done.stderr
    assert time.monotonic() - began < 15  # 2 s and what a busy machine adds; without the block it never ends
